"""Lets code that nobody here wrote check what a running `fiscus demo` publishes, unchanged, and changed.

Go's sumdb/note and sumdb/tlog, npm's @sigstore/verify, PyPI's pymerkle, aics-tlog and, as a server that cosigns,
aics-witness. They must accept every checkpoint, inclusion and consistency proof, root and tile, and refuse each of
them when a place in it was changed. `fiscus verify` must agree. FISCUS is the binary.
"""

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from pymerkle import InmemoryTree

FISCUS = os.environ["FISCUS"]
CACHE = Path(os.environ.get("FISCUS_CACHE") or Path.home() / ".cache" / "fiscus")
PEERS = Path(__file__).parent.parent / "peers"
AICS = CACHE / "aics" / "bin" / "python"
SALES = 24


class Failed(Exception):
    pass


def ensure(holds, what):
    if not holds:
        raise Failed(what)


class Demo:
    """`fiscus demo` of one node in a directory, which it goes on with when it was there before."""

    def __init__(self, directory):
        self.directory = directory

    def __enter__(self):
        arguments = [FISCUS, "demo", "--no-uploads", "--json", "--nodes", "1", "--dir", self.directory]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        said = self.process.stdout.readline()
        if not said:
            self.process.wait(60)
            raise Failed("the demonstration does not start")
        self.gateway = Gateway(json.loads(said))
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.process.stdout.close()

    def admin(self, *arguments):
        command = [FISCUS, "admin", "--dir", self.directory, *arguments, "--json"]
        return json.loads(subprocess.run(command, capture_output=True, timeout=60).stdout)

    def log_key(self, group, origin):
        keys = {key["group"]: key for key in self.admin("keys", "list")["keys"] if key["purpose"] == "log"}
        return verifier_key(origin, 1, bytes.fromhex(keys[group]["public_key"]))

    def sell(self, count, name):
        sale = (self.directory / "sale.json").read_bytes()
        for number in range(count):
            self.gateway.seal(sale, f"{name}-{number}")


class Gateway:
    def __init__(self, said):
        self.base, self.key = said["gateway"], said["api_key"]

    def get(self, path, headers=()):
        request = urllib.request.Request(self.base + path, headers=dict(headers))
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def ask(self, path):
        return self.get(path, [("Authorization", f"Bearer {self.key}")])

    def checkpoint(self, group):
        """The last one; the first is signed some moments after the start."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            listed = json.loads(self.ask("/api/v1/checkpoints"))["data"]
            for one in listed:
                if one["group"] == group:
                    return one["checkpoint"]
            time.sleep(0.1)
        raise Failed(f"group {group} signs no checkpoint")

    def seal(self, sale, key):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", "Idempotency-Key": key}
        request = urllib.request.Request(self.base + "/api/v1/invoices", data=sale, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def verifier_key(name, kind, raw):
    typed = bytes([kind]) + raw
    digest = hashlib.sha256(name.encode() + b"\n" + typed).digest()
    return f"{name}+{digest[:4].hex()}+{base64.b64encode(typed).decode()}"


def tree_of(note):
    lines = note.split("\n")
    return lines[0], int(lines[1]), base64.b64decode(lines[2])


def case(kind, key, note, **more):
    return {"kind": kind, "key": key, "note": note, **more}


def flipped(text):
    """A hexadecimal text with one bit changed."""
    return f"{int(text[0], 16) ^ 1:x}{text[1:]}"


def changed_notes(key, note):
    origin, size, root = tree_of(note)
    head, line = note.split("\n\n")
    name, signature = line.removeprefix("— ").rstrip("\n").split(" ")
    raw = bytearray(base64.b64decode(signature))
    raw[20] ^= 1
    other = base64.b64encode(raw).decode()
    for changed in (
        note.replace(f"\n{size}\n", f"\n{size + 1}\n"),
        note.replace(base64.b64encode(root).decode(), base64.b64encode(bytes(32)).decode()),
        note.replace(signature, other),
        note.replace(f"{origin}\n", f"{origin}0\n", 1),
        head + "\n\n",
    ):
        ensure(changed != note, "a change that changes nothing")
        yield case("checkpoint", key, changed)


def changed_proofs(good):
    hashes = good["hashes"]
    for changed in (
        hashes[1:],
        hashes[:-1],
        hashes + ["00" * 32],
        [flipped(hashes[0])] + hashes[1:],
        hashes[:-1] + [flipped(hashes[-1])],
    ):
        yield good | {"hashes": changed}
    if good["kind"] == "inclusion":
        yield good | {"leaf": flipped(good["leaf"])}
        yield good | {"index": good["index"] ^ 1}
        yield good | {"index": 1 << 40}
    else:
        yield good | {"note": good["older"], "older": good["note"]}


def run_peer(name, command, cases, expected, **more):
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=120, **more)
    ensure(done.returncode == 0, f"{name}: {done.stderr}")
    said = json.loads(done.stdout)
    ensure(len(said) == len(cases), f"{name} answered {len(said)} of {len(cases)} cases")
    for one, answer, wanted in zip(cases, said, expected):
        word = "refuses" if wanted else "accepts"
        ensure(answer == wanted, f"{name} {word} {json.dumps(one)}")
    print(f"  {name}: accepts {sum(expected)}, refuses {len(expected) - sum(expected)}")


def go(directory):
    binary = directory / "gotlog"
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(CACHE / "go"),
        "GOFLAGS": "",
    }
    subprocess.run(["go", "build", "-o", binary, PEERS / "gotlog.go"], env=environment, check=True, timeout=600)
    return [binary]


def tile_path(index):
    parts = []
    while True:
        parts.append(f"{index % 1000:03}")
        index //= 1000
        if index == 0:
            break
    return "/".join(["x" + part for part in parts[:0:-1]] + parts[:1])


def copy_tiles(gateway, group, size, directory):
    """The whole log, as any client may copy it; answers the data of its leaves."""
    leaves, level, count = [], 0, size
    while count:
        for index in range((count + 255) // 256):
            width = min(256, count - 256 * index)
            partial = "" if width == 256 else f".p/{width}"
            for kind in [str(level)] + (["entries"] if level == 0 else []):
                path = f"tile/{kind}/{tile_path(index)}{partial}"
                content = gateway.get(f"/log/{group}/{path}")
                (directory / path).parent.mkdir(parents=True, exist_ok=True)
                (directory / path).write_bytes(content)
                if kind == "entries":
                    ensure(len(content) == 34 * width, "an entry has 34 bytes")
                    leaves += [content[at + 2 : at + 34] for at in range(0, len(content), 34)]
        level, count = level + 1, count // 256
    return leaves


def published(demo, group):
    """The verifier key of a group's log, and what it has published before and after some sales."""
    gateway = demo.gateway
    older = gateway.checkpoint(group)
    origin, old_size, _ = tree_of(older)
    key = demo.log_key(group, origin)
    demo.sell(SALES, "peers")
    deadline = time.monotonic() + 60
    while tree_of(gateway.checkpoint(group))[1] < old_size + SALES:
        ensure(time.monotonic() < deadline, "no checkpoint over the sales")
        time.sleep(0.2)
    consistency = gateway.ask(f"/api/v1/audit/proofs/consistency?group={group}&from_size={old_size}")
    export = gateway.ask("/api/v1/audit/export?outlet_id=outlet-gombe")
    return key, older, consistency, export


def cases_of(key, older, consistency, export):
    grown = json.loads(consistency)
    note = grown["checkpoint"]["checkpoint"]
    good = [case("checkpoint", key, older), case("checkpoint", key, note)]
    bad = list(changed_notes(key, note))
    grew = case("consistency", key, note, older=older, hashes=grown["hashes"])
    good.append(grew)
    bad += changed_proofs(grew)
    lines = [json.loads(line) for line in export.splitlines()]
    last = lines[-1]["checkpoint"]
    for record in (record for line in lines for record in line["records"]):
        included = case(
            "inclusion", key, last, leaf=record["entry_hash"], index=record["leaf_index"], hashes=record["inclusion"]
        )
        good.append(included)
        bad += changed_proofs(included)
    ensure(len(good) > SALES, "too few records were exported")
    return good, bad


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Witness:
    """The real witness server."""

    def __init__(self, directory, name):
        self.command = [AICS, "-m", "aics_witness"]
        self.directory, self.port = directory, free_port()
        init = ["init", "--name", name, "--listen", f"127.0.0.1:{self.port}"]
        said = self.run(init)
        self.key = next(word for word in said.split() if word.startswith(f"{name}+"))

    def run(self, arguments):
        done = subprocess.run(
            self.command + arguments, cwd=self.directory, capture_output=True, text=True, timeout=60
        )
        ensure(done.returncode == 0, f"aics-witness {arguments[0]}: {done.stderr}")
        return done.stdout

    def __enter__(self):
        self.server = subprocess.Popen(
            self.command + ["serve"], cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                ensure(time.monotonic() < deadline and self.server.poll() is None, "aics-witness does not start")
                time.sleep(0.1)

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait(30)

    def add(self, old, hashes, note):
        """The status and the body that `add-checkpoint` is answered with."""
        proof = "".join(base64.b64encode(bytes.fromhex(text)).decode() + "\n" for text in hashes)
        body = f"old {old}\n{proof}\n{note}".encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/add-checkpoint", data=body)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def witnessed(directory, key, older, consistency):
    """The witness cosigns what only grew and nothing else; answers its key and the cosigned checkpoints."""
    grown = json.loads(consistency)
    note, old_size = grown["checkpoint"]["checkpoint"], grown["from_size"]
    witness = Witness(directory, "witness.example/w1")
    witness.run(["add-log", "--origin", tree_of(older)[0], "--vkey", key])
    with witness:
        status, before = witness.add(0, [], older)
        ensure(status == 200, f"the witness refuses the first checkpoint: {status} {before}")
        forged = [flipped(grown["hashes"][0])] + grown["hashes"][1:]
        status, body = witness.add(old_size, forged, note)
        ensure(status == 422, f"a wrong proof is answered with {status} {body}")
        status, body = witness.add(0, [], note)
        ensure(status == 409, f"a forgotten state is answered with {status} {body}")
        status, after = witness.add(old_size, grown["hashes"], note)
        ensure(status == 200, f"the witness refuses what only grew: {status} {after}")
    print("  aics-witness: cosigns the log, refuses another proof and a forgotten state")
    return witness.key, older + before, note + after


def until(what, found):
    """Waits for what another part does; what was found."""
    deadline = time.monotonic() + 60
    while True:
        if (it := found()) is not None:
            return it
        ensure(time.monotonic() < deadline, f"never: {what}")
        time.sleep(0.2)


def served(gateway, size):
    """The checkpoint that everybody may read, once it covers so many leaves."""

    def look():
        try:
            note = gateway.get("/log/1/checkpoint").decode()
        except urllib.error.HTTPError:
            return None
        return note if tree_of(note)[1] >= size else None

    return until(f"a checkpoint over {size} leaves", look)


def forked(directory):
    """Two continuations of one log with the same keys: the witness server cosigns the one that it has seen, and refuses the
    other, and our node says so and publishes nothing of it."""
    home, fork, w = directory / "forked", directory / "fork", directory / "w2"
    w.mkdir()
    with Demo(home) as demo:
        origin = tree_of(demo.gateway.checkpoint(1))[0]
        key = demo.log_key(1, origin)
    witness = Witness(w, "witness.example/w2")
    witness.run(["add-log", "--origin", origin, "--vkey", key])
    config = home / "n1" / "node.toml"
    told = config.read_text()
    ensure("\nwitness_quorum = 0\n" in told, "the node's configuration has no witness_quorum")
    told = told.replace("\nwitness_quorum = 0\n", "\nwitness_quorum = 1\n")
    config.write_text(f'{told}\n[[witnesses]]\nkey = "{witness.key}"\nurl = "http://127.0.0.1:{witness.port}"\n')
    with witness:
        with Demo(home) as demo:
            before = tree_of(served(demo.gateway, 1))[1]
        shutil.copytree(home, fork, symlinks=True)
        with Demo(home) as demo:
            demo.sell(SALES, "seen")
            cosigned = served(demo.gateway, before + SALES)
        home.rename(directory / "seen")
        fork.rename(home)
        with Demo(home) as demo:
            demo.sell(2 * SALES, "hidden")

            def alert():
                alerts = demo.admin("status")["alerts"]
                return next((what for what in alerts if "does not extend what it has seen" in what), None)

            alerted = until("the node says that it was refused", alert)
            ensure("witness.example/w2" in alerted, alerted)
            note = demo.gateway.get("/log/1/checkpoint").decode()
            # What was read last before the copy was made may have grown by then.
            ensure(tree_of(note)[1] < before + SALES, "a part of the fork is published")
    incidents = (home / "n1" / "data" / "incidents.ndjson").read_text()
    ensure("does not extend what it has seen" in incidents, f"no incident tells of the fork: {incidents}")
    cases = [case("checkpoint", key, text, witness=witness.key) for text in (cosigned, note)]
    run_peer("aics-tlog, before and beside the fork", [AICS, PEERS / "aics.py"], cases, [True, True])
    print("  aics-witness: refuses the fork of a log that it has seen, and the node raises the alarm")


def verify(arguments, expected, directory):
    command = [FISCUS, "verify"] + arguments + ["--json"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120)
    ensure(done.returncode == expected, f"{arguments}: exit {done.returncode}, {done.stdout}{done.stderr}")


def agrees(directory, key, older, consistency, export, cosigned):
    """`fiscus verify` on the same files."""
    policy = f'fiscus_policy = 1\nlogs = ["{key}"]\nfiscal_keys = "fiscal-keys.json"\n'
    (directory / "policy.toml").write_text(policy)
    (directory / "older").write_text(older)
    (directory / "proof.json").write_bytes(consistency)
    (directory / "export.ndjson").write_bytes(export)
    verify(["export", "--policy", "policy.toml", "export.ndjson"], 0, directory)
    verify(["log", "--policy", "policy.toml", "--since", "older", "proof.json"], 0, directory)
    (directory / "cut.ndjson").write_bytes(export[: len(export) // 2])
    verify(["export", "--policy", "policy.toml", "cut.ndjson"], 19, directory)
    if cosigned is None:
        return
    witness, before, after = cosigned
    asks = policy.replace("fiscal_keys", f'witnesses = ["{witness}"]\nquorum = 1\nfiscal_keys')
    (directory / "witnessed.toml").write_text(asks)
    (directory / "before").write_text(before)
    grown = json.loads(consistency)
    grown["checkpoint"]["checkpoint"] = after
    text = json.dumps(grown, ensure_ascii=False, separators=(",", ":"))
    (directory / "seen.json").write_text(text)
    verify(["log", "--policy", "witnessed.toml", "--since", "before", "seen.json"], 0, directory)
    verify(["log", "--policy", "witnessed.toml", "--since", "before", "proof.json"], 18, directory)
    verify(["log", "--policy", "witnessed.toml", "--since", "older", "seen.json"], 18, directory)


def copied(gateway, older, note, tiles):
    """The whole log in a directory; pymerkle comes to the same roots."""
    _, size, root = tree_of(note)
    leaves = copy_tiles(gateway, 1, size, tiles)
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    ensure(len(leaves) == size and tree.get_root(size) == root, "pymerkle comes to another root")
    old_size, old_root = tree_of(older)[1:]
    ensure(tree.get_root(old_size) == old_root, "pymerkle comes to another earlier root")
    ensure(tree.get_root(size - 1) != root, "pymerkle comes to the same root with a leaf less")
    print(f"  pymerkle: the roots of {old_size} and {size} leaves")


def audited(key, note, tiles):
    """aics-tlog walks over every tile, and finds the one that was changed."""
    command, whole = [AICS, PEERS / "aics.py"], case("tiles", key, note, directory=str(tiles))
    run_peer("aics-tlog, every tile", command, [whole], [True])
    file = next(path for path in (tiles / "tile" / "entries").rglob("*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    run_peer("aics-tlog, a changed tile", command, [whole], [False])


def check(demo, directory):
    gateway = demo.gateway
    key, older, consistency, export = published(demo, 1)
    good, bad = cases_of(key, older, consistency, export)
    cases, expected = good + bad, [True] * len(good) + [False] * len(bad)
    run_peer("Go sumdb/note, sumdb/tlog", go(directory), cases, expected)
    # It knows no consistency.
    some = [at for at, one in enumerate(cases) if one["kind"] != "consistency"]
    environment = os.environ | {"FISCUS_PEERS": str(CACHE / "peers")}
    command = ["node", PEERS / "sigstore.mjs"]
    run_peer("@sigstore/verify", command, [cases[at] for at in some], [expected[at] for at in some], env=environment)

    note = json.loads(consistency)["checkpoint"]["checkpoint"]
    tiles = directory / "tiles"
    copied(gateway, older, note, tiles)
    cosigned = None
    if AICS.exists():
        run_peer("aics-tlog", [AICS, PEERS / "aics.py"], cases, expected)
        audited(key, note, tiles)
        (directory / "witness").mkdir()
        cosigned = witnessed(directory / "witness", key, older, consistency)
        run_peer("aics-tlog, with the witness", [AICS, PEERS / "aics.py"], [
            case("checkpoint", key, cosigned[2], witness=cosigned[0]),
            case("checkpoint", key, note, witness=cosigned[0]),
        ], [True, False])  # fmt: skip
    else:
        print("  aics-tlog and aics-witness are left out: tests/setup.sh found no Python from 3.12 on")
    (directory / "files").mkdir()
    keys = gateway.get("/.well-known/fiscal-keys.json")
    (directory / "files" / "fiscal-keys.json").write_bytes(keys)
    agrees(directory / "files", key, older, consistency, export, cosigned)
    print("  fiscus verify agrees")


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        try:
            with Demo(directory / "demo") as demo:
                check(demo, directory)
            if AICS.exists():
                forked(directory)
            else:
                print("the real witness server was not there (it needs Python 3.12): no fork shown to it")
        except Failed as failed:
            print(failed, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
