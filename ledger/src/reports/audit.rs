//! Audit chunks: records with everything that is needed to check them offline.

use crate::hash::{Hash32, hex};
use crate::payload::{Object, array};
use crate::record::Record;

/// A chunk holds at most this many records; the next one comes when it was acknowledged.
pub const AUDIT_CHUNK_RECORDS_MAX: usize = 1_000;

/// The chunk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an audit chunk holds at most 1,000 records; finish it and start the next")]
pub struct AuditChunkFull;

/// A chunk being filled.
#[derive(Debug)]
pub struct AuditChunk {
    index: u64,
    records: Vec<String>,
}

impl AuditChunk {
    /// An empty chunk.
    #[must_use]
    pub fn new(index: u64) -> Self {
        Self { index, records: Vec::new() }
    }

    /// Adds a record with its signature and its inclusion proof under the chunk's checkpoint.
    pub fn push(
        &mut self,
        record: &Record<'_>,
        signature: &[u8; 64],
        inclusion: &[Hash32],
    ) -> Result<(), AuditChunkFull> {
        if self.records.len() == AUDIT_CHUNK_RECORDS_MAX {
            return Err(AuditChunkFull);
        }
        let object = Object::new()
            .text("outlet_id", record.outlet_id)
            .count("position", record.position)
            .count("leaf_index", record.leaf_index)
            .text("kind", record.kind.as_str())
            .text("fiscal_authority_id", record.authority_id)
            .text("fiscal_number", record.fiscal_number)
            .text("timestamp", &record.timestamp.to_string())
            .text("total", record.total)
            .text("currency", record.currency)
            .text("payload", &String::from_utf8_lossy(record.payload))
            .bytes("blind", &record.blind)
            .bytes("previous_hash", &record.prev_hash)
            .bytes("entry_hash", &record.entry_hash)
            .bytes("signature", signature)
            .texts(
                "inclusion",
                inclusion
                    .iter()
                    .map(|hash| hex(hash))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str),
            );
        self.records.push(object.finish());
        Ok(())
    }

    /// The chunk as JSON; the last one carries the checkpoint that the proofs lead to.
    #[must_use]
    pub fn finish(self, checkpoint: Option<&str>) -> String {
        Object::new()
            .count("chunk_index", self.index)
            .json("records", &array(self.records))
            .optional("checkpoint", checkpoint)
            .flag("last", checkpoint.is_some())
            .finish()
    }
}
