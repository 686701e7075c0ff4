//! The upload agent of one gateway: one loop that owns the queue of the outlets whose part is served here.
//!
//! ```text
//! feed, outlets' rows ─► queue (pace.rs) ─► turns (round.rs) ─► destination
//!                          ▲ leases of the delivery engine         │
//!                          └────────── answers, in the journals ◄──┘
//! ```
//!
//! How far an outlet is stands in its journal, so there is no cursor here; a lease only keeps two gateways from
//! sending the same. Invariant: an outlet has one batch on its way from here at most, which keeps its order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::hex;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{Consistency, ListOutletsRequest};
use futures_util::StreamExt;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::adapter::{Adapter, AdapterError, HttpJson, Sent};
use super::config::{AdapterKind, UploadsSection};
use super::figures::{Figures, Shown};
use super::pace::{Limits, Pace};
use super::round::{Means, Prepared, Settled, Turn, TurnError};
use crate::delivery::kept::SHARDS;
use crate::delivery::store::{Written, put, write};
use crate::delivery::{Deliveries, Found};
use crate::directory::Directory;
use crate::directory::documents::kind;
use crate::directory::uploads::{CONTROL_ID, Sending, UploadProgress, upload_shard};
use crate::webhooks::catalogue::EventType;

const BEAT: Duration = Duration::from_secs(1);
/// All outlets are looked through so often, for whatever was not heard of.
const LOOK_PAUSE: Duration = Duration::from_secs(15);
const LIST_WAIT: Duration = Duration::from_secs(60);
/// Pages of new events that are looked at before others have their turn.
const PAGES_MAX: usize = 64;
/// A turn that the cluster did not take is taken again after this.
const CLUSTER_PAUSE_MS: u64 = 500;
/// A write of progress is made so often at most.
const PROGRESS_BEATS: u64 = 2;
/// So many outlets of a part that are late are told.
const LATE_MAX: usize = 500;
const ERROR_CHARS_MAX: usize = 200;
const MINUTE_MS: u64 = 60_000;

/// What serves uploads, for its loop and for the figures.
#[derive(Debug)]
pub(crate) struct Uploads {
    section: UploadsSection,
    means: Means,
    directory: Arc<Directory>,
    deliveries: Arc<Deliveries>,
    figures: Figures,
}

/// An outlet of which something waits, as it is known here.
#[derive(Debug, Clone, Default)]
struct Known {
    /// When its oldest invoice that waits was sealed; 0 while that is not known.
    oldest_ms: u64,
    /// Whether it was said that this is too long ago.
    alarmed: bool,
    later: BTreeMap<u64, u32>,
    /// Turns in a row in which something could not be taken.
    attempts: u32,
    on_its_way: bool,
    /// More was sealed while something was on its way.
    heard: bool,
}

/// What a task has come to.
#[derive(Debug)]
enum Happened {
    /// Through the outlets of these parts.
    Looked(BTreeSet<usize>, Vec<Waits>),
    Took {
        outlet_id: String,
        took: Took,
    },
    Wrote(bool),
}

/// An outlet of which something waits.
#[derive(Debug)]
struct Waits {
    outlet_id: String,
    oldest_ms: u64,
}

#[derive(Debug)]
enum Took {
    /// Nothing waits.
    Nothing,
    /// It was answered and recorded.
    Settled { settled: Settled, oldest_ms: u64 },
    /// Nobody knows what became of it.
    Unknown { reason: String, retry_after_ms: Option<u64>, oldest_ms: u64 },
    /// The cluster did not take part.
    Cluster(TurnError),
}

impl Uploads {
    pub(crate) fn open(
        section: &UploadsSection,
        cluster: &ClusterClient,
        directory: &Arc<Directory>,
        deliveries: &Arc<Deliveries>,
    ) -> Result<Self, AdapterError> {
        let adapter: Arc<dyn Adapter> = match section.adapter {
            AdapterKind::HttpJson => Arc::new(HttpJson::open(section)?),
        };
        let means = Means {
            cluster: cluster.clone(),
            adapter,
            destination: section.name.clone(),
            batch_max: section.batch_max,
            attempts_max: section.attempts_max,
        };
        Ok(Self {
            section: section.clone(),
            means,
            directory: Arc::clone(directory),
            deliveries: Arc::clone(deliveries),
            figures: Figures::default(),
        })
    }

    /// The figures as Prometheus reads them.
    pub(crate) fn exposition(&self, out: &mut String) {
        self.figures.exposition(out);
    }

    /// Uploads until it is told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        Agent::new(self).run(stop).await;
    }
}

struct Agent {
    uploads: Arc<Uploads>,
    /// Tells this gateway's progress from another's.
    name: String,
    pace: Pace,
    random: SystemRandom,
    known: BTreeMap<String, Known>,
    serving: BTreeSet<usize>,
    /// Those of them whose outlets were not looked through yet: of these there is nothing to tell.
    unlooked: BTreeSet<usize>,
    /// By group, up to where new events were looked at.
    seen: BTreeMap<u64, u64>,
    looking: bool,
    look_at: Instant,
    writing: bool,
    /// What was last written, by part.
    written: BTreeMap<usize, UploadProgress>,
    sending: Arc<std::sync::Mutex<BTreeMap<String, Sending>>>,
    answered: VecDeque<(u64, u64)>,
    last_error: String,
    beats: u64,
    tasks: JoinSet<Happened>,
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Agent {
    fn new(uploads: Arc<Uploads>) -> Self {
        let section = &uploads.section;
        let limits = Limits {
            per_second: section.per_second,
            in_flight_max: section.in_flight_max,
            retry_ms: section.retry_ms,
            retry_max_ms: section.retry_max_ms,
        };
        let random = SystemRandom::new();
        let mut name = [0; 8];
        random.fill(&mut name).expect("the system has randomness");
        Self {
            pace: Pace::new(limits, wall_ms()),
            uploads,
            name: hex(&name),
            random,
            known: BTreeMap::new(),
            serving: BTreeSet::new(),
            unlooked: BTreeSet::new(),
            seen: BTreeMap::new(),
            looking: false,
            look_at: Instant::now(),
            writing: false,
            written: BTreeMap::new(),
            sending: Arc::default(),
            answered: VecDeque::new(),
            last_error: String::new(),
            beats: 0,
            tasks: JoinSet::new(),
        }
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes).expect("the system has randomness");
        u64::from_le_bytes(bytes)
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut serving = self.uploads.deliveries.serving();
        let mut came = self.uploads.deliveries.feed().came();
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let soon = Instant::now() + Duration::from_millis(50);
            tokio::select! {
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(happened) => self.happened(happened),
                    Err(error) => {
                        tracing::error!(%error, "a part of the uploads broke");
                        self.start_anew();
                    }
                },
                _ = came.changed() => {}
                Ok(()) = serving.changed() => {
                    let now = serving.borrow_and_update().clone();
                    self.serve(now);
                }
                _ = beat.tick() => self.beat(),
                () = sleep_until(soon), if self.pace.waiting() > 0 => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.hear();
            self.take_turns();
        }
        // What is on its way may be answered; nobody records it, and whoever is next sends it again.
        self.tasks.shutdown().await;
    }

    /// After a task that broke nothing is known of what was on its way: all of it is read again.
    fn start_anew(&mut self) {
        self.tasks.abort_all();
        (self.looking, self.writing) = (false, false);
        self.known.clear();
        self.unlooked.clone_from(&self.serving);
        self.sending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        let limits = Limits {
            per_second: self.uploads.section.per_second,
            in_flight_max: self.uploads.section.in_flight_max,
            retry_ms: self.uploads.section.retry_ms,
            retry_max_ms: self.uploads.section.retry_max_ms,
        };
        self.pace = Pace::new(limits, wall_ms());
        self.share_the_rate();
        self.look_at = Instant::now();
    }

    fn serve(&mut self, serving: BTreeSet<usize>) {
        let gained: Vec<usize> = serving.difference(&self.serving).copied().collect();
        self.serving = serving;
        self.unlooked.retain(|shard| self.serving.contains(shard));
        self.unlooked.extend(&gained);
        let gone: Vec<String> = self.known.keys().filter(|id| !self.serves(id)).cloned().collect();
        for outlet_id in gone {
            self.pace.forget(&outlet_id);
            self.known.remove(&outlet_id);
        }
        self.written.retain(|shard, _| self.serving.contains(shard));
        let served = &self.serving;
        let mut sending = self.sending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sending.retain(|outlet_id, _| served.contains(&upload_shard(outlet_id)));
        drop(sending);
        self.share_the_rate();
        if !gained.is_empty() {
            self.look_at = Instant::now();
        }
    }

    fn share_the_rate(&mut self) {
        let parts = u64::from(self.uploads.section.per_second) * self.serving.len() as u64;
        let share = u32::try_from(parts / SHARDS as u64).unwrap_or(u32::MAX);
        self.pace.set_rate(share);
    }

    fn serves(&self, outlet_id: &str) -> bool {
        self.serving.contains(&upload_shard(outlet_id))
    }

    /// Takes in what was sealed, and what somebody wants sent again.
    fn hear(&mut self) {
        let feed = Arc::clone(self.uploads.deliveries.feed());
        let linger_ms = self.uploads.section.linger_ms;
        for (group, next) in feed.tails() {
            let mut from = *self.seen.entry(group).or_insert(next);
            for _ in 0..PAGES_MAX {
                if from >= next {
                    break;
                }
                let Found::Events { events, next } = feed.from(group, from) else {
                    // More has come than is kept: all outlets are looked at instead.
                    from = next;
                    self.look_at = Instant::now();
                    break;
                };
                for event in events {
                    let seals = event.kind == EventType::InvoiceSealed;
                    if seals && self.serves(&event.outlet_id) && self.is_live(&event.outlet_id) {
                        let due_ms = wall_ms() + linger_ms;
                        self.wait(&event.outlet_id.clone(), event.time_ms, due_ms);
                    }
                }
                from = next;
            }
            self.seen.insert(group, from);
        }
        for outlet_id in feed.take_asked() {
            if self.serves(&outlet_id) && self.is_live(&outlet_id) {
                self.wait(&outlet_id, 0, wall_ms());
            }
        }
    }

    fn is_live(&self, outlet_id: &str) -> bool {
        let tables = self.uploads.directory.read();
        let fact = tables.outlets.get(outlet_id);
        fact.is_some_and(|fact| fact.value.environment == Environment::Live)
    }

    /// Something of an outlet waits.
    fn wait(&mut self, outlet_id: &str, oldest_ms: u64, due_ms: u64) {
        let known = self.known.entry(outlet_id.to_owned()).or_default();
        if known.oldest_ms == 0 {
            known.oldest_ms = oldest_ms;
        }
        if known.on_its_way {
            known.heard = true;
        } else {
            self.pace.enqueue(outlet_id, known.oldest_ms, due_ms);
        }
    }

    fn take_turns(&mut self) {
        let control = {
            let tables = self.uploads.directory.read();
            tables.upload_control.get(CONTROL_ID).map(|known| known.value.clone())
        };
        let control = control.unwrap_or_default();
        if control.paused || !self.uploads.directory.is_loaded() {
            return;
        }
        let now_ms = wall_ms();
        loop {
            let ready = |outlet: &str| !control.paused_outlets.contains(outlet);
            let Some(outlet_id) = self.pace.next(now_ms, ready) else { return };
            let entry = self.uploads.directory.read().outlet(&outlet_id);
            let live = entry.filter(|it| it.fact.value.environment == Environment::Live);
            let Some(entry) = live.filter(|_| self.serves(&outlet_id)) else {
                self.pace.idle();
                self.known.remove(&outlet_id);
                continue;
            };
            let known = self.known.entry(outlet_id.clone()).or_default();
            (known.on_its_way, known.heard) = (true, false);
            let turn = Turn {
                outlet_id: outlet_id.clone(),
                merchant_nif: entry.merchant.value.nif.clone(),
                group: entry.group(),
                later: known.later.clone(),
            };
            // A batch is at most so large; what it did not take is given back when that is known.
            self.pace.spend(self.uploads.section.batch_max);
            let (means, sending) = (self.uploads.means.clone(), Arc::clone(&self.sending));
            let attempts = self.pace.standing().0 + 1;
            self.tasks.spawn(async move {
                let took = take(&means, &turn, &sending, attempts).await;
                Happened::Took { outlet_id: turn.outlet_id, took }
            });
        }
    }

    fn happened(&mut self, happened: Happened) {
        match happened {
            Happened::Looked(shards, waits) => {
                self.looking = false;
                self.unlooked.retain(|shard| !shards.contains(shard));
                for Waits { outlet_id, oldest_ms } in waits {
                    if self.serves(&outlet_id) {
                        self.wait(&outlet_id, oldest_ms, 0);
                    }
                }
            }
            Happened::Took { outlet_id, took } => self.took(&outlet_id, took),
            Happened::Wrote(done) => {
                self.writing = false;
                if !done {
                    self.written.clear();
                }
            }
        }
    }

    fn took(&mut self, outlet_id: &str, took: Took) {
        let (now_ms, random) = (wall_ms(), self.random());
        let batch_max = self.uploads.section.batch_max;
        let clear = |sending: &std::sync::Mutex<BTreeMap<String, Sending>>| {
            sending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(outlet_id);
        };
        let mut known = self.known.remove(outlet_id).unwrap_or_default();
        known.on_its_way = false;
        match took {
            Took::Nothing => {
                clear(&self.sending);
                self.pace.unspend(batch_max);
                self.pace.idle();
                // What was sealed after the journal was read is read in another turn.
                if known.heard {
                    self.again(outlet_id, Known::default(), now_ms);
                }
            }
            Took::Settled { settled, oldest_ms } => {
                clear(&self.sending);
                let count = settled.acknowledged + settled.rejected + settled.failed;
                self.pace.unspend(batch_max.saturating_sub(count + settled.later.len()));
                self.pace.answered();
                self.last_error.clear();
                self.answered.push_back((now_ms, count as u64));
                self.uploads.figures.settled(&settled);
                if settled.rejected + settled.failed > 0 {
                    let (rejected, failed) = (settled.rejected, settled.failed);
                    tracing::warn!(
                        outlet_id,
                        rejected,
                        failed,
                        "the tax authority refuses invoices"
                    );
                }
                let due_ms = if settled.later.is_empty() {
                    known.attempts = 0;
                    now_ms
                } else {
                    known.attempts += 1;
                    now_ms + self.pace.pause_ms(known.attempts, random)
                };
                // The next turn finds out whether there is more; until then nothing older is known.
                known.oldest_ms = oldest_ms;
                known.later = settled.later;
                self.again(outlet_id, known, due_ms);
            }
            Took::Unknown { reason, retry_after_ms, oldest_ms } => {
                self.uploads.figures.unanswered();
                self.pace.failed(now_ms, retry_after_ms, random);
                let (failures, hold_until_ms) = self.pace.standing();
                let pause_ms = hold_until_ms.saturating_sub(now_ms);
                tracing::warn!(outlet_id, reason, failures, pause_ms, "a batch has no answer");
                self.last_error = reason.chars().take(ERROR_CHARS_MAX).collect();
                known.oldest_ms = oldest_ms;
                self.again(outlet_id, known, now_ms);
            }
            Took::Cluster(error) => {
                self.pace.unspend(batch_max);
                self.pace.idle();
                tracing::info!(outlet_id, %error, "an outlet's turn is put off");
                self.again(outlet_id, known, now_ms + CLUSTER_PAUSE_MS);
            }
        }
    }

    /// The outlet has another turn, if it is served here still.
    fn again(&mut self, outlet_id: &str, known: Known, due_ms: u64) {
        if self.serves(outlet_id) {
            self.pace.enqueue(outlet_id, known.oldest_ms, due_ms);
            self.known.insert(outlet_id.to_owned(), known);
        }
    }

    fn beat(&mut self) {
        self.beats += 1;
        let now_ms = wall_ms();
        while self.answered.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) > MINUTE_MS) {
            self.answered.pop_front();
        }
        if !self.looking && Instant::now() >= self.look_at && !self.serving.is_empty() {
            self.look();
        }
        self.alarm(now_ms);
        if self.beats.is_multiple_of(PROGRESS_BEATS) {
            self.write(now_ms);
        }
        let (failures, hold_until_ms) = self.pace.standing();
        self.uploads.figures.show(Shown {
            outlets: self.known.len(),
            late: self.known.values().filter(|known| known.alarmed).count(),
            oldest_ms: self.oldest_age(now_ms),
            in_flight: self.known.values().filter(|known| known.on_its_way).count(),
            failures,
            hold_ms: hold_until_ms.saturating_sub(now_ms),
        });
    }

    fn oldest_age(&self, now_ms: u64) -> u64 {
        let oldest = self.known.values().map(|known| known.oldest_ms).filter(|ms| *ms > 0).min();
        oldest.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms))
    }

    /// Says once of each outlet that its oldest invoice has waited for too long.
    fn alarm(&mut self, now_ms: u64) {
        let grace_ms = self.uploads.section.grace_ms;
        for (outlet_id, known) in &mut self.known {
            let age_ms = now_ms.saturating_sub(known.oldest_ms);
            let late = known.oldest_ms > 0 && age_ms > grace_ms;
            if late && !known.alarmed {
                tracing::error!(
                    outlet_id,
                    age_ms,
                    "invoices are not uploaded within the grace period"
                );
            }
            known.alarmed = late;
        }
    }

    /// Looks through all outlets for whatever waits.
    fn look(&mut self) {
        self.looking = true;
        self.look_at = Instant::now() + LOOK_PAUSE;
        let (means, serving) = (self.uploads.means.clone(), self.serving.clone());
        let known: BTreeSet<String> = self.known.keys().cloned().collect();
        self.tasks.spawn(async move {
            let waits = look(&means, &serving, &known).await;
            Happened::Looked(serving, waits)
        });
    }

    /// Tells what is on its way, where that has changed.
    fn write(&mut self, now_ms: u64) {
        if self.writing {
            return;
        }
        let sending =
            self.sending.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let (failures, hold_until_ms) = self.pace.standing();
        let late = self.known.iter().filter(|(_, known)| known.alarmed);
        let late: Vec<(String, u64)> =
            late.map(|(outlet, known)| (outlet.clone(), known.oldest_ms)).collect();
        let per_minute = self.answered.iter().map(|(_, count)| count).sum();
        let mut puts = Vec::new();
        for shard in self.serving.difference(&self.unlooked) {
            let own = sending.iter().filter(|(outlet, _)| upload_shard(outlet) == *shard);
            let of_shard = |it: &&(String, u64)| upload_shard(&it.0) == *shard;
            let progress = UploadProgress {
                written_ms: 0,
                gateway: self.name.clone(),
                failures,
                last_error: self.last_error.clone(),
                hold_until_ms,
                per_minute,
                sending: own.map(|(outlet, it)| (outlet.clone(), it.clone())).collect(),
                late: late.iter().filter(of_shard).take(LATE_MAX).cloned().collect(),
            };
            if self.written.get(shard) == Some(&progress) {
                continue;
            }
            let id = shard.to_string();
            let seen = self.uploads.directory.read().version(kind::UPLOAD_PROGRESS, &id);
            let told = UploadProgress { written_ms: now_ms, ..progress.clone() };
            puts.push(put(kind::UPLOAD_PROGRESS, &id, seen, &told));
            self.written.insert(*shard, progress);
        }
        if puts.is_empty() {
            return;
        }
        self.writing = true;
        let (cluster, directory) =
            (self.uploads.means.cluster.clone(), Arc::clone(&self.uploads.directory));
        self.tasks.spawn(async move {
            let written = write(&cluster, puts).await;
            if let Written::Conflict(documents) = &written {
                documents.iter().for_each(|document| directory.note(document));
            }
            Happened::Wrote(matches!(written, Written::Taken))
        });
    }
}

/// One turn.
async fn take(
    means: &Means,
    turn: &Turn,
    sending: &std::sync::Mutex<BTreeMap<String, Sending>>,
    attempts: u32,
) -> Took {
    let prepared = match means.prepare(turn).await {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return Took::Nothing,
        Err(error) => return Took::Cluster(error),
    };
    note(sending, turn, &prepared, attempts);
    match means.send(&prepared).await {
        Sent::Unknown { reason, retry_after_ms } => {
            Took::Unknown { reason, retry_after_ms, oldest_ms: prepared.oldest_ms }
        }
        Sent::Answered(answered) => match means.record(turn, &prepared, answered).await {
            Ok(settled) => Took::Settled { settled, oldest_ms: prepared.oldest_ms },
            Err(error) => Took::Cluster(error),
        },
    }
}

fn note(
    sending: &std::sync::Mutex<BTreeMap<String, Sending>>,
    turn: &Turn,
    prepared: &Prepared,
    attempts: u32,
) {
    let places = prepared.batch.invoices.iter().map(|item| item.position);
    let (first, last) = (places.clone().min().unwrap_or(0), places.max().unwrap_or(0));
    let mut sending = sending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let since_ms = sending
        .get(&turn.outlet_id)
        .filter(|known| known.first == first)
        .map_or_else(wall_ms, |known| known.since_ms);
    let count = u32::try_from(prepared.batch.invoices.len()).unwrap_or(u32::MAX);
    sending.insert(turn.outlet_id.clone(), Sending { first, last, count, attempts, since_ms });
}

/// Every outlet of these parts of which something waits and that is not known.
async fn look(means: &Means, serving: &BTreeSet<usize>, known: &BTreeSet<String>) -> Vec<Waits> {
    let mut waits = Vec::new();
    for group in means.cluster.groups() {
        let request = ListOutletsRequest {
            group,
            after: String::new(),
            consistency: Consistency::Local.into(),
        };
        if group == 0 {
            continue;
        }
        let mut rows = Box::pin(means.cluster.list_outlets(request, LIST_WAIT));
        while let Some(row) = rows.next().await {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    tracing::info!(group, %error, "the outlets of a group are not heard of");
                    break;
                }
            };
            let own = serving.contains(&upload_shard(&row.outlet_id));
            if !own || known.contains(&row.outlet_id) {
                continue;
            }
            let Ok(outlet) = Outlet::from_stored(&row.row) else { continue };
            let live = outlet.fact.environment == Environment::Live;
            if !live || outlet.upload_queue() == 0 {
                continue;
            }
            let turn = Turn {
                outlet_id: row.outlet_id.clone(),
                merchant_nif: String::new(),
                group,
                later: BTreeMap::new(),
            };
            let oldest_ms = means.oldest_ms(&turn, outlet.uploads.through).await;
            let oldest_ms = oldest_ms.ok().flatten().unwrap_or(0);
            waits.push(Waits { outlet_id: row.outlet_id, oldest_ms });
        }
    }
    waits
}
