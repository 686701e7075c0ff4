//! `GET /api/v1/checkpoints/{group}`: every checkpoint of a log that is kept.

use fiscus_ledger::hash::hex;
use fiscus_ledger::time::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Caller, Scope};
use crate::http::list::{Page, PageQuery, cursor_invalid, limit, read_cursor, write_cursor};
use crate::http::{Parameters, PathOf, Problem, Problems};

/// Where a list goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    group: u64,
    below: u64,
}

/// A checkpoint that was decided.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct DecidedCheckpoint {
    /// Leaves of its tree.
    #[schema(example = 57)]
    tree_size: u64,
    /// The root of the tree, in hexadecimal.
    #[schema(example = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a")]
    root: String,
    /// The group's time when it was decided.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    decided_at: String,
    /// The signed note (C2SP tlog-checkpoint).
    #[schema(
        example = "kinshasa/g/1\n57\nS/USLzRFVMU73i67jNK349FgCtYxw4Wl18ziPHeFRZo=\n\n— kinshasa/g/1 AAAAAA==\n"
    )]
    checkpoint: String,
}

/// List the checkpoints of a log
///
/// The last one first. Each is kept for a day, and the first of every day for ever.
#[utoipa::path(
    get,
    path = "/api/v1/checkpoints/{group}",
    tag = "checkpoints",
    security(("api_key" = ["audit:read"])),
    params(("group" = u64, Path, example = 1), PageQuery),
    responses((status = 200, description = "Checkpoints", body = Page<DecidedCheckpoint>), Problems),
    extensions(("x-codes" = json!(["GROUP_UNKNOWN"])))
)]
pub(super) async fn history(
    caller: Caller,
    PathOf(group): PathOf<u64>,
    Parameters(wanted): Parameters<PageQuery>,
) -> Result<Page<DecidedCheckpoint>, Problem> {
    caller.may(Scope::AuditRead)?;
    let limit = limit(wanted.limit)?;
    let below = match wanted.cursor.as_deref().map(read_cursor::<Place>).transpose()? {
        Some(place) if place.group != group => return Err(cursor_invalid()),
        place => place.map_or(0, |place| place.below),
    };
    let (known, as_of) = caller.checkpoint_history(group, below, limit).await?;
    let next = known.last().filter(|_| known.len() == limit);
    let next_cursor =
        next.map(|(_, last)| write_cursor(&Place { group, below: last.checkpoint.size() }));
    let data = known.iter().map(|(time_ms, signed)| DecidedCheckpoint {
        tree_size: signed.checkpoint.size(),
        root: hex(signed.checkpoint.root()),
        decided_at: UnixMs::new(*time_ms).to_string(),
        checkpoint: signed.note.clone(),
    });
    Ok(Page { data: data.collect(), next_cursor, as_of: vec![as_of] })
}
