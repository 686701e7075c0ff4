//! The latest of something, per outlet, in the directory: a ring of slots, the oldest of which is written over.
//!
//! ```text
//! {kind}_count  {outlet}          its version is how many there have been
//! {kind}        {outlet}/{slot}   the n-th, from 0, is in slot n % SLOTS as version n / SLOTS + 1
//! ```
//!
//! Because versions count writes, one read of the counter says where the next one goes and over what; two that
//! are made at once meet at the counter, and one of them tries again.

use fiscus_proto::ledger::{Consistency, Document, ListDocumentsRequest};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::pin::pin;

use super::caller::Caller;
use super::outlet::Outlet;
use crate::http::Problem;

/// So many are kept for an outlet.
const SLOTS: u64 = 100;
/// Copies of this request that others get ahead of are made again so often.
pub(super) const ATTEMPTS_MAX: usize = 8;

/// The id of a slot's document.
pub(super) fn slot_id(outlet_id: &str, number: u64) -> String {
    format!("{outlet_id}/{:02}", number % SLOTS)
}

/// The version that the n-th one is written over.
pub(super) fn version_before(number: u64) -> u64 {
    number / SLOTS
}

/// The number of what a document holds, by its slot and version; none when it is no slot of the outlet.
fn number_of(document: &Document, outlet_id: &str) -> Option<u64> {
    let slot = document.id.strip_prefix(outlet_id)?.strip_prefix('/')?;
    let slot: u64 = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
    Some(document.version.checked_sub(1)? * SLOTS + slot)
}

impl Caller {
    /// How many there have been.
    pub(super) async fn ring_count(&self, kind: &str, outlet: &Outlet) -> Result<u64, Problem> {
        let counter = self.document(&format!("{kind}_count"), outlet.id()).await?;
        Ok(counter.map_or(0, |document| document.version))
    }

    /// The n-th one; none when there never was one, or when it was written over.
    pub(super) async fn ring_get<T: DeserializeOwned>(
        &self,
        kind: &str,
        outlet: &Outlet,
        number: u64,
    ) -> Result<Option<T>, Problem> {
        let document = self.document(kind, &slot_id(outlet.id(), number)).await?;
        let document = document.filter(|found| number_of(found, outlet.id()) == Some(number));
        document.map(|document| read(&document)).transpose()
    }

    /// All that are kept, with their numbers, the latest first.
    pub(super) async fn ring_list<T: DeserializeOwned>(
        &self,
        kind: &str,
        outlet: &Outlet,
        consistency: Consistency,
    ) -> Result<Vec<(u64, T)>, Problem> {
        let request = ListDocumentsRequest {
            kind: kind.to_owned(),
            after: String::new(),
            consistency: consistency.into(),
            prefix: format!("{}/", outlet.id()),
            limit: u32::try_from(SLOTS).expect("it is small"),
            descending: false,
        };
        let wait = self.context().time_left();
        let mut documents = pin!(self.app().cluster().list_documents(request, wait));
        let mut all = Vec::new();
        while let Some(document) = documents.next().await {
            let document = document?;
            if let Some(number) = number_of(&document, outlet.id()) {
                all.push((number, read(&document)?));
            }
        }
        all.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Ok(all)
    }
}

fn read<T: DeserializeOwned>(document: &Document) -> Result<T, Problem> {
    serde_json::from_slice(&document.bytes)
        .map_err(|error| Problem::internal(&format!("{} {}: {error}", document.kind, document.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_versions_tell_the_number() {
        for number in [0, 1, 99, 100, 101, 250] {
            let document = Document {
                kind: "report".to_owned(),
                id: slot_id("outlet-1", number),
                version: version_before(number) + 1,
                bytes: bytes::Bytes::new(),
            };
            assert_eq!(number_of(&document, "outlet-1"), Some(number));
            assert_eq!(number_of(&document, "outlet"), None);
        }
    }
}
