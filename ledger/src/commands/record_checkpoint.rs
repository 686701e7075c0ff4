//! Writes down in the directory's log how far another group's log is, so that whoever watches the one watches all.

use super::directory_fact::append_to_group;
use super::{Context, field_invalid, no_authority};
use crate::apply::ApplyError;
use crate::checkpoint::origin;
use crate::hash::Hash32;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::registry::Document;
use crate::state::working::Reads;

/// The kind of the documents that hold the last checkpoint of each group. No client writes documents of a kind that
/// begins like this.
pub const CHECKPOINT_KIND: &str = "@checkpoint";
const SIZE_BYTES: usize = 8;

/// Records a decided checkpoint of a data group; each is larger than the one before it, so that there are never two roots
/// for one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordCheckpoint {
    /// The group.
    pub group: u64,
    /// The leaves of its tree.
    pub size: u64,
    /// The root.
    pub root: Hash32,
}

/// The size in a recorded checkpoint: `u64 size ‖ h32 root`.
#[must_use]
pub fn recorded_size(document: &Document) -> Option<u64> {
    let whole = document.bytes.len() == SIZE_BYTES + 32;
    let size = document.bytes.first_chunk::<SIZE_BYTES>().filter(|_| whole)?;
    Some(u64::from_le_bytes(*size))
}

impl RecordCheckpoint {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(self.key());
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if self.group == cx.state.group.number {
            return Ok(field_invalid("group", "must be another group than the directory"));
        }
        let (version, known) = match cx.state.documents.get(&self.key())? {
            None => (0, 0),
            Some(document) => {
                let (kind, id) = (CHECKPOINT_KIND, self.key().1);
                let known = recorded_size(document);
                (document.version, known.ok_or(ApplyError::DamagedDocument { kind, id })?)
            }
        };
        if self.size <= known {
            let detail = format!("{known} leaves of group {} are recorded already", self.group);
            return Ok(Outcome::refused(RefusalCode::VersionConflict, detail));
        }
        let Some(authority) = cx.state.group.chain_authority() else { return Ok(no_authority()) };
        let authority_id = authority.id.clone();
        let bytes = [&self.size.to_le_bytes()[..], &self.root].concat();
        cx.state.documents.put(self.key(), Document { version: version + 1, bytes });
        let payload = Object::new()
            .text("origin", &origin(&cx.state.group.cluster, self.group))
            .count("group", self.group)
            .count("tree_size", self.size)
            .bytes("root", &self.root)
            .finish();
        Ok(append_to_group(cx, RecordKind::Checkpoint, &authority_id, &payload))
    }

    fn key(&self) -> (Id, Id) {
        (CHECKPOINT_KIND.into(), Id::from(self.group.to_string()))
    }
}
