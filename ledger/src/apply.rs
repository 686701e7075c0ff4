//! One committed entry, in three steps that the types keep apart.
//!
//! ```text
//! Entry ──prepare──► Prepared ──load──► WorkingSet ──apply──► Applied { state, outcomes, effects }
//!          parse once, name the rows      fetch them       pure: no clock, no store, no chance
//! ```
//!
//! Equal state and an equal entry give equal bytes; the effects hash chains all of them.

use crate::codec::DecodeError;
use crate::commands::{Call, Command, Context, InvoiceSlot};
use crate::hash::{Hash32, Tagged};
use crate::invoice::CanonicalInvoice;
use crate::journal::{Journal, Leaf, TreeNode};
use crate::outcome::{Event, Outcome};
use crate::state::Id;
use crate::state::group::{APPLY_VERSION_MAX, Group};
use crate::state::table::NotPrefetched;
use crate::state::working::{DamagedRow, Reads, Rows, WorkingSet};
use crate::time::UnixMs;

/// One Raft entry: many commands under one stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<C> {
    /// Its place in the log; it rises.
    pub log_index: u64,
    /// The rules that it was proposed under.
    pub apply_version: u32,
    /// The leader's time.
    pub stamp: UnixMs,
    /// The leader's randomness, from which the blinds are made.
    pub seed: Hash32,
    /// The commands.
    pub commands: Vec<C>,
}

/// Why a replica must stop: its environment or its code is broken, or it is too old for the group. No
/// client's command can cause it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A bug in prefetch.
    #[error(transparent)]
    NotPrefetched(#[from] NotPrefetched),
    /// The index is damaged.
    #[error(transparent)]
    DamagedRow(#[from] DamagedRow),
    /// A waiting offline seal cannot be read back.
    #[error("the waiting seal {place} of credential {credential_id} is damaged: {source}")]
    DamagedSeal {
        /// The credential.
        credential_id: Id,
        /// The place.
        place: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// A directory document cannot be read back.
    #[error("the {kind} document {id} is damaged")]
    DamagedDocument {
        /// The kind.
        kind: &'static str,
        /// The id.
        id: Id,
    },
    /// Rules that this binary does not know; it must be upgraded, never skip.
    #[error("apply version {version} is newer than {known}, the newest that this binary knows")]
    UnknownVersion {
        /// The version asked for.
        version: u32,
        /// The newest known.
        known: u32,
    },
    /// The entry was proposed under other rules than the group follows.
    #[error(
        "entry {log_index} was proposed under apply version {entry}, but the group follows {group}"
    )]
    VersionMismatch {
        /// The entry.
        log_index: u64,
        /// Its version.
        entry: u32,
        /// The group's.
        group: u32,
    },
    /// The entry was applied before.
    #[error("entry {log_index} does not follow {applied}, the last applied one")]
    OutOfOrder {
        /// The entry.
        log_index: u64,
        /// The last applied one.
        applied: u64,
    },
    /// The stamp cannot be a time.
    #[error("entry {log_index} is stamped {stamp_ms} ms, after the year 9999")]
    StampOutOfRange {
        /// The entry.
        log_index: u64,
        /// The stamp.
        stamp_ms: u64,
    },
    /// The state was loaded for another moment than the entry was prepared for.
    #[error("the entry was prepared at index {prepared}, but the state is at {state}")]
    StateMoved {
        /// The last applied index when it was prepared.
        prepared: u64,
        /// The state's.
        state: u64,
    },
}

/// An entry whose invoices are parsed and whose reads are known.
#[derive(Debug)]
pub struct Prepared<'e, C> {
    entry: &'e Entry<C>,
    time: UnixMs,
    prepared_at: u64,
    parsed: Vec<Option<InvoiceSlot<'e>>>,
    reads: Reads,
}

/// What an entry did.
#[derive(Debug)]
pub struct Applied {
    /// The state after it.
    pub state: WorkingSet,
    /// The answers, one a command.
    pub outcomes: Vec<Outcome>,
    /// What has to be stored and told.
    pub effects: Effects,
}

/// What an entry's application has to persist, atomically.
#[derive(Debug, PartialEq, Eq)]
pub struct Effects {
    /// The entry.
    pub log_index: u64,
    /// The new leaves' first index.
    pub first_leaf: u64,
    /// The new leaves, in order; each record is a range of `records`.
    pub leaves: Vec<Leaf>,
    /// The encoded records.
    pub records: Vec<u8>,
    /// Tree nodes that became complete.
    pub nodes: Vec<TreeNode>,
    /// The changed rows.
    pub rows: Rows,
    /// The group's own row.
    pub group_row: Vec<u8>,
    /// Signatures that became durable, one a leaf from `signatures_from` on.
    pub signatures: Vec<[u8; 64]>,
    /// The leaf of the first of them.
    pub signatures_from: u64,
    /// What people must hear of.
    pub events: Vec<Event>,
}

impl<'e, C: Command> Prepared<'e, C> {
    /// Step one: parses what the commands carry, under the manifest in force at the entry's time, and
    /// names the rows that they read. A manifest that comes with the entry counts from the next one.
    pub fn new(entry: &'e Entry<C>, group: &Group) -> Result<Self, ApplyError> {
        check_entry(entry, group)?;
        let time = group.time.max(entry.stamp);
        let mut reads = Reads::default();
        let mut parsed: Vec<_> = entry
            .commands
            .iter()
            .map(|command| {
                let slot = command.parse(group, time);
                command.read(slot.as_ref(), &mut reads);
                slot
            })
            .collect();
        let invoices = parsed.iter_mut().flatten().filter_map(InvoiceSlot::accepted);
        CanonicalInvoice::hash_payloads(&mut invoices.collect::<Vec<_>>());
        Ok(Self { entry, time, prepared_at: group.log_index, parsed, reads })
    }

    /// The rows to load.
    #[must_use]
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Step two: applies the commands in their order; each sees what the ones before it did.
    pub fn apply(self, mut state: WorkingSet) -> Result<Applied, ApplyError> {
        if state.group.log_index != self.prepared_at {
            let state = state.group.log_index;
            return Err(ApplyError::StateMoved { prepared: self.prepared_at, state });
        }
        state.group.time = self.time;
        state.group.log_index = self.entry.log_index;
        let first_leaf = state.group.tree.size();
        let signatures_from = state.group.signed_leaves;
        let mut journal = Journal::new(self.entry.seed, self.time, self.entry.commands.len());
        let mut outcomes = Vec::with_capacity(self.entry.commands.len());
        let mut events = Vec::new();
        let mut signatures = Vec::new();
        for ((index, command), parsed) in (0..).zip(&self.entry.commands).zip(self.parsed) {
            let cx = Context {
                state: &mut state,
                journal: &mut journal,
                events: &mut events,
                signatures: &mut signatures,
                index,
            };
            outcomes.push(command.run(Call { cx, parsed })?);
        }
        let effects = seal_effects(
            &mut state,
            Parts { first_leaf, journal, signatures, signatures_from, events },
        );
        Ok(Applied { state, outcomes, effects })
    }
}

/// Prepares, loads and applies in one go.
pub fn apply_entry<C: Command>(
    entry: &Entry<C>,
    group: Group,
    fetch: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Result<Applied, ApplyError> {
    let prepared = Prepared::new(entry, &group)?;
    let state = WorkingSet::load(group, prepared.reads(), fetch)?;
    prepared.apply(state)
}

struct Parts {
    first_leaf: u64,
    journal: Journal,
    signatures: Vec<[u8; 64]>,
    signatures_from: u64,
    events: Vec<Event>,
}

/// Step three: gathers what changed and chains its hash.
fn seal_effects(state: &mut WorkingSet, parts: Parts) -> Effects {
    for (id, head) in state.changed_heads() {
        state.group.heads_pending.insert(id, head);
    }
    let rows = state.changed_rows();
    let records = parts.journal.records.finish();
    let group = &mut state.group;
    // Entry hashes cover all that their records say but the submissions, which are rows. The group's
    // row still holds the hash before this entry, so the new one covers the whole group, too.
    let leaves: Vec<u8> = parts.journal.leaves.iter().flat_map(|leaf| leaf.hash).collect();
    group.effects_hash = Tagged::new("fiscus/effects/v1")
        .h32(&group.effects_hash)
        .u64(group.log_index)
        .h32(blake3::hash(&leaves).as_bytes())
        .h32(blake3::hash(rows.as_bytes()).as_bytes())
        .bytes(&group.stored_row())
        .bytes(parts.signatures.as_flattened())
        .finish();
    Effects {
        log_index: group.log_index,
        first_leaf: parts.first_leaf,
        leaves: parts.journal.leaves,
        records,
        nodes: parts.journal.nodes,
        rows,
        group_row: group.stored_row(),
        signatures: parts.signatures,
        signatures_from: parts.signatures_from,
        events: parts.events,
    }
}

fn check_entry<C>(entry: &Entry<C>, group: &Group) -> Result<(), ApplyError> {
    let log_index = entry.log_index;
    if entry.apply_version > APPLY_VERSION_MAX {
        let version = entry.apply_version;
        return Err(ApplyError::UnknownVersion { version, known: APPLY_VERSION_MAX });
    }
    if entry.apply_version != group.apply_version {
        return Err(ApplyError::VersionMismatch {
            log_index,
            entry: entry.apply_version,
            group: group.apply_version,
        });
    }
    if log_index <= group.log_index {
        return Err(ApplyError::OutOfOrder { log_index, applied: group.log_index });
    }
    if entry.stamp > UnixMs::MAX {
        return Err(ApplyError::StampOutOfRange { log_index, stamp_ms: entry.stamp.get() });
    }
    Ok(())
}
