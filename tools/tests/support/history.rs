//! What must hold of a journal, whatever happened to the machines.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::record::Record;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::ledger::{Consistency, JournalRecord};
use fiscus_proto::ledger::{OutletPosition, ReadRecordRequest, read_record_request};
use futures_util::StreamExt;

use super::load::{Sale, sell};

const WAIT: Duration = Duration::from_secs(30);

/// Every record of a group whose signature the log has, in the order of the tree.
pub async fn journal(client: &ClusterClient, group: u64) -> Vec<JournalRecord> {
    let state = client.read_group(group, Consistency::Linearizable, WAIT).await.unwrap();
    let leaves = state.as_of.unwrap().leaves;
    let mut feed = std::pin::pin!(client.feed(group, 0));
    let mut records = Vec::new();
    while (records.last().map_or(0, |record: &JournalRecord| record.leaf + 1)) < leaves {
        let item = tokio::time::timeout(WAIT, feed.next()).await.unwrap().unwrap().unwrap();
        let last = item.leaf + 1 >= leaves;
        records.extend(item.record);
        if last {
            break;
        }
    }
    records
}

/// Checks chains, numbers, signatures, and that every answer stands where it says. Returns the journal.
pub async fn check(client: &ClusterClient, sales: &[Sale]) -> Vec<JournalRecord> {
    let journal = journal(client, 1).await;
    let authorities = client.read_group(1, Consistency::Linearizable, WAIT).await.unwrap();
    let keys: BTreeMap<String, VerifyingKey> = authorities
        .authorities
        .iter()
        .map(|a| (a.id.clone(), VerifyingKey::try_from(&*a.public_key).unwrap()))
        .collect();
    let mut chains: BTreeMap<&str, (u64, [u8; 32])> = BTreeMap::new();
    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    let mut submissions = HashSet::new();
    let mut by_leaf = BTreeMap::new();
    for stored in &journal {
        let record = Record::decode(&stored.record).unwrap();
        let (position, head) = chains.entry(record.outlet_id).or_insert((0, [0; 32]));
        assert_eq!(record.position, *position + 1, "positions of {} have a gap", record.outlet_id);
        assert_eq!(record.prev_hash, *head, "the chain of {} is broken", record.outlet_id);
        (*position, *head) = (record.position, record.entry_hash);
        let signature = Signature::from_slice(&stored.signature).unwrap();
        keys[record.authority_id].verify_strict(&record.entry_hash, &signature).unwrap();
        if !record.fiscal_number.is_empty() {
            let sequence = record.fiscal_number.rsplit('-').next().unwrap().parse::<u64>().unwrap();
            let last = numbers.entry(record.outlet_id).or_default();
            assert_eq!(sequence, *last + 1, "numbers of {} have a gap", record.outlet_id);
            *last = sequence;
        }
        if let Some(mark) = &record.submission {
            let fresh = submissions.insert((record.outlet_id, mark.operation.code(), mark.key));
            assert!(fresh, "a submission became two records: {}", record.fiscal_number);
        }
        by_leaf.insert(stored.leaf, stored);
    }
    for sale in sales {
        let found = by_leaf.get(&sale.record.leaf).expect("an answered sale is in the journal");
        assert_eq!(**found, sale.record, "the journal holds other bytes than were answered");
    }
    check_order(sales);
    for sale in sales.iter().step_by((sales.len() / 25).max(1)) {
        let again = client.submit(1, sale.command.clone(), WAIT).await.unwrap();
        assert_eq!(again, Answer::AlreadyRecorded(sale.record.clone()));
    }
    journal
}

/// When one sale of an outlet was answered before another began, it has the lower number.
fn check_order(sales: &[Sale]) {
    let mut outlets: BTreeMap<&str, Vec<&Sale>> = BTreeMap::new();
    for sale in sales {
        outlets.entry(sale.outlet).or_default().push(sale);
    }
    for sales in outlets.values_mut() {
        sales.sort_by_key(|sale| sale.record.leaf);
        // Walking down, the earliest end of all later ones must not lie before this one's beginning.
        let mut earliest_end = None;
        for sale in sales.iter().rev() {
            if let Some(end) = earliest_end {
                assert!(end > sale.began, "a later number was answered before this sale began");
            }
            earliest_end = Some(
                earliest_end.map_or(sale.ended, |end: std::time::Instant| end.min(sale.ended)),
            );
        }
    }
}

/// Every replica that answers holds the same record at a position.
pub async fn record_at(
    client: &ClusterClient,
    outlet: &str,
    position: u64,
) -> Option<JournalRecord> {
    let which = OutletPosition { outlet_id: outlet.to_owned(), position };
    let request = ReadRecordRequest {
        group: 1,
        which: Some(read_record_request::Which::Position(which)),
        consistency: Consistency::Linearizable.into(),
    };
    client.read_record(request, WAIT).await.unwrap().record
}

/// The cluster takes sales again.
pub async fn serves(client: &ClusterClient, name: &str) {
    for outlet in 0..4 {
        sell(client, outlet, &format!("{name}-{outlet}")).await.unwrap();
    }
}
