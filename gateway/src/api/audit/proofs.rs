//! `GET /api/v1/audit/proofs/…`: that a record is in the log, and that the log only grows.

use axum::Json;
use fiscus_ledger::hash::hex;
use fiscus_ledger::record::Record;
use fiscus_proto::ledger::{Consistency, JournalRecord};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, Outlet, Scope};
use crate::api::checkpoints::CheckpointView;
use crate::http::parameters::invalid;
use crate::http::{Parameters, Problem, Problems};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichRecord {
    /// The invoice with this number; or else `outlet_id` and `position`.
    #[param(example = "KIN-GOMBE-1")]
    fiscal_number: Option<String>,
    /// The outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: Option<String>,
    /// The place in its journal.
    #[param(minimum = 1)]
    position: Option<u64>,
    /// The size of the tree; that of the last checkpoint unless said.
    #[param(minimum = 1)]
    size: Option<u64>,
}

/// That a record is in the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InclusionView {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The place in its journal.
    #[schema(example = 1)]
    position: u64,
    /// Of an invoice: its number; else empty.
    #[schema(example = "KIN-GOMBE-1")]
    fiscal_number: String,
    /// The leaf's data.
    entry_hash: String,
    /// The group.
    #[schema(example = 1)]
    group: u64,
    /// The place in its tree, from 0.
    #[schema(example = 3)]
    leaf_index: u64,
    /// The size of the tree that the hashes lead to.
    #[schema(example = 57)]
    tree_size: u64,
    /// RFC 6962, nearest the leaf first, in hexadecimal.
    hashes: Vec<String>,
    /// The last checkpoint, when it is of this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointView>,
}

/// Prove that a record is in the log
///
/// The leaf is SHA-256(0 ‖ entry hash); the hashes lead from it to the root of a tree. Without `size` that is the
/// tree of the last checkpoint, which is waited for when the record is new.
#[utoipa::path(
    get,
    path = "/api/v1/audit/proofs/inclusion",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(WhichRecord),
    responses((status = 200, description = "The proof", body = InclusionView), Problems),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "OUTLET_UNKNOWN", "RECORD_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn inclusion(
    caller: Caller,
    Parameters(wanted): Parameters<WhichRecord>,
) -> Result<Json<InclusionView>, Problem> {
    caller.may(Scope::AuditRead)?;
    let (outlet, sealed) = record(&caller, &wanted).await?;
    let record = Record::decode(&sealed.record)
        .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
    let last = outlet.checkpoint_over(record.leaf_index).await?;
    let known = last.checkpoint.size();
    let size = wanted.size.unwrap_or(known);
    if !(record.leaf_index + 1..=known).contains(&size) {
        let detail = format!("must be {} to {known}", record.leaf_index + 1);
        return Err(invalid("size", detail));
    }
    let proofs = outlet.inclusion(vec![record.leaf_index], size, outlet.time_left()).await?;
    let hashes = proofs.iter().flatten().map(|hash| hex(hash)).collect();
    Ok(Json(InclusionView {
        outlet_id: record.outlet_id.to_owned(),
        position: record.position,
        fiscal_number: record.fiscal_number.to_owned(),
        entry_hash: hex(&record.entry_hash),
        group: outlet.entry().group(),
        leaf_index: record.leaf_index,
        tree_size: size,
        hashes,
        checkpoint: (size == known).then(|| CheckpointView::of(&last)),
    }))
}

async fn record(caller: &Caller, wanted: &WhichRecord) -> Result<(Outlet, JournalRecord), Problem> {
    match (&wanted.fiscal_number, &wanted.outlet_id, wanted.position) {
        (Some(number), None, None) => {
            let outlet = caller.outlet_of_number(number)?;
            let found = outlet.invoice(number, Consistency::Linearizable).await?.record;
            let detail = format!("there is no invoice {number:?}");
            let record = found.ok_or_else(|| Problem::not_found("INVOICE_UNKNOWN", detail))?;
            Ok((outlet, record))
        }
        (None, Some(outlet), Some(position)) => {
            let outlet = caller.outlet(outlet)?;
            let found = outlet.record_at(position).await?;
            let detail = format!("there is no record {position} of this outlet");
            let record = found.ok_or_else(|| Problem::not_found("RECORD_UNKNOWN", detail))?;
            Ok((outlet, record))
        }
        _ => Err(invalid("fiscal_number", "name either fiscal_number, or outlet_id and position")),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichTrees {
    /// The group.
    #[param(example = 1)]
    group: u64,
    /// The size of the earlier tree.
    #[param(example = 1, minimum = 0)]
    from_size: u64,
    /// The size of the later tree; that of the last checkpoint unless said.
    #[param(minimum = 0)]
    size: Option<u64>,
}

/// That a log only grew.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsistencyView {
    /// The group.
    #[schema(example = 1)]
    group: u64,
    /// The size of the earlier tree.
    #[schema(example = 41)]
    from_size: u64,
    /// The size of the later tree.
    #[schema(example = 57)]
    tree_size: u64,
    /// RFC 6962, in hexadecimal.
    hashes: Vec<String>,
    /// The last checkpoint, when it is of this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointView>,
}

/// Prove that the log only grew
///
/// That the later tree begins with the earlier one: nothing was changed or cut off since an older checkpoint.
#[utoipa::path(
    get,
    path = "/api/v1/audit/proofs/consistency",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(WhichTrees),
    responses((status = 200, description = "The proof", body = ConsistencyView), Problems),
    extensions(("x-codes" = json!(["GROUP_UNKNOWN", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn consistency(
    caller: Caller,
    Parameters(wanted): Parameters<WhichTrees>,
) -> Result<Json<ConsistencyView>, Problem> {
    caller.may(Scope::AuditRead)?;
    let last = caller.checkpoint_of(wanted.group).await?;
    let known = last.checkpoint.size();
    let size = wanted.size.unwrap_or(known);
    if size > known {
        return Err(invalid("size", format!("must be at most {known}")));
    }
    if wanted.from_size > size {
        return Err(invalid("from_size", format!("must be at most {size}")));
    }
    let hashes = caller.consistency(wanted.group, wanted.from_size, size).await?;
    Ok(Json(ConsistencyView {
        group: wanted.group,
        from_size: wanted.from_size,
        tree_size: size,
        hashes: hashes.iter().map(|hash| hex(hash)).collect(),
        checkpoint: (size == known).then(|| CheckpointView::of(&last)),
    }))
}
