//! The tax rules, each with the invoices that it lets pass and those that it refuses.

use super::{FULL, SALE, check, lenient, strict, told};
use crate::invoice::GroupCode;

/// What a row says of an invoice; the rest does not matter to any rule.
struct Case<'a> {
    kind: &'a str,
    class: &'a str,
    /// Each line's group, and the references it carries.
    lines: &'a [(&'a str, &'a [&'a str])],
    reason: Option<&'a str>,
}

impl Case<'_> {
    /// The document in canonical order; the figures are those of an invoice over nothing but zero prices,
    /// which suffices because rules come before sums.
    fn text(&self, figures: bool) -> String {
        let lines: Vec<String> =
            self.lines.iter().map(|(group, names)| line(group, names)).collect();
        let original = match self.kind {
            "credit_note" | "export_credit" => "\"original_fiscal_number\":\"KIN-A-1\",",
            _ => "",
        };
        let groups = if figures { "\"tax_groups\":[]," } else { "" };
        let totals = if figures {
            "\"totals\":{\"subtotal\":\"0.00\",\"total_vat\":\"0.00\",\"total\":\"0.00\",\
             \"currency\":\"CDF\",\"rounding_adjustment\":\"0.00\"},"
        } else {
            ""
        };
        let metadata = self.reason.map_or(String::new(), |reason| {
            format!(",\"metadata\":{{\"tax_override_reason\":\"{reason}\"}}")
        });
        format!(
            "{{\"merchant_nif\":\"M\",\"outlet_id\":\"O\",\"pos_terminal_id\":\"P\",\
             \"cashier_id\":\"\",\"invoice_type\":\"{}\",\"timestamp\":\"2026-11-21T08:00:00.000Z\",\
             {original}\"client\":{{\"name\":\"\",\"nif\":\"N\",\"classification\":\"{}\"}},\
             \"items\":[{}],{groups}{totals}\"payments\":[],\
             \"tax_manifest_version\":\"2026-02-01\"{metadata}}}",
            self.kind,
            self.class,
            lines.join(",")
        )
    }

    /// Reads it both ways, which must agree.
    fn outcome(&self) -> String {
        let text = self.text(false);
        let result = lenient(text.as_bytes());
        match &result {
            Ok(parsed) => assert_eq!(told(strict(parsed.invoice.canonical_bytes())), "ok"),
            Err(_) => {
                let text = self.text(true);
                assert_eq!(told(strict(text.as_bytes())), told(result.clone()), "{text}");
            }
        }
        told(result)
    }
}

fn line(group: &str, names: &[&str]) -> String {
    let references: Vec<String> = names.iter().map(|name| format!("\"{name}\":\"x\"")).collect();
    let references = match names {
        [] => String::new(),
        _ => format!(",\"references\":{{{}}}", references.join(",")),
    };
    format!(
        "{{\"code\":\"\",\"description\":\"d\",\"quantity\":\"1\",\"unit_price\":\"1.00\",\
         \"tax_group\":\"{group}\",\"taxable_unit\":\"\"{references}}}"
    )
}

const CERTIFICATE: &[&str] = &["export_certificate"];
const EMBASSY: &str = "EMBASSY_NOT_EXEMPT";
const MIXED: &str = "EXEMPT_MIXED";

#[test]
fn rules_1_and_2_exempt_lines() {
    for (class, groups, reason, outcome) in [
        ("embassy", &["TG01"][..], None, "ok".to_owned()),
        ("embassy", &["TG01", "TG01"], None, "ok".to_owned()),
        ("embassy", &["TG02"], None, format!("{EMBASSY} /items/0/tax_group")),
        ("embassy", &["TG01", "TG02"], None, format!("{EMBASSY} /items/1/tax_group")),
        ("embassy", &["TG02"], Some("why"), "ok".to_owned()),
        ("embassy", &["TG01", "TG02"], Some("why"), "ok".to_owned()),
        ("embassy", &["TG02"], Some(""), format!("{EMBASSY} /items/0/tax_group")),
        ("embassy", &["TG02"], Some(" \\t\u{a0}"), format!("{EMBASSY} /items/0/tax_group")),
        ("individual", &["TG01"], None, "ok".to_owned()),
        ("individual", &["TG02", "TG03", "TG06"], None, "ok".to_owned()),
        ("individual", &["TG01", "TG02"], None, format!("{MIXED} /items/1/tax_group")),
        ("individual", &["TG02", "TG03", "TG01"], None, format!("{MIXED} /items/2/tax_group")),
        ("individual", &["TG01", "TG02"], Some("why"), "ok".to_owned()),
        ("company", &["TG01", "TG02"], Some(" "), format!("{MIXED} /items/1/tax_group")),
        ("professional", &["TG01", "TG06"], None, format!("{MIXED} /items/1/tax_group")),
        // A reason lifts rules 1 and 2 only.
        (
            "embassy",
            &["TG05"],
            Some("why"),
            "REFERENCE_MISSING /items/0/references/funding_source".to_owned(),
        ),
        ("individual", &["TG08"], Some("why"), "GROUP_NOT_ALLOWED /items/0/tax_group".to_owned()),
        ("individual", &["TG07"], Some("why"), "EXPORT_GROUP /items/0/tax_group".to_owned()),
    ] {
        let lines: Vec<(&str, &[&str])> = groups.iter().map(|group| (*group, &[][..])).collect();
        for kind in ["sale", "advance", "credit_note"] {
            let case = Case { kind, class, lines: &lines, reason };
            assert_eq!(case.outcome(), outcome, "{kind} {class} {groups:?} {reason:?}");
        }
    }
}

#[test]
fn rule_3_exports() {
    let bare: &[&str] = &[];
    for (lines, exported, otherwise) in [
        (&[("TG07", CERTIFICATE)][..], "ok", "EXPORT_GROUP /items/0/tax_group"),
        (&[("TG07", CERTIFICATE), ("TG07", CERTIFICATE)], "ok", "EXPORT_GROUP /items/0/tax_group"),
        (
            &[("TG07", bare)],
            "EXPORT_GROUP /items/0/references/export_certificate",
            "EXPORT_GROUP /items/0/tax_group",
        ),
        (
            &[("TG07", CERTIFICATE), ("TG07", &["funding_source"])],
            "EXPORT_GROUP /items/1/references/export_certificate",
            "EXPORT_GROUP /items/0/tax_group",
        ),
        (&[("TG02", CERTIFICATE)], "EXPORT_GROUP /items/0/tax_group", "ok"),
        (&[("TG01", bare)], "EXPORT_GROUP /items/0/tax_group", "ok"),
        (
            &[("TG07", CERTIFICATE), ("TG02", bare)],
            "EXPORT_GROUP /items/1/tax_group",
            "EXPORT_GROUP /items/0/tax_group",
        ),
        (
            &[("TG02", bare), ("TG07", CERTIFICATE)],
            "EXPORT_GROUP /items/0/tax_group",
            "EXPORT_GROUP /items/1/tax_group",
        ),
    ] {
        for class in ["individual", "company", "commercial_individual", "professional"] {
            for (kind, outcome) in [
                ("export", exported),
                ("export_credit", exported),
                ("sale", otherwise),
                ("advance", otherwise),
                ("credit_note", otherwise),
            ] {
                let case = Case { kind, class, lines, reason: None };
                assert_eq!(case.outcome(), outcome, "{kind} {class} {lines:?}");
            }
        }
    }
    let case =
        Case { kind: "export", class: "embassy", lines: &[("TG07", CERTIFICATE)], reason: None };
    assert_eq!(case.outcome(), "EMBASSY_NOT_EXEMPT /items/0/tax_group");
    assert_eq!(Case { reason: Some("why"), ..case }.outcome(), "ok");
}

/// What each group needs, spelled out here a second time.
const NEEDS: [&str; GroupCode::COUNT] = [
    "",
    "",
    "",
    "",
    "funding_source",
    "",
    "export_certificate",
    "regime_registration",
    "mining_license",
    "excise_certificate",
    "excise_certificate",
    "excise_certificate",
    "telecom_operator",
    "excise_certificate",
];

#[test]
fn rules_4_and_5_every_group_for_every_class() {
    for group in GroupCode::all().filter(|group| *group != GroupCode::EXPORT) {
        let code = group.as_str();
        let needed = NEEDS[group.index()];
        for class in ["individual", "company", "commercial_individual", "professional", "embassy"] {
            let reason = (class == "embassy").then_some("why");
            let professional = class == "professional" && code == "TG04";
            let needed = if professional { "professional_approval_id" } else { needed };
            let outcome =
                |lines: &[(&str, &[&str])]| Case { kind: "sale", class, lines, reason }.outcome();
            let refused = |index: usize| match (needed, class) {
                ("", _) => "ok".to_owned(),
                (_, "individual") if group.index() >= 7 => {
                    format!("GROUP_NOT_ALLOWED /items/{index}/tax_group")
                }
                _ => format!("REFERENCE_MISSING /items/{index}/references/{needed}"),
            };
            assert_eq!(outcome(&[(code, &[])]), refused(0), "{class} {code} bare");
            assert_eq!(outcome(&[(code, &["another"])]), refused(0), "{class} {code} another");
            let names = [needed];
            let full: &[&str] = if needed.is_empty() { &[] } else { &names };
            assert_eq!(outcome(&[(code, full)]), "ok", "{class} {code} with {needed}");
            // Each line carries its own.
            assert_eq!(outcome(&[(code, full), (code, &[])]), refused(1), "{class} {code} second");
        }
    }
}

#[test]
fn a_reference_that_says_nothing_is_missing() {
    for value in ["", " ", "\\n\\t", "\u{3000}"] {
        let text = FULL.replace("\"X-1\"", &format!("\"{value}\""));
        let outcome = "REFERENCE_MISSING /items/0/references/excise_certificate";
        assert_eq!(told(lenient(text.as_bytes())), outcome);
        assert_eq!(told(strict(text.as_bytes())), outcome);
    }
}

#[test]
fn a_client_that_needs_a_number_has_one() {
    for (class, needs) in [
        ("individual", false),
        ("company", true),
        ("commercial_individual", true),
        ("professional", false),
        ("embassy", false),
    ] {
        // Blank is not a number.
        for nif in ["", " ", "\u{a0}\\t"] {
            let text = SALE
                .replace("\"individual\"", &format!("\"{class}\""))
                .replace("\"nif\":\"\"", &format!("\"nif\":\"{nif}\""));
            let outcome = match (needs, class) {
                (true, _) => "CLIENT_NIF_REQUIRED /client/nif",
                (_, "embassy") => "EMBASSY_NOT_EXEMPT /items/0/tax_group",
                _ => "ok",
            };
            assert_eq!(told(lenient(text.as_bytes())), outcome, "{class} {nif:?}");
            assert_eq!(told(strict(text.as_bytes())), outcome, "{class} {nif:?}");
        }
    }
}

#[test]
fn rule_9_a_credit_note_names_its_original() {
    for (kind, credit) in [
        ("sale", false),
        ("advance", false),
        ("credit_note", true),
        ("export", false),
        ("export_credit", true),
    ] {
        for given in [true, false] {
            let original =
                if given { "\"original_fiscal_number\":\"K-1\",\"client\"" } else { "\"client\"" };
            let text =
                SALE.replace("\"sale\"", &format!("\"{kind}\"")).replace("\"client\"", original);
            let text = if kind.starts_with("export") {
                text.replace("TG02", "TG07")
                    .replace("\"piece\"", "\"piece\",\"references\":{\"export_certificate\":\"x\"}")
                    .replace("Standard VAT, goods", "Export, zero rate")
                    .replace("0.1600", "0.0000")
                    .replace("\"160.00\"", "\"0.00\"")
                    .replace("\"total\":\"1160.00\"", "\"total\":\"1000.00\"")
            } else {
                text
            };
            let outcome = match (credit, given) {
                (true, false) => "ORIGINAL_REQUIRED /original_fiscal_number",
                (false, true) => "ORIGINAL_NOT_ALLOWED /original_fiscal_number",
                _ => "ok",
            };
            assert_eq!(told(lenient(text.as_bytes())), outcome, "{kind} {given}");
            assert_eq!(told(strict(text.as_bytes())), outcome, "{kind} {given}");
        }
    }
}

#[test]
fn rule_10_another_currency_needs_its_rate() {
    let fx = ",\"fx\":{\"rate\":\"2850.5\",\"reporting_currency\":\"CDF\",\
              \"tax_in_reporting_currency\":\"7126.25\"}";
    check(
        FULL,
        &[
            (fx, "", "FX_REQUIRED /fx", "FX_REQUIRED /fx"),
            ("\"rate\":\"2850.5\",", "", "FX_REQUIRED /fx/rate", "FX_REQUIRED /fx/rate"),
            (
                "\"reporting_currency\":\"CDF\"",
                "\"reporting_currency\":\"USD\"",
                "FX_MISMATCH /fx/reporting_currency",
                "FX_MISMATCH /fx/reporting_currency",
            ),
            (
                "\"7126.25\"",
                "\"7126.26\"",
                "FX_MISMATCH /fx/tax_in_reporting_currency",
                "FX_MISMATCH /fx/tax_in_reporting_currency",
            ),
            (
                "\"2850.5\"",
                "\"2850\"",
                "FX_MISMATCH /fx/tax_in_reporting_currency",
                "FX_MISMATCH /fx/tax_in_reporting_currency",
            ),
            (
                "\"currency\":\"USD\",\"rounding",
                "\"currency\":\"CDF\",\"rounding",
                "FX_NOT_ALLOWED /fx",
                "FX_NOT_ALLOWED /fx",
            ),
            ("\"currency\":\"USD\",\"rounding", "\"currency\":\"EUR\",\"rounding", "ok", "ok"),
        ],
    );
    check(
        SALE,
        &[
            (
                ",\"tax_manifest",
                ",\"fx\":{},\"tax_manifest",
                "FX_NOT_ALLOWED /fx",
                "SCHEMA_INVALID /fx/reporting_currency",
            ),
            (",\"tax_manifest", ",\"fx\":null,\"tax_manifest", "ok", "SCHEMA_INVALID /fx"),
            (
                "\"currency\":\"CDF\",\"rounding",
                "\"currency\":\"USD\",\"rounding",
                "FX_REQUIRED /fx",
                "FX_REQUIRED /fx",
            ),
        ],
    );
}

#[test]
fn the_currency_stands_in_one_place_or_agrees() {
    let totals = ",\"totals\":{\"subtotal\":\"1000.00\",\"total_vat\":\"160.00\",\
                  \"total\":\"1160.00\",\"currency\":\"CDF\",\"rounding_adjustment\":\"0.00\"}";
    assert!(SALE.contains(totals));
    for (totals_given, beside, outcome) in [
        (totals, "\"CDF\"", "ok"),
        (totals, "\"USD\"", "CURRENCY_CONFLICT /currency"),
        (totals, "null", "ok"),
        ("", "\"CDF\"", "ok"),
        ("", "\"USD\"", "FX_REQUIRED /fx"),
        (",\"totals\":{}", "\"USD\"", "FX_REQUIRED /fx"),
        (",\"totals\":{}", "null", "ok"),
        ("", "\"cdf\"", "FIELD_INVALID /currency"),
    ] {
        let text = SALE
            .replace(totals, totals_given)
            .replace("\"2026-02-01\"}", &format!("\"2026-02-01\",\"currency\":{beside}}}"));
        assert_eq!(told(lenient(text.as_bytes())), outcome, "{totals_given} {beside}");
    }
}

#[test]
fn a_payment_without_a_currency_is_in_the_invoices() {
    let text = FULL.replace("\"currency\":\"USD\",\"instrument_id\"", "\"instrument_id\"");
    assert_ne!(text, FULL);
    assert_eq!(lenient(text.as_bytes()).unwrap().invoice.canonical_text(), FULL);
    let text = FULL.replace(
        "\"currency\":\"USD\",\"instrument_id\"",
        "\"currency\":\"CDF\",\"instrument_id\"",
    );
    assert_eq!(told(strict(text.as_bytes())), "ok");
}

#[test]
fn a_stale_manifest_is_refused() {
    check(
        SALE,
        &[
            (
                "\"2026-02-01\"",
                "\"2026-02-02\"",
                "MANIFEST_STALE /tax_manifest_version",
                "MANIFEST_STALE /tax_manifest_version",
            ),
            (
                "\"2026-02-01\"",
                "\"2026-02-01 \"",
                "MANIFEST_STALE /tax_manifest_version",
                "MANIFEST_STALE /tax_manifest_version",
            ),
            (
                "\"2026-02-01\"",
                "\"\"",
                "FIELD_INVALID /tax_manifest_version",
                "SCHEMA_INVALID /tax_manifest_version",
            ),
        ],
    );
    let text = SALE.replace("2026-02-01\"}", "2025-12-31\"}");
    let problem = lenient(text.as_bytes()).unwrap_err();
    assert!(problem.detail.contains("2026-02-01"), "the current version is told");
}
