//! Once a second: leases are taken, renewed and given back, cursors and logs are written, figures are refreshed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fiscus_ledger::time::UnixMs;
use fiscus_proto::command::PutDocument;

use super::{Engine, Happened, LINES_MAX, in_turn, wall_ms};
use crate::alerts::{self, Moment};
use crate::delivery::destination::Position;
use crate::delivery::figures::Gauge;
use crate::delivery::kept::{SHARDS, Shard};
use crate::delivery::leases::shard_of;
use crate::delivery::notices::{Ring, with_new};
use crate::delivery::store::{
    NewLines, fitting, presence_put, put, shard_put, shard_put_within, write, write_logs,
};
use crate::directory::documents::kind;
use crate::directory::webhooks::EndpointState;

/// Logs that are written at once, and every how many beats.
const LOGS_MAX: usize = 12;
const LOG_BEATS: u64 = 2;
/// Where nothing is sent, cursors are written when so many leaves have been passed, or some and so long ago: whoever
/// takes the shard goes through no more than these once again.
const PASSED_MAX: u64 = 4_096;
const PASSED_MS_MAX: u64 = 30_000;

/// A write of this gateway's place and of shards, each with the version that was seen.
pub(super) struct ShardsWrite {
    pub(super) place: (usize, u64),
    /// And whether it is given back.
    pub(super) shards: Vec<(usize, u64, bool)>,
    pub(super) puts: Vec<PutDocument>,
}

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
            self.claim(now_ms);
            self.pass(now_ms);
            self.keep(now_ms);
        }
        if self.beats.is_multiple_of(LOG_BEATS) {
            self.log();
            self.alert();
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

    /// Takes shards that nobody serves, with a write of its own: what is held here is not to wait for it.
    fn claim(&mut self, now_ms: u64) {
        let claims = self.leases.claims(now_ms);
        let has_work = !self.specs.is_empty() || self.settings.leases_shared;
        if self.keeping || !has_work || claims.shards.is_empty() {
            return;
        }
        let Some((place, seen)) = self.leases.own_place(now_ms, self.random()) else { return };
        let mut puts = vec![presence_put(place, seen, self.leases.me())];
        puts.extend(claims.over.iter().map(|(place, seen)| presence_put(*place, *seen, "")));
        let others = puts.len();
        let mut shards = Vec::new();
        for (shard, seen) in claims.shards {
            let known = self.directory.read().delivery_shards.get(&shard.to_string()).cloned();
            if known.as_ref().map_or(0, |known| known.version) != seen {
                continue;
            }
            let mut content = known.map(|known| known.value.clone()).unwrap_or_default();
            self.leases.me().clone_into(&mut content.holder);
            puts.push(shard_put(shard, seen, &content));
            shards.push((shard, seen, content));
        }
        let puts = fitting(puts);
        shards.truncate(puts.len().saturating_sub(others));
        if shards.is_empty() {
            return;
        }
        self.keeping = true;
        let cluster = self.cluster.clone();
        self.tasks.spawn(async move {
            let written = write(&cluster, puts).await;
            Happened::Claimed { place: (place, seen), shards, sent_ms: now_ms, written }
        });
    }

    /// Has the cursors of shards written in which nothing happens but that they move.
    fn pass(&mut self, now_ms: u64) {
        let passed = self.dispatched.values().sum();
        let shards: BTreeSet<usize> = self.served.values().map(|served| served.shard).collect();
        for shard in shards {
            let written = *self.written.entry(shard).or_insert((passed, now_ms));
            if is_passed(written, (passed, now_ms)) {
                self.dirty.insert(shard);
            }
        }
    }

    /// Writes that this gateway is there, when that is due, and the shards that have changed.
    pub(super) fn keep(&mut self, now_ms: u64) {
        let dirty = std::mem::take(&mut self.dirty);
        let wanted = |shard: usize, leaving: bool| leaving || dirty.contains(&shard);
        let any = self.leases.held().iter().any(|(shard, held)| wanted(*shard, held.leaving));
        if self.keeping || !(any || self.leases.is_due(now_ms)) {
            self.dirty = dirty;
            return;
        }
        let write_of_held = self.puts_of_held(wanted, false);
        self.dirty = dirty;
        let Some(ShardsWrite { place, shards, puts }) = write_of_held else { return };
        let passed = self.dispatched.values().sum();
        for (shard, _, _) in &shards {
            self.dirty.remove(shard);
            self.written.insert(*shard, (passed, now_ms));
        }
        self.keeping = true;
        let cluster = self.cluster.clone();
        self.tasks.spawn(async move {
            let written = write(&cluster, puts).await;
            Happened::Kept { place, shards, sent_ms: now_ms, written }
        });
    }

    /// A write of this gateway's place and of the shards that are wanted, as many as fit; those that were left out
    /// the last time come first.
    pub(super) fn puts_of_held(
        &mut self,
        wanted: impl Fn(usize, bool) -> bool,
        at_once: bool,
    ) -> Option<ShardsWrite> {
        let (now_ms, random) = (self.now_ms(), self.random());
        let place = self.leases.own_place(now_ms, random)?;
        let mut puts = vec![presence_put(place.0, place.1, self.leases.me())];
        let mut shards = Vec::new();
        let held = self.leases.held().iter().filter(|(shard, held)| wanted(**shard, held.leaving));
        let mut held: Vec<_> = held.map(|(shard, held)| (*shard, *held)).collect();
        held.sort_by_key(|(shard, _)| *shard < self.written_next);
        for (shard, held) in held {
            let quiet = self
                .served
                .values()
                .all(|served| served.shard != shard || served.flights.is_empty());
            let given_back = held.leaving && (quiet || at_once);
            puts.push(self.shard_as_put(shard, held.version, given_back));
            shards.push((shard, held.version, given_back));
        }
        let all = puts.len();
        let puts = fitting(puts);
        self.left_out = puts.len() < all;
        shards.truncate(puts.len().saturating_sub(1));
        self.written_next = shards.last().map_or(0, |(shard, _, _)| (shard + 1) % SHARDS);
        Some(ShardsWrite { place, shards, puts })
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

    /// Tells what must be looked at, of one organisation at a time, of those that this gateway looks after.
    fn alert(&mut self) {
        let directory = Arc::clone(&self.directory);
        let time_ms = directory.as_of().time_ms;
        // What proxies told has the directory's time, so that is what their silence is measured by.
        if !self.feed.knows_owners() || time_ms == 0 {
            self.watch.forget();
            return;
        }
        let now_ms = self.now_ms();
        let moment = Moment { now_ms, time_ms, after_ms: self.settings.alert_after_ms };
        let tables = directory.read();
        let mut own = alerts::heard(&tables);
        own.retain(|it| self.leases.may_send(shard_of(&format!("alerts/{it}")), now_ms));
        self.watch.forget_others(&own);
        let conditions = alerts::all(&tables, &own, UnixMs::new(time_ms));
        // All outlets are gone through for it, so it is not done when there is nothing new.
        let as_of = (self.incidents.came(), own.clone());
        let is_told = as_of.0 == 0 || as_of == self.incidents_told;
        let mut heard = BTreeMap::new();
        if !is_told {
            heard = alerts::incidents::heard(&tables, &own);
            self.incidents_told = as_of;
        }
        let mut first = None;
        // All of them are looked at, and whoever had its turn last is written last.
        for organisation in in_turn(&own, &self.alerted_last) {
            let known = tables.delivery_alerts.get(&organisation);
            let (seen, known) =
                known.map_or_else(Default::default, |it| (it.version, it.value.clone()));
            let Some(holds) = conditions.get(&organisation) else { continue };
            let changed = self.watch.look(&organisation, holds, &known, moment);
            let (mut alerts, mut new) = changed.unwrap_or_else(|| (known.clone(), Vec::new()));
            if let Some(heard) = heard.get(&organisation) {
                let told = self.incidents.tell(&mut alerts, heard);
                if !told.is_empty() {
                    // It may not be written this time, or there may be more.
                    self.incidents_told = (0, BTreeSet::new());
                }
                new.extend(told);
            }
            if alerts != known && first.is_none() {
                first = Some((organisation, seen, alerts, new));
            }
        }
        let Some((organisation, seen, alerts, new)) = first.filter(|_| !self.alerting) else {
            return;
        };
        let mut puts = vec![put(kind::DELIVERY_ALERTS, &organisation, seen, &alerts)];
        if !new.is_empty() {
            let told = with_new(Ring::Alerts, &tables, &organisation, new);
            let told = told.iter().map(|(id, seen, it)| put(Ring::Alerts.kind(), id, *seen, it));
            puts.extend(told);
        }
        self.alerting = true;
        self.alerted_last = organisation;
        let cluster = self.cluster.clone();
        self.tasks.spawn(async move { Happened::Alerted(write(&cluster, puts).await) });
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

/// Whether enough has been passed since a shard was written; both are leaves and times.
fn is_passed(written: (u64, u64), now: (u64, u64)) -> bool {
    let (leaves, ms) = (now.0.saturating_sub(written.0), now.1.saturating_sub(written.1));
    leaves >= PASSED_MAX || (leaves > 0 && ms >= PASSED_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_of_a_quiet_part_are_written_now_and_then_and_those_of_an_idle_one_never() {
        for (leaves, ms, passed) in [
            (0, 0, false),
            (0, u64::MAX, false),
            (1, PASSED_MS_MAX - 1, false),
            (1, PASSED_MS_MAX, true),
            (PASSED_MAX - 1, 0, false),
            (PASSED_MAX, 0, true),
        ] {
            assert_eq!(is_passed((7, 0), (7 + leaves, ms)), passed, "{leaves} {ms}");
        }
    }
}
