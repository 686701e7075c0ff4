"""Compares `fiscus invoice check` with the second implementation: random valid invoices in every shape
that means the same, and documents that must be refused.

FISCUS is the binary; SEED and COUNT change the random part.
"""

import copy
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import fiscus_model as m
import unicodedata2

FISCUS = os.environ["FISCUS"]
SEED = int(os.environ.get("SEED", "20260201"))
COUNT = int(os.environ.get("COUNT", "300"))
MANIFEST = m.builtin_manifest()
VERSION, _, GROUPS = MANIFEST
tally = m.Tally()


def fiscus(data, strict=False):
    """The exit code, and the answer as JSON."""
    command = [FISCUS, "invoice", "check", *(["--strict"] if strict else []), "--json", "-"]
    run = subprocess.run(command, input=data, capture_output=True, timeout=30)
    try:
        return run.returncode, json.loads(run.stdout)
    except ValueError:
        return run.returncode, {"ok": None, "code": None, "detail": f"{run.stdout!r} {run.stderr!r}"}


def in_parallel(work, cases):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, cases))


# --- random valid invoices ----------------------------------------------------------------------

WORDS = (
    "Riz parfumé 5 kg|Ngʼɔ́mbɛ́|mbɔ́tɛ na yó|Ɛlɔkɔ́ ya kolía|pɔndú|é|e\u0301|Å|Å|ñ|Kinshasa-Ngaliema|🍌|👩🏾‍🌾|🇨🇩|한국|한국|"
    'guillemet "|back\\slash|a/b|\x7f|\u2028|\u2029|\x00|\x01|\x1f|\t|\n|\r|\b|\f|\ufeff|\u200d|ﬁ|Ω|q̣̇|q̣̇|١٢٣|𝒳|\U0001f9d1|ẛ̣|i̇'
).split("|")


def text(rng, limit, least=0):
    """Some text of at least `least` characters and at most `limit` bytes in NFC."""
    while True:
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 4))]
        joined = unicodedata2.normalize(rng.choice(["NFC", "NFD"]), rng.choice(["", " ", "-"]).join(words))
        if rng.random() < 0.15 and not least:
            joined = ""
        size = len(unicodedata2.normalize("NFC", joined).encode())
        if len(joined) >= least and size <= limit:
            return joined


def money(rng, top):
    """An amount of at most `top`, as text with 2 decimals; often one that rounds badly."""
    return f"{rng.choice([rng.uniform(0, top), rng.uniform(0, 10), rng.randint(0, 20) / 4 + 0.05, rng.randint(0, 9)]):.2f}"


def plain(amount_text):
    return m.short(Decimal(amount_text))


def random_invoice(rng):
    """A valid invoice with every figure as canonical text and nothing computed."""
    kind = rng.choice(m.TYPES)
    client = rng.choice(list(m.CLASSES.values()))
    export = kind.startswith("export")
    override = rng.random() < 0.2 or (export and client == "embassy")
    if export:
        pool = ["TG07"]
    elif override:
        pool = [code for code in GROUPS if code != "TG07"]
    elif client == "embassy" or rng.random() < 0.15:
        pool = ["TG01"]
    else:
        pool = rng.sample([code for code in GROUPS if code not in ("TG01", "TG07")], rng.randint(1, 5))

    items = []
    for _ in range(rng.choice([1, 1, 2, 3, 5, 9])):
        group = rng.choice(pool)
        quantity = rng.choice([str(rng.randint(1, 50)), plain(f"{rng.uniform(0.001, 9) + 0.001:.3f}"), "0.001", "1.5", "2"])
        price = rng.choice([money(rng, 5000), money(rng, 5000), "0.00", "9999999.99"])
        item = {"code": text(rng, 64), "description": text(rng, 512, 1), "quantity": quantity, "unit_price": price}
        gross = m.cents(Decimal(quantity) * Decimal(price))
        if rng.random() < 0.4:
            item["discount"] = rng.choice(["0.00", str(gross), str(m.cents(gross / 3)), str(min(gross, Decimal("0.01")))])
        item |= {"tax_group": group, "taxable_unit": rng.choice(["", "unit", "kg", "m³"])}
        references = {name: "REF-" + text(rng, 60) for name in GROUPS[group].requires}
        if group == "TG04" and client == "professional":
            references["professional_approval_id"] = "AP-7"
        if rng.random() < 0.2:
            references |= {"zone": "Goma", "Zone": "Beni", "ʼɛ́": "", "é": "x"}
        if references or rng.random() < 0.2:
            item["references"] = references
        items.append(item)

    invoice = {
        "merchant_nif": text(rng, 64, 1),
        "outlet_id": rng.choice(["outlet-kin-01", "KIN/01"]),
        "pos_terminal_id": "pos-1",
        "cashier_id": text(rng, 64),
        "invoice_type": kind,
        "timestamp": m.iso(rng.randint(1769900000000, 1800000000000)),
        "client": {"name": text(rng, 64), "nif": "A1234567B", "classification": client},
        "items": items,
    }
    if kind in ("credit_note", "export_credit"):
        invoice["original_fiscal_number"] = "CD-KIN01-17"
    if client in ("individual", "professional", "embassy") and rng.random() < 0.5:
        invoice["client"]["nif"] = ""
    currency = rng.choice(["CDF", "CDF", "USD", "EUR"])
    invoice["currency"] = currency
    if currency != "CDF":
        invoice["fx"] = {"rate": rng.choice(["2800", "2850.5", "2799.123456", "0.000001", "1"]), "reporting_currency": "CDF"}
    invoice["payments"] = []
    for _ in range(rng.choice([0, 1, 1, 2])):
        method = rng.choice(m.METHODS)
        payment = {"method": method, "amount": money(rng, 9000), "currency": rng.choice(["CDF", currency]), "instrument_id": text(rng, 64)}
        if method == "mobile_money" and rng.random() < 0.7:
            payment["provider"] = rng.choice(m.PROVIDERS)
        invoice["payments"].append(payment)
    if rng.random() < 0.4:
        invoice["price_mode"] = rng.choice(["inclusive", "inclusive", "exclusive"])
    invoice["tax_manifest_version"] = VERSION
    if override or rng.random() < 0.3:
        invoice["metadata"] = {text(rng, 60, 1): text(rng, 200) for _ in range(rng.randint(1, 4))}
        names = {unicodedata2.normalize("NFC", name): value for name, value in invoice["metadata"].items()}
        invoice["metadata"] = names | ({"tax_override_reason": "Accord 12/2026"} if override else {})
    return invoice


class Raw(str):
    """Text that goes into the JSON as it is: a number."""


def escape(rng, char):
    """One of the ways in which JSON writes a character."""
    units = char.encode("utf-16-be")
    escaped = "".join(rng.choice(["\\u%04x", "\\u%04X"]) % int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2))
    if char in m.SHORT_ESCAPES:
        return rng.choice([m.SHORT_ESCAPES[char], escaped])
    if char < " " or rng.random() < 0.1:
        return escaped
    return rng.choice(["/", "\\/"]) if char == "/" else char


def spell(rng, value):
    """JSON with white space, shuffled fields and any escapes."""
    space = rng.choice(["", "", " ", "\n\t", "\r\n"])
    if isinstance(value, Raw):
        return value
    if isinstance(value, str):
        return '"' + "".join(escape(rng, char) for char in value) + '"'
    if isinstance(value, list):
        return f"[{space}" + f"{space},".join(spell(rng, v) for v in value) + f"{space}]"
    fields = list(value.items())
    rng.shuffle(fields)
    return f"{{{space}" + f",{space}".join(f"{spell(rng, k)}{space}:{spell(rng, v)}" for k, v in fields) + "}"


def number(rng, figure):
    """One of the ways in which a client writes a figure."""
    value = Decimal(figure)
    short = m.short(value)
    forms = [figure, short, Raw(figure), Raw(short)]
    if "." not in short:
        forms += [Raw(f"{short}e0"), Raw(f"{short}.0"), Raw(f"{short}E+0")]
        if short.endswith("00"):
            forms.append(Raw(f"{short[:-2]}e2"))
    else:
        forms.append(Raw(f"{int(short.replace('.', ''))}e-{len(short.split('.')[1])}"))
    return rng.choice(forms)


def loose(rng, invoice):
    """The same invoice as a client might send it."""
    doc = copy.deepcopy(invoice)
    for item in doc["items"]:
        for name in ("quantity", "unit_price", "discount"):
            if name in item:
                item[name] = number(rng, item[name])
        for name in ("code", "taxable_unit"):
            if item[name] == "" and rng.random() < 0.5:
                del item[name]
        if item.get("references") == {} and rng.random() < 0.5:
            del item["references"]
    for payment in doc["payments"]:
        payment["amount"] = number(rng, payment["amount"])
        if payment["instrument_id"] == "" and rng.random() < 0.5:
            del payment["instrument_id"]
        if "provider" not in payment and rng.random() < 0.2:
            payment["provider"] = ""
    for obj, name in ((doc, "cashier_id"), (doc["client"], "name"), (doc["client"], "nif")):
        if obj[name] == "" and rng.random() < 0.5:
            del obj[name]
    kind = doc["client"]["classification"]
    doc["client"]["classification"] = rng.choice([kind, next(k for k, v in m.CLASSES.items() if v == kind)])
    if doc["timestamp"].endswith("000Z") or rng.random() < 0.1:
        doc["timestamp"] = doc["timestamp"].replace(".000Z", "Z")
    if "metadata" not in doc and rng.random() < 0.2:
        doc["metadata"] = {}
    if "fx" in doc:
        doc["fx"]["rate"] = number(rng, doc["fx"]["rate"])

    computed = m.read_invoice(json.dumps(invoice).encode(), MANIFEST)
    if rng.random() < 0.3:
        doc["tax_groups"] = copy.deepcopy(computed["tax_groups"])
        for group in doc["tax_groups"]:
            for name in ("rate", "base_amount", "tax_amount"):
                group[name] = number(rng, group[name])
    if rng.random() < 0.5:
        doc["totals"] = dict(computed["totals"])
        for name in ("subtotal", "total_vat", "total", "rounding_adjustment"):
            doc["totals"][name] = number(rng, doc["totals"][name])
        del doc["currency"]
    elif doc["currency"] == "CDF" and rng.random() < 0.5:
        del doc["currency"]
    if "fx" in doc and rng.random() < 0.5:
        doc["fx"]["tax_in_reporting_currency"] = number(rng, computed["fx"]["tax_in_reporting_currency"])
    return spell(rng, doc).encode()


def check_valid():
    rng = random.Random(SEED)
    cases = []
    for n in range(COUNT):
        invoice = random_invoice(rng)
        cases.append((n, loose(rng, invoice)))
    for (n, data), (code, answer) in zip(cases, in_parallel(lambda case: fiscus(case[1]), cases)):
        expected = m.read_invoice(data, MANIFEST)
        canonical = m.canonical_bytes(expected)
        wrong = []
        if code != 0 or answer.get("ok") is not True:
            wrong = [f"exit {code}, {answer}"]
        else:
            wanted = {
                "canonical": canonical.decode(),
                "payload_hash": m.payload_hash(canonical).hex(),
                "tax_groups": expected["tax_groups"],
                "totals": expected["totals"],
            }
            wrong = [f"{k}: fiscus {answer.get(k)!r}, here {v!r}" for k, v in wanted.items() if answer.get(k) != v]
        tally.check(not wrong, f"valid invoice {n} (SEED={SEED}): {'; '.join(wrong)}\n  {data!r}")

    # Strict: the canonical bytes pass, the same meaning in any other bytes does not.
    strict = []
    for n, data in cases:
        canonical = m.canonical_bytes(m.read_invoice(data, MANIFEST))
        strict += [(n, canonical, True), (n, rng.choice([data, *other_spellings(canonical)]), False)]
    for (n, data, good), (code, answer) in zip(strict, in_parallel(lambda case: fiscus(case[1], strict=True), strict)):
        good = m.is_canonical(data, MANIFEST)
        why = f"strict, invoice {n} (SEED={SEED}): {'canonical' if good else 'not canonical'}, exit {code}, {answer}"
        tally.check(code == (0 if good else 1) and (good or answer.get("code") == "SCHEMA_INVALID"), f"{why}\n  {data!r}")


def other_spellings(canonical):
    """Bytes next to canonical ones, with the same meaning."""
    doc = json.loads(canonical)

    def dump(value):
        return m.write_json(value).encode()

    yield canonical + b"\n"
    yield b" " + canonical
    yield canonical.replace(b'","', b'", "', 1)
    yield dump(dict(reversed(doc.items())))
    yield canonical.replace(b"t", b"\\u0074", 1)
    yield canonical.replace(b"merchant_nif", b"merchant\\u005fnif", 1)
    yield dump({**doc, "client": {k: doc["client"][k] for k in ("nif", "name", "classification")}})
    yield canonical.replace(b'"cashier_id":', b'"cashier_id" :', 1)
    yield canonical.replace(b'"unit_price":"', b'"unit_price":"0', 1)
    yield canonical.replace(b'.00"', b'"', 1)
    yield canonical.replace(b'"quantity":"', b'"quantity":"0', 1)
    yield canonical.replace(b'"tax_group"', b'"discount":"0.00","tax_group"', 1)
    yield canonical[:-1] + b',"metadata":{}}'
    yield json.dumps(doc, ensure_ascii=True, separators=(",", ":")).encode()
    yield unicodedata2.normalize("NFD", canonical.decode()).encode()
    yield dump({k: v for k, v in doc.items() if k != "payments"})
    yield dump({k: v for k, v in doc.items() if k != "tax_groups"})
    yield dump({k: v for k, v in doc.items() if k != "totals"} | {"currency": doc["totals"]["currency"]})


# --- documents that must be refused -------------------------------------------------------------

BASE = {
    "merchant_nif": "A0700001B",
    "outlet_id": "outlet-kin-01",
    "pos_terminal_id": "pos-1",
    "cashier_id": "c-1",
    "invoice_type": "sale",
    "timestamp": "2026-02-01T08:30:00.000Z",
    "client": {"name": "Mbala", "nif": "B1", "classification": "company"},
    "items": [
        {"code": "R", "description": "Riz", "quantity": "2", "unit_price": "500.00", "tax_group": "TG02", "taxable_unit": "kg"},
        {"code": "S", "description": "Sel", "quantity": "1", "unit_price": "10.00", "tax_group": "TG03", "taxable_unit": "kg"},
    ],
    "tax_groups": [
        {"code": "TG02", "name": "Standard VAT, goods", "rate": "0.1600", "base_amount": "1000.00", "tax_amount": "160.00"},
        {"code": "TG03", "name": "Standard VAT, services", "rate": "0.1600", "base_amount": "10.00", "tax_amount": "1.60"},
    ],
    "totals": {"subtotal": "1010.00", "total_vat": "161.60", "total": "1171.60", "currency": "CDF", "rounding_adjustment": "0.00"},
    "payments": [{"method": "cash", "amount": "1171.60", "currency": "CDF", "instrument_id": ""}],
    "tax_manifest_version": VERSION,
}
GONE = object()


def changed(base, *changes):
    """The document with values set (or GONE) at slash-separated paths."""
    doc = copy.deepcopy(base)
    for path, value in changes:
        *parents, last = [int(p) if p.isdigit() else p for p in path.split("/")]
        at = doc
        for step in parents:
            at = at[step]
        if value is GONE:
            del at[last]
        else:
            at[last] = value
    return doc


def lines(*groups, classification="company", kind="sale", references=None, **more):
    """An invoice with one line per group and nothing computed."""
    doc = changed(BASE, ("tax_groups", GONE), ("totals", GONE), ("invoice_type", kind), ("client/classification", classification))
    items = [{**BASE["items"][0], "tax_group": code} for code in groups]
    doc["items"] = [{**item, "references": references} for item in items] if references else items
    if kind in ("credit_note", "export_credit"):
        doc["original_fiscal_number"] = "CD-KIN01-1"
    return doc | more


FREE = changed(BASE, ("tax_groups", GONE), ("totals", GONE))  # computed figures left out
CERTIFICATE = {"export_certificate": "EC-1"}


def bad_documents():
    """(name, bytes, code or None)"""
    for name in "merchant_nif outlet_id pos_terminal_id invoice_type client items".split():
        yield f"without {name}", changed(BASE, (name, GONE)), None
    for path in (
        "client/classification items/0/quantity items/0/unit_price items/0/tax_group items/0/description payments/0/method"
        " payments/0/amount tax_groups/0/code"
    ).split():
        yield f"without {path}", changed(BASE, (path, GONE)), None
    for path in (
        "merchant_nif outlet_id pos_terminal_id cashier_id invoice_type timestamp client/name client/nif client/classification"
        " items/0/code items/0/description items/0/tax_group items/0/taxable_unit payments/0/method payments/0/currency"
        " payments/0/instrument_id tax_manifest_version totals/currency"
    ).split():
        yield f"{path} is a number", changed(BASE, (path, 7)), None
        yield f"{path} is an array", changed(BASE, (path, [])), None
    for path in "client items items/0 payments payments/0 tax_groups tax_groups/0 totals".split():
        yield f"{path} is text", changed(BASE, (path, "x")), None
        yield f"{path} is true", changed(BASE, (path, True)), None
    for path in ("zzz", "client/zzz", "items/0/zzz", "payments/0/zzz", "totals/zzz", "tax_groups/0/zzz"):
        yield f"unknown field {path}", changed(BASE, (path, "x")), None
    for path in ("merchant_nif", "outlet_id", "pos_terminal_id", "cashier_id", "client/nif", "items/0/code", "payments/0/instrument_id"):
        yield f"{path} of 65 bytes", changed(BASE, (path, "x" * 65)), None
        yield f"{path} of 33 times two bytes", changed(BASE, (path, "é" * 33)), None
    yield "description of 513 bytes", changed(BASE, ("items/0/description", "x" * 513)), None

    # Figures.
    refused = ["", " 1", "1 ", "+1", "1,5", ".5", "5.", "1e3", "0x10", "NaN", "Infinity", "--1", "1_000", "١", "１", "1.2.3", True, [], {}]
    for value in refused:
        yield f"price {value!r}", changed(FREE, ("items/0/unit_price", value)), None
    for value in ("-1.00", "1.005", "10000000000000.01", "1" + "0" * 40, Raw("1e400"), Raw("1e-3"), Raw("-5"), Raw("1e999999999")):
        yield f"price {value!r}", changed(FREE, ("items/0/unit_price", value)), None
        yield f"payment {value!r}", changed(FREE, ("payments/0/amount", value)), None
    for value in ("0", "0.000", "-1", "0.0001", "1.2345", "1e1", "x", Raw("0"), Raw("-2"), Raw("1e-4")):
        yield f"quantity {value!r}", changed(FREE, ("items/0/quantity", value)), None
    for value in ("-0.01", "1000.01", "0.001", "x"):
        yield f"discount {value!r}", changed(FREE, ("items/0/discount", value)), None
    yield "a line over the limit", changed(FREE, ("items/0/quantity", "11"), ("items/0/unit_price", "1000000000000.00")), None
    yield "a total over the limit", changed(FREE, ("items/0/quantity", "1"), ("items/0/unit_price", "10000000000000.00")), None

    # Figures that do not match.
    for path, value in (
        ("totals/subtotal", "1010.01"), ("totals/total_vat", "161.61"), ("totals/total", "1171.59"), ("totals/rounding_adjustment", "0.01"),
        ("totals/currency", "cdf"), ("totals/currency", ""), ("totals/total", "-1171.60"),
        ("tax_groups/0/tax_amount", "160.01"), ("tax_groups/0/base_amount", "999.99"), ("tax_groups/0/rate", "0.1700"),
        ("tax_groups/0/code", "TG05"), ("tax_groups", BASE["tax_groups"][:1]), ("tax_groups", BASE["tax_groups"] + BASE["tax_groups"][1:]),
        ("tax_groups", []),
    ):  # fmt: skip
        yield f"{path} = {str(value)[:60]!r}", changed(BASE, (path, value)), None

    # Words.
    for path, value in (
        ("invoice_type", "Sale"), ("invoice_type", "void"), ("invoice_type", ""), ("client/classification", "person"),
        ("client/classification", ""), ("client/classification", "COMPANY"), ("client/classification", "Commercial_Individual"),
        ("payments/0/method", "cheque"), ("payments/0/method", "Cash"), ("payments/0/provider", "mpesa"), ("price_mode", "gross"),
        ("price_mode", ""), ("items/0/tax_group", "TG15"), ("items/0/tax_group", "tg02"), ("items/0/tax_group", ""),
        ("payments/0/currency", "usd"), ("payments/0/currency", "US"), ("original_fiscal_number", "CD-KIN01-1"), ("items", []),
        ("merchant_nif", ""), ("outlet_id", ""), ("pos_terminal_id", ""), ("client/nif", ""), ("client/nif", GONE),
    ):  # fmt: skip
        yield f"{path} = {value!r}", changed(FREE, (path, value)), None
    mobile = changed(FREE, ("payments/0/method", "mobile_money"))
    yield "unknown provider", changed(mobile, ("payments/0/provider", "tigo")), None
    yield "commercial individual without NIF", changed(FREE, ("client/classification", "commercial_individual"), ("client/nif", "")), None
    yield "credit note without original", changed(lines("TG02", kind="credit_note"), ("original_fiscal_number", GONE)), None
    yield "credit note with empty original", changed(lines("TG02", kind="credit_note"), ("original_fiscal_number", "")), None
    yield "export credit without original", changed(lines("TG07", kind="export_credit", references=CERTIFICATE), ("original_fiscal_number", GONE)), None
    for value in (
        "", "2026-02-01", "2026-02-01T08:30:00", "2026-02-30T08:30:00Z", "2026-13-01T08:30:00Z", "2026-02-01T24:00:01Z", "2026-02-01T08:60:00Z",
        "2026-2-1T08:30:00Z", "yesterday", "1769934600", "2026-02-01T08:30:00.Z", "2026-02-01T08:30:00.000Z ",
    ):  # fmt: skip
        yield f"timestamp {value!r}", changed(FREE, ("timestamp", value)), None

    # Objects of strings.
    yield "metadata with a number", FREE | {"metadata": {"a": 1}}, None
    yield "metadata with an object", FREE | {"metadata": {"a": {}}}, None
    yield "metadata is an array", FREE | {"metadata": []}, None
    yield "33 entries of metadata", FREE | {"metadata": {f"k{n}": "v" for n in range(33)}}, None
    yield "metadata of 257 bytes", FREE | {"metadata": {"a": "x" * 257}}, None
    yield "references with a number", changed(FREE, ("items/0/references", {"a": 1})), None
    yield "references is text", changed(FREE, ("items/0/references", "a")), None
    yield "metadata names equal after NFC", FREE | {"metadata": {"é": "1", "e\u0301": "2"}}, None
    yield "reference names equal after NFC", changed(FREE, ("items/0/references", {"é": "1", "e\u0301": "2"})), None

    # Sizes.
    yield "2,001 lines", FREE | {"items": FREE["items"][:1] * 2001}, None
    yield "65 payments", FREE | {"payments": FREE["payments"] * 65}, None
    yield "over 1 MiB", json.dumps(FREE).encode() + b" " * (1 << 20), None

    # Rules.
    yield "rule 1", lines("TG02", classification="embassy"), "EMBASSY_NOT_EXEMPT"
    yield "rule 1, services", lines("TG03", classification="Embassy"), "EMBASSY_NOT_EXEMPT"
    yield "rule 1, other metadata", lines("TG02", classification="embassy", metadata={"reason": "x"}), "EMBASSY_NOT_EXEMPT"
    yield "rule 2", lines("TG01", "TG02"), "EXEMPT_MIXED"
    yield "rule 2, order", lines("TG03", "TG02", "TG01"), "EXEMPT_MIXED"
    yield "rule 2, individual", lines("TG01", "TG04", classification="individual"), "EXEMPT_MIXED"
    yield "rule 3, export", lines("TG02", kind="export"), "EXPORT_GROUP"
    yield "rule 3, export credit", lines("TG02", kind="export_credit"), "EXPORT_GROUP"
    yield "rule 3, one of two lines", lines("TG07", "TG02", kind="export", references=CERTIFICATE), "EXPORT_GROUP"
    for kind in ("sale", "advance", "credit_note"):
        yield f"rule 3, {kind}", lines("TG07", kind=kind, references=CERTIFICATE), "EXPORT_GROUP"
    for code in ("TG08", "TG09", "TG10", "TG11", "TG12", "TG13", "TG14"):
        yield f"rule 4, {code}", lines(code, classification="individual"), "GROUP_NOT_ALLOWED"
        for classification in ("commercial_individual", "company", "professional"):
            yield f"rule 5, {code}, {classification}", lines(code, classification=classification), "REFERENCE_MISSING"
    yield "rule 4, another group's reference", lines("TG09", classification="individual", references={"excise_certificate": "x"}), "GROUP_NOT_ALLOWED"
    yield "rule 5, another group's reference", lines("TG13", references={"excise_certificate": "x"}), "REFERENCE_MISSING"
    yield "TG05 without source", lines("TG05"), "REFERENCE_MISSING"
    yield "TG04, professional", lines("TG04", classification="professional"), "REFERENCE_MISSING"
    yield "rule 10, currency from the totals", changed(BASE, ("totals/currency", "USD")), "FX_REQUIRED"
    yield "rule 10", FREE | {"currency": "USD"}, "FX_REQUIRED"
    fx = {"rate": "2800", "reporting_currency": "CDF"}
    yield "fx with CDF", FREE | {"fx": fx}, None
    for name, value in (("rate", "0"), ("rate", "-1"), ("rate", "1.1234567"), ("rate", "x"), ("rate", ""), ("reporting_currency", "USD"),
                        ("tax_in_reporting_currency", "1.00"), ("zzz", "1")):  # fmt: skip
        yield f"fx {name} {value!r}", FREE | {"currency": "USD", "fx": fx | {name: value}}, None
    yield "fx without rate", FREE | {"currency": "USD", "fx": {"reporting_currency": "CDF"}}, None
    yield "another manifest", FREE | {"tax_manifest_version": "2025-01-01"}, "MANIFEST_STALE"

    # Text and JSON.
    base = json.dumps(FREE, ensure_ascii=False)
    for name, bad in (
        ("lone surrogate", '"\\ud800"'), ("low surrogate first", '"\\udc00\\ud800"'), ("unassigned U+0378", '"\u0378"'), ("noncharacter", '"\uffff"'),
        ("raw line feed", '"\n"'), ("raw NUL", '"\x00"'), ("raw 1F", '"\x1f"'), ("bad escape", '"\\x41"'), ("short escape", '"\\u41"'), ("apostrophes", "'Riz'"),
        ("octal", "012"), ("NaN", "NaN"), ("null", "null"), ("unclosed", '"Riz'), ("empty", ""), ("deep", "[" * 100000), ("deep and closed", "[" * 9000 + "]" * 9000),
        ("deep object", '{"a":' * 50000),
    ):  # fmt: skip
        yield f"text: {name}", base.replace('"Riz"', bad).encode(), None
    for name, data in (
        ("nothing", ""), ("white space", "  "), ("null", "null"), ("array", "[]"), ("empty object", "{}"), ("two documents", base + base),
        ("text after", base + "x"), ("comma", base[:-1] + ",}"), ("comment", base[:-1] + "/**/}"), ("cut", base[:-1]), ("BOM", "\ufeff" + base),
        ("duplicate name", base[:-1] + ',"outlet_id":"outlet-kin-01"}'), ("escaped duplicate", base[:-1] + ',"outlet\\u005fid":"outlet-kin-01"}'),
        ("duplicate in an item", base.replace('"code": "R"', '"code": "R", "code": "R"')), ("form feed", "\f" + base), ("NBSP", base + "\u00a0"),
    ):  # fmt: skip
        yield f"JSON: {name}", data.encode(), None
    yield "JSON: not UTF-8", base.encode().replace(b"Riz", b"Ri\xff"), None
    yield "JSON: overlong UTF-8", base.encode().replace(b"Riz", b"Ri\xc0\xaf"), None
    yield "JSON: surrogate in UTF-8", base.encode().replace(b"Riz", b"Ri\xed\xa0\x80"), None
    yield "JSON: UTF-16", base.encode("utf-16"), None


def unsettled():
    """(name, document, whether fiscus accepts it now, whether this side does). Where the text leaves room and
    the two read it differently; when a row fails, the question was settled and the row moves up."""

    def totals(**kept):
        return changed(BASE, ("totals", kept))

    def without(path):
        return changed(BASE, (path, GONE))

    # "when they are given they must match": all of them, or those that are there?
    yield "totals without total", without("totals/total"), True, False
    yield "totals without currency", without("totals/currency"), True, False
    yield "totals with the total alone", totals(total="1171.60"), True, False
    yield "totals without anything", totals(), True, False
    yield "a group without its tax", without("tax_groups/0/tax_amount"), True, False
    yield "a group without its name", without("tax_groups/0/name"), True, False
    yield "a group with its French name", changed(BASE, ("tax_groups/0/name", "TVA standard, biens")), True, False
    # "the client's ISO 8601 UTC time of authoring"
    for value in ("2026-02-01T08:30:00+00:00", "2026-02-01T09:30:00+01:00", "2026-02-01T08:30:00.123456Z", "2026-02-01t08:30:00z"):
        yield f"timestamp {value}", changed(FREE, ("timestamp", value)), True, False
    yield "timestamp before 1970", changed(FREE, ("timestamp", "1969-12-31T23:59:59Z")), False, True
    yield "no timestamp", without("timestamp"), True, False
    # "absent": is null absent?
    for name in ("fx", "metadata", "cashier_id", "price_mode", "totals", "payments"):
        yield f"{name} is null", FREE | {name: None}, True, False
    yield "payment without its currency", changed(FREE, ("payments/0/currency", GONE)), True, False
    # "every group whose references are present", "unless tax_override_reason is present": is blank text present?
    yield "a blank reference", lines("TG05", references={"funding_source": " "}), False, True
    yield "a blank reason", lines("TG02", classification="embassy", metadata={"tax_override_reason": " "}), False, True
    yield "an empty description", changed(FREE, ("items/0/description", "")), False, True
    # "64 for an identifier", "32 entries of 256 bytes": what of references, of metadata names, of quantities?
    yield "a reference of 65 bytes", changed(FREE, ("items/0/references", {"a": "x" * 65})), False, True
    yield "33 references", changed(FREE, ("items/0/references", {f"k{n}": "x" for n in range(33)})), False, True
    yield "a metadata name of 256 bytes", FREE | {"metadata": {"x" * 256: "v"}}, True, True
    yield "a quantity of 10^13", changed(FREE, ("items/0/quantity", "1" + "0" * 13), ("items/0/unit_price", "0.00")), False, True


def check_unsettled():
    for name, doc, theirs, ours in unsettled():
        code, answer = fiscus(spell_plain(doc).encode())
        tally.check((code == 0) == theirs, f"unsettled, {name}: fiscus has changed, exit {code}, {str(answer)[:300]}")
        try:
            m.read_invoice(spell_plain(doc).encode(), MANIFEST)
            accepted = True
        except m.Refused:
            accepted = False
        tally.check(accepted == ours, f"unsettled, {name}: this side has changed")


def check_bad():
    cases = [(name, doc if isinstance(doc, bytes) else spell_plain(doc).encode(), code) for name, doc, code in bad_documents()]
    # What the cases are made from is right, so each is refused for its own fault.
    for name, doc in (("BASE", BASE), ("FREE", FREE)):
        code, answer = fiscus(spell_plain(doc).encode())
        tally.check(code == 0, f"{name} itself is refused: {answer}")
    results = in_parallel(lambda case: fiscus(case[1]), cases)
    strict = in_parallel(lambda case: fiscus(case[1], strict=True), cases)
    for (name, data, code), (exit_code, answer), (strict_exit, strict_answer) in zip(cases, results, strict):
        try:
            m.read_invoice(data, MANIFEST)
            here = "accepted"
        except m.Refused as refused:
            here = refused.code
        tally.check(here == code, f"bad, {name}: this side says {here}, the table {code}")
        ok = exit_code == 1 and answer.get("ok") is False and all(isinstance(answer.get(k), str) for k in ("code", "pointer", "detail"))
        ok = ok and (code is None or answer["code"] == code)
        tally.check(ok, f"bad, {name}: should be refused {code or ''}, exit {exit_code}, {str(answer)[:300]}")
        tally.check(strict_exit == 1, f"bad, {name}, strict: exit {strict_exit}, {str(strict_answer)[:300]}")


def spell_plain(value):
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k, ensure_ascii=False) + ":" + spell_plain(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spell_plain, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    check_valid()
    check_bad()
    check_unsettled()
    tally.finish()
