//! Makes signatures durable: the leader's signatures over committed leaves travel in a later entry.

use super::Context;
use crate::outcome::Outcome;

/// Signatures of consecutive leaves. Opaque to apply, which only counts them: whoever holds the public
/// key can check them. The place of a heads leaf, which nobody signs, holds 64 zero bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachSignatures {
    /// The first leaf, counted from 0: it must be the first that has none.
    pub first_leaf: u64,
    /// One signature a leaf.
    pub signatures: Vec<[u8; 64]>,
}

impl AttachSignatures {
    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Outcome {
        let group = &mut cx.state.group;
        let count = u64::try_from(self.signatures.len()).expect("a batch is at most 1 MiB");
        let end = self.first_leaf.checked_add(count);
        // Nothing is signed before it is committed, so no signature can be of a leaf of this entry.
        let own = u64::try_from(cx.journal.leaves.len()).expect("an entry is at most 1 MiB");
        let committed = group.tree.size() - own;
        // Two leaders may send the same ones; a signature of a leaf that does not exist is a bug of
        // the sender, and changes nothing either.
        match end {
            Some(end) if self.first_leaf == group.signed_leaves && end <= committed => {
                group.signed_leaves = end;
                cx.signatures.extend_from_slice(&self.signatures);
                if count == 0 { Outcome::Unchanged } else { Outcome::Done }
            }
            _ => Outcome::Unchanged,
        }
    }
}
