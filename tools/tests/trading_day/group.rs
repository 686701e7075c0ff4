//! One group of a cluster, in memory: the real core, and in place of replication and storage a map.
//!
//! ```text
//! commands ─► Entry ─► apply_entry ─► effects ─► rows, records, nodes ─► sign ─► next entry carries
//!                                                                              the signatures
//! ```
//!
//! Invariant: a record is signed only after its entry was applied, as a cluster signs only what is
//! committed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::apply::{Effects, Entry, apply_entry};
use fiscus_ledger::commands::{AttachSignatures, GroupCommand, SystemCommand};
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::outcome::Outcome;
use fiscus_ledger::record::Record;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::Block;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_ledger::tree::inclusion_proof;

use crate::random::random_bytes;

/// What a heads leaf, which nobody signs, has in place of a signature.
const NO_SIGNATURE: [u8; 64] = [0; 64];

/// The group and everything that its effects have stored.
pub(crate) struct MemoryGroup {
    pub(crate) state: Group,
    key: SigningKey,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    nodes: BTreeMap<(u32, u64), Hash32>,
    /// The stored record of each leaf; none for a heads leaf.
    records: Vec<Option<Vec<u8>>>,
    signatures: Vec<[u8; 64]>,
}

impl MemoryGroup {
    /// Group 1 of a cluster, before its first entry; `key` is its authority's.
    pub(crate) fn new(cluster: &str, key: SigningKey) -> Self {
        Self {
            state: Group::new(cluster, 1),
            key,
            rows: BTreeMap::new(),
            nodes: BTreeMap::new(),
            records: Vec::new(),
            signatures: Vec::new(),
        }
    }

    /// Applies one command in an entry of its own, with the signatures of the entry before.
    pub(crate) fn commit(&mut self, stamp: UnixMs, command: GroupCommand) -> Result<Outcome> {
        let attached = AttachSignatures {
            first_leaf: self.state.signed_leaves,
            signatures: self.signatures.split_off(self.position_of_unattached()?),
        };
        let entry = Entry {
            log_index: self.state.log_index + 1,
            apply_version: self.state.apply_version,
            stamp,
            seed: random_bytes()?,
            commands: vec![
                GroupCommand::System(SystemCommand::AttachSignatures(attached)),
                command,
            ],
        };
        let applied = apply_entry(&entry, self.state.clone(), |key| self.rows.get(key).cloned())?;
        self.state = applied.state.group;
        self.store(&applied.effects)?;
        applied.outcomes.into_iter().next_back().context("an entry answers each of its commands")
    }

    /// The records with their signatures, in commit order.
    pub(crate) fn records(&self) -> Result<Vec<(Record<'_>, &[u8; 64])>> {
        let signed = self.records.iter().zip(&self.signatures);
        signed
            .filter_map(|(bytes, signature)| Some((bytes.as_ref()?, signature)))
            .map(|(bytes, signature)| Ok((Record::decode(bytes)?, signature)))
            .collect()
    }

    /// The record at a leaf.
    pub(crate) fn record(&self, leaf: u64) -> Result<(Record<'_>, &[u8; 64])> {
        let at = usize::try_from(leaf)?;
        let bytes = self.records.get(at).and_then(Option::as_ref).context("no record there")?;
        Ok((Record::decode(bytes)?, self.signatures.get(at).context("the record is not signed")?))
    }

    /// A block of lent numbers.
    pub(crate) fn block(&self, credential_id: &str) -> Result<Block> {
        let stored = self.rows.get(&Block::stored_key(&Id::from(credential_id)));
        Ok(Block::from_stored(stored.context("no such block")?)?)
    }

    /// Proves that a leaf is in the tree of `size` leaves.
    pub(crate) fn prove(&self, size: u64, leaf: u64) -> Result<Vec<Hash32>> {
        let node = |level, index| self.nodes.get(&(level, index)).copied();
        Ok(inclusion_proof(size, leaf, &node)?)
    }

    fn position_of_unattached(&self) -> Result<usize> {
        Ok(usize::try_from(self.state.signed_leaves)?)
    }

    /// What a replica writes in one transaction; then its signer signs the new records.
    fn store(&mut self, effects: &Effects) -> Result<()> {
        for (key, row) in effects.rows.iter() {
            match row {
                Some(row) => self.rows.insert(key.to_vec(), row.to_vec()),
                None => self.rows.remove(key),
            };
        }
        self.nodes.extend(effects.nodes.iter().map(|node| ((node.level, node.index), node.hash)));
        // The entry carried the signatures that were taken out for it; they are durable now.
        let attached_from = usize::try_from(effects.signatures_from)?;
        ensure!(self.signatures.len() == attached_from, "signatures were lost");
        self.signatures.extend(&effects.signatures);
        ensure!(self.signatures.len() == self.records.len(), "a record was never signed");
        for leaf in &effects.leaves {
            let record = leaf.record.map(|(start, end)| effects.records[start..end].to_vec());
            let signature = match &record {
                Some(_) => self.key.sign(&leaf.hash).to_bytes(),
                None => NO_SIGNATURE,
            };
            self.records.push(record);
            self.signatures.push(signature);
        }
        Ok(())
    }
}
