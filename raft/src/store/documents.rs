//! Lists of directory documents.
//!
//! Stored keys begin with the length of what they name, so ids stand in the order of their lengths, and
//! those of one length in the order of their bytes. Ids with a common beginning stand together only
//! within one length: they are found length by length.

use fiscus_ledger::commands::DOCUMENT_ID_BYTES_MAX;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::registry::Document;
use fiscus_ledger::state::table::Row;

use crate::index::{Row as Pair, key_after};
use crate::store::read::Reading;
use crate::store::replica::StoreError;

/// A page ends behind so many bytes of documents.
const PAGE_BYTES: usize = 4 << 20;
/// Bytes of the length before an id.
const LENGTH_BYTES: usize = 4;

/// Which documents, and in which order.
#[derive(Debug, Clone, Copy)]
pub struct DocumentQuery<'a> {
    /// Their kind.
    pub kind: &'a str,
    /// How their ids begin.
    pub prefix: &'a str,
    /// Only those behind this one, in the order of the list.
    pub after: Option<&'a str>,
    /// From the last to the first.
    pub descending: bool,
}

impl DocumentQuery<'_> {
    /// What the stored keys of a kind begin with.
    fn kind_key(&self) -> Vec<u8> {
        let mut key = Document::stored_key(&(Id::from(self.kind), Id::from("")));
        key.truncate(key.len() - LENGTH_BYTES);
        key
    }

    /// The keys of ids of one length: the first, and the first behind them.
    fn keys(&self, length: usize) -> (Vec<u8>, Vec<u8>) {
        let mut from = self.kind_key();
        from.extend_from_slice(&u32::try_from(length).expect("ids are short").to_le_bytes());
        from.extend_from_slice(self.prefix.as_bytes());
        let mut to = from.clone();
        // A key begins with its table, so there is always a byte that can grow.
        while to.last() == Some(&u8::MAX) {
            to.pop();
        }
        *to.last_mut().expect("a table is never the last one") += 1;
        if let Some(after) = self.after.filter(|after| after.len() == length) {
            let key = Document::stored_key(&(Id::from(self.kind), Id::from(after)));
            if self.descending {
                to = to.min(key);
            } else {
                from = from.max(key_after(&key));
            }
        }
        (from, to)
    }

    /// The lengths of ids that may follow, in the order of the list.
    fn lengths(&self) -> Vec<usize> {
        let all = self.prefix.len()..=DOCUMENT_ID_BYTES_MAX;
        let after = self.after.map(str::len);
        if self.descending {
            all.rev().filter(|length| after.is_none_or(|after| *length <= after)).collect()
        } else {
            all.filter(|length| after.is_none_or(|after| *length >= after)).collect()
        }
    }
}

impl Reading {
    /// At most `limit` documents; an empty answer is the end, a short one is not.
    pub fn find_documents(
        &self,
        query: DocumentQuery<'_>,
        limit: usize,
    ) -> Result<Vec<(Id, Document)>, StoreError> {
        if query.prefix.is_empty() && !query.descending {
            return self.documents(query.kind, query.after, limit);
        }
        let id_at = query.kind_key().len() + LENGTH_BYTES;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for length in query.lengths() {
            let (mut from, mut to) = query.keys(length);
            while found.len() < limit && bytes < PAGE_BYTES && from < to {
                let left = limit - found.len();
                let rows = if query.descending {
                    self.range_back(&from, &to, left)?
                } else {
                    self.range(&from, Some(&to), left)?
                };
                let Some((last, _)) = rows.last() else { break };
                if query.descending {
                    to.clone_from(last);
                } else {
                    from = key_after(last);
                }
                for (key, row) in rows {
                    bytes += row.len();
                    found.push(self.listed(id_at, &key, &row)?);
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn range_back(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.noting(self.view().range_back(from, Some(to), limit).map_err(StoreError::from))
    }

    fn listed(&self, id_at: usize, key: &[u8], row: &[u8]) -> Result<(Id, Document), StoreError> {
        let id = key.get(id_at..).and_then(|id| std::str::from_utf8(id).ok());
        let id = id.ok_or_else(|| self.unreadable("document key", "it is not text"))?;
        let document = Document::from_stored(row)
            .map_err(|error| self.unreadable(Document::NAME, &error.to_string()))?;
        Ok((Id::from(id), document))
    }

    /// Documents of a kind with ids after `after`, at most `limit`, by the order of their stored keys.
    pub fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(Id, Document)>, StoreError> {
        let prefix = DocumentQuery { kind, prefix: "", after, descending: false }.kind_key();
        let from = match after {
            Some(id) => key_after(&Document::stored_key(&(Id::from(kind), Id::from(id)))),
            None => prefix.clone(),
        };
        let mut found = Vec::new();
        for (key, row) in self.range(&from, None, limit)? {
            if !key.starts_with(&prefix) {
                break;
            }
            found.push(self.listed(prefix.len() + LENGTH_BYTES, &key, &row)?);
        }
        Ok(found)
    }
}
