//! Half a centime, overflow, discounts, groups and totals: figures worked out by hand.

use super::{FULL, SALE, check, edited, lenient, strict, told};

/// An invoice for a company, with the lines given as `(group, quantity, price, discount)`.
fn invoice(lines: &[(&str, &str, &str, &str)], rest: &str) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|(group, quantity, price, discount)| {
            format!(
                "{{\"description\":\"d\",\"quantity\":\"{quantity}\",\"unit_price\":\"{price}\",\
                 \"discount\":\"{discount}\",\"tax_group\":\"{group}\",\"references\":\
                 {{\"excise_certificate\":\"e\",\"regime_registration\":\"r\"}}}}"
            )
        })
        .collect();
    format!(
        "{{\"merchant_nif\":\"M\",\"outlet_id\":\"O\",\"pos_terminal_id\":\"P\",\
         \"invoice_type\":\"sale\",\"client\":{{\"nif\":\"N\",\"classification\":\"company\"}},\
         \"items\":[{}]{rest}}}",
        lines.join(",")
    )
}

const INCLUSIVE: &str = ",\"price_mode\":\"inclusive\"";

#[test]
fn one_line_is_rounded_half_up() {
    // quantity, price, discount, mode → base, tax
    for (group, quantity, price, discount, mode, base, tax) in [
        ("TG02", "1", "0.01", "0", "", 1, 0),
        ("TG02", "1", "0.03", "0", "", 3, 0),
        ("TG02", "1", "0.04", "0", "", 4, 1),
        // 0.25 × 16 % = 0.04 exactly; 0.22 × 16 % = 0.0352; 0.28 × 16 % = 0.0448.
        ("TG02", "1", "0.25", "0", "", 25, 4),
        ("TG02", "1", "0.22", "0", "", 22, 4),
        ("TG02", "1", "0.28", "0", "", 28, 4),
        // Exactly half a centime: 0.10 × 5 % = 0.005 and 0.30 × 15 % would be 0.045.
        ("TG08", "1", "0.10", "0", "", 10, 1),
        ("TG08", "1", "0.09", "0", "", 9, 0),
        ("TG10", "1", "0.02", "0", "", 2, 1),
        ("TG10", "1", "0.06", "0", "", 6, 2),
        // The base itself: 0.5 × 0.01 is half a centime, 0.499 × 0.01 is less.
        ("TG01", "0.5", "0.01", "0", "", 1, 0),
        ("TG01", "0.499", "0.01", "0", "", 0, 0),
        ("TG01", "1.5", "0.01", "0", "", 2, 0),
        ("TG01", "0.001", "5", "0", "", 1, 0),
        ("TG01", "0.001", "4.99", "0", "", 0, 0),
        // The discount comes off after rounding: 0.5 × 0.05 = 0.025 → 0.03 − 0.01.
        ("TG01", "0.5", "0.05", "0.01", "", 2, 0),
        ("TG02", "2", "500", "1000", "", 0, 0),
        ("TG02", "3", "0", "0", "", 0, 0),
        // Prices with tax: 0.01 ÷ 1.16 = 0.0086 → 0.01, and no tax is left.
        ("TG02", "1", "0.01", "0", INCLUSIVE, 1, 0),
        ("TG02", "1", "0.04", "0", INCLUSIVE, 3, 1),
        ("TG02", "1", "1.16", "0", INCLUSIVE, 100, 16),
        ("TG02", "1", "1160.00", "0", INCLUSIVE, 100_000, 16_000),
        // 0.05 ÷ 1.25 = 0.04; 0.03 ÷ 1.2 = 0.025 exactly, half up.
        ("TG10", "1", "0.05", "0", INCLUSIVE, 4, 1),
        ("TG12", "1", "0.03", "0", INCLUSIVE, 3, 0),
        ("TG12", "1", "0.02", "0", INCLUSIVE, 2, 0),
        ("TG12", "1", "0.09", "0", INCLUSIVE, 8, 1),
        ("TG01", "1", "0.07", "0", INCLUSIVE, 7, 0),
        ("TG02", "0.5", "0.01", "0", INCLUSIVE, 1, 0),
        ("TG10", "1.5", "10.00", "2.50", INCLUSIVE, 1_000, 250),
    ] {
        let text = invoice(&[(group, quantity, price, discount)], mode);
        let parsed = lenient(text.as_bytes()).unwrap();
        let line = &parsed.invoice.items()[0];
        let row = format!("{group} {quantity} × {price} − {discount} {mode}");
        assert_eq!((line.base.minor(), line.tax.minor()), (base, tax), "{row}");
        assert_eq!(told(strict(parsed.invoice.canonical_bytes())), "ok", "{row}");
    }
}

#[test]
fn a_discount_is_at_most_its_line() {
    for (quantity, price, discount, outcome) in [
        ("2", "500", "0", "ok"),
        ("2", "500", "1000", "ok"),
        ("2", "500", "1000.01", "DISCOUNT_EXCEEDS_LINE /items/1/discount"),
        ("1", "0", "0.01", "DISCOUNT_EXCEEDS_LINE /items/1/discount"),
        ("0.499", "0.01", "0.01", "DISCOUNT_EXCEEDS_LINE /items/1/discount"),
        ("0.5", "0.01", "0.01", "ok"),
    ] {
        for mode in ["", INCLUSIVE] {
            let lines = [("TG02", "1", "1", "0"), ("TG02", quantity, price, discount)];
            let text = invoice(&lines, mode);
            assert_eq!(told(lenient(text.as_bytes())), outcome, "{quantity} {price} {discount}");
        }
    }
    check(
        FULL,
        &[(
            "\"2.50\"",
            "\"15.01\"",
            "DISCOUNT_EXCEEDS_LINE /items/0/discount",
            "DISCOUNT_EXCEEDS_LINE /items/0/discount",
        )],
    );
}

#[test]
fn computed_amounts_are_at_most_ten_to_the_fifteenth() {
    const MOST: &str = "10000000000000.00";
    for (lines, mode, outcome) in [
        (&[("TG01", "1", MOST, "0")][..], "", "ok"),
        (&[("TG02", "1", MOST, "0")], INCLUSIVE, "ok"),
        (&[("TG02", "1", MOST, "0")], "", "AMOUNT_OVERFLOW /totals/total"),
        (&[("TG01", "1.001", MOST, "0")], "", "AMOUNT_OVERFLOW /items/0/unit_price"),
        (&[("TG01", "1000000000000", MOST, "0")], "", "AMOUNT_OVERFLOW /items/0/unit_price"),
        (&[("TG01", "1000000000000", "10.00", "0")], "", "ok"),
        (&[("TG01", "1000000000000", "10.01", "0")], "", "AMOUNT_OVERFLOW /items/0/unit_price"),
        // The line is rounded before the discount comes off, and must itself be within the limit.
        (&[("TG01", "2", MOST, MOST)], "", "AMOUNT_OVERFLOW /items/0/unit_price"),
        (&[("TG01", "1", MOST, "0"), ("TG01", "1", "0", "0")], "", "ok"),
        (
            &[("TG01", "1", MOST, "0"), ("TG01", "1", "0.01", "0")],
            "",
            "AMOUNT_OVERFLOW /totals/subtotal",
        ),
        (
            &[("TG02", "1", MOST, "0"), ("TG03", "1", "0.01", "0")],
            INCLUSIVE,
            "AMOUNT_OVERFLOW /totals/total",
        ),
        (&[("TG10", "1", "8000000000000.00", "0")], "", "ok"),
        (&[("TG10", "1", "8000000000000.01", "0")], "", "AMOUNT_OVERFLOW /totals/total"),
        (
            &[("TG02", "1", MOST, "0"), ("TG03", "1", MOST, "0")],
            "",
            "AMOUNT_OVERFLOW /totals/subtotal",
        ),
    ] {
        let text = invoice(lines, mode);
        assert_eq!(told(lenient(text.as_bytes())), outcome, "{lines:?} {mode}");
    }
}

#[test]
fn the_tax_in_the_reporting_currency_is_limited_and_rounded() {
    let abroad = |price: &str, rate: &str| {
        let rest = format!(",\"currency\":\"USD\",\"fx\":{{\"rate\":\"{rate}\"}}");
        invoice(&[("TG02", "1", price, "0")], &rest)
    };
    for (price, rate, tax) in [
        ("100.00", "2850.5", 4_560_800),
        ("0.10", "0.25", 1),
        // 0.02 × 0.25 = 0.005: half a centime, up; a millionth less is down.
        ("0.10", "0.249999", 0),
        ("1.00", "0.000001", 0),
        ("0", "1000000000", 0),
        ("625000", "100000000", 1_000_000_000_000_000),
    ] {
        let text = abroad(price, rate);
        let parsed = lenient(text.as_bytes()).unwrap();
        assert_eq!(parsed.invoice.fx().unwrap().tax.minor(), tax, "{price} at {rate}");
        assert!(parsed.filled.fx_tax);
    }
    assert_eq!(
        told(lenient(abroad("625000.06", "100000000").as_bytes())),
        "AMOUNT_OVERFLOW /fx/tax_in_reporting_currency"
    );
}

#[test]
fn groups_and_totals_are_the_sums_of_lines() {
    let lines = [
        ("TG03", "1", "0.04", "0"),
        ("TG02", "1", "0.04", "0"),
        ("TG02", "1", "0.04", "0"),
        ("TG02", "1", "0.04", "0"),
        ("TG12", "1", "0.02", "0"),
        ("TG12", "1", "0.02", "0"),
        ("TG12", "1", "0.02", "0"),
    ];
    // TG02: three lines of 0.0064 → 0.03, the group 0.0192 → 0.02. TG03: 0.01 both ways. TG12: three
    // lines of 0.004 → 0.00, the group 0.012 → 0.01. Together the adjustment is 0.01 − 0.01 = 0.
    let text = invoice(&lines, "");
    let parsed = lenient(text.as_bytes()).unwrap();
    let groups: Vec<_> = parsed
        .invoice
        .tax_groups()
        .iter()
        .map(|group| (group.code.as_str(), group.base.minor(), group.tax.minor()))
        .collect();
    assert_eq!(groups, [("TG02", 12, 3), ("TG03", 4, 1), ("TG12", 6, 0)]);
    let totals = *parsed.invoice.totals();
    assert_eq!(
        (totals.subtotal.minor(), totals.total_vat.minor(), totals.total.minor()),
        (22, 4, 26)
    );
    assert_eq!(totals.rounding_adjustment.minor(), 0);

    for (lines, adjustment) in [(&lines[..4], "0.01"), (&lines[4..], "-0.01")] {
        let text = invoice(lines, "");
        let parsed = lenient(text.as_bytes()).unwrap();
        assert_eq!(parsed.invoice.totals().rounding_adjustment.to_string(), adjustment);
        assert_eq!(told(strict(parsed.invoice.canonical_bytes())), "ok");
    }
}

#[test]
fn a_group_without_tax_is_listed() {
    for (lines, groups) in [
        (
            &[("TG01", "1", "5", "0")][..],
            r#"[{"code":"TG01","name":"Exempt","rate":"0.0000","base_amount":"5.00","tax_amount":"0.00"}]"#,
        ),
        (
            &[("TG02", "1", "0", "0")],
            r#"[{"code":"TG02","name":"Standard VAT, goods","rate":"0.1600","base_amount":"0.00","tax_amount":"0.00"}]"#,
        ),
    ] {
        let text = invoice(lines, "");
        let parsed = lenient(text.as_bytes()).unwrap();
        let manifest = crate::manifest::Manifest::builtin();
        assert_eq!(parsed.invoice.tax_groups_json(&manifest), groups);
    }
}

#[test]
fn wrong_figures_are_refused_with_the_right_ones() {
    for (from, to, outcome) in [
        ("\"rate\":\"0.1600\"", "\"rate\":\"0.1800\"", "TAX_GROUPS_MISMATCH /tax_groups/0/rate"),
        ("goods", "Goods", "TAX_GROUPS_MISMATCH /tax_groups/0/name"),
        ("{\"code\":\"TG02\"", "{\"code\":\"TG03\"", "TAX_GROUPS_MISMATCH /tax_groups/0/code"),
        (
            "\"base_amount\":\"1000.00\"",
            "\"base_amount\":\"1000.01\"",
            "TAX_GROUPS_MISMATCH /tax_groups/0/base_amount",
        ),
        ("\"160.00\"", "\"159.99\"", "TAX_GROUPS_MISMATCH /tax_groups/0/tax_amount"),
        ("\"subtotal\":\"1000.00\"", "\"subtotal\":\"999.99\"", "TOTALS_MISMATCH /totals/subtotal"),
        (
            "\"total_vat\":\"160.00\"",
            "\"total_vat\":\"160.01\"",
            "TOTALS_MISMATCH /totals/total_vat",
        ),
        ("\"total\":\"1160.00\"", "\"total\":\"1160.01\"", "TOTALS_MISMATCH /totals/total"),
        ("ment\":\"0.00\"", "ment\":\"0.01\"", "TOTALS_MISMATCH /totals/rounding_adjustment"),
    ] {
        let text = edited(SALE, from, to);
        for result in [lenient(text.as_bytes()).map(|_| ()), strict(text.as_bytes()).map(|_| ())] {
            let problem = result.clone().unwrap_err();
            assert_eq!(told(result), outcome);
            let expected = problem.expected.expect("the right figures are told");
            assert!(SALE.contains(&format!("\"tax_groups\":{}", expected.tax_groups)));
            assert!(SALE.contains(&format!("\"totals\":{}", expected.totals)));
            assert!(problem.detail.contains(&expected.totals));
        }
    }
}

#[test]
fn given_groups_may_be_partial_and_in_any_order() {
    let lines = [("TG02", "1", "1", "0"), ("TG03", "1", "1", "0")];
    let with = |groups: &str| invoice(&lines, &format!(",\"tax_groups\":{groups}"));
    for (groups, outcome, filled) in [
        (r#"[{"code":"TG03"},{"code":"TG02"}]"#, "ok", true),
        (r#"[{"code":"TG03","tax_amount":0.16},{"code":"TG02","rate":0.16}]"#, "ok", true),
        (
            r#"[{"code":"TG03","name":"Standard VAT, services","rate":"0.16","base_amount":1,"tax_amount":0.16},{"code":"TG02","name":"Standard VAT, goods","rate":"0.16","base_amount":1,"tax_amount":0.16}]"#,
            "ok",
            false,
        ),
        (r#"[{"code":"TG02","name":"TVA standard, biens"},{"code":"TG03"}]"#, "ok", true),
        (r#"[{"code":"TG02"}]"#, "TAX_GROUPS_MISMATCH /tax_groups", false),
        ("[]", "TAX_GROUPS_MISMATCH /tax_groups", false),
        (r#"[{"code":"TG02"},{"code":"TG02"}]"#, "TAX_GROUPS_MISMATCH /tax_groups/1/code", false),
        (
            r#"[{"code":"TG02"},{"code":"TG03"},{"code":"TG01"}]"#,
            "TAX_GROUPS_MISMATCH /tax_groups/2/code",
            false,
        ),
        (r#"[{"code":"TG02","tax_amount":0.15},{}]"#, "FIELD_MISSING /tax_groups/1/code", false),
    ] {
        let text = with(groups);
        let result = lenient(text.as_bytes());
        if let Ok(parsed) = &result {
            assert_eq!(parsed.filled.tax_groups, filled, "{groups}");
        }
        assert_eq!(told(result), outcome, "{groups}");
    }
}

#[test]
fn totals_may_be_partial() {
    let with = |totals: &str| invoice(&[("TG02", "1", "1", "0")], &format!(",\"totals\":{totals}"));
    for (totals, outcome, filled) in [
        ("{}", "ok", true),
        (r#"{"currency":"CDF"}"#, "ok", true),
        (r#"{"total":1.16}"#, "ok", true),
        (r#"{"total":1.160}"#, "ok", true),
        (r#"{"total":116e-2}"#, "ok", true),
        (r#"{"total":1.1600000000000001}"#, "FIELD_INVALID /totals/total", false),
        (r#"{"total":1.17}"#, "TOTALS_MISMATCH /totals/total", false),
        (r#"{"total":1.16,"subtotal":1,"total_vat":0.16,"rounding_adjustment":-0}"#, "ok", false),
    ] {
        let text = with(totals);
        let result = lenient(text.as_bytes());
        if let Ok(parsed) = &result {
            assert_eq!(parsed.filled.totals, filled, "{totals}");
        }
        assert_eq!(told(result), outcome, "{totals}");
    }
}
