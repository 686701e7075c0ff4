//! The signed note of a group's last decided checkpoint.
//!
//! A decided cut is the same on every replica and Ed25519 is deterministic, so any voter that holds the
//! log's key makes the same bytes whenever it is asked: nothing has to be kept but what witnesses add.

use fiscus_ledger::checkpoint::{Checkpoint, CheckpointError, origin};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::note::{KeyError, KnownKeys, Note, NoteSignError, VerifierKey};
#[cfg(feature = "planted-bugs")]
use fiscus_ledger::planted::{Bug, is_planted};

use crate::context::NodeContext;
use crate::groups::Hosted;
use crate::signer::{SignError, Signable};

/// Why no checkpoint is signed here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignedCheckpointError {
    /// The tuple makes no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The key has no name.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signer refuses.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The note is not one.
    #[error(transparent)]
    Note(#[from] NoteSignError),
    /// The log key is not here.
    #[error("the log key of group {0} is not on this node")]
    NoKey(u64),
}

/// The note of a decided cut.
pub(crate) fn signed(
    context: &NodeContext,
    group: u64,
    size: u64,
    root: &Hash32,
) -> Result<String, SignedCheckpointError> {
    let origin = origin(&context.config.cluster, group);
    let text = Checkpoint::new(&origin, size, root)?.to_text();
    let key = context.log_key(group).ok_or(SignedCheckpointError::NoKey(group))?;
    let signature =
        context.signer.sign(&key.public_key, &Signable::CheckpointNote(text.as_bytes()))?;
    let verifier = VerifierKey::new(&origin, &key.public_key)?;
    Ok(Note::sign(&text, &verifier, |_| signature)?.to_text())
}

/// The checkpoint in a note that the group's log has signed with the key that is here; none in any other.
pub(crate) fn open(context: &NodeContext, group: u64, note: &str) -> Option<Checkpoint> {
    let key = context.log_key(group)?;
    let origin = origin(&context.config.cluster, group);
    let known = KnownKeys::new([VerifierKey::new(&origin, &key.public_key).ok()?]).ok()?;
    fiscus_ledger::checkpoint::open(note.as_bytes(), &origin, &known).ok()
}

/// What is published of a group's log: the last decided cut, with the cosignatures that there are; or, when the policy
/// asks for witnesses, the last one that enough of them have cosigned.
pub(crate) fn published(
    context: &NodeContext,
    hosted: &Hosted,
) -> Result<Option<String>, SignedCheckpointError> {
    let cosigned = hosted.cosigned.last();
    if context.config.witness_quorum > 0 {
        return Ok(cosigned.map(|(_, note)| note));
    }
    let decided = hosted.handle.replica().progress().borrow().decided.clone();
    #[cfg(feature = "planted-bugs")]
    let decided = if is_planted(Bug::CheckpointBeforeDecision) {
        hosted.handle.replica().progress().borrow().last_cut.clone().or(decided)
    } else {
        decided
    };
    let Some(tuple) = decided else { return Ok(None) };
    match cosigned {
        Some((size, note)) if size == tuple.size => Ok(Some(note)),
        _ => signed(context, hosted.handle.group(), tuple.size, &tuple.root).map(Some),
    }
}
