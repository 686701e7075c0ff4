//! Alerts: what nobody did and somebody must look at. An outlet that is not heard of, a device that needs a person.
//!
//! ```text
//! directory (devices, what their proxies told) ─► conditions ─► watch (have they lasted?) ─► notices, and what is open
//! ```
//!
//! What an organisation's open alerts are is one document. An alert is told by the write that opens it, from the
//! version that was seen: whichever gateways look, it is told once, and one that dies before it has written leaves it
//! to the next that looks.
//!
//! Invariant: nothing is inferred from a directory that is not fresh, nor from a moment: after an outage of the cluster
//! everybody has been silent for a while.

mod conditions;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::directory::webhooks::Notice;

pub(crate) use conditions::all;

/// An organisation has so many alerts open at most; what else there is, is told when some of them are over.
const OPEN_MAX: usize = 2_000;
/// So many are told with one write.
const NEW_MAX: usize = 32;

/// What is open of an organisation, and since when. A field is only ever added, with a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alerts {
    /// By what it is about: `outlet/{outlet}` or `device/{device}`.
    #[serde(default)]
    pub(crate) open: BTreeMap<String, u64>,
}

/// What holds now of an organisation, with what would be told of it.
pub(crate) type Conditions = BTreeMap<String, Notice>;

/// Since when conditions hold, as far as this gateway has seen.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    since_ms: BTreeMap<(String, String), u64>,
}

impl Watch {
    /// The directory is not fresh: what was seen before says nothing any more.
    pub(crate) fn forget(&mut self) {
        self.since_ms.clear();
    }

    /// What is to be written of an organisation now: what is open from now on, and what is to be told.
    pub(crate) fn look(
        &mut self,
        organisation: &str,
        holds: &Conditions,
        known: &Alerts,
        (now_ms, after_ms): (u64, u64),
    ) -> Option<(Alerts, Vec<Notice>)> {
        self.since_ms.retain(|(of, key), _| of != organisation || holds.contains_key(key));
        let mut alerts = known.clone();
        alerts.open.retain(|key, _| holds.contains_key(key));
        let mut new = Vec::new();
        for (key, notice) in holds {
            let seen = (organisation.to_owned(), key.clone());
            let since_ms = *self.since_ms.entry(seen).or_insert(now_ms);
            let has_room = new.len() < NEW_MAX && alerts.open.len() < OPEN_MAX;
            let lasts = now_ms.saturating_sub(since_ms) >= after_ms;
            if lasts && has_room && !alerts.open.contains_key(key) {
                alerts.open.insert(key.clone(), now_ms);
                new.push(notice.clone());
            }
        }
        (alerts != *known).then_some((alerts, new))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::delivery::notices::notice;
    use crate::webhooks::catalogue::EventType;

    fn holds(keys: &[&str]) -> Conditions {
        let of = |key: &&str| {
            ((*key).to_owned(), notice(EventType::OutletOfflineAlert, 0, Value::from(*key)))
        };
        keys.iter().map(of).collect()
    }

    #[test]
    fn what_lasts_is_told_once_and_again_when_it_comes_back() {
        let (mut watch, mut known) = (Watch::default(), Alerts::default());
        let mut look = |known: &Alerts, keys: &[&str], now_ms| {
            watch.look("org", &holds(keys), known, (now_ms, 100))
        };
        assert_eq!(look(&known, &["a"], 0), None);
        assert_eq!(look(&known, &[], 50), None, "a moment is nothing");
        assert_eq!(look(&known, &["a"], 60), None);
        assert_eq!(look(&known, &["a"], 159), None);
        let (next, told) = look(&known, &["a", "b"], 160).expect("it lasts");
        assert_eq!((told.len(), &told[0].data), (1, &Value::from("a")));
        // Another gateway was quicker, or the write was lost: it is told from what is there.
        assert!(look(&known, &["a", "b"], 161).is_some());
        known = next;
        assert_eq!(look(&known, &["a", "b"], 162), None);
        let (next, told) = look(&known, &["b"], 200).expect("it is over");
        assert!(told.is_empty() && next.open.is_empty());
        assert_eq!(look(&next, &["a", "b"], 210).map(|(_, told)| told.len()), None);
        let again = look(&next, &["a", "b"], 310).expect("both last").1;
        assert_eq!(again.len(), 2);
    }

    #[test]
    fn many_at_once_are_told_little_by_little_and_what_is_kept_is_bounded() {
        let (mut watch, mut known, mut told) = (Watch::default(), Alerts::default(), 0);
        let keys: Vec<String> = (0..OPEN_MAX + 500).map(|at| format!("outlet/{at:064}")).collect();
        let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
        let holds = holds(&keys);
        for round in 0..200 {
            let Some((next, new)) = watch.look("org", &holds, &known, (round, 0)) else { break };
            assert!(new.len() <= NEW_MAX);
            told += new.len();
            known = next;
        }
        assert_eq!((told, known.open.len()), (OPEN_MAX, OPEN_MAX));
        assert!(serde_json::to_vec(&known).expect("JSON").len() < 240 * 1024);
        // Another organisation's are its own.
        assert!(watch.look("other", &Conditions::new(), &Alerts::default(), (1, 0)).is_none());
        watch.forget();
        assert_eq!(watch.look("org", &holds, &Alerts::default(), (999, 1)), None);
    }
}
