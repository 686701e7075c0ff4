//! Incidents of nodes: what they have found to be wrong with what they hold. Each is told once to every organisation whose
//! outlets are in its group; one of the directory's group is everybody's.
//!
//! Non-goal: the findings themselves, which may name other tenants' records; operators have them in
//! `incidents.ndjson`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::Incident;
use serde_json::json;

use super::Alerts;
use crate::delivery::notices::notice;
use crate::directory::Tables;
use crate::directory::webhooks::{EndpointState, Notice};
use crate::webhooks::catalogue::EventType;

/// The group that concerns everybody.
const DIRECTORY: u64 = 0;
const LOOK_PAUSE: Duration = Duration::from_secs(5);
const ASK_WAIT: Duration = Duration::from_secs(3);
/// So many of a node are in memory.
const KEPT_MAX: usize = 64;
/// An organisation is told so many at once.
const NEW_MAX: usize = 32;

/// The last incidents of each node, as far as they are known here.
#[derive(Debug, Default)]
pub(crate) struct Incidents {
    known: Mutex<BTreeMap<u64, VecDeque<Incident>>>,
    /// How often something has come.
    came: AtomicU64,
}

impl Incidents {
    /// Asks the nodes again and again.
    pub(crate) async fn follow(&self, cluster: &ClusterClient) {
        let mut from = BTreeMap::new();
        loop {
            for told in cluster.incidents(&from, ASK_WAIT).await {
                from.insert(told.node, told.next_number);
                self.take(told.node, told.incidents);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    fn take(&self, node: u64, incidents: Vec<Incident>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.came.fetch_add(u64::from(!incidents.is_empty()), Ordering::Relaxed);
        let known = known.entry(node).or_default();
        known.extend(incidents);
        while known.len() > KEPT_MAX {
            known.pop_front();
        }
    }

    /// Changes when something has come.
    pub(crate) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// What an organisation is to be told now; what was told is noted in its alerts.
    pub(crate) fn tell(&self, alerts: &mut Alerts, heard: &Heard) -> Vec<Notice> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        for (node, incidents) in known.iter() {
            for incident in incidents {
                let told = alerts.incidents.get(node).copied().unwrap_or(0);
                let concerns =
                    incident.group == DIRECTORY || heard.groups.contains(&incident.group);
                if incident.number < told || incident.time_ms < heard.since_ms || !concerns {
                    continue;
                }
                if new.len() >= NEW_MAX {
                    return new;
                }
                alerts.incidents.insert(*node, incident.number + 1);
                new.push(told_of(*node, incident));
            }
        }
        new
    }
}

/// Whose outlets are where, and since when there is somebody to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    groups: BTreeSet<u64>,
    since_ms: u64,
}

/// By organisation, of those that are looked at.
pub(crate) fn heard(tables: &Tables, organisations: &BTreeSet<String>) -> BTreeMap<String, Heard> {
    let mut found: BTreeMap<String, Heard> = BTreeMap::new();
    for known in tables.webhooks.values() {
        let endpoint = &known.value;
        if endpoint.state == EndpointState::Deleted
            || !organisations.contains(&endpoint.organisation)
        {
            continue;
        }
        let heard = found
            .entry(endpoint.organisation.clone())
            .or_insert_with(|| Heard { groups: BTreeSet::new(), since_ms: u64::MAX });
        heard.since_ms = heard.since_ms.min(endpoint.created_ms);
    }
    for (outlet_id, fact) in &tables.outlets {
        let Some(outlet) = tables.outlet(outlet_id) else { continue };
        if let Some(heard) = found.get_mut(&outlet.merchant.value.organisation) {
            heard.groups.insert(fact.value.group);
        }
    }
    found
}

fn told_of(node: u64, incident: &Incident) -> Notice {
    let at = UnixMs::new(incident.time_ms).to_string();
    let data = json!({
        "alert": incident.code, "node": node, "incident": incident.number, "at": at,
        "findings": incident.findings, "repaired": incident.repaired, "is_open": incident.is_open,
        "outlet_id": null, "branch": null, "region": null, "environment": null, "group": incident.group,
        "tree_index": null, "position": null, "record_kind": null, "fiscal_authority_id": null,
        "record_hash": null, "previous_hash": null, "last_known": null, "last_issued": null, "skipped": null,
    });
    notice(EventType::IntegrityAlert, incident.time_ms, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(number: u64, group: u64) -> Incident {
        let code = "replica_damaged".to_owned();
        let time_ms = 100 + number;
        Incident { number, time_ms, group, code, findings: 2, repaired: 2, is_open: false }
    }

    fn heard(groups: &[u64], since_ms: u64) -> Heard {
        Heard { groups: groups.iter().copied().collect(), since_ms }
    }

    #[test]
    fn an_incident_is_told_once_to_everybody_whom_it_concerns() {
        let incidents = Incidents::default();
        incidents.take(1, vec![incident(0, 1), incident(1, 2), incident(2, 0)]);
        incidents.take(3, vec![incident(7, 1)]);
        let told = |alerts: &mut Alerts, heard: &Heard| -> Vec<(u64, u64)> {
            let new = incidents.tell(alerts, heard);
            let number = |told: &Notice, name: &str| told.data[name].as_u64().expect("a number");
            new.iter().map(|told| (number(told, "node"), number(told, "incident"))).collect()
        };
        let mut alerts = Alerts::default();
        let (one, both) = (heard(&[1], 0), heard(&[1, 2], 0));
        assert_eq!(told(&mut alerts, &one), [(1, 0), (1, 2), (3, 7)]);
        assert_eq!(told(&mut alerts, &one), []);
        assert_eq!(told(&mut Alerts::default(), &both).len(), 4);
        assert_eq!(told(&mut Alerts::default(), &heard(&[], 0)), [(1, 2)], "the directory's");
        assert_eq!(told(&mut Alerts::default(), &heard(&[1, 2], 102)), [(1, 2), (3, 7)]);
        incidents.take(1, vec![incident(3, 1)]);
        assert_eq!(told(&mut alerts, &one), [(1, 3)]);
        assert_eq!(alerts.incidents, BTreeMap::from([(1, 4), (3, 8)]));
    }

    #[test]
    fn many_are_told_little_by_little_and_what_is_in_memory_is_bounded() {
        let incidents = Incidents::default();
        incidents.take(1, (0..100).map(|number| incident(number, 1)).collect());
        let (mut alerts, heard) = (Alerts::default(), heard(&[1], 0));
        let rounds = [0; 3].map(|_| incidents.tell(&mut alerts, &heard).len());
        assert_eq!(rounds, [NEW_MAX, KEPT_MAX - NEW_MAX, 0]);
    }

    #[test]
    fn what_is_told_is_as_the_catalogue_says() {
        let told = told_of(2, &incident(0, 1)).data;
        let known = EventType::IntegrityAlert.examples();
        let example = known.iter().find(|example| example["node"].is_u64()).expect("there is one");
        let names = |data: &serde_json::Value| -> BTreeSet<String> {
            data.as_object()
                .expect("an object")
                .keys()
                .filter(|name| *name != "sequence")
                .cloned()
                .collect()
        };
        assert_eq!(names(&told), names(example));
    }
}
