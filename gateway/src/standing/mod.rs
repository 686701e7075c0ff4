//! How a fiscal device stands, in four colours, for people: inferred from its registration, its outlet and what its
//! proxy told last. Pure: the time is an argument, and nothing is asked of anybody.
//!
//! ```text
//! registration, outlet, counters ─┐
//! what its proxy told last ───────┼─► of ─► colour, words, numbers left, drift, warnings
//! the time ───────────────────────┘
//! ```
//!
//! A proxy that is cut off tells nothing, so its silence is what is looked at: with numbers left it sells on (amber),
//! without it does not (red). A device that was replaced or revoked stands nowhere.

mod counters;
mod drift;
mod warnings;

#[cfg(test)]
mod tests;

use fiscus_ledger::facts::{DeviceFact, DeviceState, OutletFact, OutletStatus};
use fiscus_ledger::state::outlet::Outlet as Counters;
use fiscus_ledger::time::UnixMs;
use serde::Serialize;
use utoipa::ToSchema;

use crate::directory::documents::{DeviceHealth, OfflineHealth};

pub use counters::by_group;
pub use drift::Drift;
pub use warnings::{Warning, WarningCode};

/// A proxy tells once a minute how its devices are; one that has missed two of these is not heard of any more.
pub const SILENT_AFTER_MS: u64 = 150_000;

/// What people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeviceColour)]
pub enum Colour {
    /// Green: it seals, and the ledger has everything that it has sealed.
    Online,
    /// Blue: it seals, and what it sealed alone is on its way to the ledger.
    Syncing,
    /// Amber: it is not heard of, and can seal without the ledger.
    Offline,
    /// Red: it can seal nothing, or what it seals is not taken; a person is needed.
    Blocked,
}

impl Colour {
    /// The colour of the lamp.
    #[must_use]
    pub fn lamp(self) -> &'static str {
        match self {
            Self::Online => "green",
            Self::Syncing => "blue",
            Self::Offline => "amber",
            Self::Blocked => "red",
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Syncing => "syncing",
            Self::Offline => "offline",
            Self::Blocked => "blocked",
        }
    }
}

/// How a device stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeviceStanding)]
pub struct Standing {
    /// `online`, `syncing`, `offline` or `blocked`.
    pub state: Colour,
    /// `green`, `blue`, `amber` or `red`.
    #[schema(example = "amber")]
    pub lamp: String,
    /// The same in words.
    #[schema(
        example = "not heard of since 2026-11-28T10:15:30.123Z; it had 412 numbers left then, valid until 2026-12-01T10:15:30.123Z"
    )]
    pub detail: String,
    /// When its proxy told how it is the last time.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub last_seen: Option<String>,
    /// Numbers that it can seal under without the ledger, as of then; `null` when none are lent to it.
    #[schema(example = 412)]
    pub numbers_left: Option<u64>,
    /// When the last of them can no longer be used.
    #[schema(example = "2026-12-01T10:15:30.123Z")]
    pub numbers_until: Option<String>,
    /// Seals that the ledger does not have yet, as of then.
    #[schema(example = 0)]
    pub waiting: u64,
    /// In what it is not as it is registered.
    pub drift: Vec<Drift>,
    /// What a person should look at before it stops a sale.
    pub warnings: Vec<Warning>,
}

/// What is known of a device beside what it says itself.
#[derive(Debug, Clone, Copy)]
pub struct Configured<'a> {
    /// Its registration.
    pub fact: &'a DeviceFact,
    /// Its outlet's registration, where it is known.
    pub outlet: Option<&'a OutletFact>,
    /// The outlet's counters, where they were read.
    pub counters: Option<&'a Counters>,
    /// The tax manifest in force.
    pub manifest_version: Option<&'a str>,
    /// The time.
    pub now: UnixMs,
    /// The time up to which what proxies tell is known: earlier than now while the directory is not heard of. What has not
    /// been told since then is nobody's silence.
    pub heard: UnixMs,
}

/// How a device stands; none when it was replaced or revoked.
#[must_use]
pub fn of(known: &Configured<'_>, health: Option<&DeviceHealth>) -> Option<Standing> {
    if matches!(known.fact.state, DeviceState::Replaced { .. } | DeviceState::Revoked) {
        return None;
    }
    let (state, mut detail) = colour(known, health);
    if known.heard < known.now {
        detail.push_str(&format!(
            " (as of {}: the directory has not been heard of since)",
            known.heard
        ));
    }
    let offline = health.and_then(|told| told.offline.as_ref());
    let imports =
        health.map_or(0, |told| told.last_sequence.saturating_sub(told.imported_sequence));
    let attached = health.is_some_and(is_attached);
    Some(Standing {
        state,
        lamp: state.lamp().to_owned(),
        detail,
        last_seen: health.map(|told| told.last_seen.clone()),
        numbers_left: offline.map(|told| usable(told, known.now)),
        numbers_until: offline.and_then(|told| told.until.clone()),
        waiting: if attached { imports } else { offline.map_or(0, |told| told.waiting) },
        drift: health.map_or_else(Vec::new, |told| drift::of(known, told)),
        warnings: health.map_or_else(Vec::new, |told| warnings::of(told, known)),
    })
}

/// Whether a device's proxy stands before a real one.
fn is_attached(health: &DeviceHealth) -> bool {
    health.role != "serve"
}

fn time_of(text: &str) -> Option<UnixMs> {
    UnixMs::parse_canonical(text)
}

/// Whether a device has not been heard of for too long.
fn is_silent(health: &DeviceHealth, now: UnixMs) -> bool {
    let seen = time_of(&health.last_seen).map_or(0, UnixMs::get);
    now.get().saturating_sub(seen) > SILENT_AFTER_MS
}

/// Numbers that can be used at a time.
fn usable(offline: &OfflineHealth, now: UnixMs) -> u64 {
    let open = offline.until.as_deref().and_then(time_of).is_some_and(|until| until >= now);
    if open { offline.numbers_left } else { 0 }
}

fn colour(known: &Configured<'_>, health: Option<&DeviceHealth>) -> (Colour, String) {
    if known.fact.state == DeviceState::Registered {
        let detail = "it waits for its activation code (CFG|INIT)";
        return (Colour::Blocked, detail.to_owned());
    }
    if let Some(detail) = stopped_outlet(known) {
        return (Colour::Blocked, detail);
    }
    let Some(health) = health else {
        let detail = "no proxy has ever told how it is; is it installed, and does its proxy run?";
        return (Colour::Blocked, detail.to_owned());
    };
    if let Some(detail) = drift::wrong_mode(known, health) {
        return (Colour::Blocked, detail);
    }
    match (is_silent(health, known.heard), is_attached(health)) {
        (true, true) => {
            let detail = format!(
                "not heard of since {}; the real device can seal by itself, and its journal is imported when its \
                 proxy is back",
                health.last_seen
            );
            (Colour::Offline, detail)
        }
        (true, false) => silent_till(health, known.now),
        (false, true) => attached(health),
        (false, false) => serving(health, known.now),
    }
}

/// Why the outlet sells nothing, if so.
fn stopped_outlet(known: &Configured<'_>) -> Option<String> {
    let status = match known.outlet.map(|outlet| outlet.status) {
        Some(OutletStatus::Suspended) => Some("suspended"),
        Some(OutletStatus::Closed) => Some("closed"),
        Some(OutletStatus::Active) | None => None,
    };
    if let Some(status) = status {
        return Some(format!("its outlet is {status}"));
    }
    let held = known.counters.is_some_and(|counters| counters.held);
    held.then(|| {
        "its outlet is held back after a restore until its last number is proved".to_owned()
    })
}

fn silent_till(health: &DeviceHealth, now: UnixMs) -> (Colour, String) {
    let seen = &health.last_seen;
    let Some(offline) = &health.offline else {
        let detail = format!("not heard of since {seen}; it seals nothing without the ledger");
        return (Colour::Blocked, detail);
    };
    if offline.state == "blocked" {
        let detail = format!(
            "not heard of since {seen}, and it sealed nothing then: {}",
            why_blocked(offline)
        );
        return (Colour::Blocked, detail);
    }
    let until = offline.until.as_deref().unwrap_or("-");
    match (usable(offline, now), offline.numbers_left) {
        (0, 0) => {
            let detail = format!("not heard of since {seen}, and it had no numbers left then");
            (Colour::Blocked, detail)
        }
        (0, left) => {
            let detail = format!(
                "not heard of since {seen}; its {left} numbers cannot be used since {until}"
            );
            (Colour::Blocked, detail)
        }
        (left, _) => {
            let detail = format!(
                "not heard of since {seen}; it had {left} numbers left then, valid until {until}"
            );
            (Colour::Offline, detail)
        }
    }
}

fn attached(health: &DeviceHealth) -> (Colour, String) {
    if health.state != "up" {
        let detail =
            "its proxy runs, and the real device does not answer it: look at cable and power";
        return (Colour::Blocked, detail.to_owned());
    }
    if health.import_stopped {
        let detail = format!(
            "the ledger refuses entry {} of its journal; nothing after it is imported until a person looks",
            health.imported_sequence.saturating_add(1)
        );
        return (Colour::Blocked, detail);
    }
    match health.last_sequence.saturating_sub(health.imported_sequence) {
        0 => (Colour::Online, "it seals, and the ledger has its whole journal".to_owned()),
        left => (Colour::Syncing, format!("{left} of its entries are still to be imported")),
    }
}

fn why_blocked(offline: &OfflineHealth) -> &str {
    offline.why.as_deref().unwrap_or("its proxy does not say why")
}

fn serving(health: &DeviceHealth, now: UnixMs) -> (Colour, String) {
    let online = || (Colour::Online, "the ledger seals, and has everything".to_owned());
    if health.state != "up" {
        let detail = "its proxy runs, and its outlet's group does not answer it; it seals nothing without the ledger";
        return (Colour::Blocked, detail.to_owned());
    }
    let Some(offline) = &health.offline else { return online() };
    match (&*offline.state, offline.waiting) {
        ("blocked", _) => (Colour::Blocked, why_blocked(offline).to_owned()),
        ("offline", _) => match usable(offline, now) {
            0 => {
                let detail =
                    "its outlet's group does not answer its proxy, and no numbers are left";
                (Colour::Blocked, detail.to_owned())
            }
            left => {
                let until = offline.until.as_deref().unwrap_or("-");
                let detail = format!(
                    "its outlet's group does not answer its proxy; it has {left} numbers left, valid until {until}"
                );
                (Colour::Offline, detail)
            }
        },
        (_, 0) => online(),
        (_, waiting) => {
            let since = offline.waiting_since.as_deref().unwrap_or("-");
            let detail = format!(
                "the ledger answers again; {waiting} sales that were sealed alone, the first one at {since}, are \
                 being delivered"
            );
            (Colour::Syncing, detail)
        }
    }
}
