//! Once a second: leases are taken, renewed and given back, cursors and logs are written, figures are refreshed.

use std::collections::BTreeMap;

use fiscus_proto::command::PutDocument;

use super::{Engine, Happened, LINES_MAX, wall_ms};
use crate::delivery::destination::Position;
use crate::delivery::figures::Gauge;
use crate::delivery::kept::Shard;
use crate::delivery::store::{
    NewLines, fitting, presence_put, shard_put, shard_put_within, write, write_logs,
};
use crate::directory::webhooks::EndpointState;

/// Logs that are written at once, and every how many beats.
const LOGS_MAX: usize = 12;
const LOG_BEATS: u64 = 2;

impl Engine {
    /// Once a second: leases, cursors, logs, figures.
    pub(super) fn beat(&mut self) {
        self.beats += 1;
        self.look();
        self.let_go_of_expired();
        let now_ms = self.now_ms();
        // Where there is nothing to deliver, nothing is written.
        let has_work = !self.specs.is_empty() || self.settings.leases_shared;
        if !has_work {
            self.leases.leave_all();
        }
        if self.directory.is_loaded() && (has_work || !self.leases.held().is_empty()) {
            self.leases.share(now_ms);
            if has_work {
                self.claim(now_ms);
            }
            self.keep(now_ms);
        }
        if self.beats.is_multiple_of(LOG_BEATS) {
            self.log();
        }
        self.behind.extend(
            self.served
                .iter()
                .filter(|(_, served)| served.machine.replays().1)
                .map(|(id, _)| id.clone()),
        );
        self.adapter.poster.sweep();
        self.show();
    }

    pub(super) fn let_go_of_expired(&mut self) {
        for shard in self.leases.expired(self.now_ms()) {
            tracing::warn!(
                shard,
                "a lease could not be renewed in time; others may serve this part now"
            );
            self.drop_shard(shard);
        }
    }

    fn claim(&mut self, now_ms: u64) {
        for (shard, seen) in self.leases.claims(now_ms) {
            if !self.claiming.insert(shard) {
                continue;
            }
            let known = self.directory.read().delivery_shards.get(&shard.to_string()).cloned();
            if known.as_ref().map_or(0, |known| known.version) != seen {
                self.claiming.remove(&shard);
                continue;
            }
            let mut content = known.map(|known| known.value.clone()).unwrap_or_default();
            self.leases.me().clone_into(&mut content.holder);
            let (put, cluster) = (shard_put(shard, seen, &content), self.cluster.clone());
            self.tasks.spawn(async move {
                let written = write(&cluster, vec![put]).await;
                Happened::Claimed { shard, seen, content, sent_ms: now_ms, written }
            });
        }
    }

    /// Writes the shards that have changed or whose lease is to be renewed, and that this gateway is there.
    pub(super) fn keep(&mut self, now_ms: u64) {
        if self.keeping {
            return;
        }
        let due = |renewed_ms: u64| now_ms.saturating_sub(renewed_ms) >= self.settings.lease_ms / 4;
        let held: Vec<_> = self.leases.held().iter().map(|(shard, held)| (*shard, *held)).collect();
        let mut shards = Vec::new();
        let mut puts = Vec::new();
        let place = self.leases.own_place(now_ms, self.random());
        if let Some((place, seen)) = place {
            puts.push(presence_put(place, seen, self.leases.me()));
        }
        // Those that have waited longest come first, so that none is left out when not all fit.
        let mut held: Vec<_> = held
            .into_iter()
            .filter(|(shard, held)| {
                held.leaving || due(held.renewed_ms) || self.dirty.contains(shard)
            })
            .collect();
        held.sort_by_key(|(_, held)| held.renewed_ms);
        for (shard, held) in held {
            let quiet = self
                .served
                .values()
                .all(|served| served.shard != shard || served.flights.is_empty());
            let given_back = held.leaving && quiet;
            puts.push(self.shard_as_put(shard, held.version, given_back));
            shards.push((shard, held.version, given_back));
        }
        let all = puts.len();
        let puts = fitting(puts);
        self.left_out = puts.len() < all;
        shards.truncate(puts.len() - usize::from(place.is_some()).min(puts.len()));
        for (shard, _, _) in &shards {
            self.dirty.remove(shard);
        }
        self.keeping = true;
        let cluster = self.cluster.clone();
        self.tasks.spawn(async move {
            let written = write(&cluster, puts).await;
            Happened::Kept { shards, sent_ms: now_ms, written }
        });
    }

    pub(super) fn shard_as_put(&self, shard: usize, seen: u64, given_back: bool) -> PutDocument {
        let there = self.directory.read().delivery_shards.get(&shard.to_string()).cloned();
        let there = there.as_ref().map(|known| &known.value);
        shard_put_within(shard, seen, self.content(shard, given_back), there)
    }

    fn content(&self, shard: usize, given_back: bool) -> Shard {
        let holder = if given_back { String::new() } else { self.leases.me().to_owned() };
        let mut destinations = self.others.get(&shard).cloned().unwrap_or_default();
        let tables = self.directory.read();
        destinations.retain(|id, _| {
            let known = id.strip_prefix("webhook/").and_then(|id| tables.webhooks.get(id));
            known.is_none_or(|known| known.value.state != EndpointState::Deleted)
        });
        for (id, served) in self.served.iter().filter(|(_, served)| served.shard == shard) {
            destinations.insert(id.clone(), served.machine.kept(&self.dispatched));
        }
        Shard { holder, destinations }
    }

    fn log(&mut self) {
        if self.logging || self.unlogged.is_empty() {
            return;
        }
        // Dead letters first: a destination waits for them.
        let mut ids: Vec<String> = self.unlogged.iter().cloned().collect();
        ids.sort_by_key(|id| {
            let served = self.served.get(id);
            std::cmp::Reverse(served.map_or(0, |served| {
                served.machine.letters().len() * LINES_MAX + served.lines.len()
            }))
        });
        let mut new = BTreeMap::new();
        for id in ids.into_iter().take(LOGS_MAX) {
            self.unlogged.remove(&id);
            let Some(served) = self.served.get_mut(&id) else { continue };
            let lines = std::mem::take(&mut served.lines);
            let letters = served.machine.letters().to_vec();
            let healed = std::mem::take(&mut served.healed);
            new.insert(id, NewLines { log_id: served.spec.log_id(), lines, letters, healed });
        }
        self.logging = true;
        let keep_from_ms = wall_ms().saturating_sub(self.settings.log_kept_ms);
        let logs = write_logs(self.cluster.clone(), new, keep_from_ms);
        self.tasks.spawn(async move { Happened::Logged(logs.await) });
    }

    /// Refreshes the figures of what is served here.
    fn show(&mut self) {
        // A log that failed to be written is tried again for its dead letters.
        let waiting = self.served.iter().filter(|(_, served)| !served.machine.letters().is_empty());
        self.unlogged.extend(waiting.map(|(id, _)| id.clone()));
        let now_ms = wall_ms();
        let gauges = self.served.iter().map(|(id, served)| {
            let behind =
                self.dispatched.iter().map(|(group, leaf)| match served.machine.position(*group) {
                    Some(Position::At(at)) => leaf.saturating_sub(at),
                    _ => 0,
                });
            let lag_events = behind.sum::<u64>() + served.machine.pending() as u64;
            let oldest_ms = served.machine.oldest_ms().unwrap_or(now_ms);
            let standing = served.machine.standing().clone();
            let gauge = Gauge {
                lag_events,
                lag_ms: now_ms.saturating_sub(oldest_ms),
                is_active: served.spec.is_active,
                standing,
            };
            (id.clone(), gauge)
        });
        let shards = self.leases.held().len();
        self.figures.show(gauges.collect(), shards, self.in_flight, self.feed.bytes());
    }
}
