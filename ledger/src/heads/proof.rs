//! Proofs that an outlet has an entry, or none.
//!
//! A proof follows the outlet's key from the root: at every branch the depth and the hash of the side
//! not taken. It ends in one of three places: the outlet's own entry (present); another outlet's
//! entry, or a node whose prefix the key does not have (absent, because a second way to the key would
//! need a second hash input for one of these nodes); or nowhere, in the empty tree.
//!
//! An absence proof that ends at another outlet's entry shows its key and a hash, not its figures.
//!
//! As bytes, integers little-endian (`str` and lists start with a `u32` length):
//!
//! ```text
//! proof = u32 number of steps, (u8 depth, h32 sibling) per step from the root downwards, end
//! end   = u8 0                                                          the empty tree
//!       | u8 1, str outlet_id, entry                                    the outlet's own entry
//!       | u8 2, u8 depth, h32 prefix, h32 left, h32 right               an inner node
//!       | u8 3, h32 key, h32 contents                                   another outlet's entry
//! entry = u64 last position, u32 number of series, (str code, u64 last number) per series,
//!         h32 chain head, h32 perpetual digest
//! ```

use super::{
    HeadEntry, agree, bit, contents_hash, empty_hash, entry_hash, first_difference, node_hash,
    outlet_key, prefix,
};
use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::Hash32;

/// A path from the root of a heads tree to where an outlet's key leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadsProof {
    /// From the root downwards; depths rise strictly.
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
}

/// A branch at which the path took the side of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) depth: u8,
    pub(super) sibling: Hash32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Empty,
    Entry { outlet_id: String, entry: HeadEntry },
    Fork { depth: u8, prefix: Hash32, left: Hash32, right: Hash32 },
    Other { key: Hash32, contents: Hash32 },
}

/// What a valid proof says about the outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadsVerdict<'a> {
    /// The outlet has this entry.
    Present(&'a HeadEntry),
    /// The outlet has no entry.
    Absent,
}

/// Why a heads proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadsProofError {
    /// The path ends somewhere that the outlet's key does not lead to: it proves another outlet.
    #[error("the heads proof does not follow the key of outlet {0:?}")]
    OtherPath(String),
    /// The path ends at a branch below which the outlet could still be.
    #[error("the heads proof ends before it says anything about outlet {0:?}")]
    Inconclusive(String),
    /// The path leads to another root.
    #[error("the heads proof leads to another root")]
    RootMismatch,
}

impl HeadsProof {
    /// Checks the proof against a heads root and says what it proves about the outlet.
    pub fn verify(
        &self,
        root: &Hash32,
        outlet_id: &str,
    ) -> Result<HeadsVerdict<'_>, HeadsProofError> {
        let key = outlet_key(outlet_id);
        let (mut hash, verdict) = self.end_hash(&key, outlet_id)?;
        for Step { depth, sibling } in self.steps.iter().rev() {
            let bits = prefix(&key, *depth);
            hash = if bit(&key, *depth) {
                node_hash(*depth, &bits, sibling, &hash)
            } else {
                node_hash(*depth, &bits, &hash, sibling)
            };
        }
        if hash == *root { Ok(verdict) } else { Err(HeadsProofError::RootMismatch) }
    }

    /// The hash of the place where the path ends, and what the place means for the outlet.
    fn end_hash(
        &self,
        key: &Hash32,
        outlet_id: &str,
    ) -> Result<(Hash32, HeadsVerdict<'_>), HeadsProofError> {
        let off_path = |end: &Hash32| match self.steps.last() {
            Some(step) => first_difference(key, end).is_some_and(|place| place <= step.depth),
            None => false,
        };
        match &self.end {
            End::Empty => Ok((empty_hash(), HeadsVerdict::Absent)),
            End::Entry { outlet_id: found, entry } => {
                if found != outlet_id {
                    return Err(HeadsProofError::OtherPath(outlet_id.to_owned()));
                }
                let hash = entry_hash(key, &contents_hash(found, entry));
                Ok((hash, HeadsVerdict::Present(entry)))
            }
            End::Other { key: found, contents } => {
                if off_path(found) || found == key {
                    return Err(HeadsProofError::OtherPath(outlet_id.to_owned()));
                }
                Ok((entry_hash(found, contents), HeadsVerdict::Absent))
            }
            End::Fork { depth, prefix, left, right } => {
                if agree(key, prefix, *depth) {
                    return Err(HeadsProofError::Inconclusive(outlet_id.to_owned()));
                }
                if off_path(prefix) {
                    return Err(HeadsProofError::OtherPath(outlet_id.to_owned()));
                }
                Ok((node_hash(*depth, prefix, left, right), HeadsVerdict::Absent))
            }
        }
    }

    /// The proof as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.len(self.steps.len());
        for step in &self.steps {
            writer.u8(step.depth).raw(&step.sibling);
        }
        match &self.end {
            End::Empty => {
                writer.u8(0);
            }
            End::Entry { outlet_id, entry } => {
                writer.u8(1).str(outlet_id);
                entry.encode(&mut writer);
            }
            End::Fork { depth, prefix, left, right } => {
                writer.u8(2).u8(*depth).raw(prefix).raw(left).raw(right);
            }
            End::Other { key, contents } => {
                writer.u8(3).raw(key).raw(contents);
            }
        }
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote. Depths rise strictly, so there are at most 256 steps.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..reader.len("steps")? {
            let depth = reader.u8("step depth")?;
            if steps.last().is_some_and(|above| above.depth >= depth) {
                return Err(DecodeError::Invalid("step depth"));
            }
            steps.push(Step { depth, sibling: reader.h32("step sibling")? });
        }
        let end = End::decode(&mut reader, steps.last())?;
        reader.finish()?;
        Ok(Self { steps, end })
    }
}

impl End {
    fn decode(reader: &mut Reader<'_>, above: Option<&Step>) -> Result<Self, DecodeError> {
        match reader.u8("end kind")? {
            0 if above.is_none() => Ok(Self::Empty),
            1 => {
                let outlet_id = reader.str("outlet id")?.to_owned();
                Ok(Self::Entry { outlet_id, entry: HeadEntry::decode(reader)? })
            }
            2 => {
                let depth = reader.u8("fork depth")?;
                let bits = reader.h32("fork prefix")?;
                if above.is_some_and(|above| above.depth >= depth) || bits != prefix(&bits, depth) {
                    return Err(DecodeError::Invalid("fork prefix"));
                }
                let (left, right) = (reader.h32("fork left")?, reader.h32("fork right")?);
                Ok(Self::Fork { depth, prefix: bits, left, right })
            }
            3 => Ok(Self::Other {
                key: reader.h32("other key")?,
                contents: reader.h32("other contents")?,
            }),
            _ => Err(DecodeError::Invalid("end kind")),
        }
    }
}
