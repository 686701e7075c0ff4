//! The rows of an index in a snapshot's files: `u32 bytes ‖ key ‖ u32 bytes ‖ row`, repeated, in key order.
//!
//! Invariant: a file ends with a row. Non-goal: checking content; the manifest has each file's hash.

use std::ops::ControlFlow;
use std::path::Path;

use fiscus_proto::peer::SnapshotFile;

use super::{SnapshotDir, SnapshotError, io_error};
use crate::disk::{Disk, OpenHow};
use crate::index::{Row, View};

const ROWS_FILE_BYTES: usize = 16 << 20;

/// Spools the rows into files in key order.
pub(super) fn write_rows(
    disk: &dyn Disk,
    dir: &Path,
    view: &dyn View,
) -> Result<Vec<SnapshotFile>, SnapshotError> {
    disk.create_dir_all(&dir.join("rows")).map_err(io_error("make", dir))?;
    let mut files = Vec::new();
    let mut buffer = Vec::with_capacity(ROWS_FILE_BYTES + 4096);
    let mut failure = None;
    let _end = view.scan(&[], None, &mut |key, row| {
        for part in [key, row] {
            let bytes = u32::try_from(part.len()).expect("rows are far below 4 GiB");
            buffer.extend_from_slice(&bytes.to_le_bytes());
            buffer.extend_from_slice(part);
        }
        if buffer.len() < ROWS_FILE_BYTES {
            return ControlFlow::Continue(());
        }
        match write_rows_file(disk, dir, files.len(), &buffer) {
            Ok(file) => files.push(file),
            Err(error) => {
                failure = Some(error);
                return ControlFlow::Break(());
            }
        }
        buffer.clear();
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    files.push(write_rows_file(disk, dir, files.len(), &buffer)?);
    Ok(files)
}

fn write_rows_file(
    disk: &dyn Disk,
    dir: &Path,
    number: usize,
    content: &[u8],
) -> Result<SnapshotFile, SnapshotError> {
    let name = format!("rows/{number:06}");
    let path = dir.join(&name);
    let file = disk.open(&path, OpenHow::Create).map_err(io_error("make", &path))?;
    file.write_all_at(content, 0).map_err(io_error("write", &path))?;
    file.sync_data().map_err(io_error("sync", &path))?;
    let hash = blake3::hash(content).as_bytes().to_vec().into();
    Ok(SnapshotFile { name, bytes: content.len() as u64, hash })
}

/// The rows of a snapshot, file after file.
pub(crate) struct RowFiles<'a> {
    snapshot: &'a SnapshotDir,
    disk: &'a dyn Disk,
    next_file: usize,
    content: Vec<u8>,
    at: usize,
}

impl<'a> RowFiles<'a> {
    pub(crate) fn new(snapshot: &'a SnapshotDir, disk: &'a dyn Disk) -> Self {
        Self { snapshot, disk, next_file: 0, content: Vec::new(), at: 0 }
    }

    fn next_part(&mut self) -> Option<Vec<u8>> {
        let head = self.content.get(self.at..self.at + 4)?;
        let bytes = u32::from_le_bytes(head.try_into().ok()?) as usize;
        let part = self.content.get(self.at + 4..self.at + 4 + bytes)?.to_vec();
        self.at += 4 + bytes;
        Some(part)
    }

    fn load(&mut self) -> Result<bool, SnapshotError> {
        let mut rows = self.snapshot.manifest.files.iter().filter(|f| f.name.starts_with("rows/"));
        let Some(file) = rows.nth(self.next_file) else { return Ok(false) };
        let bytes = usize::try_from(file.bytes).unwrap_or(usize::MAX);
        self.content = self.snapshot.read(self.disk, &file.name, 0, bytes)?;
        self.at = 0;
        self.next_file += 1;
        Ok(true)
    }
}

impl Iterator for RowFiles<'_> {
    type Item = Result<Row, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at >= self.content.len() {
            match self.load() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let row = self.next_part().and_then(|key| Some((key, self.next_part()?)));
        Some(row.ok_or_else(|| SnapshotError::Unusable {
            path: self.snapshot.path.clone(),
            what: "one of its files of rows ends inside a row".to_owned(),
        }))
    }
}

/// Whether a row gets lost, which is so for idempotency keys when that bug is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is_lost(row: &Result<Row, SnapshotError>) -> bool {
    use fiscus_ledger::planted::{Bug, is_planted};
    use fiscus_ledger::state::{rows::Submission, table::Row as _};
    let is_key = matches!(row, Ok((key, _)) if key.first() == Some(&Submission::TABLE));
    is_key && is_planted(Bug::KeysLostInSnapshot)
}
