"""Recomputes every golden vector from its inputs, with the second implementation.

Nothing may go unchecked: a file that is missing or new, or a field that this script does not read, fails.
"""

import json
from pathlib import Path

import fiscus_model as m

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
tally = m.Tally()


class Fields:
    """A JSON object that knows which of its fields were read."""

    def __init__(self, raw, where):
        self.raw, self.where, self.unread = raw, where, set(raw)

    def __getitem__(self, name):
        self.unread.discard(name)
        value = self.raw[name]
        if isinstance(value, dict):
            return fields(value, f"{self.where}/{name}")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [fields(v, f"{self.where}/{name}/{n}") for n, v in enumerate(value)]
        return value

    def hex(self, name):
        return bytes.fromhex(self[name])

    def equal(self, name, computed):
        if isinstance(computed, bytes):
            computed = computed.hex()
        expected = self[name]
        tally.check(computed == expected, f"{self.where}/{name}: computed {computed!r}, vector {expected!r}")


all_fields = []


def fields(raw, where):
    all_fields.append(Fields(raw, where))
    return all_fields[-1]


# --- tree.json ----------------------------------------------------------------------------------


def check_tree(v):
    rule = "leaf data i = BLAKE3 of the decimal text of i, in ASCII"
    v.equal("leaf_data_rule", rule)

    def leaves(count):
        return [m.payload_hash(str(i).encode()) for i in range(count)]

    for tree in v["trees"]:
        data = leaves(tree["tree_size"])
        tree.equal("root_hex", m.tree_root(data))
        tree.equal("stored_compact_range_hex", m.u64(len(data)) + b"".join(m.compact_range(data)))
    for p in v["inclusion_proofs"]:
        data, index = leaves(p["tree_size"]), p["leaf_index"]
        p.equal("leaf_data_hex", data[index])
        p.equal("root_hex", m.tree_root(data))
        p.equal("sibling_hashes_from_leaf_to_root_hex", [h.hex() for h in m.inclusion_path(data, index)])
        path, root = [bytes.fromhex(h) for h in p["sibling_hashes_from_leaf_to_root_hex"]], p.hex("root_hex")
        check_proof(p.where, lambda path, root: m.inclusion_holds(data[index], index, len(data), path, root), path, root)
    for p in v["consistency_proofs"]:
        old, new = p["old_tree_size"], p["new_tree_size"]
        data = leaves(new)
        p.equal("old_root_hex", m.tree_root(data[:old]))
        p.equal("new_root_hex", m.tree_root(data))
        p.equal("proof_hashes_hex", [h.hex() for h in m.consistency_path(data, old)] if old else [])
        path, root = [bytes.fromhex(h) for h in p["proof_hashes_hex"]], p.hex("new_root_hex")
        if old:
            check_proof(p.where, lambda path, root: m.consistency_holds(old, m.tree_root(data[:old]), new, root, path), path, root)
    check_heads(v["heads"])


def flipped(data, at=0):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def check_proof(where, holds, path, root):
    """The proof holds as it is, and in no altered form."""
    tally.check(holds(path, root), f"{where}: does not hold")
    altered = [path + [bytes(32)], *(path[:n] + path[n + 1 :] for n in range(len(path)))]
    altered += [path[:n] + [flipped(path[n])] + path[n + 1 :] for n in range(len(path))]
    tally.check(not any(holds(other, root) for other in altered), f"{where}: an altered proof holds")
    tally.check(not holds(path, flipped(root)), f"{where}: holds under another root")


def check_heads(v):
    v.equal("empty_root_hex", m.EMPTY_HEADS)
    heads = []
    for o in v["outlets"]:
        series = tuple((one["code"], one["last_number"]) for one in o["series"])
        heads.append(m.Head(o["outlet_id"], o["last_position"], series, o.hex("chain_head_hex"), o.hex("perpetual_digest_hex")))
        o.equal("root_of_this_and_all_outlets_before_hex", m.heads_root(heads))
    roots = {m.heads_root(heads[:n]): heads[:n] for n in range(len(heads) + 1)}
    for p in v["proofs"]:
        proof, root, outlet = p.hex("proof_hex"), p.hex("root_hex"), p["outlet_id"]
        try:
            said = m.heads_verdict(proof, outlet, root)
        except ValueError as error:
            tally.check(False, f"{p.where}: {error}")
            continue
        p.equal("verdict", "present" if said else "absent")
        if tally.check(root in roots, f"{p.where}: unknown root"):
            truth = next((h for h in roots[root] if h.outlet == outlet), None)
            tally.check(said == truth, f"{p.where}: says {said}, the truth is {truth}")
        for n in range(len(proof)):
            try:
                lie = m.heads_verdict(flipped(proof, n), outlet, root)
            except (ValueError, OverflowError):
                continue
            tally.check(False, f"{p.where}: byte {n} altered, still says {lie}")
    leaf = v["heads_leaf"]
    leaf.equal("leaf_data_hex", m.heads_leaf(leaf["cluster"], leaf["group"], leaf["leaf_index"], leaf.hex("heads_root_hex")))


# --- note.json ----------------------------------------------------------------------------------


def check_note(v):
    signers = []
    for key in (v["log_key"], v["other_key"]):
        name, seed = key["key_name"], key.hex("ed25519_seed_hex")
        public = m.public_key(seed)
        key.equal("ed25519_public_key_hex", public)
        key.equal("key_id_hex", m.note_key_id(name, public))
        key.equal("verifier_key", m.verifier_key(name, public))
        signers.append((name, seed))
    for c in v["checkpoints"]:
        text = m.checkpoint_text(c["origin"], c["tree_size"], c.hex("root_hex"), c["extension_lines"])
        c.equal("checkpoint_text", text)
        c.equal("note_signed_by_log_key", m.sign_note(text, signers[0]))
        both = c["note_signed_by_log_key_and_other_key"]
        c.equal("note_signed_by_log_key_and_other_key", m.sign_note(text, *signers))
        for name, seed in signers:
            tally.check(m.note_holds(both, name, m.public_key(seed)), f"{c.where}: the signature of {name}")
        tally.check(not m.note_holds("x" + both, signers[0][0], m.public_key(signers[0][1])), f"{c.where}: altered, holds")


# --- seal.json, fiscal-keys.json ----------------------------------------------------------------


def check_record(r, seed, keys, host, cr=None):
    payload = r["canonical_payload"].encode()
    r.equal("payload_hash", m.payload_hash(payload))
    r.equal("blind", m.blind(r.hex("blind_seed"), r["blind_index"]))
    r.equal("timestamp", m.iso(r["timestamp_unix_ms"]))
    hidden = m.hidden_hash(r["outlet_id"], r["position"], r.hex("payload_hash"), r.hex("blind"), r.hex("prev_hash"))
    r.equal("hidden_hash", hidden)
    receipt = m.Receipt(
        r["fiscal_number"], r["timestamp_unix_ms"], r["record_kind"], r["total"], r["currency"],
        r["fiscal_authority_id"], hidden, r.hex("signature"), cr,
    )  # fmt: skip
    entry = m.receipt_hash(receipt)
    r.equal("entry_hash", entry)
    r.equal("signature", m.sign(seed, entry))
    r.equal("auth_code", m.auth_code(r.hex("signature")))
    if receipt.number:  # only what takes a number has a receipt
        r.equal("qr_url", m.qr_url(host, receipt))
        tally.check(m.read_qr(r["qr_url"]) == receipt, f"{r.where}: the QR text reads back otherwise")
        tally.check(m.receipt_holds(r["qr_url"], keys), f"{r.where}: the receipt is not genuine")
    return entry


def check_seal(v):
    host, authority = v["qr_host"], v["authority"]
    seed = authority.hex("key_seed")
    public = m.public_key(seed)
    authority.equal("public_key", public)
    authority.equal("fiscal_authority_id", m.authority_id(authority["name"], public))
    keys = {authority["fiscal_authority_id"]: public}
    prev = bytes(32)
    for n, record in enumerate(v["records"], 1):
        record.equal("prev_hash", prev)
        record.equal("position", n)
        prev = check_record(record, seed, keys, host)

    c = v["credential"]
    terminal_seed = c.hex("terminal_key_seed")
    c.equal("terminal_public_key", m.public_key(terminal_seed))
    c.equal("block_entry_hash", prev)
    credential = m.Credential(
        c["id"], c["outlet_id"], c["prefix"], c["first"], c["last"], c["not_before_unix_ms"], c["not_after_unix_ms"],
        c.hex("terminal_public_key"), c.hex("block_entry_hash"), c["fiscal_authority_id"], c.hex("signature"),
    )  # fmt: skip
    c.equal("signed_hash", m.credential_hash(credential))
    c.equal("signature", m.sign(seed, m.credential_hash(credential)))
    c.equal("compact", m.compact_credential(credential))
    tally.check(m.read_compact_credential(c["compact"]) == credential, "the compact credential reads back otherwise")

    offline = v["offline_seal"]
    offline.equal("prev_hash", credential.block)
    offline.equal("fiscal_authority_id", credential.id)
    check_record(offline, terminal_seed, keys, host, c["compact"])


def check_keys(v):
    for key in v["keys"]:
        public = m.base64.b64decode(key["public_key"])
        key.equal("fiscal_authority_id", m.authority_id(key["fiscal_authority_id"].split(".")[0], public))
        key.equal("algorithm", "Ed25519")
        der = bytes.fromhex("302a300506032b6570032100") + public  # RFC 8410
        key.equal("spki", f"-----BEGIN PUBLIC KEY-----\n{m.b64(der)}\n-----END PUBLIC KEY-----\n")
        key.equal("valid_from", m.iso(m.unix_ms(key["valid_from"])))
        tally.check(key["valid_until"] is None or m.unix_ms(key["valid_until"]), f"{key.where}/valid_until")
        tally.check(key["status"] in ("prepared", "active", "retired", "compromised"), f"{key.where}/status")


CHECKS = {"tree.json": check_tree, "note.json": check_note, "seal.json": check_seal, "fiscal-keys.json": check_keys}

present = {path.name for path in VECTORS.iterdir()}
for name in sorted(present - CHECKS.keys()):
    tally.check(False, f"{name}: no check knows this file")
for name, check in CHECKS.items():
    if tally.check(name in present, f"{name}: is missing"):
        check(fields(json.loads((VECTORS / name).read_text("utf-8")), name))
for one in all_fields:
    tally.check(not one.unread, f"{one.where}: never read: {', '.join(sorted(one.unread))}")
tally.finish()
