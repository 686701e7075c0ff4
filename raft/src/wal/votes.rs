//! The votes file: two slots, written in turn, each with every group's vote and a checksum.
//!
//! Invariant: at any moment at least one slot is whole. It also names how far the log was synced,
//! which helps to tell damage from a torn tail. Non-goal: history.

use std::collections::BTreeMap;

use super::Vote;
use super::frame::{Fields, NoFrame, Position, put_u64, put_vote};

pub(super) const VOTES_FILE: &str = "votes";
pub(super) const SLOT_BYTES: u64 = 64 << 10;
/// So many votes fit in a slot with room to spare.
pub(super) const GROUPS_MAX: usize = 1_024;
const MAGIC: &[u8; 8] = b"FISCVOTE";

/// The content of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Votes {
    pub(super) identity: u128,
    /// Later slots have larger counters.
    pub(super) counter: u64,
    pub(super) synced: Position,
    /// Per group how many votes were saved and the last one.
    pub(super) votes: BTreeMap<u64, (u64, Vote)>,
}

impl Votes {
    /// Where in the file this content belongs.
    pub(super) fn offset(&self) -> u64 {
        (self.counter % 2) * SLOT_BYTES
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut body = self.identity.to_le_bytes().to_vec();
        put_u64(&mut body, self.counter);
        body.extend_from_slice(&self.synced.segment.to_le_bytes());
        body.extend_from_slice(&self.synced.offset.to_le_bytes());
        for (group, (counter, vote)) in &self.votes {
            put_u64(&mut body, *group);
            put_u64(&mut body, *counter);
            put_vote(&mut body, Some(*vote));
        }
        let mut out = MAGIC.to_vec();
        put_u64(&mut out, body.len() as u64);
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// The content of one slot; `None` when it is not whole.
    fn of_slot(slot: &[u8]) -> Option<Self> {
        let rest = slot.strip_prefix(MAGIC.as_slice())?;
        let mut fields = Fields(rest);
        let len = usize::try_from(fields.u64().ok()?).ok()?;
        let crc = fields.u32().ok()?;
        let body = fields.0.get(..len)?;
        if crc32c::crc32c(body) != crc { None } else { Self::of_body(body).ok() }
    }

    fn of_body(body: &[u8]) -> Result<Self, NoFrame> {
        let mut fields = Fields(body);
        let (identity, counter) = (fields.u128()?, fields.u64()?);
        let synced = fields.position()?;
        let mut votes = BTreeMap::new();
        while !fields.0.is_empty() {
            let (group, saved) = (fields.u64()?, fields.u64()?);
            votes.insert(group, (saved, fields.vote()?.ok_or(NoFrame::Content)?));
        }
        Ok(Self { identity, counter, synced, votes })
    }

    /// The later one of the whole slots of a file.
    pub(super) fn of_file(file: &[u8]) -> Option<Self> {
        let half = file.len().min(usize::try_from(SLOT_BYTES).expect("64 KiB"));
        let (first, second) = file.split_at(half);
        let slots = [Self::of_slot(first), Self::of_slot(second)];
        slots.into_iter().flatten().max_by_key(|votes| votes.counter)
    }
}
