//! The one spelling: what lenient input may spell otherwise, and strict input may not.

use super::{FULL, NOW, SALE, edited, lenient, strict, told};
use crate::invoice::{Filled, parse_lenient};
use crate::manifest::Manifest;

/// Lenient input in another spelling has the model's bytes; strict input is refused.
fn same(model: &str, from: &str, to: &str) {
    let text = edited(model, from, to);
    let parsed =
        lenient(text.as_bytes()).unwrap_or_else(|problem| panic!("{from} → {to}: {problem}"));
    assert_eq!(parsed.invoice.canonical_text(), model, "{from} → {to}");
    assert_eq!(parsed.fingerprint, lenient(model.as_bytes()).unwrap().fingerprint, "{from} → {to}");
    let strictly = told(strict(text.as_bytes()));
    assert!(strictly.starts_with("SCHEMA_INVALID"), "{from} → {to}: {strictly}");
}

#[test]
fn decimals_have_one_spelling() {
    for (from, spellings) in [
        (
            "\"500.00\"",
            &[
                "500",
                "500.0",
                "\"500\"",
                "\"500.000\"",
                "5e2",
                "5E+2",
                "50000e-2",
                "0.5e3",
                "\"500.0\"",
            ][..],
        ),
        (
            "\"quantity\":\"2\"",
            &["2", "2.0", "\"2.0\"", "\"2.000\"", "0.2e1", "20e-1", "\"2.00000\""],
        ),
        ("\"0.1600\"", &["0.16", "16e-2", "\"0.16\"", "\"0.16000\"", "1.6E-1"]),
        ("\"0.00\"", &["0", "-0", "\"-0\"", "\"-0.00\"", "0e5", "-0.0E-9", "\"0\""]),
    ] {
        let prefix = from.split_once(':').map_or(String::new(), |(name, _)| format!("{name}:"));
        for spelling in spellings {
            same(SALE, from, &format!("{prefix}{spelling}"));
        }
    }
    for (from, spellings) in [
        ("\"2850.5\"", &["2850.5", "\"2850.50\"", "28505e-1", "\"2850.500000\""][..]),
        ("\"1.5\"", &["1.5", "\"1.50\"", "\"1.500\"", "15E-1"]),
        ("\"2.50\"", &["2.5", "\"2.5\"", "\"2.500\"", "250e-2"]),
    ] {
        for spelling in spellings {
            same(FULL, from, spelling);
        }
    }
}

#[test]
fn what_is_no_decimal_is_refused() {
    for (value, leniently) in [
        ("\"\"", "FIELD_INVALID /items/0/unit_price"),
        ("\" 500\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"5e2\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"+500\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"0500\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"500,00\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"500.\"", "FIELD_INVALID /items/0/unit_price"),
        ("\".5\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"1.005\"", "FIELD_INVALID /items/0/unit_price"),
        ("1.005", "FIELD_INVALID /items/0/unit_price"),
        ("1e-3", "FIELD_INVALID /items/0/unit_price"),
        ("\"NaN\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"Infinity\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"٥٠٠\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"--5\"", "FIELD_INVALID /items/0/unit_price"),
        ("\"0x1F\"", "FIELD_INVALID /items/0/unit_price"),
        ("0500", "JSON_INVALID /items/0/unit_price"),
        ("-", "JSON_INVALID /items/0/unit_price"),
        ("500.", "JSON_INVALID /items/0/unit_price"),
        ("5e", "JSON_INVALID /items/0/unit_price"),
        ("+500", "JSON_INVALID /items/0/unit_price"),
        (".5", "JSON_INVALID /items/0/unit_price"),
        ("NaN", "JSON_INVALID /items/0/unit_price"),
        ("0x1F", "JSON_INVALID /items/0"),
        ("500 00", "JSON_INVALID /items/0"),
    ] {
        let text = edited(SALE, "\"500.00\"", value);
        assert_eq!(told(lenient(text.as_bytes())), leniently, "{value}");
        let strictly = told(strict(text.as_bytes()));
        assert!(strictly.starts_with("SCHEMA_INVALID /items/0"), "{value}: {strictly}");
    }
}

#[test]
fn words_and_times_and_defaults_have_one_spelling() {
    same(SALE, "\"individual\"", "\"Individual\"");
    same(SALE, "08:00:00.000Z", "08:00:00Z");
    same(SALE, "08:00:00.000Z", "10:00:00.0009+02:00");
    same(SALE, "\"500.00\",", "\"500.00\",\"discount\":0,");
    same(SALE, "\"500.00\",", "\"500.00\",\"discount\":null,");
    same(SALE, "\"piece\"", "\"piece\",\"references\":{}");
    same(SALE, "\"piece\"", "\"piece\",\"references\":null");
    same(SALE, "\"i-1\"", "\"i-1\",\"provider\":null");
    same(SALE, "\"i-1\"", "\"i-1\",\"provider\":\"\"");
    same(SALE, "\"CDF\",\"instrument_id\"", "null,\"instrument_id\"");
    same(SALE, "\"2026-02-01\"", "\"2026-02-01\",\"metadata\":{}");
    same(SALE, "\"2026-02-01\"", "\"2026-02-01\",\"price_mode\":\"exclusive\"");
    same(SALE, "\"2026-02-01\"", "\"2026-02-01\",\"currency\":\"CDF\"");
    same(SALE, "\"2026-02-01\"", "\"2026-02-01\",\"original_fiscal_number\":null");
    same(SALE, "\"nif\":\"\",", "");
    same(FULL, "\"cashier_id\":\"\",", "");
    same(FULL, "\"company\"", "\"Company\"");
    same(FULL, "\"note\":\"a\",\"order\":\"b\"", "\"order\":\"b\",\"note\":\"a\"");
    same(
        FULL,
        "\"a\":\"b\",\"excise_certificate\":\"X-1\"",
        "\"excise_certificate\":\"X-1\",\"a\":\"b\"",
    );
}

#[test]
fn text_has_one_spelling() {
    for (spelled, canonical) in [
        ("e\u{301}", "é"),
        ("e\\u0301", "é"),
        ("\\u00e9", "é"),
        ("\\u00E9", "é"),
        ("\u{212B}", "Å"),
        ("\u{1100}\u{1161}", "가"),
        ("q\u{307}\u{323}", "q\u{323}\u{307}"),
        ("\\/", "/"),
        ("\\u0041", "A"),
        ("\\u0008\\u0009\\u000A\\u000c\\u000D", "\\b\\t\\n\\f\\r"),
        ("\\u0022\\u005C", "\\\"\\\\"),
        ("\\u001F\\u000b", "\\u001f\\u000b"),
        ("\\u007f\\u0080\\u0085\\u009f", "\u{7f}\u{80}\u{85}\u{9f}"),
        ("\\u2028\\u2029", "\u{2028}\u{2029}"),
        ("\\ud83e\\uddfe", "🧾"),
        ("\\uD83E\\uDDFE", "🧾"),
    ] {
        let model = edited(SALE, "Pain", canonical);
        assert_eq!(told(strict(model.as_bytes())), "ok", "{canonical:?}");
        same(&model, canonical, spelled);
    }
    for text in [
        "\u{7f}",
        "\u{80}\u{9f}",
        "\u{2028}",
        "\\u0000",
        "\u{feff}",
        "\u{e000}",
        "\u{10fffd}",
        "//",
    ] {
        let model = edited(SALE, "Pain", text);
        assert_eq!(told(strict(model.as_bytes())), "ok", "{text:?}");
        assert_eq!(lenient(model.as_bytes()).unwrap().invoice.canonical_text(), model);
    }
}

#[test]
fn text_that_is_none_is_refused() {
    for (text, leniently) in [
        ("\n", "JSON_INVALID"),
        ("\t", "JSON_INVALID"),
        ("\0", "JSON_INVALID"),
        ("\u{1f}", "JSON_INVALID"),
        ("\\x41", "JSON_INVALID"),
        ("\\u12", "JSON_INVALID"),
        ("\\U0041", "JSON_INVALID"),
        ("\\ud800", "JSON_INVALID"),
        ("\\udfff", "JSON_INVALID"),
        ("\\ud800\\ud800", "JSON_INVALID"),
        ("\\udc00\\ud800", "JSON_INVALID"),
        ("\\ud800x", "JSON_INVALID"),
        ("\\", "JSON_INVALID"),
        ("\u{378}", "TEXT_UNASSIGNED"),
        ("\\u0378", "TEXT_UNASSIGNED"),
        ("\u{ffff}", "TEXT_UNASSIGNED"),
        ("\u{fdd0}", "TEXT_UNASSIGNED"),
        ("\\udbff\\udfff", "TEXT_UNASSIGNED"),
    ] {
        for (place, pointer) in [
            ("Pain", "/items/0/description"),
            ("A0700001B", "/merchant_nif"),
            ("Awa", "/client/name"),
        ] {
            let text = edited(SALE, place, text);
            let told_leniently = told(lenient(text.as_bytes()));
            // A closing quote that is escaped away moves the break to where the string then ends.
            if text.contains("\\\",") && leniently == "JSON_INVALID" {
                assert!(told_leniently.starts_with("JSON_INVALID"), "{told_leniently}");
            } else {
                assert_eq!(told_leniently, format!("{leniently} {pointer}"), "{text:?}");
            }
            assert!(told(strict(text.as_bytes())).starts_with("SCHEMA_INVALID"), "{text:?}");
        }
    }
    let text = edited(SALE, "Pain", "e\u{301}");
    assert_eq!(told(strict(text.as_bytes())), "SCHEMA_INVALID /items/0/description");
}

#[test]
fn keys_of_metadata_are_texts_too() {
    let with = |entries: &str| {
        edited(SALE, "\"2026-02-01\"}", &format!("\"2026-02-01\",\"metadata\":{{{entries}}}}}"))
    };
    for (entries, leniently, strictly) in [
        (r#""a":"","b":"""#, "ok", "ok"),
        (r#""b":"","a":"""#, "ok", "SCHEMA_INVALID /metadata/a"),
        (r#""a":"","a":"""#, "JSON_DUPLICATE_KEY /metadata/a", "SCHEMA_INVALID /metadata/a"),
        (r#""a":"","\u0061":"""#, "JSON_DUPLICATE_KEY /metadata/a", "SCHEMA_INVALID /metadata/a"),
        (
            "\"\u{e9}\":\"\",\"e\u{301}\":\"\"",
            "JSON_DUPLICATE_KEY /metadata/e\u{301}",
            "SCHEMA_INVALID /metadata/e\u{301}",
        ),
        ("\"e\u{301}\":\"\"", "ok", "SCHEMA_INVALID /metadata/e\u{301}"),
        (
            "\"\u{378}\":\"\"",
            "TEXT_UNASSIGNED /metadata/\u{378}",
            "SCHEMA_INVALID /metadata/\u{378}",
        ),
        ("\"\":\"\"", "FIELD_INVALID /metadata/", "SCHEMA_INVALID /metadata/"),
        ("\"a\":1", "FIELD_INVALID /metadata/a", "SCHEMA_INVALID /metadata/a"),
        ("\"a\":null", "FIELD_INVALID /metadata/a", "SCHEMA_INVALID /metadata/a"),
        ("\"a\":{}", "FIELD_INVALID /metadata/a", "SCHEMA_INVALID /metadata/a"),
        // Bytes decide the order: U+FF5E comes before U+1F9FE, though not in UTF-16.
        ("\"\u{ff5e}\":\"\",\"\u{1f9fe}\":\"\"", "ok", "ok"),
        ("\"\u{1f9fe}\":\"\",\"\u{ff5e}\":\"\"", "ok", "SCHEMA_INVALID /metadata/\u{ff5e}"),
    ] {
        let text = with(entries);
        assert_eq!(told(lenient(text.as_bytes())), leniently, "{entries}");
        assert_eq!(told(strict(text.as_bytes())), strictly, "{entries}");
    }
}

/// Every position of every structural byte of the model, with white space before it.
#[test]
fn white_space_anywhere_is_lenient_only() {
    let mut quoted = false;
    for (at, byte) in FULL.bytes().enumerate() {
        if !quoted {
            let text = format!("{} \t\r\n{}", &FULL[..at], &FULL[at..]);
            assert_eq!(lenient(text.as_bytes()).unwrap().invoice.canonical_text(), FULL, "at {at}");
            assert!(told(strict(text.as_bytes())).starts_with("SCHEMA_INVALID"), "at {at}");
        }
        if byte == b'"' {
            quoted = !quoted;
        }
    }
}

#[test]
fn what_is_filled_in_is_not_in_the_fingerprint() {
    let cut = |text: &str, from: &str, to: &str| {
        let (start, end) = (text.find(from).unwrap(), text.find(to).unwrap());
        format!("{}{}", &text[..start], &text[end..])
    };
    let open = cut(SALE, "\"tax_groups\"", "\"payments\"");
    let open = cut(&open, "\"timestamp\"", "\"client\"")
        .replace(",\"tax_manifest_version\":\"2026-02-01\"", "");
    let first = lenient(open.as_bytes()).unwrap();
    let all = Filled {
        timestamp: true,
        tax_manifest_version: true,
        tax_groups: true,
        totals: true,
        fx_tax: false,
    };
    assert_eq!(first.filled, all);

    // The same request under another manifest, a year later.
    let later = Manifest::builtin()
        .to_json()
        .replace("0.1600", "0.1800")
        .replace("2026-02-01\"", "2027-02-01\"");
    let later = later.replace("Standard VAT, goods", "Goods");
    let later = Manifest::parse(&later).unwrap();
    let time = crate::time::UnixMs::new(NOW.get() + 31_536_000_000);
    let again = parse_lenient(open.as_bytes(), &later, time).unwrap();
    assert_ne!(again.invoice.canonical_text(), first.invoice.canonical_text());
    assert_eq!(again.fingerprint, first.fingerprint);
    let other = open.replace("Pain", "Pains");
    assert_ne!(lenient(other.as_bytes()).unwrap().fingerprint, first.fingerprint);
}

/// A group's name is the ledger's, unless the client wrote exactly that one.
#[test]
fn a_name_that_is_filled_in_is_not_in_the_fingerprint() {
    let later = Manifest::builtin().to_json().replace("Standard VAT, goods", "Goods");
    let later = Manifest::parse(&later).unwrap();
    for (to, filled) in [
        ("", true),
        ("\"name\":null,", true),
        ("\"name\":\"TVA standard, biens\",", true),
        ("\"name\":\"Standard VAT, goods\",", false),
    ] {
        let text = edited(SALE, "\"name\":\"Standard VAT, goods\",", to);
        let first = lenient(text.as_bytes()).unwrap();
        assert_eq!(first.filled.tax_groups, filled, "{to}");
        if filled {
            let again = parse_lenient(text.as_bytes(), &later, NOW).unwrap();
            assert_eq!(again.fingerprint, first.fingerprint, "{to}");
        }
    }
}
