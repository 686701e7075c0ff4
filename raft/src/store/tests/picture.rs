//! Everything that a replica answers, to compare two of them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fiscus_ledger::hash::Hash32;

use super::life::{DIR, ENTRIES, Log, applied, open, options, replay};
use crate::disk::{Disk, OpenHow, SimulatedDisk};
use crate::index::Index as _;
use crate::index::Row;
use crate::store::journal::{LeafEntry, TREE_HEIGHTS};
use crate::store::replica::{ReplicaOptions, to_log_id};
use crate::store::state::read_current;
use crate::store::{FoundRecord, Replica, SnapshotDir};

/// What was found, or not.
pub(crate) type Found<T> = Result<T, String>;

#[expect(clippy::needless_pass_by_value, reason = "an error is handed over by map_err")]
pub(crate) fn told(error: impl ToString) -> String {
    error.to_string()
}

/// Everything that a replica answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) state_hash: Hash32,
    rows: Vec<Row>,
    leaves: Vec<Option<LeafEntry>>,
    records: Vec<Option<FoundRecord>>,
    signatures: Vec<Option<[u8; 64]>>,
    pub(crate) nodes: Vec<Option<Hash32>>,
}

impl Picture {
    pub(crate) fn of(replica: &Replica) -> Found<Self> {
        let reading = replica.read().map_err(told)?;
        let open = replica.open_state();
        let mut rows = Vec::new();
        let view = open.index.view().map_err(told)?;
        let _end = view
            .scan(&[], None, &mut |key, row| {
                rows.push((key.to_vec(), row.to_vec()));
                ControlFlow::Continue(())
            })
            .map_err(told)?;
        let to = reading.as_of().leaves + 1;
        let leaves = (0..to).map(|leaf| reading.leaf(leaf).map_err(told));
        let records = (0..to).map(|leaf| reading.record(leaf).map_err(told));
        let signatures = (0..to).map(|leaf| open.journal.signature(leaf).map_err(told));
        let nodes = TREE_HEIGHTS.into_iter().flat_map(|height| [(height, 0), (height, 1)]);
        let nodes = nodes.map(|(height, at)| open.journal.tree_node(height, at).map_err(told));
        Ok(Self {
            state_hash: replica.working().group.state_hash(),
            leaves: leaves.collect::<Found<_>>()?,
            records: records.collect::<Found<_>>()?,
            signatures: signatures.collect::<Found<_>>()?,
            nodes: nodes.collect::<Found<_>>()?,
            rows,
        })
    }

    fn same(&self, other: &Self, when: &str) -> Found<()> {
        let part = match () {
            () if self.state_hash != other.state_hash => "state hash",
            () if self.rows != other.rows => "rows",
            () if self.leaves != other.leaves => "leaves",
            () if self.records != other.records => "records",
            () if self.signatures != other.signatures => "signatures",
            () if self.nodes != other.nodes => "nodes",
            () => return Ok(()),
        };
        Err(format!("{when}: other {part} than a replica that never crashed"))
    }
}

/// A replica that never crashed: its picture after each entry, from none on.
#[derive(Debug)]
pub(crate) struct Steady {
    pub(crate) log: Log,
    pub(crate) pictures: Vec<Picture>,
}

impl Steady {
    pub(crate) fn of(log: Log) -> Self {
        let replica = open(&SimulatedDisk::new(), options()).expect("open");
        let mut pictures = vec![Picture::of(&replica).expect("picture")];
        for (id, _) in &log {
            replay(&replica, &log, id.index).expect("apply");
            pictures.push(Picture::of(&replica).expect("picture"));
        }
        Self { log, pictures }
    }

    fn at(&self, index: u64) -> &Picture {
        &self.pictures[usize::try_from(index).expect("a short log")]
    }

    /// The replica answers as the steady one did at the same entry.
    pub(crate) fn agrees(&self, replica: &Replica, when: &str) -> Found<()> {
        let picture = Picture::of(replica).map_err(|error| format!("{when}: {error}"))?;
        self.at(applied(replica)).same(&picture, when)
    }

    /// The replica answers as the steady one does at the end of the log.
    pub(crate) fn finishes(&self, replica: &Replica) -> Found<()> {
        replay(replica, &self.log, u64::MAX).map_err(|error| format!("replay: {error}"))?;
        self.agrees(replica, "after the replay")
    }
}

/// What a replica said that it had done, before the power failed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Claims {
    pub(crate) durable: u64,
    pub(crate) snapshot: u64,
}

impl Claims {
    pub(crate) fn note(&mut self, replica: &Replica) {
        self.durable = self.durable.max(replica.durable().map_or(0, |id| id.index));
    }
}

/// Opens what is on the disk and compares it with what was claimed. Nothing may have to be rebuilt.
pub(crate) fn reopen(
    disk: &SimulatedDisk,
    steady: &Steady,
    claims: Claims,
    options: ReplicaOptions,
) -> Found<Replica> {
    disk.create_dir_all(Path::new(DIR)).map_err(told)?;
    let before = read_current(disk, Path::new(DIR)).map_err(told)?;
    let replica = open(disk, options).map_err(|error| format!("open: {error}"))?;
    let after = read_current(disk, Path::new(DIR)).map_err(told)?;
    if before.as_ref().is_some_and(|_| before != after) {
        return Err(format!("the state {before:?} was damaged; now it is {after:?}"));
    }
    let index = applied(&replica);
    if index < claims.durable || replica.durable().map_or(0, |id| id.index) != index {
        return Err(format!("{index} is left of {}", claims.durable));
    }
    steady.agrees(&replica, "after the crash")?;
    no_strays(disk, &after.ok_or("there is no CURRENT")?, index)?;
    match replica.newest_snapshot().map_err(|error| format!("newest snapshot: {error}"))? {
        None if claims.snapshot > 0 => return Err("the snapshot is gone".to_owned()),
        None => {}
        Some(snapshot) => sound(&snapshot, disk, steady, claims)?,
    }
    Ok(replica)
}

fn sound(
    snapshot: &SnapshotDir,
    disk: &SimulatedDisk,
    steady: &Steady,
    claims: Claims,
) -> Found<()> {
    let index = snapshot.log_id().map_or(0, |id| id.index);
    if index < claims.snapshot {
        return Err(format!("the newest snapshot is {index} instead of {}", claims.snapshot));
    }
    snapshot.verify(disk).map_err(told)?;
    if snapshot.manifest.state_hash[..] != steady.at(index).state_hash {
        return Err(format!("the snapshot {index} has another state hash"));
    }
    Ok(())
}

/// Nothing half-made is left beside the state in use.
pub(crate) fn no_strays(disk: &SimulatedDisk, current: &str, applied: u64) -> Found<()> {
    for name in disk.list(Path::new(DIR)).map_err(told)? {
        let known = ["CURRENT", "MEMBERS", "TAKEN", "INSTALLING", "snapshots", "incoming", current];
        if !known.contains(&&*name) {
            return Err(format!("{name} is left over"));
        }
    }
    for name in names(disk, "snapshots")? {
        if name.len() != 16 {
            return Err(format!("snapshots/{name} is left over"));
        }
    }
    for name in names(disk, "incoming")? {
        let path = PathBuf::from(DIR).join("incoming").join(&name);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let manifest = SnapshotDir::open(&shared, &path).map_err(told)?.manifest;
        if manifest.log_id.map_or(0, |id| to_log_id(id).index) <= applied {
            return Err(format!("incoming/{name} is left over"));
        }
    }
    Ok(())
}

/// The files of the journal's runs below a folder of the group, with their content.
pub(crate) fn files_of(disk: &SimulatedDisk, folder: &str) -> Vec<(String, Vec<u8>)> {
    let top = Path::new(DIR).join(folder);
    let mut files = Vec::new();
    for run in ["journal", "leaves", "tree-08", "signatures"] {
        for name in disk.list(&top.join(run)).expect("list") {
            let name = format!("{run}/{name}");
            let file = disk.open(&top.join(&name), OpenHow::Read).expect("open");
            let size = usize::try_from(file.size().expect("measure")).expect("small");
            let mut content = vec![0; size];
            file.read_exact_at(&mut content, 0).expect("read");
            files.push((name, content));
        }
    }
    files
}

pub(crate) fn names(disk: &SimulatedDisk, folder: &str) -> Found<Vec<String>> {
    let path = Path::new(DIR).join(folder);
    if disk.exists(&path).map_err(told)? { disk.list(&path).map_err(told) } else { Ok(Vec::new()) }
}

/// After a crash: what was claimed is there, the rest of the log leads to the steady replica's end, and
/// that survives another power cut.
pub(crate) fn recovers(disk: &SimulatedDisk, steady: &Steady, claims: Claims) -> Found<()> {
    let replica = reopen(disk, steady, claims, options())?;
    steady.finishes(&replica)?;
    if !replica.flush(super::life::last(&steady.log)).map_err(told)? {
        return Err("it is not flushed".to_owned());
    }
    let claims = Claims { durable: ENTRIES, ..claims };
    let again = disk.reboot(0, crate::disk::RebootMode::LoseUnsynced);
    reopen(&again, steady, claims, options()).map(drop)
}
