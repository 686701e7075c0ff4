//! The signed note of a group's last decided checkpoint.
//!
//! A decided cut is the same on every replica and Ed25519 is deterministic, so any voter that holds the
//! log's key makes the same bytes whenever it is asked: nothing has to be kept.

use fiscus_ledger::checkpoint::{Checkpoint, CheckpointError, origin};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::note::{KeyError, Note, NoteSignError, VerifierKey};

use crate::context::NodeContext;
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
