//! An append-only run of bytes in files of bounded length.
//!
//! ```text
//! series/0000000000000000   64-byte header ‖ bytes 0..a          sealed: never written again
//! series/{a in hex}         64-byte header ‖ bytes a..b          sealed
//! series/{b in hex}         64-byte header ‖ bytes b..end        the tail
//! ```
//!
//! A file is sealed when an append finds it full, so that no append is split over two files. The owner
//! keeps the durable end elsewhere; opening cuts everything behind it. One writer appends; any number of
//! readers read what was appended.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use crate::disk::{Disk, DiskFile, OpenHow};

/// Bytes before the content of each file.
pub(crate) const HEADER_BYTES: u64 = 64;
const MAGIC: &[u8; 8] = b"FISCUSAP";
const FORMAT_VERSION: u32 = 1;

/// Why a run of bytes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
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
    /// The content is not what was written.
    #[error("{path} is damaged: {what}; run `fiscus admin scrub --repair`, or replace the replica")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// What a run of bytes holds, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct SeriesKind {
    /// The directory's name.
    pub(crate) name: &'static str,
    /// A file is sealed when its content reaches this length.
    pub(crate) file_bytes: u64,
    /// Cluster, group and name, hashed: files of another replica's group are refused.
    pub(crate) identity: [u8; 32],
}

#[derive(Debug, Clone)]
struct Piece {
    file: Arc<dyn DiskFile>,
    bytes: u64,
    synced: bool,
}

/// The files in order of their first byte.
#[derive(Debug, Default)]
struct Pieces {
    by_start: BTreeMap<u64, Piece>,
    end: u64,
    names_synced: bool,
}

/// A file of a run, as snapshots see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PieceName {
    pub(crate) name: String,
    /// With the header.
    pub(crate) bytes: u64,
    pub(crate) sealed: bool,
}

/// An append-only run of bytes.
#[derive(Debug)]
pub(crate) struct Series {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    kind: SeriesKind,
    pieces: RwLock<Pieces>,
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SeriesError {
    let path = path.to_owned();
    move |source| SeriesError::Io { doing, path, source }
}

/// The first bytes of the piece that begins at `start`.
pub(crate) fn header_of(identity: &[u8; 32], start: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..44].copy_from_slice(identity);
    header[44..52].copy_from_slice(&start.to_le_bytes());
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether these are the first bytes of the piece that begins at `start`, whoever owns it.
pub(crate) fn is_header(bytes: &[u8], start: u64) -> bool {
    let identity = bytes.get(12..44).and_then(|identity| identity.try_into().ok());
    identity.is_some_and(|identity| header_of(identity, start) == *bytes)
}

impl Series {
    /// Opens a run and cuts it to `end`, the last end that is known to be durable.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        parent: &Path,
        kind: SeriesKind,
        end: u64,
    ) -> Result<Self, SeriesError> {
        let dir = parent.join(kind.name);
        disk.create_dir_all(&dir).map_err(io_error("make", &dir))?;
        let series = Self { disk, dir, kind, pieces: RwLock::default() };
        series.scan(end)?;
        Ok(series)
    }

    fn scan(&self, end: u64) -> Result<(), SeriesError> {
        let mut starts = Vec::new();
        for name in self.disk.list(&self.dir).map_err(io_error("list", &self.dir))? {
            let start = u64::from_str_radix(&name, 16).ok().filter(|_| name.len() == 16);
            let path = self.dir.join(&name);
            let Some(start) = start else {
                let what = "its name is not that of a piece".to_owned();
                return Err(SeriesError::Damaged { path, what });
            };
            if start >= end {
                self.disk.remove_file(&path).map_err(io_error("remove", &path))?;
            } else {
                starts.push(start);
            }
        }
        let mut pieces = Pieces { end, ..Pieces::default() };
        let mut expected = 0;
        for (at, start) in starts.iter().enumerate() {
            let path = self.piece_path(*start);
            let next = starts.get(at + 1).copied().unwrap_or(end);
            if *start != expected {
                let what = format!("the piece before it ends at {expected}, not at its start");
                return Err(SeriesError::Damaged { path, what });
            }
            let bytes = next - start;
            let file = self.open_piece(*start, bytes, &path)?;
            pieces.by_start.insert(*start, Piece { file, bytes, synced: true });
            expected = next;
        }
        if expected != end {
            let what = format!("it holds {expected} bytes of {end}");
            return Err(SeriesError::Damaged { path: self.dir.clone(), what });
        }
        *self.pieces.write().expect("no holder panics") = pieces;
        Ok(())
    }

    /// Checks the header, and cuts what was written after the last durable end.
    fn open_piece(
        &self,
        start: u64,
        bytes: u64,
        path: &Path,
    ) -> Result<Arc<dyn DiskFile>, SeriesError> {
        let file = self.disk.open(path, OpenHow::Write).map_err(io_error("open", path))?;
        let size = file.size().map_err(io_error("measure", path))?;
        let wanted = HEADER_BYTES + bytes;
        if size < wanted {
            let what = format!("it is {size} bytes long instead of {wanted}");
            return Err(SeriesError::Damaged { path: path.to_owned(), what });
        }
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0).map_err(io_error("read", path))?;
        if header != self.header(start) {
            let what = "its header is of another file or format".to_owned();
            return Err(SeriesError::Damaged { path: path.to_owned(), what });
        }
        if size > wanted {
            file.set_len(wanted).map_err(io_error("cut", path))?;
        }
        Ok(Arc::from(file))
    }

    fn piece_path(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{start:016x}"))
    }

    fn header(&self, start: u64) -> [u8; HEADER_BYTES as usize] {
        header_of(&self.kind.identity, start)
    }

    /// The end of what was appended.
    pub(crate) fn end(&self) -> u64 {
        self.pieces.read().expect("no holder panics").end
    }

    /// Appends, and says where the bytes begin. Only the apply worker calls it.
    pub(crate) fn append(&self, data: &[u8]) -> Result<u64, SeriesError> {
        if data.is_empty() {
            return Ok(self.end());
        }
        let (start, piece, end) = self.tail()?;
        let path = self.piece_path(start);
        piece
            .file
            .write_all_at(data, HEADER_BYTES + piece.bytes)
            .map_err(io_error("append to", &path))?;
        let mut pieces = self.pieces.write().expect("no holder panics");
        let grown =
            Piece { file: piece.file, bytes: piece.bytes + data.len() as u64, synced: false };
        pieces.by_start.insert(start, grown);
        pieces.end = end + data.len() as u64;
        Ok(end)
    }

    /// The piece to append to; a new one when the last is full.
    fn tail(&self) -> Result<(u64, Piece, u64), SeriesError> {
        let (last, end) = {
            let pieces = self.pieces.read().expect("no holder panics");
            let last = pieces.by_start.last_key_value();
            (last.map(|(start, piece)| (*start, piece.clone())), pieces.end)
        };
        if let Some((start, piece)) = last
            && piece.bytes < self.kind.file_bytes
        {
            return Ok((start, piece, end));
        }
        let path = self.piece_path(end);
        let file = self.disk.open(&path, OpenHow::Create).map_err(io_error("make", &path))?;
        file.write_all_at(&self.header(end), 0).map_err(io_error("write", &path))?;
        let piece = Piece { file: Arc::from(file), bytes: 0, synced: false };
        let mut pieces = self.pieces.write().expect("no holder panics");
        pieces.by_start.insert(end, piece.clone());
        pieces.names_synced = false;
        Ok((end, piece, end))
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&self) -> Result<(), SeriesError> {
        let (dirty, names_synced) = {
            let pieces = self.pieces.read().expect("no holder panics");
            let dirty = pieces.by_start.iter().filter(|(_, piece)| !piece.synced);
            (dirty.map(|(s, p)| (*s, p.clone())).collect::<Vec<_>>(), pieces.names_synced)
        };
        for (start, piece) in dirty {
            let path = self.piece_path(start);
            piece.file.sync_data().map_err(io_error("sync", &path))?;
            let mut pieces = self.pieces.write().expect("no holder panics");
            if let Some(known) = pieces.by_start.get_mut(&start)
                && known.bytes == piece.bytes
            {
                known.synced = true;
            }
        }
        if !names_synced {
            self.disk.sync_dir(&self.dir).map_err(io_error("sync", &self.dir))?;
            self.pieces.write().expect("no holder panics").names_synced = true;
        }
        Ok(())
    }

    /// Reads what was appended at `offset`; `None` when that is not all there.
    pub(crate) fn read(&self, offset: u64, bytes: usize) -> Result<Option<Vec<u8>>, SeriesError> {
        let mut data = vec![0; bytes];
        let mut at = offset;
        let mut filled = 0;
        while filled < bytes {
            let found = {
                let pieces = self.pieces.read().expect("no holder panics");
                let last = pieces.by_start.range(..=at).next_back();
                last.map(|(start, piece)| (*start, piece.clone()))
            };
            let Some((start, piece)) = found.filter(|(start, piece)| at < start + piece.bytes)
            else {
                return Ok(None);
            };
            let within = at - start;
            let left = usize::try_from(piece.bytes - within).unwrap_or(usize::MAX);
            let part = left.min(bytes - filled);
            let path = self.piece_path(start);
            piece
                .file
                .read_exact_at(&mut data[filled..filled + part], HEADER_BYTES + within)
                .map_err(io_error("read", &path))?;
            filled += part;
            at += part as u64;
        }
        Ok(Some(data))
    }

    /// Overwrites bytes that were found to be damaged with the right ones.
    pub(crate) fn mend(&self, offset: u64, data: &[u8]) -> Result<(), SeriesError> {
        let found = {
            let pieces = self.pieces.read().expect("no holder panics");
            let last = pieces.by_start.range(..=offset).next_back();
            last.map(|(start, piece)| (*start, piece.clone()))
        };
        let (start, piece) = found.expect("only what was appended is mended");
        let path = self.piece_path(start);
        piece
            .file
            .write_all_at(data, HEADER_BYTES + offset - start)
            .map_err(io_error("mend", &path))?;
        piece.file.sync_data().map_err(io_error("sync", &path))
    }

    /// The file that holds the byte at `offset`, for people.
    pub(crate) fn place(&self, offset: u64) -> (PathBuf, u64) {
        let pieces = self.pieces.read().expect("no holder panics");
        let start = pieces.by_start.range(..=offset).next_back().map_or(0, |(start, _)| *start);
        (self.piece_path(start), HEADER_BYTES + offset - start)
    }

    /// The files, first to last, as they are now.
    pub(crate) fn pieces(&self) -> Vec<PieceName> {
        let pieces = self.pieces.read().expect("no holder panics");
        let names = pieces.by_start.iter().map(|(start, piece)| PieceName {
            name: format!("{}/{start:016x}", self.kind.name),
            bytes: HEADER_BYTES + piece.bytes,
            sealed: piece.bytes >= self.kind.file_bytes,
        });
        names.collect()
    }
}

#[cfg(test)]
mod tests;
