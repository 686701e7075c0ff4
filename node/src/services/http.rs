//! Health and metrics, over plain HTTP on a loopback address.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use fiscus_raft::consensus::Role;
use fiscus_raft::wal::SYNC_BUCKETS_US;

use crate::context::NodeContext;
use crate::groups::Groups;
use crate::metrics::{Exposition, Sample};

/// A leader that no majority answered for so long is not ready.
const QUORUM_AGE_MAX_MS: u64 = 3_000;

/// What the listener needs.
#[derive(Debug, Clone)]
pub(crate) struct HttpState {
    pub(crate) context: Arc<NodeContext>,
    pub(crate) groups: Arc<Groups>,
}

/// The routes.
pub(crate) fn routes(state: HttpState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the node takes part in every group that lives here.
async fn readyz(State(state): State<HttpState>) -> impl IntoResponse {
    let problems = problems(&state);
    if problems.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problems.join("\n")))
}

fn problems(state: &HttpState) -> Vec<String> {
    let mut problems = Vec::new();
    let hosted = state.groups.all();
    if hosted.is_empty() {
        problems.push("the node belongs to no cluster yet: run `fiscus admin init`".to_owned());
    }
    if state.context.draining() {
        problems.push("the node is draining".to_owned());
    }
    if state.context.disk_full() {
        problems.push("the disk is nearly full".to_owned());
    }
    for group in state.groups.unopened() {
        problems.push(format!("group {group} is not open; the log says why"));
    }
    for hosted in hosted {
        let group = hosted.handle.group();
        let status = hosted.handle.status();
        if let Some(why) = &status.stopped {
            problems.push(format!("group {group} is out of service: {why}"));
        } else if let Some(why) = &status.recovering {
            problems.push(format!("group {group} is recovering: {why}"));
        } else if status.leader.is_none() {
            problems.push(format!("group {group} has no leader"));
        } else if status.role == Role::Leader
            && status.quorum_ack_ms.is_some_and(|age| age > QUORUM_AGE_MAX_MS)
        {
            problems.push(format!("no majority answers the leader of group {group}"));
        }
    }
    problems
}

async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    let mut out = Exposition::default();
    out.metrics(&state.context.metrics);
    let stats = state.groups.wal().sync_stats();
    out.buckets(
        "fiscus_fsync_seconds",
        "Syncs of the write-ahead log.",
        &SYNC_BUCKETS_US,
        &stats.buckets,
        stats.sync_us,
    );
    out.counter("fiscus_wal_written_bytes_total", "Bytes written to the log.", stats.bytes_written);
    let (free, total) = state.context.disk();
    let one = |value: u64| vec![Sample { labels: String::new(), value: to_f64(value) }];
    out.gauges(
        "fiscus_wal_bytes",
        "Bytes of the log on disk.",
        &one(state.groups.wal().bytes_on_disk()),
    );
    out.gauges("fiscus_disk_free_bytes", "Free bytes of the data directory's disk.", &one(free));
    out.gauges("fiscus_disk_bytes", "Bytes of the data directory's disk.", &one(total));
    out.gauges(
        "fiscus_draining",
        "Whether the node is draining.",
        &one(state.context.draining().into()),
    );
    out.gauges(
        "fiscus_ready",
        "Whether the node is ready.",
        &one(problems(&state).is_empty().into()),
    );
    let groups = state.groups.all();
    let damage = groups.iter().map(|hosted| hosted.handle.replica().harm().met()).sum();
    out.counter("fiscus_damage_total", "How often damage was met and not served.", damage);
    group_gauges(&state, &mut out);
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], out.finish())
}

fn group_gauges(state: &HttpState, out: &mut Exposition) {
    let hosted = state.groups.all();
    type Read = fn(&fiscus_raft::consensus::GroupStatus) -> u64;
    let gauges: [(&str, &str, Read); 6] = [
        ("fiscus_group_leader", "Whether this node leads the group.", |s| {
            u64::from(s.role == Role::Leader)
        }),
        ("fiscus_group_term", "The group's term.", |s| s.term),
        ("fiscus_group_last_log", "The last entry of the log here.", |s| s.last_log),
        ("fiscus_group_committed", "The last committed entry known here.", |s| s.committed),
        ("fiscus_group_applied", "The last entry applied here.", |s| s.applied),
        ("fiscus_group_stopped", "Whether the group is out of service here.", |s| {
            u64::from(s.stopped.is_some())
        }),
    ];
    let all: Vec<_> =
        hosted.iter().map(|hosted| (hosted.handle.group(), hosted.handle.status())).collect();
    for (name, help, read) in gauges {
        let samples = all.iter().map(|(group, status)| Sample {
            labels: format!("group=\"{group}\""),
            value: to_f64(read(status)),
        });
        out.gauges(name, help, &samples.collect::<Vec<_>>());
    }
    let leaves = hosted.iter().map(|hosted| {
        let progress = hosted.handle.replica().progress();
        let leaves = progress.borrow().leaves;
        let labels = format!("group=\"{}\"", hosted.handle.group());
        Sample { labels, value: to_f64(leaves) }
    });
    out.gauges("fiscus_group_leaves", "Leaves of the group's tree.", &leaves.collect::<Vec<_>>());
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers than floats")]
fn to_f64(value: u64) -> f64 {
    value as f64
}
