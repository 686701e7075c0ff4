//! Reading segments as they are found: batch by batch, and what proves that more was synced.
//!
//! Invariant: nothing is changed, and no byte is believed without its checksum. Non-goal: deciding
//! what to do about damage.

use super::frame::{Frame, MAGIC, NoFrame, Position, SECTOR, Salt, SegmentHeader, round_up};

/// Name of a segment's file.
pub(super) fn segment_name(segment: u32) -> String {
    format!("wal-{segment:010}.seg")
}

/// The number of a segment, from its file's name.
pub(super) fn segment_of_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".seg")?;
    if digits.len() == 10 { digits.parse().ok() } else { None }
}

/// A frame and where it stands.
pub(super) type Placed = (Frame, u64, usize);

/// What begins at a sector.
#[derive(Debug)]
pub(super) enum Item {
    Batch { number: u64, synced: Position, frames: Vec<Placed>, end: u64 },
    Mark { synced: Position, end: u64 },
    Bad(Bad),
}

/// Bytes that are not what was written there, or were never written.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) offset: u64,
    pub(super) why: NoFrame,
    /// The groups of the batch, when its first frame is whole.
    pub(super) groups: Option<Vec<u64>>,
    /// Where the next batch begins, when the first frame is whole.
    pub(super) end: Option<u64>,
}

/// Reads a segment's header and says how long it is. Another node's header is returned as it is.
pub(super) fn header(bytes: &[u8], salt: Salt) -> Result<(SegmentHeader, u64), NoFrame> {
    let Some(rest) = bytes.strip_prefix(MAGIC.as_slice()) else {
        let head = &bytes[..bytes.len().min(MAGIC.len())];
        let empty = head.iter().all(|byte| *byte == 0);
        return Err(if empty { NoFrame::Empty } else { NoFrame::Content });
    };
    let at = MAGIC.len() as u64;
    let ours = Frame::decode(rest, salt, at);
    let decoded = match (ours, identity_of(rest)) {
        (Err(NoFrame::Checksum), Some(identity)) => {
            Frame::decode(rest, Salt { identity, ..salt }, at)
        }
        (ours, _) => ours,
    };
    match decoded? {
        (Frame::Header(header), len) => Ok((header, round_up(at + len as u64))),
        _ => Err(NoFrame::Content),
    }
}

/// The identity that a header frame claims, whether or not its checksum is right.
fn identity_of(frame: &[u8]) -> Option<u128> {
    let bytes: [u8; 16] = frame.get(13..29)?.try_into().ok()?;
    Some(u128::from_le_bytes(bytes))
}

/// Reads what begins at `at`.
pub(super) fn item(bytes: &[u8], salt: Salt, at: u64) -> Item {
    let here = usize::try_from(at).expect("it is in memory");
    let bad = |why| Item::Bad(Bad { offset: at, why, groups: None, end: None });
    let (frame, head) = match Frame::decode(bytes.get(here..).unwrap_or_default(), salt, at) {
        Ok(decoded) => decoded,
        Err(why) => return bad(why),
    };
    match frame {
        Frame::Mark { synced } => Item::Mark { synced, end: at + SECTOR },
        Frame::Batch { number, bytes: len, synced, groups } => {
            let start = at + head as u64;
            let end = start + u64::from(len);
            match frames(bytes, salt, start, end) {
                Ok(frames) => Item::Batch { number, synced, frames, end: round_up(end) },
                Err((offset, why)) => {
                    Item::Bad(Bad { offset, why, groups: Some(groups), end: Some(round_up(end)) })
                }
            }
        }
        _ => bad(NoFrame::Content),
    }
}

fn frames(bytes: &[u8], salt: Salt, start: u64, end: u64) -> Result<Vec<Placed>, (u64, NoFrame)> {
    let mut frames = Vec::new();
    let mut at = start;
    while at < end {
        let range = usize::try_from(at).expect("memory")..usize::try_from(end).expect("memory");
        let rest = bytes.get(range).ok_or((at, NoFrame::Length))?;
        let (frame, len) = Frame::decode(rest, salt, at).map_err(|why| (at, why))?;
        frames.push((frame, at, len));
        at += len as u64;
    }
    Ok(frames)
}

/// The furthest synced end that any batch or mark from `from` on names.
pub(super) fn claim_behind(bytes: &[u8], salt: Salt, from: u64) -> Option<Position> {
    let claim = |at: u64| match item(bytes, salt, at) {
        Item::Batch { synced, .. } | Item::Mark { synced, .. } => Some(synced),
        Item::Bad(Bad { groups: Some(_), .. }) => batch_claim(bytes, salt, at),
        Item::Bad(_) => None,
    };
    sectors(bytes, from).filter_map(claim).max()
}

fn batch_claim(bytes: &[u8], salt: Salt, at: u64) -> Option<Position> {
    let here = usize::try_from(at).ok()?;
    match Frame::decode(bytes.get(here..)?, salt, at) {
        Ok((Frame::Batch { synced, .. }, _)) => Some(synced),
        _ => None,
    }
}

/// Where the next whole batch or mark begins, from `from` on.
pub(super) fn next_item(bytes: &[u8], salt: Salt, from: u64) -> Option<u64> {
    sectors(bytes, from).find(|at| match item(bytes, salt, *at) {
        Item::Batch { .. } | Item::Mark { .. } => true,
        Item::Bad(bad) => bad.groups.is_some(),
    })
}

fn sectors(bytes: &[u8], from: u64) -> impl Iterator<Item = u64> {
    (round_up(from)..bytes.len() as u64).step_by(usize::try_from(SECTOR).expect("512"))
}
