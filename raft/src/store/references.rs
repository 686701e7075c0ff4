//! Rows that lead from what records are about to the records: an invoice's credit notes and payments, an
//! outlet's devices and blocks.
//!
//! Like the rows of positions they come from the records alone, are written with the entry that made the
//! records, travel with snapshots and backups, and are compared with the journal when a backup is checked.

use fiscus_ledger::record::Record;
use fiscus_ledger::reference::{Reference, Subject};

use crate::store::read::Reading;
use crate::store::replica::StoreError;

/// First byte of these rows.
pub(crate) const REFERENCE_TABLE: u8 = 0xC1;

/// What the keys of all records about one thing begin with.
fn subject_key(outlet_id: &str, subject: Subject, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(outlet_id.len() + name.len() + 14);
    key.push(REFERENCE_TABLE);
    push_text(&mut key, outlet_id);
    key.push(subject.code());
    push_text(&mut key, name);
    key
}

fn push_text(key: &mut Vec<u8>, text: &str) {
    let bytes = u16::try_from(text.len()).expect("identifiers are short");
    key.extend_from_slice(&bytes.to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// The key of a record's row, if it has one. The row is its leaf.
pub(crate) fn reference_key(record: &Record<'_>) -> Option<Vec<u8>> {
    let about = Reference::of(record)?;
    let mut key = subject_key(record.outlet_id, about.subject, &about.name);
    key.extend_from_slice(&record.position.to_be_bytes());
    Some(key)
}

impl Reading {
    /// The leaves of an outlet's records about one thing, at most `limit`, in the order of their positions.
    pub fn leaves_about(
        &self,
        outlet_id: &str,
        subject: Subject,
        name: &str,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let from = subject_key(outlet_id, subject, name);
        let rows = self.range(&from, Some(&end_of(&from)), limit)?;
        rows.iter().map(|(_, row)| self.leaf_in(row)).collect()
    }

    /// The last of them, last first.
    pub fn last_leaves_about(
        &self,
        outlet_id: &str,
        subject: Subject,
        name: &str,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let from = subject_key(outlet_id, subject, name);
        let rows = self.range_back(&from, &end_of(&from), limit)?;
        rows.iter().map(|(_, row)| self.leaf_in(row)).collect()
    }

    /// The names of the things of one sort that an outlet's records are about, at most `limit`.
    pub fn names_of(
        &self,
        outlet_id: &str,
        subject: Subject,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut prefix = vec![REFERENCE_TABLE];
        push_text(&mut prefix, outlet_id);
        prefix.push(subject.code());
        let end = {
            let mut end = prefix.clone();
            // Codes are small.
            *end.last_mut().expect("it was pushed just now") += 1;
            end
        };
        let (mut from, mut names) = (prefix.clone(), Vec::new());
        while names.len() < limit {
            // One row for each name: the next one begins behind all of this one's.
            let Some((key, _)) = self.range(&from, Some(&end), 1)?.into_iter().next() else {
                break;
            };
            let named = key.get(prefix.len() + 2..key.len().saturating_sub(8));
            let name = named.and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or_else(|| self.unreadable("reference key", "it is not text"))?;
            names.push(name.to_owned());
            from = end_of(&subject_key(outlet_id, subject, name));
        }
        Ok(names)
    }
}

/// Behind every position.
fn end_of(subject: &[u8]) -> Vec<u8> {
    let mut end = subject.to_vec();
    end.extend_from_slice(&[u8::MAX; 9]);
    end
}
