//! `GET /api/v1/outlets/{outlet_id}/status`: what the outlet's group knows of it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::facts::{Environment, OutletStatus};
use fiscus_ledger::hash::hex;
use fiscus_ledger::money::format_minor;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::outlet::{DeviceSeries as Imported, Outlet as Counters};
use fiscus_ledger::state::ranges::RangeSet;
use fiscus_ledger::state::tally::Tally;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::view::{mode_name, status_name};
use crate::access::{self, Caller, Outlet as Reached, Scope};
use crate::api::devices::{Device, State};
use crate::api::time::when;
use crate::http::list::AsOf;
use crate::http::parameters::Consistency;
use crate::http::{Parameters, PathOf, Problem, Problems};
use crate::standing::Colour;

/// So many runs of numbers are told; `count` counts all.
const RANGES_MAX: usize = 100;

/// How fresh the answer must be.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    consistency: Consistency,
}

/// A set of numbers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NumberSet {
    /// How many.
    #[schema(example = 2)]
    pub count: u64,
    /// First and last of each run; the first 100 of them.
    #[schema(example = json!([[41, 42]]))]
    pub ranges: Vec<[u64; 2]>,
}

/// The sums of one currency.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CurrencyTotals {
    /// ISO 4217.
    #[schema(example = "CDF")]
    pub currency: String,
    /// Without tax; credit notes are subtracted.
    #[schema(example = "1000.00")]
    pub subtotal: String,
    /// The tax.
    #[schema(example = "160.00")]
    pub total_vat: String,
    /// With tax.
    #[schema(example = "1160.00")]
    pub total: String,
}

/// Invoices and sums since the last Z.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SinceZ {
    /// The position of the last Z; 0 before the first.
    #[schema(example = 120)]
    pub after_position: u64,
    /// Invoices of every type.
    #[schema(example = 17)]
    pub invoices: u64,
    /// One for each currency.
    pub totals: Vec<CurrencyTotals>,
}

/// How far the upload to the tax authority is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UploadQueue {
    /// Sealed invoices that are to be uploaded, or are on their way.
    #[schema(example = 42)]
    pub queued: u64,
    /// Those that the tax authority has.
    #[schema(example = 1180)]
    pub acknowledged: u64,
    /// Those that it has refused.
    #[schema(example = 1)]
    pub refused: u64,
}

/// The numbers of a real device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportedSeries)]
pub(super) struct DeviceSeries {
    /// The device, whose id stands before its numbers.
    #[schema(example = "DEF-GOMBE-1")]
    pub device_id: String,
    /// The last one that was imported.
    #[schema(example = 42)]
    pub last_sequence: u64,
}

/// How an outlet stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutletStanding {
    /// `online`, `syncing`, `offline` or `blocked`.
    pub state: Colour,
    /// `green`, `blue`, `amber` or `red`.
    #[schema(example = "amber")]
    pub lamp: String,
    /// The same in words.
    #[schema(
        example = "device def-gombe-1: not heard of since 2026-11-28T10:15:30.123Z; it had 412 numbers left then, valid until 2026-12-01T10:15:30.123Z"
    )]
    pub detail: String,
}

/// An outlet's counters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutletCounters)]
pub(super) struct StatusView {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    pub outlet_id: String,
    /// `active`, `suspended` or `closed`, as its group knows.
    #[schema(example = "active")]
    pub status: String,
    /// Whether it waits, after a restore, for evidence of its last number.
    #[schema(example = false)]
    pub held: bool,
    /// The version of its registration in the directory.
    #[schema(example = 1)]
    pub directory_version: u64,
    /// The version that its group has; sealing follows this one.
    #[schema(example = 1)]
    pub applied_version: u64,
    /// The last fiscal number; `null` before the first.
    #[schema(example = "KIN-GOMBE-42")]
    pub last_fiscal_number: Option<String>,
    /// Its last part.
    #[schema(example = 42)]
    pub last_sequence: u64,
    /// The position of the last record in the journal.
    #[schema(example = 57)]
    pub last_position: u64,
    /// The entry hash of the last record.
    #[schema(example = "6f1d0c9e…")]
    pub chain_head: String,
    /// When the last record was made.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub last_record_at: Option<String>,
    /// The number of the last Z; 0 before the first.
    #[schema(example = 3)]
    pub last_z: u64,
    /// Since the last Z.
    pub since_z: SinceZ,
    /// Numbers that are lent to open offline blocks.
    pub open_block_numbers: NumberSet,
    /// Numbers of closed blocks that never came back.
    pub missing_numbers: NumberSet,
    /// Numbers that were skipped after a restore.
    pub recovery_gaps: NumberSet,
    /// Who seals for it, as its group knows: `cluster`, or `def` for a real fiscal device.
    #[schema(example = "cluster")]
    pub signing_mode: String,
    /// The series of its real devices, as far as they are in the journal.
    pub device_series: Vec<DeviceSeries>,
    /// Its fiscal devices, those that have gone included.
    pub devices: Vec<Device>,
    /// How it stands as a whole: as the worst of its devices, and `blocked` when it sells nothing itself.
    pub standing: OutletStanding,
    /// How far the upload is.
    pub upload: UploadQueue,
    /// The position that this is as of.
    pub as_of: AsOf,
}

/// Read an outlet's counters: last number, chain, totals since the last Z, open blocks, missing numbers.
#[utoipa::path(
    get,
    path = "/api/v1/outlets/{outlet_id}/status",
    tag = "outlets",
    security(("api_key" = ["registry:read"])),
    params(("outlet_id" = String, Path, example = "outlet-gombe"), Wanted),
    responses((status = 200, description = "The counters", body = StatusView), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "OUTLET_NOT_READY"])))
)]
pub(super) async fn status(
    caller: Caller,
    PathOf(outlet_id): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    caller.may(Scope::RegistryRead)?;
    let outlet = caller.outlet(&outlet_id)?;
    let (as_of, counters) = outlet.counters(wanted.consistency.into()).await?;
    let counters = counters.ok_or_else(|| {
        let detail = "the outlet's group has not heard of it yet; send the request again";
        let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
        let problem = Problem::new(status, "OUTLET_NOT_READY", detail);
        problem.retry_after(std::time::Duration::from_secs(1))
    })?;
    let as_of = AsOf::from(&as_of);
    let header = as_of.header();
    let mut devices = caller.devices();
    devices.retain(|(_, known)| *known.fact.value.outlet_id == *outlet_id);
    let of = |(_, known): &(String, access::Device)| Device::of(&caller, known, Some(&counters));
    let devices = devices.iter().map(of).collect();
    let view = StatusView::of(&outlet, &counters, devices, as_of);
    let mut response = Json(view).into_response();
    response.headers_mut().insert(header.0, header.1);
    Ok(response)
}

impl StatusView {
    fn of(outlet: &Reached, counters: &Counters, devices: Vec<Device>, as_of: AsOf) -> Self {
        let Counters { series, chain, period, .. } = counters;
        let live = counters.fact.environment == Environment::Live;
        Self {
            outlet_id: outlet.id().to_owned(),
            status: status_name(counters.fact.status).to_owned(),
            held: counters.held,
            directory_version: outlet.entry().fact.version,
            applied_version: counters.fact_version,
            last_fiscal_number: (series.last > 0)
                .then(|| counters.fiscal_number(series.last).to_string()),
            last_sequence: series.last,
            last_position: chain.last_position,
            chain_head: hex(&chain.head),
            last_record_at: when(chain.last_timestamp.get()),
            last_z: counters.last_z,
            since_z: SinceZ {
                after_position: period.opened_after,
                invoices: period.tally.invoices(),
                totals: totals(&period.tally),
            },
            open_block_numbers: numbers(&series.reserved),
            missing_numbers: numbers(&series.missing),
            recovery_gaps: numbers(&series.recovery_gaps),
            signing_mode: mode_name(counters.fact.signing_mode).to_owned(),
            device_series: counters.device_series.iter().map(DeviceSeries::of).collect(),
            standing: OutletStanding::of(counters, &devices),
            devices,
            upload: UploadQueue {
                queued: if live { counters.upload_queue() } else { 0 },
                acknowledged: counters.uploads.acknowledged,
                refused: counters.uploads.refused,
            },
            as_of,
        }
    }
}

impl OutletStanding {
    fn of(counters: &Counters, devices: &[Device]) -> Self {
        let told =
            |state: Colour, detail: String| Self { state, lamp: state.lamp().to_owned(), detail };
        if counters.held {
            let detail = "it is held back after a restore until its last number is proved";
            return told(Colour::Blocked, detail.to_owned());
        }
        if counters.fact.status != OutletStatus::Active {
            let detail = format!("it is {}", status_name(counters.fact.status));
            return told(Colour::Blocked, detail);
        }
        let standing =
            devices.iter().filter_map(|device| Some((device, device.standing.as_ref()?)));
        // A spare one in its box keeps nobody from selling, unless there is no other.
        let sells = |device: &Device| device.state != State::Registered && device.health.is_some();
        let worst = standing.max_by_key(|(device, standing)| (sells(device), standing.state));
        match worst {
            Some((device, worst)) if worst.state != Colour::Online => {
                told(worst.state, format!("device {}: {}", device.device_id, worst.detail))
            }
            Some(_) => {
                told(Colour::Online, "its devices seal, and the ledger has everything".to_owned())
            }
            None => told(Colour::Online, "it has no devices; its group answers".to_owned()),
        }
    }
}

impl DeviceSeries {
    fn of((device_id, series): (&Id, &Imported)) -> Self {
        Self { device_id: device_id.to_string(), last_sequence: series.last }
    }
}

fn numbers(set: &RangeSet) -> NumberSet {
    let ranges = set.ranges().iter().take(RANGES_MAX).map(|(first, last)| [*first, *last]);
    NumberSet { count: set.count(), ranges: ranges.collect() }
}

fn totals(tally: &Tally) -> Vec<CurrencyTotals> {
    let sums = tally.currencies().iter().map(|sums| {
        let sum = sums.total();
        CurrencyTotals {
            currency: sums.currency.as_str().to_owned(),
            subtotal: format_minor(sum.base),
            total_vat: format_minor(sum.tax),
            total: format_minor(sum.base + sum.tax),
        }
    });
    sums.collect()
}
