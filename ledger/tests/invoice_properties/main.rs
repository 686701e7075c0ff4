//! Properties of invoices through the public interface alone.
//!
//! A generated invoice is first written down by a model of its own: a tree whose decimals, rounding and
//! order come from the rules of the format and share nothing with the library. Its rendering is what the
//! library must answer, byte for byte, however the same invoice is spelled.

mod model;
mod tree;

use std::sync::OnceLock;

use fiscus_ledger::invoice::{parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::{choices, free_text, half_up, object};
use crate::tree::{Spelling, Tree, canonical};

const NOW: UnixMs = UnixMs::new(1_795_248_000_000);

fn manifest() -> &'static Manifest {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    MANIFEST.get_or_init(Manifest::builtin)
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
