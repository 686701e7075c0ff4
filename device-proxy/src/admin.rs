//! Health and metrics, over plain HTTP on a loopback address.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

use crate::metrics::{Metrics, head, line};
use crate::port::Shared;
use crate::protocol::Standing;

/// A proxy that has not heard of the directory for so long is not ready.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stopping: watch::Receiver<bool>,
}

pub(crate) fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
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
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], out)
}
