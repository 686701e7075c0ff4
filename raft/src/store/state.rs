//! The directory of one state: how it is opened, named, rebuilt and forgotten.
//!
//! Invariants: `CURRENT` names a state that is whole and durable, or is absent, and then nothing was ever
//! applied; a state in the making has another number and goes at the next opening; an index never
//! becomes durable before the journal that it speaks of. Non-goal: repairing a damaged journal in place.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fiscus_ledger::apply::ApplyError;
use fiscus_ledger::codec::DecodeError;
use fiscus_ledger::state::group::{APPLY_VERSION_MAX, Group};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::working::KnownRows;
use fiscus_proto::stored;
use prost::Message;

use crate::disk::{Disk, OpenHow};
use crate::index::{Index, IndexError, LayeredIndex, RedbIndex, RedbOptions};
use crate::store::decided::Decided;
use crate::store::journal::{Journal, Lengths};
use crate::store::recovery::{Recovery, Step};
use crate::store::replica::{
    APPLIED_KEY, INDEX_FILE, ReplicaOptions, StoreError, Working, io_error, to_log_id,
};
use crate::store::snapshot::{SnapshotDir, SnapshotError, read_manifest};
use crate::store::taken;
use crate::store::versions::{Versions, VersionsError};
use crate::store::{installing, members, note};

/// The files of a state, shared with readers. Closing it loses what is only in memory, as a crash does:
/// the log has it.
#[derive(Debug)]
pub(crate) struct OpenState {
    pub(crate) dir: PathBuf,
    pub(crate) index: Arc<LayeredIndex>,
    pub(crate) journal: Arc<Journal>,
}

pub(crate) fn open_state(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &ReplicaOptions,
) -> Result<(OpenState, Working), StoreError> {
    disk.create_dir_all(dir).map_err(io_error("make", dir))?;
    let redb = RedbOptions { cache_bytes: options.index_cache_bytes, ..RedbOptions::default() };
    let below = RedbIndex::open(disk.clone(), dir.join(INDEX_FILE), redb)?;
    let index = Arc::new(LayeredIndex::over(Arc::new(below)));
    let damaged = |what, detail: String| StoreError::Row {
        group: options.group,
        what,
        dir: dir.to_owned(),
        detail,
    };
    let applied = match index.get(&APPLIED_KEY)? {
        None => stored::AppliedState::default(),
        Some(row) => stored::AppliedState::decode(&*row)
            .map_err(|error| damaged("applied row", error.to_string()))?,
    };
    let group = match index.get(&Group::stored_key())? {
        None => Group::new(&options.cluster, options.group),
        Some(row) => {
            let heads = read_heads(&*index)?;
            let unreadable = |error: DecodeError| damaged("group row", error.to_string());
            let heads = heads.map_err(unreadable)?;
            Group::from_stored(&row, heads).map_err(unreadable)?
        }
    };
    if group.apply_version > APPLY_VERSION_MAX {
        let known = APPLY_VERSION_MAX;
        let source = ApplyError::UnknownVersion { version: group.apply_version, known };
        return Err(StoreError::Apply { group: options.group, index: group.log_index, source });
    }
    if let Some(detail) = misfit(&group, &applied, options) {
        return Err(damaged("group row", detail));
    }
    let lengths = Lengths {
        journal: applied.journal_bytes,
        leaves: applied.leaves,
        signatures: applied.signatures,
    };
    let journal = Arc::new(Journal::open(disk, dir, options, lengths)?);
    // The names of the journal's own folders.
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    let durable = applied.applied.map(to_log_id);
    let view = index.view()?;
    let versions = Versions::open(&*view).map_err(|error| match error {
        VersionsError::Index(error) => StoreError::from(error),
        other => damaged("heads version", other.to_string()),
    })?;
    let decided = Decided::open(&*view, group.time.get())?
        .map_err(|error| damaged("checkpoint row", error.to_string()))?;
    drop(view);
    let open = OpenState { dir: dir.to_owned(), index, journal };
    let taken = taken::read(&**disk, dir.parent().unwrap_or(dir), group.log_index)?;
    Ok((
        open,
        Working {
            group,
            applied,
            durable,
            versions,
            decided,
            known_rows: KnownRows::default(),
            taken,
        },
    ))
}

/// What tells that the group's row is not this state's, if something does.
fn misfit(
    group: &Group,
    applied: &stored::AppliedState,
    options: &ReplicaOptions,
) -> Option<String> {
    let fits = group.tree.size() == applied.leaves && *group.cluster == *options.cluster;
    let (leaves, cluster) = (group.tree.size(), &group.cluster);
    let claimed = applied.leaves;
    (!fits).then(|| format!("it has {leaves} leaves of {claimed} in cluster {cluster}"))
}

type Heads = Vec<(fiscus_ledger::state::Id, fiscus_ledger::heads::HeadEntry)>;

fn read_heads(index: &dyn Index) -> Result<Result<Heads, DecodeError>, IndexError> {
    let mut heads = Vec::new();
    let mut problem = None;
    let _end =
        index.view()?.scan(&[Outlet::TABLE], Some(&[Outlet::TABLE + 1]), &mut |_, row| {
            match Outlet::from_stored(row) {
                Ok(outlet) => heads.push((outlet.fact.outlet_id.clone(), outlet.head_entry())),
                Err(error) => problem = Some(error),
            }
            if problem.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    Ok(problem.map_or(Ok(heads), Err))
}

/// Opens the state in use. One that is damaged is rebuilt.
pub(crate) fn open_or_rebuild(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &ReplicaOptions,
) -> Result<(OpenState, Working), StoreError> {
    let current = find_current(&**disk, dir, options)?;
    let name = current.clone().unwrap_or_else(|| "state-1".to_owned());
    forget_strays(&**disk, dir, &name)?;
    let opened = match &current {
        Some(name) => check_index_is_there(&**disk, &dir.join(name), options),
        None => Ok(()),
    };
    let opened = match Recovery::read(&**disk, dir)? {
        Some(Recovery { step: Step::Reindex, why, .. }) => Err(StoreError::Row {
            group: options.group,
            what: "index",
            dir: dir.join(&name),
            detail: why,
        }),
        _ => opened,
    };
    match opened.and_then(|()| open_state(disk, &dir.join(&name), options)) {
        Ok(opened) => {
            if current.is_none() {
                write_current(&**disk, dir, &name)?;
            }
            Ok(opened)
        }
        Err(error) if error.is_damage() => {
            tracing::error!(group = options.group, %error, "the state is damaged: rebuilding it");
            rebuild(disk, dir, &name, options, &error)
        }
        Err(error) => Err(error),
    }
}

/// A state that was in use has an index. Without this question, a lost one would count as an empty one,
/// and the journal would be cut to nothing.
fn check_index_is_there(
    disk: &dyn Disk,
    state: &Path,
    options: &ReplicaOptions,
) -> Result<(), StoreError> {
    let path = state.join(INDEX_FILE);
    if disk.exists(&path).map_err(io_error("look for", &path))? {
        return Ok(());
    }
    let detail = "it is not there".to_owned();
    Err(StoreError::Row { group: options.group, what: "index", dir: state.to_owned(), detail })
}

/// Removes a damaged index, so that the next opening builds it again, whatever recovery is under way.
/// Nobody may have it open.
pub fn drop_index(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let Some(name) = read_current(disk, dir)? else { return Ok(()) };
    let path = dir.join(name).join(INDEX_FILE);
    if disk.exists(&path).map_err(io_error("look for", &path))? {
        disk.remove_file(&path).map_err(io_error("remove", &path))?;
    }
    Ok(())
}

/// Makes the group's directory, and its name durable. The data directory above is its owner's.
pub(crate) fn make_group_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    disk.create_dir_all(dir).map_err(io_error("make", dir))?;
    let above = dir.ancestors().skip(1).take(2).filter(|path| !path.as_os_str().is_empty());
    for parent in above {
        disk.sync_dir(parent).map_err(io_error("sync", parent))?;
    }
    Ok(())
}

/// Removes the states and snapshots that a crash left unfinished or out of use.
fn forget_strays(disk: &dyn Disk, dir: &Path, current: &str) -> Result<(), StoreError> {
    for name in disk.list(dir).map_err(io_error("list", dir))? {
        let path = dir.join(&name);
        if name.starts_with("state-") && name != current {
            disk.remove_dir_all(&path).map_err(io_error("remove", &path))?;
        } else if note::is_fresh(&name, &["CURRENT", members::FILE, taken::FILE, installing::FILE])
        {
            disk.remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    let snapshots = dir.join("snapshots");
    if !disk.exists(&snapshots).map_err(io_error("look for", &snapshots))? {
        return Ok(());
    }
    for name in disk.list(&snapshots).map_err(io_error("list", &snapshots))? {
        if name.ends_with(".new") {
            let path = snapshots.join(name);
            disk.remove_dir_all(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Removes snapshots on their way in that nobody can go on with: those without a manifest, and those of
/// what was applied since.
pub(crate) fn forget_incoming(
    disk: &dyn Disk,
    dir: &Path,
    applied: &stored::AppliedState,
) -> Result<(), StoreError> {
    let parent = dir.join("incoming");
    if !disk.exists(&parent).map_err(io_error("look for", &parent))? {
        return Ok(());
    }
    for name in disk.list(&parent).map_err(io_error("list", &parent))? {
        let path = parent.join(name);
        let manifest = read_manifest(disk, &path).ok();
        let index = manifest.and_then(|manifest| manifest.log_id).map(|id| id.index);
        if index <= applied.applied.map(|id| id.index) {
            disk.remove_dir_all(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Builds the state again from the newest local snapshot that is usable; without any, from nothing, when
/// the log still goes back to the beginning. The damaged one stays until the next opening.
fn rebuild(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    damaged: &str,
    options: &ReplicaOptions,
    error: &StoreError,
) -> Result<(OpenState, Working), StoreError> {
    let number = damaged.strip_prefix("state-").and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
    let name = format!("state-{}", number + 1);
    let target = dir.join(&name);
    let lost = |tried: String| StoreError::Lost {
        group: options.group,
        dir: dir.to_owned(),
        damage: error.to_string(),
        tried,
    };
    let mut tried = String::new();
    // A disk that fails, or is full, says nothing about what it holds: only damage makes a state lost.
    let mut failure = None;
    let paths = SnapshotDir::paths(&**disk, dir).map_err(|failed| cannot_rebuild(dir, failed))?;
    for path in paths {
        if disk.exists(&target).map_err(io_error("look for", &target))? {
            disk.remove_dir_all(&target).map_err(io_error("remove", &target))?;
        }
        match from_snapshot(disk, &path, &target, options) {
            Ok(opened) => {
                write_current(&**disk, dir, &name)?;
                return Ok(opened);
            }
            Err(failed) if failed.is_unusable() => {
                tracing::error!(group = options.group, %failed, "a local snapshot is unusable");
                tried = format!("{tried}{failed}; ");
            }
            Err(failed) => {
                tracing::error!(group = options.group, %failed, "a local snapshot cannot be tried");
                failure.get_or_insert(failed);
            }
        }
    }
    if let Some(failure) = failure {
        return Err(cannot_rebuild(dir, failure));
    }
    if options.log_purged > 0 {
        return Err(lost(tried));
    }
    tracing::warn!(group = options.group, "there is no local snapshot: replaying the whole log");
    if disk.exists(&target).map_err(io_error("look for", &target))? {
        disk.remove_dir_all(&target).map_err(io_error("remove", &target))?;
    }
    let opened = open_state(disk, &target, options)?;
    write_current(&**disk, dir, &name)?;
    Ok(opened)
}

/// What keeps a state from being built again, and may pass.
fn cannot_rebuild(dir: &Path, failure: SnapshotError) -> StoreError {
    match failure {
        SnapshotError::Store(error) => *error,
        SnapshotError::Index(error) => StoreError::Index(error),
        SnapshotError::Io { doing, path, source } => StoreError::Io { doing, path, source },
        failure @ SnapshotError::Unusable { .. } => StoreError::Io {
            doing: "look for snapshots in",
            path: dir.to_owned(),
            source: io::Error::other(failure),
        },
    }
}

fn from_snapshot(
    disk: &Arc<dyn Disk>,
    path: &Path,
    target: &Path,
    options: &ReplicaOptions,
) -> Result<(OpenState, Working), SnapshotError> {
    let snapshot = SnapshotDir::open(disk, path)?;
    let unusable = |what| Err(SnapshotError::Unusable { path: path.to_owned(), what });
    if snapshot.log_id().map_or(0, |id| id.index) < options.log_purged {
        return unusable(format!("the log behind it begins only after {}", options.log_purged));
    }
    snapshot.build_state(disk, target, options)?;
    let (open, working) = open_state(disk, target, options).map_err(Box::new)?;
    match differs(&working, &snapshot) {
        None => Ok((open, working)),
        Some(what) => unusable(what.to_owned()),
    }
}

/// What a state does not have in common with the manifest that it was built by.
pub(crate) fn differs(working: &Working, snapshot: &SnapshotDir) -> Option<&'static str> {
    let manifest = &snapshot.manifest;
    if working.applied.applied != manifest.log_id {
        return Some("its rows are of another entry than its manifest");
    }
    let same = working.group.state_hash()[..] == manifest.state_hash[..];
    (!same).then_some("its state is not the one that its manifest names")
}

pub(crate) fn read_current(disk: &dyn Disk, dir: &Path) -> Result<Option<String>, StoreError> {
    let path = dir.join("CURRENT");
    if !disk.exists(&path).map_err(io_error("look for", &path))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenHow::Read).map_err(io_error("open", &path))?;
    let size = file.size().map_err(io_error("measure", &path))?;
    let mut text = vec![0; usize::try_from(size.min(64)).expect("64 fits")];
    file.read_exact_at(&mut text, 0).map_err(io_error("read", &path))?;
    let name = String::from_utf8(text).ok().map(|name| name.trim_end().to_owned());
    match name.filter(|name| name.starts_with("state-") && !name.contains(['/', '.'])) {
        Some(name) => Ok(Some(name)),
        None => Err(StoreError::Io {
            doing: "read",
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, "it does not name a state"),
        }),
    }
}

/// The state in use, although the file that names it may be damaged: the only one that there is, since whatever is
/// replaced is removed. Of several nobody knows which one it was.
fn find_current(
    disk: &dyn Disk,
    dir: &Path,
    options: &ReplicaOptions,
) -> Result<Option<String>, StoreError> {
    let damage = match read_current(disk, dir) {
        Err(StoreError::Io { path, source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
            format!("{}: {source}", path.display())
        }
        read => return read,
    };
    let mut names = disk.list(dir).map_err(io_error("list", dir))?;
    names.retain(|name| name.starts_with("state-"));
    if let [only] = names.as_slice() {
        tracing::error!(group = options.group, damage, only, "the only state is taken into use");
        write_current(disk, dir, only)?;
        return Ok(Some(only.clone()));
    }
    Err(StoreError::Lost {
        group: options.group,
        dir: dir.to_owned(),
        damage,
        tried: format!("it may have been one of {}", names.join(", ")),
    })
}

pub(crate) fn write_current(disk: &dyn Disk, dir: &Path, name: &str) -> Result<(), StoreError> {
    note::write(disk, dir, "CURRENT", format!("{name}\n").as_bytes())
}
