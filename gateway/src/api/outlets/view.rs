//! How an outlet is answered.

use fiscus_ledger::facts::{OutletStatus, SigningMode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Outlet as Reached;
use crate::api::time::when;
use crate::directory::OutletEntry;
use crate::http::Tagged;

/// A place that sells.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Outlet {
    /// Its id, unique in the cluster.
    #[schema(example = "outlet-gombe")]
    pub outlet_id: String,
    /// Its merchant.
    #[schema(example = "A1234567B")]
    pub merchant_nif: String,
    /// First part of its fiscal numbers.
    #[schema(example = "KIN")]
    pub prefix: String,
    /// Second part of its fiscal numbers.
    #[schema(example = "GOMBE")]
    pub code: String,
    /// `live`, or `sandbox` for trials.
    #[schema(example = "live")]
    pub environment: String,
    /// `active`, `suspended` or `closed`.
    #[schema(example = "active")]
    pub status: String,
    /// `cluster`, or `def` when a fiscal device seals.
    #[schema(example = "cluster")]
    pub signing_mode: String,
    /// The group that keeps its journal.
    #[schema(example = 1)]
    pub group: u64,
    /// What it is called.
    #[schema(example = "Gombe")]
    pub name: String,
    /// Its region; empty when it is in none.
    #[schema(example = "kinshasa")]
    pub region_id: String,
    /// Where it is.
    #[schema(example = "12, avenue du Commerce, Gombe, Kinshasa")]
    pub address: String,
    /// Its telephone.
    #[schema(example = "+243 81 000 0000")]
    pub phone: String,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
}

/// The name of a signing mode.
pub(super) fn mode_name(mode: SigningMode) -> &'static str {
    match mode {
        SigningMode::Cluster => "cluster",
        SigningMode::Def => "def",
    }
}

pub(super) fn status_name(status: OutletStatus) -> &'static str {
    match status {
        OutletStatus::Active => "active",
        OutletStatus::Suspended => "suspended",
        OutletStatus::Closed => "closed",
    }
}

impl Outlet {
    pub(super) fn of(entry: &OutletEntry) -> Self {
        let fact = &entry.fact.value;
        let profile = entry.profile.as_ref().map(|profile| &profile.value);
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let signing_mode = mode_name(fact.signing_mode);
        Self {
            outlet_id: fact.outlet_id.to_string(),
            merchant_nif: fact.merchant_nif.to_string(),
            prefix: fact.prefix.to_string(),
            code: fact.code.to_string(),
            environment: fact.environment.as_str().to_owned(),
            status: status_name(fact.status).to_owned(),
            signing_mode: signing_mode.to_owned(),
            group: fact.group,
            name: text(profile.map(|profile| &profile.name)),
            region_id: entry.region().to_owned(),
            address: text(profile.map(|profile| &profile.address)),
            phone: text(profile.map(|profile| &profile.phone)),
            created_at: when(profile.map_or(0, |profile| profile.created_ms)),
        }
    }

    pub(super) fn tagged(outlet: &Reached) -> Tagged<Self> {
        Tagged { version: outlet.entry().version(), value: Self::of(outlet.entry()) }
    }
}
