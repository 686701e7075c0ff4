//! Makes the plan's faults happen, and heals them.

use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fiscus_dice::Dice;
use fiscus_raft::consensus::Role;
use fiscus_raft::disk::{Disk, RebootMode};
use turmoil::Sim;

use crate::network::machine;
use crate::operator::DATA_GROUP;
use crate::plan::{Fault, Plan, Who};
use crate::world::{Order, World};

/// How long messages take without any fault.
pub(crate) const DELAY_MAX: Duration = Duration::from_millis(6);
/// A process that ended by itself is started again after so long.
const RESTART_MS: u64 = 150;
/// An election that does not come is not waited for any longer.
const ELECTION_MS_MAX: u64 = 3_000;

/// Something that is to be done later.
#[derive(Debug, Clone)]
enum Later {
    Start(u64),
    Connect(Vec<(String, String)>),
    OneWayConnect(Vec<(String, String)>),
    Fast(u64),
    Room(u64),
    Prompt,
    Right(u64),
    Flicker(u64),
    /// Cut a machine off from the other nodes, for so many milliseconds.
    Isolate(u64, u64),
}

/// An election that is waited for.
#[derive(Debug, Clone, Copy)]
struct Election {
    /// Who led, and hears no other node until then.
    old: u64,
    /// The term that has ended.
    term: u64,
    mode: RebootMode,
    until: u64,
}

/// The faults of one seed.
pub(crate) struct Storm {
    plan: Plan,
    next: usize,
    began: u64,
    later: Vec<(u64, Later)>,
    election: Option<Election>,
    dice: Dice,
    world: World,
    voters: u64,
    clients: Vec<String>,
    running: Vec<bool>,
    /// How the disk is found when a cut that is planned for one of its steps has come.
    cut_modes: Vec<RebootMode>,
    /// Whose process may end by itself once: a sync of its disk fails, or will.
    sync_fails: Vec<bool>,
    /// Whose process may end by itself: its disk has been full or damaged since it was started.
    excused: Vec<bool>,
    /// So many orders of the operator have been looked at.
    carried_out: usize,
    /// Whose disk is damaged.
    pub(crate) damaged: Option<u64>,
    pub(crate) happened: Vec<&'static str>,
    pub(crate) restarts: u64,
    pub(crate) log: Vec<String>,
}

impl Storm {
    pub(crate) fn new(
        world: World,
        plan: Plan,
        seed: u64,
        voters: u64,
        clients: Vec<String>,
    ) -> Self {
        let machines = usize::try_from(voters).unwrap_or(0) + 2;
        Self {
            plan,
            next: 0,
            began: 0,
            later: Vec::new(),
            election: None,
            dice: Dice::new(seed, "storm"),
            world,
            voters,
            clients,
            running: vec![false; machines],
            cut_modes: vec![RebootMode::KeepUnsynced; machines],
            sync_fails: vec![false; machines],
            excused: vec![false; machines],
            carried_out: 0,
            damaged: None,
            happened: Vec::new(),
            restarts: 0,
            log: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self, now: u64) {
        self.began = now;
    }

    /// A machine's process was started from outside.
    pub(crate) fn started(&mut self, id: u64) {
        self.running[index(id)] = true;
    }

    pub(crate) fn is_over(&self, now: u64) -> bool {
        now >= self.began + self.plan.ends
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.reap(sim, now);
        self.await_election(sim, now);
        let due = |later: &(u64, Later)| later.0 <= now;
        let (ready, waiting) = std::mem::take(&mut self.later).into_iter().partition(due);
        self.later = waiting;
        let ready: Vec<(u64, Later)> = ready;
        for (_, later) in ready {
            self.end(sim, later, now);
        }
        while let Some(planned) = self.plan.faults.get(self.next).cloned() {
            if self.began + planned.at > now {
                break;
            }
            self.next += 1;
            if self.happen(sim, &planned.fault, now, planned.lasts) {
                self.log.push(format!("{now} {planned}"));
                if !planned.fault.is_an_order() {
                    self.happened.push(planned.fault.name());
                }
            }
        }
        self.note_orders();
    }

    /// What the operator was told to do counts when it is done.
    fn note_orders(&mut self) {
        let shared = self.world.lock();
        let done = &shared.carried_out[self.carried_out..];
        self.happened.extend(
            done.iter().filter(|(_, told)| told.is_ok()).filter_map(|(order, _)| order.fault()),
        );
        self.carried_out = shared.carried_out.len();
    }

    /// Ends all faults at once.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>, now: u64) {
        self.next = self.plan.faults.len();
        if let Some(election) = self.election.take() {
            self.end(sim, Later::Connect(self.links_of_nodes(election.old)), now);
        }
        let later = std::mem::take(&mut self.later);
        for (_, later) in later {
            if !matches!(later, Later::Flicker(_) | Later::Isolate(..)) {
                self.end(sim, later, now);
            }
        }
    }

    /// Processes that have ended are gone, and come back.
    fn reap(&mut self, sim: &mut Sim<'_>, now: u64) {
        for id in 1..=self.voters + 1 {
            if !self.running[index(id)] {
                continue;
            }
            let (ended, off) = {
                let mut shared = self.world.lock();
                let found = shared.machines.get_mut(&id).expect("there is such a machine");
                (found.ended.take(), found.disk.is_off())
            };
            if off {
                let mode = self.cut_modes[index(id)];
                self.crash(sim, id, mode);
            } else if let Some(why) = ended {
                self.log.push(format!("{now} n{id} ended: {why}"));
                let sync_failed = std::mem::take(&mut self.sync_fails[index(id)]);
                if !self.excused[index(id)] && !sync_failed {
                    self.world.broke(format!("n{id} ended, and its disk was sound: {why}"));
                }
                self.crash(sim, id, RebootMode::KeepUnsynced);
            } else {
                continue;
            }
            self.later.push((now + RESTART_MS, Later::Start(id)));
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, id: u64, mode: RebootMode) {
        let seed = self.dice.roll();
        {
            let mut shared = self.world.lock();
            let found = shared.machines.get_mut(&id).expect("there is such a machine");
            found.groups = Weak::new();
            found.ended = None;
            // What the dying process still does goes to a disk that is off.
            let disk = found.disk.reboot(seed, mode);
            found.disk = disk;
        }
        self.running[index(id)] = false;
        sim.crash(machine(id));
    }

    fn start(&mut self, sim: &mut Sim<'_>, id: u64) {
        if self.running[index(id)] {
            return;
        }
        self.running[index(id)] = true;
        self.restarts += 1;
        let full =
            self.later.iter().any(|(_, later)| matches!(later, Later::Room(of) if *of == id));
        self.excused[index(id)] = full || self.damaged == Some(id);
        sim.bounce(machine(id));
    }

    fn resolve(&mut self, who: Who) -> u64 {
        match who {
            Who::Machine(id) => id,
            Who::Leader => self.leader().unwrap_or(1),
        }
    }

    fn term(&self, id: u64) -> u64 {
        let groups = self.world.lock().machines[&id].groups.upgrade();
        let hosted = groups.and_then(|groups| groups.get(DATA_GROUP));
        hosted.map_or(0, |hosted| hosted.handle.status().term)
    }

    fn leader(&self) -> Option<u64> {
        let found = self.world.lock();
        let leads = |id: &u64| {
            let groups = found.machines[id].groups.upgrade();
            let hosted = groups.and_then(|groups| groups.get(DATA_GROUP));
            hosted.is_some_and(|hosted| hosted.handle.leading().is_some())
        };
        (1..=self.voters).find(leads)
    }

    /// In the moment in which a voter has voted the power fails for it, and soon its candidate is not heard any more: the
    /// voter comes back with the old leader, who has heard of nothing and leads on if the vote is forgotten.
    fn await_election(&mut self, sim: &mut Sim<'_>, now: u64) {
        let Some(election) = self.election else { return };
        let (candidates, voters) = self.voted(election.term);
        let chosen = candidates.first().filter(|_| !voters.is_empty()).copied();
        if chosen.is_none() && now < election.until {
            return;
        }
        self.election = None;
        let back = now + self.dice.between(15, 40);
        let links = self.links_of_nodes(election.old).into_iter();
        let far = chosen.map(machine);
        let (far, near) = links.partition(|(_, other)| Some(other) == far.as_ref());
        self.later.push((back, Later::Connect(near)));
        let Some(candidate) = chosen else { return };
        self.log.push(format!("{now} {voters:?} voted for n{candidate}, and their power fails"));
        for id in voters {
            self.stop_for(sim, id, election.mode, back);
        }
        // The votes are still on their way.
        let (cut, ms) = (now + 12, self.dice.between(800, 2_000));
        self.later.push((cut, Later::Isolate(candidate, ms)));
        self.later.push((cut + ms, Later::Connect(far)));
    }

    /// Who stands in a later term than this, and who has voted in one.
    fn voted(&self, term: u64) -> (Vec<u64>, Vec<u64>) {
        let found = self.world.lock();
        let later = (1..=self.voters).filter_map(|id| {
            let hosted = found.machines[&id].groups.upgrade()?.get(DATA_GROUP)?;
            let status = hosted.handle.status();
            (status.term > term).then_some((id, status.role))
        });
        let stands = |role: &Role| matches!(role, Role::Candidate | Role::Leader);
        let (candidates, voters): (Vec<_>, Vec<_>) = later.partition(|(_, role)| stands(role));
        let ids = |of: Vec<(u64, Role)>| of.into_iter().map(|(id, _)| id).collect();
        (ids(candidates), ids(voters))
    }

    /// The other end of every link of a machine.
    fn links(&self, id: u64) -> Vec<(String, String)> {
        let nodes = (1..=self.voters + 1).filter(|other| *other != id).map(machine);
        let others = nodes.chain(self.clients.iter().cloned());
        others.map(|other| (machine(id), other)).collect()
    }

    /// The other end of its links to nodes.
    fn links_of_nodes(&self, id: u64) -> Vec<(String, String)> {
        let mut links = self.links(id);
        links.retain(|(_, other)| !self.clients.contains(other));
        links
    }

    /// Makes a fault happen; says whether it did.
    // long: one arm a fault, each a few lines
    fn happen(&mut self, sim: &mut Sim<'_>, fault: &Fault, now: u64, lasts: u64) -> bool {
        let ends = now + lasts;
        match fault {
            Fault::Kill { who } => {
                let id = self.resolve(*who);
                return self.stop_for(sim, id, RebootMode::KeepUnsynced, ends);
            }
            Fault::PowerCut { who, mode } => {
                let id = self.resolve(*who);
                return self.stop_for(sim, id, *mode, ends);
            }
            Fault::PowerCutAll { mode } => {
                for id in 1..=self.voters + 1 {
                    self.stop_for(sim, id, *mode, ends);
                }
            }
            Fault::PowerCutMidway { who, steps, mode } => {
                let id = self.resolve(*who);
                self.cut_modes[index(id)] = *mode;
                let shared = self.world.lock();
                let disk = &shared.machines[&id].disk;
                disk.fail_power_at(disk.steps() + steps);
                return self.running[index(id)];
            }
            Fault::SyncFails { who } => {
                let id = self.resolve(*who);
                self.sync_fails[index(id)] = true;
                let shared = self.world.lock();
                let disk = &shared.machines[&id].disk;
                disk.fail_sync_at(disk.steps() + 1);
                return self.running[index(id)];
            }
            Fault::SlowDisk { who, us } => {
                let id = self.resolve(*who);
                self.world.lock().machines[&id].disk_us.store(*us, Ordering::Relaxed);
                self.later.push((ends, Later::Fast(id)));
            }
            Fault::FullDisk { who, bytes } => {
                let id = self.resolve(*who);
                self.excused[index(id)] = true;
                self.world.lock().machines[&id].disk.limit_free(Some(*bytes));
                self.later.push((ends, Later::Room(id)));
            }
            Fault::Corrupt { who, file, place } => {
                let id = self.resolve(*who);
                if !self.stop_for(sim, id, RebootMode::KeepUnsynced, ends) {
                    return false;
                }
                return self.corrupt(id, *file, *place);
            }
            Fault::Isolate { who, clients_too } => {
                let id = self.resolve(*who);
                let mut links = self.links(id);
                links.retain(|(_, other)| *clients_too || !self.clients.contains(other));
                for (from, to) in &links {
                    sim.partition(from.as_str(), to.as_str());
                }
                self.later.push((ends, Later::Connect(links)));
            }
            Fault::OneWay { who, deaf } => {
                let id = self.resolve(*who);
                let links = self.links(id).into_iter();
                let links: Vec<(String, String)> = links
                    .map(|(own, other)| if *deaf { (other, own) } else { (own, other) })
                    .collect();
                for (from, to) in &links {
                    sim.partition_oneway(from.as_str(), to.as_str());
                }
                self.later.push((ends, Later::OneWayConnect(links)));
            }
            Fault::CutLink { a, b } => {
                sim.partition(machine(*a), machine(*b));
                self.later.push((ends, Later::Connect(vec![(machine(*a), machine(*b))])));
            }
            Fault::Flicker { turns } => self.later.push((now, Later::Flicker(*turns))),
            Fault::Delay { ms } => {
                sim.set_max_message_latency(Duration::from_millis(*ms));
                self.later.push((ends, Later::Prompt));
            }
            Fault::Clock { who, ms } => {
                let id = self.resolve(*who);
                self.world.lock().machines[&id].clock_off.store(*ms, Ordering::Relaxed);
                self.later.push((ends, Later::Right(id)));
            }
            Fault::Transfer => {
                let to = self.dice.between(1, self.voters);
                let group = self.dice.between(0, DATA_GROUP);
                self.world.lock().orders.push_back(Order::Transfer { group, to });
            }
            Fault::Snapshot { who } => {
                let node = self.resolve(*who);
                self.world.lock().orders.push_back(Order::Snapshot { node, group: DATA_GROUP });
            }
            Fault::ElectionCut { mode } => {
                let Some(old) = self.leader().filter(|_| self.election.is_none()) else {
                    return false;
                };
                for (from, to) in self.links_of_nodes(old) {
                    sim.partition(from.as_str(), to.as_str());
                }
                let (term, until) = (self.term(old), now + ELECTION_MS_MAX);
                self.election = Some(Election { old, term, mode: *mode, until });
            }
            Fault::Join => {
                let node = self.voters + 1;
                self.running[index(node)] = true;
                sim.bounce(machine(node));
                self.world.lock().orders.push_back(Order::Join { node });
            }
        }
        true
    }

    /// Ends a process, and starts it later; says whether it ran.
    fn stop_for(&mut self, sim: &mut Sim<'_>, id: u64, mode: RebootMode, until: u64) -> bool {
        if !self.running[index(id)] {
            return false;
        }
        self.crash(sim, id, mode);
        self.later.push((until, Later::Start(id)));
        true
    }

    /// Changes a byte of a file of the log or of the data group's state.
    fn corrupt(&mut self, id: u64, file: u64, place: u64) -> bool {
        let shared = self.world.lock();
        let disk = &shared.machines[&id].disk;
        let root = PathBuf::from(format!("/simulated/n{id}"));
        let mut files = Vec::new();
        for dir in [root.join("wal"), root.join(format!("groups/{DATA_GROUP}"))] {
            collect(disk, &dir, &mut files);
        }
        if files.is_empty() {
            return false;
        }
        let (path, size) = &files[usize::try_from(file % files.len() as u64).unwrap_or(0)];
        let at = place % size;
        self.log.push(format!("n{id}: byte {at} of {} is changed", path.display()));
        self.damaged = Some(id);
        disk.flip(path, at).is_ok()
    }

    fn end(&mut self, sim: &mut Sim<'_>, later: Later, now: u64) {
        match later {
            Later::Start(id) => self.start(sim, id),
            Later::Connect(links) => {
                for (from, to) in links {
                    sim.repair(from.as_str(), to.as_str());
                }
            }
            Later::OneWayConnect(links) => {
                for (from, to) in links {
                    sim.repair_oneway(from.as_str(), to.as_str());
                }
            }
            Later::Fast(id) => {
                self.world.lock().machines[&id].disk_us.store(0, Ordering::Relaxed);
            }
            Later::Room(id) => self.world.lock().machines[&id].disk.limit_free(None),
            Later::Prompt => sim.set_max_message_latency(DELAY_MAX),
            Later::Right(id) => {
                self.world.lock().machines[&id].clock_off.store(0, Ordering::Relaxed);
            }
            Later::Isolate(id, ms) => {
                let links = self.links_of_nodes(id);
                for (from, to) in &links {
                    sim.partition(from.as_str(), to.as_str());
                }
                self.later.push((now + ms, Later::Connect(links)));
            }
            Later::Flicker(turns) => {
                let a = self.dice.between(1, self.voters);
                let links = self.links(a);
                let at = usize::try_from(self.dice.below(links.len() as u64)).unwrap_or(0);
                let (from, to) = links[at].clone();
                sim.partition(from.as_str(), to.as_str());
                let until = now + self.dice.between(5, 60);
                self.later.push((until, Later::Connect(vec![(from, to)])));
                if turns > 1 {
                    let next = now + self.dice.between(20, 150);
                    self.later.push((next, Later::Flicker(turns - 1)));
                }
            }
        }
    }
}

fn index(id: u64) -> usize {
    usize::try_from(id).unwrap_or(0)
}

fn collect(disk: &dyn Disk, dir: &Path, files: &mut Vec<(PathBuf, u64)>) {
    for name in disk.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        match disk.open(&path, fiscus_raft::disk::OpenHow::Read) {
            Ok(file) => {
                let size = file.size().unwrap_or(0);
                if size > 0 {
                    files.push((path, size));
                }
            }
            Err(_) => collect(disk, &path, files),
        }
    }
}
