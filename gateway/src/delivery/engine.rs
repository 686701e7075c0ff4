//! The engine of one gateway: one loop that owns the destinations of the shards that are served here, and does what
//! their machines say.
//!
//! ```text
//! feed ─► dispatch ─► destinations ─► send ─► tasks ─► settle ─► destinations
//!             behind ─► catch up (pages) ─┘        beat, once a second ─► shards, logs ─► directory
//! ```

mod beat;
mod hand_out;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fiscus_ledger::hash::hex;
use fiscus_proto::client::ClusterClient;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::adapter::{Adapter, Attempted, Kind, Spec};
use super::destination::{Destination, Outcome, Step, Verdict};
use super::disable::{Reason, disable};
use super::feed::Feed;
use super::figures::Figures;
use super::kept::{Kept, SHARD_BYTES, Shard};
use super::leases::{Leases, shard_of};
use super::store::{Written, presence_put, write};
use crate::alerts::Watch;
use crate::alerts::incidents::Incidents;
use crate::directory::Directory;
use crate::directory::documents::kind;
use crate::directory::webhooks::AttemptLine;

const BEAT: Duration = Duration::from_secs(1);
/// Lines of a destination that wait for its log; older ones are forgotten.
const LINES_MAX: usize = 100;
/// What is in flight when a gateway stops may come to its end within this time.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// What an engine is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) lease_ms: u64,
    pub(crate) in_flight_max: usize,
    pub(crate) log_kept_ms: u64,
    /// Somebody else shares the leases: they are held although there is no destination.
    pub(crate) leases_shared: bool,
    pub(crate) alert_after_ms: u64,
}

/// A destination that is served here.
#[derive(Debug)]
struct Served {
    shard: usize,
    spec: Arc<Spec>,
    machine: Destination,
    flights: BTreeMap<u64, AbortHandle>,
    lines: Vec<AttemptLine>,
    /// Dead letters that were delivered after all.
    healed: Vec<(u64, u64)>,
    wake_ms: Option<u64>,
    /// Nothing is sent until what the directory says of it changes.
    suspended: bool,
}

/// What a task has come to.
#[derive(Debug)]
enum Happened {
    Attempted(Attempted),
    Loaded {
        page: (u64, u64),
    },
    Claimed {
        place: (usize, u64),
        shards: Vec<(usize, u64, Shard)>,
        sent_ms: u64,
        written: Written,
    },
    Kept {
        place: (usize, u64),
        shards: Vec<(usize, u64, bool)>,
        sent_ms: u64,
        written: Written,
    },
    Logged(Option<BTreeMap<String, usize>>),
    Alerted(Written),
    Disabled {
        destination: String,
        done: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Engine {
    adapter: Arc<Adapter>,
    cluster: ClusterClient,
    directory: Arc<Directory>,
    feed: Arc<Feed>,
    figures: Arc<Figures>,
    settings: Settings,
    /// Which parts are served here, for whoever shares the leases.
    serving: watch::Sender<BTreeSet<usize>>,
    leases: Leases,
    began: Instant,
    random: SystemRandom,
    specs: BTreeMap<String, Arc<Spec>>,
    specs_as_of: Option<u64>,
    served: BTreeMap<String, Served>,
    /// Kept for destinations that the directory has not told of yet, by shard.
    others: BTreeMap<usize, BTreeMap<String, Kept>>,
    by_organisation: BTreeMap<String, Vec<String>>,
    /// By group, everything below was handed out to whoever is up to date.
    dispatched: BTreeMap<u64, u64>,
    behind: BTreeSet<String>,
    touched: BTreeSet<String>,
    wakes: BTreeSet<(u64, String)>,
    dirty: BTreeSet<usize>,
    /// By shard, how many leaves had been handed out when it was written last, and when that was.
    written: BTreeMap<usize, (u64, u64)>,
    unlogged: BTreeSet<String>,
    loading: BTreeSet<(u64, u64)>,
    /// A write of shards, or one that takes some, is under way.
    keeping: bool,
    /// Not all shards fitted into the last write.
    left_out: bool,
    /// The shard that comes first in the next one.
    written_next: usize,
    logging: bool,
    /// This gateway stops.
    leaving: bool,
    watch: Watch,
    incidents: Arc<Incidents>,
    /// As of then, all of these organisations have been told of all incidents.
    incidents_told: (u64, BTreeSet<String>),
    alerting: bool,
    /// The organisation whose alerts were written last.
    alerted_last: String,
    beats: u64,
    in_flight: usize,
    /// The destination that something was sent to last, and the one that was let go on in old pages last.
    sent_last: String,
    caught_up_last: String,
    tasks: JoinSet<Happened>,
    flights: HashMap<tokio::task::Id, (String, u64)>,
}

impl Engine {
    pub(crate) fn new(
        adapter: Arc<Adapter>,
        cluster: ClusterClient,
        figures: Arc<Figures>,
        (settings, incidents): (Settings, Arc<Incidents>),
        serving: watch::Sender<BTreeSet<usize>>,
    ) -> Self {
        let random = SystemRandom::new();
        let mut me = [0; 8];
        random.fill(&mut me).expect("the system has randomness");
        Self {
            directory: Arc::clone(&adapter.directory),
            feed: Arc::clone(&adapter.feed),
            adapter,
            cluster,
            figures,
            settings,
            serving,
            leases: Leases::new(&hex(&me), settings.lease_ms, 0),
            began: Instant::now(),
            random,
            specs: BTreeMap::new(),
            specs_as_of: None,
            served: BTreeMap::new(),
            others: BTreeMap::new(),
            by_organisation: BTreeMap::new(),
            dispatched: BTreeMap::new(),
            behind: BTreeSet::new(),
            touched: BTreeSet::new(),
            wakes: BTreeSet::new(),
            dirty: BTreeSet::new(),
            written: BTreeMap::new(),
            unlogged: BTreeSet::new(),
            loading: BTreeSet::new(),
            keeping: false,
            left_out: false,
            written_next: 0,
            logging: false,
            leaving: false,
            watch: Watch::default(),
            incidents,
            incidents_told: (0, BTreeSet::new()),
            alerting: false,
            alerted_last: String::new(),
            beats: 0,
            in_flight: 0,
            sent_last: String::new(),
            caught_up_last: String::new(),
            tasks: JoinSet::new(),
            flights: HashMap::new(),
        }
    }

    /// This process's time, for leases: nobody sets it back.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes).expect("the system has randomness");
        u64::from_le_bytes(bytes)
    }

    /// Serves until it is told to stop, then gives its shards back.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (mut came, mut changes) = (self.feed.came(), self.directory.changes());
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.wakes.first().map(|(wake_ms, _)| wake_ms.saturating_sub(wall_ms()));
            let wake = Instant::now() + Duration::from_millis(wake.unwrap_or(1_000).min(1_000));
            tokio::select! {
                ended = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
                _ = came.changed() => {}
                _ = changes.changed() => {}
                _ = beat.tick() => self.beat(),
                () = sleep_until(wake) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.ended(Some(ended));
            }
            self.turn();
        }
        self.serving.send_replace(BTreeSet::new());
        self.leave().await;
    }

    /// Everything that can be done now without waiting.
    fn turn(&mut self) {
        // Where a renewal is under way, its answer says more; nothing is sent meanwhile.
        if !self.keeping {
            self.let_go_of_expired();
        }
        self.look();
        self.dispatch();
        self.catch_up();
        self.send();
        self.tell_what_is_served();
    }

    fn tell_what_is_served(&self) {
        let now_ms = self.now_ms();
        let held = self.leases.held().keys().copied();
        let serving: BTreeSet<usize> =
            held.filter(|shard| self.leases.may_send(*shard, now_ms)).collect();
        self.serving.send_if_modified(|known| {
            let changed = *known != serving;
            if changed {
                *known = serving;
            }
            changed
        });
    }

    fn ended(&mut self, ended: Option<Result<(tokio::task::Id, Happened), JoinError>>) {
        match ended {
            None => {}
            Some(Ok((id, Happened::Attempted(attempted)))) => {
                if let Some((destination, order)) = self.flights.remove(&id) {
                    self.in_flight -= 1;
                    self.settle(&destination, order, attempted);
                }
            }
            Some(Ok((_, happened))) => self.happened(happened),
            Some(Err(error)) => {
                let Some((destination, order)) = self.flights.remove(&error.id()) else {
                    tracing::error!(%error, "a part of the deliveries broke");
                    (self.keeping, self.logging, self.alerting) = (false, false, false);
                    self.loading.clear();
                    return;
                };
                self.in_flight -= 1;
                let outcome = if error.is_cancelled() {
                    Outcome::Withdrawn { pause_ms: 0 }
                } else {
                    tracing::error!(destination, %error, "an attempt broke");
                    Outcome::Failed { reason: "the gateway broke".to_owned(), retry_after_ms: None }
                };
                self.settle(&destination, order, Attempted { outcome, line: None });
            }
        }
    }

    fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Attempted(_) => {}
            Happened::Loaded { page } => {
                self.loading.remove(&page);
            }
            Happened::Claimed { place, shards, sent_ms, written } => {
                self.claimed(place, shards, sent_ms, written);
            }
            Happened::Kept { place, shards, sent_ms, written } => {
                self.kept(place, &shards, sent_ms, written);
            }
            Happened::Logged(done) => {
                self.logging = false;
                for (destination, letters) in done.unwrap_or_default() {
                    if let Some(served) = self.served.get_mut(&destination) {
                        served.machine.logged(letters);
                        self.dirty.insert(served.shard);
                        self.touched.insert(destination);
                    }
                }
            }
            Happened::Alerted(written) => {
                self.alerting = false;
                if let Written::Conflict(documents) = written {
                    documents.iter().for_each(|it| self.directory.note(it));
                }
            }
            Happened::Disabled { destination, done } => {
                if let Some(served) = self.served.get_mut(&destination)
                    && !done
                {
                    served.suspended = false;
                    self.touched.insert(destination);
                }
            }
        }
    }

    /// What has become of a write that takes shards.
    fn claimed(
        &mut self,
        place: (usize, u64),
        shards: Vec<(usize, u64, Shard)>,
        sent_ms: u64,
        written: Written,
    ) {
        self.keeping = false;
        match written {
            Written::Taken => {
                self.renewed(place, sent_ms);
                for (shard, seen, content) in shards {
                    self.serve(shard, seen + 1, content);
                }
            }
            Written::Conflict(documents) => {
                documents.iter().for_each(|it| self.directory.note(it));
            }
            Written::Unknown => {}
        }
    }

    fn renewed(&mut self, (place, seen): (usize, u64), sent_ms: u64) {
        let now_ms = self.now_ms();
        self.leases.renewed(place, seen + 1, sent_ms, now_ms);
    }

    /// What has become of a write of shards.
    fn kept(
        &mut self,
        place: (usize, u64),
        shards: &[(usize, u64, bool)],
        sent_ms: u64,
        written: Written,
    ) {
        self.keeping = false;
        match written {
            Written::Taken => {
                self.renewed(place, sent_ms);
                let now_ms = self.now_ms();
                for (shard, seen, given_back) in shards {
                    if *given_back {
                        self.drop_shard(*shard);
                    } else if self.leases.held().contains_key(shard) {
                        self.leases.took(*shard, seen + 1, now_ms);
                    }
                }
                // Shards that did not fit into this write do not wait for the next beat.
                if self.left_out && !self.leaving {
                    self.keep(now_ms);
                }
                return;
            }
            Written::Conflict(documents) => {
                for document in &documents {
                    self.directory.note(document);
                    if document.kind != kind::DELIVERY_SHARD {
                        continue;
                    }
                    let Ok(shard) = document.id.parse::<usize>() else { continue };
                    let known = serde_json::from_slice::<Shard>(&document.bytes);
                    if known.is_ok_and(|known| known.holder == self.leases.me()) {
                        self.leases.adopted(shard, document.version);
                    }
                }
                self.look();
                self.let_go_of_expired();
            }
            Written::Unknown => {}
        }
        let held = self.leases.held();
        self.dirty
            .extend(shards.iter().map(|(shard, _, _)| *shard).filter(|it| held.contains_key(it)));
    }

    /// Takes in what the directory says of leases and destinations.
    fn look(&mut self) {
        let now_ms = self.now_ms();
        let directory = Arc::clone(&self.directory);
        {
            let tables = directory.read();
            for (id, known) in &tables.delivery_shards {
                if let Ok(shard) = id.parse() {
                    self.leases.saw_shard(shard, known.version, &known.value.holder, now_ms);
                }
            }
            for (id, known) in &tables.delivery_gateways {
                if let Ok(place) = id.parse() {
                    self.leases.saw_gateway(place, known.version, &known.value.holder, now_ms);
                }
            }
            if self.specs_as_of == Some(tables.deliveries_changed) {
                return;
            }
            self.specs_as_of = Some(tables.deliveries_changed);
        }
        self.specs = self
            .adapter
            .destinations()
            .into_iter()
            .map(|(id, spec)| (id, Arc::new(spec)))
            .collect();
        let gone: Vec<String> =
            self.served.keys().filter(|id| !self.specs.contains_key(*id)).cloned().collect();
        gone.iter().for_each(|id| self.forget(id));
        let shards: Vec<usize> = self.leases.held().keys().copied().collect();
        shards.into_iter().for_each(|shard| self.fill(shard));
    }

    /// Serves every destination of a shard that is held here as it is described now.
    fn fill(&mut self, shard: usize) {
        let here: Vec<(String, Arc<Spec>)> = self
            .specs
            .iter()
            .filter(|(id, _)| shard_of(id) == shard)
            .map(|(id, spec)| (id.clone(), Arc::clone(spec)))
            .collect();
        // Those that are paused or not yet heard of here have their part as well.
        let bytes_max = SHARD_BYTES / here.len().max(1);
        for (id, spec) in here {
            self.touched.insert(id.clone());
            if let Some(served) = self.served.get_mut(&id) {
                served.machine.limit_bytes(bytes_max);
                served.machine.change_policy(spec.policy.clone());
                if spec.is_active && !served.spec.is_active {
                    served.machine.resume();
                }
                served.suspended = false;
                served.spec = spec;
                self.behind.insert(id);
                continue;
            }
            let kept = self.others.get_mut(&shard).and_then(|others| others.remove(&id));
            let mut machine =
                Destination::new(spec.policy.clone(), &kept.unwrap_or_default(), wall_ms());
            machine.limit_bytes(bytes_max);
            self.by_organisation.entry(spec.organisation.clone()).or_default().push(id.clone());
            let served = Served {
                shard,
                spec,
                machine,
                flights: BTreeMap::new(),
                lines: Vec::new(),
                healed: Vec::new(),
                wake_ms: None,
                suspended: false,
            };
            self.behind.insert(id.clone());
            self.served.insert(id, served);
            self.dirty.insert(shard);
        }
    }

    fn serve(&mut self, shard: usize, version: u64, content: Shard) {
        let now_ms = self.now_ms();
        self.leases.took(shard, version, now_ms);
        self.others.insert(shard, content.destinations);
        self.fill(shard);
        tracing::info!(shard, "this gateway serves a part of the destinations");
    }

    /// Serves a destination no more; what is in flight is given up.
    fn forget(&mut self, id: &str) {
        let Some(served) = self.served.remove(id) else { return };
        served.flights.values().for_each(AbortHandle::abort);
        self.behind.remove(id);
        self.touched.remove(id);
        self.unlogged.remove(id);
        if let Some(wake_ms) = served.wake_ms {
            self.wakes.remove(&(wake_ms, id.to_owned()));
        }
        if let Some(ids) = self.by_organisation.get_mut(&served.spec.organisation) {
            ids.retain(|known| known != id);
        }
        self.dirty.insert(served.shard);
    }

    fn drop_shard(&mut self, shard: usize) {
        let ids = self.served.iter().filter(|(_, served)| served.shard == shard);
        let ids: Vec<String> = ids.map(|(id, _)| id.clone()).collect();
        ids.iter().for_each(|id| self.forget(id));
        self.others.remove(&shard);
        self.dirty.remove(&shard);
        self.written.remove(&shard);
        self.leases.let_go(shard);
    }

    /// Sends whatever the machines of those that something has happened to want to have sent.
    fn send(&mut self) {
        let now_ms = wall_ms();
        while let Some((wake_ms, _)) = self.wakes.first() {
            if *wake_ms > now_ms {
                break;
            }
            if let Some((_, id)) = self.wakes.pop_first() {
                if let Some(served) = self.served.get_mut(&id) {
                    served.wake_ms = None;
                }
                self.touched.insert(id);
            }
        }
        // Whoever is first in the order of ids would be first whenever there is not room for all.
        for id in in_turn(&std::mem::take(&mut self.touched), &self.sent_last) {
            self.send_one(&id, now_ms);
        }
    }

    fn send_one(&mut self, id: &str, now_ms: u64) {
        // A gateway that was stopped for a while does not know it: what it holds is asked for with each that it sends.
        let lease_now_ms = self.now_ms();
        let Some(served) = self.served.get_mut(id) else { return };
        let stays = self.leases.held().get(&served.shard).is_some_and(|held| !held.leaving);
        if !served.spec.is_active || served.suspended || !stays {
            return;
        }
        if !self.leases.may_send(served.shard, lease_now_ms) {
            // It has its turn when the lease is renewed.
            self.touched.insert(id.to_owned());
            return;
        }
        if let Some(wake_ms) = served.wake_ms.take() {
            self.wakes.remove(&(wake_ms, id.to_owned()));
        }
        loop {
            if self.in_flight >= self.settings.in_flight_max {
                // Whoever ends makes room for it.
                self.touched.insert(id.to_owned());
                return;
            }
            match served.machine.step(now_ms) {
                Step::Idle => return,
                Step::Wait(until_ms) => {
                    served.wake_ms = Some(until_ms);
                    self.wakes.insert((until_ms, id.to_owned()));
                    return;
                }
                Step::Send(attempt) => {
                    let (adapter, spec) = (Arc::clone(&self.adapter), Arc::clone(&served.spec));
                    let handle = self.tasks.spawn(async move {
                        Happened::Attempted(adapter.deliver(&spec, attempt, now_ms).await)
                    });
                    self.flights.insert(handle.id(), (id.to_owned(), attempt.order));
                    id.clone_into(&mut self.sent_last);
                    served.flights.insert(attempt.order, handle);
                    self.in_flight += 1;
                }
            }
        }
    }

    fn settle(&mut self, id: &str, order: u64, attempted: Attempted) {
        let random = self.random();
        let Some(served) = self.served.get_mut(id) else { return };
        // What a gateway that gave the destination away was told is of no use to one that has it again.
        if served.flights.remove(&order).is_none() {
            return;
        }
        self.figures.attempted(&attempted.outcome);
        let healed = served.machine.replayed_place(order);
        served.healed.extend(healed.filter(|_| attempted.outcome == Outcome::Delivered));
        let verdict = served.machine.settle(order, attempted.outcome, wall_ms(), random);
        if let Some(line) = attempted.line {
            if served.lines.len() >= LINES_MAX {
                served.lines.remove(0);
            }
            served.lines.push(line);
        }
        if !served.lines.is_empty() || !served.machine.letters().is_empty() {
            self.unlogged.insert(id.to_owned());
        }
        self.dirty.insert(served.shard);
        self.touched.insert(id.to_owned());
        let reason = match verdict {
            Verdict::Gone => Reason::Gone,
            Verdict::FailedTooLong => Reason::Failing,
            Verdict::Settled | Verdict::Again(_) | Verdict::Dead => return,
        };
        if std::mem::replace(&mut served.suspended, true) {
            return;
        }
        let Kind::Webhook(endpoint) = &served.spec.kind;
        let (cluster, directory) = (self.cluster.clone(), Arc::clone(&self.directory));
        let (endpoint, destination) = (Arc::clone(endpoint), id.to_owned());
        let random = hex(&self.random().to_le_bytes());
        self.tasks.spawn(async move {
            let done = disable(&cluster, &directory, &endpoint, reason, (wall_ms(), &random)).await;
            Happened::Disabled { destination, done }
        });
    }

    /// Gives everything back: others go on at once where this gateway stopped.
    async fn leave(&mut self) {
        self.leaving = true;
        self.leases.leave_all();
        let deadline = Instant::now() + LEAVE_WAIT;
        while self.in_flight > 0 || self.keeping {
            match tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(Some(ended)) => self.ended(Some(ended)),
                Ok(None) | Err(_) => break,
            }
        }
        // What hangs has used up that time. The place goes last: until then nobody takes what did not fit.
        let deadline = Instant::now() + LEAVE_WAIT;
        while !self.leases.held().is_empty() && Instant::now() < deadline {
            let Some(beat::ShardsWrite { place, shards, puts }) =
                self.puts_of_held(|_, _| true, true)
            else {
                break;
            };
            let sent_ms = self.now_ms();
            let Ok(written) = timeout(LEAVE_WAIT, write(&self.cluster, puts)).await else { break };
            tracing::info!(?written, "the deliveries are given back");
            // A write that was under way may have been taken; what it made is known after that.
            let is_known = !matches!(written, Written::Unknown);
            self.kept(place, &shards, sent_ms, written);
            if !is_known {
                break;
            }
        }
        let now_ms = self.now_ms();
        if let Some((place, seen)) = self.leases.own_place(now_ms, 0).filter(|(_, seen)| *seen > 0)
            && self.leases.held().is_empty()
        {
            let gone = vec![presence_put(place, seen, "")];
            // Whoever finds it there nevertheless waits for the length of a lease.
            drop(timeout(LEAVE_WAIT, write(&self.cluster, gone)).await);
        }
        self.tasks.shutdown().await;
    }
}

/// All of them, beginning behind the one that had its turn last.
fn in_turn(ids: &BTreeSet<String>, last: &str) -> Vec<String> {
    let behind = ids.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
    behind.chain(ids.range::<str, _>((Bound::Unbounded, Bound::Included(last)))).cloned().collect()
}

/// The time of day, for what others read as well: when an event is due, when an attempt was made.
pub(crate) fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod turns {
    use super::*;

    #[test]
    fn whoever_had_its_turn_last_is_last() {
        let ids = BTreeSet::from(["a", "b", "c"].map(str::to_owned));
        for (last, order) in [("", "abc"), ("a", "bca"), ("aa", "bca"), ("c", "abc"), ("z", "abc")]
        {
            assert_eq!(in_turn(&ids, last).concat(), order, "{last}");
        }
    }
}
