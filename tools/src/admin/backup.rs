//! `fiscus admin backup`: copies every group, consistent and checked, into a directory.
//!
//! The data groups come first and the directory last. So every outlet that a data group knows is in the
//! directory of the same backup: after a restore nobody else can be given its prefix and code. The other
//! way round is harmless: an outlet that only the directory knows yet is held when it is restored.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use fiscus_ledger::payload::Object;
use fiscus_proto::admin::admin_client::AdminClient;
use fiscus_proto::admin::{BackupRequest, StatusRequest};
use fiscus_proto::ledger::Consistency;
use tonic::transport::Channel;

use super::backup_file::{self, Contents, GroupContents, Verified, group_dir};
use super::cluster::{Cluster, Connection, explain};
use super::{Failure, Report, block_on, tell};

/// The node has applied what the leader has within this time.
const CATCH_UP_WAIT: Duration = Duration::from_secs(60);
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(50);
const READ_WAIT: Duration = Duration::from_secs(20);

/// Copy every group into a directory, consistent and checked.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR backup --to /backup/2026-11-21
  fiscus admin backup verify /backup/2026-11-21

The directory is made by the node, on the node's machine, with the node's rights; run this command there.
It must be empty or absent. The cluster goes on selling meanwhile; what is sealed while a group is copied
may or may not be in it.

A backup is one when it has the file BACKUP, which is written after everything was read back and checked.
It holds no private key: keep the key file and its passphrase elsewhere, and together with it.

Exit codes:
  0  made, or checked and sound
  1  verify: it is not sound; the first problem is named
  2  wrong usage, or it cannot be made")]
pub(super) struct Arguments {
    /// Where to make it; a path on the node that makes it.
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    /// The node that makes it; the one that is furthest when absent.
    #[arg(long, value_name = "ID")]
    node: Option<u64>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    Verify(Verify),
}

/// Check a backup, without a cluster: every file, record, link and signature.
#[derive(Debug, Args)]
struct Verify {
    /// The backup.
    dir: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    if let Some(Action::Verify(verify)) = &arguments.action {
        let verified = verified("admin backup verify", &verify.dir);
        return tell("admin backup verify", verified.map(|found| report(&found)), verify.json);
    }
    let made = match &arguments.to {
        Some(to) => block_on(make(connection, to, arguments.node)),
        None => Err(anyhow!("name a directory with --to")),
    };
    let made = made.map(|made| report(&made));
    let failed = |error: anyhow::Error| Failure::new(2, "BACKUP_FAILED", &format!("{error:#}"));
    tell("admin backup", made.map_err(failed), arguments.json)
}

/// Checks a backup; `command` says on standard error how far it is.
pub(super) fn verified(command: &str, dir: &Path) -> Result<Verified, Failure> {
    let say = |step: &str| eprintln!("fiscus {command}: {step}");
    backup_file::verify(dir, &say)
        .map_err(|error| Failure::new(1, "BACKUP_INVALID", &format!("{error:#}")))
}

fn report(found: &Verified) -> Report {
    let contents = &found.contents;
    let json = Object::new()
        .flag("ok", true)
        .text("cluster", &contents.cluster)
        .count("begun_ms", contents.begun_ms)
        .count("node", contents.node)
        .count("groups", contents.groups.len() as u64)
        .count("bytes", found.bytes)
        .count("rows", found.rows)
        .count("records", found.records)
        .count("signatures", found.signatures)
        .count("unsigned", found.unsigned)
        .count("outlets", found.outlets);
    let text = format!(
        "sound: cluster {}, {} groups, {} outlets; {} bytes hashed, {} rows and {} records decoded, {} \
         signatures checked, {} records not signed yet\n",
        contents.cluster,
        contents.groups.len(),
        found.outlets,
        found.bytes,
        found.rows,
        found.records,
        found.signatures,
        found.unsigned
    );
    Report { text, json }
}

/// The node that makes the backup.
struct Maker {
    id: u64,
    cluster: String,
    groups: Vec<u64>,
    client: AdminClient<Channel>,
}

async fn make(connection: &Connection, to: &Path, node: Option<u64>) -> Result<Verified> {
    let to = std::path::absolute(to).with_context(|| to.display().to_string())?;
    let used = to.read_dir().is_ok_and(|mut names| names.next().is_some());
    ensure!(!used, "there is something in {}; use an empty directory", to.display());
    let cluster = connection.open()?;
    let mut maker = choose(&cluster, node).await?;
    let begun_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    eprintln!(
        "Node {} copies every group to {}; sealing goes on, and nothing of the cluster is changed.",
        maker.id,
        to.display()
    );
    let mut contents = Contents::new(&maker.cluster, u64::try_from(begun_ms)?, maker.id);
    let (directory, data) = maker.groups.split_first().context("the node has no groups")?;
    for group in data.iter().chain([directory]).copied().collect::<Vec<u64>>() {
        let checkpoint = catch_up(&cluster, &mut maker, group).await?;
        export(&mut maker, group, &to).await.with_context(|| format!("group {group}"))?;
        ensure!(
            group_dir(&to, group).exists(),
            "node {} has copied group {group} to {} on its own machine; run this command there",
            maker.id,
            to.display()
        );
        contents.groups.push(GroupContents::of_dir(&to, group, &checkpoint)?);
    }
    contents.groups.sort_by_key(|known| known.group);
    let say = |step: &str| eprintln!("fiscus admin backup: {step}");
    let mut checked = backup_file::check(&to, &contents, &say)?;
    for known in &mut checked.contents.groups {
        known.authorities = checked.authorities[&known.group].clone();
    }
    backup_file::write(&to, &checked.contents)?;
    Ok(checked)
}

/// The named node, or the one that has applied most among those with every group.
async fn choose(cluster: &Cluster, wanted: Option<u64>) -> Result<Maker> {
    let views = cluster.views().await;
    let answers: Vec<_> = views
        .iter()
        .filter_map(|view| {
            let status = view.status.as_ref().ok()?;
            Some((&view.address, status.node.as_ref()?.id, status))
        })
        .collect();
    let mut all: Vec<u64> = answers
        .iter()
        .flat_map(|(.., status)| status.replicas.iter().map(|replica| replica.group))
        .collect();
    all.sort_unstable();
    all.dedup();
    ensure!(all.len() > 1 && all[0] == 0, "no node tells of a cluster; see `fiscus admin status`");
    let whole = answers.iter().filter(|(.., status)| {
        all.iter().all(|group| status.replicas.iter().any(|replica| replica.group == *group))
    });
    let fits = whole.filter(|(_, id, _)| wanted.is_none_or(|wanted| wanted == *id));
    let best = fits.max_by_key(|(.., status)| {
        status.replicas.iter().map(|replica| replica.applied).sum::<u64>()
    });
    match (best, wanted) {
        (Some((address, id, status)), _) => Ok(Maker {
            id: *id,
            cluster: status.cluster.clone(),
            groups: all,
            client: cluster.node(address)?,
        }),
        (None, Some(id)) => bail!("node {id} does not answer, or does not have every group"),
        (None, None) => bail!("no node has every group"),
    }
}

/// Waits until the node has everything that was acknowledged up to now, so that a backup that is begun
/// after a sale holds it. Says the last checkpoint before that.
async fn catch_up(cluster: &Cluster, maker: &mut Maker, group: u64) -> Result<String> {
    let client = cluster.client().await?;
    let now = client.read_group(group, Consistency::Linearizable, READ_WAIT).await?;
    let wanted = now.as_of.map_or(0, |as_of| as_of.applied);
    let node = maker.id;
    let caught_up = async {
        loop {
            let status = maker.client.status(StatusRequest {}).await;
            let status = status.map_err(|status| anyhow!(explain(&status)))?.into_inner();
            let replica = status.replicas.into_iter().find(|replica| replica.group == group);
            if replica.is_some_and(|replica| replica.applied >= wanted) {
                return Ok(());
            }
            tokio::time::sleep(CATCH_UP_INTERVAL).await;
        }
    };
    match tokio::time::timeout(CATCH_UP_WAIT, caught_up).await {
        Ok(caught_up) => caught_up.map(|()| now.checkpoint),
        Err(_) => bail!("node {node} is behind in group {group}; let another one make the backup"),
    }
}

async fn export(maker: &mut Maker, group: u64, to: &Path) -> Result<()> {
    let path = to.to_str().context("the path is not UTF-8")?.to_owned();
    let answer = maker.client.backup(BackupRequest { group, path }).await;
    let mut progress = answer.map_err(|status| anyhow!(explain(&status)))?.into_inner();
    while let Some(step) = progress.message().await.map_err(|status| anyhow!(explain(&status)))? {
        let of = if step.total > 0 {
            format!(" {} of {}", step.done, step.total)
        } else {
            String::new()
        };
        eprintln!("fiscus admin backup: group {group}: {}{of}", step.step);
        if step.finished {
            return Ok(());
        }
    }
    bail!("node {} ended before the copy was complete", maker.id)
}
