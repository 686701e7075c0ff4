//! How a device seals while the cluster is away.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use fiscus_ledger::state::block::{BLOCK_NUMBERS_MAX, CREDENTIAL_VALIDITY_MS_MAX};

const HOUR_MS: u64 = 3_600_000;

/// Sealing without the cluster: where its spool and its key are, and how much it borrows ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfflineSection {
    /// A directory on a disk of this machine, for this device alone: spool and key.
    pub dir: PathBuf,
    /// What the key is encrypted with: a file that only its owner reads, such as a systemd credential.
    pub passphrase_file: PathBuf,
    /// The terminals that sell without the cluster: each has numbers of its own.
    pub terminals: Vec<String>,
    /// Numbers of a credential.
    #[serde(default = "default_numbers")]
    pub numbers: u64,
    /// For how many hours one is valid.
    #[serde(default = "default_hours")]
    pub hours: u64,
    /// With fewer numbers left, more are asked for.
    #[serde(default = "default_low_numbers")]
    pub low_numbers: u64,
    /// With fewer hours left, a new credential is asked for.
    #[serde(default = "default_low_hours")]
    pub low_hours: u64,
    /// Days for which a seal's bytes are kept after the ledger has it; that it was sealed is remembered for ever.
    #[serde(default = "default_kept_days")]
    pub kept_days: u64,
    /// Nothing is sealed with less room on the disk.
    #[serde(default = "default_free_bytes_min")]
    pub free_bytes_min: u64,
    /// Nothing is sealed when the spool is longer.
    #[serde(default = "default_spool_bytes_max")]
    pub spool_bytes_max: u64,
    /// Sales that were submitted to the cluster and are remembered, so that none is sealed again offline.
    #[serde(default = "default_remembered_max")]
    pub remembered_max: usize,
}

fn default_numbers() -> u64 {
    500
}

fn default_hours() -> u64 {
    72
}

fn default_low_numbers() -> u64 {
    100
}

fn default_low_hours() -> u64 {
    24
}

fn default_kept_days() -> u64 {
    30
}

fn default_free_bytes_min() -> u64 {
    64 << 20
}

fn default_spool_bytes_max() -> u64 {
    1 << 30
}

fn default_remembered_max() -> usize {
    100_000
}

impl OfflineSection {
    /// Every default.
    #[must_use]
    pub fn minimal(dir: PathBuf, passphrase_file: PathBuf, terminals: Vec<String>) -> Self {
        Self {
            dir,
            passphrase_file,
            terminals,
            numbers: default_numbers(),
            hours: default_hours(),
            low_numbers: default_low_numbers(),
            low_hours: default_low_hours(),
            kept_days: default_kept_days(),
            free_bytes_min: default_free_bytes_min(),
            spool_bytes_max: default_spool_bytes_max(),
            remembered_max: default_remembered_max(),
        }
    }

    /// What is wrong with it, if anything: a field, and what it must be.
    pub(crate) fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let hours_max = CREDENTIAL_VALIDITY_MS_MAX / HOUR_MS;
        let terminals = &self.terminals;
        let named = terminals.iter().collect::<std::collections::BTreeSet<_>>().len();
        let rules = [
            (self.dir.is_absolute(), "devices.offline.dir", "must be an absolute path"),
            (
                self.passphrase_file.is_absolute(),
                "devices.offline.passphrase_file",
                "must be an absolute path",
            ),
            (
                (1..=16).contains(&terminals.len())
                    && named == terminals.len()
                    && terminals.iter().all(|id| fiscus_ledger::facts::is_identifier(id)),
                "devices.offline.terminals",
                "must name 1 to 16 terminals, each once",
            ),
            (
                (1..=BLOCK_NUMBERS_MAX).contains(&self.numbers),
                "devices.offline.numbers",
                "must be 1 to 500",
            ),
            ((1..=hours_max).contains(&self.hours), "devices.offline.hours", "must be 1 to 72"),
            (
                self.low_numbers < self.numbers,
                "devices.offline.low_numbers",
                "must be less than numbers",
            ),
            (self.low_hours < self.hours, "devices.offline.low_hours", "must be less than hours"),
            (self.kept_days <= 3_650, "devices.offline.kept_days", "must be at most 3,650"),
            (
                (1 << 20..=1 << 40).contains(&self.free_bytes_min),
                "devices.offline.free_bytes_min",
                "must be 1 MiB to 1 TiB",
            ),
            (
                (16 << 20..=4 << 30).contains(&self.spool_bytes_max),
                "devices.offline.spool_bytes_max",
                "must be 16 MiB to 4 GiB",
            ),
            (
                (1_000..=1_000_000).contains(&self.remembered_max),
                "devices.offline.remembered_max",
                "must be 1,000 to 1,000,000",
            ),
        ];
        rules.into_iter().find(|(holds, ..)| !holds).map(|(_, field, rule)| (field, rule))
    }

    pub(crate) fn validity_ms(&self) -> u64 {
        self.hours * HOUR_MS
    }

    pub(crate) fn low_ms(&self) -> u64 {
        self.low_hours * HOUR_MS
    }

    pub(crate) fn kept_ms(&self) -> u64 {
        self.kept_days * 24 * HOUR_MS
    }
}
