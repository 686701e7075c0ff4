//! What a node is told: one file, a few flags, checked before any socket opens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fiscus_ledger::cosignature::CosignerKey;
use fiscus_proto::tls::TlsFiles;
use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::signer::PassphraseSource;

/// Everything about a node. Every limit has its unit in its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The cluster's name: 1 to 64 letters, digits, `-` or `.`. It is part of every log's origin.
    pub cluster: String,
    /// This node's id, from 1; never used again for another node.
    pub node: u64,
    /// Where it stands.
    #[serde(default = "default_region")]
    pub region: String,
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// Where other nodes, gateways and operators reach it (gRPC).
    pub rpc_listen: SocketAddr,
    /// The address that the others are told, host:port; `rpc_listen` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_advertise: Option<String>,
    /// Health and metrics over plain HTTP: only on a loopback address.
    pub admin_listen: SocketAddr,
    /// Certificates; without them the node only runs with `insecure` and on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSection>,
    /// Plain text between parts. For trials on one machine.
    #[serde(default)]
    pub insecure: bool,
    /// The signing keys.
    pub signer: SignerSection,
    /// Raft's timing.
    #[serde(default)]
    pub raft: RaftSection,
    /// Bounds.
    #[serde(default)]
    pub limits: LimitsSection,
    /// The clock's rules.
    #[serde(default)]
    pub clock: ClockSection,
    /// A checkpoint is published when so many witnesses have cosigned it; 0 publishes it at once.
    #[serde(default)]
    pub witness_quorum: usize,
    /// Who cosigns the groups' checkpoints. The same on every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessSection>,
    /// The log's level filter, as in `info` or `fiscus_raft=debug,info`.
    #[serde(default = "default_log")]
    pub log: String,
}

fn default_region() -> String {
    "default".to_owned()
}

fn default_log() -> String {
    // Raft repeats itself about every peer that is away.
    "info,openraft=error".to_owned()
}

/// The files of mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The CA that every part of the cluster is signed by.
    pub ca: PathBuf,
    /// This node's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsSection {
    /// The files to load.
    #[must_use]
    pub fn files(&self) -> TlsFiles {
        TlsFiles { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() }
    }
}

/// Where the signing keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SignerSection {
    /// An encrypted file.
    KeyFile {
        /// The file.
        path: PathBuf,
        /// A file that holds the passphrase,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passphrase_file: Option<PathBuf>,
        /// or the environment variable that does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passphrase_env: Option<String>,
    },
    /// A hardware token.
    Pkcs11 {
        /// The module of the token's maker.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// A file that holds the PIN,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin_file: Option<PathBuf>,
        /// or the environment variable that does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin_env: Option<String>,
        /// The keys on it.
        keys: Vec<Pkcs11KeySection>,
    },
}

/// A key on a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11KeySection {
    /// Its label on the token.
    pub label: String,
    /// The name in authority ids.
    pub name: String,
    /// `authority` or `log`.
    pub purpose: String,
    /// `live` or `sandbox`, for an authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The group that it belongs to; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u64>,
}

/// A cluster has at most so many witnesses.
const WITNESSES_MAX: usize = 16;

/// Somebody who cosigns checkpoints (C2SP tlog-witness).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessSection {
    /// Its verifier key, as in `witness.example/w1+2a3b4c5d+BA…`.
    pub key: String,
    /// Its submission prefix, as in `https://witness.example/w1`.
    pub url: String,
    /// The certificates (PEM) that vouch for an `https` address; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl WitnessSection {
    /// The key and the address; or what is wrong with them.
    pub(crate) fn read(&self) -> Result<(CosignerKey, Uri), &'static str> {
        let key = CosignerKey::parse(&self.key)
            .map_err(|_| "must have a cosigner's verifier key, name+id+base64")?;
        let address: Uri = self.url.parse().map_err(|_| "must have a URL")?;
        let whole = address.host().is_some() && address.query().is_none();
        match address.scheme_str().filter(|_| whole) {
            Some("https") => Ok((key, address)),
            Some("http") if self.ca_file.is_none() => Ok((key, address)),
            Some("http") => Err("must have an address with https when they have a ca_file"),
            _ => Err("must have an address of the form https://host:port/prefix"),
        }
    }
}

/// Raft's timing. For links between regions use at least five round trips as heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaftSection {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing campaigns after at least so long,
    pub election_min_ms: u64,
    /// and at most so long.
    pub election_max_ms: u64,
    /// Entries kept behind a snapshot for followers that are a little late.
    pub keep_entries: u64,
    /// Bytes of log after which a group is snapshotted.
    pub snapshot_log_bytes: u64,
    /// Bytes of snapshots sent a second; 0 means no limit.
    pub snapshot_send_bytes_per_s: u64,
    /// Between two durable states of a group.
    pub durable_interval_ms: u64,
}

impl Default for RaftSection {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_min_ms: 700,
            election_max_ms: 1_000,
            keep_entries: 1_000,
            snapshot_log_bytes: 512 << 20,
            snapshot_send_bytes_per_s: 64 << 20,
            durable_interval_ms: 1_000,
        }
    }
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Commands that wait for their batch, a group.
    pub queue_commands_max: usize,
    /// Their bytes.
    pub queue_bytes_max: usize,
    /// Commands in one entry.
    pub batch_commands_max: usize,
    /// Bytes in one entry.
    pub batch_bytes_max: usize,
    /// How long a batch waits for more, when another is on its way.
    pub batch_wait_us: u64,
    /// Entries on their way at once, a group.
    pub batches_in_flight_max: usize,
    /// Bytes of entries in one message to a follower.
    pub append_bytes_max: usize,
    /// Bytes of index pages kept in memory, a group.
    pub index_cache_bytes: usize,
    /// Bytes of recent log entries kept in memory, all groups together.
    pub log_cache_bytes: usize,
    /// A file of the log; three of them are the least that a log takes.
    pub log_segment_bytes: u64,
    /// Nothing is accepted with less free space than this; it is taken up again with a quarter more.
    pub disk_reserve_bytes: u64,
    /// Calls from outside that are served at once.
    pub calls_max: usize,
    /// Between two records of a group's checkpoint in the directory's log.
    pub checkpoint_record_ms: u64,
    /// Leaves that the integrity monitor reads and compares a second; 0 turns it off.
    pub integrity_leaves_per_s: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            queue_commands_max: 20_000,
            queue_bytes_max: 64 << 20,
            batch_commands_max: 1_000,
            batch_bytes_max: 1 << 20,
            batch_wait_us: 1_000,
            batches_in_flight_max: 8,
            append_bytes_max: 4 << 20,
            index_cache_bytes: 128 << 20,
            log_cache_bytes: 64 << 20,
            log_segment_bytes: 16 << 20,
            disk_reserve_bytes: 512 << 20,
            calls_max: 4_096,
            checkpoint_record_ms: 60_000,
            integrity_leaves_per_s: 500,
        }
    }
}

/// The clock's rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockSection {
    /// How far a sound clock may be from the true time.
    pub error_max_ms: u64,
    /// Between two looks at the other voters' clocks.
    pub sample_interval_ms: u64,
    /// Older samples do not count.
    pub sample_age_max_ms: u64,
}

impl Default for ClockSection {
    fn default() -> Self {
        Self { error_max_ms: 250, sample_interval_ms: 500, sample_age_max_ms: 2_000 }
    }
}

/// Why a node cannot be run so.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not a configuration.
    #[error("the configuration {path} is wrong: {detail}")]
    Syntax {
        /// Where.
        path: PathBuf,
        /// What is wrong, with its line.
        detail: String,
    },
    /// A value cannot be.
    #[error("{field} {rule}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it must be.
        rule: String,
    },
}

impl NodeConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// A configuration with every default, on free ports of the loopback address, that still lacks its
    /// certificates.
    #[must_use]
    pub fn minimal(cluster: &str, node: u64, data_dir: PathBuf) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            cluster: cluster.to_owned(),
            node,
            region: default_region(),
            data_dir,
            rpc_listen: free,
            rpc_advertise: None,
            admin_listen: free,
            tls: None,
            insecure: false,
            signer: SignerSection::KeyFile {
                path: PathBuf::new(),
                passphrase_file: None,
                passphrase_env: None,
            },
            raft: RaftSection::default(),
            limits: LimitsSection::default(),
            clock: ClockSection::default(),
            witness_quorum: 0,
            witnesses: Vec::new(),
            log: default_log(),
        }
    }

    /// The configuration as a file; it holds no secret, only where secrets are.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration has no value that TOML lacks")
    }

    /// The address that the others are told.
    #[must_use]
    pub fn advertised(&self) -> String {
        self.rpc_advertise.clone().unwrap_or_else(|| self.rpc_listen.to_string())
    }

    /// Checks every value.
    pub fn check(&self) -> Result<(), ConfigError> {
        let named = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        };
        rule(named(&self.cluster), "cluster", "must be 1 to 64 letters, digits, '-' or '.'")?;
        rule(named(&self.region), "region", "must be 1 to 64 letters, digits, '-' or '.'")?;
        rule(self.node > 0, "node", "must be a number from 1")?;
        let loopback = self.rpc_listen.ip().is_loopback();
        rule(
            self.tls.is_some() || (self.insecure && loopback),
            "tls",
            "is missing: make certificates with `fiscus admin pki`; without them a node runs only \
             with `insecure = true` and on a loopback address",
        )?;
        rule(
            !(self.insecure && self.tls.is_some()),
            "insecure",
            "must be false when there are certificates",
        )?;
        rule(
            self.admin_listen.ip().is_loopback(),
            "admin_listen",
            "must be a loopback address: it is plain HTTP",
        )?;
        self.check_signer()?;
        self.check_times()?;
        self.check_witnesses()?;
        self.check_limits()
    }

    fn check_witnesses(&self) -> Result<(), ConfigError> {
        let witnesses = &self.witnesses;
        rule(witnesses.len() <= WITNESSES_MAX, "witnesses", "must be at most 16")?;
        rule(
            self.witness_quorum <= witnesses.len(),
            "witness_quorum",
            "must be at most the number of witnesses",
        )?;
        for (at, section) in witnesses.iter().enumerate() {
            let key = match section.read() {
                Ok((key, _)) => key,
                Err(what) => return rule(false, "witnesses", what),
            };
            let mut others = witnesses[..at].iter().filter_map(|other| other.read().ok());
            let again =
                others.any(|(other, _)| other.name() == key.name() || other.is_key_of(&key));
            rule(!again, "witnesses", "must each have a name and a key of its own")?;
        }
        Ok(())
    }

    fn check_signer(&self) -> Result<(), ConfigError> {
        let one = |file: bool, env: bool| file != env;
        match &self.signer {
            SignerSection::KeyFile { passphrase_file, passphrase_env, .. } => rule(
                one(passphrase_file.is_some(), passphrase_env.is_some()),
                "signer",
                "needs one of passphrase_file and passphrase_env",
            ),
            SignerSection::Pkcs11 { pin_file, pin_env, keys, .. } => {
                let sources = one(pin_file.is_some(), pin_env.is_some());
                rule(sources, "signer", "needs one of pin_file and pin_env")?;
                rule(!keys.is_empty(), "signer.keys", "must name the keys on the token")
            }
        }
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let raft = &self.raft;
        rule(
            (10..=10_000).contains(&raft.heartbeat_ms),
            "raft.heartbeat_ms",
            "must be 10 to 10,000",
        )?;
        rule(
            raft.election_min_ms >= raft.election_max_ms / 2 + raft.heartbeat_ms * 2,
            "raft.election_min_ms",
            "must be at least half of election_max_ms and two heartbeats",
        )?;
        rule(
            raft.election_max_ms > raft.election_min_ms && raft.election_max_ms <= 120_000,
            "raft.election_max_ms",
            "must be above election_min_ms and at most 120,000",
        )?;
        rule(
            (10..=60_000).contains(&raft.durable_interval_ms),
            "raft.durable_interval_ms",
            "must be 10 to 60,000",
        )?;
        rule(
            raft.snapshot_log_bytes >= 1 << 20,
            "raft.snapshot_log_bytes",
            "must be at least 1 MiB",
        )?;
        let clock = &self.clock;
        rule(
            (1..=60_000).contains(&clock.error_max_ms),
            "clock.error_max_ms",
            "must be 1 to 60,000",
        )?;
        rule(
            clock.sample_interval_ms >= 10
                && clock.sample_interval_ms * 2 <= clock.sample_age_max_ms,
            "clock.sample_interval_ms",
            "must be at least 10 and at most half of sample_age_max_ms",
        )
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        rule(
            (1..=10_000).contains(&limits.batch_commands_max),
            "limits.batch_commands_max",
            "must be 1 to 10,000",
        )?;
        // An invoice is up to 1 MiB, and an entry takes at least one.
        rule(
            (1 << 20..=16 << 20).contains(&limits.batch_bytes_max),
            "limits.batch_bytes_max",
            "must be 1 MiB to 16 MiB",
        )?;
        rule(
            limits.queue_bytes_max >= 2 * limits.batch_bytes_max,
            "limits.queue_bytes_max",
            "must be at least twice batch_bytes_max",
        )?;
        rule(
            limits.checkpoint_record_ms >= 100,
            "limits.checkpoint_record_ms",
            "must be at least 100",
        )?;
        rule(limits.queue_commands_max >= 1, "limits.queue_commands_max", "must be at least 1")?;
        rule(
            (1..=64).contains(&limits.batches_in_flight_max),
            "limits.batches_in_flight_max",
            "must be 1 to 64",
        )?;
        rule(
            (1 << 20..=16 << 20).contains(&limits.append_bytes_max),
            "limits.append_bytes_max",
            "must be 1 MiB to 16 MiB",
        )?;
        let segment = limits.log_segment_bytes;
        rule(
            (1 << 20..=1 << 30).contains(&segment) && segment.is_multiple_of(1 << 20),
            "limits.log_segment_bytes",
            "must be 1 MiB to 1 GiB, in whole MiB",
        )?;
        rule(limits.calls_max >= 16, "limits.calls_max", "must be at least 16")?;
        rule(
            limits.index_cache_bytes >= 8 << 20,
            "limits.index_cache_bytes",
            "must be at least 8 MiB",
        )
    }
}

impl SignerSection {
    /// Where the secret is that opens the keys.
    #[must_use]
    pub fn secret(&self) -> PassphraseSource {
        let (file, env) = match self {
            Self::KeyFile { passphrase_file, passphrase_env, .. } => {
                (passphrase_file, passphrase_env)
            }
            Self::Pkcs11 { pin_file, pin_env, .. } => (pin_file, pin_env),
        };
        match (file, env) {
            (Some(file), _) => PassphraseSource::File(file.clone()),
            (None, env) => PassphraseSource::Environment(env.clone().unwrap_or_default()),
        }
    }
}

fn rule(holds: bool, field: &'static str, rule: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value { field, rule: rule.to_owned() }) }
}

#[cfg(test)]
mod tests;
