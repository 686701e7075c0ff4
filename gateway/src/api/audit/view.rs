//! How exports, their chunks and proofs are answered.

use fiscus_ledger::time::UnixMs;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Export;
use crate::http::Problem;
use crate::place_id::PlaceId;

/// An audit export.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ExportView {
    /// Its id.
    #[schema(example = "e-b3V0bGV0LWdvbWJl-0")]
    export_id: String,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// When it was asked for.
    #[schema(example = "2026-11-28T18:05:00.000Z")]
    created_at: String,
    /// The name of the key that asked for it.
    #[schema(example = "auditor")]
    created_by: String,
    /// The first record.
    #[schema(example = 1)]
    from_position: u64,
    /// The last record.
    #[schema(example = 2_345)]
    to_position: u64,
    /// How many records it has.
    #[schema(example = 2_345)]
    records: u64,
    /// How many chunks they are in.
    #[schema(example = 3)]
    chunks: u64,
    /// Chunks that the client has acknowledged.
    #[schema(example = 1)]
    acknowledged: u64,
    /// The chunk that may be read next; absent when all are acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1)]
    next_chunk: Option<u64>,
    /// The size of the tree that all proofs lead to.
    #[schema(example = 2_411)]
    tree_size: u64,
    /// The signed note of that tree (C2SP tlog-checkpoint).
    #[schema(
        example = "kinshasa/g/1\n2411\nS/USLzRFVMU73i67jNK349FgCtYxw4Wl18ziPHeFRZo=\n\n— kinshasa/g/1 AAAAAA==\n"
    )]
    checkpoint: String,
}

impl ExportView {
    pub(super) fn of(export: &Export, number: u64, acknowledged: u64) -> Self {
        let chunks = export.chunks();
        Self {
            export_id: PlaceId::new('e', &export.outlet_id, number).to_string(),
            outlet_id: export.outlet_id.clone(),
            created_at: UnixMs::new(export.made_ms).to_string(),
            created_by: export.made_by.clone(),
            from_position: export.from_position,
            to_position: export.to_position,
            records: export.records(),
            chunks,
            acknowledged,
            next_chunk: (acknowledged < chunks).then_some(acknowledged),
            tree_size: export.tree_size,
            checkpoint: export.checkpoint.clone(),
        }
    }
}

/// There is none for this caller.
pub(super) fn unknown(export_id: &str) -> Problem {
    let detail = format!(
        "there is no export {export_id:?}; an outlet keeps the last hundred, so begin a new one"
    );
    Problem::not_found("EXPORT_UNKNOWN", detail)
}

/// A chunk of an export. It is written by the ledger; this describes it.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it is only described here")]
pub(super) struct AuditChunk {
    /// Which, from 0.
    #[schema(example = 0)]
    chunk_index: u64,
    /// At most 1,000 records that follow each other.
    records: Vec<AuditRecord>,
    /// In the last chunk: the signed note that all proofs of the export lead to.
    checkpoint: Option<String>,
    /// Whether it is the last one.
    last: bool,
}

/// A record with everything that is needed to check it offline.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "it is only described here")]
pub(super) struct AuditRecord {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The place in the outlet's journal, from 1, without gaps.
    #[schema(example = 1)]
    position: u64,
    /// The place in the group's tree, from 0.
    #[schema(example = 3)]
    leaf_index: u64,
    /// What it is about.
    #[schema(example = "sale")]
    kind: String,
    /// The key that signed.
    #[schema(example = "kinshasa-live.3f9a1c0b7d24e865")]
    fiscal_authority_id: String,
    /// Of an invoice: its number; else empty.
    #[schema(example = "KIN-GOMBE-1")]
    fiscal_number: String,
    /// The trusted time.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    timestamp: String,
    /// Of an invoice: its total; else empty.
    #[schema(example = "1160.00")]
    total: String,
    /// Of an invoice: its currency; else empty.
    #[schema(example = "CDF")]
    currency: String,
    /// The canonical payload, as text.
    #[schema(example = "{\"merchant_nif\":\"A1234567B\"}")]
    payload: String,
    /// What the payload's hash was hidden with, in hexadecimal.
    blind: String,
    /// The entry hash of the record before it.
    previous_hash: String,
    /// What is signed and is the tree's leaf.
    entry_hash: String,
    /// Ed25519 over the entry hash.
    signature: String,
    /// The way from the leaf to the root (RFC 6962), nearest the leaf first.
    inclusion: Vec<String>,
}
