//! Every limit: the last value that is accepted, and the first that is not.

use super::{FULL, SALE, check, edited, lenient, strict, told};
use crate::invoice::BODY_BYTES_MAX;

/// Both ways in agree on limits; strictly the code is the protocol's one for form.
fn both(text: &str, leniently: &str, what: &str) {
    assert_eq!(told(lenient(text.as_bytes())), leniently, "leniently {what}");
    let strictly = match leniently.split_once(' ') {
        Some(("LIMIT_EXCEEDED" | "FIELD_INVALID", pointer)) => format!("SCHEMA_INVALID {pointer}"),
        _ => leniently.to_owned(),
    };
    assert_eq!(told(strict(text.as_bytes())), strictly, "strictly {what}");
}

#[test]
fn texts_have_a_longest() {
    for (place, prefix, most, pointer) in [
        ("\"A0700001B\"", "", 64, "/merchant_nif"),
        ("\"outlet-1\"", "", 64, "/outlet_id"),
        ("\"pos-1\"", "", 64, "/pos_terminal_id"),
        ("\"cashier_id\":\"\"", "\"cashier_id\":", 64, "/cashier_id"),
        ("\"KIN-A-7\"", "", 64, "/original_fiscal_number"),
        ("\"Société Élan\"", "", 512, "/client/name"),
        ("\"B0800002C\"", "", 64, "/client/nif"),
        ("\"F1\"", "", 64, "/items/0/code"),
        ("\"Essence\"", "", 512, "/items/0/description"),
        ("\"l\"", "", 64, "/items/0/taxable_unit"),
        ("\"X-1\"", "", 64, "/items/0/references/excise_certificate"),
        ("\"instrument_id\":\"\"", "\"instrument_id\":", 64, "/payments/0/instrument_id"),
        ("\"note\":\"a\"", "\"note\":", 256, "/metadata/note"),
    ] {
        let with = |text: String| edited(FULL, place, &format!("{prefix}\"{text}\""));
        both(&with("x".repeat(most)), "ok", pointer);
        both(&with("é".repeat(most / 2)), "ok", pointer);
        let over = format!("LIMIT_EXCEEDED {pointer}");
        both(&with("x".repeat(most + 1)), &over, pointer);
        both(&with(format!("x{}", "é".repeat(most / 2))), &over, pointer);
    }
}

#[test]
fn the_limit_is_of_the_text_in_its_normal_form() {
    // Sixty-four bytes once composed, ninety-six before.
    let text = edited(SALE, "\"c-1\"", &format!("\"{}\"", "e\u{301}".repeat(32)));
    assert_eq!(told(lenient(text.as_bytes())), "ok");
    // U+1D160 is excluded from composition: four bytes before, twelve after.
    let text = edited(SALE, "\"c-1\"", &format!("\"{}\"", "\u{1D160}".repeat(6)));
    assert_eq!(told(lenient(text.as_bytes())), "LIMIT_EXCEEDED /cashier_id");
    // An escape counts as what it stands for.
    let text = edited(SALE, "\"c-1\"", &format!("\"{}\"", "\\u0001".repeat(64)));
    both(&text, "ok", "escapes");
}

#[test]
fn words_beyond_an_identifier_are_not_echoed() {
    let long = format!("\"{}\"", "w".repeat(65));
    for (place, pointer) in [
        ("\"credit_note\"", "/invoice_type"),
        ("\"company\"", "/client/classification"),
        ("\"TG10\"", "/items/0/tax_group"),
        ("\"USD\"", "/totals/currency"),
        ("\"mobile_money\"", "/payments/0/method"),
        ("\"mpesa\"", "/payments/0/provider"),
        ("\"inclusive\"", "/price_mode"),
        ("\"2026-11-21T08:00:00.000Z\"", "/timestamp"),
        ("\"2026-02-01\"", "/tax_manifest_version"),
    ] {
        both(&edited(FULL, place, &long), &format!("LIMIT_EXCEEDED {pointer}"), place);
    }
}

#[test]
fn objects_of_texts_have_a_most() {
    let entries =
        |count: usize| -> String { (0..count).map(|at| format!("\"k{at:02}\":\"\",")).collect() };
    for (place, spare, pointer) in
        [("{\"note\":", 2, "/metadata"), ("{\"excise_certificate\":", 1, "/items/0/references")]
    {
        let model = FULL.replace("\"a\":\"b\",", "");
        let with = |count: usize| {
            let text = edited(&model, place, &format!("{{{}{}", entries(count), &place[1..]));
            // `k` sorts after `excise_certificate`.
            text.replace(
                &format!("{{{}\"excise_certificate\":\"X-1\"", entries(count)),
                &format!(
                    "{{\"excise_certificate\":\"X-1\",{}",
                    entries(count).trim_end_matches(',')
                ),
            )
        };
        both(&with(32 - spare), "ok", pointer);
        let text = with(33 - spare);
        let refused = told(lenient(text.as_bytes()));
        assert!(refused.starts_with(&format!("LIMIT_EXCEEDED {pointer}/")), "{refused}");
        assert!(told(strict(text.as_bytes())).starts_with(&format!("SCHEMA_INVALID {pointer}/")));
    }
    let key = |length: usize| edited(FULL, "\"note\"", &format!("\"{}\"", "n".repeat(length)));
    both(&key(256), "ok", "key");
    both(&key(257), "LIMIT_EXCEEDED /metadata", "key");
}

#[test]
fn lists_have_a_most() {
    let line = "{\"code\":\"P1\",\"description\":\"Pain\",\"quantity\":\"2\",\"unit_price\":\"500.00\",\
                \"tax_group\":\"TG02\",\"taxable_unit\":\"piece\"}";
    let lines = |count: usize| edited(SALE, line, &vec![line; count].join(","));
    let open = |text: String| {
        let from = text.find("\"tax_groups\"").unwrap();
        let to = text.find("\"payments\"").unwrap();
        format!("{}{}", &text[..from], &text[to..])
    };
    let text = open(lines(2_000));
    let parsed = lenient(text.as_bytes()).unwrap();
    assert_eq!(parsed.invoice.items().len(), 2_000);
    assert_eq!(parsed.invoice.totals().total.minor(), 232_000_000);
    assert_eq!(told(strict(parsed.invoice.canonical_bytes())), "ok");
    both(&lines(2_001), "LIMIT_EXCEEDED /items", "2,001 lines");
    both(&edited(SALE, line, ""), "ITEMS_EMPTY /items", "no line");

    let payment = "{\"method\":\"cash\",\"amount\":\"1160.00\",\"currency\":\"CDF\",\"instrument_id\":\"i-1\"}";
    let payments = |count: usize| edited(SALE, payment, &vec![payment; count].join(","));
    both(&payments(0), "ok", "no payment");
    both(&payments(64), "ok", "64 payments");
    both(&payments(65), "LIMIT_EXCEEDED /payments", "65 payments");

    let group = "{\"code\":\"TG02\",\"name\":\"Standard VAT, goods\",\"rate\":\"0.1600\",\
                 \"base_amount\":\"1000.00\",\"tax_amount\":\"160.00\"}";
    let groups = |count: usize| edited(SALE, group, &vec![group; count].join(","));
    both(&groups(0), "TAX_GROUPS_MISMATCH /tax_groups", "no group");
    both(&groups(14), "TAX_GROUPS_MISMATCH /tax_groups/1/code", "a group twice");
    both(&groups(15), "LIMIT_EXCEEDED /tax_groups", "15 groups");
}

#[test]
fn a_document_is_at_most_one_mebibyte() {
    let padded = |bytes: usize| format!("{SALE}{}", " ".repeat(bytes - SALE.len()));
    assert_eq!(told(lenient(padded(BODY_BYTES_MAX).as_bytes())), "ok");
    assert_eq!(told(lenient(padded(BODY_BYTES_MAX + 1).as_bytes())), "BODY_TOO_LARGE");
    assert_eq!(told(strict(padded(BODY_BYTES_MAX + 1).as_bytes())), "SCHEMA_INVALID");
    // Not even looked at.
    assert_eq!(told(lenient(&vec![0xff; BODY_BYTES_MAX + 1])), "BODY_TOO_LARGE");
}

/// A lenient document within its limit may have canonical bytes beyond it: members with nothing to say
/// are left out by the client and written by the ledger.
#[test]
fn a_canonical_invoice_is_at_most_one_mebibyte() {
    let line = |description: usize| {
        format!(
            "{{\"description\":\"{}\",\"quantity\":1,\"unit_price\":1,\"tax_group\":\"TG02\"}}",
            "d".repeat(description)
        )
    };
    let invoice = |longest: usize| {
        let mut lines = vec![line(448); 1_908];
        lines.push(line(longest));
        format!(
            "{{\"merchant_nif\":\"A\",\"outlet_id\":\"O\",\"pos_terminal_id\":\"P\",\
             \"invoice_type\":\"sale\",\"client\":{{\"classification\":\"individual\"}},\
             \"items\":[{}]}}",
            lines.join(",")
        )
    };
    let shortest =
        lenient(invoice(1).as_bytes()).map(|parsed| parsed.invoice.canonical_text().len());
    let room = BODY_BYTES_MAX - shortest.expect("1,909 lines of 448 bytes fit");
    assert!(room < 511, "one description decides: {room}");
    let fits = invoice(1 + room);
    let parsed = lenient(fits.as_bytes()).unwrap();
    assert_eq!(parsed.invoice.canonical_bytes().len(), BODY_BYTES_MAX);
    assert_eq!(told(strict(parsed.invoice.canonical_bytes())), "ok");
    let over = invoice(2 + room);
    assert!(over.len() < BODY_BYTES_MAX);
    assert_eq!(told(lenient(over.as_bytes())), "BODY_TOO_LARGE");
}

#[test]
fn given_amounts_are_at_most_ten_to_the_fifteenth() {
    for (place, pointer) in [
        ("\"10.00\"", "/items/0/unit_price"),
        ("\"2.50\"", "/items/0/discount"),
        ("\"base_amount\":\"10.00\"", "/tax_groups/0/base_amount"),
        ("\"tax_amount\":\"2.50\"", "/tax_groups/0/tax_amount"),
        ("\"subtotal\":\"10.00\"", "/totals/subtotal"),
        ("\"total_vat\":\"2.50\"", "/totals/total_vat"),
        ("\"total\":\"12.50\"", "/totals/total"),
        ("\"rounding_adjustment\":\"0.00\"", "/totals/rounding_adjustment"),
        ("\"amount\":\"12.50\"", "/payments/0/amount"),
        ("\"7126.25\"", "/fx/tax_in_reporting_currency"),
    ] {
        let prefix = place.split_once(':').map_or(String::new(), |(name, _)| format!("{name}:"));
        for over in ["10000000000000.01", "99999999999999999.99"] {
            let text = edited(FULL, place, &format!("{prefix}\"{over}\""));
            both(&text, &format!("LIMIT_EXCEEDED {pointer}"), over);
        }
    }
    let paid =
        |amount: &str| edited(SALE, "\"amount\":\"1160.00\"", &format!("\"amount\":{amount}"));
    both(&paid("\"10000000000000.00\""), "ok", "the largest amount");
    for (amount, outcome) in [
        ("10000000000000", "ok"),
        ("1e13", "ok"),
        ("10000000000000.01", "LIMIT_EXCEEDED /payments/0/amount"),
        ("1e400", "LIMIT_EXCEEDED /payments/0/amount"),
        ("1E99999999999999999999", "LIMIT_EXCEEDED /payments/0/amount"),
        ("1e-400", "FIELD_INVALID /payments/0/amount"),
        ("0e99999999999999999999", "ok"),
        ("-1", "FIELD_INVALID /payments/0/amount"),
        ("-1e400", "LIMIT_EXCEEDED /payments/0/amount"),
        ("-0", "ok"),
        ("-0.0e5", "ok"),
    ] {
        assert_eq!(told(lenient(paid(amount).as_bytes())), outcome, "{amount}");
        assert_eq!(told(strict(paid(amount).as_bytes())), "SCHEMA_INVALID /payments/0/amount");
    }
}

#[test]
fn huge_numbers_are_read_as_text() {
    let paid =
        |amount: &str| edited(SALE, "\"amount\":\"1160.00\"", &format!("\"amount\":{amount}"));
    let zeros = "0".repeat(1_000_000);
    for (amount, outcome) in [
        (format!("1{zeros}"), "LIMIT_EXCEEDED /payments/0/amount"),
        (format!("1{zeros}e-1000000"), "ok"),
        (format!("1.{zeros}"), "ok"),
        (format!("\"1.{zeros}\""), "ok"),
        (format!("1.{zeros}1"), "FIELD_INVALID /payments/0/amount"),
        (format!("0.{zeros}1e1000001"), "ok"),
        (format!("1e{zeros}2"), "ok"),
        (format!("0{zeros}"), "JSON_INVALID /payments/0/amount"),
        (format!("\"0{zeros}\""), "FIELD_INVALID /payments/0/amount"),
        ("9".repeat(1_000_000), "LIMIT_EXCEEDED /payments/0/amount"),
    ] {
        let start = &amount[..amount.len().min(12)];
        assert_eq!(told(lenient(paid(&amount).as_bytes())), outcome, "{start}");
        let refused = told(strict(paid(&amount).as_bytes()));
        assert_eq!(refused, "SCHEMA_INVALID /payments/0/amount", "{start}");
    }
}

// long: a table, one row per document
#[test]
fn quantities_and_rates_have_a_range() {
    check(
        FULL,
        &[
            (
                "\"1.5\"",
                "\"0\"",
                "FIELD_INVALID /items/0/quantity",
                "SCHEMA_INVALID /items/0/quantity",
            ),
            (
                "\"1.5\"",
                "\"-1\"",
                "FIELD_INVALID /items/0/quantity",
                "SCHEMA_INVALID /items/0/quantity",
            ),
            (
                "\"1.5\"",
                "\"0.0001\"",
                "FIELD_INVALID /items/0/quantity",
                "SCHEMA_INVALID /items/0/quantity",
            ),
            (
                "\"1.5\"",
                "-0",
                "FIELD_INVALID /items/0/quantity",
                "SCHEMA_INVALID /items/0/quantity",
            ),
            (
                "\"1.5\"",
                "\"1000000000000.001\"",
                "LIMIT_EXCEEDED /items/0/quantity",
                "SCHEMA_INVALID /items/0/quantity",
            ),
            (
                "\"1.5\"",
                "\"1000000000000\"",
                "TAX_GROUPS_MISMATCH /tax_groups/0/base_amount",
                "TAX_GROUPS_MISMATCH /tax_groups/0/base_amount",
            ),
            ("\"2850.5\"", "\"0\"", "FIELD_INVALID /fx/rate", "SCHEMA_INVALID /fx/rate"),
            ("\"2850.5\"", "\"-1\"", "FIELD_INVALID /fx/rate", "SCHEMA_INVALID /fx/rate"),
            ("\"2850.5\"", "\"0.0000001\"", "FIELD_INVALID /fx/rate", "SCHEMA_INVALID /fx/rate"),
            (
                "\"2850.5\"",
                "\"1000000000.000001\"",
                "LIMIT_EXCEEDED /fx/rate",
                "SCHEMA_INVALID /fx/rate",
            ),
            (
                "\"2850.5\"",
                "\"1000000000\"",
                "FX_MISMATCH /fx/tax_in_reporting_currency",
                "FX_MISMATCH /fx/tax_in_reporting_currency",
            ),
            (
                "\"0.2500\"",
                "\"10.0001\"",
                "FIELD_INVALID /tax_groups/0/rate",
                "SCHEMA_INVALID /tax_groups/0/rate",
            ),
            (
                "\"0.2500\"",
                "\"-0.0001\"",
                "FIELD_INVALID /tax_groups/0/rate",
                "SCHEMA_INVALID /tax_groups/0/rate",
            ),
            (
                "\"0.2500\"",
                "\"10.0000\"",
                "TAX_GROUPS_MISMATCH /tax_groups/0/rate",
                "TAX_GROUPS_MISMATCH /tax_groups/0/rate",
            ),
            (
                "\"10.00\"",
                "\"-0.01\"",
                "FIELD_INVALID /items/0/unit_price",
                "SCHEMA_INVALID /items/0/unit_price",
            ),
            (
                "\"2.50\"",
                "\"-0.01\"",
                "FIELD_INVALID /items/0/discount",
                "SCHEMA_INVALID /items/0/discount",
            ),
            (
                "\"12.50\"",
                "\"-12.50\"",
                "FIELD_INVALID /totals/total",
                "SCHEMA_INVALID /totals/total",
            ),
            (
                "ment\":\"0.00\"",
                "ment\":\"-0.01\"",
                "TOTALS_MISMATCH /totals/rounding_adjustment",
                "TOTALS_MISMATCH /totals/rounding_adjustment",
            ),
        ],
    );
}
