"""A second, independent reading of the design (invoices, taxes, seals, receipts, trees, notes).

Written from the text of the design alone, never from the Rust sources, so that a misreading in one
language shows as a difference. Plain rather than fast. The checks beside this file compare it with
the product.
"""

# long file: one reading of the whole design, from top to bottom, apart from everything else.
import base64
import binascii
import hashlib
import json
import re
import struct
from collections import namedtuple
from datetime import datetime, timezone
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from pathlib import Path

import nacl.exceptions
import nacl.signing
import unicodedata2
from blake3 import blake3

MAX_BODY = 1 << 20
MAX_ITEMS, MAX_PAYMENTS, MAX_METADATA = 2000, 64, 32
MAX_IDENTIFIER, MAX_DESCRIPTION, MAX_METADATA_TEXT = 64, 512, 256
MAX_AMOUNT = Decimal(10) ** 13  # 10^15 minor units of 0.01
CENT = Decimal("0.01")

Group = namedtuple("Group", "code name rate requires")


class Refused(Exception):
    """A document that is not an invoice. `code` is None where the design's text names none."""

    def __init__(self, where, why, code=None):
        super().__init__(f"{where}: {why}")
        self.where, self.code = where, code


# --- the tax manifest ---------------------------------------------------------------------------


def load_manifest(text):
    """The tax manifest: its version, its reporting currency, its groups by code."""
    raw = json.loads(text)
    groups = {g["code"]: Group(g["code"], g["name"], Decimal(g["rate"]), g["requires"]) for g in raw["groups"]}
    return raw["version"], raw["reporting_currency"], groups


def builtin_manifest():
    """Version one: the copy that the ledger ships, or the design's own."""
    root = Path(__file__).resolve().parents[2]
    name = "tax-manifest-2026-02-01.json"
    for path in [*sorted(root.glob(f"*/**/{name}")), root.parent / "shared/data" / name, Path("the tree shared/data") / name]:
        if path.is_file() and "target" not in path.parts:
            return load_manifest(path.read_text("utf-8"))
    raise SystemExit(f"{name} is nowhere in {root}")


# --- text and numbers ---------------------------------------------------------------------------


class Number(str):
    """A JSON number, as its text."""


def parse_json(data):
    """The document as dicts, lists, str, Number, True, False, None; duplicate names are refused."""
    if len(data) > MAX_BODY:
        raise Refused("", "over 1 MiB")
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise Refused("", f"not UTF-8: {error}") from None

    def unique(pairs):
        names = [unicodedata2.normalize("NFC", name) for name, _ in pairs]
        if len(set(names)) != len(names):
            raise Refused("", "a name occurs twice")
        return dict(zip(names, (value for _, value in pairs)))

    def no_constant(name):
        raise Refused("", f"{name} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_float=Number, parse_int=Number, parse_constant=no_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Refused("", f"not JSON: {error}") from None


def clean_text(value, where, limit=None, required=False):
    """A string in NFC, made of assigned code points, at most `limit` bytes long."""
    if not isinstance(value, str) or isinstance(value, Number):
        raise Refused(where, "must be a string")
    for char in value:
        if unicodedata2.category(char) in ("Cn", "Cs"):
            raise Refused(where, f"U+{ord(char):04X} is not an assigned character")
    text = unicodedata2.normalize("NFC", value)
    if limit is not None and len(text.encode()) > limit:
        raise Refused(where, f"over {limit} bytes")
    if required and text == "":
        raise Refused(where, "must not be empty")
    return text


PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?\Z", re.ASCII)
EXACT = Context(prec=200, Emax=10**6, Emin=-(10**6))


def decimal(value, where, places, negative=False):
    """An exact decimal out of a JSON number or a string; never more than `places` decimals."""
    if not isinstance(value, str):
        raise Refused(where, "must be a decimal")
    if not isinstance(value, Number) and not PLAIN_DECIMAL.match(value):
        raise Refused(where, "must be a plain decimal")
    if len(value) > 100:
        raise Refused(where, "too long")
    number = Decimal(value)
    if number == 0:
        number = Decimal(0)
    if not -30 <= number.adjusted() <= 30:
        raise Refused(where, "out of range")
    with localcontext(EXACT):
        if number != number.quantize(Decimal(1).scaleb(-places)):
            raise Refused(where, f"more than {places} decimals")
    if number < 0 and not negative:
        raise Refused(where, "must not be negative")
    return number


def check_amount(number, where):
    if abs(number) > MAX_AMOUNT:
        raise Refused(where, "over 10^15 minor units")
    return number


def amount(value, where, negative=False):
    return check_amount(decimal(value, where, 2, negative), where)


def cents(number):
    """Rounds half-up (away from zero) to 0.01."""
    with localcontext(EXACT):
        return number.quantize(CENT, rounding=ROUND_HALF_UP)


def fixed(number, places):
    """Exactly `places` decimals, never a negative zero."""
    with localcontext(EXACT):
        number = number.quantize(Decimal(1).scaleb(-places))
    return format(abs(number) if number == 0 else number, "f")


def short(number):
    """No trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


TIMESTAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,3}))?Z\Z", re.ASCII)


def unix_ms(text, where="timestamp"):
    match = TIMESTAMP.match(text)
    if not match:
        raise Refused(where, "must be an ISO 8601 time in UTC")
    *parts, fraction = match.groups()
    try:
        moment = datetime(*map(int, parts), tzinfo=timezone.utc)
    except ValueError as error:
        raise Refused(where, str(error)) from None
    return round(moment.timestamp()) * 1000 + int((fraction or "0").ljust(3, "0"))


def iso(ms):
    moment = datetime.fromtimestamp(ms // 1000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def write_json(value):
    """JSON without white space, with the escapes that the canonical form allows and no others."""
    if isinstance(value, str):
        return '"' + "".join(SHORT_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(write_json, value)) + "]"
    return "{" + ",".join(write_json(k) + ":" + write_json(v) for k, v in value.items()) + "}"


# --- the invoice --------------------------------------------------------------------------------

TYPES = ("sale", "advance", "credit_note", "export", "export_credit")
CLASSES = {
    "Individual": "individual",
    "Company": "company",
    "CommercialIndividual": "commercial_individual",
    "Professional": "professional",
    "Embassy": "embassy",
}
METHODS = ("cash", "mobile_money", "card", "bank_transfer", "credit", "voucher", "other")
PROVIDERS = ("mpesa", "airtel_money", "orange_money", "mtn_momo")

INVOICE_FIELDS = (
    "merchant_nif outlet_id pos_terminal_id cashier_id invoice_type timestamp original_fiscal_number client items"
    " tax_groups totals payments fx price_mode tax_manifest_version metadata currency"
).split()
ITEM_FIELDS = "code description quantity unit_price discount tax_group taxable_unit references".split()
GROUP_FIELDS = "code name rate base_amount tax_amount".split()
TOTAL_FIELDS = "subtotal total_vat total currency rounding_adjustment".split()
PAYMENT_FIELDS = "method amount currency instrument_id provider".split()


def fields_of(value, where, known):
    if not isinstance(value, dict):
        raise Refused(where, "must be an object")
    for name in value:
        if name not in known:
            raise Refused(f"{where}/{name}", "unknown field")
    return value


def need(obj, name, where):
    if name not in obj:
        raise Refused(f"{where}/{name}", "is missing")
    return obj[name]


def array(value, where, limit):
    if not isinstance(value, list):
        raise Refused(where, "must be an array")
    if len(value) > limit:
        raise Refused(where, f"over {limit} entries")
    return value


def one_of(value, where, choices):
    if clean_text(value, where) not in choices:
        raise Refused(where, f"must be one of {', '.join(choices)}")
    return value


def currency_code(value, where):
    if not re.match(r"[A-Z]{3}\Z", clean_text(value, where), re.ASCII):
        raise Refused(where, "must be a currency code")
    return value


def string_map(value, where, limit=None):
    """An object of strings, sorted by the UTF-8 bytes of its names."""
    if not isinstance(value, dict):
        raise Refused(where, "must be an object")
    if limit is not None and len(value) > limit:
        raise Refused(where, f"over {limit} entries")
    pairs = []
    for name, text in value.items():
        name = clean_text(name, where, MAX_METADATA_TEXT, required=True)
        pairs.append((name, clean_text(text, f"{where}/{name}", MAX_METADATA_TEXT)))
    return dict(sorted(pairs, key=lambda pair: pair[0].encode()))


def read_client(value):
    raw = fields_of(value, "/client", ("name", "nif", "classification"))
    kind = clean_text(need(raw, "classification", "/client"), "/client/classification")
    kind = CLASSES.get(kind, kind)
    one_of(kind, "/client/classification", CLASSES.values())
    nif = clean_text(raw.get("nif", ""), "/client/nif", MAX_IDENTIFIER)
    if kind in ("company", "commercial_individual") and nif == "":
        raise Refused("/client/nif", f"is required for {kind}")
    return {"name": clean_text(raw.get("name", ""), "/client/name", MAX_DESCRIPTION), "nif": nif, "classification": kind}


def read_item(value, where):
    raw = fields_of(value, where, ITEM_FIELDS)
    quantity = decimal(need(raw, "quantity", where), f"{where}/quantity", 3)
    if quantity <= 0:
        raise Refused(f"{where}/quantity", "must be above zero")
    price = amount(need(raw, "unit_price", where), f"{where}/unit_price")
    discount = amount(raw.get("discount", "0"), f"{where}/discount")
    with localcontext(EXACT):
        gross = check_amount(cents(quantity * price), where)
    if discount > gross:
        raise Refused(f"{where}/discount", "is more than the line")
    item = {
        "code": clean_text(raw.get("code", ""), f"{where}/code", MAX_IDENTIFIER),
        "description": clean_text(need(raw, "description", where), f"{where}/description", MAX_DESCRIPTION),
        "quantity": short(quantity),
        "unit_price": fixed(price, 2),
    }
    if discount:
        item["discount"] = fixed(discount, 2)
    item["tax_group"] = clean_text(need(raw, "tax_group", where), f"{where}/tax_group", MAX_IDENTIFIER)
    item["taxable_unit"] = clean_text(raw.get("taxable_unit", ""), f"{where}/taxable_unit", MAX_IDENTIFIER)
    references = string_map(raw.get("references", {}), f"{where}/references")
    if references:
        item["references"] = references
    return item, gross - discount


def read_payment(value, where):
    raw = fields_of(value, where, PAYMENT_FIELDS)
    payment = {
        "method": one_of(need(raw, "method", where), f"{where}/method", METHODS),
        "amount": fixed(amount(need(raw, "amount", where), f"{where}/amount"), 2),
        "currency": currency_code(need(raw, "currency", where), f"{where}/currency"),
        "instrument_id": clean_text(raw.get("instrument_id", ""), f"{where}/instrument_id", MAX_IDENTIFIER),
    }
    provider = raw.get("provider", "")
    if provider != "":
        if payment["method"] != "mobile_money":
            raise Refused(f"{where}/provider", "only with mobile money")
        payment["provider"] = one_of(provider, f"{where}/provider", PROVIDERS)
    return payment


def check_groups(kind, client, items, metadata, groups):
    """Tax rules 1 to 5, in their order."""
    overridden = bool(metadata.get("tax_override_reason"))
    used = [item["tax_group"] for item in items]
    for n, code in enumerate(used):
        if code not in groups:
            raise Refused(f"/items/{n}/tax_group", "is not in the manifest")

    def lacks(n):
        references = items[n].get("references", {})
        return any(not references.get(name) for name in groups[used[n]].requires)

    if client == "embassy" and not overridden and any(code != "TG01" for code in used):
        raise Refused("/items", "an embassy is exempt", "EMBASSY_NOT_EXEMPT")
    if "TG01" in used and len(set(used)) > 1 and not overridden:
        raise Refused("/items", "TG01 is mixed", "EXEMPT_MIXED")
    export = kind in ("export", "export_credit")
    for n, code in enumerate(used):
        if export != (code == "TG07") or (export and lacks(n)):
            raise Refused(f"/items/{n}", "exports are TG07 with a certificate, nothing else is", "EXPORT_GROUP")
    for n, code in enumerate(used):
        if client == "individual" and code >= "TG08" and lacks(n):
            raise Refused(f"/items/{n}", "not for individuals without its reference", "GROUP_NOT_ALLOWED")
        if lacks(n):
            raise Refused(f"/items/{n}/references", "a reference is missing", "REFERENCE_MISSING")
        if code == "TG04" and client == "professional" and not items[n].get("references", {}).get("professional_approval_id"):
            raise Refused(f"/items/{n}/references", "a reference is missing", "REFERENCE_MISSING")


def taxes(items, lines, inclusive, groups, currency):
    """Tax rules 6 to 8: the groups and the totals of an invoice. Figures as Decimal."""
    bases, sums = {}, {}
    with localcontext(EXACT):
        for item, net in zip(items, lines):
            code = item["tax_group"]
            rate = groups[code].rate
            base = cents(net / (1 + rate)) if inclusive else net
            tax = net - base if inclusive else cents(base * rate)
            bases[code] = bases.get(code, 0) + base
            sums[code] = sums.get(code, 0) + tax
        per_group = sum((cents(bases[code] * groups[code].rate) for code in bases), Decimal(0))
        subtotal, vat = sum(bases.values(), Decimal(0)), sum(sums.values(), Decimal(0))
    listed = [
        {
            "code": code,
            "name": groups[code].name,
            "rate": fixed(groups[code].rate, 4),
            "base_amount": fixed(check_amount(bases[code], "/tax_groups"), 2),
            "tax_amount": fixed(check_amount(sums[code], "/tax_groups"), 2),
        }
        for code in sorted(bases)
    ]
    totals = {
        "subtotal": fixed(check_amount(subtotal, "/totals/subtotal"), 2),
        "total_vat": fixed(check_amount(vat, "/totals/total_vat"), 2),
        "total": fixed(check_amount(subtotal + vat, "/totals/total"), 2),
        "currency": currency,
        "rounding_adjustment": fixed(vat - per_group, 2),
    }
    return listed, totals


def match_groups(value, computed):
    given = array(value, "/tax_groups", MAX_ITEMS)
    by_code = {}
    for n, raw in enumerate(given):
        where = f"/tax_groups/{n}"
        fields_of(raw, where, GROUP_FIELDS)
        group = {
            "code": clean_text(need(raw, "code", where), where),
            "name": clean_text(need(raw, "name", where), where),
            "rate": fixed(decimal(need(raw, "rate", where), where, 4), 4),
            "base_amount": fixed(amount(need(raw, "base_amount", where), where), 2),
            "tax_amount": fixed(amount(need(raw, "tax_amount", where), where), 2),
        }
        if group["code"] in by_code:
            raise Refused(where, "a group is listed twice")
        by_code[group["code"]] = group
    if by_code != {group["code"]: group for group in computed}:
        raise Refused("/tax_groups", "do not match")


def match_totals(value, computed):
    raw = fields_of(value, "/totals", TOTAL_FIELDS)
    for name, expected in computed.items():
        given = need(raw, name, "/totals")
        if name != "currency":
            given = fixed(amount(given, f"/totals/{name}", negative=name == "rounding_adjustment"), 2)
        if given != expected:
            raise Refused(f"/totals/{name}", f"should be {expected}")


def read_fx(raw, currency, reporting, vat):
    """Tax rule 10."""
    if currency == reporting:
        if "fx" in raw:
            raise Refused("/fx", "only with another currency")
        return None
    if "fx" not in raw:
        raise Refused("/fx", "is missing", "FX_REQUIRED")
    fx = fields_of(raw["fx"], "/fx", ("rate", "reporting_currency", "tax_in_reporting_currency"))
    rate = decimal(need(fx, "rate", "/fx"), "/fx/rate", 6)
    if rate <= 0:
        raise Refused("/fx/rate", "must be above zero")
    if fx.get("reporting_currency", reporting) != reporting:
        raise Refused("/fx/reporting_currency", f"must be {reporting}")
    with localcontext(EXACT):
        tax = check_amount(cents(Decimal(vat) * rate), "/fx")
    if "tax_in_reporting_currency" in fx and amount(fx["tax_in_reporting_currency"], "/fx") != tax:
        raise Refused("/fx/tax_in_reporting_currency", f"should be {tax}")
    return {"rate": short(rate), "reporting_currency": reporting, "tax_in_reporting_currency": fixed(tax, 2)}


def read_invoice(data, manifest):
    """The canonical invoice (a dict in canonical order) that the bytes of a document mean."""
    version, reporting, groups = manifest
    raw = fields_of(parse_json(data), "", INVOICE_FIELDS)
    invoice = {
        name: clean_text(need(raw, name, ""), f"/{name}", MAX_IDENTIFIER, required=True)
        for name in ("merchant_nif", "outlet_id", "pos_terminal_id")
    }
    invoice["cashier_id"] = clean_text(raw.get("cashier_id", ""), "/cashier_id", MAX_IDENTIFIER)
    kind = invoice["invoice_type"] = one_of(need(raw, "invoice_type", ""), "/invoice_type", TYPES)
    invoice["timestamp"] = iso(unix_ms(clean_text(need(raw, "timestamp", ""), "/timestamp"), "/timestamp"))
    if kind in ("credit_note", "export_credit"):
        number = clean_text(need(raw, "original_fiscal_number", ""), "/original_fiscal_number", MAX_IDENTIFIER, True)
        invoice["original_fiscal_number"] = number
    elif "original_fiscal_number" in raw:
        raise Refused("/original_fiscal_number", "only on credits")
    client = invoice["client"] = read_client(need(raw, "client", ""))

    read = [read_item(v, f"/items/{n}") for n, v in enumerate(array(need(raw, "items", ""), "/items", MAX_ITEMS))]
    if not read:
        raise Refused("/items", "an invoice has at least one line")
    items, lines = map(list, zip(*read))
    invoice["items"] = items

    mode = one_of(raw.get("price_mode", "exclusive"), "/price_mode", ("exclusive", "inclusive"))
    metadata = string_map(raw.get("metadata", {}), "/metadata", MAX_METADATA)
    if clean_text(raw.get("tax_manifest_version", version), "/tax_manifest_version") != version:
        raise Refused("/tax_manifest_version", f"the version in force is {version}", "MANIFEST_STALE")
    totals_currency = raw["totals"].get("currency") if isinstance(raw.get("totals"), dict) else None
    currency = currency_code(raw.get("currency", totals_currency or "CDF"), "/currency")

    check_groups(kind, client["classification"], items, metadata, groups)
    invoice["tax_groups"], invoice["totals"] = taxes(items, lines, mode == "inclusive", groups, currency)
    if "tax_groups" in raw:
        match_groups(raw["tax_groups"], invoice["tax_groups"])
    if "totals" in raw:
        match_totals(raw["totals"], invoice["totals"])
    payments = array(raw.get("payments", []), "/payments", MAX_PAYMENTS)
    invoice["payments"] = [read_payment(value, f"/payments/{n}") for n, value in enumerate(payments)]
    fx = read_fx(raw, currency, reporting, invoice["totals"]["total_vat"])
    if fx:
        invoice["fx"] = fx
    if mode == "inclusive":
        invoice["price_mode"] = mode
    invoice["tax_manifest_version"] = version
    if metadata:
        invoice["metadata"] = metadata
    return invoice


def canonical_bytes(invoice):
    return write_json(invoice).encode()


def is_canonical(data, manifest):
    """The strict check: the bytes are the canonical bytes of what they mean."""
    try:
        return canonical_bytes(read_invoice(data, manifest)) == data
    except Refused:
        return False


# --- hashes and codes ---------------------------------------------------------------------------


def s(text):
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def u64(number):
    return struct.pack("<Q", number)


def h32(data):
    assert len(data) == 32
    return data


def H(tag, *parts):
    return blake3(s(tag) + b"".join(parts)).digest()


def payload_hash(payload):
    return blake3(payload).digest()


def blind(seed, index):
    return H("fiscus/blind/v1", h32(seed), u64(index))


def hidden_hash(outlet, position, payload, blinding, prev):
    return H("fiscus/hidden/v1", s(outlet), u64(position), h32(payload), h32(blinding), h32(prev))


def entry_hash(authority, number, ms, kind, total, currency, hidden):
    return H("fiscus/entry/v1", s(authority), s(number), u64(ms), s(kind), s(total), s(currency), h32(hidden))


CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def auth_code(signature):
    bits = int.from_bytes(H("fiscus/auth/v1", signature)[:10], "big")
    code = "".join(CROCKFORD[bits >> shift & 31] for shift in range(75, -1, -5))
    return "-".join(code[i : i + 4] for i in range(0, 16, 4))


def authority_id(name, public_key):
    return f"{name}.{hashlib.sha256(public_key).digest()[:8].hex()}"


def sign(seed, message):
    return nacl.signing.SigningKey(seed).sign(message).signature


def public_key(seed):
    return bytes(nacl.signing.SigningKey(seed).verify_key)


def signature_holds(key, message, signature):
    try:
        nacl.signing.VerifyKey(key).verify(message, signature)
        return True
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url(data) != text:
        raise ValueError("another spelling of base64url")
    return data


# --- offline credentials ------------------------------------------------------------------------

Credential = namedtuple("Credential", "id outlet prefix first last not_before not_after key block authority signature")


def credential_hash(c):
    return H(
        "fiscus/credential/v1", s(c.id), s(c.outlet), s(c.prefix), u64(c.first), u64(c.last),
        u64(c.not_before), u64(c.not_after), h32(c.key), h32(c.block), s(c.authority),
    )  # fmt: skip


def compact_credential(c):
    """The version (1), the fields of the signed hash in its order, the signature."""
    numbers = u64(c.first) + u64(c.last) + u64(c.not_before) + u64(c.not_after)
    fields = s(c.id) + s(c.outlet) + s(c.prefix) + numbers + h32(c.key) + h32(c.block) + s(c.authority)
    return b64url(b"\x01" + fields + c.signature)


def read_compact_credential(text):
    data = unb64url(text)
    at = 1

    def take(count):
        nonlocal at
        at += count
        if at > len(data):
            raise ValueError("the credential is cut off")
        return data[at - count : at]

    def take_str():
        return take(struct.unpack("<I", take(4))[0]).decode()

    if data[:1] != b"\x01":
        raise ValueError("unknown credential version")
    names = [take_str() for _ in range(3)]
    numbers = [struct.unpack("<Q", take(8))[0] for _ in range(4)]
    credential = Credential(*names, *numbers, take(32), take(32), take_str(), take(64))
    if at != len(data):
        raise ValueError("bytes after the credential")
    return credential


# --- the QR payload -----------------------------------------------------------------------------

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def percent(text):
    return "".join(chr(b) if chr(b) in UNRESERVED else f"%{b:02X}" for b in text.encode())


def unpercent(text):
    plain = re.sub(rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())
    return plain.decode()


QR_FIELDS = ["fn", "ts", "k", "t", "c", "fa", "h", "s"]
Receipt = namedtuple("Receipt", "number ms kind total currency authority hidden signature cr", defaults=(None,))


def qr_url(host, r):
    url = (
        f"https://{host}/v?fn={percent(r.number)}&ts={percent(iso(r.ms))}&k={percent(r.kind)}&t={percent(r.total)}"
        f"&c={percent(r.currency)}&fa={percent(r.authority)}&h={b64url(r.hidden)}&s={b64url(r.signature)}"
    )
    return url + (f"&cr={r.cr}" if r.cr else "")


def read_qr(url):
    """Reads the one spelling; raises ValueError."""
    match = re.match(r"https://([a-z0-9.:-]+)/v\?(.*)\Z", url, re.ASCII)
    if not match:
        raise ValueError("not a receipt")
    pairs = [part.split("=", 1) for part in match[2].split("&")]
    if [p[0] for p in pairs] not in (QR_FIELDS, [*QR_FIELDS, "cr"]):
        raise ValueError("wrong fields")
    value = [p[1] for p in pairs]
    plain = [unpercent(text) for text in value[:6]]
    hidden, signature = unb64url(value[6]), unb64url(value[7])
    if len(hidden) != 32 or len(signature) != 64:
        raise ValueError("wrong length")
    receipt = Receipt(plain[0], unix_ms(plain[1]), *plain[2:], hidden, signature, value[8] if value[8:] else None)
    if qr_url(match[1], receipt).replace("%3A", ":") != url.replace("%3A", ":"):
        raise ValueError("another spelling")
    return receipt


def receipt_hash(r):
    return entry_hash(r.authority, r.number, r.ms, r.kind, r.total, r.currency, r.hidden)


def receipt_holds(url, keys):
    """Whether a receipt is genuine; `keys` gives the public key of each authority."""
    try:
        r = read_qr(url)
        if r.cr is None:
            return r.authority in keys and signature_holds(keys[r.authority], receipt_hash(r), r.signature)
        c = read_compact_credential(r.cr)
    except (ValueError, Refused, binascii.Error):
        return False
    prefix, _, sequence = r.number.rpartition("-")
    return (
        c.id == r.authority
        and c.authority in keys
        and signature_holds(keys[c.authority], credential_hash(c), c.signature)
        and signature_holds(c.key, receipt_hash(r), r.signature)
        and prefix == c.prefix
        and c.first <= int(sequence) <= c.last
        and c.not_before <= r.ms <= c.not_after
    )


# --- RFC 6962 -----------------------------------------------------------------------------------


def leaf_hash(data):
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(n):
    """The largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


def tree_root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = split(len(leaves))
    return node_hash(tree_root(leaves[:k]), tree_root(leaves[k:]))


def compact_range(leaves):
    """The roots of the complete subtrees, from the left."""
    roots = []
    while leaves:
        size = 1 << len(leaves).bit_length() - 1
        roots.append(tree_root(leaves[:size]))
        leaves = leaves[size:]
    return roots


def inclusion_path(leaves, index):
    """PATH(m, D[n]) of RFC 6962, 2.1.1."""
    if len(leaves) <= 1:
        return []
    k = split(len(leaves))
    if index < k:
        return inclusion_path(leaves[:k], index) + [tree_root(leaves[k:])]
    return inclusion_path(leaves[k:], index - k) + [tree_root(leaves[:k])]


def consistency_path(leaves, old, whole=True):
    """SUBPROOF(m, D[n], b) of RFC 6962, 2.1.2."""
    if old == len(leaves):
        return [] if whole else [tree_root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return consistency_path(leaves[:k], old, whole) + [tree_root(leaves[k:])]
    return consistency_path(leaves[k:], old - k, False) + [tree_root(leaves[:k])]


def inclusion_holds(leaf, index, size, path, root):
    """RFC 9162, 2.1.3.2."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf_hash(leaf)
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def consistency_holds(old, old_root, new, new_root, path):
    """RFC 9162, 2.1.4.2, with the two trivial cases."""
    if old > new:
        return False
    if old == 0:
        return not path and old_root == tree_root([]) and (new > 0 or new_root == old_root)
    if old == new:
        return not path and old_root == new_root
    path = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == new_root


# --- signed notes -------------------------------------------------------------------------------


def note_key_id(name, key):
    return hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]


def verifier_key(name, key):
    return f"{name}+{note_key_id(name, key).hex()}+" + b64(bytes([1]) + key)


def b64(data):
    return base64.b64encode(data).decode()


def checkpoint_text(origin, size, root, extensions=()):
    return "".join(f"{line}\n" for line in (origin, size, b64(root), *extensions))


def sign_note(text, *signers):
    """A note signed by (name, seed) pairs."""
    lines = [f"— {name} {b64(note_key_id(name, public_key(seed)) + sign(seed, text.encode()))}\n" for name, seed in signers]
    return text + "\n" + "".join(lines)


def note_holds(note, name, key):
    """Whether the note carries a good signature of this key."""
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        return False
    found = False
    for line in signatures[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—":
            return False
        try:
            data = base64.b64decode(parts[2], validate=True)
        except binascii.Error:
            return False
        if parts[1] == name and data[:4] == note_key_id(name, key):
            if not signature_holds(key, (text + "\n").encode(), data[4:]):
                return False
            found = True
    return found


# --- the heads tree -----------------------------------------------------------------------------

Head = namedtuple("Head", "outlet position series chain_head digest")
EMPTY_HEADS = H("fiscus/heads-empty/v1")


def heads_key(outlet):
    return hashlib.sha256(outlet.encode()).digest()


def heads_bit(key, depth):
    return key[depth // 8] >> (7 - depth % 8) & 1


def heads_prefix(key, depth):
    keep = ((1 << depth) - 1) << (256 - depth)
    return (int.from_bytes(key, "big") & keep).to_bytes(32, "big")


def heads_entry(key, contents):
    return H("fiscus/heads-entry/v1", h32(key), h32(contents))


def head_hash(head):
    series = b"".join(s(code) + u64(last) for code, last in sorted(head.series))
    contents = H(
        "fiscus/heads-contents/v1", s(head.outlet), u64(head.position),
        u64(len(head.series)), series, h32(head.chain_head), h32(head.digest),
    )  # fmt: skip
    return heads_entry(heads_key(head.outlet), contents)


def heads_node(depth, prefix, left, right):
    return H("fiscus/heads-node/v1", u64(depth), h32(prefix), h32(left), h32(right))


def heads_root(heads):
    """The root over heads of different outlets, from the definition."""
    if not heads:
        return EMPTY_HEADS
    if len(heads) == 1:
        return head_hash(heads[0])
    keys = [heads_key(head.outlet) for head in heads]
    depth = next(d for d in range(256) if len({heads_bit(key, d) for key in keys}) == 2)
    sides = [[h for h, key in zip(heads, keys) if heads_bit(key, depth) == side] for side in (0, 1)]
    return heads_node(depth, heads_prefix(keys[0], depth), heads_root(sides[0]), heads_root(sides[1]))


def heads_leaf(cluster, group, index, root):
    return H("fiscus/heads-leaf/v1", s(cluster), u64(group), u64(index), h32(root))


def heads_verdict(proof, outlet, root):
    """What a proof says of an outlet: its Head, None when it has none; ValueError when it does not hold."""
    at = 0

    def take(count):
        nonlocal at
        at += count
        if at > len(proof):
            raise ValueError("cut off")
        return proof[at - count : at]

    def number(size):
        return int.from_bytes(take(size), "little")

    steps = [(number(1), take(32)) for _ in range(number(4))]
    end = number(1)
    key, found, final_depth = heads_key(outlet), None, 256
    if end == 0:
        if steps:
            raise ValueError("steps in the empty tree")
        current = EMPTY_HEADS
    elif end == 1:
        name = take(number(4)).decode()
        position = number(8)
        series = tuple((take(number(4)).decode(), number(8)) for _ in range(number(4)))
        if list(series) != sorted(set(series)) or len({code for code, _ in series}) != len(series):
            raise ValueError("series out of order")
        if name != outlet:
            raise ValueError("the entry of another outlet")
        found = Head(name, position, series, take(32), take(32))
        current, other = head_hash(found), key
    elif end == 2:
        final_depth, prefix = number(1), take(32)
        if heads_prefix(prefix, final_depth) != prefix:
            raise ValueError("bits after the prefix")
        if heads_prefix(key, final_depth) == prefix:
            raise ValueError("the outlet could be below")
        current, other = heads_node(final_depth, prefix, take(32), take(32)), prefix
    elif end == 3:
        other = take(32)
        if other == key:
            raise ValueError("the outlet's own key, without its entry")
        current = heads_entry(other, take(32))
    else:
        raise ValueError("unknown end")
    if at != len(proof):
        raise ValueError("bytes after the proof")
    for depth, sibling in reversed(steps):
        if depth >= final_depth:
            raise ValueError("depths must rise")
        final_depth = depth
        if heads_prefix(other, depth + 1) != heads_prefix(key, depth + 1):
            raise ValueError("the path leads elsewhere")
        pair = (sibling, current) if heads_bit(key, depth) else (current, sibling)
        current = heads_node(depth, heads_prefix(key, depth), *pair)
    if current != root:
        raise ValueError("another root")
    return found


# --- what the check scripts share ---------------------------------------------------------------


class Tally:
    """Counts what passed, prints what failed."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, ok, message):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {message}")
        return ok

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed")
        raise SystemExit(1 if self.failed or not self.passed else 0)
