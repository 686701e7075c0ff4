//! Whether what is queued has room: nothing is accepted that might later not fit.
//!
//! The cursor supposes that each operation takes a batch of its own, so that the real stream, which
//! packs several into one, is never behind it. Non-goal: making room.

use super::frame::SECTOR;

/// Where the stream will be once everything queued is written, at the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    /// Bytes left in that segment.
    pub(super) room: u64,
    /// How many of the prepared segments it has used up.
    pub(super) used: usize,
}

impl Cursor {
    /// Takes room for one operation; `prepared` are the rooms of the segments ahead.
    pub(super) fn place(self, cost: u64, prepared: &[u64]) -> Option<Self> {
        if cost <= self.room {
            return Some(Self { room: self.room - cost, ..self });
        }
        let ahead = prepared.iter().enumerate().skip(self.used);
        let (at, room) = ahead.into_iter().find(|(_, room)| cost <= **room)?;
        Some(Self { room: room - cost, used: at + 1 })
    }

    /// Whether at least this much stays for operations that must not be refused.
    pub(super) fn keeps(self, reserve: u64, prepared: &[u64]) -> bool {
        self.used < prepared.len() || self.room >= reserve
    }
}

/// What a segment holds besides its header and the sector kept for a last mark.
pub(super) fn room(segment_bytes: u64, header_bytes: u64) -> u64 {
    segment_bytes.saturating_sub(header_bytes + SECTOR)
}
