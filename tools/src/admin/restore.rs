//! `fiscus admin restore`: makes the data directories of a new cluster of a backup.
//!
//! ```text
//! DIR (checked) ──► OUT.unfinished/n1, n2, …: IDENTITY, wal/, groups/*/ ──► OUT, in one step
//! ```
//!
//! Invariants: nothing is made of a backup that is not sound; the new cluster has another name, so it has
//! other logs, and no node of the old one can join it; every outlet is held.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use fiscus_ledger::payload::{Object, array};
use fiscus_node::identity;
use fiscus_node::surroundings::Randomness;
use fiscus_proto::peer::{Membership, NodeInfo, VoterSet};
use fiscus_proto::stored::NodeIdentity;
use fiscus_raft::store::{Restoration, restore_log};
use fiscus_raft::wal::{Wal, WalOptions};

use super::backup::verified;
use super::backup_file::{Verified, disk};
use super::consent::Consent;
use super::{Failure, Report, block_on, tell};

/// The region of a node that names none, as in its configuration.
const REGION: &str = "default";

/// Make the data directories of a new cluster of a backup.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin restore --from /backup/2026-11-21 --cluster cd-2 \\
    --nodes 1=n1:7400,2=n2:7400,3=n3:7400 --region 1=kin,2=kin,3=goma --out /restored

It checks the backup first, as `fiscus admin backup verify` does, and needs no running cluster. The new
cluster has another name than the old one: its logs are new, the old ones stay as they were published.
Every outlet is held until `fiscus admin outlets release` was told its last number. The old cluster must not
run any more, nor ever again: both would give the same numbers away.

Exit codes:
  0  made; what to do next is printed
  1  the backup is not sound; the first problem is named
  2  wrong usage, not agreed to, or the directories cannot be made")]
pub(super) struct Arguments {
    /// The backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The new cluster's name; not the old one's.
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// Its members, all voters of every group, separated by commas.
    #[arg(long, value_name = "ID=HOST:PORT,…", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// Where they are, separated by commas.
    #[arg(long = "region", value_name = "ID=REGION,…", value_delimiter = ',')]
    regions: Vec<String>,
    /// Where to make the directories n1, n2, …; it must be empty or absent.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let restored = restore(arguments);
    tell("admin restore", restored, arguments.json)
}

fn restore(arguments: &Arguments) -> Result<Report, Failure> {
    let failed = |error: anyhow::Error| Failure::new(2, "RESTORE_FAILED", &format!("{error:#}"));
    let plan = Plan::new(arguments).map_err(failed)?;
    let backup = verified("admin restore", &arguments.from)?;
    plan.check_name(&backup).map_err(failed)?;
    let old = &backup.contents.cluster;
    arguments.consent.ask(&format!(
        "The directories of a new cluster {} are made in {}, of a backup of {old}. What {old} sealed after \
         the backup is not in it, and {old} must never run again; every outlet is held until it is released.",
        arguments.cluster,
        plan.out.display()
    ))?;
    let made = plan.make(&backup).map_err(failed)?;
    Ok(report(arguments, &backup, made))
}

/// What was asked for.
struct Plan<'a> {
    cluster: &'a str,
    out: PathBuf,
    /// Address and region of each node.
    nodes: BTreeMap<u64, (String, String)>,
}

impl<'a> Plan<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self> {
        let mut regions = pairs("--region", &arguments.regions)?;
        let mut nodes = BTreeMap::new();
        for (id, address) in pairs("--nodes", &arguments.nodes)? {
            ensure!(address.contains(':'), "--nodes: {address} is not host:port");
            let region = regions.remove(&id).unwrap_or_else(|| REGION.to_owned());
            nodes.insert(id, (address, region));
        }
        let stray: Vec<u64> = regions.into_keys().collect();
        ensure!(stray.is_empty(), "--region names {stray:?}, which --nodes does not");
        let out = std::path::absolute(&arguments.out)?;
        // A name that no node would take is found before anything is made.
        let name = &arguments.cluster;
        let fits = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        ensure!(fits, "--cluster must be 1 to 64 letters, digits, '-' or '.'");
        let used = out.read_dir().is_ok_and(|mut names| names.next().is_some());
        ensure!(!used, "there is something in {}; use an empty directory", out.display());
        Ok(Self { cluster: name, out, nodes })
    }

    fn check_name(&self, backup: &Verified) -> Result<()> {
        let old = &backup.contents.cluster;
        ensure!(
            self.cluster != old,
            "the backup is of the cluster {old}; the new one must have another name, because its logs \
             are others"
        );
        Ok(())
    }

    fn make(&self, backup: &Verified) -> Result<u64> {
        let name = self.out.file_name().context("--out names no directory")?.to_string_lossy();
        let fresh = self.out.with_file_name(format!("{name}.unfinished"));
        ensure!(
            !fresh.exists(),
            "{} is left of a restore that was interrupted; remove it",
            fresh.display()
        );
        let mut identities = BTreeMap::new();
        for id in self.nodes.keys() {
            let dir = fresh.join(format!("n{id}"));
            fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
            identities.insert(
                *id,
                identity::open(&*disk(), &Randomness::system(), &dir, self.cluster, *id)?,
            );
        }
        let membership = self.membership(&identities);
        let mut held = 0;
        for (id, identity) in &identities {
            eprintln!("fiscus admin restore: making the directory of node {id}");
            let dir = fresh.join(format!("n{id}"));
            held = self
                .make_node(backup, &dir, identity, &membership)
                .with_context(|| format!("node {id}"))?;
        }
        File::open(&fresh)
            .and_then(|dir| dir.sync_all())
            .with_context(|| fresh.display().to_string())?;
        fs::rename(&fresh, &self.out)
            .and_then(|()| File::open(self.out.parent().unwrap_or(Path::new("/")))?.sync_all())
            .with_context(|| self.out.display().to_string())?;
        Ok(held)
    }

    fn membership(&self, identities: &BTreeMap<u64, NodeIdentity>) -> Membership {
        let node = |(id, (rpc, region)): (&u64, &(String, String))| NodeInfo {
            id: *id,
            rpc: rpc.clone(),
            region: region.clone(),
            incarnation: identities[id].incarnation.clone(),
            admin: String::new(),
        };
        Membership {
            configs: vec![VoterSet { voters: self.nodes.keys().copied().collect() }],
            nodes: self.nodes.iter().map(node).collect(),
        }
    }

    /// Makes a node's groups and its log; says how many outlets are held.
    fn make_node(
        &self,
        backup: &Verified,
        dir: &Path,
        identity: &NodeIdentity,
        membership: &Membership,
    ) -> Result<u64> {
        let disk = disk();
        let options = WalOptions::new(identity::log_identity(identity));
        let wal = Wal::open(disk.clone(), &dir.join("wal"), options)?;
        let mut held = 0;
        for (group, snapshot) in &backup.snapshots {
            let registered = backup.registered.iter().filter(|fact| fact.group == *group);
            let to = Restoration {
                cluster: self.cluster.to_owned(),
                membership: membership.clone(),
                registered: registered.cloned().collect(),
            };
            let at = dir.join("groups").join(group.to_string());
            let restored = snapshot.restore(&disk, &at, &to)?;
            held += restored.held;
            block_on(async {
                Ok(restore_log(&wal.group(*group), restored.at, identity.node).await?)
            })?;
        }
        wal.shutdown();
        identity::note_log(&*disk, dir, identity)?;
        for place in [&dir.join("groups"), dir] {
            disk.sync_dir(place).with_context(|| place.display().to_string())?;
        }
        Ok(held)
    }
}

/// Reads `ID=VALUE` pairs.
fn pairs(option: &str, given: &[String]) -> Result<BTreeMap<u64, String>> {
    let mut pairs = BTreeMap::new();
    for pair in given {
        let read = pair.split_once('=').and_then(|(id, value)| Some((id.parse().ok()?, value)));
        let (id, value): (u64, &str) =
            read.with_context(|| format!("{option}: {pair} is not ID=VALUE"))?;
        ensure!(id > 0 && !value.is_empty(), "{option}: {pair} is not ID=VALUE");
        let before = pairs.insert(id, value.to_owned());
        ensure!(before.is_none(), "{option} names node {id} twice");
    }
    Ok(pairs)
}

fn report(arguments: &Arguments, backup: &Verified, held: u64) -> Report {
    let (out, cluster) = (arguments.out.display(), &arguments.cluster);
    let old = &backup.contents.cluster;
    let mut text = format!(
        "made {} data directories of the new cluster {cluster} in {out}; {} records, {held} outlets \
         held\n\nNext:\n",
        arguments.nodes.len(),
        backup.records
    );
    let steps = [
        "Make the key file of the new cluster: `fiscus admin keys renew-log OLD --passphrase-file F --out NEW`. The authorities stay, the logs get new keys.".to_owned(),
        format!("Put {out}/n1 in the place of node 1's data_dir, and so on; in each node.toml set cluster = \"{cluster}\" and the new key file. Never start a node of {old} again."),
        "Start all nodes, and look at `fiscus admin status`.".to_owned(),
        "For each outlet find the last number that it ever gave away, then `fiscus admin outlets release`. Until then its invoices are refused with OUTLET_HELD.".to_owned(),
        "Outlets that were registered after the backup are forgotten with their prefix and code: register them again, with a code that was never used.".to_owned(),
        format!("Keep what {old} has published, and publish the new logs' keys beside it."),
    ];
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "  {}. {step}", number + 1);
    }
    let nodes = arguments.nodes.iter().filter_map(|pair| pair.split_once('='));
    let json = Object::new()
        .flag("ok", true)
        .text("cluster", cluster)
        .text("old_cluster", old)
        .count("records", backup.records)
        .count("held", held)
        .json(
            "nodes",
            &array(nodes.map(|(id, rpc)| {
                let dir = arguments.out.join(format!("n{id}"));
                Object::new()
                    .json("id", id)
                    .text("rpc", rpc)
                    .text("dir", &dir.display().to_string())
                    .finish()
            })),
        );
    Report { text, json }
}
