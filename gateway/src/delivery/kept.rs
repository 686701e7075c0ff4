//! What is kept of destinations in the directory, as JSON: a document for each shard, which is its lease and the
//! cursors of its destinations in one. Writing one moves the other, so a gateway that has lost its lease moves no
//! cursor. A field is only ever added, with a default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The destinations are shared out in so many parts.
pub const SHARDS: usize = 12;
/// All destinations of a shard share so many bytes of its document, which may be of 256 KiB. A gateway that serves all
/// shards writes them in some writes of what the directory takes at once, well within a lease.
pub const SHARD_BYTES: usize = 200 * 1024;
/// So many destinations there are at most, so that each has enough of its shard to go on, whatever hash it has.
pub const DESTINATIONS_MAX: usize = 1_000;
/// A replay has so many ranges at most; what has more is several.
pub const RANGES_MAX: usize = 16;

/// Where an event comes from: a leaf of a group, or a notice of an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group; [`NOTICES`] or [`ALERTS`] for what no group has a record of.
    pub source: u64,
    /// The leaf, or the notice's number.
    pub leaf: u64,
}

/// The source of notices.
pub const NOTICES: u64 = u64::MAX;
/// The source of alerts, which are notices in a ring of their own.
pub const ALERTS: u64 = u64::MAX - 1;

/// Whether a source is a group with a journal.
#[must_use]
pub fn is_journal(source: u64) -> bool {
    source < ALERTS
}

/// One part of the destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which gateway serves it; empty when it was given back.
    pub holder: String,
    /// The destinations by their ids.
    #[serde(default)]
    pub destinations: BTreeMap<String, Kept>,
}

/// That a gateway is there: it changes as long as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Which gateway.
    pub holder: String,
}

/// How far one destination is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// By source, the first leaf that was not looked at. What is below it is delivered, given up, not wanted, or
    /// pending.
    pub scanned: BTreeMap<u64, u64>,
    /// Everything that was handed out had been looked at: what has come since then is looked at as it comes.
    pub is_live: bool,
    /// The time of the last event that was looked at.
    pub scanned_ms: u64,
    /// The next event's number.
    pub next_sequence: u64,
    /// What was looked at and is not settled.
    pub pending: Vec<KeptPending>,
    /// What was given up and is not in the log yet.
    pub letters: Vec<DeadLetter>,
    /// The last replay that is done.
    pub replayed: u64,
    /// The replay under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// How it has been going.
    pub standing: Standing,
}

/// How it has been going with a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Since when every attempt failed; 0 when the last one did not, or when nothing is left to be tried.
    pub failing_since_ms: u64,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Nothing is sent before.
    pub hold_until_ms: u64,
    /// The last success.
    pub succeeded_ms: u64,
    /// The last failure.
    pub failed_ms: u64,
    /// Events that were delivered.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Events that were given up.
    pub dead: u64,
}

/// An event that is on its way, as an array, because there may be many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PendingRow", into = "PendingRow")]
pub struct KeptPending {
    /// Which event.
    pub place: Place,
    /// What it must not overtake: events of the same lane.
    pub lane: u32,
    /// When it happened.
    pub time_ms: u64,
    /// Its number at this destination; none of a replayed one.
    pub sequence: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
    /// Not before.
    pub due_ms: u64,
    /// Whether it is sent once more because somebody asked for it.
    pub replay: bool,
}

/// Bytes of a destination's id, standing and names of fields, at most.
const FIXED_BYTES: usize = 640;
const SCANNED_BYTES: usize = 44;
/// Bytes of a pending event at most.
pub(crate) const PENDING_BYTES: usize = 128;
const LETTER_BYTES: usize = 160;
const RANGE_BYTES: usize = 68;

/// Bytes that a destination takes in its shard's document, at most.
#[must_use]
pub fn weight(
    sources: usize,
    pending: usize,
    letters: &[DeadLetter],
    replay: Option<&Replay>,
) -> usize {
    // A quotation mark in a text takes two.
    let letters = letters.iter().map(|letter| LETTER_BYTES + 2 * letter.reason.len());
    FIXED_BYTES
        + sources * SCANNED_BYTES
        + pending * PENDING_BYTES
        + letters.sum::<usize>()
        + replay.map_or(0, |replay| replay.ranges.len() * RANGE_BYTES)
}

type PendingRow = (u64, u64, u32, u64, Option<u64>, u32, u64, bool);

impl From<PendingRow> for KeptPending {
    fn from(row: PendingRow) -> Self {
        let (source, leaf, lane, time_ms, sequence, attempts, due_ms, replay) = row;
        Self { place: Place { source, leaf }, lane, time_ms, sequence, attempts, due_ms, replay }
    }
}

impl From<KeptPending> for PendingRow {
    fn from(kept: KeptPending) -> Self {
        let Place { source, leaf } = kept.place;
        let KeptPending { lane, time_ms, sequence, attempts, due_ms, replay, .. } = kept;
        (source, leaf, lane, time_ms, sequence, attempts, due_ms, replay)
    }
}

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The group.
    pub source: u64,
    /// The leaf.
    pub leaf: u64,
    /// Its number at this destination; none of a replayed one.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub time_ms: u64,
    /// Why.
    pub reason: String,
}

/// Leaves that somebody wants to have sent once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The request's number.
    pub number: u64,
    /// Group, first leaf, and the one after the last; in the order in which they are sent.
    pub ranges: Vec<(u64, u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_may_lack_what_is_newer() {
        let kept = Kept {
            scanned: BTreeMap::from([(1, 7), (NOTICES, 2)]),
            pending: vec![KeptPending {
                place: Place { source: 1, leaf: 5 },
                lane: 9,
                time_ms: 3,
                sequence: Some(4),
                attempts: 2,
                due_ms: 8,
                replay: false,
            }],
            ..Kept::default()
        };
        let shard = Shard {
            holder: "g".to_owned(),
            destinations: BTreeMap::from([("d".to_owned(), kept)]),
        };
        let text = serde_json::to_string(&shard).expect("it is JSON");
        assert!(text.contains("[[1,5,9,3,4,2,8,false]]"), "{text}");
        assert_eq!(serde_json::from_str::<Shard>(&text).expect("it reads"), shard);
        assert_eq!(serde_json::from_str::<Kept>("{}").expect("it reads"), Kept::default());
    }
}
