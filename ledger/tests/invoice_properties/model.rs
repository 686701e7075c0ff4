//! Invoices as the rules describe them: what a client may choose, and the figures that follow from it,
//! reckoned without the library.

use fiscus_ledger::time::UnixMs;
use proptest::collection::vec;
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use crate::tree::Tree;

#[derive(Debug, Clone)]
struct Line {
    texts: [String; 3],
    thousandths: u64,
    price: u64,
    /// Of the line, in percent; over 100 stands for no discount.
    discount: u64,
    group: usize,
    extra: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Choices {
    kind: usize,
    class: usize,
    reason: bool,
    exempt: bool,
    pub(crate) inclusive: bool,
    pub(crate) dollars: bool,
    fx_millionths: u64,
    time: u64,
    texts: Vec<String>,
    lines: Vec<Line>,
    payments: Vec<(usize, u64, usize, String)>,
    metadata: Vec<(String, String)>,
}

pub(crate) fn free_text() -> impl Strategy<Value = String> {
    let letters = prop_oneof![
        6 => proptest::char::range(' ', '~'),
        1 => proptest::char::range('\0', '\u{1f}'),
        1 => proptest::sample::select(vec!['é', 'Å', 'ç', '가', '\u{301}', '\u{323}', '\u{7f}', '\u{85}',
            '\u{2028}', '\u{feff}', '🧾', '漢', 'ﬁ', '\u{1D160}', '\u{212B}']),
    ];
    vec(letters, 0..8).prop_map(|letters| letters.into_iter().collect::<String>().nfc().collect())
}

fn entries() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((free_text(), free_text()), 0..4)
}

fn line() -> impl Strategy<Value = Line> {
    let thousandths = prop_oneof![1..3_000_u64, (1..2_000_u64).prop_map(|whole| whole * 1_000)];
    let price = prop_oneof![0..120_u64, 0..50_000_000_u64];
    let texts = [free_text(), free_text(), free_text()];
    (texts, thousandths, price, 0..250_u64, 0..14_usize, entries()).prop_map(
        |(texts, thousandths, price, discount, group, extra)| Line {
            texts,
            thousandths,
            price,
            discount,
            group,
            extra,
        },
    )
}

pub(crate) fn choices() -> impl Strategy<Value = Choices> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let numbers = (0..5_usize, 0..5_usize, 1..5_000_000_000_u64, 0..4_000_000_000_000_u64);
    let payment = (0..7_usize, 0..1_000_000_u64, 0..5_usize, free_text());
    (flags, numbers, vec(free_text(), 6), vec(line(), 1..6), vec(payment, 0..4), entries())
        .prop_map(|(flags, numbers, texts, lines, payments, metadata)| Choices {
            kind: numbers.0,
            class: numbers.1,
            reason: flags.0,
            exempt: flags.1,
            inclusive: flags.2,
            dollars: flags.3,
            fx_millionths: numbers.2,
            time: numbers.3,
            texts,
            lines,
            payments,
            metadata,
        })
}

const KINDS: [&str; 5] = ["sale", "advance", "credit_note", "export", "export_credit"];
const CLASSES: [&str; 5] =
    ["individual", "company", "commercial_individual", "professional", "embassy"];
const METHODS: [&str; 7] =
    ["cash", "mobile_money", "card", "bank_transfer", "credit", "voucher", "other"];
const PROVIDERS: [&str; 4] = ["mpesa", "airtel_money", "orange_money", "mtn_momo"];
/// Name, rate in percent and needed reference of each group.
const GROUPS: [(&str, i128, &str); 14] = [
    ("Exempt", 0, ""),
    ("Standard VAT, goods", 16, ""),
    ("Standard VAT, services", 16, ""),
    ("Reduced VAT", 9, ""),
    ("Public financing VAT", 16, "funding_source"),
    ("Customs VAT", 16, ""),
    ("Export, zero rate", 0, "export_certificate"),
    ("Special regime, agriculture", 5, "regime_registration"),
    ("Special regime, mining", 10, "mining_license"),
    ("Specific tax, fuel", 25, "excise_certificate"),
    ("Specific tax, tobacco", 30, "excise_certificate"),
    ("Specific tax, alcohol", 20, "excise_certificate"),
    ("Specific tax, telecommunications", 15, "telecom_operator"),
    ("Specific tax, digital services", 12, "excise_certificate"),
];

/// A fraction rounded to a whole, half up: the largest whole not over the fraction and a half.
pub(crate) fn half_up(numerator: i128, denominator: i128) -> i128 {
    (2 * numerator + denominator).div_euclid(2 * denominator)
}

fn fixed(value: i128) -> Tree {
    let sign = if value < 0 { "-" } else { "" };
    Tree::Decimal(format!("{sign}{}.{:02}", value.abs() / 100, value.abs() % 100))
}

fn trimmed(value: u64, one: u64, digits: usize) -> Tree {
    let fraction = format!("{:0digits$}", value % one);
    let text = format!("{}.{}", value / one, fraction.trim_end_matches('0'));
    Tree::Decimal(text.trim_end_matches('.').to_owned())
}

fn text(value: &str) -> Tree {
    Tree::Text(value.to_owned())
}

fn word(value: &str) -> Tree {
    Tree::Word(value.to_owned())
}

pub(crate) fn object(members: Vec<(&str, Tree)>) -> Tree {
    Tree::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn sorted(entries: &[(String, String)], more: &[(&str, &str)]) -> Option<Tree> {
    let mut all = std::collections::BTreeMap::new();
    for (key, value) in entries.iter().filter(|(key, _)| !key.is_empty()) {
        all.insert(key.clone(), value.clone());
    }
    for (key, value) in more {
        all.insert((*key).to_owned(), (*value).to_owned());
    }
    let members: Vec<_> = all.into_iter().map(|(key, value)| (key, Tree::Text(value))).collect();
    (!members.is_empty()).then_some(Tree::Object(members))
}

impl Choices {
    fn export(&self) -> bool {
        self.kind >= 3
    }

    /// Embassies need a reason for anything but exempt lines, and so for every export.
    fn has_reason(&self) -> bool {
        self.reason || (self.export() && CLASSES[self.class] == "embassy")
    }

    /// The line's group, made one that the rules let pass.
    fn group(&self, line: &Line) -> usize {
        let embassy = CLASSES[self.class] == "embassy";
        match line.group {
            _ if self.export() => 6,
            6 => {
                1 - usize::from(self.exempt && !self.has_reason() || embassy && !self.has_reason())
            }
            group if self.has_reason() => group,
            _ if embassy || self.exempt => 0,
            0 => 1,
            group => group,
        }
    }

    fn item(&self, line: &Line, base: &mut i128, tax: &mut i128) -> Tree {
        let group = self.group(line);
        let (_, rate, needed) = GROUPS[group];
        let gross = half_up(i128::from(line.thousandths) * i128::from(line.price), 1_000);
        let share = if line.discount > 100 { 0 } else { i128::from(line.discount) };
        let discount = gross * share / 100;
        let net = gross - discount;
        if self.inclusive {
            *base = half_up(net * 100, 100 + rate);
            *tax = net - *base;
        } else {
            *base = net;
            *tax = half_up(net * rate, 100);
        }
        let mut members = vec![
            ("code", text(&line.texts[0])),
            ("description", text(&format!("d{}", line.texts[1]).nfc().collect::<String>())),
            ("quantity", trimmed(line.thousandths, 1_000, 3)),
            ("unit_price", fixed(i128::from(line.price))),
        ];
        if discount > 0 {
            members.push(("discount", fixed(discount)));
        }
        members.push(("tax_group", Tree::Text(format!("TG{:02}", group + 1))));
        members.push(("taxable_unit", text(&line.texts[2])));
        let mut more = vec![];
        if !needed.is_empty() {
            more.push((needed, "R-1"));
        }
        if group == 3 {
            more.push(("professional_approval_id", "A-1"));
        }
        if let Some(references) = sorted(&line.extra, &more) {
            members.push(("references", references));
        }
        object(members)
    }

    /// The invoice, complete and in canonical order.
    // long: the sixteen fields of an invoice, in their order
    pub(crate) fn tree(&self) -> Tree {
        let filled = |at: usize| Tree::Text(format!("x{}", self.texts[at]).nfc().collect());
        let mut sums = [(0_i128, 0_i128, false); 14];
        let items = self.lines.iter().map(|line| {
            let (mut base, mut tax) = (0, 0);
            let item = self.item(line, &mut base, &mut tax);
            let sum = &mut sums[self.group(line)];
            *sum = (sum.0 + base, sum.1 + tax, true);
            item
        });
        let items: Vec<Tree> = items.collect();
        let present = sums.iter().zip(GROUPS).enumerate().filter(|(_, (sum, _))| sum.2);
        let groups = present.map(|(at, (sum, (name, rate, _)))| {
            object(vec![
                ("code", Tree::Text(format!("TG{:02}", at + 1))),
                ("name", text(name)),
                ("rate", Tree::Decimal(format!("0.{rate:02}00"))),
                ("base_amount", fixed(sum.0)),
                ("tax_amount", fixed(sum.1)),
            ])
        });
        let subtotal: i128 = sums.iter().map(|sum| sum.0).sum();
        let vat: i128 = sums.iter().map(|sum| sum.1).sum();
        let by_group: i128 =
            sums.iter().zip(GROUPS).map(|(sum, (_, rate, _))| half_up(sum.0 * rate, 100)).sum();
        let currency = if self.dollars { "USD" } else { "CDF" };
        let mut members = vec![
            ("merchant_nif", filled(0)),
            ("outlet_id", filled(1)),
            ("pos_terminal_id", filled(2)),
            ("cashier_id", text(&self.texts[3])),
            ("invoice_type", text(KINDS[self.kind])),
            ("timestamp", Tree::Text(UnixMs::new(self.time).to_string())),
        ];
        if KINDS[self.kind].contains("credit") {
            members.push(("original_fiscal_number", text("KIN-A-1")));
        }
        let client = vec![
            ("name", text(&self.texts[4])),
            ("nif", Tree::Text(format!("n{}", self.texts[5]).nfc().collect())),
            ("classification", word(CLASSES[self.class])),
        ];
        members.push(("client", object(client)));
        members.push(("items", Tree::List(items)));
        members.push(("tax_groups", Tree::List(groups.collect())));
        let totals = vec![
            ("subtotal", fixed(subtotal)),
            ("total_vat", fixed(vat)),
            ("total", fixed(subtotal + vat)),
            ("currency", text(currency)),
            ("rounding_adjustment", fixed(vat - by_group)),
        ];
        members.push(("totals", object(totals)));
        let payments = self.payments.iter().map(|(method, amount, provider, instrument)| {
            let mut members = vec![
                ("method", text(METHODS[*method])),
                ("amount", fixed(i128::from(*amount))),
                ("currency", text(currency)),
                ("instrument_id", text(instrument)),
            ];
            if METHODS[*method] == "mobile_money" && *provider < 4 {
                members.push(("provider", text(PROVIDERS[*provider])));
            }
            object(members)
        });
        members.push(("payments", Tree::List(payments.collect())));
        if self.dollars {
            let reported = half_up(vat * i128::from(self.fx_millionths), 1_000_000);
            let fx = vec![
                ("rate", trimmed(self.fx_millionths, 1_000_000, 6)),
                ("reporting_currency", text("CDF")),
                ("tax_in_reporting_currency", fixed(reported)),
            ];
            members.push(("fx", object(fx)));
        }
        if self.inclusive {
            members.push(("price_mode", text("inclusive")));
        }
        members.push(("tax_manifest_version", text("2026-02-01")));
        let reason: &[(&str, &str)] =
            if self.has_reason() { &[("tax_override_reason", "because")] } else { &[] };
        if let Some(metadata) = sorted(&self.metadata, reason) {
            members.push(("metadata", metadata));
        }
        object(members)
    }
}
