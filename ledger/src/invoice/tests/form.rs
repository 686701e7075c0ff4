//! The form: what is not JSON, not an invoice, or not the one spelling of it.

use super::{FULL, SALE, check, edited, lenient, strict, told};

#[test]
fn what_is_not_json_is_refused_where_it_breaks() {
    for (text, leniently) in [
        ("", "JSON_INVALID"),
        (" ", "JSON_INVALID"),
        ("null", "FIELD_INVALID"),
        ("[]", "FIELD_INVALID"),
        ("\"\"", "FIELD_INVALID"),
        ("1", "FIELD_INVALID"),
        ("{", "JSON_INVALID"),
        ("{}", "FIELD_MISSING /merchant_nif"),
        ("{\"merchant_nif\"}", "JSON_INVALID"),
        ("{\"merchant_nif\":}", "JSON_INVALID /merchant_nif"),
        ("{\"merchant_nif\":\"a\",}", "JSON_INVALID"),
        ("{\"client\":{\"name\":\"a\"", "JSON_INVALID /client"),
        ("{\"client\":{\"name\":\"a", "JSON_INVALID /client/name"),
        ("{\"items\":[,]}", "JSON_INVALID /items/0"),
        ("{\"items\":[", "JSON_INVALID /items"),
        ("{'items':[]}", "JSON_INVALID"),
        ("\u{feff}{}", "JSON_INVALID"),
    ] {
        assert_eq!(told(lenient(text.as_bytes())), leniently, "{text}");
        let strictly = told(strict(text.as_bytes()));
        assert!(strictly.starts_with("SCHEMA_INVALID"), "{text}: {strictly}");
    }
}

#[test]
fn what_surrounds_the_document_is_refused() {
    for (before, after, leniently, strictly) in [
        (" \n\t\r", "", "ok", "SCHEMA_INVALID"),
        ("", "\n", "ok", "SCHEMA_INVALID"),
        ("\u{feff}", "", "JSON_INVALID", "SCHEMA_INVALID"),
        ("\u{a0}", "", "JSON_INVALID", "SCHEMA_INVALID"),
        ("", "x", "JSON_INVALID", "SCHEMA_INVALID"),
        ("", "{}", "JSON_INVALID", "SCHEMA_INVALID"),
        ("", "\0", "JSON_INVALID", "SCHEMA_INVALID"),
        ("// a\n", "", "JSON_INVALID", "SCHEMA_INVALID"),
    ] {
        let text = format!("{before}{SALE}{after}");
        assert_eq!(told(lenient(text.as_bytes())), leniently, "{before:?} {after:?}");
        assert_eq!(told(strict(text.as_bytes())), strictly, "{before:?} {after:?}");
    }
}

#[test]
fn what_is_not_utf8_is_refused() {
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80"] {
        let mut text = SALE.as_bytes().to_vec();
        let at = SALE.find("Pain").unwrap();
        text.splice(at..at, bytes.iter().copied());
        assert_eq!(told(lenient(&text)), "UTF8_INVALID", "{bytes:?}");
        assert_eq!(told(strict(&text)), "SCHEMA_INVALID", "{bytes:?}");
    }
}

#[test]
fn deep_nesting_is_refused_where_it_starts() {
    let deep = |bracket: &str| bracket.repeat(100_000);
    for (place, pointer) in [
        ("\"items\":", "/items/0"),
        ("\"unit_price\":", "/items/0/unit_price"),
        ("\"client\":", "/client"),
        ("\"merchant_nif\":", "/merchant_nif"),
        ("\"payments\":", "/payments/0"),
        ("\"totals\":", "/totals"),
    ] {
        let text = edited(SALE, place, &format!("{place}{}", deep("[")));
        assert_eq!(told(lenient(text.as_bytes())), format!("FIELD_INVALID {pointer}"));
        assert_eq!(told(strict(text.as_bytes())), format!("SCHEMA_INVALID {pointer}"));
    }
    let text = deep("{\"client\":");
    assert_eq!(told(lenient(text.as_bytes())), "FIELD_UNKNOWN /client/client");
    assert_eq!(told(lenient(deep("[").as_bytes())), "FIELD_INVALID");
}

/// Every member of every object of the full model, by its pointer without the member's name.
const MEMBERS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "merchant_nif",
            "outlet_id",
            "pos_terminal_id",
            "cashier_id",
            "invoice_type",
            "timestamp",
            "original_fiscal_number",
            "items",
            "tax_groups",
            "totals",
            "payments",
            "fx",
            "price_mode",
            "tax_manifest_version",
            "metadata",
        ],
    ),
    ("/client", &["nif", "classification"]),
    ("/items/0", &["description", "quantity", "unit_price", "discount", "taxable_unit"]),
    ("/items/0/references", &["a", "excise_certificate"]),
    ("/tax_groups/0", &["rate", "base_amount", "tax_amount"]),
    ("/totals", &["subtotal", "total_vat", "total", "rounding_adjustment"]),
    ("/payments/0", &["amount", "instrument_id", "provider"]),
    ("/fx", &["rate", "reporting_currency", "tax_in_reporting_currency"]),
    ("/metadata", &["note", "order"]),
];

/// Where the member's text (`"name":value`) stands in the full model; the names above are such that
/// the first place where one stands after its parent's is its own.
fn span(parent: &str, name: &str) -> std::ops::Range<usize> {
    let mut from = 0;
    for part in parent.split('/').filter(|part| !part.is_empty() && *part != "0") {
        from += FULL[from..].find(&format!("\"{part}\":")).unwrap() + part.len() + 3;
    }
    let start = from + FULL[from..].find(&format!("\"{name}\":")).unwrap();
    start..member_end(start)
}

/// Where the member that starts here in the full model ends.
fn member_end(start: usize) -> usize {
    let value = start + FULL[start..].find(':').unwrap() + 1;
    let (mut depth, mut quoted) = (0_u32, false);
    for (at, byte) in FULL.bytes().enumerate().skip(value) {
        match byte {
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b',' | b'}' | b']' if !quoted && depth == 0 => return at,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
    }
    panic!("the model ends with a bracket")
}

/// Each member of the full model changes places with the next one.
#[test]
fn a_misplaced_field_is_named_strictly_and_right_leniently() {
    let mut swapped = 0;
    for (parent, names) in MEMBERS {
        for name in *names {
            let one = span(parent, name);
            if FULL.as_bytes()[one.end] != b',' {
                continue;
            }
            let two = one.end + 1..member_end(one.end + 1);
            let text = format!(
                "{}{},{}{}",
                &FULL[..one.start],
                &FULL[two.clone()],
                &FULL[one.clone()],
                &FULL[two.end..]
            );
            assert_eq!(lenient(text.as_bytes()).unwrap().invoice.canonical_text(), FULL, "{text}");
            let expected = format!("SCHEMA_INVALID {parent}/{name}");
            assert_eq!(told(strict(text.as_bytes())), expected, "{text}");
            swapped += 1;
        }
    }
    assert!(swapped > 20, "{swapped}");
}

#[test]
fn a_key_that_stands_twice_is_refused_at_every_level() {
    for (parent, names) in MEMBERS {
        for name in *names {
            let range = span(parent, name);
            let member = &FULL[range.clone()];
            let text = format!("{},{member}{}", &FULL[..range.end], &FULL[range.end..]);
            let expected = format!("JSON_DUPLICATE_KEY {parent}/{name}");
            assert_eq!(told(lenient(text.as_bytes())), expected);
            assert_eq!(
                told(strict(text.as_bytes())),
                format!("SCHEMA_INVALID {parent}/{name}"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_key_that_stands_twice_is_seen_through_null_and_escapes() {
    check(
        SALE,
        &[
            (
                "\"merchant_nif\":",
                "\"merchant_nif\":null,\"merchant_nif\":",
                "JSON_DUPLICATE_KEY /merchant_nif",
                "SCHEMA_INVALID /merchant_nif",
            ),
            (
                "\"name\":",
                "\"n\\u0061me\":\"x\",\"name\":",
                "JSON_DUPLICATE_KEY /client/name",
                "SCHEMA_INVALID /client/name",
            ),
        ],
    );
}

#[test]
fn fields_that_no_invoice_has_are_refused() {
    check(
        FULL,
        &[
            (
                "{\"merchant_nif\"",
                "{\"x\":1,\"merchant_nif\"",
                "FIELD_UNKNOWN /x",
                "SCHEMA_INVALID /x",
            ),
            ("{\"name\"", "{\"\":1,\"name\"", "FIELD_UNKNOWN /client/", "SCHEMA_INVALID /client/"),
            (
                "[{\"code\":\"F",
                "[{\"a/b~c\":null,\"code\":\"F",
                "FIELD_UNKNOWN /items/0/a~1b~0c",
                "SCHEMA_INVALID /items/0/a~1b~0c",
            ),
            (
                "{\"code\":\"TG10\"",
                "{\"Code\":1,\"code\":\"TG10\"",
                "FIELD_UNKNOWN /tax_groups/0/Code",
                "SCHEMA_INVALID /tax_groups/0/Code",
            ),
            (
                "{\"subtotal\"",
                "{\"tax\":1,\"subtotal\"",
                "FIELD_UNKNOWN /totals/tax",
                "SCHEMA_INVALID /totals/tax",
            ),
            (
                "{\"method\"",
                "{\"id\":1,\"method\"",
                "FIELD_UNKNOWN /payments/0/id",
                "SCHEMA_INVALID /payments/0/id",
            ),
            (
                "{\"rate\":\"2",
                "{\"fee\":1,\"rate\":\"2",
                "FIELD_UNKNOWN /fx/fee",
                "SCHEMA_INVALID /fx/fee",
            ),
            (
                "\"metadata\":{\"note\":\"a\"",
                "\"metadata\":{\"n/o~te\":1",
                "FIELD_INVALID /metadata/n~1o~0te",
                "SCHEMA_INVALID /metadata/n~1o~0te",
            ),
            (
                "\"metadata\":{\"note\":\"a\"",
                "\"metadata\":{\"\":\"a\"",
                "FIELD_INVALID /metadata/",
                "SCHEMA_INVALID /metadata/",
            ),
        ],
    );
}

#[test]
fn an_answer_does_not_echo_a_hostile_key() {
    let key = "~/".repeat(300_000);
    for (place, pointer) in [
        ("{\"merchant_nif\"", ""),
        ("{\"name\"", " /client"),
        ("{\"note\"", " /metadata"),
        ("{\"a\":\"b\"", " /items/0/references"),
    ] {
        let text = edited(FULL, place, &format!("{{\"{key}\":\"\",{}", &place[1..]));
        let code = if pointer.is_empty() || pointer == " /client" {
            "FIELD_UNKNOWN"
        } else {
            "LIMIT_EXCEEDED"
        };
        assert_eq!(told(lenient(text.as_bytes())), format!("{code}{pointer}"));
        assert_eq!(told(strict(text.as_bytes())), format!("SCHEMA_INVALID{pointer}"));
    }
}

// long: a table, one row per document
#[test]
fn absent_and_null_members_of_the_full_model() {
    // A member that strict input needs, and lenient input does not, is marked `ok`.
    let rows = [
        ("", "merchant_nif", "FIELD_MISSING /merchant_nif", "SCHEMA_INVALID /merchant_nif"),
        ("", "outlet_id", "FIELD_MISSING /outlet_id", "SCHEMA_INVALID /outlet_id"),
        (
            "",
            "pos_terminal_id",
            "FIELD_MISSING /pos_terminal_id",
            "SCHEMA_INVALID /pos_terminal_id",
        ),
        ("", "cashier_id", "ok", "SCHEMA_INVALID /cashier_id"),
        ("", "invoice_type", "FIELD_MISSING /invoice_type", "SCHEMA_INVALID /invoice_type"),
        ("", "timestamp", "ok", "SCHEMA_INVALID /timestamp"),
        (
            "",
            "original_fiscal_number",
            "ORIGINAL_REQUIRED /original_fiscal_number",
            "ORIGINAL_REQUIRED /original_fiscal_number",
        ),
        ("", "client", "FIELD_MISSING /client", "SCHEMA_INVALID /client"),
        ("/client", "name", "ok", "SCHEMA_INVALID /client/name"),
        ("/client", "nif", "CLIENT_NIF_REQUIRED /client/nif", "SCHEMA_INVALID /client/nif"),
        (
            "/client",
            "classification",
            "FIELD_MISSING /client/classification",
            "SCHEMA_INVALID /client/classification",
        ),
        ("", "items", "FIELD_MISSING /items", "SCHEMA_INVALID /items"),
        ("/items/0", "code", "ok", "SCHEMA_INVALID /items/0/code"),
        (
            "/items/0",
            "description",
            "FIELD_MISSING /items/0/description",
            "SCHEMA_INVALID /items/0/description",
        ),
        (
            "/items/0",
            "quantity",
            "FIELD_MISSING /items/0/quantity",
            "SCHEMA_INVALID /items/0/quantity",
        ),
        (
            "/items/0",
            "unit_price",
            "FIELD_MISSING /items/0/unit_price",
            "SCHEMA_INVALID /items/0/unit_price",
        ),
        (
            "/items/0",
            "tax_group",
            "FIELD_MISSING /items/0/tax_group",
            "SCHEMA_INVALID /items/0/tax_group",
        ),
        ("/items/0", "taxable_unit", "ok", "SCHEMA_INVALID /items/0/taxable_unit"),
        (
            "/items/0",
            "references",
            "REFERENCE_MISSING /items/0/references/excise_certificate",
            "REFERENCE_MISSING /items/0/references/excise_certificate",
        ),
        ("", "tax_groups", "ok", "SCHEMA_INVALID /tax_groups"),
        (
            "/tax_groups/0",
            "code",
            "FIELD_MISSING /tax_groups/0/code",
            "SCHEMA_INVALID /tax_groups/0/code",
        ),
        ("/tax_groups/0", "name", "ok", "SCHEMA_INVALID /tax_groups/0/name"),
        ("/tax_groups/0", "rate", "ok", "SCHEMA_INVALID /tax_groups/0/rate"),
        ("/tax_groups/0", "base_amount", "ok", "SCHEMA_INVALID /tax_groups/0/base_amount"),
        ("/tax_groups/0", "tax_amount", "ok", "SCHEMA_INVALID /tax_groups/0/tax_amount"),
        ("/totals", "subtotal", "ok", "SCHEMA_INVALID /totals/subtotal"),
        ("/totals", "total_vat", "ok", "SCHEMA_INVALID /totals/total_vat"),
        ("/totals", "total", "ok", "SCHEMA_INVALID /totals/total"),
        ("/totals", "rounding_adjustment", "ok", "SCHEMA_INVALID /totals/rounding_adjustment"),
        ("", "payments", "ok", "SCHEMA_INVALID /payments"),
        (
            "/payments/0",
            "method",
            "FIELD_MISSING /payments/0/method",
            "SCHEMA_INVALID /payments/0/method",
        ),
        (
            "/payments/0",
            "amount",
            "FIELD_MISSING /payments/0/amount",
            "SCHEMA_INVALID /payments/0/amount",
        ),
        ("/payments/0", "currency", "ok", "SCHEMA_INVALID /payments/0/currency"),
        ("/payments/0", "instrument_id", "ok", "SCHEMA_INVALID /payments/0/instrument_id"),
        ("", "fx", "FX_REQUIRED /fx", "FX_REQUIRED /fx"),
        ("/fx", "rate", "FX_REQUIRED /fx/rate", "FX_REQUIRED /fx/rate"),
        ("/fx", "reporting_currency", "ok", "SCHEMA_INVALID /fx/reporting_currency"),
        ("/fx", "tax_in_reporting_currency", "ok", "SCHEMA_INVALID /fx/tax_in_reporting_currency"),
        ("", "tax_manifest_version", "ok", "SCHEMA_INVALID /tax_manifest_version"),
    ];
    for (parent, name, leniently, strictly) in rows {
        let range = span(parent, name);
        let absent = format!("{}{}", &FULL[..range.start], &FULL[range.end..]);
        let absent = absent.replace(",,", ",").replace("{,", "{").replace(",}", "}");
        assert_eq!(told(lenient(absent.as_bytes())), leniently, "without {parent}/{name}");
        let refused = if name == "fx" || name == "original_fiscal_number" || name == "references" {
            strictly.to_owned()
        } else if strictly.starts_with("SCHEMA") {
            format!("SCHEMA_INVALID {parent}/{name}")
        } else {
            strictly.to_owned()
        };
        assert_eq!(told(strict(absent.as_bytes())), refused, "without {parent}/{name}");

        let null = format!("{}\"{name}\":null{}", &FULL[..range.start], &FULL[range.end..]);
        assert_eq!(told(lenient(null.as_bytes())), leniently, "null for {parent}/{name}");
        assert_eq!(
            told(strict(null.as_bytes())),
            format!("SCHEMA_INVALID {parent}/{name}"),
            "null for {parent}/{name}"
        );
    }
}

#[test]
fn a_value_of_another_kind_is_refused_everywhere() {
    for (parent, names) in MEMBERS {
        for name in *names {
            let range = span(parent, name);
            let kept = &FULL[range.start + name.len() + 3..range.end];
            for value in ["true", "{\"x\":1}", "[1]", "\"\\u0000?\"", "1.5e0"] {
                let is_object = kept.starts_with('{');
                let is_list = kept.starts_with('[');
                let is_decimal = kept.ends_with("0\"") && kept.contains('.')
                    || ["quantity", "rate"].contains(name)
                    || kept.ends_with("5\"");
                let is_text = !is_object && !is_list && !is_decimal;
                let may_be_right = (value.starts_with('{') && is_object)
                    || (value.starts_with('[') && is_list)
                    || (value.starts_with('"') && is_text)
                    || (value.starts_with('1') && is_decimal);
                if may_be_right {
                    continue;
                }
                let text =
                    format!("{}\"{name}\":{value}{}", &FULL[..range.start], &FULL[range.end..]);
                assert_eq!(
                    told(lenient(text.as_bytes())),
                    format!("FIELD_INVALID {parent}/{name}"),
                    "{value}"
                );
                assert_eq!(
                    told(strict(text.as_bytes())),
                    format!("SCHEMA_INVALID {parent}/{name}"),
                    "{value}"
                );
            }
        }
    }
}

// long: a table, one row per document
#[test]
fn words_must_be_known() {
    check(
        FULL,
        &[
            (
                "\"credit_note\"",
                "\"refund\"",
                "FIELD_INVALID /invoice_type",
                "SCHEMA_INVALID /invoice_type",
            ),
            (
                "\"credit_note\"",
                "\"CreditNote\"",
                "FIELD_INVALID /invoice_type",
                "SCHEMA_INVALID /invoice_type",
            ),
            ("\"company\"", "\"Company\"", "ok", "SCHEMA_INVALID /client/classification"),
            (
                "\"company\"",
                "\"COMPANY\"",
                "FIELD_INVALID /client/classification",
                "SCHEMA_INVALID /client/classification",
            ),
            (
                "\"company\"",
                "\"CommercialIndividual\"",
                "ok",
                "SCHEMA_INVALID /client/classification",
            ),
            (
                "\"TG10\"",
                "\"TG15\"",
                "TAX_GROUP_UNKNOWN /items/0/tax_group",
                "TAX_GROUP_UNKNOWN /items/0/tax_group",
            ),
            (
                "\"TG10\"",
                "\"tg10\"",
                "TAX_GROUP_UNKNOWN /items/0/tax_group",
                "TAX_GROUP_UNKNOWN /items/0/tax_group",
            ),
            (
                "\"TG10\"",
                "\"\"",
                "TAX_GROUP_UNKNOWN /items/0/tax_group",
                "TAX_GROUP_UNKNOWN /items/0/tax_group",
            ),
            (
                "{\"code\":\"TG10\"",
                "{\"code\":\"TG00\"",
                "TAX_GROUP_UNKNOWN /tax_groups/0/code",
                "TAX_GROUP_UNKNOWN /tax_groups/0/code",
            ),
            (
                "\"USD\"",
                "\"usd\"",
                "FIELD_INVALID /totals/currency",
                "SCHEMA_INVALID /totals/currency",
            ),
            (
                "\"USD\"",
                "\"US\"",
                "FIELD_INVALID /totals/currency",
                "SCHEMA_INVALID /totals/currency",
            ),
            ("\"USD\"", "\"US\\u0044\"", "ok", "SCHEMA_INVALID"),
            (
                "\"mobile_money\"",
                "\"cheque\"",
                "FIELD_INVALID /payments/0/method",
                "SCHEMA_INVALID /payments/0/method",
            ),
            (
                "\"mobile_money\"",
                "\"card\"",
                "PROVIDER_NOT_ALLOWED /payments/0/provider",
                "PROVIDER_NOT_ALLOWED /payments/0/provider",
            ),
            (
                "\"mpesa\"",
                "\"orange\"",
                "FIELD_INVALID /payments/0/provider",
                "SCHEMA_INVALID /payments/0/provider",
            ),
            ("\"mpesa\"", "\"\"", "ok", "SCHEMA_INVALID /payments/0/provider"),
            (
                "\"inclusive\"",
                "\"gross\"",
                "FIELD_INVALID /price_mode",
                "SCHEMA_INVALID /price_mode",
            ),
            (
                "\"merchant_nif\":\"A0700001B\"",
                "\"merchant_nif\":\"\"",
                "FIELD_INVALID /merchant_nif",
                "SCHEMA_INVALID /merchant_nif",
            ),
            (
                "\"Essence\"",
                "\"\"",
                "FIELD_INVALID /items/0/description",
                "SCHEMA_INVALID /items/0/description",
            ),
            (
                "\"KIN-A-7\"",
                "\"\"",
                "FIELD_INVALID /original_fiscal_number",
                "SCHEMA_INVALID /original_fiscal_number",
            ),
        ],
    );
    check(
        SALE,
        &[
            (
                ",\"tax_manifest_version\"",
                ",\"price_mode\":\"exclusive\",\"tax_manifest_version\"",
                "ok",
                "SCHEMA_INVALID /price_mode",
            ),
            (
                "\"2026-02-01\"}",
                "\"2026-02-01\",\"metadata\":{}}",
                "ok",
                "SCHEMA_INVALID /metadata",
            ),
            (
                "\"piece\"",
                "\"piece\",\"references\":{}",
                "ok",
                "SCHEMA_INVALID /items/0/references",
            ),
            (
                "\"500.00\"",
                "\"500.00\",\"discount\":\"0.00\"",
                "ok",
                "SCHEMA_INVALID /items/0/discount",
            ),
            (
                "\"2026-02-01\"}",
                "\"2026-02-01\",\"currency\":\"CDF\"}",
                "ok",
                "SCHEMA_INVALID /currency",
            ),
        ],
    );
}

#[test]
fn times_are_iso_8601() {
    for (time, leniently, strictly) in [
        ("2026-11-21T08:00:00Z", true, false),
        ("2026-11-21T09:00:00.000+01:00", true, false),
        ("2026-11-21t08:00:00.000000000z", true, false),
        ("2026-11-21T08:00:00", false, false),
        ("2026-11-21 08:00:00Z", false, false),
        ("2026-02-29T08:00:00.000Z", false, false),
        ("2026-11-21T24:00:00.000Z", false, false),
        ("2026-11-21T23:59:60.000Z", false, false),
        ("1969-12-31T23:59:59.999Z", false, false),
        ("1970-01-01T00:00:00.000Z", true, true),
        ("9999-12-31T23:59:59.999Z", true, true),
        ("9999-12-31T23:59:59.999-00:01", false, false),
        ("1970-01-01T00:00:00.000+00:01", false, false),
        ("+2026-11-21T08:00:00.000Z", false, false),
        ("1795248000000", false, false),
        ("", false, false),
    ] {
        let told_of = |right: bool, code: &str| match right {
            true => "ok".to_owned(),
            false => format!("{code} /timestamp"),
        };
        let text = edited(SALE, "2026-11-21T08:00:00.000Z", time);
        assert_eq!(told(lenient(text.as_bytes())), told_of(leniently, "FIELD_INVALID"), "{time}");
        assert_eq!(told(strict(text.as_bytes())), told_of(strictly, "SCHEMA_INVALID"), "{time}");
    }
}
