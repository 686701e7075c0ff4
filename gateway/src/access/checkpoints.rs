//! Signed checkpoints and proofs: what makes a record checkable without trusting whoever answers.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::tlog_proof::tlog_proof;
use fiscus_proto::ledger::{
    Consistency, ListCheckpointsRequest, ProveConsistencyRequest, ProveInclusionRequest,
    ReadCheckpointRequest,
};
use tokio::time::sleep;

use super::app::App;
use super::caller::Caller;
use super::outlet::Outlet;
use crate::http::Problem;
use crate::http::list::AsOf;

/// A checkpoint that covers a record is signed within about a second; it is looked for so often,
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// and for so long.
pub(super) const CHECKPOINT_WAIT: Duration = Duration::from_secs(6);
/// The directory has a log of its own.
const DIRECTORY: u64 = 0;

/// A checkpoint of a group: the note and what stands in it.
#[derive(Debug, Clone)]
pub struct SignedCheckpoint {
    /// The moment that it was read at.
    pub as_of: AsOf,
    /// The signed note.
    pub note: String,
    /// Its text, read.
    pub checkpoint: Checkpoint,
}

impl Outlet {
    /// The last checkpoint of the outlet's group, when it covers a leaf; waits for one that does.
    pub async fn checkpoint_over(&self, leaf: u64) -> Result<SignedCheckpoint, Problem> {
        self.app().checkpoint_over(self.entry().group(), leaf, self.time_left()).await
    }

    /// The way from each leaf to the root of a tree.
    pub async fn inclusion(
        &self,
        leaves: Vec<u64>,
        size: u64,
        wait: Duration,
    ) -> Result<Vec<Vec<Hash32>>, Problem> {
        let request = ProveInclusionRequest { group: self.entry().group(), leaves, size };
        self.app().inclusion(request, wait).await
    }
}

pub(super) fn pending() -> Problem {
    let detail = "no signed checkpoint covers the last records yet; send the request again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "CHECKPOINT_PENDING", detail)
        .retry_after(Duration::from_secs(1))
}

/// The checkpoint in a note.
pub(super) fn text_of(note: &str) -> Result<Checkpoint, Problem> {
    let text = note.rfind("\n\n").map_or("", |blank| &note[..=blank]);
    Checkpoint::parse(text).map_err(|error| Problem::internal(&format!("a checkpoint: {error}")))
}

fn hashes(raw: &[bytes::Bytes]) -> Result<Vec<Hash32>, Problem> {
    let read = raw.iter().map(|hash| Hash32::try_from(&**hash));
    read.collect::<Result<_, _>>().map_err(|_| Problem::internal("a hash has not 32 bytes"))
}

impl App {
    /// The last checkpoint of a group, when it covers a leaf; waits for one that does.
    pub(super) async fn checkpoint_over(
        &self,
        group: u64,
        leaf: u64,
        wait: Duration,
    ) -> Result<SignedCheckpoint, Problem> {
        let looking = async {
            loop {
                let found = self.checkpoint(group, wait).await?;
                if let Some(found) = found.filter(|found| found.checkpoint.size() > leaf) {
                    return Ok(found);
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        let looked = tokio::time::timeout(CHECKPOINT_WAIT.min(wait), looking).await;
        looked.unwrap_or_else(|_elapsed| Err(pending()))
    }

    /// The way from each leaf to the root of a tree.
    pub(super) async fn inclusion(
        &self,
        request: ProveInclusionRequest,
        wait: Duration,
    ) -> Result<Vec<Vec<Hash32>>, Problem> {
        let count = request.leaves.len();
        let answer = self.cluster().prove_inclusion(request, wait).await?;
        if answer.proofs.len() != count {
            return Err(Problem::internal("there is not a proof for each leaf"));
        }
        answer.proofs.into_iter().map(|proof| hashes(&proof.hashes)).collect()
    }

    /// The last signed checkpoint of a group; none before the first one.
    pub(super) async fn checkpoint(
        &self,
        group: u64,
        wait: Duration,
    ) -> Result<Option<SignedCheckpoint>, Problem> {
        let consistency = Consistency::Linearizable.into();
        let request = ReadCheckpointRequest { group, consistency };
        let found = self.cluster().read_checkpoint(request, wait).await?;
        if found.checkpoint.is_empty() {
            return Ok(None);
        }
        let note = found.checkpoint;
        let checkpoint = text_of(&note)?;
        let as_of = AsOf::from(&found.as_of.unwrap_or_default());
        Ok(Some(SignedCheckpoint { as_of, note, checkpoint }))
    }
}

impl Caller {
    /// The groups that the caller's outlets live in, and the directory's.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        let all: BTreeSet<u64> = {
            let tables = self.app().directory().read();
            tables.outlets.values().map(|outlet| outlet.value.group).chain([DIRECTORY]).collect()
        };
        all.into_iter().filter(|group| self.reaches_group(*group)).collect()
    }

    /// Whether an outlet of the caller's lives in the group. It looks no further than the first.
    fn reaches_group(&self, group: u64) -> bool {
        let tables = self.app().directory().read();
        let inside = tables.outlets.iter().filter(|(_, outlet)| outlet.value.group == group);
        let mut inside = inside.filter_map(|(id, _)| tables.outlet(id));
        group == DIRECTORY || inside.any(|entry| self.reaches(&entry))
    }

    /// A proof of each leaf of a group under one checkpoint, as C2SP tlog-proof. One that covers them all is waited for.
    /// Anybody may read the hashes that it is made of, so that it is not asked whose the records are.
    pub async fn proofs_of(&self, group: u64, leaves: Vec<u64>) -> Result<Vec<String>, Problem> {
        let Some(last) = leaves.iter().max() else { return Ok(Vec::new()) };
        let wait = || self.context().time_left();
        let pinned = self.app().checkpoint_over(group, *last, wait()).await?;
        let size = pinned.checkpoint.size();
        let request = ProveInclusionRequest { group, leaves: leaves.clone(), size };
        let ways = self.app().inclusion(request, wait()).await?;
        let proofs =
            leaves.iter().zip(&ways).map(|(leaf, way)| tlog_proof(*leaf, way, &pinned.note));
        Ok(proofs.collect())
    }

    /// The last signed checkpoint of each of the caller's groups.
    pub async fn checkpoints(&self) -> Result<Vec<SignedCheckpoint>, Problem> {
        let mut all = Vec::new();
        for group in self.groups() {
            all.extend(self.app().checkpoint(group, self.context().time_left()).await?);
        }
        Ok(all)
    }

    /// The last signed checkpoint of one of the caller's groups.
    pub async fn checkpoint_of(&self, group: u64) -> Result<SignedCheckpoint, Problem> {
        self.own_group(group)?;
        let found = self.app().checkpoint(group, self.context().time_left()).await?;
        found.ok_or_else(pending)
    }

    /// Checkpoints of one of the caller's groups, each with the time of its decision, the last one first; `below` 0
    /// begins with it.
    pub async fn checkpoint_history(
        &self,
        group: u64,
        below: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, SignedCheckpoint)>, AsOf), Problem> {
        self.own_group(group)?;
        let request = ListCheckpointsRequest {
            group,
            below_size: below,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            consistency: Consistency::Linearizable.into(),
        };
        let wait = self.context().time_left();
        let answer = self.app().cluster().list_checkpoints(request, wait).await?;
        let as_of = AsOf::from(&answer.as_of.unwrap_or_default());
        let read = answer.checkpoints.into_iter().map(|known| {
            let (as_of, note) = (as_of.clone(), known.checkpoint);
            let checkpoint = text_of(&note)?;
            Ok((known.time_ms, SignedCheckpoint { as_of, note, checkpoint }))
        });
        Ok((read.collect::<Result<_, Problem>>()?, as_of))
    }

    /// That a group's tree of one size begins with that of another.
    pub async fn consistency(
        &self,
        group: u64,
        from_size: u64,
        size: u64,
    ) -> Result<Vec<Hash32>, Problem> {
        self.own_group(group)?;
        let request = ProveConsistencyRequest { group, from_size, size };
        let wait = self.context().time_left();
        let answer = self.app().cluster().prove_consistency(request, wait).await?;
        hashes(&answer.hashes)
    }

    fn own_group(&self, group: u64) -> Result<(), Problem> {
        if self.reaches_group(group) {
            return Ok(());
        }
        Err(Problem::not_found("GROUP_UNKNOWN", format!("there is no group {group}")))
    }
}
