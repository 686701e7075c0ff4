//! What a person should look at before it stops a sale.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Configured, is_attached, is_silent, time_of, usable};
use crate::directory::documents::DeviceHealth;

const DAY_MS: u64 = 24 * 3_600_000;
/// A certificate is to be renewed this long before its end.
const CERTIFICATE_SOON_MS: u64 = 30 * DAY_MS;
/// With fewer numbers an outage of some hours is too long.
const FEW_NUMBERS: u64 = 50;
/// What was sealed alone is usually delivered within minutes.
const WAITS_LONG_MS: u64 = 3_600_000;
/// Below this a real device's memory is nearly full.
const LITTLE_BYTES: u64 = 1 << 20;

/// Which warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = DeviceWarningCode)]
pub enum WarningCode {
    /// Its proxy's certificate has ended: no node talks with it.
    CertificateExpired,
    /// Its proxy's certificate ends within 30 days.
    CertificateExpiresSoon,
    /// It can seal few or no invoices without the ledger.
    NumbersLow,
    /// The ledger has refused invoices that it sealed alone: customers have the paper.
    OfflineSealsRefused,
    /// What it sealed alone has waited for long.
    DeliveryLate,
    /// Its spool was found damaged: seals may be lost.
    SpoolDamaged,
    /// The ledger refuses an entry of its journal.
    ImportStopped,
    /// Its memory is nearly full.
    MemoryLow,
}

impl WarningCode {
    /// Every one, as they are written above.
    pub const ALL: [Self; 8] = [
        Self::CertificateExpired,
        Self::CertificateExpiresSoon,
        Self::NumbersLow,
        Self::OfflineSealsRefused,
        Self::DeliveryLate,
        Self::SpoolDamaged,
        Self::ImportStopped,
        Self::MemoryLow,
    ];
}

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeviceWarning)]
pub struct Warning {
    /// For programs.
    pub code: WarningCode,
    /// For people.
    #[schema(
        example = "its proxy's certificate ends at 2026-12-12T10:15:30.000Z; issue a new one"
    )]
    pub detail: String,
}

pub(super) fn of(health: &DeviceHealth, known: &Configured<'_>) -> Vec<Warning> {
    let (now, mut found) = (known.now, Vec::new());
    let mut warn = |code, detail: String| found.push(Warning { code, detail });
    if let Some((text, end)) =
        health.certificate_expires_at.as_deref().and_then(|text| Some((text, time_of(text)?)))
    {
        if end <= now {
            let detail = format!("its proxy's certificate has ended at {text}; issue a new one");
            warn(WarningCode::CertificateExpired, detail);
        } else if end.get() - now.get() <= CERTIFICATE_SOON_MS {
            let detail = format!("its proxy's certificate ends at {text}; issue a new one");
            warn(WarningCode::CertificateExpiresSoon, detail);
        }
    }
    if health.import_stopped {
        let detail = "the ledger refuses an entry of its journal; the proxy's log says why";
        warn(WarningCode::ImportStopped, detail.to_owned());
    }
    if is_attached(health) && health.state == "up" && health.free_memory_bytes < LITTLE_BYTES {
        let detail = format!("its memory has {} bytes left", health.free_memory_bytes);
        warn(WarningCode::MemoryLow, detail);
    }
    let Some(offline) = &health.offline else { return found };
    let left = usable(offline, now);
    if left < FEW_NUMBERS {
        let detail = format!("without the ledger it can seal {left} invoices");
        warn(WarningCode::NumbersLow, detail);
    }
    if offline.refused > 0 {
        let detail = format!(
            "the ledger has refused {} invoices that it sealed alone; its proxy keeps them (/offline/refused)",
            offline.refused
        );
        warn(WarningCode::OfflineSealsRefused, detail);
    }
    if offline.damages > 0 {
        let detail = format!("its spool was found damaged {} times", offline.damages);
        warn(WarningCode::SpoolDamaged, detail);
    }
    let since = offline.waiting_since.as_deref().and_then(time_of);
    if let Some(since) = since.filter(|_| offline.waiting > 0 && !is_silent(health, known.heard))
        && now.get().saturating_sub(since.get()) > WAITS_LONG_MS
    {
        let detail = format!("{} sales wait for the ledger, since {since}", offline.waiting);
        warn(WarningCode::DeliveryLate, detail);
    }
    found
}
