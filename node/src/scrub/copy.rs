//! A sealed record whose copy here is damaged, for whoever repeats its command.
//!
//! Invariant: what is handed out hashes to the leaf that this replica holds, and is signed by the record's
//! own authority. Non-goal: mending the copy; a scrub does that.

use std::sync::Arc;
use std::time::Duration;

use fiscus_raft::consensus::GroupHandle;
use fiscus_raft::store::{Content, StoreError};

use crate::context::NodeContext;
use crate::records::{self, RecordError, SignedRecord};
use crate::scrub::mend::Peers;

/// Other answers of the same entry wait behind this one.
const FETCH_LIMIT: Duration = Duration::from_secs(3);

/// The record at a position: what is sound of it here, otherwise a peer's copy. `None` when nobody has one,
/// or the leaf's own entry is damaged, which alone says what a copy must be.
pub(crate) async fn sound_record(
    context: &Arc<NodeContext>,
    handle: &GroupHandle,
    outlet_id: &str,
    position: u64,
) -> Result<Option<SignedRecord>, RecordError> {
    let Some((leaf, hash, content)) = examine(handle, outlet_id, position)? else {
        return Ok(None);
    };
    let record = match content {
        // Only its signature is damaged, and that can be made again.
        Content::Record(record) => record,
        Content::Other => return Ok(None),
        Content::Damaged => {
            let peers = Peers::of(context.clone(), handle);
            let fetching = peers.fetch(leaf, leaf + 1, |_, copy| copy.hash == hash);
            let fetched = tokio::time::timeout(FETCH_LIMIT, fetching).await.unwrap_or_default();
            let copy = fetched.into_values().find_map(|copy| copy.record);
            let Some(record) = copy else { return Ok(None) };
            let group = handle.group();
            tracing::warn!(
                group,
                leaf,
                "a peer's copy of a damaged record was given out; scrub this node"
            );
            record
        }
    };
    let signature = records::sign_record(context, leaf, &record)?;
    Ok(Some(SignedRecord { leaf, record, signature }))
}

fn examine(
    handle: &GroupHandle,
    outlet_id: &str,
    position: u64,
) -> Result<Option<(u64, fiscus_ledger::hash::Hash32, Content)>, StoreError> {
    let reading = handle.replica().read()?;
    let Some(leaf) = reading.leaf_of_position(outlet_id, position)? else { return Ok(None) };
    let examined = reading.examine(leaf, None)?;
    Ok(examined.hash.map(|hash| (leaf, hash, examined.content)))
}
