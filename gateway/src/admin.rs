//! Health and metrics, over plain HTTP on a loopback address.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::watch;

use crate::access::App;
use crate::metrics::{head, line};

/// A gateway that has not heard of the directory for so long is not ready.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
struct Admin {
    app: App,
    stopping: watch::Receiver<bool>,
}

pub(crate) fn routes(app: App, stopping: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Admin { app, stopping })
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests should be sent here.
async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let (loaded, age) = admin.app.directory_state();
    let problem = if *admin.stopping.borrow() {
        Some("the gateway is stopping")
    } else if !loaded {
        Some("the directory is not known yet")
    } else if age > FRESH {
        Some("the directory has not been heard of for some seconds")
    } else {
        None
    };
    match problem {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut out = admin.app.metrics().exposition();
    let name = "fiscus_gateway_directory_age_seconds";
    head(&mut out, name, "gauge", "Since the directory was last heard of.");
    let age_ms = admin.app.directory_state().1.as_millis();
    line(&mut out, name, &format!("{}.{:03}", age_ms / 1_000, age_ms % 1_000));
    let name = "fiscus_gateway_places_taken";
    head(&mut out, name, "gauge", "Requests that are served now, of at most limits.requests_max.");
    line(&mut out, name, &admin.app.places_taken().to_string());
    if let Some(deliveries) = admin.app.deliveries() {
        deliveries.exposition(&mut out);
    }
    if let Some(uploads) = admin.app.uploads() {
        uploads.exposition(&mut out);
    }
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], out)
}
