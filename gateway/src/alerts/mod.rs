//! Alerts: what nobody did and somebody must look at. An outlet that is not heard of, a device that needs a person.
//!
//! ```text
//! directory (devices, uploads) ─► conditions ─► watch (have they lasted?) ─► notices, and what is open
//! nodes ─► incidents ───────────────────────────────────────────────────────► notices, and how far
//! ```
//!
//! What an organisation's open alerts are is one document. An alert is told by the write that opens it, from the
//! version that was seen: whichever gateways look, it is told once, and one that dies before it has written leaves it
//! to the next that looks.
//!
//! Invariant: nothing is inferred from a directory that is not fresh, nor from a moment, neither that something begins nor
//! that it is over: after an outage of the cluster everybody has been silent for a while.

mod conditions;
pub(crate) mod incidents;

use std::collections::{BTreeMap, BTreeSet};

use fiscus_ledger::time::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::directory::webhooks::Notice;

pub(crate) use conditions::{all, heard};

/// An organisation has so many alerts open at most; what else there is, is told when some of them are over.
const OPEN_MAX: usize = 2_000;
/// So many are told with one write.
const NEW_MAX: usize = 32;

/// What is open of an organisation, and since when. A field is only ever added, with a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alerts {
    /// By what it is about: `outlet/{outlet}`, `device/{device}/{code}` or `upload/{outlet}`.
    #[serde(default)]
    pub(crate) open: BTreeMap<String, u64>,
    /// By node, the first of its incidents that was not told.
    #[serde(default)]
    pub(crate) incidents: BTreeMap<u64, u64>,
}

/// What holds now of an organisation, with what would be told of it; nothing where something else tells it.
pub(crate) type Conditions = BTreeMap<String, Option<Notice>>;

/// When somebody looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// By a clock that nobody sets.
    pub(crate) now_ms: u64,
    /// The same by the directory's clock.
    pub(crate) time_ms: u64,
    /// What has lasted so long is told, and what has been away so long is over.
    pub(crate) after_ms: u64,
}

/// Since when conditions hold, and since when what is open does not, as far as this gateway has seen.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    since_ms: BTreeMap<(String, String), u64>,
    absent_ms: BTreeMap<(String, String), u64>,
}

impl Watch {
    /// The directory is not fresh: what was seen before says nothing any more.
    pub(crate) fn forget(&mut self) {
        self.since_ms.clear();
        self.absent_ms.clear();
    }

    /// Others are looked at by somebody else: what was seen of them says nothing any more.
    pub(crate) fn forget_others(&mut self, organisations: &BTreeSet<String>) {
        self.since_ms.retain(|(of, _), _| organisations.contains(of));
        self.absent_ms.retain(|(of, _), _| organisations.contains(of));
    }

    /// What is to be written of an organisation now: what is open from now on, and what is to be told.
    pub(crate) fn look(
        &mut self,
        organisation: &str,
        holds: &Conditions,
        known: &Alerts,
        moment: Moment,
    ) -> Option<(Alerts, Vec<Notice>)> {
        let Moment { now_ms, time_ms, after_ms } = moment;
        let is_told = |key: &str| holds.get(key).is_some_and(Option::is_some);
        self.since_ms.retain(|(of, key), _| of != organisation || is_told(key));
        let is_away = |key: &str| known.open.contains_key(key) && !holds.contains_key(key);
        self.absent_ms.retain(|(of, key), _| of != organisation || is_away(key));
        let mut alerts = known.clone();
        alerts.open.retain(|key, _| {
            if holds.contains_key(key) {
                return true;
            }
            let seen = (organisation.to_owned(), key.clone());
            let absent_ms = *self.absent_ms.entry(seen).or_insert(now_ms);
            now_ms.saturating_sub(absent_ms) < after_ms
        });
        let mut new = Vec::new();
        for (key, notice) in holds {
            let Some(notice) = notice else { continue };
            let seen = (organisation.to_owned(), key.clone());
            let since_ms = *self.since_ms.entry(seen).or_insert(now_ms);
            let has_room = new.len() < NEW_MAX && alerts.open.len() < OPEN_MAX;
            let lasted_ms = now_ms.saturating_sub(since_ms);
            if lasted_ms >= after_ms && has_room && !alerts.open.contains_key(key) {
                alerts.open.insert(key.clone(), time_ms);
                let mut notice = notice.clone();
                if notice.data["since"].is_null() {
                    let since = UnixMs::new(time_ms.saturating_sub(lasted_ms));
                    notice.data["since"] = json!(since.to_string());
                }
                new.push(notice);
            }
        }
        (alerts != *known).then_some((alerts, new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::notices::notice;
    use crate::webhooks::catalogue::EventType;

    fn holds(keys: &[&str]) -> Conditions {
        let of = |key: &&str| {
            let told = notice(EventType::OutletOfflineAlert, 0, json!({"key": key}));
            ((*key).to_owned(), Some(told))
        };
        keys.iter().map(of).collect()
    }

    fn at(now_ms: u64, after_ms: u64) -> Moment {
        Moment { now_ms, time_ms: 1_000_000 + now_ms, after_ms }
    }

    #[test]
    fn what_lasts_is_told_once_and_again_when_it_comes_back() {
        let (mut watch, mut known) = (Watch::default(), Alerts::default());
        let mut look = |known: &Alerts, keys: &[&str], now_ms| {
            watch.look("org", &holds(keys), known, at(now_ms, 100))
        };
        assert_eq!(look(&known, &["a"], 0), None);
        assert_eq!(look(&known, &[], 50), None, "a moment is nothing");
        assert_eq!(look(&known, &["a"], 60), None);
        assert_eq!(look(&known, &["a"], 159), None);
        let (next, told) = look(&known, &["a", "b"], 160).expect("it lasts");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].data, json!({"key": "a", "since": UnixMs::new(1_000_060).to_string()}));
        // Another gateway was quicker, or the write was lost: it is told from what is there.
        assert!(look(&known, &["a", "b"], 161).is_some());
        known = next;
        assert_eq!(look(&known, &["a", "b"], 162), None);
        assert_eq!(look(&known, &["b"], 163), None, "that it is over may be a moment, too");
        assert_eq!(look(&known, &["a", "b"], 164), None);
        assert_eq!(look(&known, &[], 165), None);
        let (next, told) = look(&known, &[], 265).expect("it is over");
        assert!(told.is_empty() && next.open.is_empty());
        assert_eq!(look(&next, &["a", "b"], 270).map(|(_, told)| told.len()), None);
        let again = look(&next, &["a", "b"], 370).expect("both last").1;
        assert_eq!(again.len(), 2);
    }

    #[test]
    fn what_something_else_tells_is_neither_over_nor_told() {
        let mut watch = Watch::default();
        let known = Alerts { open: BTreeMap::from([("a".to_owned(), 7)]), ..Alerts::default() };
        let others = Conditions::from([("a".to_owned(), None), ("b".to_owned(), None)]);
        assert_eq!(watch.look("org", &others, &known, at(0, 10)), None);
        assert_eq!(watch.look("org", &others, &known, at(100, 10)), None);
        assert_eq!(watch.look("org", &holds(&["a", "b"]), &known, at(101, 10)), None);
        let (_, told) =
            watch.look("org", &holds(&["a", "b"]), &known, at(111, 10)).expect("b lasts");
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn what_was_seen_before_somebody_else_looked_says_nothing() {
        let (mut watch, known) = (Watch::default(), Alerts::default());
        assert_eq!(watch.look("org", &holds(&["a"]), &known, at(0, 10)), None);
        watch.forget_others(&BTreeSet::from(["other".to_owned()]));
        assert_eq!(watch.look("org", &holds(&["a"]), &known, at(100, 10)), None);
        watch.forget_others(&BTreeSet::from(["org".to_owned()]));
        assert!(watch.look("org", &holds(&["a"]), &known, at(110, 10)).is_some());
    }

    #[test]
    fn many_at_once_are_told_little_by_little_and_what_is_kept_is_bounded() {
        let (mut watch, mut known, mut told) = (Watch::default(), Alerts::default(), 0);
        let keys: Vec<String> = (0..OPEN_MAX + 500)
            .map(|at| format!("device/{at:064}/CERTIFICATE_EXPIRES_SOON"))
            .collect();
        let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
        let holds = holds(&keys);
        for round in 0..200 {
            let Some((next, new)) = watch.look("org", &holds, &known, at(round, 0)) else { break };
            assert!(new.len() <= NEW_MAX);
            told += new.len();
            known = next;
        }
        assert_eq!((told, known.open.len()), (OPEN_MAX, OPEN_MAX));
        assert!(serde_json::to_vec(&known).expect("JSON").len() < 240 * 1024);
        // Another organisation's are its own.
        assert!(watch.look("other", &Conditions::new(), &Alerts::default(), at(1, 0)).is_none());
        watch.forget();
        assert_eq!(watch.look("org", &holds, &Alerts::default(), at(999, 1)), None);
    }
}
