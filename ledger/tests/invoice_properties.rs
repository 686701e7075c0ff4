//! Properties of invoices through the public interface alone.
//!
//! A generated invoice is first written down by a model of its own: a tree whose decimals, rounding and
//! order come from the rules of the format and share nothing with the library. Its rendering is what the
//! library must answer, byte for byte, however the same invoice is spelled.

use std::sync::OnceLock;

use fiscus_ledger::invoice::{parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use proptest::collection::vec;
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

const NOW: UnixMs = UnixMs::new(1_795_248_000_000);

fn manifest() -> &'static Manifest {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    MANIFEST.get_or_init(Manifest::builtin)
}

/// A JSON tree that knows which of its strings are decimals and which are free text.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Text(String),
    Word(String),
    Decimal(String),
    Raw(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// What free choice there is in the spelling of a document, drawn from one seed.
struct Spelling(u64);

impl Spelling {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next(count) == 0
    }

    fn space(&mut self, out: &mut String) {
        for _ in 0..self.next(6).saturating_sub(3) {
            out.push([' ', '\t', '\n', '\r'][usize::try_from(self.next(4)).unwrap()]);
        }
    }

    /// Text in some normal form, with some characters escaped.
    fn text(&mut self, out: &mut String, text: &str) {
        let text: String = if self.one_in(2) { text.nfd().collect() } else { text.to_owned() };
        out.push('"');
        for letter in text.chars() {
            if self.one_in(4) || u32::from(letter) < 0x20 || letter == '"' || letter == '\\' {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    out.push_str(&match self.one_in(2) {
                        true => format!("\\u{unit:04x}"),
                        false => format!("\\u{unit:04X}"),
                    });
                }
            } else {
                out.push(letter);
            }
        }
        out.push('"');
    }

    fn decimal(&mut self, out: &mut String, text: &str) {
        let padded = if text.contains('.') { format!("{text}00") } else { format!("{text}.0") };
        out.push_str(&match self.next(5) {
            0 => text.to_owned(),
            1 => format!("\"{padded}\""),
            2 => padded,
            3 => format!("{text}e0"),
            _ => format!("\"{text}\""),
        });
    }

    fn render(&mut self, out: &mut String, tree: &Tree) {
        self.space(out);
        match tree {
            Tree::Text(text) => self.text(out, text),
            Tree::Word(text) => {
                let respelled = match text.as_str() {
                    "individual" => "Individual",
                    "company" => "Company",
                    "commercial_individual" => "CommercialIndividual",
                    "professional" => "Professional",
                    "embassy" => "Embassy",
                    other => other,
                };
                let word = if self.one_in(2) { respelled } else { text };
                self.text(out, word);
            }
            Tree::Decimal(text) => self.decimal(out, text),
            Tree::Raw(text) => out.push_str(text),
            Tree::List(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    self.render(out, value);
                }
                out.push(']');
            }
            Tree::Object(members) => {
                let mut order: Vec<_> = members.iter().collect();
                for at in (1..order.len()).rev() {
                    let other = usize::try_from(self.next(at as u64 + 1)).unwrap();
                    order.swap(at, other);
                }
                out.push('{');
                for (at, (key, value)) in order.into_iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    self.space(out);
                    self.text(out, key);
                    self.space(out);
                    out.push(':');
                    self.render(out, value);
                }
                self.space(out);
                out.push('}');
            }
        }
        self.space(out);
    }
}

/// The one spelling, written without the library.
fn canonical(tree: &Tree) -> String {
    let string = |text: &str| {
        let mut out = String::from("\"");
        for letter in text.chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                '\u{8}' => out.push_str("\\b"),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\u{c}' => out.push_str("\\f"),
                '\r' => out.push_str("\\r"),
                '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
                _ => out.push(letter),
            }
        }
        out + "\""
    };
    match tree {
        Tree::Text(text) | Tree::Word(text) | Tree::Decimal(text) => string(text),
        Tree::Raw(text) => text.clone(),
        Tree::List(values) => {
            format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Tree::Object(members) => {
            let members = members.iter().map(|(key, value)| string(key) + ":" + &canonical(value));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

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
struct Choices {
    kind: usize,
    class: usize,
    reason: bool,
    exempt: bool,
    inclusive: bool,
    dollars: bool,
    fx_millionths: u64,
    time: u64,
    texts: Vec<String>,
    lines: Vec<Line>,
    payments: Vec<(usize, u64, usize, String)>,
    metadata: Vec<(String, String)>,
}

fn free_text() -> impl Strategy<Value = String> {
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

fn choices() -> impl Strategy<Value = Choices> {
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
fn half_up(numerator: i128, denominator: i128) -> i128 {
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

fn object(members: Vec<(&str, Tree)>) -> Tree {
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
    fn tree(&self) -> Tree {
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

/// Takes a top-level member out.
fn without(tree: &Tree, names: &[&str]) -> Tree {
    let Tree::Object(members) = tree else { panic!("an invoice is an object") };
    let kept = members.iter().filter(|(key, _)| !names.contains(&key.as_str()));
    Tree::Object(kept.cloned().collect())
}

fn with(tree: &Tree, name: &str, value: &str) -> Tree {
    let Tree::Object(mut members) = tree.clone() else { panic!("an invoice is an object") };
    if !members.iter().any(|(key, _)| key == name) {
        members.push((name.to_owned(), Tree::Raw(value.to_owned())));
    }
    Tree::Object(members)
}

/// Any JSON made of the words of invoices.
fn loose() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        free_text().prop_map(Tree::Text),
        proptest::sample::select(vec![
            "null",
            "true",
            "1",
            "-0",
            "1e3",
            "1e400",
            "0.1600",
            "\"1.00\"",
            "\"TG02\"",
            "\"sale\"",
            "\"CDF\"",
            "\"individual\"",
            "\"2026-02-01\"",
            "\"\\ud800\"",
            "[]",
            "{}",
            "",
        ])
        .prop_map(|raw| Tree::Raw(raw.to_owned())),
    ];
    let keys = proptest::sample::select(vec![
        "merchant_nif",
        "outlet_id",
        "pos_terminal_id",
        "invoice_type",
        "client",
        "classification",
        "items",
        "description",
        "quantity",
        "unit_price",
        "tax_group",
        "references",
        "tax_groups",
        "totals",
        "payments",
        "fx",
        "metadata",
        "currency",
        "a/b~c",
    ]);
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Tree::List),
            vec((keys.clone(), inner), 0..8).prop_map(object),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The library's answer is the model's, to the byte, and both ways in agree on it.
    #[test]
    fn the_model_and_the_ledger_write_the_same_bytes(choices in choices()) {
        let expected = canonical(&choices.tree());
        let strictly = parse_strict(expected.as_bytes(), manifest());
        prop_assert!(strictly.is_ok(), "{strictly:?}\n{expected}");
        let strictly = strictly.unwrap();
        let parsed = parse_lenient(expected.as_bytes(), manifest(), NOW).unwrap();
        prop_assert_eq!(parsed.invoice.canonical_text(), &expected);
        prop_assert_eq!(parsed.invoice.payload_hash(), strictly.payload_hash());
        prop_assert_eq!(parsed.invoice.totals(), strictly.totals());
        prop_assert_eq!(parsed.invoice.items(), strictly.items());
    }

    /// Every other spelling of the same invoice has the same bytes, and strictly only one is accepted.
    #[test]
    fn spellings_do_not_matter(choices in choices(), seed in any::<u64>(), open in 0..32_u32) {
        let tree = choices.tree();
        let expected = canonical(&tree);
        let mut spelled = tree.clone();
        for (bit, name) in ["tax_groups", "totals", "tax_manifest_version"].iter().enumerate() {
            if open >> bit & 1 == 1 {
                spelled = without(&spelled, &[name]);
            }
        }
        let currency = if choices.dollars { "\"USD\"" } else { "\"CDF\"" };
        spelled = with(&spelled, "currency", currency);
        for (name, value) in [("metadata", "{}"), ("price_mode", "\"exclusive\""), ("fx", "null"), ("original_fiscal_number", "null")] {
            if open >> 3 & 1 == 1 {
                spelled = with(&spelled, name, value);
            }
        }
        let mut text = String::new();
        Spelling(seed).render(&mut text, &spelled);
        let parsed = parse_lenient(text.as_bytes(), manifest(), NOW);
        prop_assert!(parsed.is_ok(), "{:?}\n{text}", parsed.err());
        let parsed = parsed.unwrap();
        prop_assert_eq!(parsed.invoice.canonical_text(), &expected);
        let strictly = parse_strict(text.as_bytes(), manifest());
        prop_assert_eq!(strictly.is_ok(), text == expected);
        // Of one request there is one fingerprint, in whichever spelling.
        let mut other = String::new();
        Spelling(seed ^ 1).render(&mut other, &spelled);
        let other = parse_lenient(other.as_bytes(), manifest(), NOW).unwrap();
        prop_assert_eq!(other.fingerprint, parsed.fingerprint);
    }

    /// Sums: inclusive lines come to what is paid, lines to groups, groups to totals.
    #[test]
    fn lines_groups_and_totals_agree(choices in choices()) {
        let text = canonical(&choices.tree());
        let invoice = parse_strict(text.as_bytes(), manifest()).unwrap();
        let (mut base, mut tax) = (0, 0);
        for group in invoice.tax_groups() {
            let lines = invoice.items().iter().filter(|item| item.tax_group == group.code);
            let sums = lines.fold((0, 0), |sum, item| (sum.0 + item.base.minor(), sum.1 + item.tax.minor()));
            prop_assert_eq!((group.base.minor(), group.tax.minor()), sums);
            base += sums.0;
            tax += sums.1;
        }
        let totals = invoice.totals();
        prop_assert_eq!((totals.subtotal.minor(), totals.total_vat.minor(), totals.total.minor()), (base, tax, base + tax));
        for item in invoice.items() {
            prop_assert!(item.base.minor() >= 0 && item.tax.minor() >= 0);
            if choices.inclusive {
                let gross = half_up(i128::from(item.quantity.thousandths()) * item.unit_price.wide(), 1_000);
                prop_assert_eq!(item.base.wide() + item.tax.wide(), gross - item.discount.wide());
            }
        }
    }

    /// A changed byte is refused, or makes another canonical invoice with another hash and fingerprint.
    #[test]
    fn no_byte_can_change_unnoticed(choices in choices(), changes in vec((any::<u32>(), any::<u8>()), 60)) {
        let text = canonical(&choices.tree());
        let original = parse_lenient(text.as_bytes(), manifest(), NOW).unwrap();
        for (at, byte) in changes {
            let mut bytes = text.clone().into_bytes();
            let at = usize::try_from(at).unwrap() % bytes.len();
            if bytes[at] == byte {
                continue;
            }
            bytes[at] = byte;
            if let Ok(accepted) = parse_strict(&bytes, manifest()) {
                prop_assert_eq!(accepted.canonical_bytes(), &bytes[..]);
                prop_assert_ne!(accepted.payload_hash(), original.invoice.payload_hash());
                let again = parse_lenient(&bytes, manifest(), NOW).unwrap();
                prop_assert_eq!(again.invoice.canonical_bytes(), &bytes[..]);
                prop_assert_ne!(again.fingerprint, original.fingerprint);
            }
        }
    }

    /// Strictly, no two members can change places, at any level.
    #[test]
    fn members_have_one_order(choices in choices(), pick in any::<u32>(), other in any::<u32>()) {
        fn swap(tree: &mut Tree, pick: &mut usize, other: usize) {
            match tree {
                Tree::Object(members) => {
                    if *pick == 0 && members.len() > 1 {
                        let at = other % (members.len() - 1);
                        members.swap(at, at + 1);
                    }
                    *pick = pick.wrapping_sub(1);
                    members.iter_mut().for_each(|(_, value)| swap(value, pick, other));
                }
                Tree::List(values) => values.iter_mut().for_each(|value| swap(value, pick, other)),
                _ => {}
            }
        }
        let tree = choices.tree();
        let expected = canonical(&tree);
        let mut swapped = tree;
        swap(&mut swapped, &mut (usize::try_from(pick).unwrap() % 12), usize::try_from(other).unwrap());
        let text = canonical(&swapped);
        let strictly = parse_strict(text.as_bytes(), manifest());
        prop_assert_eq!(strictly.is_ok(), text == expected);
        let parsed = parse_lenient(text.as_bytes(), manifest(), NOW).unwrap();
        prop_assert_eq!(parsed.invoice.canonical_text(), &expected);
    }

    /// What the ledger fills in is not in the fingerprint: it survives another manifest and another time.
    #[test]
    fn a_retry_has_the_same_fingerprint(choices in choices(), later in 0..4_000_000_000_000_u64) {
        let open = without(&choices.tree(), &["timestamp", "tax_groups", "totals", "tax_manifest_version"]);
        let currency = if choices.dollars { "\"USD\"" } else { "\"CDF\"" };
        let text = canonical(&with(&open, "currency", currency));
        let text = match choices.dollars {
            true => {
                let start = text.find(",\"tax_in_reporting_currency\"").unwrap();
                let end = start + text[start..].find('}').unwrap();
                format!("{}{}", &text[..start], &text[end..])
            }
            false => text,
        };
        let json = manifest().to_json().replace("\"version\":\"2026-02-01\"", "\"version\":\"v2\"")
            .replace("0.1600", "0.1800").replace("\"name\":\"S", "\"name\":\"T");
        let new = Manifest::parse(&json).unwrap();
        let first = parse_lenient(text.as_bytes(), manifest(), NOW);
        prop_assert!(first.is_ok(), "{:?}\n{text}", first.err());
        let first = first.unwrap();
        let again = parse_lenient(text.as_bytes(), &new, UnixMs::new(later)).unwrap();
        prop_assert_eq!(first.fingerprint, again.fingerprint);
        prop_assert_ne!(first.invoice.canonical_bytes(), again.invoice.canonical_bytes());
    }

    /// Bytes of any kind are refused or accepted, and what is accepted leniently is so strictly.
    #[test]
    fn nothing_panics(bytes in vec(any::<u8>(), 0..300), tree in loose(), seed in any::<u64>()) {
        let mut text = String::new();
        Spelling(seed).render(&mut text, &tree);
        for input in [&bytes[..], canonical(&tree).as_bytes(), text.as_bytes()] {
            let _ = parse_strict(input, manifest());
            if let Ok(parsed) = parse_lenient(input, manifest(), NOW) {
                prop_assert!(parse_strict(parsed.invoice.canonical_bytes(), manifest()).is_ok());
            }
        }
    }

    /// A valid invoice cut up and put together again: what is accepted leniently has canonical bytes.
    #[test]
    fn spliced_invoices_never_panic(one in choices(), two in choices(), cuts in vec((any::<u32>(), any::<u32>(), any::<u32>()), 20)) {
        let (one, two) = (canonical(&one.tree()).into_bytes(), canonical(&two.tree()).into_bytes());
        for (a, b, c) in cuts {
            let at = |cut: u32, length: usize| usize::try_from(cut).unwrap() % (length + 1);
            let (from, to) = (at(b, two.len()), at(c, two.len()));
            let mut bytes = one[..at(a, one.len())].to_vec();
            bytes.extend_from_slice(&two[from.min(to)..from.max(to)]);
            bytes.extend_from_slice(&one[at(a, one.len())..]);
            let strictly = parse_strict(&bytes, manifest());
            let leniently = parse_lenient(&bytes, manifest(), NOW);
            if strictly.is_ok() {
                prop_assert!(leniently.is_ok(), "strict input is lenient input");
            }
            if let Ok(parsed) = leniently {
                prop_assert!(parse_strict(parsed.invoice.canonical_bytes(), manifest()).is_ok());
            }
        }
    }
}
