//! A group's log as standard clients read it: its checkpoint, and its tree in tiles.
//!
//! Invariant: nothing is given out that the last decided checkpoint does not cover.

use fiscus_proto::ledger as wire;
use fiscus_raft::store::{ProofError, TILE_WIDTH};
use prost::bytes::{Bytes, BytesMut};
use tonic::Status;

use super::ledger::{LedgerService, as_of, failed};
use crate::checkpoints;
use crate::groups::Hosted;

/// Checkpoints of one answer.
const CHECKPOINTS_MAX: usize = 500;
/// The tree has at most so many levels of tiles that anybody asks for.
const LEVEL_MAX: u32 = 63;

impl LedgerService {
    pub(super) async fn checkpoint(
        &self,
        request: wire::ReadCheckpointRequest,
    ) -> Result<wire::ReadCheckpointResponse, Status> {
        let hosted = self.group(request.group)?;
        let reading = self.reading(&hosted, request.consistency).await?;
        // What is decided later than the reading is no less right.
        let decided = hosted.handle.replica().progress().borrow().decided.clone();
        let signed = decided.map(|tuple| {
            checkpoints::signed(&self.context, request.group, tuple.size, &tuple.root)
        });
        let checkpoint = signed.transpose().map_err(|error| {
            Status::unavailable(format!("no checkpoint is signed on this node: {error}"))
        })?;
        let as_of = Some(as_of(reading.as_of()));
        Ok(wire::ReadCheckpointResponse { as_of, checkpoint: checkpoint.unwrap_or_default() })
    }

    /// Checkpoints that were decided, each with its signature.
    pub(super) async fn checkpoints_of(
        &self,
        request: wire::ListCheckpointsRequest,
    ) -> Result<wire::ListCheckpointsResponse, Status> {
        let below = if request.below_size == 0 { u64::MAX } else { request.below_size };
        let limit = match usize::try_from(request.limit) {
            Ok(limit @ 1..CHECKPOINTS_MAX) => limit,
            _ => CHECKPOINTS_MAX,
        };
        self.search(request.group, request.consistency, move |service, _, reading| {
            let known = reading.decided_checkpoints(below, limit);
            let signed = known.map_err(|error| failed(&error))?.into_iter().map(|known| {
                let (size, root) = (known.size, &known.root);
                let note = checkpoints::signed(&service.context, request.group, size, root);
                let note = note.map_err(|error| Status::unavailable(error.to_string()))?;
                Ok(wire::DecidedCheckpoint { size, time_ms: known.time_ms, checkpoint: note })
            });
            let checkpoints = signed.collect::<Result<_, Status>>()?;
            let as_of = Some(as_of(reading.as_of()));
            Ok(wire::ListCheckpointsResponse { as_of, checkpoints })
        })
        .await
    }

    pub(super) async fn tile(
        &self,
        request: wire::ReadTileRequest,
    ) -> Result<wire::ReadTileResponse, Status> {
        let width = u64::from(request.width);
        if !(1..=TILE_WIDTH).contains(&width) {
            return Err(Status::invalid_argument("a tile has 1 to 256 hashes"));
        }
        if request.level.is_some_and(|level| level > LEVEL_MAX) {
            return Err(Status::invalid_argument("there are 64 levels of tiles"));
        }
        let hosted = self.group(request.group)?;
        if !covers(decided_size(&hosted), &request) {
            // A replica that is behind would deny what another one has published.
            self.catch_up(&hosted).await?;
        }
        drop(hosted);
        let local = wire::Consistency::Local.into();
        self.search(request.group, local, move |_, hosted, reading| {
            let size = decided_size(hosted).min(reading.as_of().leaves);
            let tile = match request.level {
                Some(level) => reading.tile(level, request.index, width, size),
                None => reading.tile_entries(request.index, width, size),
            };
            let tile = tile.map_err(|error| match error {
                ProofError::Store(error) => failed(&error),
                ProofError::Prove(error) => failed(&error),
                error @ ProofError::Size { .. } => Status::unavailable(error.to_string()),
            })?;
            let what = "the last checkpoint does not cover this tile";
            let tile = tile.ok_or_else(|| Status::out_of_range(what))?;
            let mut hashes = BytesMut::with_capacity(tile.len() * 32);
            tile.iter().for_each(|hash| hashes.extend_from_slice(hash));
            let (as_of, hashes) = (Some(as_of(reading.as_of())), Bytes::from(hashes));
            Ok(wire::ReadTileResponse { as_of, hashes })
        })
        .await
    }
}

/// The leaves that the last decided checkpoint covers.
fn decided_size(hosted: &Hosted) -> u64 {
    hosted.handle.replica().progress().borrow().decided.as_ref().map_or(0, |tuple| tuple.size)
}

/// Whether a tree of `size` leaves has a tile.
fn covers(size: u64, tile: &wire::ReadTileRequest) -> bool {
    let complete = size.checked_shr(tile.level.unwrap_or(0) * 8).unwrap_or(0);
    let end = tile.index.checked_mul(TILE_WIDTH);
    end.and_then(|end| end.checked_add(tile.width.into())).is_some_and(|end| end <= complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_there_when_all_its_hashes_are() {
        let tile = |level, index, width| wire::ReadTileRequest { group: 1, level, index, width };
        let rows = [
            (70_000, tile(Some(0), 272, 256), true),
            (70_000, tile(Some(0), 273, 112), true),
            (70_000, tile(Some(0), 273, 113), false),
            (70_000, tile(Some(1), 1, 17), true),
            (70_000, tile(Some(1), 1, 18), false),
            (70_000, tile(Some(2), 0, 1), true),
            (70_000, tile(Some(3), 0, 1), false),
            (70_000, tile(Some(63), 0, 1), false),
            (70_000, tile(None, 273, 112), true),
            (70_000, tile(None, u64::MAX, 1), false),
            (0, tile(Some(0), 0, 1), false),
        ];
        for (size, tile, there) in rows {
            assert_eq!(covers(size, &tile), there, "{size} {tile:?}");
        }
    }
}
