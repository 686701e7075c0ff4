//! The spool: one file of entries, each on the disk before it counts.
//!
//! ```text
//! page 0   "FISCSPOL" version … head A at 512, head B at 1024: { counter, end, CRC }, written in turns
//! from 4096 on   entries: { length u32, CRC-32 u32, bytes }
//!
//! append:  entry ─► sync ─► head (counter + 1, end) ─► sync ─► it counts
//! ```
//!
//! The heads tell a torn tail from damage. What lies behind the end that a head names was never answered to anybody:
//! when it does not read, it is cut. What lies before was: when that does not read, numbers may have been given out
//! that nobody remembers. Then everything that still reads is kept, and an entry says so, for good.
//!
//! Any error of a write or a sync breaks the spool until it is opened anew: nobody knows what is on the disk.

use std::io;

use fiscus_ledger::hash::{Tagged, hex};

use super::disk::Disk;
use super::entry::Entry;
use crate::protocol::crc32::crc32;

/// The file.
pub(crate) const SPOOL: &str = "spool";
/// The next file, until it has everything.
const NEXT: &str = "spool.new";
const MAGIC: &[u8; 8] = b"FISCSPOL";
const VERSION: u16 = 1;
/// Where entries begin.
pub const ENTRIES_AT: u64 = 4_096;
/// Each in a sector of its own, so that a torn write spoils one.
const HEADS_AT: [u64; 2] = [512, 1_024];
const HEAD_BYTES: usize = 20;
const FRAME_BYTES: u64 = 8;
/// An invoice has 1 MiB at most, and an answer some thousand bytes.
const ENTRY_BYTES_MAX: u32 = 2 << 20;
/// What names the copy of a damaged file: the same bytes have one copy, however often they are opened.
const DAMAGED: &str = "spool.damaged-";
/// A file is read so many bytes at once.
const READ_BYTES: u64 = 1 << 20;

/// Why an entry is not in the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// There is no room; nothing has changed.
    #[error("the disk of the spool is full")]
    Full,
    /// Nobody knows what is on the disk.
    #[error("the spool cannot be {what}: {source}")]
    Broken {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The file is of a version that this program does not know.
    #[error("the spool has format version {0}, this program reads version 1")]
    Version(u16),
    /// An earlier error.
    #[error("the spool is broken since an earlier error; restart the proxy")]
    WasBroken,
}

fn broken(what: &'static str) -> impl FnOnce(io::Error) -> SpoolError {
    move |source| SpoolError::Broken { what, source }
}

/// Where an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    at: u64,
    length: u32,
}

/// What a spool's bytes hold.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The entries that read, with where they are.
    pub(crate) entries: Vec<(Place, Entry)>,
    /// Behind the last byte that is kept.
    pub(crate) end: u64,
    counter: u64,
    /// The end that the last head names.
    answered: u64,
    /// What was answered for and does not read any more.
    pub(crate) damage: Option<String>,
    version: u16,
}

impl Scanned {
    /// Whether something that was answered for is gone.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    /// Behind the last byte that is kept.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many entries read.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }
}

/// Reads a spool's bytes, whatever they are.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scanned {
    let mut scanned = Scanned { end: ENTRIES_AT, version: VERSION, ..Scanned::default() };
    let page = usize::try_from(ENTRIES_AT).expect("a page is small");
    let Some((page, _)) = bytes.split_at_checked(page) else {
        scanned.damage = Some("it is shorter than its first page".to_owned());
        return scanned;
    };
    if !page.starts_with(MAGIC) {
        scanned.damage = Some("it does not begin as a spool does".to_owned());
    } else {
        scanned.version = u16::from_le_bytes([page[8], page[9]]);
    }
    let head = HEADS_AT.iter().filter_map(|at| read_head(page, *at)).max();
    let answered = head.map_or(u64::MAX, |(counter, end)| {
        (scanned.counter, scanned.answered) = (counter, end);
        end
    });
    if head.is_none() {
        scanned.damage = Some("neither of its heads reads".to_owned());
    }
    walk(bytes, answered, &mut scanned);
    scanned
}

/// Reads entry after entry; after one that does not read, looks for the next that does.
fn walk(bytes: &[u8], answered: u64, scanned: &mut Scanned) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut at = ENTRIES_AT;
    let mut wrong = None;
    while at < length {
        match read_entry(bytes, at) {
            Some((place, entry)) => {
                if let Some(first) = wrong.take() {
                    note(scanned, first);
                }
                scanned.entries.push((place, entry));
                at += FRAME_BYTES + u64::from(place.length);
                scanned.end = at;
            }
            // Nobody was ever answered for what lies there: several writes before one sync may come in any order.
            None if wrong.is_none() && at >= answered => break,
            None => {
                wrong.get_or_insert(at);
                at += 1;
            }
        }
    }
    if scanned.end < answered && scanned.damage.is_none() {
        let from = scanned.end;
        scanned.damage = Some(format!("what was written from byte {from} on is gone"));
    }
}

fn note(scanned: &mut Scanned, first: u64) {
    let damage = || format!("it does not read at byte {first}");
    scanned.damage.get_or_insert_with(damage);
}

fn read_entry(bytes: &[u8], at: u64) -> Option<(Place, Entry)> {
    let from = usize::try_from(at).ok()?;
    let frame = bytes.get(from..from.checked_add(8)?)?;
    let length = u32::from_le_bytes(*frame.first_chunk()?);
    let sum = u32::from_le_bytes(*frame.last_chunk()?);
    if !(1..=ENTRY_BYTES_MAX).contains(&length) {
        return None;
    }
    let body = bytes.get(from + 8..(from + 8).checked_add(usize::try_from(length).ok()?)?)?;
    // Looking for the next entry in what is none is quicker so.
    if !Entry::KINDS.contains(body.first()?) || crc32(body) != sum {
        return None;
    }
    Some((Place { at, length }, Entry::decode(body).ok()?))
}

fn read_head(page: &[u8], at: u64) -> Option<(u64, u64)> {
    let at = usize::try_from(at).ok()?;
    let head = page.get(at..at + HEAD_BYTES)?;
    let (fields, sum) = head.split_at(16);
    let holds = u32::from_le_bytes(*sum.first_chunk()?) == crc32(fields);
    let counter = u64::from_le_bytes(*fields.first_chunk()?);
    let end = u64::from_le_bytes(*fields.last_chunk()?);
    (holds && counter > 0 && end >= ENTRIES_AT).then_some((counter, end))
}

fn head(counter: u64, end: u64) -> Vec<u8> {
    let mut bytes = [counter.to_le_bytes(), end.to_le_bytes()].concat();
    let sum = crc32(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn frame(entry: &Entry) -> Vec<u8> {
    let body = entry.encode();
    let length = u32::try_from(body.len()).expect("an entry has at most 2 MiB");
    let mut bytes = Vec::with_capacity(body.len() + 8);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// An open spool.
#[derive(Debug)]
pub(crate) struct Spool<D> {
    disk: D,
    end: u64,
    counter: u64,
    broken: bool,
}

/// A spool with what it remembers, or a new one.
#[derive(Debug)]
pub(crate) struct Opened<D> {
    pub(crate) spool: Spool<D>,
    pub(crate) entries: Vec<(Place, Entry)>,
    /// What was answered for and is gone. The file as it was found is kept under another name.
    pub(crate) damage: Option<String>,
    /// There was none.
    pub(crate) new: bool,
}

impl<D: Disk> Spool<D> {
    /// Opens the spool of a directory, or makes one. `at_damage` is what is noted behind the entries that still read
    /// when it is damaged.
    pub(crate) fn open(
        mut disk: D,
        at_damage: impl FnOnce(&[Entry], &str) -> Entry,
    ) -> Result<Opened<D>, SpoolError> {
        // What an earlier process did not finish takes room away for nothing.
        if disk.len(NEXT).map_err(broken("opened"))?.is_some_and(|length| length > 0) {
            disk.truncate(NEXT, 0).map_err(broken("cut"))?;
        }
        let Some(length) = disk.len(SPOOL).map_err(broken("opened"))? else {
            let mut spool = Self { disk, end: ENTRIES_AT, counter: 0, broken: false };
            let entries = spool.rewrite(&[], 0)?;
            return Ok(Opened { spool, entries, damage: None, new: true });
        };
        let bytes = read_all(&mut disk, length).map_err(broken("read"))?;
        let scanned = scan(&bytes);
        if scanned.version != VERSION {
            return Err(SpoolError::Version(scanned.version));
        }
        let mut spool = Self { disk, end: scanned.end, counter: scanned.counter, broken: false };
        let Some(damage) = scanned.damage else {
            if length > scanned.end {
                spool.disk.truncate(SPOOL, scanned.end).map_err(broken("cut"))?;
            }
            spool.write_again(&bytes, scanned.answered)?;
            spool.write_head()?;
            return Ok(Opened { spool, entries: scanned.entries, damage: None, new: false });
        };
        let mut kept: Vec<Entry> = scanned.entries.into_iter().map(|(_, entry)| entry).collect();
        kept.push(at_damage(&kept, &damage));
        spool.keep_evidence(&bytes)?;
        let entries = spool.rewrite(&kept, 0)?;
        Ok(Opened { spool, entries, damage: Some(damage), new: false })
    }

    /// Brings to the disk what was read and may be in memory only: before it is built upon, it is there. A sync that
    /// has failed leaves pages behind that the system takes for written, so another sync alone would prove nothing. A
    /// head is written only when everything before its end is synced, so it is the last head and what lies behind its end.
    fn write_again(&mut self, bytes: &[u8], answered: u64) -> Result<(), SpoolError> {
        let at = |at: u64| usize::try_from(at).expect("it was read into memory");
        let head = HEADS_AT[usize::from(self.counter.is_multiple_of(2))];
        let disk = &mut self.disk;
        disk.write(SPOOL, head, &bytes[at(head)..at(head) + HEAD_BYTES])
            .map_err(broken("written"))?;
        let tail = &bytes[at(answered)..at(self.end)];
        if !tail.is_empty() {
            disk.write(SPOOL, answered, tail).map_err(|error| full_or(error, "written"))?;
        }
        disk.sync(SPOOL).map_err(broken("synced"))?;
        // And the name, which an earlier process may have given without coming to its end.
        disk.sync_names().map_err(broken("synced"))
    }

    /// Copies a damaged file beside, under a name that its bytes have, unless an earlier process did.
    fn keep_evidence(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let hash = Tagged::new("fiscus/spool-damaged/v1").raw(bytes).finish();
        let name = format!("{DAMAGED}{}", hex(&hash[..8]));
        if self.disk.has(&name).map_err(broken("copied"))? {
            return self.disk.sync_names().map_err(broken("copied"));
        }
        self.write_next(bytes, "copied")?;
        self.disk.rename(NEXT, &name).map_err(broken("copied"))?;
        self.disk.sync_names().map_err(broken("copied"))
    }

    /// Brings the next file to the disk; what was written of it is cut again when that fails, so that a file that is of
    /// no use does not keep the disk full.
    fn write_next(&mut self, bytes: &[u8], what: &'static str) -> Result<(), SpoolError> {
        let length = u64::try_from(bytes.len()).expect("a spool has a bound");
        let disk = &mut self.disk;
        let written = disk.write(NEXT, 0, bytes).map_err(|error| full_or(error, what));
        let written = written.and_then(|()| {
            let synced = disk.truncate(NEXT, length).and_then(|()| disk.sync(NEXT));
            synced.map_err(|error| full_or(error, what))
        });
        if written.is_err() {
            let _ = disk.truncate(NEXT, 0).and_then(|()| disk.sync(NEXT));
        }
        written
    }

    /// Appends an entry: it survives a power cut when this returns.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<Place, SpoolError> {
        let place = self.write(entry)?;
        self.commit()?;
        Ok(place)
    }

    /// Appends an entry that the next one brings to the disk; losing it is no harm.
    pub(crate) fn write(&mut self, entry: &Entry) -> Result<Place, SpoolError> {
        if self.broken {
            return Err(SpoolError::WasBroken);
        }
        let bytes = frame(entry);
        let length = u64::try_from(bytes.len()).expect("an entry has at most 2 MiB");
        if let Err(error) = self.disk.write(SPOOL, self.end, &bytes) {
            // What a full disk took of it is cut off again, or the spool is broken.
            let cut = self.disk.truncate(SPOOL, self.end).and_then(|()| self.disk.sync(SPOOL));
            self.broken = cut.is_err();
            return Err(if self.broken { broken("cut")(error) } else { full_or(error, "written") });
        }
        let body = u32::try_from(length - FRAME_BYTES).expect("an entry has at most 2 MiB");
        let place = Place { at: self.end, length: body };
        self.end += length;
        Ok(place)
    }

    /// Brings what was written to the disk, and says in a head that it is there.
    fn commit(&mut self) -> Result<(), SpoolError> {
        let synced = self.disk.sync(SPOOL).map_err(broken("synced"));
        let done = synced.and_then(|()| self.write_head());
        self.broken |= done.is_err();
        done
    }

    fn write_head(&mut self) -> Result<(), SpoolError> {
        let counter = self.counter + 1;
        let at = HEADS_AT[usize::from(counter.is_multiple_of(2))];
        let head = head(counter, self.end);
        self.disk.write(SPOOL, at, &head).map_err(broken("written"))?;
        self.disk.sync(SPOOL).map_err(broken("synced"))?;
        self.counter = counter;
        Ok(())
    }

    /// Writes these entries into a new file, which takes the place of the old one; nothing is written when the disk
    /// would have less than `spare` bytes left meanwhile.
    pub(crate) fn rewrite(
        &mut self,
        entries: &[Entry],
        spare: u64,
    ) -> Result<Vec<(Place, Entry)>, SpoolError> {
        if self.broken {
            return Err(SpoolError::WasBroken);
        }
        let mut page = vec![0; usize::try_from(ENTRIES_AT).expect("a page is small")];
        page[..8].copy_from_slice(MAGIC);
        page[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let mut bytes = page;
        let mut placed = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = u64::try_from(bytes.len()).expect("a spool has a bound");
            let framed = frame(entry);
            let length = u32::try_from(framed.len() - 8).expect("an entry has at most 2 MiB");
            bytes.extend_from_slice(&framed);
            placed.push((Place { at, length }, entry.clone()));
        }
        let end = u64::try_from(bytes.len()).expect("a spool has a bound");
        let counter = self.counter + 1;
        for at in HEADS_AT {
            let at = usize::try_from(at).expect("a page is small");
            bytes[at..at + HEAD_BYTES].copy_from_slice(&head(counter, end));
        }
        if spare > 0 && self.free_bytes().map_err(broken("looked at"))? < end.saturating_add(spare)
        {
            return Err(SpoolError::Full);
        }
        // The old file is whole until the new one has its name.
        self.write_next(&bytes, "written anew")?;
        let disk = &mut self.disk;
        let switched = disk.rename(NEXT, SPOOL).and_then(|()| disk.sync_names());
        if let Err(error) = switched {
            self.broken = true;
            return Err(broken("put in its place")(error));
        }
        (self.end, self.counter) = (end, counter);
        Ok(placed)
    }

    /// Reads an entry again.
    pub(crate) fn read(&mut self, place: Place) -> Result<Entry, SpoolError> {
        let mut body = vec![0; usize::try_from(place.length).expect("an entry is small")];
        self.disk.read(SPOOL, place.at + FRAME_BYTES, &mut body).map_err(broken("read"))?;
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "an entry has changed");
        Entry::decode(&body).map_err(|_| broken("read")(wrong()))
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Whether it takes anything.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that the disk has left.
    pub(crate) fn free_bytes(&mut self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

fn full_or(error: io::Error, what: &'static str) -> SpoolError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::Full,
        _ => SpoolError::Broken { what, source: error },
    }
}

fn read_all<D: Disk>(disk: &mut D, length: u64) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "the spool is too long");
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| too_long())?];
    let mut at = 0;
    for part in bytes.chunks_mut(usize::try_from(READ_BYTES).expect("a mebibyte")) {
        disk.read(SPOOL, at, part)?;
        at += READ_BYTES;
    }
    Ok(bytes)
}
