//! `GET /api/v1/audit/proofs/range` and `…/absence`: that nothing is missing, and that an outlet does not exist.

use axum::Json;
use axum::response::Response;
use fiscus_ledger::hash::{Hash32, hex};
use futures_util::StreamExt;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::export::{Wanted, send};
use crate::access::{Caller, CompleteRange, Outlet, ProvenHeads, Scope};
use crate::http::{Parameters, Problem, Problems};

/// What a version of the heads tree says of an outlet, and where it stands in the log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeadsView {
    /// The leaf of the version, from 0.
    #[schema(example = 41)]
    leaf_index: u64,
    /// The root of the heads tree, in hexadecimal.
    #[schema(example = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a")]
    root: String,
    /// The way from the root to the outlet, or to where it would be, in hexadecimal.
    #[schema(example = "0000000000")]
    proof: String,
    /// The way from the leaf to the checkpoint's root (RFC 6962), nearest the leaf first.
    inclusion: Vec<String>,
}

impl HeadsView {
    fn of(heads: &ProvenHeads) -> Self {
        Self {
            leaf_index: heads.leaf_index,
            root: hex(&heads.root),
            proof: hex(&heads.proof),
            inclusion: heads.inclusion.iter().map(|hash: &Hash32| hex(hash)).collect(),
        }
    }
}

/// The first line of a range that is complete.
#[derive(Debug, Serialize)]
struct RangeHead<'a> {
    format: &'static str,
    cluster: &'a str,
    group: u64,
    outlet_id: &'a str,
    tree_size: u64,
    checkpoint: &'a str,
    start: Option<HeadsView>,
    end: HeadsView,
    records: u64,
}

/// The cluster that an origin names.
fn cluster_of(origin: &str) -> &str {
    origin.rsplit_once("/g/").map_or(origin, |(cluster, _)| cluster)
}

fn head(outlet: &Outlet, complete: &CompleteRange) -> Result<String, Problem> {
    let checkpoint = &complete.pinned.checkpoint;
    let head = RangeHead {
        format: "fiscus/range-proof/v1",
        cluster: cluster_of(checkpoint.origin()),
        group: outlet.entry().group(),
        outlet_id: outlet.id(),
        tree_size: checkpoint.size(),
        checkpoint: &complete.pinned.note,
        start: complete.start.as_ref().map(HeadsView::of),
        end: HeadsView::of(&complete.end),
        records: complete.to + 1 - complete.from,
    };
    let line = serde_json::to_string(&head);
    line.map(|line| line + "\n").map_err(|error| Problem::internal(&error.to_string()))
}

/// Prove that a range is complete
///
/// Lines of JSON. The first holds two proofs of the heads tree, which say how far the outlet's journal was at one leaf of
/// the log and at another; each further one is a record between them. Each names the hash of the record before it, so
/// that these are all there are. Since the heads tree is kept about once a minute for a day, and once a day for ever, the
/// records begin with or before the first one asked for, and end with or after the last.
#[utoipa::path(
    get,
    path = "/api/v1/audit/proofs/range",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(Wanted),
    responses(
        (status = 200, description = "The proofs, then the records, one a line", body = String, content_type = "application/x-ndjson"),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "RANGE_EMPTY", "RANGE_INVALID", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn range(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    caller.may(Scope::AuditRead)?;
    let outlet = caller.outlet(wanted.outlet_id())?;
    let range = outlet.range(&wanted.range()?).await?;
    let complete = outlet.complete(&range).await?;
    let head = head(&outlet, &complete)?;
    let lines = outlet.lines(complete.from, complete.to);
    let pieces = stream::once(async { Ok(head) }).chain(lines);
    send(caller, &outlet, pieces, "application/x-ndjson").await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichOutlet {
    /// The group.
    #[param(example = 1)]
    group: u64,
    /// The outlet that should not be there.
    #[param(example = "outlet-nowhere", min_length = 1, max_length = 64)]
    outlet_id: String,
}

/// That a group has no such outlet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AbsenceView {
    /// What this is.
    #[schema(example = "fiscus/absence-proof/v1")]
    format: &'static str,
    /// The cluster.
    #[schema(example = "kinshasa")]
    cluster: String,
    /// The group.
    #[schema(example = 1)]
    group: u64,
    /// The outlet.
    #[schema(example = "outlet-nowhere")]
    outlet_id: String,
    /// The size of the checkpoint's tree.
    #[schema(example = 57)]
    tree_size: u64,
    /// The signed note (C2SP tlog-checkpoint).
    #[schema(
        example = "kinshasa/g/1\n57\nS/USLzRFVMU73i67jNK349FgCtYxw4Wl18ziPHeFRZo=\n\n— kinshasa/g/1 AAAAAA==\n"
    )]
    checkpoint: String,
    /// A path of the heads tree that ends elsewhere.
    heads: HeadsView,
}

/// Prove that an outlet does not exist
///
/// In one group, as of now; an outlet that does not exist is absent from every group. For keys of the whole organisation.
/// That the group has such an outlet is answered as such, whosever it is: there is no proof that could be given instead.
#[utoipa::path(
    get,
    path = "/api/v1/audit/proofs/absence",
    tag = "audit",
    security(("api_key" = ["audit:read"])),
    params(WhichOutlet),
    responses((status = 200, description = "The proof", body = AbsenceView), Problems),
    extensions(("x-codes" = json!(["GROUP_UNKNOWN", "OUTLET_EXISTS", "KEY_LIMITED", "CHECKPOINT_PENDING"])))
)]
pub(super) async fn absence(
    caller: Caller,
    Parameters(wanted): Parameters<WhichOutlet>,
) -> Result<Json<AbsenceView>, Problem> {
    let WhichOutlet { group, outlet_id } = wanted;
    if !(1..=64).contains(&outlet_id.len()) {
        return Err(crate::http::parameters::invalid("outlet_id", "must have 1 to 64 bytes"));
    }
    let absent = caller.absent(group, &outlet_id).await?;
    let checkpoint = &absent.pinned.checkpoint;
    Ok(Json(AbsenceView {
        format: "fiscus/absence-proof/v1",
        cluster: cluster_of(checkpoint.origin()).to_owned(),
        group,
        outlet_id,
        tree_size: checkpoint.size(),
        checkpoint: absent.pinned.note.clone(),
        heads: HeadsView::of(&absent.heads),
    }))
}
