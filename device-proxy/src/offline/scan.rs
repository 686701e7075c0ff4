//! Reads a spool's bytes, whatever they are, a window of them at a time: a long spool takes no more memory than a short
//! one.

use std::io;

use super::disk::Disk;
use super::entry::Entry;
use super::spool::{
    ENTRIES_AT, ENTRY_BYTES_MAX, FRAME_BYTES, HEAD_BYTES, HEADS_AT, MAGIC, VERSION,
};
use crate::protocol::crc32::crc32;

/// A file is read so many bytes at once: more than two of the longest entries.
const WINDOW_BYTES: usize = 8 << 20;

/// Where an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) at: u64,
    pub(super) length: u32,
}

impl Place {
    /// Behind it.
    pub(super) fn end(self) -> u64 {
        self.at + FRAME_BYTES + u64::from(self.length)
    }
}

/// What a spool's bytes hold.
#[derive(Debug, Default)]
pub struct Scanned {
    /// How many entries read.
    entries: usize,
    /// Behind the last byte that is kept.
    pub(super) end: u64,
    pub(super) counter: u64,
    /// The end that the last head names.
    pub(super) answered: u64,
    /// The latest time that an entry tells.
    pub(super) time_ms: u64,
    /// What was answered for and does not read any more.
    pub(super) damage: Option<String>,
    pub(super) version: u16,
}

impl Scanned {
    /// What two readings of the same file agree on, unless the disk reads now this and now that.
    pub(super) fn read(&self) -> (usize, u64, u64, Option<&str>) {
        (self.entries, self.end, self.time_ms, self.damage.as_deref())
    }

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
        self.entries
    }
}

/// Bytes that are looked at in places.
pub(super) trait Bytes {
    fn length(&self) -> u64;
    /// Some bytes; fewer where they end.
    fn some(&mut self, at: u64, most: usize) -> io::Result<&[u8]>;
}

impl Bytes for &[u8] {
    fn length(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn some(&mut self, at: u64, most: usize) -> io::Result<&[u8]> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        Ok(&self[from..from.saturating_add(most).min(self.len())])
    }
}

/// A file of a disk.
#[derive(Debug)]
pub(super) struct Window<'d, D> {
    disk: &'d mut D,
    name: &'static str,
    length: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl<'d, D: Disk> Window<'d, D> {
    pub(super) fn new(disk: &'d mut D, name: &'static str, length: u64) -> Self {
        Self { disk, name, length, at: 0, bytes: Vec::new() }
    }
}

impl<D: Disk> Bytes for Window<'_, D> {
    fn length(&self) -> u64 {
        self.length
    }

    fn some(&mut self, at: u64, most: usize) -> io::Result<&[u8]> {
        let short =
            || io::Error::new(io::ErrorKind::InvalidInput, "no machine reads as much at once");
        let to = at.saturating_add(u64::try_from(most).map_err(|_| short())?).min(self.length);
        let at = at.min(to);
        let held = self.at + u64::try_from(self.bytes.len()).map_err(|_| short())?;
        if at < self.at || to > held {
            let wanted = u64::try_from(WINDOW_BYTES).map_err(|_| short())?.max(to - at);
            let wanted = usize::try_from(wanted.min(self.length - at)).map_err(|_| short())?;
            self.bytes.resize(wanted, 0);
            self.at = at;
            self.disk.read(self.name, at, &mut self.bytes)?;
        }
        let from = usize::try_from(at - self.at).map_err(|_| short())?;
        let until = usize::try_from(to - self.at).map_err(|_| short())?;
        Ok(&self.bytes[from..until])
    }
}

/// Reads a spool's bytes, whatever they are.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scanned {
    let mut bytes = bytes;
    let scanned = scan_in(&mut bytes, &mut |_, _| Ok(()));
    scanned.expect("bytes in memory are read without an error")
}

/// The same, and tells every entry that reads, with its place.
pub(super) fn scan_in<B: Bytes>(
    bytes: &mut B,
    each: &mut dyn FnMut(Place, Entry) -> io::Result<()>,
) -> io::Result<Scanned> {
    let mut scanned = Scanned { end: ENTRIES_AT, version: VERSION, ..Scanned::default() };
    let page = bytes.some(0, usize::try_from(ENTRIES_AT).expect("a page is small"))?;
    if u64::try_from(page.len()).unwrap_or(u64::MAX) < ENTRIES_AT {
        scanned.damage = Some("it is shorter than its first page".to_owned());
        return Ok(scanned);
    }
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
    walk(bytes, answered, &mut scanned, each)?;
    Ok(scanned)
}

/// Reads entry after entry; after one that does not read, looks for the next that does.
fn walk<B: Bytes>(
    bytes: &mut B,
    answered: u64,
    scanned: &mut Scanned,
    each: &mut dyn FnMut(Place, Entry) -> io::Result<()>,
) -> io::Result<()> {
    let length = bytes.length();
    let mut at = ENTRIES_AT;
    let mut wrong = None;
    while at < length {
        match read_entry(bytes, at)? {
            Some((place, entry)) => {
                if let Some(first) = wrong.take() {
                    note(scanned, first);
                }
                scanned.entries += 1;
                scanned.time_ms = scanned.time_ms.max(entry.time_ms());
                each(place, entry)?;
                at = place.end();
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
    Ok(())
}

fn note(scanned: &mut Scanned, first: u64) {
    let damage = || format!("it does not read at byte {first}");
    scanned.damage.get_or_insert_with(damage);
}

fn read_entry<B: Bytes>(bytes: &mut B, at: u64) -> io::Result<Option<(Place, Entry)>> {
    let Some(frame) = bytes.some(at, 8)?.first_chunk::<8>().copied() else { return Ok(None) };
    let [l0, l1, l2, l3, s0, s1, s2, s3] = frame;
    let (length, sum) =
        (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([s0, s1, s2, s3]));
    if !(1..=ENTRY_BYTES_MAX).contains(&length) {
        return Ok(None);
    }
    let whole = usize::try_from(length).expect("an entry is small");
    let body = bytes.some(at + FRAME_BYTES, whole)?;
    // Looking for the next entry in what is none is quicker so.
    let kind = body.first().is_some_and(|kind| Entry::KINDS.contains(kind));
    if body.len() < whole || !kind || crc32(body) != sum {
        return Ok(None);
    }
    Ok(Entry::decode(body).ok().map(|entry| (Place { at, length }, entry)))
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

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    /// Entries of some length, over more than two windows: each is told once, and no more than a window is held.
    #[test]
    fn a_long_file_is_read_through_a_small_window() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut disk = RealDisk::open(dir.path().join("till")).expect("it opens");
        let detail = "x".repeat(600_000);
        let mut at = ENTRIES_AT;
        let mut places = Vec::new();
        for time in 1..=40_u64 {
            let entry = match time {
                40 => Entry::Heard { group_ms: time, wall_ms: 1 },
                _ => Entry::Damaged { at_ms: time, detail: detail.clone() },
            };
            let body = entry.encode();
            let length = u32::try_from(body.len()).expect("small");
            let frame = [&length.to_le_bytes()[..], &crc32(&body).to_le_bytes(), &body].concat();
            disk.write("spool", at, &frame).expect("written");
            places.push(Place { at, length });
            at += u64::try_from(frame.len()).expect("small");
            // Some bytes that are none between two of them.
            if time == 20 {
                disk.write("spool", at, &[0xff; 3_000]).expect("written");
                at += 3_000;
            }
        }
        let mut window = Window::new(&mut disk, "spool", at);
        let mut told = Vec::new();
        let scanned = scan_in(&mut window, &mut |place, _| {
            told.push(place);
            Ok(())
        });
        let scanned = scanned.expect("it reads");
        assert_eq!((told, scanned.entries, scanned.end, scanned.time_ms), (places, 40, at, 40));
        assert!(scanned.is_damaged(), "there is no first page");
        assert!(window.bytes.len() <= WINDOW_BYTES && window.bytes.capacity() <= WINDOW_BYTES);
    }
}
