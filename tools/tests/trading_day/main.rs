//! A trading day of one outlet through the real core in memory, and what it leaves behind: it holds
//! against the library, file by file.

mod day;
mod files;
mod group;
mod random;
mod verified;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fiscus_ledger::checkpoint::{Checkpoint, open, origin};
use fiscus_ledger::hash::{Hash32, from_hex, hex};
use fiscus_ledger::invoice::{parse_lenient, parse_strict};
use fiscus_ledger::json::Value;
use fiscus_ledger::keys::KeySet;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::note::{KnownKeys, VerifierKey};
use fiscus_ledger::qr::{QrPayload, verify};
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reports::{Fold, report_digest};
use fiscus_ledger::time::UnixMs;
use fiscus_ledger::tree::verify_inclusion;

const RECEIPTS: usize = 8;
const RECORDS: usize = 20;
const OUTLET: &str = "outlet-gombe";

/// A directory of one test that does not exist yet.
fn fresh(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("day-{name}"));
    let _ = fs::remove_dir_all(&dir);
    dir
}

fn play(name: &str) -> PathBuf {
    let dir = fresh(name);
    fs::create_dir_all(&dir).unwrap();
    let day = day::play().unwrap();
    assert!(day.story.len() > 10 && day.receipts.iter().all(|receipt| !receipt.total.is_empty()));
    files::Files::new(dir.clone()).write(&day).unwrap();
    let invoice = fs::read(dir.join("invoice.json")).unwrap();
    assert!(parse_strict(&invoice, &Manifest::builtin()).is_ok());
    dir
}

fn text<'v>(value: &'v Value<'_>, name: &str) -> &'v str {
    match value.member(name) {
        Some(Value::String(text)) => text,
        other => panic!("{name} is {other:?}"),
    }
}

fn count(value: &Value<'_>, name: &str) -> u64 {
    match value.member(name) {
        Some(Value::Number(text)) => text.parse().unwrap(),
        other => panic!("{name} is {other:?}"),
    }
}

fn list<'v>(value: &'v Value<'_>, name: &str) -> &'v [Value<'v>] {
    match value.member(name) {
        Some(Value::Array(list)) => list,
        other => panic!("{name} is {other:?}"),
    }
}

fn hash(value: &Value<'_>, name: &str) -> Hash32 {
    from_hex(text(value, name)).unwrap()
}

fn record_of<'v>(line: &'v Value<'_>) -> Record<'v> {
    let record = &list(line, "records")[0];
    Record {
        outlet_id: text(record, "outlet_id"),
        position: count(record, "position"),
        leaf_index: count(record, "leaf_index"),
        kind: RecordKind::parse(text(record, "kind")).unwrap(),
        authority_id: text(record, "fiscal_authority_id"),
        fiscal_number: text(record, "fiscal_number"),
        timestamp: UnixMs::parse_canonical(text(record, "timestamp")).unwrap(),
        total: text(record, "total"),
        currency: text(record, "currency"),
        payload: text(record, "payload").as_bytes(),
        blind: hash(record, "blind"),
        prev_hash: hash(record, "previous_hash"),
        entry_hash: hash(record, "entry_hash"),
        submission: None,
    }
}

fn checkpoint(dir: &Path) -> Checkpoint {
    let key = fs::read_to_string(dir.join("log-key.txt")).unwrap();
    let known = KnownKeys::new([VerifierKey::parse(key.trim_end()).unwrap()]).unwrap();
    let note = fs::read(dir.join("checkpoint.txt")).unwrap();
    open(&note, &origin("demo.fiscus.example", 1), &known).unwrap()
}

#[test]
fn every_receipt_is_genuine_and_is_in_the_journal() {
    let dir = play("receipts");
    let keys = fs::read_to_string(dir.join("fiscal-keys.json")).unwrap();
    let keys = KeySet::parse(&keys).unwrap();
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    let mut numbers = Vec::new();
    for file in fs::read_dir(dir.join("receipts")).unwrap() {
        let path = file.unwrap().path();
        let url = fs::read_to_string(&path).unwrap();
        let receipt = QrPayload::parse(url.trim_end()).unwrap();
        let verified = verify(&receipt, &keys).unwrap();
        assert!(journal.contains(&hex(&verified.entry_hash)), "{}", path.display());
        let number = &receipt.fields().fiscal_number;
        let offline = ["KIN-GOMBE-7", "KIN-GOMBE-8"].contains(&number.as_str());
        assert_eq!(verified.credential_id.is_some(), offline, "{number}");
        numbers.push(number.clone());
    }
    numbers.sort();
    let expected: Vec<String> =
        (1..=RECEIPTS).map(|number| format!("KIN-GOMBE-{number}")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn the_journal_folds_to_the_z_and_is_under_the_checkpoint() {
    let dir = play("journal");
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    let checkpoint = checkpoint(&dir);
    let manifest = Manifest::builtin();
    let mut chains: BTreeMap<String, Fold> = BTreeMap::new();
    let mut z = None;
    for line in journal.lines() {
        let line = Value::parse(line).unwrap();
        let record = record_of(&line);
        let chain = chains.entry(record.outlet_id.to_owned()).or_default();
        chain.add(&record, &[&manifest]).unwrap();
        let proof: Vec<Hash32> = list(&list(&line, "records")[0], "inclusion")
            .iter()
            .map(|hash| match hash {
                Value::String(hash) => from_hex(hash).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        let (size, root) = (checkpoint.size(), checkpoint.root());
        let included = |data| verify_inclusion(data, record.leaf_index, size, &proof, root);
        assert_eq!(included(&record.entry_hash), Ok(()));
        assert!(included(&record.prev_hash).is_err());
        if record.kind == RecordKind::ZClosure {
            z = Some(String::from_utf8(record.payload.to_vec()).unwrap());
        }
    }
    assert_eq!(journal.lines().count(), RECORDS);
    assert_eq!(chains.keys().collect::<Vec<_>>(), ["@group/1", OUTLET]);
    let outlet = &chains[OUTLET];
    assert_eq!(outlet.numbers.ranges(), [(1, 8)]);
    assert_eq!(outlet.since_z.invoices(), 0);
    assert_eq!(outlet.closures.len(), 1);

    let z = z.unwrap();
    assert_eq!(fs::read_to_string(dir.join("z.json")).unwrap(), format!("{z}\n"));
    let closure = Value::parse(&z).unwrap();
    assert_eq!(count(&closure, "invoices"), outlet.closures[0].tally.invoices());
    let at = z.find(",\"digest\":").unwrap();
    assert_eq!(text(&closure, "digest"), hex(&report_digest(&format!("{}}}", &z[..at]))));
}

#[test]
fn a_changed_journal_does_not_fold() {
    let dir = play("tampered");
    let journal = fs::read_to_string(dir.join("journal.jsonl")).unwrap();
    let changed = journal.replacen("Savon", "Sabon", 1);
    assert_ne!(changed, journal);
    let manifest = Manifest::builtin();
    let mut fold = Fold::default();
    let broken = changed.lines().find_map(|line| {
        let line = Value::parse(line).unwrap();
        let record = record_of(&line);
        let ours = record.outlet_id == OUTLET;
        if ours { fold.add(&record, &[&manifest]).err() } else { None }
    });
    assert!(broken.is_some());
}

#[test]
fn the_samples_are_what_their_names_say() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/samples");
    let expected = [
        ("bad-total.json", Err("TOTALS_MISMATCH")),
        ("credit_note.json", Ok("credit_note 104400.00 CDF")),
        ("embassy.json", Ok("sale 85000.00 CDF")),
        ("export.json", Ok("export 12254900.00 CDF")),
        ("inclusive.json", Ok("sale 7499.97 CDF")),
        ("sale.json", Ok("sale 110200.00 CDF")),
        ("usd.json", Ok("sale 1392.00 USD")),
    ];
    let mut found: Vec<String> = fs::read_dir(&samples)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, expected.map(|(name, _)| name));
    for (name, outcome) in expected {
        let document = fs::read(samples.join(name)).unwrap();
        let read = parse_lenient(&document, &Manifest::builtin(), UnixMs::new(0))
            .map(|parsed| {
                let totals = *parsed.invoice.totals();
                let kind = parsed.invoice.invoice_type().as_str();
                format!("{kind} {} {}", totals.total, totals.currency.as_str())
            })
            .map_err(|problem| problem.code.as_str());
        assert_eq!(read.as_deref().map_err(|code| *code), outcome, "{name}");
    }
}
