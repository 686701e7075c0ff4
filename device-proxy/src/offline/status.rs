//! How a device stands with its numbers: four colours, for people.

use fiscus_ledger::time::UnixMs;

/// What people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// The cluster seals; everything that was sealed alone is there.
    Online,
    /// The cluster is away; numbers are left.
    Offline,
    /// The cluster is back; what was sealed alone is being delivered.
    Syncing,
    /// Nothing can be sealed.
    Blocked,
}

impl Colour {
    pub(crate) const ALL: [Self; 4] = [Self::Online, Self::Offline, Self::Syncing, Self::Blocked];

    /// The word in metrics and answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Syncing => "syncing",
            Self::Blocked => "blocked",
        }
    }

    /// The colour of the lamp.
    pub(crate) fn lamp(self) -> &'static str {
        match self {
            Self::Online => "green",
            Self::Offline => "amber",
            Self::Syncing => "blue",
            Self::Blocked => "red",
        }
    }
}

/// How a device stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) colour: Colour,
    /// Why it is blocked.
    pub(crate) why: Option<String>,
    /// Numbers that it could seal under now.
    pub(crate) numbers_left: u64,
    /// When the last of its credentials ends.
    pub(crate) until: Option<UnixMs>,
    /// Seals that the ledger has not answered to.
    pub(crate) waiting: u64,
    /// The first of them was sealed then.
    pub(crate) waiting_since: Option<UnixMs>,
    /// Seals that the ledger has refused.
    pub(crate) refused: u64,
    /// How often the spool was found damaged.
    pub(crate) damages: u64,
    pub(crate) spool_bytes: u64,
}

/// How a till is, for the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TillReport {
    pub(crate) standing: Standing,
    /// The last number that was sealed under here.
    pub(crate) last_sequence: u64,
    /// What stands before the sequence in its numbers.
    pub(crate) number_prefix: Option<String>,
    /// The tax manifest that it would seal under now.
    pub(crate) manifest_version: Option<String>,
    pub(crate) free_bytes: u64,
}
