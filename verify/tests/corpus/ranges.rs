//! Range proofs: that an outlet issued exactly these records; and absence proofs.

use std::collections::BTreeMap;

use fiscus_ledger::hash::hex;
use fiscus_ledger::heads::{HeadEntry, HeadsTrie, heads_leaf};
use fiscus_ledger::payload::Object;
use fiscus_verify::{Asked, Failure, Kind, Policy, RangeSummary, verify_range};

use crate::forge::{CLUSTER, Forge, OUTLET, SERIES, Tree};
use crate::mutation::{change, flips};
use crate::random::Random;
use crate::{found, policy, refused};

/// A heads tree that was put into the log.
struct Heads {
    trie: HeadsTrie,
    leaf: u64,
}

impl Heads {
    /// Puts the outlet's head after `records` of its records, among others, into the log.
    fn put(forge: &mut Forge, records: usize, perpetual: [u8; 32]) -> Self {
        Self::put_with(forge, records, perpetual, &[])
    }

    /// The same with series of devices, each with its last number.
    fn put_with(
        forge: &mut Forge,
        records: usize,
        perpetual: [u8; 32],
        devices: &[(&str, u64)],
    ) -> Self {
        let mut trie = HeadsTrie::new();
        for other in 0..20 {
            let series = BTreeMap::from([(format!("KIN-{other}"), other)]);
            trie.set(&format!("outlet-{other}"), HeadEntry::new(other, series, [1; 32], [2; 32]));
        }
        if let Some(last) = records.checked_sub(1).map(|last| &forge.records[last]) {
            let sequence = last.number.rsplit_once('-').and_then(|(_, digits)| digits.parse().ok());
            let own = (SERIES.to_owned(), sequence.expect("a number"));
            let devices = devices.iter().map(|(code, last)| ((*code).to_owned(), *last));
            let series: BTreeMap<String, u64> = devices.chain([own]).collect();
            trie.set(OUTLET, HeadEntry::new(last.position, series, last.entry, perpetual));
        }
        // Right after those records, and before all later ones.
        let leaf = records.checked_sub(1).map_or(0, |last| forge.records[last].leaf + 1);
        let at = usize::try_from(leaf).expect("a small log");
        forge.leaves.insert(at, heads_leaf(CLUSTER, 1, leaf, &trie.root()));
        for record in forge.records.iter_mut().filter(|record| record.leaf >= leaf) {
            record.leaf += 1;
        }
        Self { trie, leaf }
    }

    fn text(&self, tree: &Tree, outlet: &str) -> String {
        let inclusion: Vec<String> =
            tree.inclusion(self.leaf).iter().map(|hash| hex(hash)).collect();
        Object::new()
            .count("leaf_index", self.leaf)
            .bytes("root", &self.trie.root())
            .bytes("proof", &self.trie.prove(outlet).encode())
            .texts("inclusion", inclusion.iter().map(String::as_str))
            .finish()
    }
}

/// A log with the outlet's head after five records and after all of them.
struct Sample {
    forge: Forge,
    start: Heads,
    end: Heads,
}

const FIRST: usize = 5;

fn sample(count: u64) -> Sample {
    let mut forge = Forge::sales(count, 1);
    let all = forge.records.len();
    let start = Heads::put(&mut forge, FIRST, [0; 32]);
    let end = Heads::put(&mut forge, all, [0; 32]);
    Sample { forge, start, end }
}

impl Sample {
    fn head(&self, outlet: &str, tree: &Tree, note: &str) -> Object {
        let _ = tree;
        Object::new()
            .text("format", "fiscus/range-proof/v1")
            .text("cluster", CLUSTER)
            .count("group", 1)
            .text("outlet_id", outlet)
            .count("tree_size", self.forge.size())
            .text("checkpoint", note)
    }

    /// The bundle of the records from `first` on, whatever the heads say.
    fn bundle(&self, first: usize) -> String {
        let tree = self.forge.tree();
        let note = self.forge.last(&tree);
        let records = &self.forge.records[first..];
        let line = self
            .head(OUTLET, &tree, &note)
            .json("start", &self.start.text(&tree, OUTLET))
            .json("end", &self.end.text(&tree, OUTLET))
            .count("records", u64::try_from(records.len()).expect("few records"));
        let mut text = line.finish() + "\n";
        for record in records {
            text += &(self.forge.record_text(record, None) + "\n");
        }
        text
    }

    fn policy(&self) -> Policy {
        policy(&self.forge.policy())
    }
}

fn check(
    text: &[u8],
    outlet: &str,
    asked: &Asked,
    policy: &Policy,
) -> Result<RangeSummary, Failure> {
    verify_range(text, outlet, asked, policy).map_err(found)
}

fn everything(text: &str, policy: &Policy) -> Kind {
    refused(check(text.as_bytes(), OUTLET, &Asked::Everything, policy))
}

#[test]
fn no_changed_byte_of_a_range_passes() {
    let sample = sample(7);
    let policy = sample.policy();
    let text = sample.bundle(FIRST);
    let passed =
        check(text.as_bytes(), OUTLET, &Asked::Everything, &policy).expect("it was not touched");
    let journal = passed.journal.expect("records");
    assert_eq!((journal.positions, journal.last_number, passed.proofs), ((6, 7), Some(7), 4));
    // Where a record stands in the log is only said, and only that it is between the heads is checked.
    let mut only_said = 0;
    let mut check_changed = |changed: &[u8]| {
        let checked = check(changed, OUTLET, &Asked::Everything, &policy);
        if checked.is_err() {
            refused(checked);
            return;
        }
        let changed = std::str::from_utf8(changed).expect("what passes is text");
        let same =
            changed.lines().zip(text.lines()).all(|(a, b)| without_leaf(a) == without_leaf(b));
        assert!(same && changed.lines().count() == text.lines().count(), "{changed}");
        only_said += 1;
    };
    for (_, changed) in flips(text.as_bytes()) {
        check_changed(&changed);
    }
    let mut random = Random(5);
    for _ in 0..2_000 {
        check_changed(&change(text.as_bytes(), &mut random));
    }
    assert!(only_said < 10, "{only_said} changes passed");
}

/// A record's line without its place in the log; any other line as it is.
fn without_leaf(line: &str) -> (&str, &str) {
    match line.split_once(",\"leaf_index\":") {
        Some((record, rest)) if record.starts_with("{\"outlet_id\"") => {
            (record, rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        _ => (line, ""),
    }
}

#[test]
fn a_range_must_cover_what_is_asked() {
    let sample = sample(9);
    let policy = sample.policy();
    let text = sample.bundle(FIRST);
    let ask = |from: &str, to: &str| {
        let asked = Asked::parse(from, to).expect("a right question");
        check(text.as_bytes(), OUTLET, &asked, &policy)
    };
    ask("6", "9").expect("all positions");
    ask("7", "7").expect("one position");
    ask("KIN-GOMBE-6", "KIN-GOMBE-9").expect("all numbers");
    for (from, to) in [
        ("5", "9"),
        ("6", "10"),
        ("KIN-GOMBE-5", "KIN-GOMBE-6"),
        ("KIN-GOMBE-6", "KIN-GOMBE-10"),
        ("KIN-X-6", "KIN-X-7"),
    ] {
        assert_eq!(refused(ask(from, to)), Kind::Gap, "{from} to {to}");
    }
    for (from, to) in
        [("0", "1"), ("2", "1"), ("1", "KIN-GOMBE-2"), ("KIN-A-1", "KIN-B-2"), ("x", "y")]
    {
        assert_eq!(Asked::parse(from, to), None, "{from} to {to}");
    }
}

#[test]
fn each_attack_on_a_range_fails_for_its_own_reason() {
    let sample = sample(12);
    let policy = sample.policy();
    let text = sample.bundle(FIRST);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let with = |changed: &[&str]| {
        let count = format!("\"records\":{}}}", changed.len());
        let first = lines[0].replace("\"records\":7}", &count);
        everything(&(first + &changed.concat()), &policy)
    };
    let records = &lines[1..];
    assert_eq!(records.len(), 7);
    for at in 0..records.len() {
        let dropped = [&records[..at], &records[at + 1..]].concat();
        assert_eq!(with(&dropped), Kind::Gap, "record {at} dropped");
        let twice = [&records[..=at], &records[at..]].concat();
        assert_eq!(with(&twice), Kind::Duplicate, "record {at} twice");
    }
    let mut swapped = records.to_vec();
    swapped.swap(2, 3);
    assert_eq!(with(&swapped), Kind::Gap, "two swapped");
    let fewer = lines[..lines.len() - 1].concat();
    assert_eq!(everything(&fewer, &policy), Kind::Gap, "fewer than said");
    let renumbered = records[3].replace("KIN-GOMBE-9", "KIN-GOMBE-10");
    assert_eq!(
        with(&[&records[..3], &[&*renumbered], &records[4..]].concat()),
        Kind::Chain,
        "renumbered"
    );
    let earlier = sample.bundle(FIRST - 1);
    assert_eq!(everything(&earlier, &policy), Kind::Duplicate, "one more in front");
    let other = refused(check(text.as_bytes(), "outlet-3", &Asked::Everything, &policy));
    assert_eq!(other, Kind::Inclusion, "asked about another outlet");
    let renamed = text.replacen(OUTLET, "outlet-3", 1);
    let other = refused(check(renamed.as_bytes(), "outlet-3", &Asked::Everything, &policy));
    assert_eq!(other, Kind::Inclusion, "and renamed");
    let cluster = text.replacen("\"cluster\":\"kinshasa\"", "\"cluster\":\"lubumbashi\"", 1);
    assert_eq!(
        everything(&cluster, &policy),
        Kind::Format,
        "another cluster than the checkpoint's"
    );
}

#[test]
fn lies_about_heads_fail_for_their_own_reason() {
    let honest = sample(12);
    let policy = honest.policy();
    let end_before_start = Sample {
        start: Heads { ..sample(12).end },
        end: Heads { ..sample(12).start },
        ..sample(12)
    };
    assert_eq!(
        everything(&end_before_start.bundle(FIRST), &policy),
        Kind::Consistency,
        "the end before the start"
    );

    let mut longer = Forge::sales(12, 1);
    let start = Heads::put(&mut longer, FIRST, [0; 32]);
    let end = Heads::put(&mut longer, 12, [0; 32]);
    longer.records.truncate(10);
    let cut = Sample { forge: longer, start, end };
    assert_eq!(everything(&cut.bundle(FIRST), &policy), Kind::Gap, "the last records left out");

    let mut other_end = Forge::sales(12, 1);
    let start = Heads::put(&mut other_end, FIRST, [0; 32]);
    let mut changed = other_end.clone();
    changed.records[11].entry = [4; 32];
    let end = Heads::put(&mut changed, 12, [0; 32]);
    other_end.leaves.clone_from(&changed.leaves);
    let other_end = Sample { forge: other_end, start, end };
    assert_eq!(everything(&other_end.bundle(FIRST), &policy), Kind::Chain, "another last record");

    let mut unlogged = sample(12);
    let leaf = usize::try_from(unlogged.end.leaf).expect("a small log");
    unlogged.forge.leaves[leaf] = [6; 32];
    assert_eq!(
        everything(&unlogged.bundle(FIRST), &policy),
        Kind::Inclusion,
        "a root that is not in the log"
    );
}

#[test]
fn from_the_first_record_on_the_totals_are_compared() {
    let mut forge = Forge::sales(6, 1);
    let policy = policy(&forge.policy());
    let export = crate::export(forge.export(3).as_bytes(), &policy).expect("it was not touched");
    let digest =
        export.journal.perpetual_digest.and_then(|text| fiscus_ledger::hash::from_hex(&text));
    for (perpetual, passes) in [(digest.expect("it is complete"), true), ([3; 32], false)] {
        let start = Heads::put(&mut forge, 0, [0; 32]);
        let end = Heads::put(&mut forge, 6, perpetual);
        let sample = Sample { forge: forge.clone(), start, end };
        let checked = check(sample.bundle(0).as_bytes(), OUTLET, &Asked::Everything, &policy);
        match passes {
            true => assert!(
                checked.expect("it was not touched").journal.expect("records").from_the_start
            ),
            false => assert_eq!(refused(checked), Kind::Totals),
        }
    }
}

#[test]
fn an_outlet_that_is_not_there_is_proved_absent() {
    let sample = sample(6);
    let policy = sample.policy();
    let tree = sample.forge.tree();
    let note = sample.forge.last(&tree);
    let bundle = |outlet: &str, path_of: &str| {
        let head =
            sample.head(outlet, &tree, &note).json("heads", &sample.end.text(&tree, path_of));
        head.finish().replace("range-proof", "absence-proof") + "\n"
    };
    let asked = Asked::Everything;
    for missing in ["outlet-nowhere", "outlet-21", ""] {
        let text = bundle(missing, missing);
        let passed =
            check(text.as_bytes(), missing, &asked, &policy).expect("there is no such outlet");
        assert_eq!(passed.journal, None);
        if missing == "outlet-nowhere" {
            for (_, changed) in flips(text.as_bytes()) {
                refused(check(&changed, missing, &asked, &policy));
            }
            let mut random = Random(9);
            for _ in 0..2_000 {
                let changed = change(text.as_bytes(), &mut random);
                // The last line end may be missing.
                if changed != text.trim_end().as_bytes() {
                    refused(check(&changed, missing, &asked, &policy));
                }
            }
        }
    }
    let there = refused(check(bundle(OUTLET, OUTLET).as_bytes(), OUTLET, &asked, &policy));
    assert_eq!(there, Kind::Inclusion, "an outlet that is there");
    for path in ["outlet-nowhere", "outlet-21", "outlet-3"] {
        let hidden = refused(check(bundle(OUTLET, path).as_bytes(), OUTLET, &asked, &policy));
        assert_eq!(hidden, Kind::Inclusion, "an outlet hidden behind the path of {path}");
    }
}

#[test]
fn a_device_s_series_stands_where_the_records_leave_it() {
    let told = |before: &[(&str, u64)], after: &[(&str, u64)]| {
        let mut forge = Forge::sales(12, 1);
        let all = forge.records.len();
        let start = Heads::put_with(&mut forge, FIRST, [0; 32], before);
        let end = Heads::put_with(&mut forge, all, [0; 32], after);
        let sample = Sample { forge, start, end };
        let text = sample.bundle(FIRST);
        check(text.as_bytes(), OUTLET, &Asked::Everything, &sample.policy())
    };
    let stands = [("DEF-1", 5)];
    assert!(told(&stands, &stands).is_ok(), "it sealed nothing in between");
    // No record of the device is there: it cannot have gone on, gone away, or come.
    assert_eq!(refused(told(&stands, &[("DEF-1", 9)])), Kind::Gap);
    assert_eq!(refused(told(&stands, &[])), Kind::Gap);
    assert_eq!(refused(told(&[], &[("DEF-1", 3)])), Kind::Gap);
    assert_eq!(refused(told(&stands, &[("DEF-1", 5), ("DEF-2", 1)])), Kind::Gap);
}
