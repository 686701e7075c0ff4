//! What an operator can see of a log's files: every frame and whether its checksum is right.
//!
//! Invariants: nothing is changed, not even a damaged log; what cannot be read is said, not left out.
//! Non-goal: judging whether a bad tail is torn or damaged; opening does that.

use std::collections::VecDeque;
use std::path::Path;

use crate::disk::{Disk, DiskFile, OpenHow};

use super::LogId;
use super::error::WalError;
use super::frame::{Frame, NoFrame, Salt};
use super::scan::{self, Bad, Item, segment_name, segment_of_name};

/// One frame, or bytes that are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Number of the segment.
    pub segment: u32,
    /// Where in it.
    pub offset: u64,
    /// What it is: `header`, `batch` (only when it is not whole), `mark`, `vote`, `entry`, `copied`,
    /// `truncate`, `purge`, `committed`, `remove`, `damage`; `unreadable` when it is no frame.
    pub kind: &'static str,
    /// Its group, if it has one.
    pub group: Option<u64>,
    /// The id it names, if it names one.
    pub id: Option<LogId>,
    /// Its length; of unreadable bytes up to the next frame or the end of the segment.
    pub bytes: u64,
    /// Whether the checksum is right.
    pub crc_ok: bool,
}

/// Walks over the frames of a directory, segment by segment.
#[derive(Debug)]
pub struct Inspection<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    segments: VecDeque<u32>,
    ready: VecDeque<Inspected>,
}

/// Looks at the log in a directory, without changing anything.
pub fn inspect<'a>(disk: &'a dyn Disk, dir: &'a Path) -> Result<Inspection<'a>, WalError> {
    let names = disk.list(dir).map_err(|e| WalError::io("list", dir, e))?;
    let segments = names.iter().filter_map(|name| segment_of_name(name)).collect();
    Ok(Inspection { disk, dir, segments, ready: VecDeque::new() })
}

impl Iterator for Inspection<'_> {
    type Item = Result<Inspected, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(Ok(ready));
            }
            let segment = self.segments.pop_front()?;
            if let Err(error) = self.load(segment) {
                return Some(Err(error));
            }
        }
    }
}

impl Inspection<'_> {
    fn load(&mut self, segment: u32) -> Result<(), WalError> {
        let path = self.dir.join(segment_name(segment));
        let file = self.disk.open(&path, OpenHow::Read);
        let file: Box<dyn DiskFile> = file.map_err(|e| WalError::io("open", &path, e))?;
        let size = file.size().map_err(|e| WalError::io("measure", &path, e))?;
        let mut bytes = vec![0; usize::try_from(size).expect("a segment fits in memory")];
        file.read_exact_at(&mut bytes, 0).map_err(|e| WalError::io("read", &path, e))?;
        self.walk(segment, &bytes);
        Ok(())
    }

    fn walk(&mut self, segment: u32, bytes: &[u8]) {
        // The header says whose log this is; without it no checksum can be verified.
        let salt = Salt { identity: 0, segment };
        let (header, mut at) = match scan::header(bytes, salt) {
            Ok(whole) => whole,
            Err(NoFrame::Empty) if bytes.iter().all(|byte| *byte == 0) => return,
            Err(_) => return self.unreadable(segment, 0, bytes.len() as u64),
        };
        let salt = Salt { identity: header.identity, segment };
        self.push(segment, &Frame::Header(header), 0, at);
        while at < bytes.len() as u64 {
            match scan::item(bytes, salt, at) {
                Item::Batch { frames, end, .. } => {
                    for (frame, offset, len) in &frames {
                        self.push(segment, frame, *offset, *len as u64);
                    }
                    at = end;
                }
                Item::Mark { synced, end } => {
                    self.push(segment, &Frame::Mark { synced }, at, end - at);
                    at = end;
                }
                Item::Bad(bad) => at = self.bad(segment, bytes, salt, at, &bad),
            }
        }
    }

    /// Says what is unreadable, and where it goes on.
    fn bad(&mut self, segment: u32, bytes: &[u8], salt: Salt, at: u64, bad: &Bad) -> u64 {
        let len = bytes.len() as u64;
        let behind = bad.end.unwrap_or(at + super::frame::SECTOR);
        let next = scan::next_item(bytes, salt, behind).unwrap_or(len);
        let here = usize::try_from(at).expect("it is in memory");
        if next < len || bytes[here..].iter().any(|byte| *byte != 0) {
            self.unreadable(segment, bad.offset, next - bad.offset);
        }
        next
    }

    fn unreadable(&mut self, segment: u32, offset: u64, bytes: u64) {
        let kind = "unreadable";
        let (group, id) = (None, None);
        self.ready.push_back(Inspected { segment, offset, kind, group, id, bytes, crc_ok: false });
    }

    fn push(&mut self, segment: u32, frame: &Frame, offset: u64, bytes: u64) {
        let id = match frame {
            Frame::Entry { id, .. } | Frame::Copied { id, .. } => Some(*id),
            Frame::Purge { upto, .. } => Some(*upto),
            Frame::Truncate { after, .. } => *after,
            Frame::Committed { id, .. } => *id,
            _ => None,
        };
        let (kind, group) = (frame.kind(), frame.group());
        self.ready.push_back(Inspected { segment, offset, kind, group, id, bytes, crc_ok: true });
    }
}
