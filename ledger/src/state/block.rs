//! Blocks of numbers lent to a terminal for offline sealing, and the offline seals that wait in them.

use crate::codec::{DecodeError, Reader, Writer};
use crate::credential::CredentialTerms;
use crate::hash::Hash32;
use crate::state::table::Row;
use crate::state::{Id, read_id};
use crate::time::UnixMs;

/// How many numbers one block may hold.
pub const BLOCK_NUMBERS_MAX: u64 = 500;
/// In how many ranges an outlet's lent numbers may lie, so that its row stays small.
pub const OPEN_RANGES_MAX: usize = 256;
/// For how long a credential may be valid.
pub const CREDENTIAL_VALIDITY_MS_MAX: u64 = 72 * 3_600_000;
/// For how long after its expiry a block stays open for what was sealed in time.
pub const BLOCK_GRACE_MS: u64 = 72 * 3_600_000;
/// How many bytes of seals may wait for their predecessors in one block.
pub const WAITING_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a block was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Every number came back sealed.
    UsedUp,
    /// The terminal gave it back.
    Returned,
    /// The credential and the grace have expired.
    Expired,
    /// The operator withdrew the credential.
    Revoked,
}

impl CloseReason {
    const ALL: [Self; 4] = [Self::UsedUp, Self::Returned, Self::Expired, Self::Revoked];

    /// The name in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UsedUp => "used_up",
            Self::Returned => "returned",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// One number of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Nothing has come for it.
    Empty,
    /// A genuine seal came before its predecessor.
    Waiting {
        /// Its own hash, which its successor must link to.
        entry_hash: Hash32,
        /// The hash it links to.
        prev_hash: Hash32,
        /// What tells a repetition from another seal.
        digest: Hash32,
        /// The bytes that wait.
        bytes: u64,
        /// The invoice that it credits, which apply must have at hand when its turn comes.
        original: Option<Id>,
    },
    /// In the journal.
    Appended {
        /// The inner seal's hash.
        entry_hash: Hash32,
        /// The hash it links to.
        prev_hash: Hash32,
        /// What tells a repetition from another seal.
        digest: Hash32,
        /// The record.
        position: u64,
    },
}

/// A block and its delegated credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The outlet that the numbers belong to.
    pub outlet_id: Id,
    /// The terminal that holds the credential.
    pub terminal_id: Id,
    /// Its key.
    pub terminal_key: Hash32,
    /// First number lent.
    pub first: u64,
    /// Last number lent.
    pub last: u64,
    /// The group time of the grant.
    pub not_before: UnixMs,
    /// When sealing under it must end.
    pub not_after: UnixMs,
    /// Entry hash of the grant's record, where the terminal's chain starts.
    pub grant_hash: Hash32,
    /// The authority that signed the credential.
    pub authority_id: Id,
    /// When and why it was closed.
    pub closed: Option<(CloseReason, UnixMs)>,
    /// One slot per number.
    pub slots: Vec<Slot>,
}

impl Block {
    /// What the authority signs, and the terminal carries, as the delegated credential.
    #[must_use]
    pub fn credential_terms(&self, credential_id: &str, number_prefix: &str) -> CredentialTerms {
        CredentialTerms {
            id: credential_id.to_owned(),
            outlet_id: self.outlet_id.to_string(),
            prefix: number_prefix.to_owned(),
            first: self.first,
            last: self.last,
            not_before_ms: self.not_before.get(),
            not_after_ms: self.not_after.get(),
            terminal_key: self.terminal_key,
            block_entry_hash: self.grant_hash,
            authority_id: self.authority_id.to_string(),
        }
    }

    /// A slot by its place in the terminal's chain, counted from 1.
    #[must_use]
    pub fn slot(&self, place: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(place.checked_sub(1)?).ok()?)
    }

    pub(crate) fn set_slot(&mut self, place: u64, slot: Slot) {
        let at = usize::try_from(place - 1).expect("a block has at most 500 slots");
        self.slots[at] = slot;
    }

    /// The places of the seals that wait, in order.
    pub fn waiting(&self) -> impl Iterator<Item = u64> {
        (1..)
            .zip(&self.slots)
            .filter(|(_, slot)| matches!(slot, Slot::Waiting { .. }))
            .map(|at| at.0)
    }

    /// How many bytes wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| if let Slot::Waiting { bytes, .. } = slot { *bytes } else { 0 })
            .sum()
    }

    /// What was sealed in time may come until then.
    #[must_use]
    pub fn grace_end(&self) -> UnixMs {
        UnixMs::new(self.not_after.get().saturating_add(BLOCK_GRACE_MS))
    }

    /// Whether every number is sealed.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Appended { .. }))
    }
}

impl Row for Block {
    type Key = Id;
    const TABLE: u8 = 8;
    const NAME: &'static str = "block";

    fn write_key(key: &Id, out: &mut Writer) {
        out.str(key);
    }

    fn encode(&self, out: &mut Writer) {
        out.str(&self.outlet_id).str(&self.terminal_id).raw(&self.terminal_key);
        out.u64(self.first).u64(self.last).u64(self.not_before.get()).u64(self.not_after.get());
        out.raw(&self.grant_hash).str(&self.authority_id);
        match self.closed {
            None => out.u8(0),
            Some((reason, at)) => {
                let code = CloseReason::ALL.iter().position(|known| *known == reason);
                let code =
                    u8::try_from(code.expect("ALL lists every reason")).expect("four reasons");
                out.u8(code + 1).u64(at.get())
            }
        };
        out.len(self.slots.len());
        for slot in &self.slots {
            slot.encode(out);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            outlet_id: read_id(from, "block outlet")?,
            terminal_id: read_id(from, "block terminal")?,
            terminal_key: from.h32("block key")?,
            first: from.u64("block first")?,
            last: from.u64("block last")?,
            not_before: UnixMs::new(from.u64("block start")?),
            not_after: UnixMs::new(from.u64("block end")?),
            grant_hash: from.h32("block grant")?,
            authority_id: read_id(from, "block authority")?,
            closed: match from.u8("block closed")? {
                0 => None,
                code => {
                    let reason = CloseReason::ALL.get(usize::from(code) - 1);
                    let reason = *reason.ok_or(DecodeError::Invalid("block closed"))?;
                    Some((reason, UnixMs::new(from.u64("block closed at")?)))
                }
            },
            slots: {
                let length = from.len("block slots")?;
                (0..length).map(|_| Slot::decode(from)).collect::<Result<_, _>>()?
            },
        })
    }
}

impl Slot {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Empty => out.u8(0),
            Self::Waiting { entry_hash, prev_hash, digest, bytes, original } => {
                out.u8(1).raw(entry_hash).raw(prev_hash).raw(digest).u64(*bytes);
                out.str(original.as_deref().unwrap_or(""))
            }
            Self::Appended { entry_hash, prev_hash, digest, position } => {
                out.u8(2).raw(entry_hash).raw(prev_hash).raw(digest).u64(*position)
            }
        };
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.u8("slot")? {
            0 => Ok(Self::Empty),
            1 => Ok(Self::Waiting {
                entry_hash: from.h32("slot hash")?,
                prev_hash: from.h32("slot link")?,
                digest: from.h32("slot digest")?,
                bytes: from.u64("slot bytes")?,
                original: Some(read_id(from, "slot original")?).filter(|id| !id.is_empty()),
            }),
            2 => Ok(Self::Appended {
                entry_hash: from.h32("slot hash")?,
                prev_hash: from.h32("slot link")?,
                digest: from.h32("slot digest")?,
                position: from.u64("slot position")?,
            }),
            _ => Err(DecodeError::Invalid("slot")),
        }
    }
}

/// An offline seal as it was submitted, kept until its predecessor has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingSeal {
    /// The seal's encoded bytes.
    pub seal: Vec<u8>,
}

/// The credential and the place in its chain.
pub type WaitingKey = (Id, u64);

impl Row for WaitingSeal {
    type Key = WaitingKey;
    const TABLE: u8 = 9;
    const NAME: &'static str = "waiting seal";

    fn write_key(key: &WaitingKey, out: &mut Writer) {
        out.str(&key.0).u64(key.1);
    }

    fn encode(&self, out: &mut Writer) {
        out.bytes(&self.seal);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { seal: from.bytes("waiting seal")?.to_vec() })
    }
}
