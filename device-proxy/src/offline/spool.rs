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
//! A file that was taken away is written no further: what is on it would be gone with this process. Put back, it goes on.
//!
//! Any error of a write or a sync breaks the spool until it is opened anew: nobody knows what is on the disk.

use std::io;

use fiscus_ledger::hash::{Tagged, hex};

use super::disk::Disk;
use super::entry::Entry;
use super::scan::{Place, Scanned, Window, scan_in};
use crate::protocol::crc32::crc32;

/// The file.
pub(crate) const SPOOL: &str = "spool";
/// The next file, until it has everything.
const NEXT: &str = "spool.new";
pub(super) const MAGIC: &[u8; 8] = b"FISCSPOL";
pub(super) const VERSION: u16 = 1;
/// Where entries begin.
pub const ENTRIES_AT: u64 = 4_096;
/// Each in a sector of its own, so that a torn write spoils one.
pub(super) const HEADS_AT: [u64; 2] = [512, 1_024];
pub(super) const HEAD_BYTES: usize = 20;
pub(super) const FRAME_BYTES: u64 = 8;
/// An invoice has 1 MiB at most, and an answer some thousand bytes.
pub(super) const ENTRY_BYTES_MAX: u32 = 2 << 20;
/// What names the copy of a damaged file: the same bytes have one copy, however often they are opened.
const DAMAGED: &str = "spool.damaged-";
/// A file is copied so many bytes at once.
const PART_BYTES: usize = 1 << 20;

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
    /// Somebody has taken the file away, or put another one in its place.
    #[error("the spool was taken out of its directory while it was in use; put it back")]
    Gone,
    /// An earlier error.
    #[error("the spool is broken since an earlier error; restart the proxy")]
    WasBroken,
}

fn broken(what: &'static str) -> impl FnOnce(io::Error) -> SpoolError {
    move |source| SpoolError::Broken { what, source }
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

/// A spool, or a new one.
#[derive(Debug)]
pub(crate) struct Opened<D> {
    pub(crate) spool: Spool<D>,
    /// What was answered for and is gone. The file as it was found is kept under another name.
    pub(crate) damage: Option<String>,
    /// There was none.
    pub(crate) new: bool,
}

/// What is to be in a new file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kept {
    /// This.
    Entry(Entry),
    /// An entry of the old file, which is not held in memory.
    At(Place),
}

/// What is told of each entry.
pub(crate) type Each<'e> = &'e mut dyn FnMut(Place, &Entry);

impl<D: Disk> Spool<D> {
    /// Opens the spool of a directory, or makes one. `at_damage` is what is noted behind the entries that still read
    /// when it is damaged, by the latest time that one of them tells; `each` is told every entry.
    pub(crate) fn open(
        mut disk: D,
        at_damage: impl FnOnce(u64, &str) -> Entry,
        each: Each<'_>,
    ) -> Result<Opened<D>, SpoolError> {
        // What an earlier process did not finish takes room away for nothing.
        if disk.len(NEXT).map_err(broken("opened"))?.is_some_and(|length| length > 0) {
            disk.truncate(NEXT, 0).map_err(broken("cut"))?;
        }
        let Some(length) = disk.len(SPOOL).map_err(broken("opened"))? else {
            let mut spool = Self { disk, end: ENTRIES_AT, counter: 0, broken: false };
            spool.rewrite(&[], 0, each)?;
            return Ok(Opened { spool, damage: None, new: true });
        };
        // First it is looked at whole: what is told of a damaged one is told of what was made of it.
        let mut window = Window::new(&mut disk, SPOOL, length);
        let scanned = scan_in(&mut window, &mut |_, _| Ok(())).map_err(broken("read"))?;
        if scanned.version != VERSION {
            return Err(SpoolError::Version(scanned.version));
        }
        let (end, counter) = (scanned.end, scanned.counter);
        let mut spool = Self { disk, end, counter, broken: false };
        if let Some(damage) = &scanned.damage {
            spool.keep_evidence(length)?;
            let noted = at_damage(scanned.time_ms, damage);
            spool.mend(length, &scanned, &noted)?;
            let time_ms = scanned.time_ms.max(noted.time_ms());
            spool.tell((scanned.entries() + 1, spool.end, time_ms, None), each)?;
            return Ok(Opened { spool, damage: scanned.damage, new: false });
        }
        if length > end {
            spool.disk.truncate(SPOOL, end).map_err(broken("cut"))?;
        }
        spool.write_again(scanned.answered)?;
        spool.write_head()?;
        spool.tell(scanned.read(), each)?;
        Ok(Opened { spool, damage: None, new: false })
    }

    /// Tells every entry. What was read of them before is there now as well, or nobody knows what is on the disk: an entry
    /// that is passed over once would have its number given out twice.
    fn tell(
        &mut self,
        before: (usize, u64, u64, Option<&str>),
        each: Each<'_>,
    ) -> Result<(), SpoolError> {
        let mut window = Window::new(&mut self.disk, SPOOL, self.end);
        let told = scan_in(&mut window, &mut |place, entry| {
            each(place, &entry);
            Ok(())
        });
        let told = told.map_err(broken("read"))?;
        if told.read() == before { Ok(()) } else { Err(broken("read")(changed())) }
    }

    /// Brings to the disk what was read and may be in memory only: before it is built upon, it is there. A sync that
    /// has failed leaves pages behind that the system takes for written, so another sync alone would prove nothing. A
    /// head is written only when everything before its end is synced, so it is the last head and what lies behind its end.
    fn write_again(&mut self, answered: u64) -> Result<(), SpoolError> {
        let head = HEADS_AT[usize::from(self.counter.is_multiple_of(2))];
        let head_end = head + u64::try_from(HEAD_BYTES).expect("a head is small");
        for (from, to) in [(head, head_end), (answered, self.end)] {
            let mut parts = Parts::new(from, to);
            while let Some((at, length)) = parts.next() {
                let mut bytes = vec![0; length];
                self.disk.read(SPOOL, at, &mut bytes).map_err(broken("read"))?;
                let written = self.disk.write(SPOOL, at, &bytes);
                written.map_err(|error| full_or(error, "written"))?;
            }
        }
        self.disk.sync(SPOOL).map_err(broken("synced"))?;
        // And the name, which an earlier process may have given without coming to its end.
        self.disk.sync_names().map_err(broken("synced"))
    }

    /// Copies a damaged file beside, under a name that its bytes have, unless an earlier process did.
    fn keep_evidence(&mut self, length: u64) -> Result<(), SpoolError> {
        let mut name = [0; 32];
        let mut parts = Parts::new(0, length);
        while let Some((at, length)) = parts.next() {
            let mut bytes = vec![0; length];
            self.disk.read(SPOOL, at, &mut bytes).map_err(broken("copied"))?;
            name = Tagged::new("fiscus/spool-damaged/v1").h32(&name).raw(&bytes).finish();
        }
        let name = format!("{DAMAGED}{}", hex(&name[..8]));
        if self.disk.has(&name).map_err(broken("copied"))? {
            return self.disk.sync_names().map_err(broken("copied"));
        }
        self.write_next("copied", |disk| {
            let mut parts = Parts::new(0, length);
            while let Some((at, length)) = parts.next() {
                let mut bytes = vec![0; length];
                disk.read(SPOOL, at, &mut bytes)?;
                disk.write(NEXT, at, &bytes)?;
            }
            Ok(length)
        })?;
        self.disk.rename(NEXT, &name).map_err(broken("copied"))?;
        self.disk.sync_names().map_err(broken("copied"))
    }

    /// Puts what still reads of a damaged file, and an entry behind it, in its place.
    fn mend(&mut self, length: u64, before: &Scanned, damage: &Entry) -> Result<(), SpoolError> {
        // Where they are is all that is held of them.
        let mut kept = Vec::new();
        let mut window = Window::new(&mut self.disk, SPOOL, length);
        let told = scan_in(&mut window, &mut |place, _| {
            kept.push(Kept::At(place));
            Ok(())
        });
        if told.map_err(broken("read"))?.read() != before.read() {
            return Err(broken("read")(changed()));
        }
        kept.push(Kept::Entry(damage.clone()));
        self.rewrite(&kept, 0, &mut |_, _| {})
    }

    /// Brings the next file to the disk, by what writes its bytes and says how many; what was written of it is cut again
    /// when that fails, so that a file that is of no use does not keep the disk full.
    fn write_next(
        &mut self,
        what: &'static str,
        write: impl FnOnce(&mut D) -> io::Result<u64>,
    ) -> Result<(), SpoolError> {
        let disk = &mut self.disk;
        let written = write(disk).and_then(|length| {
            disk.truncate(NEXT, length)?;
            disk.sync(NEXT)
        });
        if written.is_err() {
            let _ = disk.truncate(NEXT, 0).and_then(|()| disk.sync(NEXT));
        }
        written.map_err(|error| full_or(error, what))
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
        self.is_there()?;
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

    /// Writes these entries into a new file, which takes the place of the old one, and tells where they are; nothing is
    /// written when the disk would have less than `spare` bytes left meanwhile.
    pub(crate) fn rewrite(
        &mut self,
        entries: &[Kept],
        spare: u64,
        each: Each<'_>,
    ) -> Result<(), SpoolError> {
        if self.broken {
            return Err(SpoolError::WasBroken);
        }
        if self.counter > 0 {
            self.is_there()?;
        }
        let bytes_of = |kept: &Kept| match kept {
            Kept::Entry(entry) => u64::try_from(frame(entry).len()).expect("an entry is small"),
            Kept::At(place) => FRAME_BYTES + u64::from(place.length),
        };
        let end = entries.iter().fold(ENTRIES_AT, |end, kept| end.saturating_add(bytes_of(kept)));
        if spare > 0 && self.free_bytes().map_err(broken("looked at"))? < end.saturating_add(spare)
        {
            return Err(SpoolError::Full);
        }
        let counter = self.counter + 1;
        // The old file is whole until the new one has its name.
        self.write_next("written anew", |disk| {
            write_entries(disk, entries, first_page(counter, end), each)
        })?;
        let disk = &mut self.disk;
        let switched = disk.rename(NEXT, SPOOL).and_then(|()| disk.sync_names());
        if let Err(error) = switched {
            self.broken = true;
            return Err(broken("put in its place")(error));
        }
        (self.end, self.counter) = (end, counter);
        Ok(())
    }

    /// Reads an entry again.
    pub(crate) fn read(&mut self, place: Place) -> Result<Entry, SpoolError> {
        read_at(&mut self.disk, place).map(|(_, entry)| entry).map_err(broken("read"))
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Whether it takes anything.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the file is where the next process will look for it.
    pub(crate) fn is_there(&mut self) -> Result<(), SpoolError> {
        let there = self.disk.has_its_name(SPOOL).map_err(broken("looked at"))?;
        if there { Ok(()) } else { Err(SpoolError::Gone) }
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

fn first_page(counter: u64, end: u64) -> Vec<u8> {
    let mut page = vec![0; usize::try_from(ENTRIES_AT).expect("a page is small")];
    page[..8].copy_from_slice(MAGIC);
    page[8..10].copy_from_slice(&VERSION.to_le_bytes());
    for at in HEADS_AT {
        let at = usize::try_from(at).expect("a page is small");
        page[at..at + HEAD_BYTES].copy_from_slice(&head(counter, end));
    }
    page
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an entry has changed")
}

/// An entry with its frame, which must be what it was when it was written.
fn read_at<D: Disk>(disk: &mut D, place: Place) -> io::Result<(Vec<u8>, Entry)> {
    let mut framed = vec![0; usize::try_from(place.end() - place.at).expect("an entry is small")];
    disk.read(SPOOL, place.at, &mut framed)?;
    let (head, body) = framed.split_at(8);
    let holds = head[..4] == place.length.to_le_bytes() && head[4..] == crc32(body).to_le_bytes();
    let entry = Entry::decode(body).ok().filter(|_| holds).ok_or_else(changed)?;
    Ok((framed, entry))
}

/// Writes a first page and entries into the next file, some of them at once; its length.
fn write_entries<D: Disk>(
    disk: &mut D,
    entries: &[Kept],
    page: Vec<u8>,
    each: Each<'_>,
) -> io::Result<u64> {
    let (mut part, mut at) = (page, 0);
    let small = |bytes: usize| u64::try_from(bytes).expect("a part is small");
    for kept in entries {
        let (framed, entry) = match kept {
            Kept::Entry(entry) => (frame(entry), entry.clone()),
            Kept::At(place) => read_at(disk, *place)?,
        };
        let length = u32::try_from(framed.len() - 8).expect("an entry has at most 2 MiB");
        each(Place { at: at + small(part.len()), length }, &entry);
        part.extend_from_slice(&framed);
        if part.len() >= PART_BYTES {
            disk.write(NEXT, at, &part)?;
            at += small(part.len());
            part.clear();
        }
    }
    disk.write(NEXT, at, &part)?;
    Ok(at + small(part.len()))
}

/// The parts of some bytes.
struct Parts {
    at: u64,
    end: u64,
}

impl Parts {
    fn new(at: u64, end: u64) -> Self {
        Self { at, end }
    }

    fn next(&mut self) -> Option<(u64, usize)> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = left.min(PART_BYTES);
        let at = self.at;
        self.at += u64::try_from(length).expect("a part is small");
        (length > 0).then_some((at, length))
    }
}
