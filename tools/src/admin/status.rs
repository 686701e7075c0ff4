//! `fiscus admin status`: one screen of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use fiscus_ledger::hash::hex;
use fiscus_ledger::payload::{Object, array};
use fiscus_proto::admin::{NodeStatus, ReplicaStatus};

use super::cluster::{Cluster, Connection, NodeView};
use super::{Failure, Report, block_on, tell};
use crate::output::answer;

/// Show nodes, groups, leaders, lag, disks, clocks and what is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR status
  fiscus admin --dir DIR status --watch
  fiscus admin --dir DIR status --json

Every node is asked; what one node knows of the others fills in for those that do not answer.

Exit codes:
  0  shown; what is wrong is listed under alerts
  1  with --check: something is wrong
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// Show it again every two seconds, until interrupted.
    #[arg(long)]
    watch: bool,
    /// End with exit code 1 when something is wrong, for scripts and monitors.
    #[arg(long)]
    check: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Between two screens.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let shown = block_on(async {
        let cluster = connection.open()?;
        if arguments.watch {
            watch(&cluster, arguments.json).await?;
        }
        picture(&cluster).await
    });
    match shown {
        Ok(picture) => {
            let exit = u8::from(arguments.check && !picture.alerts.is_empty());
            if arguments.json {
                answer("admin status", &(picture.json() + "\n"), exit)
            } else {
                answer("admin status", &picture.text(), exit)
            }
        }
        Err(error) => {
            let failure = Failure::new(2, "CLUSTER_UNREACHABLE", &format!("{error:#}"));
            tell("admin status", Err::<Report, _>(failure), arguments.json)
        }
    }
}

async fn watch(cluster: &Cluster, json: bool) -> Result<()> {
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let picture = picture(cluster).await?;
        if json {
            println!("{}", picture.json());
        } else {
            print!("\x1b[2J\x1b[H{}", picture.text());
        }
        tokio::select! {
            _ = &mut interrupted => return Ok(()),
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
}

/// A group, put together from what its replicas say.
#[derive(Debug)]
struct GroupPicture {
    id: u64,
    leader: u64,
    term: u64,
    applied: u64,
    leaves: u64,
    signed_leaves: u64,
    lag_max: u64,
    voters: Vec<u64>,
    learners: Vec<u64>,
    preferred_region: String,
    apply_version: u32,
}

/// A cluster at a moment.
#[derive(Debug)]
struct Picture {
    cluster: String,
    views: Vec<NodeView>,
    groups: Vec<GroupPicture>,
    alerts: Vec<String>,
}

async fn picture(cluster: &Cluster) -> Result<Picture> {
    let views = cluster.views().await;
    let answers: Vec<_> = views.iter().filter_map(|view| view.status.as_ref().ok()).collect();
    let silent =
        views.iter().find_map(|view| view.status.as_ref().err().map(|e| (&view.address, e)));
    if let Some((address, error)) = silent {
        ensure!(!answers.is_empty(), "no node answers; {address}: {error}");
    }
    let name = answers.first().map(|answer| answer.cluster.clone()).unwrap_or_default();
    let mut alerts = Vec::new();
    for view in &views {
        let who = view.id.map_or_else(|| view.address.clone(), |id| format!("node {id}"));
        match &view.status {
            Ok(answer) => {
                alerts.extend(answer.alerts.iter().map(|alert| format!("{who}: {alert}")));
            }
            Err(error) => {
                alerts.push(format!("{who} at {} does not answer: {error}", view.address));
            }
        }
    }
    let mut replicas: BTreeMap<u64, Vec<(u64, &ReplicaStatus)>> = BTreeMap::new();
    for answer in &answers {
        let id = answer.node.as_ref().map_or(0, |node| node.id);
        for replica in &answer.replicas {
            replicas.entry(replica.group).or_default().push((id, replica));
        }
    }
    let groups: Vec<GroupPicture> =
        replicas.iter().map(|(group, replicas)| group_picture(*group, replicas)).collect();
    alerts.extend(groups.iter().flat_map(|group| group_alerts(group, &replicas[&group.id])));
    Ok(Picture { cluster: name, views, groups, alerts })
}

fn group_picture(group: u64, replicas: &[(u64, &ReplicaStatus)]) -> GroupPicture {
    // The leader of the highest term knows best; without one, the furthest replica.
    let best = replicas
        .iter()
        .max_by_key(|(_, replica)| (replica.role == "leader", replica.term, replica.applied))
        .map(|(_, replica)| *replica)
        .expect("a group is listed because a replica named it");
    let led = replicas.iter().find(|(_, r)| r.role == "leader" && r.term == best.term);
    let lags = replicas.iter().map(|(_, replica)| best.committed.saturating_sub(replica.applied));
    GroupPicture {
        id: group,
        leader: led.map_or(0, |(id, _)| *id),
        term: best.term,
        applied: best.applied,
        leaves: best.leaves,
        signed_leaves: best.signed_leaves,
        lag_max: lags.max().unwrap_or(0),
        voters: best.voters.clone(),
        learners: best.learners.clone(),
        preferred_region: best.preferred_region.clone(),
        apply_version: best.apply_version,
    }
}

fn group_alerts(group: &GroupPicture, replicas: &[(u64, &ReplicaStatus)]) -> Vec<String> {
    let mut alerts = Vec::new();
    if group.leader == 0 {
        alerts.push(format!("group {}: no leader is known; it takes nothing", group.id));
    }
    let answering = group.voters.iter().filter(|id| replicas.iter().any(|(known, _)| known == *id));
    let answering = answering.count();
    if answering < group.voters.len() / 2 + 1 {
        let voters = group.voters.len();
        alerts.push(format!("group {}: {answering} of {voters} voters answer", group.id));
    }
    let states: BTreeSet<(u64, &[u8])> =
        replicas.iter().map(|(_, r)| (r.state_index, &*r.state_hash)).collect();
    let indexes: BTreeSet<u64> = states.iter().map(|(index, _)| *index).collect();
    if indexes.len() < states.len() {
        alerts.push(format!("group {}: replicas differ at the same entry; run scrub", group.id));
    }
    alerts
}

impl Picture {
    fn text(&self) -> String {
        let mut out = format!("cluster {}\n\n", self.cluster);
        out.push_str(
            "node  address                region     state     disk free   log     fsync p99  clock     \
             version  up\n",
        );
        for view in &self.views {
            let id = view.id.map_or_else(|| "?".to_owned(), |id| id.to_string());
            let node = view.status.as_ref().ok().and_then(|answer| answer.node.as_ref());
            match node {
                Some(node) => {
                    let _ = writeln!(out, "{id:<4}  {:<21}  {}", view.address, node_line(node));
                }
                None => {
                    let _ = writeln!(out, "{id:<4}  {:<21}  {:<9}  silent", view.address, "");
                }
            }
        }
        out.push_str("\ngroup  leader  term  applied   records   signed    lag  voters     learners  prefers\n");
        for group in &self.groups {
            let leader =
                if group.leader == 0 { "none".to_owned() } else { group.leader.to_string() };
            let _ = writeln!(
                out,
                "{:<5}  {leader:<6}  {:<4}  {:<8}  {:<8}  {:<8}  {:<3}  {:<9}  {:<8}  {}",
                group.id,
                group.term,
                group.applied,
                group.leaves,
                group.signed_leaves,
                group.lag_max,
                ids(&group.voters),
                ids(&group.learners),
                group.preferred_region
            );
        }
        if self.alerts.is_empty() {
            out.push_str("\nno alerts\n");
        } else {
            out.push_str("\nalerts\n");
            for alert in &self.alerts {
                let _ = writeln!(out, "  {alert}");
            }
        }
        out
    }

    fn json(&self) -> String {
        Object::new()
            .text("cluster", &self.cluster)
            .json("nodes", &array(self.views.iter().map(node_json)))
            .json("groups", &array(self.groups.iter().map(group_json)))
            .texts("alerts", self.alerts.iter().map(String::as_str))
            .finish()
    }
}

fn node_line(node: &NodeStatus) -> String {
    let state = if node.draining { "draining" } else { "up" };
    let clock = match (node.clock_agreed, node.clock_offset_ms) {
        (true, _) => "agreed".to_owned(),
        (false, Some(off)) => format!("{off:+} ms"),
        (false, None) => "alone".to_owned(),
    };
    let fsync = format!("{} µs", node.fsync_p99_us);
    format!(
        "{:<9}  {state:<8}  {:<10}  {:<6}  {fsync:<9}  {clock:<8}  {:<7}  {}",
        node.region,
        size(node.disk_free_bytes),
        size(node.wal_bytes),
        node.version,
        age(node.uptime_s)
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=1_048_575 => format!("{} KiB", bytes >> 10),
        1_048_576..=10_737_418_239 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn ids(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(",")
}

fn numbers(ids: &[u64]) -> String {
    array(ids.iter().map(ToString::to_string))
}

fn node_json(view: &NodeView) -> String {
    let id = view.id.map_or_else(|| "null".to_owned(), |id| id.to_string());
    let base = Object::new().json("id", &id).text("rpc", &view.address);
    let answer = match &view.status {
        Ok(answer) => answer,
        Err(error) => return base.flag("reachable", false).text("error", error).finish(),
    };
    let node = answer.node.clone().unwrap_or_default();
    let offset = node.clock_offset_ms.map_or_else(|| "null".to_owned(), |off| off.to_string());
    base.flag("reachable", true)
        .text("admin", &node.admin)
        .text("region", &node.region)
        .text("version", &node.version)
        .count("apply_version_max", node.apply_version_max.into())
        .count("pid", node.pid.into())
        .flag("draining", node.draining)
        .count("uptime_s", node.uptime_s)
        .count("memory_bytes", node.memory_bytes)
        .count("disk_free_bytes", node.disk_free_bytes)
        .count("disk_total_bytes", node.disk_total_bytes)
        .count("wal_bytes", node.wal_bytes)
        .count("fsync_p99_us", node.fsync_p99_us)
        .flag("clock_agreed", node.clock_agreed)
        .json("clock_offset_ms", &offset)
        .json("replicas", &array(answer.replicas.iter().map(replica_json)))
        .texts("alerts", answer.alerts.iter().map(String::as_str))
        .finish()
}

fn replica_json(replica: &ReplicaStatus) -> String {
    Object::new()
        .count("group", replica.group)
        .text("role", &replica.role)
        .count("term", replica.term)
        .count("last_log", replica.last_log)
        .count("committed", replica.committed)
        .count("applied", replica.applied)
        .count("durable", replica.durable)
        .count("snapshot", replica.snapshot)
        .count("leaves", replica.leaves)
        .count("signed_leaves", replica.signed_leaves)
        .count("state_index", replica.state_index)
        .text("state_hash", &hex(&replica.state_hash))
        .text("stopped", &replica.stopped)
        .finish()
}

fn group_json(group: &GroupPicture) -> String {
    let leader = if group.leader == 0 { "null".to_owned() } else { group.leader.to_string() };
    Object::new()
        .count("id", group.id)
        .json("leader", &leader)
        .count("term", group.term)
        .count("applied", group.applied)
        .count("leaves", group.leaves)
        .count("signed_leaves", group.signed_leaves)
        .count("lag_max", group.lag_max)
        .json("voters", &numbers(&group.voters))
        .json("learners", &numbers(&group.learners))
        .text("preferred_region", &group.preferred_region)
        .count("apply_version", group.apply_version.into())
        .finish()
}
