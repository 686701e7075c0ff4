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

/// A chunk being written, piece by piece: the pieces one after the other are the chunk. It keeps nothing of
/// what was written.
#[derive(Debug)]
pub struct AuditChunkWriter {
    records: usize,
}

impl AuditChunkWriter {
    /// Begins a chunk.
    #[must_use]
    pub fn begin(index: u64) -> (Self, String) {
        let open = Object::new().count("chunk_index", index).finish();
        let open = open.strip_suffix('}').unwrap_or(&open);
        (Self { records: 0 }, format!("{open},\"records\":["))
    }

    /// Adds a record with its signature and its inclusion proof under the export's checkpoint.
    pub fn record(
        &mut self,
        record: &Record<'_>,
        signature: &[u8; 64],
        inclusion: &[Hash32],
    ) -> Result<String, AuditChunkFull> {
        if self.records == AUDIT_CHUNK_RECORDS_MAX {
            return Err(AuditChunkFull);
        }
        let text = record_text(record, signature, inclusion);
        self.records += 1;
        Ok(if self.records == 1 { text } else { format!(",{text}") })
    }

    /// Ends the chunk; the last one of an export carries the checkpoint that the proofs lead to.
    #[must_use]
    pub fn finish(self, checkpoint: Option<&str>) -> String {
        let close = Object::new()
            .optional("checkpoint", checkpoint)
            .flag("last", checkpoint.is_some())
            .finish();
        format!("],{}", close.strip_prefix('{').unwrap_or(&close))
    }
}

/// A record with its signature on a line of its own, without an inclusion proof.
#[must_use]
pub fn audit_line(record: &Record<'_>, signature: &[u8; 64]) -> String {
    fields(record, signature).finish() + "\n"
}

fn record_text(record: &Record<'_>, signature: &[u8; 64], inclusion: &[Hash32]) -> String {
    let inclusion: Vec<String> = inclusion.iter().map(|hash| hex(hash)).collect();
    fields(record, signature).texts("inclusion", inclusion.iter().map(String::as_str)).finish()
}

fn fields(record: &Record<'_>, signature: &[u8; 64]) -> Object {
    Object::new()
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
}

/// A chunk being filled in memory.
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
        self.records.push(record_text(record, signature, inclusion));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;
    use crate::time::UnixMs;

    fn record(position: u64) -> Record<'static> {
        Record {
            outlet_id: "outlet-1",
            position,
            leaf_index: position + 7,
            kind: RecordKind::ZClosure,
            authority_id: "authority",
            fiscal_number: "",
            timestamp: UnixMs::new(1_790_000_000_000),
            total: "",
            currency: "",
            payload: b"{\"report\":\"z\"}",
            blind: [1; 32],
            prev_hash: [2; 32],
            entry_hash: [3; 32],
            submission: None,
        }
    }

    #[test]
    fn the_pieces_are_the_chunk() {
        for (records, checkpoint) in [(0, None), (1, Some("note\n")), (3, None), (3, Some("n"))] {
            let mut whole = AuditChunk::new(4);
            let (mut writer, mut pieces) = AuditChunkWriter::begin(4);
            for position in 1..=records {
                let record = record(position);
                whole.push(&record, &[5; 64], &[[6; 32]]).expect("there is room");
                pieces += &writer.record(&record, &[5; 64], &[[6; 32]]).expect("there is room");
            }
            pieces += &writer.finish(checkpoint);
            assert_eq!(pieces, whole.finish(checkpoint));
        }
    }

    #[test]
    fn a_chunk_ends_at_its_limit() {
        let (mut writer, _) = AuditChunkWriter::begin(0);
        for _ in 0..AUDIT_CHUNK_RECORDS_MAX {
            writer.record(&record(1), &[0; 64], &[]).expect("there is room");
        }
        assert_eq!(writer.record(&record(1), &[0; 64], &[]), Err(AuditChunkFull));
    }
}
