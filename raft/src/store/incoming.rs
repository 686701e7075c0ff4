//! A snapshot on its way in: only what is missing travels, and what has arrived survives an
//! interruption.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fiscus_ledger::hash::Hash32;
use fiscus_proto::peer::{FileWanted, SnapshotFile, SnapshotManifest};

use crate::disk::{Disk, OpenHow};
use crate::store::replica::Replica;
use crate::store::snapshot::{
    Pins, SnapshotDir, SnapshotError, adopt, copy_file, hash_file, io_error, is_file_name,
    read_manifest, sync_dirs, write_manifest,
};

/// A snapshot's file has at most this many bytes, so that a wrong manifest cannot fill the disk.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Why a snapshot does not come in.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The disk or the content.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The sender offers what this replica cannot take.
    #[error("the offered snapshot is refused: {0}")]
    Refused(String),
    /// The sender sends what was not asked for.
    #[error("the sender sent {0}")]
    OutOfPlace(String),
}

/// A snapshot on its way in.
#[derive(Debug)]
pub struct Incoming {
    disk: Arc<dyn Disk>,
    group_dir: PathBuf,
    dir: PathBuf,
    manifest: SnapshotManifest,
    pins: Pins,
}

impl Replica {
    /// Begins to receive a snapshot, or goes on with it; says what is missing.
    pub fn receive(
        &self,
        manifest: SnapshotManifest,
    ) -> Result<(Incoming, Vec<FileWanted>), IncomingError> {
        self.check_offer(&manifest)?;
        let index = manifest.log_id.map_or(0, |id| id.index);
        let parent = self.dir.join("incoming");
        let dir = parent.join(format!("{index:016x}"));
        let disk = &self.disk;
        disk.create_dir_all(&parent).map_err(io_error("make", &parent))?;
        if disk.exists(&dir).map_err(io_error("look for", &dir))?
            && read_manifest(&**disk, &dir).ok().as_ref() != Some(&manifest)
        {
            disk.remove_dir_all(&dir).map_err(io_error("remove", &dir))?;
        }
        if !disk.exists(&dir).map_err(io_error("look for", &dir))? {
            disk.create_dir_all(&dir).map_err(io_error("make", &dir))?;
            write_manifest(&**disk, &dir, &manifest)?;
        }
        // What an older offer has brought already need not travel again.
        let names = disk.list(&parent).map_err(io_error("list", &parent))?;
        let older = names.into_iter().map(|name| parent.join(name)).filter(|other| *other != dir);
        let older: Vec<PathBuf> = older.collect();
        let (group_dir, pins) = (self.dir.clone(), self.pins.clone());
        let incoming = Incoming { disk: disk.clone(), group_dir, dir, manifest, pins };
        let own = self.open_state().dir.clone();
        let sources: Vec<&Path> =
            std::iter::once(own.as_path()).chain(older.iter().map(PathBuf::as_path)).collect();
        let wanted = incoming.missing(&sources)?;
        for other in &older {
            disk.remove_dir_all(other).map_err(io_error("remove", other))?;
        }
        Ok((incoming, wanted))
    }

    fn check_offer(&self, manifest: &SnapshotManifest) -> Result<(), IncomingError> {
        let refused = |why: String| Err(IncomingError::Refused(why));
        if manifest.cluster != self.options.cluster || manifest.group != self.options.group {
            return refused(format!("it is of cluster {}", manifest.cluster));
        }
        if manifest.log_id.is_none() {
            return refused("it is of no log index".to_owned());
        }
        for file in &manifest.files {
            if !is_file_name(&file.name) || file.bytes > FILE_BYTES_MAX || file.hash.len() != 32 {
                return refused(format!("its file {:?} cannot be one", file.name));
            }
        }
        if !manifest.files.is_sorted_by(|a, b| a.name < b.name) {
            return refused("its files are not in order".to_owned());
        }
        Ok(())
    }
}

impl Incoming {
    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &SnapshotManifest {
        &self.manifest
    }

    /// What has not arrived and is not in one of the directories that are here already.
    fn missing(&self, sources: &[&Path]) -> Result<Vec<FileWanted>, IncomingError> {
        let mut wanted = Vec::new();
        for file in &self.manifest.files {
            let path = self.dir.join(&file.name);
            let parent = path.parent().expect("a file has a folder");
            self.disk.create_dir_all(parent).map_err(io_error("make", parent))?;
            let arrived = self.arrived(&path, file)?;
            if arrived == file.bytes {
                continue;
            }
            let mut taken = false;
            for source in sources.iter().filter(|_| arrived == 0) {
                taken = taken || self.take(source, file)?;
            }
            if taken {
                continue;
            }
            wanted.push(FileWanted { name: file.name.clone(), from: arrived });
        }
        Ok(wanted)
    }

    /// How much of a file is here. A file that is whole but wrong is asked for again, and so is one of
    /// which a power cut left nothing but the name.
    fn arrived(&self, path: &Path, file: &SnapshotFile) -> Result<u64, SnapshotError> {
        if !self.disk.exists(path).map_err(io_error("look for", path))? {
            return Ok(0);
        }
        let size = {
            let opened = self.disk.open(path, OpenHow::Read).map_err(io_error("open", path))?;
            opened.size().map_err(io_error("measure", path))?
        };
        let whole = size == file.bytes;
        let wrong = size > file.bytes
            || (size == 0 && !whole)
            || (whole && hash_file(&*self.disk, path, size)?.as_slice() != &*file.hash);
        if wrong {
            self.disk.remove_file(path).map_err(io_error("remove", path))?;
            return Ok(0);
        }
        Ok(size)
    }

    /// Takes a file that another directory holds already.
    fn take(&self, source: &Path, file: &SnapshotFile) -> Result<bool, SnapshotError> {
        let own = source.join(&file.name);
        if !self.disk.exists(&own).map_err(io_error("look for", &own))? {
            return Ok(false);
        }
        let size = {
            let opened = self.disk.open(&own, OpenHow::Read).map_err(io_error("open", &own))?;
            opened.size().map_err(io_error("measure", &own))?
        };
        let same = |hash: Hash32| hash.as_slice() == &*file.hash;
        if size < file.bytes || !same(hash_file(&*self.disk, &own, file.bytes)?) {
            return Ok(false);
        }
        copy_file(&*self.disk, &own, &self.dir.join(&file.name), file.bytes)?;
        Ok(true)
    }

    /// Takes a part.
    pub fn write(&self, name: &str, offset: u64, data: &[u8]) -> Result<(), IncomingError> {
        let out_of_place = |what: &str| {
            Err(IncomingError::OutOfPlace(format!("{} bytes of {name} {what}", data.len())))
        };
        let Some(file) = self.manifest.files.iter().find(|file| file.name == name) else {
            return out_of_place("that the manifest does not name");
        };
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > file.bytes) {
            return out_of_place("behind its end");
        }
        let path = self.dir.join(name);
        let here = self.disk.exists(&path).map_err(io_error("look for", &path))?;
        let how = if here { OpenHow::Write } else { OpenHow::Create };
        let opened = self.disk.open(&path, how).map_err(io_error("open", &path))?;
        if opened.size().map_err(io_error("measure", &path))? != offset {
            return out_of_place("that do not follow what has arrived");
        }
        opened.write_all_at(data, offset).map_err(io_error("write", &path))?;
        if offset + data.len() as u64 == file.bytes {
            opened.sync_data().map_err(io_error("sync", &path))?;
        }
        Ok(())
    }

    /// Checks everything and files the snapshot with the replica's own. The hashes of the manifest alone
    /// would not do: a sender that is damaged names the hashes of damaged bytes.
    pub fn finish(&self) -> Result<SnapshotDir, IncomingError> {
        for file in self.manifest.files.iter().filter(|file| file.bytes == 0) {
            let path = self.dir.join(&file.name);
            if !self.disk.exists(&path).map_err(io_error("look for", &path))? {
                self.disk.open(&path, OpenHow::Create).map_err(io_error("make", &path))?;
            }
        }
        let received = SnapshotDir::at(self.dir.clone(), self.manifest.clone());
        let group = self.manifest.group;
        let sound = received.verify(&*self.disk).and_then(|()| received.check_journal(&*self.disk));
        sound.inspect_err(|error| {
            tracing::error!(group, %error, "a received snapshot is refused; its sender may be damaged");
        })?;
        sync_dirs(&*self.disk, &self.dir, &self.manifest)?;
        Ok(adopt(&self.disk, &self.group_dir, &self.dir, &self.pins)?)
    }
}
