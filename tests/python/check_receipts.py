"""Makes keys and receipts of its own and lets `fiscus receipt verify` judge them.

Genuine receipts must pass; every altered field, wrong key, wrong time and other spelling must fail,
each with the exit code that docs/CLI.md gives it. FISCUS is the binary.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import fiscus_model as m

FISCUS = os.environ["FISCUS"]
HOST = "verify.example.cd"
OK, SIGNATURE, MALFORMED, UNKNOWN, KEYS, TIME, COMPROMISED, CREDENTIAL = 0, 1, 3, 4, 5, 6, 7, 8
CODES = {
    SIGNATURE: "SIGNATURE_INVALID", MALFORMED: "QR_MALFORMED", UNKNOWN: "AUTHORITY_UNKNOWN", KEYS: "KEYS_INVALID",
    TIME: "KEY_NOT_VALID_AT_TIME", COMPROMISED: "KEY_COMPROMISED", CREDENTIAL: "CREDENTIAL_INVALID",
}  # fmt: skip
tally = m.Tally()
directory = tempfile.TemporaryDirectory()
FROM, UNTIL = m.unix_ms("2026-02-01T00:00:00Z"), m.unix_ms("2026-12-31T23:59:59.999Z")


class Authority:
    def __init__(self, name, seed_byte, **key):
        self.seed = bytes([seed_byte]) * 32
        self.public = m.public_key(self.seed)
        self.id = m.authority_id(name, self.public)
        self.key = {
            "fiscal_authority_id": self.id,
            "algorithm": "Ed25519",
            "public_key": m.b64(self.public),
            "valid_from": m.iso(FROM),
            "valid_until": m.iso(UNTIL),
            "status": "active",
        } | key


KIN = Authority("kin", 1)
GOMA = Authority("goma", 2)
RETIRED = Authority("old", 3, status="retired")
PREPARED = Authority("next", 4, status="prepared")
COMPROMISED_KEY = Authority("lost", 5, status="compromised")
OPEN_ENDED = Authority("open", 6, valid_until=None)
STRANGER = Authority("stranger", 7)
OTHER_ALGORITHM = Authority("rsa", 8, algorithm="RSA")
OTHER_STATUS = Authority("odd", 9, status="sleeping")
PUBLISHED = [KIN, GOMA, RETIRED, PREPARED, COMPROMISED_KEY, OPEN_ENDED, OTHER_ALGORITHM, OTHER_STATUS]


def keys_file(name, content):
    path = Path(directory.name) / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


ALL_KEYS = keys_file("keys.json", {"keys": [authority.key for authority in PUBLISHED]})


def verify(url, keys=ALL_KEYS):
    run = subprocess.run([FISCUS, "receipt", "verify", url, "--keys", str(keys), "--json"], capture_output=True, timeout=30)
    try:
        return run.returncode, json.loads(run.stdout)
    except ValueError:
        return run.returncode, {"ok": None, "detail": f"{run.stdout!r} {run.stderr!r}"}


def expect(wanted, name, url, keys=ALL_KEYS):
    code, answer = verify(url, keys)
    ok = code == wanted and answer.get("ok") is (wanted == OK) and answer.get("code") == CODES.get(wanted)
    tally.check(ok, f"{name}: exit {code}, wanted {wanted}: {answer}\n  {url}")
    return answer


def receipt(by=KIN, seed=None, **fields):
    """A receipt signed with an authority's key, or another."""
    r = m.Receipt("CD-KIN01-17", m.unix_ms("2026-06-15T10:20:30.456Z"), "sale", "1160.00", "CDF", by.id, bytes(range(32)), b"")
    r = r._replace(**fields)
    return r._replace(signature=m.sign(seed or by.seed, m.receipt_hash(r)))


def check_genuine():
    numbers = ("CD-KIN01-1", "A-B-9007199254740993", "PREFIX123456-OUTLET123456-42")
    cases = [receipt(number=number) for number in numbers] + [receipt(kind=kind) for kind in m.TYPES]
    cases += [receipt(total=total, currency=c) for total in ("0.00", "0.01", "10000000000000.00") for c in ("CDF", "USD")]
    cases += [receipt(authority) for authority in (GOMA, RETIRED, OPEN_ENDED)]
    cases += [receipt(ms=ms) for ms in (FROM, UNTIL)] + [receipt(OPEN_ENDED, ms=UNTIL * 2)]
    for r in cases:
        answer = expect(OK, f"genuine {r.number} {r.kind} {r.total} {r.currency} {r.authority}", m.qr_url(HOST, r))
        wanted = {
            "fiscal_number": r.number, "timestamp": m.iso(r.ms), "kind": r.kind, "total": r.total, "currency": r.currency,
            "fiscal_authority_id": r.authority, "auth_code": m.auth_code(r.signature), "hidden_hash": r.hidden.hex(),
            "entry_hash": m.receipt_hash(r).hex(),
        }  # fmt: skip
        wrong = {k: (answer.get(k), v) for k, v in wanted.items() if answer.get(k) != v}
        tally.check(not wrong, f"genuine, fiscus and this side differ: {wrong}")
        tally.check(m.receipt_holds(m.qr_url(HOST, r), {a.id: a.public for a in PUBLISHED}), "genuine, not here")
    expect(OK, "colons as they are", m.qr_url(HOST, receipt()).replace("%3A", ":"))


def flip(data, bit):
    return (int.from_bytes(data, "little") ^ 1 << bit).to_bytes(len(data), "little")


def check_altered():
    r = receipt()
    for field, value in (
        ("number", "CD-KIN01-18"), ("number", "CD-KIN02-17"), ("number", "CE-KIN01-17"), ("number", "CD-KIN01-170"), ("number", "CD-KIN01-1"),
        ("ms", r.ms + 1), ("ms", r.ms - 1000), ("ms", r.ms + 86_400_000),
        ("kind", "advance"), ("kind", "credit_note"), ("kind", "export"),
        ("total", "1160.01"), ("total", "11600.00"), ("total", "0.00"), ("currency", "USD"), ("authority", GOMA.id),
    ):  # fmt: skip
        expect(SIGNATURE, f"altered {field} {value}", m.qr_url(HOST, r._replace(**{field: value})))
    for bit in range(0, 256, 5):
        expect(SIGNATURE, f"bit {bit} of the hidden hash", m.qr_url(HOST, r._replace(hidden=flip(r.hidden, bit))))
    for bit in range(0, 512, 7):
        expect(SIGNATURE, f"bit {bit} of the signature", m.qr_url(HOST, r._replace(signature=flip(r.signature, bit))))
    # The same signature with s + L: some verifiers let it pass, and the authentication code would change.
    order = 2**252 + 27742317777372353535851937790883648493
    second = (int.from_bytes(r.signature[32:], "little") + order).to_bytes(32, "little")
    expect(SIGNATURE, "s + L", m.qr_url(HOST, r._replace(signature=r.signature[:32] + second)))
    expect(SIGNATURE, "all zeros", m.qr_url(HOST, r._replace(signature=bytes(64))))
    expect(SIGNATURE, "another receipt's signature", m.qr_url(HOST, r._replace(signature=receipt(number="CD-KIN01-18").signature)))


def check_keys():
    expect(SIGNATURE, "another authority's key", m.qr_url(HOST, receipt(KIN, seed=GOMA.seed)))
    expect(UNKNOWN, "unknown authority", m.qr_url(HOST, receipt(STRANGER)))
    expect(UNKNOWN, "unknown authority, known key", m.qr_url(HOST, receipt(KIN, authority="kin.0000000000000000")))
    expect(UNKNOWN, "unknown algorithm", m.qr_url(HOST, receipt(OTHER_ALGORITHM)))
    expect(UNKNOWN, "unknown status", m.qr_url(HOST, receipt(OTHER_STATUS)))
    expect(TIME, "before the key", m.qr_url(HOST, receipt(ms=FROM - 1)))
    expect(TIME, "after the key", m.qr_url(HOST, receipt(ms=UNTIL + 1)))
    expect(TIME, "long after a retired key", m.qr_url(HOST, receipt(RETIRED, ms=UNTIL + 86_400_000)))
    expect(TIME, "a prepared key", m.qr_url(HOST, receipt(PREPARED)))
    expect(COMPROMISED, "a compromised key", m.qr_url(HOST, receipt(COMPROMISED_KEY)))
    expect(SIGNATURE, "a compromised key, altered", m.qr_url(HOST, receipt(COMPROMISED_KEY)._replace(total="1.00")))
    good = m.qr_url(HOST, receipt())
    for name, content in (
        ("empty", b""), ("not JSON", b"keys"), ("array", []), ("no keys", {}), ("keys is text", {"keys": "x"}),
        ("short key", {"keys": [KIN.key | {"public_key": m.b64(KIN.public[:31])}]}),
        ("long key", {"keys": [KIN.key | {"public_key": m.b64(KIN.public + b"x")}]}),
        ("key is not base64", {"keys": [KIN.key | {"public_key": "!" * 44}]}),
        ("no id", {"keys": [{k: v for k, v in KIN.key.items() if k != "fiscal_authority_id"}]}),
        ("bad time", {"keys": [KIN.key | {"valid_from": "yesterday"}]}),
        ("not UTF-8", b'{"keys":[]}\xff'),
    ):  # fmt: skip
        expect(KEYS, f"keys file: {name}", good, keys_file("bad.json", content))
    expect(KEYS, "keys file: absent", good, Path(directory.name) / "absent.json")
    expect(UNKNOWN, "keys file: without keys", good, keys_file("none.json", {"keys": []}))


def check_spelling():
    good = m.qr_url(HOST, receipt())
    fields = good.split("?")[1].split("&")
    base = good.split("?")[0] + "?"
    signature = fields[7][2:]
    malformed = {
        "empty": "", "text": "hello", "http": good.replace("https", "http"), "HTTPS": good.replace("https", "HTTPS"),
        "no host": good.replace(HOST, ""), "another path": good.replace("/v?", "/w?"), "no query": base[:-1],
        "fragment": good + "#x", "more": good + "&x=1", "ampersand": good + "&", "space": good + " ", "line feed inside": good[:60] + "\n" + good[60:],
        "lower-case percent": good.replace("%3A", "%3a"), "needless percent": good.replace("fn=CD", "fn=%43D"), "double percent": good.replace("%3A", "%253A"),
        "cut percent": good.replace("fn=CD", "fn=%4"), "padding": good + "==", "padded hash": good.replace("&s=", "=&s="),
        "plus for a space": good.replace("k=sale", "k=sale+"), "semicolons": good.replace("&", ";"), "upper-case name": good.replace("&ts=", "&TS="),
        "seconds only": good.replace(".456Z", "Z"), "other fraction": good.replace(".456Z", ".4560Z"), "zone": good.replace(".456Z", ".456%2B00%3A00"),
        "no such day": good.replace("-06-15", "-06-31"), "credential empty": good + "&cr=", "credential not base64": good + "&cr=!!!",
        "credential cut": good + "&cr=AQ", "total with one decimal": good.replace("1160.00", "1160.0"), "total with zeros": good.replace("1160.00", "01160.00"),
        "negative total": good.replace("1160.00", "-1160.00"), "small currency": good.replace("CDF", "cdf"), "unpadded number": good.replace("-17&", "-017&"),
        "small prefix": good.replace("fn=CD", "fn=cd"), "unknown kind": good.replace("k=sale", "k=gift"), "short signature": good[:-2], "long signature": good + "AA",
        "short hash": good.replace("&s=", "&s=").replace(fields[6], fields[6][:-2]), "standard base64": base + "&".join([*fields[:7], "s=" + "+/" + signature[2:]]),
        "zero-width space": good.replace("CD-KIN01", "CD-\u200bKIN01"),
        # 64 bytes leave 4 spare bits in the last letter: A, Q, g and w are the only right ones.
        "spare bits": good[:-1] + chr(ord(good[-1]) + 1),
    }  # fmt: skip
    for n, field in enumerate(fields):
        malformed[f"without {field[:3]}"] = base + "&".join(fields[:n] + fields[n + 1 :])
        malformed[f"twice {field[:3]}"] = base + "&".join(fields[: n + 1] + fields[n:])
        malformed[f"empty {field[:3]}"] = base + "&".join([*fields[:n], field.split("=")[0] + "=", *fields[n + 1 :]])
        if n:
            swapped = [*fields[: n - 1], fields[n], fields[n - 1], *fields[n + 1 :]]
            malformed[f"{field[:3]} one place earlier"] = base + "&".join(swapped)
    for name, url in malformed.items():
        tally.check(url != good, f"malformed, {name}: is the genuine one")
        expect(MALFORMED, f"malformed, {name}", url)


def credential(**fields):
    """A credential of KIN for numbers 10 to 20, and the seed of its terminal."""
    seed = b"\x21" * 32
    start = m.unix_ms("2026-06-15T08:00:00Z")
    c = m.Credential("credential-1", "outlet-1", "CD-KIN01", 10, 20, start, start + 43_200_000, m.public_key(seed), bytes(32), KIN.id, b"")
    c = c._replace(**{k: v for k, v in fields.items() if k != "signer"})
    return c._replace(signature=m.sign(fields.get("signer", KIN).seed, m.credential_hash(c))), seed


def offline(made, **fields):
    c, seed = made
    r = receipt(KIN, seed=seed, **{"authority": c.id, "number": "CD-KIN01-17", **fields})
    return m.qr_url(HOST, r._replace(cr=m.compact_credential(c)))


def check_credentials():
    made = credential()
    c, seed = made
    for number in (10, 17, 20):
        expect(OK, f"offline {number}", offline(made, number=f"CD-KIN01-{number}"))
    for ms in (c.not_before, c.not_after):
        expect(OK, f"offline at {m.iso(ms)}", offline(made, ms=ms))
    expect(OK, "offline, sealed after the authority's key ended", offline(credential(not_before=UNTIL, not_after=UNTIL + 1000), ms=UNTIL + 500))
    for name, url in {
        "number below the range": offline(made, number="CD-KIN01-9"), "number above the range": offline(made, number="CD-KIN01-21"),
        "another outlet's number": offline(made, number="CD-KIN02-17"), "another prefix": offline(made, number="XX-KIN01-17"),
        "too early": offline(made, ms=c.not_before - 1), "too late": offline(made, ms=c.not_after + 1),
        "signed by another authority": offline(credential(signer=GOMA)), "signed by the terminal": offline((c._replace(signature=m.sign(seed, m.credential_hash(c))), seed)),
    }.items():  # fmt: skip
        expect(CREDENTIAL, f"credential: {name}", url)
    for field, value in (
        ("last", 21), ("first", 9), ("not_after", c.not_after + 1), ("not_before", c.not_before - 1), ("outlet", "outlet-2"), ("block", b"\x01" * 32),
    ):  # fmt: skip
        expect(CREDENTIAL, f"credential: altered {field}", offline((c._replace(**{field: value}), seed)))
    thief = b"\x22" * 32
    expect(CREDENTIAL, "credential: another terminal's key put in", offline((c._replace(key=m.public_key(thief)), thief)))
    expect(SIGNATURE, "offline, another terminal signed", offline((c, thief)))
    expect(SIGNATURE, "offline, the authority signed", offline((c, KIN.seed)))
    expect(SIGNATURE, "offline, altered total", offline(made).replace("t=1160.00", "t=1161.00"))
    expect(UNKNOWN, "offline, unknown authority", offline(credential(authority=STRANGER.id, signer=STRANGER)))
    expect(COMPROMISED, "offline, compromised key", offline(credential(authority=COMPROMISED_KEY.id, signer=COMPROMISED_KEY)))
    expect(TIME, "offline, granted before the key", offline(credential(not_before=FROM - 1), ms=FROM + 1))
    code, _ = verify(offline(made, authority="credential-2"))
    tally.check(code in (MALFORMED, CREDENTIAL), f"offline, another credential's id: exit {code}")
    code, _ = verify(offline(made).split("&cr=")[0])
    tally.check(code == UNKNOWN, f"offline, without its credential: exit {code}")
    code, _ = verify(m.qr_url(HOST, receipt(KIN)._replace(cr=m.compact_credential(c))))
    tally.check(code in (MALFORMED, CREDENTIAL, SIGNATURE), f"online with a credential: exit {code}")
    for n in range(0, len(offline(made).split("&cr=")[1]), 5):
        url = offline(made)
        at = url.index("&cr=") + 4 + n
        code, _ = verify(url[:at] + ("A" if url[at] != "A" else "B") + url[at + 1 :])
        tally.check(code in (MALFORMED, CREDENTIAL, UNKNOWN, SIGNATURE), f"credential, letter {n} altered: exit {code}")


def check_unsettled():
    """Where this side reads the design otherwise than the product. Each row states what the product does
    now; when one fails the question was settled, and the row moves to where it belongs."""
    # "The record kind of an invoice is its invoice_type", of an appended seal `offline_…` or `def_…`; "answers
    # carry both [codes] and verification accepts either".
    expect(OK, "settled: kind offline_sale", m.qr_url(HOST, receipt(kind="offline_sale")))
    expect(OK, "settled: kind def_sale", m.qr_url(HOST, receipt(kind="def_sale")))
    # "its id is `name.` and the first 8 bytes, in hex, of SHA-256(public key)". This side: KEYS_INVALID.
    swapped = keys_file("swap.json", {"keys": [KIN.key | {"public_key": STRANGER.key["public_key"]}]})
    expect(OK, "unsettled: a key that the authority's id does not name", m.qr_url(HOST, receipt(KIN, seed=STRANGER.seed)), swapped)


check_genuine()
check_altered()
check_keys()
check_spelling()
check_credentials()
check_unsettled()
directory.cleanup()
tally.finish()
