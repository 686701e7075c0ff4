//! What endpoints are told that no journal tells: notices of an organisation, numbered without gaps. A notice is written
//! with what makes it true, in one write, so that it is told when and only when that has happened, whichever gateway
//! sends it.
//!
//! Non-goal: keeping them for ever. An endpoint that is away for longer than the last notices of its organisation reach
//! back misses older ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::directory::webhooks::{EndpointState, Notice, Notices};
use crate::directory::{Tables, Versioned};
use crate::webhooks::catalogue::EventType;

/// A notice that is to be.
pub(crate) fn notice(kind: EventType, time_ms: u64, data: Value) -> Notice {
    let kind = kind.as_str().to_owned();
    let (endpoint_id, outlet_id) = (String::new(), String::new());
    Notice { number: 0, kind, time_ms, endpoint_id, outlet_id, data }
}

/// Whether an organisation has somebody to tell.
pub(crate) fn is_heard(tables: &Tables, organisation: &str) -> bool {
    tables.webhooks.values().any(|known| {
        known.value.organisation == organisation && known.value.state != EndpointState::Deleted
    })
}

/// The documents that tell something new, each with the version that was seen: to be written with what it is about.
pub(crate) fn with_new(
    tables: &Tables,
    organisation: &str,
    new: impl IntoIterator<Item = Notice>,
) -> Vec<(String, u64, Notices)> {
    let seen = |id: &str| tables.webhook_notices.get(id).map_or(0, |known| known.version);
    let known = tables.webhook_notices.get(organisation);
    let mut notices = known.map(|known| known.value.clone()).unwrap_or_default();
    let mut pages = BTreeMap::new();
    for one in new {
        if let Some((page, before)) = notices.push(one) {
            pages.insert(format!("{organisation}/{page}"), before);
        }
    }
    let own = (organisation.to_owned(), seen(organisation), notices);
    let pages = pages.into_iter().map(|(id, page)| {
        let seen = seen(&id);
        (id, seen, page)
    });
    std::iter::once(own).chain(pages).collect()
}

/// An organisation's notices from a number on, as far as they are kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pages: Vec<Arc<Versioned<Notices>>>,
}

impl Kept {
    pub(crate) fn from(tables: &Tables, organisation: &str, number: u64) -> Self {
        let own = tables.webhook_notices.get(organisation);
        if own.is_none_or(|own| number >= own.value.next) {
            return Self { pages: Vec::new() };
        }
        let (first, end) = (format!("{organisation}/"), format!("{organisation}0"));
        let mut pages: Vec<_> =
            tables.webhook_notices.range(first..end).map(|(_, page)| Arc::clone(page)).collect();
        pages.extend(own.cloned());
        pages.retain(|page| page.value.last.back().is_some_and(|last| last.number >= number));
        pages.sort_by_key(|page| page.value.next);
        Self { pages }
    }

    /// In the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Notice> {
        self.pages.iter().flat_map(|page| &page.value.last)
    }
}

#[cfg(test)]
mod tests {
    use fiscus_proto::ledger::Document;

    use super::*;
    use crate::directory::documents::kind;

    fn write(tables: &mut Tables, count: u64) {
        let new = (0..count).map(|at| notice(EventType::OutletOfflineAlert, at, Value::Null));
        for (id, seen, value) in with_new(tables, "org", new) {
            let bytes = serde_json::to_vec(&value).expect("JSON").into();
            let kind = kind::WEBHOOK_NOTICES.to_owned();
            tables.put(&Document { kind, id, version: seen + 1, bytes });
        }
    }

    #[test]
    fn notices_are_numbered_and_the_last_hundreds_are_kept_in_small_documents() {
        let mut tables = Tables::default();
        for round in 0..700 {
            write(&mut tables, round % 3);
            let next = tables.webhook_notices.get("org").map_or(0, |known| known.value.next);
            let from = next.saturating_sub(400);
            let kept: Vec<u64> = Kept::from(&tables, "org", from)
                .iter()
                .map(|notice| notice.number)
                .filter(|number| *number >= from)
                .collect();
            assert_eq!(kept, (from..next).collect::<Vec<_>>(), "{round}");
        }
        write(&mut tables, 100);
        assert!(tables.webhook_notices.len() <= 17);
        let largest = tables.webhook_notices.values().map(|page| page.value.last.len()).max();
        assert_eq!(largest, Some(32));
        assert!(Kept::from(&tables, "or", 0).iter().next().is_none(), "another one's");
        assert_eq!(Kept::from(&tables, "org", 800).iter().count(), 0);
    }

    #[test]
    fn what_was_kept_in_one_document_goes_on() {
        let mut tables = Tables::default();
        let old = (0..64).map(|at| Notice {
            number: 36 + at,
            ..notice(EventType::EndpointDisabled, at, Value::Null)
        });
        let value = Notices { next: 100, last: old.collect() };
        let bytes = serde_json::to_vec(&value).expect("JSON").into();
        let (kind, id) = (kind::WEBHOOK_NOTICES.to_owned(), "org".to_owned());
        tables.put(&Document { kind, id, version: 9, bytes });
        write(&mut tables, 60);
        let kept = Kept::from(&tables, "org", 40);
        let kept: Vec<u64> = kept.iter().map(|notice| notice.number).collect();
        assert_eq!(kept, (36..160).collect::<Vec<_>>());
    }
}
