//! Rows that name the open blocks by the end of their grace, so that a look for those whose time has run out
//! costs nothing when there are none.
//!
//! Invariant: there is exactly one for each block that is not closed. They come from the blocks' rows alone,
//! are written with the entry that changed the block, and are compared with the blocks when a backup is
//! checked.

use fiscus_ledger::apply::Effects;
use fiscus_ledger::codec::Reader;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::Block;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;

use crate::index::Batch;
use crate::store::read::Reading;
use crate::store::replica::StoreError;

/// First byte of these rows, which are empty.
pub(crate) const OPEN_BLOCK_TABLE: u8 = 0xC2;

/// The key of the row that says until when a block stays open.
pub(crate) fn open_block_key(until: UnixMs, credential_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(credential_id.len() + 9);
    key.push(OPEN_BLOCK_TABLE);
    key.extend_from_slice(&until.get().to_be_bytes());
    key.extend_from_slice(credential_id.as_bytes());
    key
}

/// Brings the rows up to what an entry has made of blocks. A block's own row stays when it is closed.
pub(crate) fn note_open_blocks(batch: &mut Batch, effects: &Effects) {
    let encoded = "apply encoded the block just now";
    for (key, row) in effects.rows.iter().filter(|(key, _)| key[0] == Block::TABLE) {
        let Some(row) = row else { continue };
        let credential_id = Reader::new(&key[1..]).str("credential").expect(encoded).to_owned();
        let block = Block::from_stored(row).expect(encoded);
        let open_key = open_block_key(block.grace_end(), &credential_id);
        match block.closed {
            None => batch.put(open_key, []),
            Some(_) => batch.delete(open_key),
        };
    }
}

impl Reading {
    /// Credentials whose blocks are open although the grace has ended at the group's time, the oldest
    /// first, at most `limit`.
    pub fn lapsed_blocks(&self, limit: usize) -> Result<Vec<Id>, StoreError> {
        let now = open_block_key(UnixMs::new(self.as_of().time_ms), "");
        let rows = self.range(&[OPEN_BLOCK_TABLE], Some(&now), limit)?;
        let names = rows.iter().map(|(key, _)| {
            let id = key.get(now.len()..).and_then(|id| std::str::from_utf8(id).ok());
            id.map(Id::from).ok_or_else(|| self.unreadable("open block key", "it is not text"))
        });
        names.collect()
    }
}
