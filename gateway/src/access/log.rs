//! The groups' logs as everybody may read them: checkpoints, and trees in tiles. A leaf is a salted hash, so that they
//! say how many records there are and nothing of any.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use fiscus_proto::client::ReadError;
use fiscus_proto::ledger::{Consistency, ReadCheckpointRequest, ReadTileRequest};
use tokio::time::Instant;

use super::app::App;
use super::checkpoints::{pending, text_of};
use super::rates::Told;
use super::visitors::visitor;
use crate::http::{Problem, RequestContext};

/// A checkpoint is asked for anew after so long.
const FRESH: Duration = Duration::from_millis(500);

/// Whoever reads a log, counted by the address.
#[derive(Debug, Clone)]
pub struct LogReader {
    app: App,
    context: RequestContext,
}

/// A tile, or the part of one that there is yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileAsked {
    /// Of hashes: their height divided by 8; none for the leaves' data.
    pub level: Option<u32>,
    /// The place among the tiles of the level.
    pub index: u64,
    /// How many hashes; 256 make it whole.
    pub width: u32,
}

/// The newest checkpoint of each group that this gateway has heard of. One that is older is never told after it.
#[derive(Debug, Default)]
pub(super) struct LastCheckpoints {
    known: Mutex<BTreeMap<u64, LastCheckpoint>>,
}

#[derive(Debug, Clone)]
struct LastCheckpoint {
    size: u64,
    note: String,
    heard: Instant,
}

impl LastCheckpoints {
    fn fresh(&self, group: u64) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&group).filter(|last| last.heard.elapsed() < FRESH).map(|last| last.note.clone())
    }

    /// Takes what a node says, and gives the newest of what is known.
    fn newest(&self, group: u64, size: u64, note: String) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = Instant::now();
        match known.get_mut(&group) {
            Some(last) if last.size > size => last.heard = heard,
            _ => drop(known.insert(group, LastCheckpoint { size, note, heard })),
        }
        known[&group].note.clone()
    }
}

impl FromRequestParts<App> for LogReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, app).await;
        let context = context.unwrap_or_else(|never| match never {});
        let told = parts.extensions.get::<Told>().cloned().unwrap_or_default();
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(socket)| socket.ip());
        let address = visitor(peer, &parts.headers, &app.config().trusted_proxies);
        match app.log_readers().take(address, 1) {
            Ok(standing) => standing.into_iter().for_each(|standing| told.note(standing)),
            Err((standing, wait)) => {
                told.note(standing);
                let detail = format!(
                    "this address may read the logs {} times a minute and has; wait as Retry-After says",
                    standing.limit
                );
                let status = StatusCode::TOO_MANY_REQUESTS;
                return Err(Problem::new(status, "RATE_LIMITED", detail).retry_after(wait));
            }
        }
        Ok(Self { app: app.clone(), context })
    }
}

impl LogReader {
    /// The signed note of a group's last checkpoint.
    pub async fn checkpoint(&self, group: u64) -> Result<String, Problem> {
        self.known(group)?;
        if let Some(note) = self.app.last_checkpoints().fresh(group) {
            return Ok(note);
        }
        let consistency = Consistency::Local.into();
        let request = ReadCheckpointRequest { group, consistency };
        let answer = self.app.cluster().read_checkpoint(request, self.context.time_left()).await?;
        if answer.checkpoint.is_empty() {
            return Err(pending());
        }
        let size = text_of(&answer.checkpoint)?.size();
        Ok(self.app.last_checkpoints().newest(group, size, answer.checkpoint))
    }

    /// The hashes of a tile; none when the last checkpoint does not cover it.
    pub async fn tile(&self, group: u64, asked: TileAsked) -> Result<Option<Bytes>, Problem> {
        self.known(group)?;
        let TileAsked { level, index, width } = asked;
        let request = ReadTileRequest { group, level, index, width };
        match self.app.cluster().read_tile(request, self.context.time_left()).await {
            Ok(answer) if answer.hashes.len() == width as usize * 32 => Ok(Some(answer.hashes)),
            Ok(_) => Err(Problem::internal("a tile has not the hashes that were asked for")),
            Err(error) if error.is_beyond() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn known(&self, group: u64) -> Result<(), Problem> {
        let groups = self.app.cluster().groups();
        if groups.is_empty() {
            let detail = "the cluster is not known yet".to_owned();
            return Err(ReadError::Unavailable { detail }.into());
        }
        if groups.contains(&group) {
            return Ok(());
        }
        Err(Problem::not_found("GROUP_UNKNOWN", format!("there is no group {group}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_older_checkpoint_is_never_told_after_a_newer_one() {
        let last = LastCheckpoints::default();
        assert_eq!(last.fresh(1), None);
        assert_eq!(last.newest(1, 5, "five".to_owned()), "five");
        assert_eq!(last.newest(1, 4, "four".to_owned()), "five", "of a replica that is behind");
        assert_eq!(last.newest(2, 4, "other".to_owned()), "other");
        assert_eq!(last.newest(1, 5, "five, cosigned".to_owned()), "five, cosigned");
        assert_eq!(last.fresh(1).as_deref(), Some("five, cosigned"));
        tokio::time::advance(FRESH).await;
        assert_eq!(last.fresh(1), None);
    }
}
