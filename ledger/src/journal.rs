//! Where apply puts new records: hashed, chained, appended to the tree, encoded.

use crate::codec::Writer;
use crate::hash::{Hash32, payload_hash};
use crate::outcome::Recorded;
use crate::record::{Record, RecordKind, SubmissionMark};
use crate::seal;
use crate::state::Id;
use crate::state::outlet::Chain;
use crate::time::UnixMs;
use crate::tree::CompactRange;

/// What a record is made from; the chain and the tree give the rest.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) outlet_id: &'a str,
    pub(crate) kind: RecordKind,
    pub(crate) authority_id: &'a str,
    pub(crate) fiscal_number: Id,
    pub(crate) total: &'a str,
    pub(crate) currency: &'a str,
    pub(crate) payload: &'a [u8],
    /// When it is known already.
    pub(crate) payload_hash: Option<Hash32>,
    pub(crate) submission: Option<SubmissionMark>,
}

impl<'a> Draft<'a> {
    /// A record that is not an invoice.
    pub(crate) fn plain(
        outlet_id: &'a str,
        kind: RecordKind,
        authority_id: &'a str,
        payload: &'a str,
    ) -> Self {
        Self {
            outlet_id,
            kind,
            authority_id,
            fiscal_number: Id::from(""),
            total: "",
            currency: "",
            payload: payload.as_bytes(),
            payload_hash: None,
            submission: None,
        }
    }

    pub(crate) fn answering(mut self, submission: SubmissionMark) -> Self {
        self.submission = Some(submission);
        self
    }
}

/// A leaf of the group's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The leaf's data: a record's entry hash, or a heads leaf.
    pub hash: Hash32,
    /// Where the record stands in the entry's journal bytes; none for a heads leaf, which is not a
    /// record and whose place in the signatures' file holds zeros.
    pub record: Option<(usize, usize)>,
}

/// A node of the group's tree that became complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNode {
    /// 0 for leaves.
    pub level: u32,
    /// Its place in the level.
    pub index: u64,
    /// Its hash.
    pub hash: Hash32,
}

/// The records of one entry, in commit order.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) records: Writer,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) nodes: Vec<TreeNode>,
    seed: Hash32,
    time: UnixMs,
}

impl Journal {
    pub(crate) fn new(seed: Hash32, time: UnixMs, commands: usize) -> Self {
        // A hint only: an entry of many small commands must not reserve memory for as many invoices.
        let commands = commands.min(1_024);
        Self {
            records: Writer::with_capacity(commands * 1_536),
            leaves: Vec::with_capacity(commands),
            nodes: Vec::with_capacity(commands * 2),
            seed,
            time,
        }
    }

    /// Appends a record to its chain and to the tree. `command` is the command's index in the entry.
    pub(crate) fn append(
        &mut self,
        tree: &mut CompactRange,
        chain: &mut Chain,
        command: u64,
        draft: Draft<'_>,
    ) -> Recorded {
        let position = chain.last_position + 1;
        let blind = seal::blind(&self.seed, command);
        let payload_hash = draft.payload_hash.unwrap_or_else(|| payload_hash(draft.payload));
        let hidden =
            seal::hidden_hash(draft.outlet_id, position, &payload_hash, &blind, &chain.head);
        let entry_hash = seal::entry_hash(
            draft.authority_id,
            &draft.fiscal_number,
            self.time.get(),
            draft.kind.as_str(),
            draft.total,
            draft.currency,
            &hidden,
        );
        let leaf_index = tree.size();
        let start = self.records.as_bytes().len();
        Record {
            outlet_id: draft.outlet_id,
            position,
            leaf_index,
            kind: draft.kind,
            authority_id: draft.authority_id,
            fiscal_number: &draft.fiscal_number,
            timestamp: self.time,
            total: draft.total,
            currency: draft.currency,
            payload: draft.payload,
            blind,
            prev_hash: chain.head,
            entry_hash,
            submission: draft.submission,
        }
        .encode(&mut self.records);
        self.push_leaf(tree, entry_hash, Some((start, self.records.as_bytes().len())));
        *chain = Chain { last_position: position, head: entry_hash, last_timestamp: self.time };
        Recorded { position, leaf_index, fiscal_number: draft.fiscal_number, timestamp: self.time }
    }

    pub(crate) fn push_leaf(
        &mut self,
        tree: &mut CompactRange,
        hash: Hash32,
        record: Option<(usize, usize)>,
    ) {
        let nodes = &mut self.nodes;
        tree.push_with(&hash, |level, index, hash| {
            nodes.push(TreeNode { level, index, hash: *hash });
        });
        self.leaves.push(Leaf { hash, record });
    }
}
