//! Audit exports.

use ed25519_dalek::SigningKey;
use fiscus_verify::Kind;

use crate::forge::{Forge, OUTLET, SERIES};
use crate::mutation::{change, flips};
use crate::random::Random;
use crate::{export, policy, refused};

#[test]
fn no_changed_byte_of_a_small_export_passes() {
    let forge = Forge::sales(2, 1);
    let policy = policy(&forge.policy());
    let text = forge.export(1);
    let passed = export(text.as_bytes(), &policy).expect("it was not touched");
    assert_eq!((passed.journal.records, passed.chunks, passed.proofs), (2, 2, 2));
    assert_eq!(passed.bytes, u64::try_from(text.len()).expect("a length"));
    for (at, changed) in flips(text.as_bytes()) {
        assert_ne!(refused(export(&changed, &policy)), Kind::Consistency, "byte {at}");
    }
}

#[test]
fn no_random_change_of_a_larger_export_passes() {
    let forge = Forge::sales(60, 3);
    let policy = policy(&forge.policy());
    let text = forge.export(25);
    let passed = export(text.as_bytes(), &policy).expect("it was not touched");
    assert_eq!((passed.journal.positions, passed.journal.last_number), ((1, 60), Some(60)));
    let mut random = Random(3);
    let mut kinds = Vec::new();
    for _ in 0..2_000 {
        kinds.push(refused(export(&change(text.as_bytes(), &mut random), &policy)));
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert!(kinds.len() >= 5, "changes are told apart: {kinds:?}");
}

/// What changes of a forge, and how the export of it is refused.
fn after(change: impl FnOnce(&mut Forge)) -> Kind {
    let mut forge = Forge::sales(12, 2);
    let policy = policy(&forge.policy());
    change(&mut forge);
    refused(export(forge.export(5).as_bytes(), &policy))
}

/// Signs everything anew, as only whoever has the keys can.
fn after_lying(change: impl FnOnce(&mut Forge)) -> Kind {
    after(|forge| {
        change(forge);
        forge.seal();
    })
}

#[test]
fn each_attack_by_somebody_without_keys_fails_for_its_own_reason() {
    assert_eq!(after(|forge| forge.records[4].blind = [1; 32]), Kind::Chain, "a changed record");
    assert_eq!(after(|forge| drop(forge.records.remove(4))), Kind::Gap, "a record left out");
    assert_eq!(
        after(|forge| forge.records.insert(4, forge.records[4].clone())),
        Kind::Duplicate,
        "one twice"
    );
    assert_eq!(after(|forge| forge.records.swap(4, 5)), Kind::Gap, "two swapped");
    assert_eq!(
        after(|forge| forge.records[3].signature[40] ^= 1),
        Kind::Signature,
        "a changed signature"
    );
    let swapped = |forge: &mut Forge| {
        forge.records.iter_mut().for_each(|record| record.outlet = "outlet-x".to_owned());
    };
    assert_eq!(after(swapped), Kind::Chain, "a swapped outlet");
    let rechained = |forge: &mut Forge| {
        forge.records.remove(4);
        let mut previous = forge.records[3].entry;
        for at in 4..forge.records.len() {
            forge.records[at].position -= 1;
            forge.records[at].previous = previous;
            let mut own = forge.clone();
            own.authority = SigningKey::from_bytes(&[66; 32]);
            own.seal_one(at);
            forge.records[at].entry = own.records[at].entry;
            previous = forge.records[at].entry;
        }
    };
    assert_eq!(after(rechained), Kind::Gap, "a gap that was chained anew");
    let renumbered = |forge: &mut Forge| {
        let stranger = SigningKey::from_bytes(&[66; 32]);
        let honest = std::mem::replace(&mut forge.authority, stranger);
        forge.records.remove(4);
        for (at, record) in (1..).zip(&mut forge.records) {
            (record.position, record.number) = (at, format!("{SERIES}-{at}"));
        }
        forge.seal();
        forge.authority = honest;
    };
    assert_eq!(
        after(renumbered),
        Kind::Signature,
        "and renumbered, under the name of the authority"
    );
    let forked = |forge: &mut Forge| {
        forge.records[6].blind = [1; 32];
        forge.seal_one(6);
        let leaf = usize::try_from(forge.records[6].leaf).expect("a small log");
        forge.leaves[leaf] = forge.records[6].entry;
    };
    assert_eq!(after(forked), Kind::Chain, "a record that the next one does not link to");
}

#[test]
fn a_record_that_is_not_in_the_log_fails() {
    let mut forge = Forge::sales(12, 2);
    let policy = policy(&forge.policy());
    let last = forge.records.len() - 1;
    forge.records[last].blind = [3; 32];
    forge.seal_one(last);
    assert_eq!(
        refused(export(forge.export(5).as_bytes(), &policy)),
        Kind::Inclusion,
        "signed, and never logged"
    );
}

#[test]
fn each_lie_of_somebody_with_all_keys_fails_for_its_own_reason() {
    let gap = |forge: &mut Forge| {
        for (at, record) in (6..).zip(&mut forge.records[4..]) {
            record.number = format!("{SERIES}-{at}");
        }
    };
    assert_eq!(after_lying(gap), Kind::Gap, "a number left out");
    let twice = |forge: &mut Forge| forge.records[7].number = format!("{SERIES}-4");
    assert_eq!(after_lying(twice), Kind::Duplicate, "a number used twice");
    let position =
        |forge: &mut Forge| forge.records[7..].iter_mut().for_each(|record| record.position += 1);
    assert_eq!(after_lying(position), Kind::Gap, "a position left out");
    let earlier = |forge: &mut Forge| forge.records[7].time_ms -= 5_000;
    assert_eq!(after_lying(earlier), Kind::Chain, "a time that goes back");
    let series = |forge: &mut Forge| forge.records[7].number = "KIN-LIMETE-8".to_owned();
    assert_eq!(after_lying(series), Kind::Chain, "another outlet's series");
    let total = |forge: &mut Forge| forge.records[7].total = "1.00".to_owned();
    assert_eq!(after_lying(total), Kind::Totals, "another total than the invoice's");
    let rate = |forge: &mut Forge| edit(forge, 7, "\"rate\":\"0.1600\"", "\"rate\":\"0.0900\"");
    assert_eq!(after_lying(rate), Kind::Tax, "another rate than the law's");
    let quantity =
        |forge: &mut Forge| edit(forge, 7, "\"quantity\":\"1.5\"", "\"quantity\":\"2.5\"");
    assert_eq!(after_lying(quantity), Kind::Tax, "lines that make another base");
    let vat = |forge: &mut Forge| {
        edit(forge, 7, "\"rounding_adjustment\":\"0.00\"", "\"rounding_adjustment\":\"0.01\"");
    };
    assert_eq!(after_lying(vat), Kind::Totals, "a rounding that is none");
    let manifest = |forge: &mut Forge| edit(forge, 7, "\"2026-02-01\"", "\"2027-02-01\"");
    assert_eq!(after_lying(manifest), Kind::Tax, "a table that nobody published");
    let spaced = |forge: &mut Forge| edit(forge, 7, ",\"payments\"", ", \"payments\"");
    assert_eq!(after_lying(spaced), Kind::Format, "a second spelling");
    let before = |forge: &mut Forge| {
        forge.records.iter_mut().for_each(|record| record.time_ms -= 30_000_000_000);
    };
    assert_eq!(after_lying(before), Kind::Tax, "a time before the first table");
}

fn edit(forge: &mut Forge, at: usize, from: &str, to: &str) {
    let payload = &mut forge.records[at].payload;
    assert!(payload.contains(from), "{payload}");
    *payload = payload.replacen(from, to, 1);
}

#[test]
fn each_attack_on_the_file_fails_for_its_own_reason() {
    let forge = Forge::sales(12, 2);
    let policy = policy(&forge.policy());
    let text = forge.export(5);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let kind = |text: &str| refused(export(text.as_bytes(), &policy));
    assert_eq!(kind(&lines[..2].concat()), Kind::Gap, "the end cut off");
    assert_eq!(kind(&[lines[0], lines[2]].concat()), Kind::Gap, "a chunk left out");
    assert_eq!(
        kind(&[lines[0], lines[0], lines[1], lines[2]].concat()),
        Kind::Duplicate,
        "a chunk twice"
    );
    assert_eq!(kind(&lines[1..].concat()), Kind::Gap, "the first chunk cut off");
    assert_eq!(kind(""), Kind::Gap, "nothing");
    assert_eq!(kind(&format!("{text}\n")), Kind::Format, "a line more");
    assert_eq!(kind(&text[..text.len() / 2]), Kind::Format, "cut in a record");
    let proof = text.find("\"inclusion\":[").expect("a proof") + "\"inclusion\":[".len();
    let shorter = format!("{}{}", &text[..proof], &text[proof + 67..]);
    assert_eq!(kind(&shorter), Kind::Inclusion, "a cut proof");
    let longer = format!("{}{}{}", &text[..proof], &text[proof..proof + 67], &text[proof..]);
    assert_eq!(kind(&longer), Kind::Inclusion, "a lengthened proof");
    assert_eq!(
        kind(&text.replace("{\"chunk_index\":1,", "{\"chunk_index\": 1,")),
        Kind::Format,
        "a space"
    );
    assert!(
        export(text.trim_end().as_bytes(), &policy).is_ok(),
        "the last line end may be missing"
    );
}

#[test]
fn each_attack_on_the_checkpoint_fails_for_its_own_reason() {
    let forge = Forge::sales(12, 2);
    let policy = policy(&forge.policy());
    let tree = forge.tree();
    let text = forge.export(5);
    let escaped = |note: &str| note.replace('\n', "\\n");
    let own = escaped(&forge.last(&tree));
    assert!(text.contains(&own));
    let with = |note: &str| refused(export(text.replace(&own, &escaped(note)).as_bytes(), &policy));

    let mut older = Forge::sales(8, 2);
    older.witnesses.clone_from(&forge.witnesses);
    assert_eq!(with(&older.last(&older.tree())), Kind::Inclusion, "a rolled-back checkpoint");
    let elsewhere = forge.checkpoint("lubumbashi/g/1", forge.size(), &tree.range.root());
    assert_eq!(with(&elsewhere), Kind::Signature, "another origin");
    let root = forge.checkpoint(&forge.origin(), forge.size(), &[5; 32]);
    assert_eq!(with(&root), Kind::Inclusion, "another root");
    let mut stranger = forge.clone();
    stranger.log = SigningKey::from_bytes(&[77; 32]);
    assert_eq!(with(&stranger.last(&tree)), Kind::Signature, "another log key");
    let mut alone = forge.clone();
    alone.witnesses.truncate(1);
    assert_eq!(with(&alone.last(&tree)), Kind::Quorum, "too few witnesses");
    assert_eq!(
        with(&forge.last(&tree).replacen("\n16\n", "\n016\n", 1)),
        Kind::Format,
        "its size in another spelling"
    );
    let long = forge.sign_note(&forge.origin(), &format!("{}\n016\nAAAA\n", forge.origin()));
    assert_eq!(with(&long), Kind::Format, "signed, and no checkpoint");
}

#[test]
fn an_export_may_begin_later() {
    let forge = Forge::sales(30, 1);
    let policy = policy(&forge.policy());
    let mut part = forge.clone();
    part.records.drain(..10);
    let text = part.export(7);
    let passed = export(text.as_bytes(), &policy).expect("it was not touched");
    assert_eq!((passed.journal.positions, passed.journal.from_the_start), ((11, 30), false));
    assert_eq!(passed.journal.outlet, OUTLET);
}
