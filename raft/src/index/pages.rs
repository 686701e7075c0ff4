//! The file below redb: pages of 4 KiB, each with a checksum that is verified whenever it is read.
//!
//! redb checks its own checksums only on repair and on request. A flipped bit in a branch page would
//! make rows disappear without a word, so every page is checked here, below redb's cache.
//!
//! ```text
//!   page 0        superblock: magic, format, checksum; written once
//!   page 1        checksums of the next 1,024 pages ┐ a group,
//!   page 2..1025  redb's pages                      ┘ repeated to the end of the file
//! ```
//!
//! Why a crash leaves the checksums right: redb never overwrites a page that the last durable state
//! needs, so the entries of those pages do not change while others in the same checksum page do, and a
//! torn write of it rewrites them as they were. A sync writes the changed checksum pages and syncs once.
//! redb commits in two phases here: what the header names was synced before, together with its
//! checksums.
//!
//! The exception is redb's header, its page 0: it is written in place, and redb guards the two slots in
//! it. Its entry is set only while the file is closed; it is cleared, durably, before the first write.
//!
//! Invariant: bytes are handed out only if they are those written last to their place, or zeros that
//! were never written. Non-goals: caching, repair.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::StorageBackend;

use crate::disk::DiskFile;

pub(super) const PAGE_BYTES: usize = 4096;
const PAGE_BYTES_64: u64 = 4096;
const GROUP_PAGES: u64 = 1024;
const MAGIC: &[u8; 16] = b"fiscus index\r\n\x1a\n";
/// The format written here.
pub(super) const FORMAT: u32 = 1;
/// CRC32C of a page of zeros; entries are relative to it, so that an entry of 0 stands for zeros.
const ZEROS_CRC: u32 = 0x98F9_4189;

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) enum OpenPagesError {
    /// The disk refused.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
    /// A later format.
    TooNew(u32),
}

impl From<io::Error> for OpenPagesError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The first damage found, for whoever sees only redb's answer to it.
pub(super) type DamageNote = Arc<OnceLock<String>>;

/// A file of checked pages.
#[derive(Debug)]
pub(super) struct PageFile {
    file: Box<dyn DiskFile>,
    sums: RwLock<Sums>,
    note: DamageNote,
    /// A write or a sync failed: what the file holds is unknown, so it is not sealed as closed.
    failed: AtomicBool,
}

/// The checksums of all pages; 4 bytes for 4 KiB.
struct Sums {
    entries: Vec<u32>,
    /// Groups whose checksum page has to be written, by number.
    dirty: Vec<bool>,
    header_sealed: bool,
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sums({} pages)", self.entries.len())
    }
}

impl PageFile {
    /// Makes an empty file usable.
    pub(super) fn create(
        file: Box<dyn DiskFile>,
        note: DamageNote,
    ) -> Result<Self, OpenPagesError> {
        file.write_all_at(&superblock(), 0)?;
        Ok(Self::over(file, note, Vec::new(), false))
    }

    /// Reads the checksums, and the header page if the file was closed.
    pub(super) fn open(file: Box<dyn DiskFile>, note: DamageNote) -> Result<Self, OpenPagesError> {
        let size = file.size()?;
        check_superblock(file.as_ref(), size)?;
        let pages = logical_pages(size);
        let mut entries = Vec::with_capacity(page_index(pages));
        let mut page = vec![0; PAGE_BYTES];
        for group in 0..pages.div_ceil(GROUP_PAGES) {
            file.read_exact_at(&mut page, sums_offset(group))?;
            let here = (pages - group * GROUP_PAGES).min(GROUP_PAGES);
            entries.extend(
                page.as_chunks::<4>()
                    .0
                    .iter()
                    .take(page_index(here))
                    .map(|b| u32::from_le_bytes(*b)),
            );
        }
        let header_sealed = entries.first().is_some_and(|entry| *entry != 0);
        let this = Self::over(file, note, entries, header_sealed);
        if header_sealed {
            this.file.read_exact_at(&mut page, page_offset(0))?;
            if page_sum(&page) != this.read_sums().entries[0] {
                return Err(OpenPagesError::Damaged("its header page".to_owned()));
            }
        }
        Ok(this)
    }

    fn over(
        file: Box<dyn DiskFile>,
        note: DamageNote,
        entries: Vec<u32>,
        header_sealed: bool,
    ) -> Self {
        let dirty = vec![false; entries.len().div_ceil(page_index(GROUP_PAGES))];
        Self {
            file,
            sums: RwLock::new(Sums { entries, dirty, header_sealed }),
            note,
            failed: AtomicBool::new(false),
        }
    }

    fn read_sums(&self) -> RwLockReadGuard<'_, Sums> {
        self.sums.read().expect("nothing panics while it holds the checksums")
    }

    fn write_sums(&self) -> RwLockWriteGuard<'_, Sums> {
        self.sums.write().expect("nothing panics while it holds the checksums")
    }

    /// Reads whole pages from page `first` on and verifies them.
    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        debug_assert!(out.len().is_multiple_of(PAGE_BYTES));
        let last = first + (out.len() / PAGE_BYTES) as u64;
        if last > self.read_sums().entries.len() as u64 {
            return Err(self.damaged(format!("page {first} lies behind its end")));
        }
        for (page, part) in in_groups(first, out.len()) {
            self.file.read_exact_at(&mut out[part], page_offset(page))?;
        }
        let sums = self.read_sums();
        for (page, bytes) in (first..).zip(out.as_chunks::<PAGE_BYTES>().0) {
            // The header is redb's to check while the file is open.
            if page != 0 && page_sum(bytes) != sums.entries[page_index(page)] {
                drop(sums);
                return Err(self.damaged(format!("page {page}, at byte {}", page_offset(page))));
            }
        }
        Ok(())
    }

    fn write_pages(&self, first: u64, data: &[u8]) -> io::Result<()> {
        if first == 0 {
            self.unseal_header()?;
        }
        for (page, part) in in_groups(first, data.len()) {
            self.file.write_all_at(&data[part], page_offset(page))?;
        }
        let mut sums = self.write_sums();
        for (page, bytes) in (first..).zip(data.as_chunks::<PAGE_BYTES>().0) {
            if page != 0 {
                sums.entries[page_index(page)] = page_sum(bytes);
                sums.dirty[page_index(page / GROUP_PAGES)] = true;
            }
        }
        Ok(())
    }

    /// Before the header changes for the first time, its checksum goes, durably.
    fn unseal_header(&self) -> io::Result<()> {
        let mut sums = self.write_sums();
        if !sums.header_sealed {
            return Ok(());
        }
        sums.entries[0] = 0;
        sums.dirty[0] = true;
        self.write_dirty(&mut sums)?;
        self.file.sync_data()?;
        sums.header_sealed = false;
        Ok(())
    }

    fn write_dirty(&self, sums: &mut Sums) -> io::Result<()> {
        let Sums { entries, dirty, .. } = sums;
        let mut page = Vec::with_capacity(PAGE_BYTES);
        for ((group, dirty), entries) in
            (0..).zip(dirty).zip(entries.chunks(page_index(GROUP_PAGES)))
        {
            if *dirty {
                page.clear();
                page.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
                page.resize(PAGE_BYTES, 0);
                self.file.write_all_at(&page, sums_offset(group))?;
                *dirty = false;
            }
        }
        Ok(())
    }

    fn noting_failure<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        done
    }

    fn damaged(&self, detail: String) -> io::Error {
        let error = io::Error::new(io::ErrorKind::InvalidData, detail.clone());
        self.note.get_or_init(|| detail);
        error
    }
}

impl StorageBackend for PageFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.read_sums().entries.len() as u64 * PAGE_BYTES_64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (first, last, aligned) = span(offset, out.len());
        if aligned {
            return self.read_pages(first, out);
        }
        let mut pages = vec![0; page_index(last - first) * PAGE_BYTES];
        self.read_pages(first, &mut pages)?;
        let start = page_index(offset % PAGE_BYTES_64);
        out.copy_from_slice(&pages[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(PAGE_BYTES_64) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a length of broken pages"));
        }
        let pages = len / PAGE_BYTES_64;
        self.noting_failure(self.file.set_len(physical_len(pages)))?;
        let mut sums = self.write_sums();
        let grown_from = page_index(pages.min(sums.entries.len() as u64) / GROUP_PAGES);
        sums.entries.resize(page_index(pages), 0);
        sums.dirty.resize(page_index(pages.div_ceil(GROUP_PAGES)), true);
        // The entries behind the old or the new end in its checksum page are not valid any more.
        if let Some(dirty) = sums.dirty.get_mut(grown_from) {
            *dirty = true;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let written = self.write_dirty(&mut self.write_sums());
        self.noting_failure(written.and_then(|()| self.file.sync_data()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (first, last, aligned) = span(offset, data.len());
        if aligned {
            return self.noting_failure(self.write_pages(first, data));
        }
        let mut pages = vec![0; page_index(last - first) * PAGE_BYTES];
        self.read_pages(first, &mut pages)?;
        let start = page_index(offset % PAGE_BYTES_64);
        pages[start..start + data.len()].copy_from_slice(data);
        self.noting_failure(self.write_pages(first, &pages))
    }

    fn close(&self) -> io::Result<()> {
        let mut sums = self.write_sums();
        let suspect = self.failed.load(Ordering::Acquire) || self.note.get().is_some();
        if sums.entries.is_empty() || sums.header_sealed || suspect {
            return Ok(());
        }
        self.write_dirty(&mut sums)?;
        self.file.sync_data()?;
        let mut header = vec![0; PAGE_BYTES];
        self.file.read_exact_at(&mut header, page_offset(0))?;
        sums.entries[0] = page_sum(&header);
        sums.dirty[0] = true;
        self.write_dirty(&mut sums)?;
        self.file.sync_data()?;
        sums.header_sealed = true;
        Ok(())
    }
}

/// The pages that bytes lie on, from and to, and whether they are exactly these pages.
fn span(offset: u64, len: usize) -> (u64, u64, bool) {
    let end = offset + len as u64;
    let aligned = offset.is_multiple_of(PAGE_BYTES_64) && end.is_multiple_of(PAGE_BYTES_64);
    (offset / PAGE_BYTES_64, end.div_ceil(PAGE_BYTES_64), aligned)
}

/// Cuts a run of pages where groups end: first page and bytes of each part.
fn in_groups(first: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= len {
            return None;
        }
        let page = first + (start / PAGE_BYTES) as u64;
        let room = page_index(GROUP_PAGES - page % GROUP_PAGES) * PAGE_BYTES;
        let part = start..len.min(start + room);
        start = part.end;
        Some((page, part))
    })
}

fn page_sum(page: &[u8]) -> u32 {
    crc32c::crc32c(page) ^ ZEROS_CRC
}

fn page_index(page: u64) -> usize {
    usize::try_from(page).expect("a count of pages fits the address space")
}

fn sums_offset(group: u64) -> u64 {
    (1 + group * (GROUP_PAGES + 1)) * PAGE_BYTES_64
}

fn page_offset(page: u64) -> u64 {
    sums_offset(page / GROUP_PAGES) + (1 + page % GROUP_PAGES) * PAGE_BYTES_64
}

fn physical_len(pages: u64) -> u64 {
    (1 + pages + pages.div_ceil(GROUP_PAGES)) * PAGE_BYTES_64
}

fn logical_pages(size: u64) -> u64 {
    let rest = (size / PAGE_BYTES_64).saturating_sub(1);
    rest - rest.div_ceil(GROUP_PAGES + 1)
}

fn superblock() -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    page[..16].copy_from_slice(MAGIC);
    page[16..20].copy_from_slice(&FORMAT.to_le_bytes());
    let sum = crc32c::crc32c(&page[..PAGE_BYTES - 4]);
    page[PAGE_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    page
}

fn check_superblock(file: &dyn DiskFile, size: u64) -> Result<(), OpenPagesError> {
    let mut page = vec![0; PAGE_BYTES];
    if size < PAGE_BYTES_64 {
        return Err(OpenPagesError::Damaged(format!("it has {size} bytes")));
    }
    file.read_exact_at(&mut page, 0)?;
    let (body, sum) = page.split_last_chunk::<4>().expect("a page has more than 4 bytes");
    if &page[..16] != MAGIC || crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err(OpenPagesError::Damaged("its superblock".to_owned()));
    }
    let format = u32::from_le_bytes([page[16], page[17], page[18], page[19]]);
    if format > FORMAT {
        return Err(OpenPagesError::TooNew(format));
    }
    Ok(())
}
