//! Writes a directory document of a kind without rules of its own: organisations, users, settings.

use super::change_outlet::version_conflict;
use super::{Context, field_invalid};
use crate::apply::ApplyError;
use crate::facts::{Fact, FactKind, is_identifier};
use crate::outcome::{Outcome, RefusalCode};
use crate::state::Id;
use crate::state::registry::Document;
use crate::state::working::Reads;

/// A document is at most this long.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Its id, at most.
pub const DOCUMENT_ID_BYTES_MAX: usize = 160;

/// Creates (`expected_version` 0) or replaces a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutDocument {
    /// The kind.
    pub kind: Id,
    /// The id.
    pub id: Id,
    /// The version that it replaces.
    pub expected_version: u64,
    /// The document.
    pub bytes: Vec<u8>,
}

impl PutDocument {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(self.key());
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if let Some(refused) = self.refused(cx)? {
            return Ok(refused);
        }
        self.write(cx);
        Ok(Outcome::Done)
    }

    /// Why it may not be written; nothing has changed.
    pub(super) fn refused(&self, cx: &Context<'_>) -> Result<Option<Outcome>, ApplyError> {
        if !is_identifier(&self.kind) {
            return Ok(Some(field_invalid("kind", "must have 1 to 64 printable bytes")));
        }
        if self.id.is_empty() || self.id.len() > DOCUMENT_ID_BYTES_MAX {
            return Ok(Some(field_invalid("id", "must have 1 to 160 bytes")));
        }
        if self.bytes.len() > DOCUMENT_BYTES_MAX {
            return Ok(Some(field_invalid("bytes", "must not be longer than 256 KiB")));
        }
        match FactKind::parse(&self.kind) {
            Some(FactKind::Terminal) => match Fact::decode(FactKind::Terminal, &self.bytes) {
                Ok(fact) if fact.id() == self.id => {}
                _ => {
                    let detail = format!("terminal {} cannot be read, or names another", self.id);
                    return Ok(Some(Outcome::refused(RefusalCode::DocumentInvalid, detail)));
                }
            },
            Some(kind) => {
                let detail =
                    format!("documents of kind {} have commands of their own", kind.as_str());
                return Ok(Some(Outcome::refused(RefusalCode::DocumentKindReserved, detail)));
            }
            None => {}
        }
        let version = cx.state.documents.get(&self.key())?.map_or(0, |document| document.version);
        let conflict = version != self.expected_version;
        Ok(conflict.then(|| version_conflict(&self.kind, &self.id, version)))
    }

    /// Writes what was not refused.
    pub(super) fn write(&self, cx: &mut Context<'_>) {
        let document = Document { version: self.expected_version + 1, bytes: self.bytes.clone() };
        cx.state.documents.put(self.key(), document);
    }

    fn key(&self) -> (Id, Id) {
        (self.kind.clone(), self.id.clone())
    }
}
