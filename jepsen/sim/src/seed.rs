//! One seed, from an empty cluster to the verdict.
//!
//! ```text
//! founding ─► storm (clients work, faults happen) ─► quiet (all healed: converge, serve) ─► journals judged
//! ```
//!
//! Invariant: one thread, one seed, one run. Whatever the program has of chance or time comes from the seed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fiscus_ledger::hash::{Hash32, hex, payload_hash};
use fiscus_node::Node;
use fiscus_raft::store::Reading;
use serde::{Deserialize, Serialize};
use turmoil::Sim;

use crate::keys;
use crate::network::machine;
use crate::operator::{self, DATA_GROUP};
use crate::plan::Plan;
use crate::storm::{DELAY_MAX, Storm};
use crate::watch::Watch;
use crate::world::{Order, Phase, World};
use crate::{clients, operator::founders};

/// What openraft says when a leader steps down and takes a shorter log of a later term before its stream to a follower has
/// ended: it compares ids of entries, and asserts something of indexes. As delivered, without the assertion, it reads nothing
/// and gives the request up because the leader has changed; here the stream ends.
const HARMLESS_PANIC: &str = "read_log_entries received reversed range";
/// Machines that vote from the beginning.
const VOTERS: u64 = 3;
/// Machines with clients.
const CLIENTS: u64 = 2;
const TICK: Duration = Duration::from_millis(1);
/// The machine's clock when the simulation begins: it has been running for a while,
const MONOTONIC: Duration = Duration::from_secs(100_000);
/// and this is the time of day.
const WALL: Duration = Duration::from_secs(1_795_262_400);
const FOUNDING_MS_MAX: u64 = 60_000;
const QUIET_MS_MAX: u64 = 90_000;
/// What a seed must have had to count.
const ACKNOWLEDGED_MIN: u64 = 300;
const FAULTS_MIN: usize = 5;
/// A storm with too few seals goes on for at most so long, until there are some more than it takes.
const LONGER_MS_MAX: u64 = 8_000;
const SPARE: u64 = 20;
const TRACE_LINES_MAX: usize = 2_000_000;

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What is asked of a run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these faults of the plan happen, by their place in it.
    pub only: Option<BTreeSet<usize>>,
    /// Whether the trace is kept, and not only its hash.
    pub keep_trace: bool,
}

/// What a run came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Seals that were acknowledged.
    pub acknowledged: u64,
    /// Attempts of which nobody knew what became of them.
    pub unknown: u64,
    /// Repetitions that got the same bytes.
    pub repeated: u64,
    /// Linearizable looks, those at checkpoints included.
    pub looks: u64,
    /// The faults that happened.
    pub faults: Vec<String>,
    /// Changes of the data group's leader.
    pub leader_changes: u64,
    /// Processes that were started again.
    pub restarts: u64,
    /// Milliseconds from the end of the faults until everything was equal and served.
    pub quiet_ms: u64,
    /// Milliseconds of the simulation.
    pub simulated_ms: u64,
    /// What was wrong; nothing is, when it is empty.
    pub wrong: Vec<String>,
    /// Hash of everything that happened.
    pub trace_hash: String,
    /// Everything that happened, when it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
}

impl Outcome {
    /// Whether enough has happened for the seed to count.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.acknowledged >= ACKNOWLEDGED_MIN
            && self.faults.len() >= FAULTS_MIN
            && self.leader_changes >= 1
            && self.restarts >= 1
    }
}

/// How many faults a seed plans.
#[must_use]
pub fn planned_faults(seed: u64) -> usize {
    Plan::count(seed, VOTERS)
}

/// Runs a seed on a thread of its own. It is the same run again only as the first one of its process: some of
/// what the program is made of counts what was before.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    // Made outside: it belongs to the process.
    let signer = keys::signer();
    note_panics();
    let options = options.clone();
    let run = move || {
        fiscus_stand_in::enter(seed, MONOTONIC, WALL);
        let world = World::new(VOTERS + 1, signer);
        Run::new(seed, &options, world).run()
    };
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(16 << 20);
    let thread = thread.spawn(run).expect("a thread");
    thread.join().unwrap_or_else(|_| Outcome {
        seed,
        wrong: vec!["the simulation panicked".to_owned()],
        ..Outcome::default()
    })
}

/// A panic of a task ends only the task; here it ends the seed.
fn note_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let what = info.to_string();
            if !what.contains(HARMLESS_PANIC) {
                PANICS.with_borrow_mut(|panics| panics.push(what));
            }
            before(info);
        }));
    });
}

struct Trace {
    hash: Hash32,
    waiting: String,
    lines: Vec<String>,
    keep: bool,
}

impl Trace {
    fn note(&mut self, now: u64, what: &str) {
        let at = self.waiting.len();
        let _ = writeln!(self.waiting, "{now} {what}");
        if self.keep && self.lines.len() < TRACE_LINES_MAX {
            self.lines.push(self.waiting[at..].trim_end().to_owned());
        }
        if self.waiting.len() > 1 << 16 {
            self.fold();
        }
    }

    fn fold(&mut self) {
        let mut bytes = self.hash.to_vec();
        bytes.extend_from_slice(self.waiting.as_bytes());
        self.hash = payload_hash(&bytes);
        self.waiting.clear();
    }
}

struct Run {
    seed: u64,
    world: World,
    watch: Watch,
    trace: Trace,
    storm: Storm,
    answered: (u64, u64, u64),
    quiet_ms: u64,
}

impl Run {
    fn new(seed: u64, options: &Options, world: World) -> Self {
        let plan = Plan::of(seed, VOTERS, options.only.as_ref());
        let clients = (0..CLIENTS).map(|number| format!("c{number}")).collect();
        let storm = Storm::new(world.clone(), plan, seed, VOTERS, clients);
        let trace = Trace {
            hash: [0; 32],
            waiting: String::new(),
            lines: Vec::new(),
            keep: options.keep_trace,
        };
        Self {
            seed,
            world,
            watch: Watch::default(),
            trace,
            storm,
            answered: (0, 0, 0),
            quiet_ms: 0,
        }
    }

    fn run(mut self) -> Outcome {
        let mut sim = turmoil::Builder::new()
            .rng_seed(self.seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(DELAY_MAX)
            .tcp_capacity(16_384)
            .epoch(SystemTime::now())
            .build();
        self.machines(&mut sim);
        let ended = self.phases(&mut sim);
        let mut outcome = self.outcome(now(&sim));
        outcome.wrong.extend(ended.err());
        outcome.wrong.extend(PANICS.with_borrow_mut(std::mem::take));
        // Whatever the nodes do while they are dropped is not looked at any more.
        drop(sim);
        outcome
    }

    fn machines(&mut self, sim: &mut Sim<'_>) {
        for id in 1..=VOTERS + 1 {
            let world = self.world.clone();
            sim.host(machine(id), move || process(world.clone(), id));
            if founders(VOTERS).contains(&id) {
                self.storm.started(id);
            } else {
                // It is there, and not switched on yet.
                sim.crash(machine(id));
            }
        }
        let world = self.world.clone();
        sim.host("operator", move || {
            let world = world.clone();
            async move {
                operator::run(world, VOTERS).await;
                std::future::pending().await
            }
        });
        for number in 0..CLIENTS {
            let (world, seed) = (self.world.clone(), self.seed);
            sim.host(format!("c{number}"), move || {
                let world = world.clone();
                async move {
                    clients::run(world, VOTERS, seed, number).await;
                    std::future::pending().await
                }
            });
        }
    }

    fn phases(&mut self, sim: &mut Sim<'_>) -> Result<(), String> {
        while !self.world.lock().founded {
            self.step(sim)?;
            let ended = self.world.lock().machines.values().find_map(|known| known.ended.clone());
            if let Some(why) = ended {
                return Err(format!("a node ended before anything went wrong: {why}"));
            }
            if now(sim) > FOUNDING_MS_MAX {
                return Err("the cluster was not founded in time".to_owned());
            }
        }
        self.world.lock().phase = Phase::Storm;
        self.storm.begin(now(sim));
        while !self.is_enough(now(sim)) {
            self.storm.step(sim, now(sim));
            self.step(sim)?;
        }
        self.storm.heal(sim, now(sim));
        self.world.lock().phase = Phase::Quiet;
        self.trace.note(now(sim), "quiet");
        let began = now(sim);
        let mut mending = self.storm.damaged;
        loop {
            // A process that ends after everything was healed comes back, too.
            self.storm.step(sim, now(sim));
            self.step(sim)?;
            let served = self.world.lock().served == CLIENTS;
            if served && now(sim).is_multiple_of(20) && self.unequal().is_none() {
                match mending.take() {
                    // Damage that nobody has read yet is looked for, as an operator does.
                    Some(node) => self.order_scrubs(node),
                    None if self.scrubbed()? => {
                        self.quiet_ms = now(sim) - began;
                        return self.judge();
                    }
                    None => {}
                }
            }
            if now(sim) > began + QUIET_MS_MAX {
                let state = self.unequal().unwrap_or_else(|| "clients are not served".to_owned());
                return Err(format!("all is healed for {QUIET_MS_MAX} ms, and {state}"));
            }
        }
    }

    /// Whether the storm may end: its time is over, and clients had enough of it.
    fn is_enough(&self, at: u64) -> bool {
        let few = self.world.lock().history.acknowledged < ACKNOWLEDGED_MIN + SPARE;
        self.storm.is_over(at) && (!few || self.storm.is_over(at - LONGER_MS_MAX.min(at)))
    }

    fn order_scrubs(&self, node: u64) {
        let scrubs = (0..=DATA_GROUP).map(|group| Order::Scrub { node, group });
        self.world.lock().orders.extend(scrubs);
    }

    /// Whether every scrub that was ordered has ended well.
    fn scrubbed(&self) -> Result<bool, String> {
        let shared = self.world.lock();
        let is_scrub = |order: &Order| matches!(order, Order::Scrub { .. });
        if shared.orders.iter().any(is_scrub) {
            return Ok(false);
        }
        let mut done = shared.carried_out.iter().filter(|(order, _)| is_scrub(order));
        let groups = usize::try_from(DATA_GROUP + 1).unwrap_or(0);
        let all = self.storm.damaged.is_none() || done.clone().count() == groups;
        match done.find_map(|(_, told)| told.as_ref().err()) {
            Some(error) => Err(error.clone()),
            None => Ok(all),
        }
    }

    /// One millisecond of everything, and what must hold after it.
    fn step(&mut self, sim: &mut Sim<'_>) -> Result<(), String> {
        let elapsed = sim.elapsed();
        fiscus_stand_in::set_time(MONOTONIC + elapsed, WALL + elapsed);
        sim.step().map_err(|error| format!("the simulation stopped: {error}"))?;
        let at = now(sim);
        for line in self.storm.log.drain(..) {
            self.trace.note(at, &line);
        }
        let shared = self.world.lock();
        let trace = &mut self.trace;
        self.watch.look(&shared, self.storm.damaged, |line| trace.note(at, &line));
        self.watch.wrong.extend(self.world.signed().look(&shared));
        let history = &shared.history;
        let answered = (history.acknowledged, history.unknown, history.looks.len() as u64);
        if answered != self.answered {
            self.answered = answered;
            let (sealed, unknown, looks) = answered;
            trace.note(
                at,
                &format!("clients have {sealed} sealed, {unknown} unknown, {looks} looks"),
            );
        }
        let panicked = PANICS.with_borrow(|panics| !panics.is_empty());
        let broken = shared.broken.clone();
        match broken {
            Some(broken) => Err(broken),
            None if panicked => Err("a task panicked".to_owned()),
            None if !self.watch.wrong.is_empty() => Err("an invariant does not hold".to_owned()),
            None if !history.wrong.is_empty() => Err("an answer was wrong".to_owned()),
            None => Ok(()),
        }
    }

    fn members(&self) -> Vec<u64> {
        let shared = self.world.lock();
        let mut members = founders(VOTERS);
        // Whoever joined in time is a member for the others, too.
        let groups = shared.machines[&1].groups.upgrade();
        let hosted = groups.and_then(|groups| groups.get(DATA_GROUP));
        if let Some(hosted) = hosted {
            members.extend(hosted.handle.status().voters);
        }
        members.into_iter().collect()
    }

    /// What still differs between the members.
    fn unequal(&self) -> Option<String> {
        let members = self.members();
        let shared = self.world.lock();
        for group in 0..=DATA_GROUP {
            let mut states = BTreeMap::new();
            for id in &members {
                let groups = shared.machines[id].groups.upgrade();
                let Some(hosted) = groups.as_ref().and_then(|groups| groups.get(group)) else {
                    let closed = groups.and_then(|groups| groups.closed_by(group));
                    let why = closed.unwrap_or_else(|| "it does not run".to_owned());
                    return Some(format!("n{id} does not host group {group}: {why}"));
                };
                let status = hosted.handle.status();
                if let Some(why) = status.stopped.or(status.recovering) {
                    return Some(format!("n{id}, group {group}: {why}"));
                }
                states.insert(*id, hosted.handle.replica().state_hash());
            }
            let first = states.values().next();
            if states.values().any(|state| Some(state) != first) {
                let indexes: Vec<u64> = states.values().map(|(index, _)| *index).collect();
                return Some(format!("group {group} is at {indexes:?} at {:?}", states.keys()));
            }
        }
        None
    }

    /// Compares the members' journals, and the one journal with everything that was seen.
    fn judge(&mut self) -> Result<(), String> {
        let given = self.world.lock().history.checkpoints.clone();
        for seen in given {
            self.watch.given(DATA_GROUP, seen.size, seen.root);
        }
        let mut leaves = BTreeSet::new();
        for group in 0..=DATA_GROUP {
            let mut first: Option<Journal> = None;
            for id in self.members() {
                let groups = self.world.lock().machines[&id].groups.upgrade();
                let hosted = groups.and_then(|groups| groups.get(group));
                let hosted = hosted.ok_or_else(|| format!("n{id} has no group {group}"))?;
                let reading = hosted.handle.replica().read();
                let reading = reading.map_err(|error| format!("n{id}: {error}"))?;
                let journal = Journal::read(&reading).map_err(|error| format!("n{id}: {error}"))?;
                match &first {
                    None => first = Some(journal),
                    Some(first) if *first == journal => {}
                    Some(_) => {
                        self.watch
                            .wrong
                            .push(format!("n{id} has another journal of group {group}"));
                    }
                }
            }
            let Some(journal) = first else { continue };
            leaves.extend(journal.leaves.iter().copied());
            let roots = self.watch.judge_roots(group, &journal.leaves);
            self.watch.wrong.extend(roots);
            let chains = crate::journal::judge(&journal.records);
            self.watch.wrong.extend(chains);
            if group == DATA_GROUP {
                let judged = self.world.lock().history.judge(&journal.records);
                self.watch.wrong.extend(judged);
            }
        }
        let signed = self.world.signed().judge(&leaves);
        self.watch.wrong.extend(signed);
        Ok(())
    }

    fn outcome(mut self, at: u64) -> Outcome {
        self.trace.fold();
        let shared = self.world.lock();
        let history = &shared.history;
        let mut wrong = self.watch.wrong.clone();
        wrong.extend(history.wrong.iter().cloned());
        wrong.sort_unstable();
        wrong.dedup();
        Outcome {
            seed: self.seed,
            acknowledged: history.acknowledged,
            unknown: history.unknown,
            repeated: history.repeated,
            looks: (history.looks.len() + history.checkpoints.len()) as u64,
            faults: self.storm.happened.iter().map(|name| (*name).to_owned()).collect(),
            leader_changes: self.watch.leader_changes(DATA_GROUP),
            restarts: self.storm.restarts,
            quiet_ms: self.quiet_ms,
            simulated_ms: at,
            wrong,
            trace_hash: hex(&self.trace.hash),
            trace: std::mem::take(&mut self.trace.lines),
        }
    }
}

/// All of a group's log, as one member has it.
#[derive(Debug, PartialEq, Eq)]
struct Journal {
    leaves: Vec<Hash32>,
    records: Vec<(u64, Vec<u8>)>,
}

impl Journal {
    fn read(reading: &Reading) -> Result<Self, String> {
        let (mut leaves, mut records) = (Vec::new(), Vec::new());
        for leaf in 0..reading.as_of().leaves {
            let entry = reading.leaf(leaf).map_err(|error| error.to_string())?;
            leaves.push(entry.ok_or_else(|| format!("leaf {leaf} is missing"))?.hash);
            let found = reading.record(leaf).map_err(|error| error.to_string())?;
            records.extend(found.map(|found| (leaf, found.record)));
        }
        Ok(Self { leaves, records })
    }
}

fn now(sim: &Sim<'_>) -> u64 {
    u64::try_from(sim.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What runs on a machine while it is on.
async fn process(world: World, id: u64) -> turmoil::Result {
    let ended = match world.boot(id).await {
        Err(error) => error.to_string(),
        Ok((config, surroundings)) => match Node::start_in(config, surroundings).await {
            Err(error) => error.to_string(),
            Ok(node) => {
                let groups = Arc::downgrade(node.groups());
                if let Some(machine) = world.lock().machines.get_mut(&id) {
                    machine.groups = groups;
                }
                match node.run(std::future::pending()).await {
                    Ok(()) => "it stopped".to_owned(),
                    Err(error) => error.to_string(),
                }
            }
        },
    };
    if let Some(machine) = world.lock().machines.get_mut(&id) {
        machine.ended = Some(ended);
    }
    // The process is gone; its machine is switched off from outside.
    std::future::pending().await
}
