//! What endpoints are told that no journal tells: notices of an organisation, numbered without gaps. A notice is written
//! with what makes it true, in one write, so that it is told when and only when that has happened, whichever gateway
//! sends it.
//!
//! Alerts, which nobody asked for, are in a ring of their own: however many reports are made, they push none out.
//!
//! Non-goal: keeping them for ever. An endpoint that is away for longer than the last notices of its organisation reach
//! back misses older ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::kept::{ALERTS, NOTICES};
use crate::directory::documents::kind;
use crate::directory::webhooks::{EndpointState, Notice, Notices, PAGE_NOTICES, PAGES};
use crate::directory::{Table, Tables, Versioned};
use crate::webhooks::catalogue::EventType;

/// Where a notice is kept: of each ring an organisation has the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    /// What somebody has had made.
    Reports,
    /// What somebody must look at.
    Alerts,
}

impl Ring {
    pub(crate) const ALL: [Self; 2] = [Self::Reports, Self::Alerts];

    /// The ring that a source is; none of a group.
    pub(crate) fn of_source(source: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|ring| ring.source() == source)
    }

    pub(crate) fn source(self) -> u64 {
        match self {
            Self::Reports => NOTICES,
            Self::Alerts => ALERTS,
        }
    }

    /// The kind of its documents.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Reports => kind::WEBHOOK_NOTICES,
            Self::Alerts => kind::WEBHOOK_ALERTS,
        }
    }

    pub(crate) fn table(self, tables: &Tables) -> &Table<Notices> {
        match self {
            Self::Reports => &tables.webhook_notices,
            Self::Alerts => &tables.webhook_alerts,
        }
    }
}

/// A notice that is to be.
pub(crate) fn notice(kind: EventType, time_ms: u64, data: Value) -> Notice {
    let kind = kind.as_str().to_owned();
    let (endpoint_id, outlet_id) = (String::new(), String::new());
    Notice { number: 0, kind, time_ms, endpoint_id, outlet_id, data }
}

/// Whether somebody of an organisation is to be told what happens at an outlet; one that is paused is told later.
pub(crate) fn is_wanted(
    tables: &Tables,
    organisation: &str,
    kind: EventType,
    (outlet_id, region): (&str, &str),
) -> bool {
    tables.webhooks.values().any(|known| {
        let endpoint = &known.value;
        endpoint.organisation == organisation
            && matches!(endpoint.state, EndpointState::Active | EndpointState::Paused)
            && endpoint.wants(kind.as_str(), outlet_id, region)
    })
}

/// The documents that tell something new, each with the version that was seen: to be written with what it is about.
pub(crate) fn with_new(
    ring: Ring,
    tables: &Tables,
    organisation: &str,
    new: impl IntoIterator<Item = Notice>,
) -> Vec<(String, u64, Notices)> {
    let table = ring.table(tables);
    let seen = |id: &str| table.get(id).map_or(0, |known| known.version);
    let known = table.get(organisation);
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

/// An organisation's notices from a number on, as far as they are kept. Its documents are written together and heard of
/// one by one, in any order: what is not here is not gone for that.
#[derive(Debug)]
pub(crate) struct Kept {
    pages: Vec<Arc<Versioned<Notices>>>,
    /// What is older is kept no longer.
    oldest: u64,
}

impl Kept {
    pub(crate) fn from(ring: Ring, tables: &Tables, organisation: &str, number: u64) -> Self {
        let table = ring.table(tables);
        let own = table.get(organisation);
        let newest = own.and_then(|own| own.value.last.front().map(|notice| notice.number));
        let oldest = newest.unwrap_or(0).saturating_sub(PAGES * PAGE_NOTICES);
        if own.is_none_or(|own| number >= own.value.next) {
            return Self { pages: Vec::new(), oldest };
        }
        let (first, end) = (format!("{organisation}/"), format!("{organisation}0"));
        let mut pages: Vec<_> = table.range(first..end).map(|(_, page)| Arc::clone(page)).collect();
        pages.extend(own.cloned());
        pages.retain(|page| page.value.last.back().is_some_and(|last| last.number >= number));
        pages.sort_by_key(|page| page.value.next);
        Self { pages, oldest }
    }

    /// In the order of their numbers. One may be in two documents, of which one is heard of later.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Notice> {
        self.pages.iter().flat_map(|page| &page.value.last)
    }

    /// One of them.
    pub(crate) fn get(&self, number: u64) -> Option<&Notice> {
        self.iter().find(|notice| notice.number == number)
    }

    /// Whether a notice that is not here, and that there is, is yet to be heard of.
    pub(crate) fn is_awaited(&self, number: u64) -> bool {
        number >= self.oldest && self.get(number).is_none()
    }

    /// Those from a number on that can be told now, each once; where to go on, and whether there are more, which are
    /// yet to be heard of: nothing behind such a one is told before it.
    pub(crate) fn ready(&self, from: u64) -> (Vec<&Notice>, u64, bool) {
        let (mut ready, mut next) = (Vec::new(), from.max(self.oldest));
        for notice in self.iter() {
            if notice.number > next {
                return (ready, next, true);
            }
            if notice.number == next {
                ready.push(notice);
                next += 1;
            }
        }
        (ready, next, false)
    }
}

#[cfg(test)]
mod tests {
    use fiscus_proto::ledger::Document;

    use super::*;

    fn write(tables: &mut Tables, count: u64) {
        let new = (0..count).map(|at| notice(EventType::OutletOfflineAlert, at, Value::Null));
        for (id, seen, value) in with_new(Ring::Reports, tables, "org", new) {
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
            let kept: Vec<u64> = Kept::from(Ring::Reports, &tables, "org", from)
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
        assert!(
            Kept::from(Ring::Reports, &tables, "or", 0).iter().next().is_none(),
            "another one's"
        );
        assert_eq!(Kept::from(Ring::Reports, &tables, "org", 800).iter().count(), 0);
    }

    #[test]
    fn however_many_reports_are_made_no_alert_is_pushed_out() {
        let mut tables = Tables::default();
        let alert = notice(EventType::OutletOfflineAlert, 7, Value::Null);
        for (id, seen, value) in with_new(Ring::Alerts, &tables, "org", [alert]) {
            let bytes = serde_json::to_vec(&value).expect("JSON").into();
            let kind = Ring::Alerts.kind().to_owned();
            tables.put(&Document { kind, id, version: seen + 1, bytes });
        }
        (0..100).for_each(|_| write(&mut tables, 30));
        let kept = Kept::from(Ring::Alerts, &tables, "org", 0);
        let (ready, next, is_behind) = kept.ready(0);
        assert_eq!((ready[0].time_ms, ready.len(), next, is_behind), (7, 1, 1, false));
        assert_eq!(Kept::from(Ring::Reports, &tables, "org", 0).ready(0).1, 3_000);
        assert_eq!(Ring::ALL.map(|ring| Ring::of_source(ring.source())), Ring::ALL.map(Some));
        assert_eq!(Ring::of_source(3), None);
    }

    #[test]
    fn a_notice_is_wanted_when_an_endpoint_that_is_served_wants_it() {
        let told = |change: Value| {
            let mut endpoint = serde_json::json!({
                "organisation": "org", "endpoint_id": "e", "url": "", "per_second": 1, "secrets": [],
            });
            for (name, value) in change.as_object().expect("an object") {
                endpoint[name] = value.clone();
            }
            let mut tables = Tables::default();
            let bytes = endpoint.to_string().into_bytes().into();
            let (kind, id) = (kind::WEBHOOK.to_owned(), "org/e".to_owned());
            tables.put(&Document { kind, id, version: 1, bytes });
            is_wanted(&tables, "org", EventType::ReportGenerated, ("outlet", "region"))
        };
        assert!(told(serde_json::json!({"events": ["report.generated"], "outlets": ["outlet"]})));
        assert!(told(serde_json::json!({"state": "paused", "regions": ["region"]})));
        for change in [
            serde_json::json!({"events": ["invoice.sealed"]}),
            serde_json::json!({"outlets": ["other"]}),
            serde_json::json!({"regions": ["other"]}),
            serde_json::json!({"state": "disabled"}),
            serde_json::json!({"state": "deleted"}),
            serde_json::json!({"organisation": "other"}),
        ] {
            assert!(!told(change.clone()), "{change}");
        }
    }

    #[test]
    fn what_is_heard_of_one_by_one_is_told_in_order_and_nothing_is_passed_over() {
        let new = |count: u64| {
            (0..count).map(|at| notice(EventType::OutletOfflineAlert, at, Value::Null))
        };
        let documents = |tables: &Tables, count| {
            let written = with_new(Ring::Reports, tables, "org", new(count)).into_iter();
            let document = |(id, seen, value): (String, u64, Notices)| {
                let bytes = serde_json::to_vec(&value).expect("JSON").into();
                let kind = kind::WEBHOOK_NOTICES.to_owned();
                Document { kind, id, version: seen + 1, bytes }
            };
            written.map(document).collect::<Vec<_>>()
        };
        let ready = |tables: &Tables, from| {
            let kept = Kept::from(Ring::Reports, tables, "org", from);
            let (ready, next, is_behind) = kept.ready(from);
            let numbers = ready.iter().map(|notice| notice.number).collect::<Vec<_>>();
            (numbers, next, is_behind)
        };
        for reversed in [false, true] {
            let mut tables = Tables::default();
            write(&mut tables, 30);
            let mut turn = documents(&tables, 5);
            assert_eq!(turn.len(), 2, "the page is full");
            if reversed {
                turn.reverse();
            }
            tables.put(&turn[0]);
            if reversed {
                assert_eq!(ready(&tables, 28), (vec![28, 29, 30, 31], 32, false));
            } else {
                assert_eq!(ready(&tables, 28), (vec![], 28, true), "the page is yet to come");
                assert!(Kept::from(Ring::Reports, &tables, "org", 28).is_awaited(28));
                assert!(!Kept::from(Ring::Reports, &tables, "org", 33).is_awaited(33));
            }
            assert!(
                Kept::from(Ring::Reports, &tables, "org", 40).is_awaited(40),
                "the document is old here"
            );
            tables.put(&turn[1]);
            assert_eq!(ready(&tables, 28), ((28..35).collect(), 35, false));
        }
        let mut tables = Tables::default();
        (0..30).for_each(|_| write(&mut tables, 25));
        assert!(
            !Kept::from(Ring::Reports, &tables, "org", 0).is_awaited(0),
            "it is kept no longer"
        );
        let (numbers, next, is_behind) = ready(&tables, 0);
        assert_eq!((numbers[0], next, is_behind), (736 - 512, 750, false));
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
        let kept = Kept::from(Ring::Reports, &tables, "org", 40);
        let kept: Vec<u64> = kept.iter().map(|notice| notice.number).collect();
        assert_eq!(kept, (36..160).collect::<Vec<_>>());
    }
}
