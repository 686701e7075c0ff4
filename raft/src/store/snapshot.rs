//! Snapshots on disk: one directory that has everything a replica needs to begin at one log index.
//!
//! ```text
//! snapshots/{index in hex}/MANIFEST      what belongs to it, with lengths and hashes; u32 CRC-32C last
//! snapshots/{index in hex}/journal/…     hard links to sealed files, a copy of each run's last file
//! snapshots/{index in hex}/rows/0000     the index's rows in key order: u32 ‖ key ‖ u32 ‖ row, repeated
//! ```
//!
//! What it shows is fixed by the apply worker in one step: a durable state, a view of the index and the
//! list of files with their lengths. Everything slow happens afterwards, beside apply. A directory
//! appears under its name only when it is complete and synced.

pub(crate) mod rows;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fiscus_ledger::hash::Hash32;
use fiscus_proto::peer::{SnapshotFile, SnapshotManifest};
use prost::Message;

use crate::disk::{Disk, DiskFile, OpenHow};
use crate::index::{Index, IndexError, RedbOptions, Row, View, bulk_load};
use crate::store::replica::{INDEX_FILE, Replica, ReplicaOptions, StoreError, to_log_id};
use crate::store::series::{PieceName, SeriesError};
use crate::store::snapshot::rows::{RowFiles, write_rows};
use crate::store::state::OpenState;
use crate::store::taken;
use crate::store::walk::{Flaw, PieceWalk};
use crate::wal::LogId;

const MANIFEST: &str = "MANIFEST";
const COPY_BYTES: usize = 1 << 20;
/// Between two messages about the building of an index.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
/// How many snapshots are kept, besides those that somebody reads: the newest, and one to fall back to.
const KEPT: usize = 2;

/// Why a snapshot cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The replica failed.
    #[error(transparent)]
    Store(#[from] Box<StoreError>),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The disk failed.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The content is not what the manifest says.
    #[error("the snapshot {path} is not usable: {what}")]
    Unusable {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl SnapshotError {
    /// Whether the snapshot itself is at fault. Everything else, a full disk above all, may pass, and says
    /// nothing about what is stored.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        match self {
            Self::Unusable { .. } => true,
            Self::Store(error) => error.is_damage(),
            Self::Index(error) => matches!(
                error,
                IndexError::Damaged { .. }
                    | IndexError::Unclean { .. }
                    | IndexError::Unsorted { .. }
            ),
            // Files that are not there, or end before their length.
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
            }
        }
    }
}

pub(crate) fn io_error(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { doing, path, source }
}

/// A complete snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotDir {
    /// Where it is.
    pub path: PathBuf,
    /// What belongs to it.
    pub manifest: SnapshotManifest,
    /// Keeps it from being removed while it is read.
    pin: Option<Arc<Pin>>,
}

/// The snapshots that somebody reads, by their directory's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Arc<Mutex<BTreeMap<PathBuf, usize>>>);

/// One reader of a snapshot.
#[derive(Debug)]
struct Pin {
    pins: Pins,
    path: PathBuf,
}

impl Pins {
    fn held(&self) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
        self.0.lock().expect("no holder panics")
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut held = self.pins.held();
        if let Some(readers) = held.get_mut(&self.path) {
            *readers -= 1;
            if *readers == 0 {
                held.remove(&self.path);
            }
        }
    }
}

/// A snapshot in the making: what it shows is fixed.
#[derive(Debug)]
pub struct SnapshotBuild {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: Arc<OpenState>,
    view: Box<dyn View>,
    pieces: Vec<PieceName>,
    manifest: SnapshotManifest,
    pins: Pins,
}

impl Replica {
    /// Fixes what a snapshot shows; apply waits for no more than that. It may be written once
    /// [`Self::flush`] has made what it shows durable.
    pub fn begin_snapshot(&self) -> Result<SnapshotBuild, StoreError> {
        let working = self.working();
        self.check_in_service()?;
        let open = self.open_state();
        let applied = &working.applied;
        Ok(SnapshotBuild {
            disk: self.disk.clone(),
            dir: self.dir.join("snapshots"),
            view: open.index.view()?,
            pieces: open.journal.pieces(),
            manifest: SnapshotManifest {
                cluster: self.options.cluster.clone(),
                group: self.options.group,
                log_id: applied.applied,
                membership_log_id: applied.membership_log_id,
                membership: applied.membership.clone(),
                leaves: applied.leaves,
                state_hash: working.group.state_hash().to_vec().into(),
                files: Vec::new(),
            },
            open,
            pins: self.pins.clone(),
        })
    }

    /// The newest local snapshot; it stays for as long as the caller has it.
    pub fn newest_snapshot(&self) -> Result<Option<SnapshotDir>, SnapshotError> {
        let mut held = self.pins.held();
        let Some(mut newest) = SnapshotDir::newest(&self.disk, &self.dir)? else { return Ok(None) };
        *held.entry(newest.path.clone()).or_default() += 1;
        newest.pin = Some(Arc::new(Pin { pins: self.pins.clone(), path: newest.path.clone() }));
        Ok(Some(newest))
    }

    /// Writes a snapshot whose state is durable. Takes long; apply goes on meanwhile.
    pub fn write_snapshot(&self, build: SnapshotBuild) -> Result<SnapshotDir, SnapshotError> {
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let (durable, wanted) = (index(self.durable()), index(build.log_id()));
        if durable < wanted {
            let what = format!("it shows entry {wanted}, and durable is what entry {durable} left");
            return Err(SnapshotError::Unusable { path: build.dir, what });
        }
        build.run()
    }

    /// Builds the state that a received snapshot holds, beside the one in use, and names it.
    pub fn prepare_install(&self, snapshot: &SnapshotDir) -> Result<String, SnapshotError> {
        let current = self.open_state().dir.clone();
        let number = current
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("state-")?.parse::<u64>().ok())
            .unwrap_or(0);
        // One that an interrupted install has prepared may be put into use at any moment: it stays.
        let mut number = number + 1;
        let mut name = format!("state-{number}");
        while self.disk.exists(&self.dir.join(&name)).map_err(io_error("look for", &self.dir))? {
            number += 1;
            name = format!("state-{number}");
        }
        let target = self.dir.join(&name);
        let built = snapshot.build_state(&self.disk, &target, &self.options);
        built.inspect_err(|_| forget_unfinished(&*self.disk, &target))?;
        // Before it is in use: what is in use is never taken for this replica's own.
        let index = snapshot.manifest.log_id.map_or(0, |id| id.index);
        let noted = taken::write(&*self.disk, &self.dir, index).map_err(Box::new);
        noted.inspect_err(|_| forget_unfinished(&*self.disk, &target))?;
        Ok(name)
    }

    /// Removes a prepared state that was not put into use.
    pub(crate) fn forget_prepared(&self, name: &str) {
        let prepared = self.dir.join(name);
        if self.open_state().dir != prepared {
            forget_unfinished(&*self.disk, &prepared);
        }
    }

    /// Copies a snapshot elsewhere, reads the copy back and compares it; a half copy has no manifest.
    pub fn export(&self, snapshot: &SnapshotDir, target: &Path) -> Result<(), SnapshotError> {
        let disk = &*self.disk;
        if disk.exists(target).map_err(io_error("look for", target))? {
            let what = "there is something already; use an empty directory".to_owned();
            return Err(SnapshotError::Unusable { path: target.to_owned(), what });
        }
        for file in &snapshot.manifest.files {
            let to = target.join(&file.name);
            make_parent(disk, &to)?;
            copy_file(disk, &snapshot.path.join(&file.name), &to, file.bytes)?;
        }
        let copy = SnapshotDir::at(target.to_owned(), snapshot.manifest.clone());
        copy.verify(disk)?;
        write_manifest(disk, target, &copy.manifest)?;
        sync_dirs(disk, target, &copy.manifest)
    }

    /// Files a snapshot that lies elsewhere with the replica's own.
    pub(crate) fn file_snapshot(
        &self,
        snapshot: &SnapshotDir,
    ) -> Result<SnapshotDir, SnapshotError> {
        if snapshot.path.starts_with(&self.dir) {
            return Ok(snapshot.clone());
        }
        let index = snapshot.log_id().map_or(0, |id| id.index);
        let copy = self.dir.join("incoming").join(format!("{index:016x}"));
        if self.disk.exists(&copy).map_err(io_error("look for", &copy))? {
            self.disk.remove_dir_all(&copy).map_err(io_error("remove", &copy))?;
        }
        self.export(snapshot, &copy)?;
        adopt(&self.disk, &self.dir, &copy, &self.pins)
    }
}

impl SnapshotBuild {
    /// The entry that it is of.
    #[must_use]
    pub fn log_id(&self) -> Option<LogId> {
        self.manifest.log_id.map(to_log_id)
    }

    fn run(self) -> Result<SnapshotDir, SnapshotError> {
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let index = self.manifest.log_id.map_or(0, |id| id.index);
        let written = self.write();
        let fresh = dir.join(format!("{index:016x}.new"));
        written.inspect_err(|_| forget_unfinished(&*disk, &fresh))
    }

    fn write(mut self) -> Result<SnapshotDir, SnapshotError> {
        let disk = self.disk.clone();
        let known = SnapshotDir::newest_in(&disk, &self.dir).ok().flatten();
        let index = self.manifest.log_id.map_or(0, |id| id.index);
        let path = self.dir.join(format!("{index:016x}"));
        if let Some(known) = &known
            && known.path == path
        {
            return Ok(known.clone());
        }
        let fresh = self.dir.join(format!("{index:016x}.new"));
        for stale in [&fresh, &path] {
            if disk.exists(stale).map_err(io_error("look for", stale))? {
                disk.remove_dir_all(stale).map_err(io_error("remove", stale))?;
            }
        }
        let mut files = write_rows(&*disk, &fresh, &*self.view)?;
        // No read transaction outlives the rows.
        drop(self.view);
        let last_of_run = last_of_run(self.pieces.iter().map(|piece| piece.name.as_str()));
        let hashes = known.map(|known| known.hashes()).unwrap_or_default();
        for piece in &self.pieces {
            let (from, to) = (self.open.dir.join(&piece.name), fresh.join(&piece.name));
            make_parent(&*disk, &to)?;
            let known = hashes.get(&piece.name).filter(|(bytes, _)| *bytes == piece.bytes);
            let hash = if piece.sealed && !last_of_run.contains(&piece.name.as_str()) {
                disk.hard_link(&from, &to).map_err(io_error("link", &to))?;
                known.map_or_else(|| hash_piece(&*disk, &to, piece), |(_, h)| Ok(*h))?
            } else {
                copy_file(&*disk, &from, &to, piece.bytes)?;
                hash_piece(&*disk, &to, piece)?
            };
            let hash = hash.to_vec().into();
            files.push(SnapshotFile { name: piece.name.clone(), bytes: piece.bytes, hash });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        self.manifest.files = files;
        write_manifest(&*disk, &fresh, &self.manifest)?;
        sync_dirs(&*disk, &fresh, &self.manifest)?;
        disk.rename(&fresh, &path).map_err(io_error("rename to", &path))?;
        sync_snapshots(&*disk, &self.dir)?;
        forget_old(&*disk, &self.dir, &self.pins)?;
        Ok(SnapshotDir::at(path, self.manifest))
    }
}

impl SnapshotDir {
    pub(crate) fn at(path: PathBuf, manifest: SnapshotManifest) -> Self {
        Self { path, manifest, pin: None }
    }

    /// The newest snapshot of a group's directory.
    pub(crate) fn newest(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<Self>, SnapshotError> {
        Self::newest_in(disk, &dir.join("snapshots"))
    }

    fn newest_in(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<Self>, SnapshotError> {
        disk.create_dir_all(dir).map_err(io_error("make", dir))?;
        let names = disk.list(dir).map_err(io_error("list", dir))?;
        let complete = names.into_iter().rev().find(|name| name.len() == 16);
        complete.map(|name| Self::open(disk, &dir.join(name))).transpose()
    }

    /// The directories of a group's complete snapshots, newest first.
    pub(crate) fn paths(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
        let dir = dir.join("snapshots");
        if !disk.exists(&dir).map_err(io_error("look for", &dir))? {
            return Ok(Vec::new());
        }
        let names = disk.list(&dir).map_err(io_error("list", &dir))?;
        let complete = names.into_iter().rev().filter(|name| name.len() == 16);
        Ok(complete.map(|name| dir.join(name)).collect())
    }

    /// Reads a snapshot's manifest.
    pub fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, SnapshotError> {
        let manifest = read_manifest(&**disk, path)?;
        Ok(Self::at(path.to_owned(), manifest))
    }

    /// The entry that it is of.
    #[must_use]
    pub fn log_id(&self) -> Option<LogId> {
        self.manifest.log_id.map(to_log_id)
    }

    /// All its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes of its rows, which every new snapshot writes again.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        let rows = self.manifest.files.iter().filter(|file| file.name.starts_with("rows/"));
        rows.map(|file| file.bytes).sum()
    }

    fn hashes(&self) -> BTreeMap<String, (u64, Hash32)> {
        let hash = |file: &SnapshotFile| (file.bytes, hash_of(file));
        self.manifest.files.iter().map(|file| (file.name.clone(), hash(file))).collect()
    }

    /// Reads a part of one of its files.
    pub fn read(
        &self,
        disk: &dyn Disk,
        name: &str,
        from: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, SnapshotError> {
        let path = self.path.join(name);
        let file = disk.open(&path, OpenHow::Read).map_err(io_error("open", &path))?;
        let mut data = vec![0; bytes];
        file.read_exact_at(&mut data, from).map_err(io_error("read", &path))?;
        Ok(data)
    }

    /// Compares every file with the manifest.
    pub fn verify(&self, disk: &dyn Disk) -> Result<(), SnapshotError> {
        for file in &self.manifest.files {
            let path = self.path.join(&file.name);
            if hash_file(disk, &path, file.bytes)? != hash_of(file) {
                let what = format!("{} is not what the manifest says", file.name);
                return Err(SnapshotError::Unusable { path: self.path.clone(), what });
            }
        }
        Ok(())
    }

    /// Makes a state directory of it, and checks it against the manifest.
    pub(crate) fn build_state(
        &self,
        disk: &Arc<dyn Disk>,
        target: &Path,
        options: &ReplicaOptions,
    ) -> Result<(), SnapshotError> {
        let unusable = |what: String| SnapshotError::Unusable { path: self.path.clone(), what };
        if self.manifest.cluster != options.cluster || self.manifest.group != options.group {
            let whose = format!("{} group {}", self.manifest.cluster, self.manifest.group);
            return Err(unusable(format!("it is of cluster {whose}")));
        }
        self.verify(&**disk)?;
        disk.create_dir_all(target).map_err(io_error("make", target))?;
        let names = self.manifest.files.iter().map(|file| file.name.as_str());
        let last_of_run = last_of_run(names);
        for file in self.manifest.files.iter().filter(|file| !file.name.starts_with("rows/")) {
            let (from, to) = (self.path.join(&file.name), target.join(&file.name));
            make_parent(&**disk, &to)?;
            if last_of_run.contains(&file.name.as_str()) {
                copy_file(&**disk, &from, &to, file.bytes)?;
            } else {
                disk.hard_link(&from, &to).map_err(io_error("link", &to))?;
            }
        }
        let mut progress = Progress::of(self);
        let rows = RowFiles::new(self, &**disk).inspect(|row| progress.note(row));
        #[cfg(feature = "planted-bugs")]
        let rows = rows.filter(|row| !rows::is_lost(row));
        let redb = RedbOptions { cache_bytes: options.index_cache_bytes, ..RedbOptions::default() };
        let index = bulk_load(disk.clone(), &target.join(INDEX_FILE), redb, rows)?;
        index.flush()?;
        drop(index);
        sync_dirs(&**disk, target, &self.manifest)?;
        Ok(())
    }
}

/// Tells how far the building of an index has come, now and then.
struct Progress {
    group: u64,
    done: u64,
    total: u64,
    told: Instant,
}

impl Progress {
    fn of(snapshot: &SnapshotDir) -> Self {
        let files = snapshot.manifest.files.iter();
        let rows = files.filter(|file| file.name.starts_with("rows/"));
        let (group, total) = (snapshot.manifest.group, rows.map(|file| file.bytes).sum());
        Self { group, done: 0, total, told: Instant::now() }
    }

    fn note(&mut self, row: &Result<Row, SnapshotError>) {
        let Ok((key, value)) = row else { return };
        self.done += (key.len() + value.len() + 8) as u64;
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            let percent = self.done * 100 / self.total.max(1);
            tracing::info!(group = self.group, percent, "the index is being built");
        }
    }
}

fn hash_of(file: &SnapshotFile) -> Hash32 {
    // A hash of another length is nobody's hash.
    Hash32::try_from(&*file.hash).unwrap_or_default()
}

/// The last file of each run is still written to, or will be: it is copied, never linked.
fn last_of_run<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    for name in names {
        let run = name.split_once('/').map_or(name, |(run, _)| run);
        let newest = last.entry(run).or_insert(name);
        *newest = (*newest).max(name);
    }
    last.into_values().collect()
}

pub(crate) fn make_parent(disk: &dyn Disk, path: &Path) -> Result<(), SnapshotError> {
    let parent = path.parent().expect("every file has a folder");
    disk.create_dir_all(parent).map_err(io_error("make", parent))
}

/// Hashes the first `bytes` of a file.
pub(crate) fn hash_file(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<Hash32, SnapshotError> {
    let file = disk.open(path, OpenHow::Read).map_err(io_error("open", path))?;
    let mut hasher = blake3::Hasher::new();
    read_parts(&*file, path, bytes, |_, part| {
        hasher.update(part);
        Ok(())
    })?;
    Ok(*hasher.finalize().as_bytes())
}

/// Hashes a file of the journal that a manifest is to name, and compares it with its own checksums: what
/// is damaged here must not travel with a hash that makes it look right.
fn hash_piece(disk: &dyn Disk, path: &Path, piece: &PieceName) -> Result<Hash32, SnapshotError> {
    let damaged = |flaw: Flaw| {
        let what = format!("the entry at byte {} is not what was written", flaw.byte);
        let error = SeriesError::Damaged { path: path.to_owned(), what };
        SnapshotError::Store(Box::new(error.into()))
    };
    let mut walk = PieceWalk::of(&piece.name).expect("a journal has no other files");
    let file = disk.open(path, OpenHow::Read).map_err(io_error("open", path))?;
    let mut hasher = blake3::Hasher::new();
    read_parts(&*file, path, piece.bytes, |_, part| {
        hasher.update(part);
        walk.feed(part).map_err(damaged)
    })?;
    walk.finish().map_err(damaged)?;
    Ok(*hasher.finalize().as_bytes())
}

/// Copies the first `bytes` of a file, syncs the copy, and says its hash.
pub(crate) fn copy_file(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    bytes: u64,
) -> Result<Hash32, SnapshotError> {
    let source = disk.open(from, OpenHow::Read).map_err(io_error("open", from))?;
    let copy = disk.open(to, OpenHow::Create).map_err(io_error("make", to))?;
    let mut hasher = blake3::Hasher::new();
    read_parts(&*source, from, bytes, |at, part| {
        hasher.update(part);
        copy.write_all_at(part, at).map_err(io_error("write", to))
    })?;
    copy.sync_data().map_err(io_error("sync", to))?;
    Ok(*hasher.finalize().as_bytes())
}

fn read_parts(
    file: &dyn DiskFile,
    path: &Path,
    bytes: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < bytes {
        let part = usize::try_from(bytes - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        file.read_exact_at(&mut buffer[..part], at).map_err(io_error("read", path))?;
        each(at, &buffer[..part])?;
        at += part as u64;
    }
    Ok(())
}

pub(crate) fn write_manifest(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &SnapshotManifest,
) -> Result<(), SnapshotError> {
    let path = dir.join(MANIFEST);
    if disk.exists(&path).map_err(io_error("look for", &path))? {
        disk.remove_file(&path).map_err(io_error("remove", &path))?;
    }
    let mut content = manifest.encode_to_vec();
    content.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
    let file = disk.open(&path, OpenHow::Create).map_err(io_error("make", &path))?;
    file.write_all_at(&content, 0).map_err(io_error("write", &path))?;
    file.sync_data().map_err(io_error("sync", &path))
}

pub(crate) fn read_manifest(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<SnapshotManifest, SnapshotError> {
    let path = dir.join(MANIFEST);
    let file = disk.open(&path, OpenHow::Read).map_err(io_error("open", &path))?;
    let size = file.size().map_err(io_error("measure", &path))?;
    let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut content, 0).map_err(io_error("read", &path))?;
    let unusable = |what: &str| SnapshotError::Unusable { path: dir.to_owned(), what: what.into() };
    let (body, crc) =
        content.split_last_chunk::<4>().ok_or_else(|| unusable("its manifest is cut off"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(unusable("its manifest is damaged"));
    }
    let manifest = SnapshotManifest::decode(body)
        .map_err(|_| unusable("its manifest is not one of this product"))?;
    match manifest.files.iter().find(|file| !is_file_name(&file.name)) {
        Some(file) => Err(unusable(&format!("its manifest names the file {:?}", file.name))),
        None => Ok(manifest),
    }
}

/// Whether a manifest may name a file so: one folder, one name, nothing that leads elsewhere.
pub(crate) fn is_file_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split_once('/').is_some_and(|(run, file)| plain(run) && plain(file))
}

/// Makes the names in every folder of a snapshot durable, then those of the snapshot itself.
pub(crate) fn sync_dirs(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &SnapshotManifest,
) -> Result<(), SnapshotError> {
    let runs = manifest.files.iter().filter_map(|file| file.name.split_once('/'));
    let mut runs: Vec<&str> = runs.map(|(run, _)| run).collect();
    runs.dedup();
    for run in runs {
        let path = dir.join(run);
        if disk.exists(&path).map_err(io_error("look for", &path))? {
            disk.sync_dir(&path).map_err(io_error("sync", &path))?;
        }
    }
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    let parent = dir.parent().expect("a snapshot has a folder");
    disk.sync_dir(parent).map_err(io_error("sync", parent))
}

/// Makes the names of the snapshots durable, and that of their folder.
fn sync_snapshots(disk: &dyn Disk, dir: &Path) -> Result<(), SnapshotError> {
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    let group = dir.parent().expect("the snapshots are in the group's folder");
    disk.sync_dir(group).map_err(io_error("sync", group))
}

/// Gives back the room of what could not be finished; the next opening removes it in any case.
fn forget_unfinished(disk: &dyn Disk, path: &Path) {
    let gone = disk.exists(path).and_then(|there| match there {
        true => disk.remove_dir_all(path),
        false => Ok(()),
    });
    if let Err(error) = gone {
        tracing::warn!(path = %path.display(), %error, "an unfinished directory is still there");
    }
}

/// Removes all but the newest ones and those that are read.
fn forget_old(disk: &dyn Disk, dir: &Path, pins: &Pins) -> Result<(), SnapshotError> {
    let held = pins.held();
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    let complete = names.iter().rev().filter(|name| name.len() == 16).skip(KEPT);
    for name in complete {
        let path = dir.join(name);
        if !held.contains_key(&path) {
            disk.remove_dir_all(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Moves a received snapshot to the others.
pub(crate) fn adopt(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    received: &Path,
    pins: &Pins,
) -> Result<SnapshotDir, SnapshotError> {
    let snapshots = dir.join("snapshots");
    disk.create_dir_all(&snapshots).map_err(io_error("make", &snapshots))?;
    let name = received.file_name().expect("a snapshot has a name");
    let path = snapshots.join(name);
    if disk.exists(&path).map_err(io_error("look for", &path))? {
        let own = SnapshotDir::open(disk, &path);
        if let Some(own) = own.ok().filter(|own| own.verify(&**disk).is_ok()) {
            // It is of the same entry; there is no moment without it.
            disk.remove_dir_all(received).map_err(io_error("remove", received))?;
            return Ok(own);
        }
        disk.remove_dir_all(&path).map_err(io_error("remove", &path))?;
    }
    disk.rename(received, &path).map_err(io_error("rename to", &path))?;
    sync_snapshots(&**disk, &snapshots)?;
    forget_old(&**disk, &snapshots, pins)?;
    SnapshotDir::open(disk, &path)
}
