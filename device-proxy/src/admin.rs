//! Health and metrics, over plain HTTP on a loopback address.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fiscus_ledger::payload::Object;
use serde::Deserialize;
use tokio::sync::watch;

use crate::metrics::{Metrics, head, label, line};
use crate::offline::{self, Colour, SharedTill};
use crate::port::Shared;
use crate::protocol::Standing;

/// A proxy that has not heard of the directory for so long is not ready.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<Metrics>,
    /// Of the devices that sell without the cluster.
    pub(crate) tills: Vec<(String, SharedTill)>,
    pub(crate) stopping: watch::Receiver<bool>,
}

pub(crate) fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/offline", get(offline))
        .route("/offline/refused", get(refused))
        .with_state(admin)
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether hosts are served.
async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let problem = match admin.shared.devices.age() {
        _ if *admin.stopping.borrow() => Some("the proxy is stopping"),
        None => Some("the directory is not known yet"),
        Some(age) if age > FRESH => Some("the directory has not been heard of for some seconds"),
        Some(_) => None,
    };
    match problem {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let standing = |device: &str| match admin.shared.devices.standing(device) {
        Standing::Unheard => "unheard",
        Standing::Unregistered => "unregistered",
        Standing::Registered => "registered",
        Standing::Active => "active",
        Standing::Revoked => "revoked",
    };
    let mut out = admin.metrics.exposition(standing);
    if let Some(age) = admin.shared.devices.age() {
        let name = "fiscus_proxy_directory_age_seconds";
        head(&mut out, name, "gauge", "Since the directory was last heard of.");
        let age_ms = age.as_millis();
        line(&mut out, name, &format!("{}.{:03}", age_ms / 1_000, age_ms % 1_000));
    }
    offline_figures(&mut out, &admin.tills).await;
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], out)
}

/// How each device stands with its numbers, one JSON object a line.
async fn offline(State(admin): State<Admin>) -> impl IntoResponse {
    let mut out = String::new();
    for (device_id, till) in &admin.tills {
        let told = till.standing().await;
        let object = Object::new()
            .text("device_id", device_id)
            .text("state", told.colour.as_str())
            .text("lamp", told.colour.lamp())
            .optional("why", told.why.as_deref())
            .count("numbers_left", told.numbers_left)
            .optional("until", told.until.map(|until| until.to_string()).as_deref())
            .count("waiting", told.waiting)
            .optional("waiting_since", told.waiting_since.map(|since| since.to_string()).as_deref())
            .count("refused", told.refused)
            .count("damages", told.damages)
            .count("spool_bytes", told.spool_bytes);
        out.push_str(&object.finish());
        out.push('\n');
    }
    ([("content-type", "application/x-ndjson")], out)
}

/// Of which device, and from behind which sequence on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichRefused {
    device: Option<String>,
    after: Option<u64>,
}

/// Seals that the ledger has refused, one JSON object a line: of each device, or of one from behind a sequence on. Where
/// there are more of a device, its last line tells how to go on.
async fn refused(
    State(admin): State<Admin>,
    which: Result<Query<WhichRefused>, QueryRejection>,
) -> Response {
    let which = match which {
        Ok(Query(which)) if which.device.is_some() || which.after.is_none() => which,
        _ => {
            let usage = "the query is ?device=ID&after=SEQUENCE, or ?device=ID, or none\n";
            return (StatusCode::BAD_REQUEST, usage).into_response();
        }
    };
    let of = |id: &String| which.device.as_ref().is_none_or(|device| device == id);
    let (mut out, mut known) = (String::new(), false);
    for (device_id, till) in admin.tills.iter().filter(|(id, _)| of(id)) {
        known = true;
        let after = which.after.unwrap_or(0);
        let told = till.with(move |till| till.refused(after)).await;
        for refused in &told.seals {
            out.push_str(&refused.to_json(device_id));
            out.push('\n');
        }
        if let Some(after) = told.more_after {
            let more = Object::new().text("device_id", device_id).count("more_after", after);
            out.push_str(&more.finish());
            out.push('\n');
        }
    }
    if which.device.is_some() && !known {
        let detail = "no device with this id sells without the cluster here\n";
        return (StatusCode::NOT_FOUND, detail).into_response();
    }
    ([("content-type", "application/x-ndjson")], out).into_response()
}

/// What a metric tells of how a device stands.
type Figure = fn(&offline::Standing) -> u64;

async fn offline_figures(out: &mut String, tills: &[(String, SharedTill)]) {
    let mut told = Vec::with_capacity(tills.len());
    for (device_id, till) in tills {
        told.push((label(device_id), till.standing().await));
    }
    if told.is_empty() {
        return;
    }
    let name = "fiscus_proxy_offline_state";
    head(out, name, "gauge", "1 for the state that a device that can sell alone is in.");
    for (device, standing) in &told {
        for colour in Colour::ALL {
            let on = u8::from(colour == standing.colour);
            let state = colour.as_str();
            line(out, &format!("{name}{{device=\"{device}\",state=\"{state}\"}}"), &on);
        }
    }
    let figures: [(&str, &str, Figure); 5] = [
        ("fiscus_proxy_offline_numbers_left", "Numbers that it could seal under now.", |s| {
            s.numbers_left
        }),
        ("fiscus_proxy_offline_waiting", "Seals that the ledger has not answered to.", |s| {
            s.waiting
        }),
        ("fiscus_proxy_offline_refused", "Seals that the ledger has refused.", |s| s.refused),
        ("fiscus_proxy_spool_damages", "How often its spool was found damaged.", |s| s.damages),
        ("fiscus_proxy_spool_bytes", "Bytes of its spool.", |s| s.spool_bytes),
    ];
    for (name, help, figure) in figures {
        head(out, name, "gauge", help);
        for (device, standing) in &told {
            line(out, &format!("{name}{{device=\"{device}\"}}"), &figure(standing));
        }
    }
}
