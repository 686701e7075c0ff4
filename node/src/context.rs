//! What every part of a node shares: its identity, its keys, its clock, its switches.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fiscus_ledger::hash::Hash32;
use fiscus_raft::consensus::{Identity, PeerPool};

use crate::clock::{Agreement, ClockRules, Reading, Sample, VoterClocks};
use crate::config::NodeConfig;
use crate::incidents::Incidents;
use crate::metrics::Metrics;
use crate::signer::{HeldKey, KeyPurpose, Signer};
use crate::surroundings::{Randomness, WallClock};
use crate::witnesses::Witness;

/// What every part of a node shares.
#[derive(Debug)]
pub struct NodeContext {
    /// What it was told.
    pub config: NodeConfig,
    /// Who it is.
    pub identity: Identity,
    /// Connections to the others.
    pub pool: PeerPool,
    /// The keys.
    pub signer: Arc<dyn Signer>,
    /// What it counts.
    pub metrics: Metrics,
    /// What was found to be wrong.
    pub incidents: Incidents,
    /// Voters' clocks.
    pub clock: NodeClock,
    /// Where random bytes come from.
    pub(crate) random: Randomness,
    /// Who cosigns its groups' checkpoints.
    pub(crate) witnesses: Vec<Witness>,
    /// The last second of its certificate, since 1970; absent without TLS.
    pub certificate_ends_s: Option<i64>,
    /// Authority keys by the id that records carry.
    authorities: BTreeMap<String, Hash32>,
    /// Whether it gives leadership away and takes none.
    draining: AtomicBool,
    /// Whether the disk has room for more.
    disk_full: AtomicBool,
    /// Free bytes at the last look.
    disk_free: AtomicU64,
    /// All bytes.
    disk_total: AtomicU64,
    started: Instant,
}

impl NodeContext {
    /// Puts it together.
    pub(crate) fn new(
        config: NodeConfig,
        identity: Identity,
        pool: PeerPool,
        signer: Arc<dyn Signer>,
        witnesses: Vec<Witness>,
        certificate_ends_s: Option<i64>,
        (wall, random): (WallClock, Randomness),
    ) -> Self {
        let rules = ClockRules {
            error_max: Duration::from_millis(config.clock.error_max_ms),
            sample_age_max: Duration::from_millis(config.clock.sample_age_max_ms),
        };
        let clock = NodeClock::new(rules, wall);
        let held = signer.keys().into_iter();
        let authorities = held
            .filter(|key| key.purpose == KeyPurpose::Authority)
            .map(|key| (key.authority_id(), key.public_key))
            .collect();
        Self {
            incidents: Incidents::open(&config.data_dir),
            config,
            identity,
            pool,
            signer,
            metrics: Metrics::default(),
            clock,
            random,
            witnesses,
            certificate_ends_s,
            authorities,
            draining: AtomicBool::new(false),
            disk_full: AtomicBool::new(false),
            disk_free: AtomicU64::new(0),
            disk_total: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// The public key of an authority, when its private key is here.
    #[must_use]
    pub fn authority_key(&self, authority_id: &str) -> Option<Hash32> {
        self.authorities.get(authority_id).copied()
    }

    /// The key that signs a group's checkpoints.
    #[must_use]
    pub fn log_key(&self, group: u64) -> Option<HeldKey> {
        let mut held = self.signer.keys().into_iter();
        held.find(|key| key.purpose == KeyPurpose::Log && key.group.is_none_or(|own| own == group))
    }

    /// Whether it gives leadership away and takes none.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Begins or ends that.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Whether the disk has room for more.
    pub fn disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// Notes a look at the disk: full below the reserve, usable again with a quarter more.
    pub fn note_disk(&self, free: u64, total: u64) {
        self.disk_free.store(free, Ordering::Relaxed);
        self.disk_total.store(total, Ordering::Relaxed);
        let reserve = self.config.limits.disk_reserve_bytes;
        let was = self.disk_full();
        let full = if was { free < reserve.saturating_add(reserve / 4) } else { free < reserve };
        if full != was {
            tracing::warn!(free, reserve, full, "the disk's room has changed");
        }
        self.disk_full.store(full, Ordering::Relaxed);
    }

    /// Free and total bytes at the last look.
    pub fn disk(&self) -> (u64, u64) {
        (self.disk_free.load(Ordering::Relaxed), self.disk_total.load(Ordering::Relaxed))
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The voters' clocks, and this node's.
#[derive(Debug)]
pub struct NodeClock {
    rules: ClockRules,
    wall: WallClock,
    origin: Instant,
    clocks: Mutex<VoterClocks>,
}

impl NodeClock {
    fn new(rules: ClockRules, wall: WallClock) -> Self {
        Self { rules, wall, origin: Instant::now(), clocks: Mutex::default() }
    }

    /// This node's clocks now.
    pub fn read(&self) -> Reading {
        // A wall clock before 1970 is as wrong as any other wrong one: nobody will agree with it.
        let wall = self.wall.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Reading {
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            monotonic: self.origin.elapsed(),
        }
    }

    /// Notes a look at a voter's clock.
    pub fn note(&self, voter: u64, sample: Sample) {
        self.clocks.lock().expect("no holder panics").note(voter, sample);
    }

    /// Forgets who is not a voter any more.
    pub fn keep(&self, voters: impl Fn(u64) -> bool) {
        self.clocks.lock().expect("no holder panics").keep(voters);
    }

    /// What a majority of `voters` agrees on now.
    pub fn agreement(&self, own: u64, voters: &[u64]) -> Agreement {
        let now = self.read();
        self.clocks.lock().expect("no holder panics").agreement(own, voters, now, self.rules)
    }
}
