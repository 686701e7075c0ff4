"""Receives webhooks of a running `fiscus demo` and has the official libraries check them, as they came and changed.

PyPI's and npm's standardwebhooks and svix for v1, PyPI's pynacl for v1a. They must accept every delivery, and a message
of each event of the catalogue, during a rotation with either secret, and refuse a changed byte, an old timestamp and a
wrong secret. `fiscus webhook listen` must agree. FISCUS is the binary.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import nacl.exceptions
import nacl.signing

FISCUS = os.environ["FISCUS"]
CACHE = Path(os.environ.get("FISCUS_CACHE") or Path.home() / ".cache" / "fiscus")
PEERS = Path(__file__).parent.parent / "peers"
NAMES = ["webhook-id", "webhook-timestamp", "webhook-signature"]
SALES = 6


class Failed(Exception):
    pass


def ensure(holds, what):
    if not holds:
        raise Failed(what)


class Receiver(http.server.BaseHTTPRequestHandler):
    came = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name: self.headers[name] for name in NAMES}
        self.came.append({"headers": headers, "body": body.decode(), "path": self.path})
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Gateway:
    def __init__(self, said):
        self.base, self.key, self.requests = said["gateway"], said["api_key"], 0

    def post(self, path, body):
        self.requests += 1
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"webhooks-{self.requests}"}
        return self.ask(path, headers, json.dumps(body).encode())

    def get(self, path):
        return self.ask(path, {}, None)

    def ask(self, path, headers, data):
        headers = headers | {"Authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(self.base + "/api/v1" + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def wait_for(what, holds):
    deadline = time.monotonic() + 60
    while not holds():
        ensure(time.monotonic() < deadline, f"not within a minute: {what}")
        time.sleep(0.05)


def secret_of(number):
    return "whsec_" + base64.b64encode(hashlib.sha256(str(number).encode()).digest()).decode()


def signed_anew(one, timestamp):
    """The same message, signed rightly at another time."""
    headers = one["headers"]
    text = f"{headers['webhook-id']}.{timestamp}.{one['body']}".encode()
    key = base64.b64decode(one["secret"].removeprefix("whsec_"))
    code = base64.b64encode(hmac.digest(key, text, "sha256")).decode()
    return one | {"headers": headers | {"webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{code}"}}


def changed(one):
    headers, body = one["headers"], one["body"]
    at = len(body) // 2
    now = int(time.time())
    yield one | {"body": body[:at] + chr(ord(body[at]) ^ 1) + body[at + 1 :]}
    yield one | {"headers": headers | {"webhook-id": headers["webhook-id"] + "0"}}
    yield one | {"headers": headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}}
    yield signed_anew(one, now - 3_600)
    yield signed_anew(one, now + 3_600)
    yield one | {"secret": secret_of(1)}


def ask(name, command, cases, expected, **more):
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=120, **more)
    ensure(done.returncode == 0, f"{name}: {done.stderr}")
    for one, answer, wanted in zip(cases, json.loads(done.stdout), expected, strict=True):
        ensure(answer == wanted, f"{name} {'refuses' if wanted else 'accepts'} {json.dumps(one)}")
    print(f"  {name}: accepts {sum(expected)}, refuses {len(expected) - sum(expected)}")


def asymmetric(one, key):
    headers = one["headers"]
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{one['body']}".encode()
    for signature in headers["webhook-signature"].split(" "):
        version, _, code = signature.partition(",")
        try:
            if version == "v1a":
                key.verify(text, base64.b64decode(code))
                return True
        except nacl.exceptions.BadSignatureError:
            pass
    return False


def check(demo, url):
    gateway = Gateway(json.loads(demo.stdout.readline()))
    made = gateway.post("/webhooks", {"url": url})
    sale = json.loads((Path(__file__).parent.parent.parent / "docs/samples/sale.json").read_text())
    seal = lambda: gateway.post("/invoices", sale)
    sealed = [seal() for _ in range(SALES)]
    wait_for("every sale is told", lambda: len(Receiver.came) >= SALES)
    rotated = gateway.post(f"/webhooks/{made['endpoint_id']}/rotate", {})
    sealed += [seal() for _ in range(SALES)]
    wait_for("every sale is told after a rotation", lambda: len(Receiver.came) >= 2 * SALES)
    came = list(Receiver.came)
    kinds = [event["name"] for event in gateway.get("/webhooks/events")["data"]]
    for kind in kinds:
        tested = gateway.post(f"/webhooks/{made['endpoint_id']}/test?event={kind}", {})
        ensure(tested["outcome"] == "delivered", f"a message of {kind}: {tested}")
    tests = Receiver.came[len(came) :]
    ensure([json.loads(one["body"])["type"] for one in tests] == kinds, "each event of the catalogue has come")
    listed = gateway.get(f"/webhooks/{made['endpoint_id']}/attempts?event=endpoint.test")["data"]
    ensure(len(listed) == 1, "a test message is in the log of attempts")
    numbers = {json.loads(one["body"])["data"]["fiscal_number"] for one in came}
    ensure(numbers == {one["fiscal_number"] for one in sealed}, "what was sealed is what was told")

    came += tests
    good = [one | {"secret": made["secret"]} for one in came]
    good += [one | {"secret": rotated["secret"]} for one in came[SALES:]]
    bad = [one | {"secret": rotated["secret"]} for one in came[:SALES]]
    bad += [other for one in good for other in changed(one)]
    cases, expected = good + bad, [True] * len(good) + [False] * len(bad)
    python = CACHE / "webhooks" / "bin" / "python"
    ask("PyPI standardwebhooks, svix", [python, PEERS / "webhooks.py"], cases, expected)
    environment = os.environ | {"FISCUS_PEERS": str(CACHE / "peers")}
    ask("npm standardwebhooks, svix", ["node", PEERS / "webhooks.mjs"], cases, expected, env=environment)

    public = [key.removeprefix("whpk_") for key in rotated["public_keys"]]
    keys = [nacl.signing.VerifyKey(base64.b64decode(key)) for key in public]
    ensure(len(keys) == 2, "both secrets are in force")
    for one in came:
        ensure(asymmetric(one, keys[0]), "pynacl refuses a delivery")
        ensure(asymmetric(one, keys[1]) == (one in came[SALES:]), "the second key signs after the rotation")
        other = one | {"body": one["body"] + " "}
        ensure(not any(asymmetric(other, key) for key in keys), "pynacl accepts what was changed")
    print(f"  pynacl: accepts {len(came)}, refuses {len(came)}")
    listens(gateway, rotated)


def listens(gateway, endpoint):
    """`fiscus webhook listen` believes what comes, and answers as it was told to."""
    arguments = [FISCUS, "webhook", "listen", "--listen", "127.0.0.1:0", "--count", "1", "--secret"]
    for secret, more, verified, status in [
        (endpoint["secret"], [], True, 204),
        (secret_of(1), [], False, 400),
        (endpoint["secret"], ["--fail", "503"], True, 503),
        (endpoint["secret"], ["--hang"], True, None),
    ]:
        listener = subprocess.Popen(arguments + [secret] + more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        url = listener.stderr.readline().split()[-1]
        other = gateway.post("/webhooks", {"url": url, "events": ["endpoint.test"]})
        ensure(other["secret"] != endpoint["secret"], "each endpoint has a secret of its own")
        if secret == endpoint["secret"]:
            # The listener must know the secret of the endpoint that it is.
            listener.kill()
            listener.wait()
            secret = other["secret"]
            port = url.rstrip("/").rsplit(":", 1)[1]
            command = [FISCUS, "webhook", "listen", "--listen", f"127.0.0.1:{port}", "--count", "1", "--secret", secret]
            listener = subprocess.Popen(command + more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            listener.stderr.readline()
        tested = gateway.post(f"/webhooks/{other['endpoint_id']}/test", {})
        said = json.loads(listener.stdout.readline())
        ensure(listener.wait(30) == 0, "it ends after one message")
        ensure((said["verified"], said["answered"]) == (verified, status), f"fiscus webhook listen: {said}")
        ensure(tested["status"] == status, f"the test tells what was answered: {tested}")
    listener = subprocess.Popen(arguments[:-3], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = listener.stderr.readline().split()[-1]
    listener.stdout.close()
    other = gateway.post("/webhooks", {"url": url, "events": ["endpoint.test"]})
    tested = gateway.post(f"/webhooks/{other['endpoint_id']}/test", {})
    ensure(tested["outcome"] == "delivered", f"it is taken even when nobody reads what is printed: {tested}")
    ensure(listener.wait(30) == 0, "and then it ends")
    ensure(listener.stderr.read() == "", "without a word")
    print("  fiscus webhook listen agrees")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/in"
    with tempfile.TemporaryDirectory() as name:
        arguments = [FISCUS, "demo", "--no-uploads", "--json", "--nodes", "1", "--dir", Path(name) / "demo"]
        demo = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            check(demo, url)
        except Failed as failed:
            print(failed, file=sys.stderr)
            return 1
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
