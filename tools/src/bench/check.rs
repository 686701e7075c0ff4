//! After the load: every sale that was answered is in the journal, once, and every outlet's journal is without a gap.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::seal::AuthCode;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{Consistency, ReadRecordsRequest};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::till::{Sealed, record_seal};
use super::workload::Workload;

const WAIT: Duration = Duration::from_secs(60);
/// Outlets that are read at once.
const TOGETHER: usize = 8;
/// So many findings are told in words.
const TOLD_MAX: usize = 10;

/// The sales that were answered, by their outlets.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sold: BTreeMap<usize, Vec<Sealed>>,
}

impl Tally {
    pub(super) fn add(&mut self, sold: Vec<(usize, Sealed)>) {
        for (outlet, sealed) in sold {
            self.sold.entry(outlet).or_default().push(sealed);
        }
    }
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(super) struct Checked {
    answered: u64,
    records: u64,
    findings: Vec<String>,
}

impl Checked {
    pub(super) fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn line(&self) -> String {
        let mut text =
            format!("checked: {} sales answered, {} records read", self.answered, self.records);
        if self.is_sound() {
            return text + ": all there, no gap, no duplicate\n";
        }
        text.push_str(&format!(": {} findings\n", self.findings.len()));
        for finding in self.findings.iter().take(TOLD_MAX) {
            text.push_str(&format!("  {finding}\n"));
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "ok": self.is_sound(),
            "answered": self.answered,
            "records": self.records,
            "findings": self.findings,
        })
    }
}

/// Reads the outlets back and compares.
pub(super) async fn compare(
    client: &ClusterClient,
    workload: &Workload,
    tally: &Tally,
) -> Result<Checked> {
    let outlets = tally.sold.iter().map(|(outlet, sold)| async move {
        let row = &workload.roster().outlets()[*outlet];
        let journal = read(client, row.group, &row.id).await.with_context(|| row.id.clone())?;
        anyhow::Ok(compared(&row.id, sold, journal))
    });
    let mut all = Checked::default();
    let mut each = stream::iter(outlets).buffer_unordered(TOGETHER);
    while let Some(checked) = each.try_next().await? {
        all.answered += checked.answered;
        all.records += checked.records;
        all.findings.extend(checked.findings);
    }
    Ok(all)
}

/// An outlet's journal: its records' number, and the codes of its invoices by their numbers; and what is wrong in itself.
#[derive(Debug, Default)]
struct Journal {
    records: u64,
    codes: BTreeMap<u64, AuthCode>,
    findings: Vec<String>,
}

async fn read(client: &ClusterClient, group: u64, outlet_id: &str) -> Result<Journal> {
    let request = ReadRecordsRequest {
        group,
        outlet_id: outlet_id.to_owned(),
        from_position: 1,
        to_position: 0,
        consistency: Consistency::Linearizable.into(),
    };
    let mut journal = Journal::default();
    let mut records = pin!(client.read_records(request, WAIT));
    while let Some(stored) = records.try_next().await? {
        let record = Record::decode(&stored.record).context("a record")?;
        journal.records += 1;
        if record.position != journal.records {
            journal.findings.push(format!(
                "{outlet_id}: position {} where {} belongs",
                record.position, journal.records
            ));
        }
        if !matches!(record.kind, RecordKind::Invoice(_)) {
            continue;
        }
        let sealed = record_seal(&stored)?;
        let last = journal.codes.last_key_value().map_or(0, |(last, _)| *last);
        if sealed.sequence != last + 1 {
            journal.findings.push(format!("{outlet_id}: number {} after {last}", sealed.sequence));
        }
        journal.codes.insert(sealed.sequence, sealed.auth_code);
    }
    Ok(journal)
}

fn compared(outlet_id: &str, sold: &[Sealed], journal: Journal) -> Checked {
    let mut findings = journal.findings;
    let mut given: BTreeMap<u64, u64> = BTreeMap::new();
    for sealed in sold {
        *given.entry(sealed.sequence).or_default() += 1;
        match journal.codes.get(&sealed.sequence) {
            Some(code) if *code == sealed.auth_code => {}
            Some(_) => findings.push(format!(
                "{outlet_id}: number {} was answered with the code {}, which is not its own",
                sealed.sequence, sealed.auth_code
            )),
            None => findings.push(format!(
                "{outlet_id}: number {} was answered and is not in the journal",
                sealed.sequence
            )),
        }
    }
    for (sequence, times) in given.into_iter().filter(|(_, times)| *times > 1) {
        findings.push(format!("{outlet_id}: number {sequence} was given to {times} sales"));
    }
    Checked { answered: sold.len() as u64, records: journal.records, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(sequence: u64) -> Sealed {
        let mut signature = [7; 64];
        signature[..8].copy_from_slice(&sequence.to_be_bytes());
        Sealed { sequence, auth_code: AuthCode::of_signature(&signature) }
    }

    fn journal(numbers: std::ops::RangeInclusive<u64>) -> Journal {
        let codes = numbers.clone().map(|number| (number, sealed(number).auth_code)).collect();
        Journal { records: numbers.count() as u64, codes, findings: Vec::new() }
    }

    #[test]
    fn what_is_all_there_is_sound() {
        let checked = compared("o", &[sealed(2), sealed(1)], journal(1..=3));
        assert!(checked.is_sound(), "{checked:?}");
        assert_eq!((checked.answered, checked.records), (2, 3));
    }

    #[test]
    fn a_missing_a_doubled_and_a_foreign_seal_are_found() {
        let missing = compared("o", &[sealed(4)], journal(1..=3));
        assert!(missing.findings[0].contains("not in the journal"), "{missing:?}");
        let doubled = compared("o", &[sealed(2), sealed(2)], journal(1..=3));
        assert!(doubled.findings[0].contains("given to 2 sales"), "{doubled:?}");
        let foreign = Sealed { sequence: 1, ..sealed(2) };
        let foreign = compared("o", &[foreign], journal(1..=3));
        assert!(foreign.findings[0].contains("not its own"), "{foreign:?}");
    }
}
