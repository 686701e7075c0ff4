//! Events to destinations: the newest to whoever is up to date, older ones page by page to whoever is behind, and once
//! more what somebody asks for.

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, Happened, Served, in_turn, wall_ms};
use crate::delivery::destination::Position;
use crate::delivery::feed::Found;
use crate::delivery::kept::Place;
use crate::delivery::notices::{Kept, Ring};
use crate::webhooks::event::{Event, lane_of};

/// Pages that are read at once.
const LOADS_MAX: usize = 8;
/// Pages that one destination goes through before others have their turn.
const ROUNDS_MAX: usize = 32;

impl Engine {
    /// Hands new events to whoever is up to date.
    pub(super) fn dispatch(&mut self) {
        for (group, next) in self.feed.tails() {
            let known = self.dispatched.get(&group).copied();
            if known.is_none() {
                // Whoever was up to date in all groups that had been heard of is behind in this one.
                self.behind.extend(self.served.keys().cloned());
            }
            let mut from = known.unwrap_or(next);
            for _ in 0..ROUNDS_MAX {
                if from >= next {
                    break;
                }
                match self.feed.from(group, from) {
                    Found::Events { events, next } => {
                        for event in &events {
                            self.hand_out(event);
                        }
                        from = next;
                    }
                    Found::Missing => {
                        // More has come than is kept: whoever was up to date is behind now.
                        let ids: Vec<String> = self.served.keys().cloned().collect();
                        for id in ids {
                            self.fall_behind(&id, group, from);
                        }
                        from = next;
                    }
                }
            }
            self.dispatched.insert(group, from);
        }
    }

    fn fall_behind(&mut self, id: &str, group: u64, leaf: u64) {
        let Some(served) = self.served.get_mut(id) else { return };
        if served.machine.position(group) == Some(Position::Live) {
            served.machine.move_to(group, Position::At(leaf), 0);
            self.behind.insert(id.to_owned());
            self.dirty.insert(served.shard);
        }
    }

    fn hand_out(&mut self, event: &Event) {
        let Some(outlet) = self.directory.read().outlet(&event.outlet_id) else { return };
        let Some(ids) = self.by_organisation.get(&outlet.merchant.value.organisation) else {
            return;
        };
        let Place { source, leaf } = event.place;
        for id in ids {
            let Some(served) = self.served.get_mut(id) else { continue };
            if served.machine.position(source) != Some(Position::Live)
                || !served.spec.wants(event, &outlet)
            {
                continue;
            }
            if served.machine.room() == 0 {
                served.machine.move_to(source, Position::At(leaf), 0);
                self.behind.insert(id.clone());
                self.dirty.insert(served.shard);
                continue;
            }
            served.machine.offer(event.place, event.lane, event.time_ms);
            self.touched.insert(id.clone());
            self.dirty.insert(served.shard);
        }
    }

    /// Lets those that are behind go on, as far as they have room and pages are here.
    pub(super) fn catch_up(&mut self) {
        for id in in_turn(&self.behind, &self.caught_up_last) {
            let Some(mut served) = self.served.remove(&id) else {
                self.behind.remove(&id);
                continue;
            };
            let loading = self.loading.len();
            let is_behind = self.catch_up_one(&mut served);
            if self.loading.len() > loading {
                self.caught_up_last.clone_from(&id);
            }
            if !is_behind {
                self.behind.remove(&id);
            }
            self.touched.insert(id.clone());
            self.served.insert(id, served);
        }
    }

    /// Whether it is still behind.
    fn catch_up_one(&mut self, served: &mut Served) -> bool {
        let mut is_behind = false;
        for ring in Ring::ALL {
            is_behind |= self.take_notices(ring, served);
        }
        is_behind |= self.take_replays(served);
        let groups: Vec<(u64, u64)> =
            self.dispatched.iter().map(|(group, leaf)| (*group, *leaf)).collect();
        for (group, dispatched) in groups {
            let begin = served.spec.begin.get(&group).copied().unwrap_or(0);
            let mut position = served.machine.position(group).unwrap_or(Position::At(begin));
            for _ in 0..ROUNDS_MAX {
                let Position::At(leaf) = position else { break };
                if leaf >= dispatched {
                    // What is beyond is handed out when it is heard of here.
                    if leaf == dispatched {
                        position = Position::Live;
                    }
                    break;
                }
                if served.machine.room() == 0 {
                    break;
                }
                let Some((next, time_ms)) = self.scan(served, group, leaf, dispatched) else {
                    break;
                };
                position = Position::At(next);
                served.machine.move_to(group, position, time_ms);
                self.dirty.insert(served.shard);
            }
            if served.machine.position(group) != Some(position) {
                served.machine.move_to(group, position, 0);
                self.dirty.insert(served.shard);
            }
            is_behind |= position != Position::Live;
        }
        is_behind || self.dispatched.is_empty()
    }

    /// Offers what is wanted from a leaf on; where to go on, and the time of what was seen last.
    fn scan(&mut self, served: &mut Served, group: u64, leaf: u64, end: u64) -> Option<(u64, u64)> {
        let Found::Events { events, next } = self.feed.from(group, leaf) else {
            self.load(group, leaf);
            return None;
        };
        let mut seen_ms = 0;
        for event in events {
            if event.place.leaf >= end {
                return Some((end, seen_ms));
            }
            if self.is_unclear(&event) {
                return (event.place.leaf > leaf).then_some((event.place.leaf, seen_ms));
            }
            if self.is_wanted(served, &event) {
                if served.machine.room() == 0 {
                    return Some((event.place.leaf, seen_ms));
                }
                served.machine.offer(event.place, event.lane, event.time_ms);
            }
            seen_ms = event.time_ms;
        }
        (next > leaf).then_some((next.min(end), seen_ms))
    }

    /// Whether it may yet turn out whose an event is.
    fn is_unclear(&self, event: &Event) -> bool {
        self.directory.read().outlet(&event.outlet_id).is_none() && !self.feed.knows_owners()
    }

    fn is_wanted(&self, served: &Served, event: &Event) -> bool {
        let outlet = self.directory.read().outlet(&event.outlet_id);
        outlet.is_some_and(|outlet| {
            outlet.merchant.value.organisation == served.spec.organisation
                && served.spec.wants(event, &outlet)
        })
    }

    /// Offers the organisation's notices; whether there are more than there is room for.
    fn take_notices(&mut self, ring: Ring, served: &mut Served) -> bool {
        let source = ring.source();
        let begin = served.spec.begin.get(&source).copied().unwrap_or(0);
        let from = match served.machine.position(source) {
            Some(Position::At(number)) => number,
            _ => begin,
        };
        let tables = self.directory.read();
        let kept = Kept::from(ring, &tables, &served.spec.organisation, from);
        let (ready, mut next, mut is_behind) = kept.ready(from);
        for notice in ready {
            if served.machine.room() == 0 {
                (next, is_behind) = (notice.number, true);
                break;
            }
            let outlet = tables.outlet(&notice.outlet_id);
            if served.spec.wants_notice(notice, outlet.as_ref()) {
                let place = Place { source, leaf: notice.number };
                served.machine.offer(place, lane_of(&notice.outlet_id), notice.time_ms);
                self.dirty.insert(served.shard);
            }
        }
        served.machine.move_to(source, Position::At(next), 0);
        is_behind
    }

    /// Goes on with replays; whether one is under way.
    fn take_replays(&mut self, served: &mut Served) -> bool {
        served.machine.next_replay(&served.spec.replays);
        for _ in 0..ROUNDS_MAX {
            let Some((source, leaf, end)) = served.machine.replaying() else { break };
            if served.machine.room() == 0 {
                break;
            }
            self.dirty.insert(served.shard);
            if let Some(ring) = Ring::of_source(source) {
                if !self.replay_notice(ring, served, leaf) {
                    break;
                }
                served.machine.replay_to(leaf.saturating_add(1));
                continue;
            }
            let Found::Events { events, next } = self.feed.from(source, leaf) else {
                self.load(source, leaf);
                break;
            };
            let mut to = next.max(leaf.saturating_add(1)).min(end);
            for event in events.iter().filter(|event| event.place.leaf < end) {
                if self.is_unclear(event) {
                    to = event.place.leaf;
                    break;
                }
                if self.is_wanted(served, event) {
                    if served.machine.room() == 0 {
                        to = event.place.leaf;
                        break;
                    }
                    served.machine.offer_again(event.place, event.lane, event.time_ms);
                }
            }
            served.machine.replay_to(to);
            if to == leaf {
                break;
            }
        }
        // Another one may wait; it has its turn when this destination is looked at again.
        served.machine.next_replay(&served.spec.replays);
        served.machine.replays().1
    }

    /// Offers a notice once more; whether it is heard of here. One that is kept no longer is offered, too: it becomes a
    /// dead letter that says so.
    fn replay_notice(&self, ring: Ring, served: &mut Served, number: u64) -> bool {
        let tables = self.directory.read();
        let kept = Kept::from(ring, &tables, &served.spec.organisation, number);
        if kept.is_awaited(number) {
            return false;
        }
        let (lane, time_ms) = match kept.get(number) {
            Some(notice) => {
                let outlet = tables.outlet(&notice.outlet_id);
                if !served.spec.wants_notice(notice, outlet.as_ref()) {
                    return true;
                }
                (lane_of(&notice.outlet_id), notice.time_ms)
            }
            None => (0, wall_ms()),
        };
        served.machine.offer_again(Place { source: ring.source(), leaf: number }, lane, time_ms);
        true
    }

    fn load(&mut self, group: u64, leaf: u64) {
        let page = (group, leaf / 256);
        if self.loading.len() >= LOADS_MAX || !self.loading.insert(page) {
            return;
        }
        let feed = Arc::clone(&self.feed);
        self.tasks.spawn(async move {
            if let Err(error) = feed.load(group, leaf).await {
                tracing::debug!(group, leaf, %error, "a page of the journal cannot be read now");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Happened::Loaded { page }
        });
    }
}

#[cfg(test)]
mod tests {
    use fiscus_proto::client::{ClientConfig, ClusterClient};
    use fiscus_proto::ledger::Document;

    use super::*;
    use crate::config::WebhooksSection;
    use crate::delivery::Deliveries;
    use crate::delivery::kept::Shard;
    use crate::delivery::leases::shard_of;
    use crate::directory::documents::kind;

    #[tokio::test]
    async fn whoever_is_up_to_date_goes_on_in_a_group_that_is_heard_of_later() {
        let key = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(key.path(), "5a".repeat(32)).expect("a key");
        let section = WebhooksSection::new(key.path().to_owned());
        let nobody = ClientConfig::new(vec!["127.0.0.1:1".to_owned()], None);
        let cluster = ClusterClient::new(nobody).expect("a client");
        let directory = Arc::default();
        let opened = Deliveries::open(&section, &cluster, &directory, false);
        let deliveries = opened.expect("it is set up");
        let endpoint = serde_json::json!({
            "organisation": "kivu", "endpoint_id": "e", "url": "https://nowhere.invalid/", "per_second": 0,
            "secrets": [], "begin": {"0": 3, "1": 5},
        });
        directory.note(&Document {
            kind: kind::WEBHOOK.to_owned(),
            id: "kivu/e".to_owned(),
            version: 1,
            bytes: endpoint.to_string().into_bytes().into(),
        });
        let (id, mut engine) = ("webhook/kivu/e", deliveries.engine());
        engine.look();
        engine.serve(shard_of(id), 1, Shard::default());
        for (group, leaf) in [(0, 3), (1, 5)] {
            deliveries.feed().begin(group, leaf);
            engine.dispatch();
            engine.catch_up();
            let position = engine.served[id].machine.position(group);
            assert_eq!(position, Some(Position::Live), "{group}");
            assert!(engine.behind.is_empty());
        }
    }
}
