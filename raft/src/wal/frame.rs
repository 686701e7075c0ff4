//! The bytes of the log.
//!
//! ```text
//!  segment = "FISCUSWL", header frame, zeros to the next sector, batch or mark, ...
//!  batch   = batch frame, frames, zeros to the next sector
//!  frame   = u32 length of body, u32 CRC32C, body (u8 kind, fields)
//! ```
//!
//! Numbers are little-endian. The checksum also covers the node's identity, the segment's number,
//! the frame's offset and its length, so that a frame is valid in one place only.

use bytes::Bytes;

use super::{LogId, Vote};

pub(super) const MAGIC: &[u8; 8] = b"FISCUSWL";
pub(super) const VERSION: u32 = 1;
pub(super) const SECTOR: u64 = 512;
/// Length and checksum in front of a body.
pub(super) const FRAME_HEAD: usize = 8;
/// Of an entry's frame: head, kind, group, term, index.
pub(super) const ENTRY_OVERHEAD: usize = FRAME_HEAD + 1 + 24;
const BATCH_FIXED: usize = FRAME_HEAD + 1 + 8 + 4 + 8 + 4;
const HEADER_FIXED: usize = MAGIC.len() + FRAME_HEAD + 1 + 4 + 16 + 4 + 8 + 4;
const CHECKPOINT: usize = 8 + VOTE + 8 + OPTION_ID * 3 + 8 + 1;
const VOTE: usize = 18;
const OPTION_ID: usize = 17;

/// A place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// What binds a frame to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt {
    pub(super) identity: u128,
    pub(super) segment: u32,
}

/// A group's marks as of the start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks {
    pub(super) vote: Option<Vote>,
    /// How many votes were saved: the larger one is the later one.
    pub(super) vote_counter: u64,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// Index of the first entry, or of the next one when there is none.
    pub(super) first: u64,
    pub(super) damaged: bool,
}

/// The start of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) version: u32,
    pub(super) identity: u128,
    pub(super) segment: u32,
    /// Where the stream ended before this segment; all of it was synced.
    pub(super) previous: Position,
    pub(super) groups: Vec<(u64, Marks)>,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Header(SegmentHeader),
    /// The frames in the next `bytes` bytes belong together.
    Batch {
        number: u64,
        bytes: u32,
        synced: Position,
        groups: Vec<u64>,
    },
    /// Everything before was synced.
    Mark {
        synced: Position,
    },
    Vote {
        group: u64,
        counter: u64,
        vote: Vote,
    },
    Entry {
        group: u64,
        id: LogId,
        bytes: Bytes,
    },
    /// An entry that stands in an older segment too.
    Copied {
        group: u64,
        id: LogId,
        bytes: Bytes,
    },
    Truncate {
        group: u64,
        after: Option<LogId>,
    },
    Purge {
        group: u64,
        upto: LogId,
    },
    Committed {
        group: u64,
        id: Option<LogId>,
    },
    Remove {
        group: u64,
    },
    Damage {
        group: u64,
        damaged: bool,
    },
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoFrame {
    /// Zeros, as they were preallocated.
    Empty,
    /// The length reaches past the end.
    Length,
    /// The checksum differs.
    Checksum,
    /// The checksum is right and the content makes no sense.
    Content,
}

impl NoFrame {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Empty => "there are zeros where a frame was synced",
            Self::Length => "a frame's length is impossible",
            Self::Checksum => "a frame's checksum is wrong",
            Self::Content => "a frame's content is impossible",
        }
    }
}

impl Frame {
    pub(super) fn group(&self) -> Option<u64> {
        match self {
            Self::Header(_) | Self::Batch { .. } | Self::Mark { .. } => None,
            Self::Vote { group, .. }
            | Self::Entry { group, .. }
            | Self::Copied { group, .. }
            | Self::Truncate { group, .. }
            | Self::Purge { group, .. }
            | Self::Committed { group, .. }
            | Self::Remove { group }
            | Self::Damage { group, .. } => Some(*group),
        }
    }

    /// Its name for the operator.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            Self::Batch { .. } => "batch",
            Self::Mark { .. } => "mark",
            Self::Vote { .. } => "vote",
            Self::Entry { .. } => "entry",
            Self::Copied { .. } => "copied",
            Self::Truncate { .. } => "truncate",
            Self::Purge { .. } => "purge",
            Self::Committed { .. } => "committed",
            Self::Remove { .. } => "remove",
            Self::Damage { .. } => "damage",
        }
    }

    /// Appends the frame to `out`, where it will stand at `offset` of its segment.
    pub(super) fn encode(&self, salt: Salt, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEAD]);
        self.encode_body(out);
        let len = u32::try_from(out.len() - start - FRAME_HEAD).expect("operations are bounded");
        let crc = checksum(salt, offset, len, &out[start + FRAME_HEAD..]);
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Header(header) => {
                out.push(1);
                header.encode(out);
            }
            Self::Batch { number, bytes, synced, groups } => {
                out.push(2);
                put_u64(out, *number);
                put_u32(out, *bytes);
                put_position(out, *synced);
                put_u32(out, count(groups.len()));
                groups.iter().for_each(|group| put_u64(out, *group));
            }
            Self::Mark { synced } => {
                out.push(3);
                put_position(out, *synced);
            }
            Self::Vote { group, counter, vote } => {
                out.push(4);
                put_u64(out, *group);
                put_u64(out, *counter);
                put_vote(out, Some(*vote));
            }
            Self::Entry { group, id, bytes } => put_entry(out, 5, *group, *id, bytes),
            Self::Copied { group, id, bytes } => put_entry(out, 6, *group, *id, bytes),
            Self::Truncate { group, after } => put_group_id(out, 7, *group, *after),
            Self::Purge { group, upto } => put_group_id(out, 8, *group, Some(*upto)),
            Self::Committed { group, id } => put_group_id(out, 9, *group, *id),
            Self::Remove { group } => {
                out.push(10);
                put_u64(out, *group);
            }
            Self::Damage { group, damaged } => {
                out.push(11);
                put_u64(out, *group);
                out.push(u8::from(*damaged));
            }
        }
    }

    /// Reads the frame at `offset` of a segment whose bytes from there on are `bytes`; also says
    /// how long it is.
    pub(super) fn decode(bytes: &[u8], salt: Salt, offset: u64) -> Result<(Self, usize), NoFrame> {
        let head = bytes.get(..FRAME_HEAD).ok_or(NoFrame::Length)?;
        let mut fields = Fields(head);
        let (len, crc) = (fields.u32()?, fields.u32()?);
        if len == 0 && crc == 0 {
            return Err(NoFrame::Empty);
        }
        let end = FRAME_HEAD + usize::try_from(len).map_err(|_| NoFrame::Length)?;
        let body = bytes.get(FRAME_HEAD..end).ok_or(NoFrame::Length)?;
        if checksum(salt, offset, len, body) != crc {
            return Err(NoFrame::Checksum);
        }
        let mut fields = Fields(body);
        let frame = fields.frame()?;
        if fields.0.is_empty() { Ok((frame, end)) } else { Err(NoFrame::Content) }
    }
}

impl SegmentHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.version);
        out.extend_from_slice(&self.identity.to_le_bytes());
        put_u32(out, self.segment);
        put_position(out, self.previous);
        put_u32(out, count(self.groups.len()));
        for (group, marks) in &self.groups {
            put_u64(out, *group);
            put_vote(out, marks.vote);
            put_u64(out, marks.vote_counter);
            put_id(out, marks.committed);
            put_id(out, marks.purged);
            put_id(out, marks.last);
            put_u64(out, marks.first);
            out.push(u8::from(marks.damaged));
        }
    }

    /// The magic, the frame and zeros to the next sector.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let salt = Salt { identity: self.identity, segment: self.segment };
        let mut out = MAGIC.to_vec();
        Frame::Header(self.clone()).encode(salt, MAGIC.len() as u64, &mut out);
        pad(&mut out);
        out
    }
}

/// Fills up to the next sector with zeros.
pub(super) fn pad(out: &mut Vec<u8>) {
    out.resize(usize::try_from(round_up(out.len() as u64)).expect("it is in memory"), 0);
}

/// The next sector's start.
pub(super) fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(SECTOR)
}

/// Room that a header with the marks of so many groups takes.
pub(super) fn header_bytes(groups: usize) -> u64 {
    round_up((HEADER_FIXED + groups * CHECKPOINT) as u64)
}

/// Length of a batch frame that names so many groups.
pub(super) fn batch_frame_bytes(groups: usize) -> usize {
    BATCH_FIXED + 8 * groups
}

/// Length of any frame but an entry's, a batch's or a header's, at the most.
pub(super) const SMALL_FRAME_MAX: usize = FRAME_HEAD + 1 + 16 + VOTE;

fn checksum(salt: Salt, offset: u64, len: u32, body: &[u8]) -> u32 {
    let mut place = [0_u8; 32];
    place[..16].copy_from_slice(&salt.identity.to_le_bytes());
    place[16..20].copy_from_slice(&salt.segment.to_le_bytes());
    place[20..28].copy_from_slice(&offset.to_le_bytes());
    place[28..].copy_from_slice(&len.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), body)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("there are fewer than 2^32 groups")
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    put_u32(out, position.segment);
    put_u32(out, position.offset);
}

fn put_id(out: &mut Vec<u8>, id: Option<LogId>) {
    out.push(u8::from(id.is_some()));
    put_u64(out, id.map_or(0, |id| id.term));
    put_u64(out, id.map_or(0, |id| id.index));
}

/// An absent vote is written as zeros, so that a header has one length.
pub(super) fn put_vote(out: &mut Vec<u8>, vote: Option<Vote>) {
    out.push(u8::from(vote.is_some()));
    put_u64(out, vote.map_or(0, |vote| vote.term));
    put_u64(out, vote.map_or(0, |vote| vote.node));
    out.push(vote.map_or(0, |vote| u8::from(vote.committed)));
}

fn put_entry(out: &mut Vec<u8>, kind: u8, group: u64, id: LogId, bytes: &[u8]) {
    out.push(kind);
    put_u64(out, group);
    put_u64(out, id.term);
    put_u64(out, id.index);
    out.extend_from_slice(bytes);
}

fn put_group_id(out: &mut Vec<u8>, kind: u8, group: u64, id: Option<LogId>) {
    out.push(kind);
    put_u64(out, group);
    put_id(out, id);
}

/// The rest of a body.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], NoFrame> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(NoFrame::Content)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NoFrame> {
        self.take(N)?.try_into().map_err(|_| NoFrame::Content)
    }

    pub(super) fn u8(&mut self) -> Result<u8, NoFrame> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self) -> Result<bool, NoFrame> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(NoFrame::Content),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, NoFrame> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, NoFrame> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u128(&mut self) -> Result<u128, NoFrame> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(super) fn position(&mut self) -> Result<Position, NoFrame> {
        Ok(Position { segment: self.u32()?, offset: self.u32()? })
    }

    fn some_id(&mut self) -> Result<LogId, NoFrame> {
        Ok(LogId { term: self.u64()?, index: self.u64()? })
    }

    fn id(&mut self) -> Result<Option<LogId>, NoFrame> {
        let there = self.flag()?;
        let id = self.some_id()?;
        Ok(there.then_some(id))
    }

    pub(super) fn vote(&mut self) -> Result<Option<Vote>, NoFrame> {
        let there = self.flag()?;
        let vote = Vote { term: self.u64()?, node: self.u64()?, committed: self.flag()? };
        Ok(there.then_some(vote))
    }

    fn rest(&mut self) -> Bytes {
        Bytes::copy_from_slice(std::mem::take(&mut self.0))
    }

    fn header(&mut self) -> Result<SegmentHeader, NoFrame> {
        let (version, identity) = (self.u32()?, self.u128()?);
        let (segment, previous) = (self.u32()?, self.position()?);
        let mut groups = Vec::new();
        for _ in 0..self.u32()? {
            groups.push((self.u64()?, self.marks()?));
        }
        Ok(SegmentHeader { version, identity, segment, previous, groups })
    }

    fn marks(&mut self) -> Result<Marks, NoFrame> {
        Ok(Marks {
            vote: self.vote()?,
            vote_counter: self.u64()?,
            committed: self.id()?,
            purged: self.id()?,
            last: self.id()?,
            first: self.u64()?,
            damaged: self.flag()?,
        })
    }

    fn batch(&mut self) -> Result<Frame, NoFrame> {
        let (number, bytes, synced) = (self.u64()?, self.u32()?, self.position()?);
        let mut groups = Vec::new();
        for _ in 0..self.u32()? {
            groups.push(self.u64()?);
        }
        Ok(Frame::Batch { number, bytes, synced, groups })
    }

    fn frame(&mut self) -> Result<Frame, NoFrame> {
        let kind = self.u8()?;
        match kind {
            1 => return Ok(Frame::Header(self.header()?)),
            2 => return self.batch(),
            3 => return Ok(Frame::Mark { synced: self.position()? }),
            _ => {}
        }
        let group = self.u64()?;
        Ok(match kind {
            4 => Frame::Vote {
                group,
                counter: self.u64()?,
                vote: self.vote()?.ok_or(NoFrame::Content)?,
            },
            5 => Frame::Entry { group, id: self.some_id()?, bytes: self.rest() },
            6 => Frame::Copied { group, id: self.some_id()?, bytes: self.rest() },
            7 => Frame::Truncate { group, after: self.id()? },
            8 => Frame::Purge { group, upto: self.id()?.ok_or(NoFrame::Content)? },
            9 => Frame::Committed { group, id: self.id()? },
            10 => Frame::Remove { group },
            11 => Frame::Damage { group, damaged: self.flag()? },
            _ => return Err(NoFrame::Content),
        })
    }
}
