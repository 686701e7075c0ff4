//! What the nodes, the clients and the faults of one seed share.
//!
//! Everything here is used by one thread; the locks are there because the product asks for it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use fiscus_node::config::{LimitsSection, NodeConfig, RaftSection, SignerSection};
use fiscus_node::groups::Groups;
use fiscus_node::signer::Signer;
use fiscus_node::surroundings::{
    DriveLog, Network, NoRandomness, Randomness, Surroundings, WallClock,
};
use fiscus_raft::disk::SimulatedDisk;
use fiscus_raft::wal::Wal;

use crate::history::History;
use crate::network;
use crate::signed::{NotingSigner, Signed};

/// The cluster's name.
pub(crate) const CLUSTER: &str = "storm";
/// A log with nothing to do for so long writes its mark.
const LOG_IDLE: Duration = Duration::from_millis(10);

/// What a seed is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The cluster is founded.
    Founding,
    /// Clients work and faults happen.
    Storm,
    /// Nothing new begins, and all is healed.
    Quiet,
}

/// What the operator is told to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Give a group's leadership to a node.
    Transfer { group: u64, to: u64 },
    /// Make a snapshot of a group.
    Snapshot { node: u64, group: u64 },
    /// Look through a group on a node, and mend it.
    Scrub { node: u64, group: u64 },
    /// Take a node into every group, and let it vote.
    Join { node: u64 },
}

impl Order {
    /// The fault that it is in statistics, when it is one.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Transfer { .. } => Some("leader transfer"),
            Self::Snapshot { .. } => Some("snapshot"),
            Self::Join { .. } => Some("membership change"),
            Self::Scrub { .. } => None,
        }
    }
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) disk: SimulatedDisk,
    /// Milliseconds that its clock is wrong by.
    pub(crate) clock_off: Arc<AtomicI64>,
    /// Microseconds that the log's disk takes.
    pub(crate) disk_us: Arc<AtomicU64>,
    /// The running node's groups.
    pub(crate) groups: Weak<Groups>,
    /// Why its process has ended, until that is seen.
    pub(crate) ended: Option<String>,
    /// How often it was started.
    pub(crate) starts: u64,
}

/// Everything that is shared.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) phase: Phase,
    pub(crate) machines: BTreeMap<u64, Machine>,
    pub(crate) history: History,
    pub(crate) orders: VecDeque<Order>,
    /// Those that were carried out, with the outcome.
    pub(crate) carried_out: Vec<(Order, Result<(), String>)>,
    /// The first thing that went wrong outside of the checks.
    pub(crate) broken: Option<String>,
    /// Whether the operator sees that the cluster is founded.
    pub(crate) founded: bool,
    /// Whether clients have seen all outlets answer in the quiet phase.
    pub(crate) served: u64,
}

/// A handle to it.
#[derive(Debug, Clone)]
pub(crate) struct World {
    shared: Arc<Mutex<Shared>>,
    signer: Arc<dyn Signer>,
    signed: Arc<Mutex<Signed>>,
}

impl World {
    pub(crate) fn new(machines: u64, signer: Arc<dyn Signer>) -> Self {
        let machine = |id| {
            let machine = Machine {
                disk: SimulatedDisk::new(),
                clock_off: Arc::default(),
                disk_us: Arc::default(),
                groups: Weak::new(),
                ended: None,
                starts: 0,
            };
            (id, machine)
        };
        let shared = Shared {
            phase: Phase::Founding,
            machines: (1..=machines).map(machine).collect(),
            history: History::default(),
            orders: VecDeque::new(),
            carried_out: Vec::new(),
            broken: None,
            founded: false,
            served: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)), signer, signed: Arc::default() }
    }

    /// What was signed.
    pub(crate) fn signed(&self) -> MutexGuard<'_, Signed> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Notes what nobody expects.
    pub(crate) fn broke(&self, what: String) {
        self.lock().broken.get_or_insert(what);
    }

    /// What a node is told, and what it has around it.
    pub(crate) async fn boot(&self, id: u64) -> std::io::Result<(NodeConfig, Surroundings)> {
        let incoming = network::listen().await?;
        let mut shared = self.lock();
        let machine = shared.machines.get_mut(&id).expect("there is such a machine");
        machine.starts += 1;
        let clock_off = machine.clock_off.clone();
        let wall = WallClock::new(move || {
            let off = clock_off.load(Ordering::Relaxed);
            let by = Duration::from_millis(off.unsigned_abs());
            let now = SystemTime::now();
            if off < 0 { now - by } else { now + by }
        });
        let random =
            Randomness::new(
                |bytes| {
                    if fiscus_stand_in::fill(bytes) { Ok(()) } else { Err(NoRandomness) }
                },
            );
        let (inner, signed) = (self.signer.clone(), self.signed.clone());
        let signer = NotingSigner { inner, signed, machine: id, start: machine.starts };
        let surroundings = Surroundings {
            disk: Arc::new(machine.disk.clone()),
            wall,
            random,
            signer: Some(Arc::new(signer)),
            network: Some(Network { dialer: network::dialer(), incoming }),
            drive_log: Some(drive_log(machine.disk_us.clone())),
        };
        Ok((config(id), surroundings))
    }
}

/// Does what the log asks for, as slowly as the disk is.
fn drive_log(disk_us: Arc<AtomicU64>) -> DriveLog {
    Arc::new(move |log: Wal| {
        let disk_us = disk_us.clone();
        Box::pin(async move {
            let mut rested = false;
            loop {
                let work = log.work_arrived();
                let worked = if rested {
                    work.await;
                    true
                } else {
                    tokio::time::timeout(LOG_IDLE, work).await.is_ok()
                };
                let slow = disk_us.load(Ordering::Relaxed);
                if worked && slow > 0 {
                    tokio::time::sleep(Duration::from_micros(slow)).await;
                }
                if worked {
                    log.drive();
                } else {
                    log.drive_idle();
                }
                rested = !worked;
            }
        })
    })
}

fn config(id: u64) -> NodeConfig {
    // No such directory is on the machine that simulates.
    let dir = PathBuf::from(format!("/simulated/n{id}"));
    let address = network::address(id).parse().expect("an address");
    NodeConfig {
        region: "here".to_owned(),
        rpc_listen: address,
        insecure: true,
        raft: RaftSection {
            // Half of what is usual, so that more happens in the same time.
            heartbeat_ms: 50,
            election_min_ms: 350,
            election_max_ms: 500,
            keep_entries: 16,
            snapshot_log_bytes: 1 << 20,
            snapshot_send_bytes_per_s: 0,
            durable_interval_ms: 500,
        },
        // Nothing is read from there: the signer is given.
        signer: SignerSection::KeyFile {
            path: PathBuf::new(),
            passphrase_file: None,
            passphrase_env: Some("UNUSED".to_owned()),
        },
        limits: LimitsSection {
            disk_reserve_bytes: 1 << 20,
            integrity_leaves_per_s: 0,
            index_cache_bytes: 8 << 20,
            log_segment_bytes: 1 << 20,
            ..LimitsSection::default()
        },
        ..NodeConfig::minimal(CLUSTER, id, dir)
    }
}
