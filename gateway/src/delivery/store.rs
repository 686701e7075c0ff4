//! What the engine writes to the directory: leases with cursors, that this gateway is there, logs, and that an
//! endpoint is disabled. Each is one atomic write from the versions that were seen.

use std::collections::BTreeMap;
use std::time::Duration;

use fiscus_ledger::commands::DOCUMENT_BYTES_MAX;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{Command, PutDocument, PutDocuments, command};
use fiscus_proto::ledger::{Consistency, Document, ReadDocumentRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::kept::{DeadLetter, Presence, Shard};
use crate::directory::Stored;
use crate::directory::documents::kind;
use crate::directory::webhooks::{AttemptLine, DeliveryLog};

const DIRECTORY: u64 = 0;
const WRITE_WAIT: Duration = Duration::from_secs(3);
const READ_WAIT: Duration = Duration::from_secs(3);
/// The directory takes 512 KiB at once; what does not fit waits for the next write.
const BYTES_MAX: usize = 448 * 1024;
/// Documents of one write, of the 16 that the directory takes.
const PUTS_MAX: usize = 14;

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// It was taken.
    Taken,
    /// It was not: these are the documents as they are.
    Conflict(Vec<Document>),
    /// Nobody knows.
    Unknown,
}

/// A document to be written.
pub(crate) fn put<T: Serialize>(kind: &str, id: &str, seen: u64, value: &T) -> PutDocument {
    PutDocument {
        kind: kind.to_owned(),
        id: id.to_owned(),
        expected_version: seen,
        bytes: serde_json::to_vec(value).expect("a document is JSON").into(),
    }
}

/// The lease of a shard with the cursors of its destinations.
pub(crate) fn shard_put(shard: usize, seen: u64, value: &Shard) -> PutDocument {
    put(kind::DELIVERY_SHARD, &shard.to_string(), seen, value)
}

/// The same, unless the directory would refuse it: then the lease alone is renewed over the cursors as they are there,
/// which moves nothing and keeps other shards' writes from being refused with it.
pub(crate) fn shard_put_within(
    shard: usize,
    seen: u64,
    value: Shard,
    there: Option<&Shard>,
) -> PutDocument {
    let put = shard_put(shard, seen, &value);
    if put.bytes.len() <= DOCUMENT_BYTES_MAX {
        return put;
    }
    tracing::error!(
        shard,
        bytes = put.bytes.len(),
        "a part of the destinations is too large to be kept"
    );
    let destinations = there.map(|there| there.destinations.clone()).unwrap_or_default();
    shard_put(shard, seen, &Shard { holder: value.holder, destinations })
}

/// That this gateway is there.
pub(crate) fn presence_put(place: usize, seen: u64, me: &str) -> PutDocument {
    put(kind::DELIVERY_GATEWAY, &place.to_string(), seen, &Presence { holder: me.to_owned() })
}

/// The puts of one write, the first ones that fit into it.
pub(crate) fn fitting(puts: Vec<PutDocument>) -> Vec<PutDocument> {
    let mut bytes = 0;
    let fits = |put: &PutDocument| {
        bytes += put.bytes.len();
        bytes <= BYTES_MAX
    };
    puts.into_iter().take(PUTS_MAX).take_while(fits).collect()
}

/// Writes all of them or none.
pub(crate) async fn write(cluster: &ClusterClient, puts: Vec<PutDocument>) -> Written {
    let names: Vec<(String, String)> =
        puts.iter().map(|put| (put.kind.clone(), put.id.clone())).collect();
    let command = Command { command: Some(command::Command::PutDocuments(PutDocuments { puts })) };
    match cluster.submit(DIRECTORY, command, WRITE_WAIT).await {
        Ok(Answer::Done) => Written::Taken,
        Ok(Answer::Refused(refusal)) if refusal.code == "VERSION_CONFLICT" => {
            let mut documents = Vec::new();
            for (kind, id) in names {
                match read(cluster, &kind, &id).await {
                    Some(document) => documents.extend(document),
                    None => return Written::Unknown,
                }
            }
            Written::Conflict(documents)
        }
        Ok(other) => {
            tracing::error!(answer = ?other, "a write of deliveries was answered in a way that it cannot be");
            Written::Unknown
        }
        Err(error) => {
            tracing::debug!(%error, "a write of deliveries is in doubt");
            Written::Unknown
        }
    }
}

/// A document as the cluster has it; none when nobody answers.
async fn read(cluster: &ClusterClient, kind: &str, id: &str) -> Option<Option<Document>> {
    let request = ReadDocumentRequest {
        kind: kind.to_owned(),
        id: id.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    cluster.read_document(request, READ_WAIT).await.ok().map(|answer| answer.document)
}

/// A document with its version; the default with version 0 when there is none.
pub(crate) async fn read_stored<T: Stored + Default + DeserializeOwned>(
    cluster: &ClusterClient,
    id: &str,
) -> Option<(u64, T)> {
    let found = read(cluster, T::KIND, id).await?;
    let Some(document) = found else { return Some((0, T::default())) };
    let value = serde_json::from_slice(&document.bytes)
        .inspect_err(
            |error| tracing::error!(kind = T::KIND, id, %error, "a document cannot be read"),
        )
        .unwrap_or_default();
    Some((document.version, value))
}

/// What is new for one destination's log.
#[derive(Debug)]
pub(crate) struct NewLines {
    pub(crate) log_id: String,
    pub(crate) lines: Vec<AttemptLine>,
    pub(crate) letters: Vec<DeadLetter>,
    pub(crate) healed: Vec<(u64, u64)>,
}

/// Adds to logs; by destination, how many dead letters of it are in its log now.
pub(crate) async fn write_logs(
    cluster: ClusterClient,
    new: BTreeMap<String, NewLines>,
    keep_from_ms: u64,
) -> Option<BTreeMap<String, usize>> {
    let (mut puts, mut done, mut bytes) = (Vec::new(), BTreeMap::new(), 0);
    for (destination, new) in new {
        let (version, mut log) = read_stored::<DeliveryLog>(&cluster, &new.log_id).await?;
        log.letters.retain(|letter| !new.healed.contains(&(letter.source, letter.leaf)));
        log.take(new.lines, &new.letters, keep_from_ms);
        let put = put(kind::DELIVERY_LOG, &new.log_id, version, &log);
        bytes += put.bytes.len();
        if bytes > BYTES_MAX {
            break;
        }
        puts.push(put);
        done.insert(destination, new.letters.len());
    }
    match write(&cluster, puts).await {
        Written::Taken => Some(done),
        Written::Conflict(_) | Written::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::kept::Kept;

    #[test]
    fn a_shard_that_is_too_large_renews_its_lease_and_moves_no_cursor() {
        let shard = |destinations: usize, sequence: u64| Shard {
            holder: "me".to_owned(),
            destinations: (0..destinations)
                .map(|at| (at.to_string(), Kept { next_sequence: sequence, ..Kept::default() }))
                .collect(),
        };
        let there = shard(3, 1);
        let put = |value: Shard| {
            let put = shard_put_within(4, 9, value, Some(&there));
            assert!(put.bytes.len() <= DOCUMENT_BYTES_MAX && put.expected_version == 9);
            serde_json::from_slice::<Shard>(&put.bytes).expect("a shard")
        };
        assert_eq!(put(shard(3, 2)), shard(3, 2));
        assert_eq!(put(shard(3_000, 2)), there);
    }
}
