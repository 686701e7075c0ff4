//! `proof=true` of a journal query: each item brings the proof of the record that it stands for.
//!
//! All proofs of a page that are of one group lead to one checkpoint and are made by one call. What was sealed a moment
//! ago waits for the first checkpoint that covers it.

use std::collections::BTreeMap;

use fiscus_ledger::hash::{Hash32, hex};
use fiscus_ledger::record::Record;
use fiscus_proto::ledger::JournalRecord;
use futures_util::future::try_join_all;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::http::Problem;

/// Where a record is in the logs, and what its leaf is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) group: u64,
    pub(crate) leaf: u64,
    pub(crate) entry_hash: Hash32,
}

/// What proves an item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RecordEvidence {
    /// None when the item is no record of the journal.
    #[serde(skip)]
    #[schema(ignore)]
    place: Option<Place>,
    /// With `proof=true`: the entry hash of the record that the item is made of, which is the leaf that is proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "5d0e9b6a1f1f6e1b0d5c7a7a4c3b2a190817f6e5d4c3b2a190817f6e5d4c3b2a")]
    proved_hash: Option<String>,
    /// With `proof=true`: that this hash is in the log, with the signed checkpoint (C2SP tlog-proof).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "c2sp.org/tlog-proof@v1\nindex 0\n\nkinshasa/g/1\n1\nS/USLzRFVMU73i67jNK349FgCtYxw4Wl18ziPHeFRZo=\n\n— kinshasa/g/1 AAAAAA==\n"
    )]
    proof: Option<String>,
}

impl RecordEvidence {
    /// Of an item that a record is answered as.
    pub(crate) fn of(sealed: &JournalRecord, record: &Record<'_>) -> Self {
        let JournalRecord { group, leaf, .. } = *sealed;
        Self::at(Place { group, leaf, entry_hash: record.entry_hash })
    }

    pub(crate) fn at(place: Place) -> Self {
        Self { place: Some(place), ..Self::default() }
    }
}

/// An item that may stand for a record.
pub(crate) trait Evident {
    fn evidence(&mut self) -> &mut RecordEvidence;
}

/// Gives each item that stands for a record its proof.
pub(crate) async fn prove<T: Evident>(caller: &Caller, items: &mut [T]) -> Result<(), Problem> {
    let mut groups: BTreeMap<u64, Vec<(&mut RecordEvidence, Place)>> = BTreeMap::new();
    for evidence in items.iter_mut().map(Evident::evidence) {
        if let Some(place) = evidence.place {
            groups.entry(place.group).or_default().push((evidence, place));
        }
    }
    let proving = groups.into_iter().map(|(group, found)| async move {
        let leaves = found.iter().map(|(_, place)| place.leaf).collect();
        let proofs = caller.proofs_of(group, leaves).await?;
        for ((evidence, place), proof) in found.into_iter().zip(proofs) {
            evidence.proved_hash = Some(hex(&place.entry_hash));
            evidence.proof = Some(proof);
        }
        Ok::<(), Problem>(())
    });
    try_join_all(proving).await.map(drop)
}
