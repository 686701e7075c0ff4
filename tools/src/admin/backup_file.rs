//! What a backup is: a directory with a snapshot of every group, and BACKUP, which is written last.
//!
//! ```text
//! DIR/group-0/…  DIR/group-1/…   a snapshot each, with its MANIFEST
//! DIR/BACKUP                     TOML: what belongs together; last line: # blake3 HEX of what is above
//! ```
//!
//! Invariants: without BACKUP a directory is no backup; a group's MANIFEST, and through it every byte, is
//! bound by the hash in BACKUP; every outlet that a data group seals for is registered in the directory of
//! the same backup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use fiscus_ledger::checkpoint::{Checkpoint, origin};
use fiscus_ledger::facts::OutletFact;
use fiscus_ledger::hash::{Hash32, hex};
use fiscus_ledger::state::Id;
use fiscus_ledger::state::group::Group;
use fiscus_raft::disk::{Disk, RealDisk};
use fiscus_raft::store::{Checked, SnapshotDir};
use serde::{Deserialize, Serialize};

const NAME: &str = "BACKUP";
const FORMAT: u32 = 1;
const SEAL: &str = "# blake3 ";

/// What BACKUP says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    pub(super) format: u32,
    pub(super) cluster: String,
    /// When it was begun, in milliseconds since 1970.
    pub(super) begun_ms: u64,
    /// The node that made it.
    pub(super) node: u64,
    pub(super) groups: Vec<GroupContents>,
}

/// What BACKUP says of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupContents {
    pub(super) group: u64,
    /// The last entry in it.
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) leaves: u64,
    pub(super) state_hash: String,
    /// BLAKE3 of its MANIFEST.
    pub(super) manifest: String,
    /// The note of the last checkpoint that was published before; its root must be this tree's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checkpoint: Option<String>,
    pub(super) authorities: Vec<AuthorityContents>,
}

/// A public key that signatures in the backup are checked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorityContents {
    pub(super) id: String,
    pub(super) public_key: String,
}

/// A backup that was found to be sound.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) contents: Contents,
    pub(super) snapshots: BTreeMap<u64, SnapshotDir>,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) records: u64,
    pub(super) signatures: u64,
    /// Records that were not signed yet when the backup was made.
    pub(super) unsigned: u64,
    pub(super) outlets: u64,
    /// The authorities of each group.
    pub(super) authorities: BTreeMap<u64, Vec<AuthorityContents>>,
    /// All registrations of the directory.
    pub(super) registered: Vec<OutletFact>,
}

pub(super) fn group_dir(dir: &Path, group: u64) -> PathBuf {
    dir.join(format!("group-{group}"))
}

pub(super) fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk::new())
}

impl GroupContents {
    /// Describes an exported group as it lies there. Its authorities are filled in by the check.
    pub(super) fn of_dir(dir: &Path, group: u64, checkpoint: &str) -> Result<Self> {
        let path = group_dir(dir, group);
        let snapshot = SnapshotDir::open(&disk(), &path)?;
        let id = snapshot.log_id().context("the snapshot is of no entry")?;
        Ok(Self {
            group,
            term: id.term,
            index: id.index,
            leaves: snapshot.manifest.leaves,
            state_hash: hex(&snapshot.manifest.state_hash),
            manifest: manifest_hash(&path)?,
            checkpoint: (!checkpoint.is_empty()).then(|| checkpoint.to_owned()),
            authorities: Vec::new(),
        })
    }
}

fn manifest_hash(group: &Path) -> Result<String> {
    let path = group.join("MANIFEST");
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(hex(blake3::hash(&bytes).as_bytes()))
}

/// The authorities of a group as BACKUP lists them.
fn authorities(group: &Group) -> Vec<AuthorityContents> {
    let listed = group.authorities.iter().map(|authority| AuthorityContents {
        id: authority.id.to_string(),
        public_key: hex(&authority.public_key),
    });
    listed.collect()
}

/// Writes BACKUP, which makes a backup of the directory.
pub(super) fn write(dir: &Path, contents: &Contents) -> Result<()> {
    let body = toml::to_string(contents).context("spelling BACKUP")?;
    let text = format!("{body}{SEAL}{}\n", hex(blake3::hash(body.as_bytes()).as_bytes()));
    let (path, fresh) = (dir.join(NAME), dir.join("BACKUP.new"));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, &path))
        .and_then(|()| File::open(dir)?.sync_all())
        .with_context(|| path.display().to_string())
}

fn read(dir: &Path) -> Result<Contents> {
    let path = dir.join(NAME);
    let text = fs::read_to_string(&path).with_context(|| {
        format!("{}: without it this is no backup; it may have been interrupted", path.display())
    })?;
    let (body, seal) =
        text.rsplit_once(SEAL).with_context(|| format!("{NAME} has no last line"))?;
    ensure!(
        seal.trim_end() == hex(blake3::hash(body.as_bytes()).as_bytes()),
        "{} is not what was written",
        path.display()
    );
    let contents: Contents = toml::from_str(body).with_context(|| path.display().to_string())?;
    ensure!(
        contents.format == FORMAT,
        "the backup has format {}; this version reads {FORMAT}",
        contents.format
    );
    Ok(contents)
}

impl Contents {
    pub(super) fn new(cluster: &str, begun_ms: u64, node: u64) -> Self {
        Self { format: FORMAT, cluster: cluster.to_owned(), begun_ms, node, groups: Vec::new() }
    }
}

/// Checks a backup down to every record and signature.
pub(super) fn verify(dir: &Path, say: &dyn Fn(&str)) -> Result<Verified> {
    check(dir, &read(dir)?, say)
}

/// Checks that a directory holds what `contents` says.
pub(super) fn check(dir: &Path, contents: &Contents, say: &dyn Fn(&str)) -> Result<Verified> {
    let numbers: Vec<u64> = contents.groups.iter().map(|known| known.group).collect();
    let expected: Vec<u64> = (0..numbers.len() as u64).collect();
    ensure!(
        numbers == expected && numbers.len() > 1,
        "the backup lacks groups: it has {numbers:?}"
    );
    let mut verified = Verified {
        snapshots: BTreeMap::new(),
        bytes: 0,
        rows: 0,
        records: 0,
        signatures: 0,
        unsigned: 0,
        outlets: 0,
        authorities: BTreeMap::new(),
        registered: Vec::new(),
        contents: contents.clone(),
    };
    let mut sealing: BTreeMap<Id, u64> = BTreeMap::new();
    for known in &contents.groups {
        say(&format!("checking group {}", known.group));
        let (snapshot, checked) = check_group(dir, &contents.cluster, known)
            .with_context(|| format!("group {}", known.group))?;
        for outlet in &checked.outlets {
            let before = sealing.insert(outlet.clone(), known.group);
            ensure!(before.is_none(), "outlet {outlet} is in group {} and another", known.group);
        }
        verified.bytes += checked.bytes;
        verified.rows += checked.rows;
        verified.records += checked.records;
        verified.signatures += checked.signatures;
        verified.unsigned += checked.records - checked.signatures;
        verified.outlets += checked.outlets.len() as u64;
        verified.authorities.insert(known.group, authorities(&checked.group));
        if known.group == 0 {
            verified.registered = checked.registered;
        }
        verified.snapshots.insert(known.group, snapshot);
    }
    check_registered(&sealing, &verified.registered)?;
    Ok(verified)
}

/// A data group seals for nobody whom the directory has forgotten: it could give the number space away
/// again.
fn check_registered(sealing: &BTreeMap<Id, u64>, registered: &[OutletFact]) -> Result<()> {
    let known: BTreeSet<(&Id, u64)> =
        registered.iter().map(|fact| (&fact.outlet_id, fact.group)).collect();
    for (outlet, group) in sealing {
        if !known.contains(&(outlet, *group)) {
            bail!("outlet {outlet} of group {group} is not registered in the backup's directory");
        }
    }
    Ok(())
}

fn check_group(dir: &Path, cluster: &str, known: &GroupContents) -> Result<(SnapshotDir, Checked)> {
    let path = group_dir(dir, known.group);
    ensure!(manifest_hash(&path)? == known.manifest, "its MANIFEST is not the one that was made");
    let disk = disk();
    let snapshot = SnapshotDir::open(&disk, &path)?;
    let manifest = &snapshot.manifest;
    let id = snapshot.log_id().context("the snapshot is of no entry")?;
    let same = manifest.cluster == cluster
        && manifest.group == known.group
        && (id.term, id.index) == (known.term, known.index)
        && manifest.leaves == known.leaves
        && hex(&manifest.state_hash) == known.state_hash;
    ensure!(same, "its MANIFEST and BACKUP differ");
    let published = known.checkpoint.as_deref().map(|note| published(note, cluster, known.group));
    let roots: Vec<(u64, Hash32)> = published.transpose()?.into_iter().collect();
    let checked = snapshot.check(&*disk, &roots)?;
    // While a backup is being made there are none yet to compare with.
    let listed = &known.authorities;
    ensure!(
        listed.is_empty() || *listed == authorities(&checked.group),
        "its authorities are not those that BACKUP lists"
    );
    Ok((snapshot, checked))
}

/// Size and root of a checkpoint's note.
fn published(note: &str, cluster: &str, group: u64) -> Result<(u64, Hash32)> {
    let end = note.find("\n\n").context("the checkpoint has no signature")?;
    let checkpoint = Checkpoint::parse(&note[..=end]).context("the checkpoint")?;
    ensure!(checkpoint.origin() == origin(cluster, group), "the checkpoint is of another log");
    Ok((checkpoint.size(), *checkpoint.root()))
}
