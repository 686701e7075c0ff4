//! Writes several directory documents at once, all or none: a change and the line that tells who made
//! it, or a registration under an idempotency key.

use super::put_document::PutDocument;
use super::{Context, field_invalid};
use crate::apply::ApplyError;
use crate::outcome::Outcome;
use crate::state::working::Reads;

/// So many documents at once.
pub const PUTS_MAX: usize = 16;
/// And so many bytes of them in all.
pub const PUTS_BYTES_MAX: usize = 512 * 1024;

/// Creates or replaces documents, each under the rules of [`PutDocument`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutDocuments {
    /// Each document once.
    pub puts: Vec<PutDocument>,
}

impl PutDocuments {
    pub(super) fn read(&self, reads: &mut Reads) {
        // More than may be written are refused unread.
        for put in self.puts.iter().take(PUTS_MAX) {
            put.read(reads);
        }
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if self.puts.is_empty() || self.puts.len() > PUTS_MAX {
            return Ok(field_invalid("puts", "must be 1 to 16 documents"));
        }
        if self.puts.iter().map(|put| put.bytes.len()).sum::<usize>() > PUTS_BYTES_MAX {
            return Ok(field_invalid("puts", "must not be longer than 512 KiB in all"));
        }
        for (at, put) in self.puts.iter().enumerate() {
            if self.puts[..at].iter().any(|other| (&other.kind, &other.id) == (&put.kind, &put.id))
            {
                return Ok(field_invalid("puts", "must name each document once"));
            }
        }
        for put in &self.puts {
            if let Some(refused) = put.refused(cx)? {
                return Ok(refused);
            }
        }
        for put in &self.puts {
            put.write(cx);
        }
        Ok(Outcome::Done)
    }
}
