//! What goes wrong: lanes of faults, each with one fault after the other, all lanes at once, everything by the seed.

mod machine;
mod operating;
mod partition;
mod supervise;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use fiscus_dice::Dice;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::{Cluster, DIRECTORY, GROUP};
use crate::operator::Operator;
use crate::record::{Recorder, Span};
use crate::watch::addresses;

use operating::Change;
use supervise::Troubles;

/// A node that was away has everything again within this time.
const CAUGHT_UP: Duration = Duration::from_secs(90);
/// Whoever starts nodes again does not hurry.
const START_AGAIN: Duration = Duration::from_secs(1);

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Nemesis {
    /// kill -9 of the leader or of another node.
    Kill,
    /// kill -9 of all nodes at once.
    KillAll,
    /// SIGSTOP of the leader.
    Pause,
    /// The leader alone, another alone, a node from everybody, or each node from its next but one.
    Partition,
    /// A node that hears the others and is not heard, or the other way round.
    OneWay,
    /// 30 of 100 packets are lost, at one node or at all.
    Loss,
    /// One clock jumps by 300 s, forth or back, or runs too fast.
    Clock,
    /// The clocks of a majority do.
    Clocks,
    /// A machine loses power: what was not synced is gone.
    Power,
    /// All of them do.
    PowerAll,
    /// A disk is full.
    Full,
    /// A dead node's files are changed, cut, or replaced by older ones.
    Corrupt,
    /// A new node comes, and another one goes.
    Members,
    /// Every node is restarted in turn.
    Rolling,
    /// A node is restarted with the other one of two programs.
    Upgrade,
    /// Another node is asked to lead.
    Transfer,
    /// A node is told to make a snapshot.
    Snapshot,
}

impl Nemesis {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Loss => "loss",
            Self::Clock => "clock",
            Self::Clocks => "clocks",
            Self::Power => "power",
            Self::PowerAll => "power-all",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Members => "members",
            Self::Rolling => "rolling",
            Self::Upgrade => "upgrade",
            Self::Transfer => "transfer",
            Self::Snapshot => "snapshot",
        }
    }

    /// Faults of one lane do not overlap; those of different lanes do.
    fn lane(self) -> &'static str {
        match self {
            Self::Partition | Self::OneWay | Self::Loss => "network",
            Self::Clock | Self::Clocks => "clocks",
            Self::Full => "disks",
            Self::Members | Self::Transfer | Self::Snapshot => "operator",
            _ => "machines",
        }
    }

    pub(crate) fn needs_disks(self) -> bool {
        matches!(self, Self::Power | Self::PowerAll | Self::Full)
    }

    pub(crate) fn needs_clocks(self) -> bool {
        matches!(self, Self::Clock | Self::Clocks)
    }
}

/// Everything that faults are done with.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) cluster: Arc<Mutex<Cluster>>,
    pub(crate) operator: Operator,
    pub(crate) recorder: Recorder,
    pub(crate) seed: u64,
    /// No fault begins afterwards.
    pub(crate) until: Instant,
    /// Between two faults of a lane, and of a fault, at most so long.
    pub(crate) gap_ms_max: u64,
    pub(crate) fault_ms_max: u64,
    numbers: Arc<AtomicU64>,
    /// Nodes whose files were damaged.
    damaged: Arc<Mutex<BTreeSet<u64>>>,
    /// Nodes that have come or gone half-way.
    unfinished: Arc<Mutex<BTreeMap<u64, Change>>>,
    troubled: Arc<Mutex<Troubles>>,
    /// Each holds the recorder until it ends.
    measuring: Arc<Mutex<JoinSet<()>>>,
}

/// How a fault went.
#[derive(Debug, Default)]
struct Done {
    target: String,
    /// When it was done.
    hit: u64,
    /// Whether it took the data group's leader away.
    leader: bool,
    /// It could not be done.
    undone: bool,
}

impl Faults {
    pub(crate) fn new(
        cluster: Arc<Mutex<Cluster>>,
        operator: Operator,
        recorder: Recorder,
        seed: u64,
        until: Instant,
    ) -> Self {
        Self {
            cluster,
            operator,
            recorder,
            seed,
            until,
            gap_ms_max: 5_000,
            fault_ms_max: 6_000,
            numbers: Arc::default(),
            damaged: Arc::default(),
            unfinished: Arc::default(),
            troubled: Arc::default(),
            measuring: Arc::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everything begin to go wrong.
    pub(crate) fn start(&self, nemeses: &[Nemesis]) -> JoinSet<Result<()>> {
        let mut lanes: BTreeMap<&'static str, Vec<Nemesis>> = BTreeMap::new();
        for nemesis in nemeses {
            lanes.entry(nemesis.lane()).or_default().push(*nemesis);
        }
        let mut running = JoinSet::new();
        for (lane, nemeses) in lanes {
            running.spawn(self.clone().lane(lane, nemeses));
        }
        running
    }

    async fn lane(self, name: &'static str, nemeses: Vec<Nemesis>) -> Result<()> {
        let mut dice = Dice::new(self.seed, name);
        let mut turn = dice.below(nemeses.len() as u64);
        loop {
            let gap = Duration::from_millis(dice.between(self.gap_ms_max / 5, self.gap_ms_max));
            sleep_until((Instant::now() + gap).min(self.until)).await;
            if Instant::now() >= self.until {
                return Ok(());
            }
            // Each has its turn, and by chance a second one.
            let at = match dice.chance(70) {
                true => turn,
                false => dice.below(nemeses.len() as u64),
            };
            turn = (turn + 1) % nemeses.len() as u64;
            let nemesis = nemeses[usize::try_from(at)?];
            let start = self.recorder.now();
            let done = self.carry_out(nemesis, &mut dice).await;
            let end = self.recorder.now();
            match done {
                Ok(Done { target, hit, leader, undone }) => {
                    let name = nemesis.name();
                    let target = if undone { format!("{target} (not done)") } else { target };
                    let span = Span { name, target, start, end, hit, leader, undone };
                    self.recorder.span(span)?;
                }
                Err(error) => self.recorder.remark(format!("{}: {error:#}", nemesis.name())),
            }
        }
    }

    async fn carry_out(&self, nemesis: Nemesis, dice: &mut Dice) -> Result<Done> {
        let length = Duration::from_millis(dice.between(self.fault_ms_max / 6, self.fault_ms_max));
        match nemesis {
            Nemesis::Kill => self.kill(dice, length).await,
            Nemesis::KillAll => self.kill_all(length).await,
            Nemesis::Pause => self.pause(length).await,
            Nemesis::Partition => self.partition(dice, length).await,
            Nemesis::OneWay => self.one_way(dice, length).await,
            Nemesis::Loss => self.loss(dice, length).await,
            Nemesis::Clock => self.clocks(1, dice, length).await,
            Nemesis::Clocks => {
                let majority = self.lock().nodes.len() / 2 + 1;
                self.clocks(majority, dice, length).await
            }
            Nemesis::Power => self.power(dice, length).await,
            Nemesis::PowerAll => self.power_all(length).await,
            Nemesis::Full => self.full(dice, length).await,
            Nemesis::Corrupt => self.corrupt(dice, length).await,
            Nemesis::Members => self.members(dice).await,
            Nemesis::Rolling => self.rolling().await,
            Nemesis::Upgrade => self.upgrade(dice).await,
            Nemesis::Transfer => self.transfer(dice).await,
            Nemesis::Snapshot => self.snapshot(dice).await,
        }
    }

    /// A number for rules of the network.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Who leads the data group, if somebody says so.
    async fn leader(&self) -> Option<u64> {
        let mut leads = None;
        for (id, address) in addresses(&self.cluster) {
            let replica = self.operator.replica(&address, GROUP).await;
            if let Some(replica) = replica.filter(|replica| replica.role == "leader") {
                leads = leads.max(Some((replica.term, id)));
            }
        }
        leads.map(|(_, id)| id)
    }

    /// A node, every second time the leader.
    async fn victim(&self, dice: &mut Dice) -> Result<(u64, bool)> {
        let leader = self.leader().await;
        let ids = self.lock().ids();
        if let Some(leader) = leader.filter(|_| dice.chance(50)) {
            return Ok((leader, true));
        }
        let at = usize::try_from(dice.below(ids.len() as u64))?;
        let id = *ids.get(at).context("there are nodes")?;
        Ok((id, leader == Some(id)))
    }

    fn measuring(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.measuring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not measured by now is given up.
    pub(crate) fn stop_measuring(&self) {
        self.measuring().abort_all();
    }

    /// Measures how long a node takes to have everything again, beside whatever goes on.
    fn measure(&self, id: u64, note: fn(&Recorder, u64, u64)) {
        let nodes = addresses(&self.cluster);
        let (operator, recorder) = (self.operator.clone(), self.recorder.clone());
        let own = nodes.iter().find(|(known, _)| *known == id).map(|(_, address)| address.clone());
        let others = nodes.into_iter().filter(|(known, _)| *known != id);
        let others: Vec<String> = others.map(|(_, address)| address).collect();
        let Some(own) = own else { return };
        self.measuring().spawn(async move {
            // Another fault may keep it longer: then there is nothing to measure.
            if let Ok((answered, caught_up)) = operator.caught_up(&own, &others, CAUGHT_UP).await {
                note(&recorder, answered, caught_up);
            }
        });
    }

    /// Starts a node again, and measures how long it takes. It may have gone for good meanwhile.
    fn start_again(&self, id: u64) -> Result<()> {
        {
            let mut cluster = self.lock();
            let Some(node) = cluster.nodes.get_mut(&id) else { return Ok(()) };
            node.held = false;
            cluster.run(id)?;
        }
        self.measure(id, |recorder, answered, caught_up| {
            recorder.seen().restarts.push((answered, caught_up));
        });
        Ok(())
    }

    /// Ends every fault, and starts who does not run.
    pub(crate) fn heal(&self) -> Result<()> {
        let mut cluster = self.lock();
        cluster.network.heal()?;
        for id in cluster.ids() {
            let node = cluster.node(id)?;
            node.held = false;
            node.signal(Signal::CONT)?;
            if let Ok(clock) = node.clock() {
                clock.is_right()?;
            }
            if node.disk().is_ok_and(|disk| !disk.has_power()) {
                node.kill();
                node.disk()?.start_again()?;
            }
            if let Ok(disk) = node.disk() {
                disk.empty()?;
            }
            cluster.run(id)?;
        }
        self.all_disks_work();
        Ok(())
    }

    /// Waits until all replicas of all nodes are in service and equal; how long it took.
    pub(crate) async fn converged(&self, patience: Duration) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let why = match self.agree().await {
                None => return Ok(began.elapsed()),
                Some(why) => why,
            };
            if began.elapsed() > patience {
                bail!("all is healed, and after {patience:?} {why}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// What is not equal yet.
    async fn agree(&self) -> Option<String> {
        let mut groups: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (id, address) in addresses(&self.cluster) {
            let Some(status) = self.operator.status(&address).await else {
                return Some(format!("node {id} does not answer"));
            };
            // A group that is closed on a node is not among its replicas.
            for group in [DIRECTORY, GROUP] {
                if !status.replicas.iter().any(|replica| replica.group == group) {
                    let alerts: String =
                        status.alerts.iter().map(|alert| format!("; {alert}")).collect();
                    return Some(format!("node {id} does not host group {group}{alerts}"));
                }
            }
            for replica in status.replicas {
                let group = replica.group;
                for why in [&replica.stopped, &replica.recovering] {
                    if !why.is_empty() {
                        return Some(format!("group {group} of node {id}: {why}"));
                    }
                }
                let own = (replica.leaves, replica.applied);
                let first = *groups.entry(group).or_insert(own);
                // Entries without effects go on coming: those that were asked later have more.
                if first.0 != own.0 || own.1 < first.1 {
                    let (leaves, applied) = own;
                    return Some(format!(
                        "group {group} of node {id} has {leaves} leaves and {applied} entries, another {first:?}"
                    ));
                }
            }
        }
        None
    }

    /// Mends what was damaged: every node that was, until a scrub finds nothing.
    pub(crate) async fn scrub(&self) -> Result<()> {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let there = self.lock().ids();
        for id in damaged.into_iter().filter(|id| there.contains(id)) {
            let asked = format!("scrub --node {id} --repair --yes --json");
            let mut told = self.operator.run(&asked, CAUGHT_UP).await;
            for _ in 0..5 {
                if told.is_ok() {
                    break;
                }
                sleep(START_AGAIN).await;
                told = self.operator.run(&asked, CAUGHT_UP).await;
            }
            told.with_context(|| format!("node {id}, whose files were damaged, is not mended"))?;
        }
        Ok(())
    }
}
