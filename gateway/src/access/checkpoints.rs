//! Signed checkpoints and proofs: what makes a record checkable without trusting whoever answers.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::hash::Hash32;
use fiscus_proto::ledger::{Consistency, ProveConsistencyRequest, ProveInclusionRequest};
use tokio::time::sleep;

use super::app::App;
use super::caller::Caller;
use super::outlet::Outlet;
use crate::http::Problem;
use crate::http::list::AsOf;

/// A checkpoint that covers a record is signed within about a second; it is looked for so often,
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// and for so long.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(6);
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
        let wait = CHECKPOINT_WAIT.min(self.time_left());
        let looking = async {
            loop {
                let found = self.app().checkpoint(self.entry().group(), self.time_left()).await?;
                if let Some(found) = found.filter(|found| found.checkpoint.size() > leaf) {
                    return Ok(found);
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::time::timeout(wait, looking).await.unwrap_or_else(|_elapsed| Err(pending()))
    }

    /// The way from each leaf to the root of a tree.
    pub async fn inclusion(
        &self,
        leaves: Vec<u64>,
        size: u64,
        wait: Duration,
    ) -> Result<Vec<Vec<Hash32>>, Problem> {
        let count = leaves.len();
        let request = ProveInclusionRequest { group: self.entry().group(), leaves, size };
        let answer = self.app().cluster().prove_inclusion(request, wait).await?;
        if answer.proofs.len() != count {
            return Err(Problem::internal("there is not a proof for each leaf"));
        }
        answer.proofs.into_iter().map(|proof| hashes(&proof.hashes)).collect()
    }
}

fn pending() -> Problem {
    let detail = "no signed checkpoint covers the last records yet; send the request again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "CHECKPOINT_PENDING", detail)
        .retry_after(Duration::from_secs(1))
}

fn hashes(raw: &[bytes::Bytes]) -> Result<Vec<Hash32>, Problem> {
    let read = raw.iter().map(|hash| Hash32::try_from(&**hash));
    read.collect::<Result<_, _>>().map_err(|_| Problem::internal("a hash has not 32 bytes"))
}

impl App {
    /// The last signed checkpoint of a group; none before the first one.
    pub(super) async fn checkpoint(
        &self,
        group: u64,
        wait: Duration,
    ) -> Result<Option<SignedCheckpoint>, Problem> {
        let found = self.cluster().read_group(group, Consistency::Linearizable, wait).await?;
        if found.checkpoint.is_empty() {
            return Ok(None);
        }
        let note = found.checkpoint;
        let text = note.rfind("\n\n").map_or("", |blank| &note[..=blank]);
        let checkpoint = Checkpoint::parse(text)
            .map_err(|error| Problem::internal(&format!("a checkpoint: {error}")))?;
        let as_of = AsOf::from(&found.as_of.unwrap_or_default());
        Ok(Some(SignedCheckpoint { as_of, note, checkpoint }))
    }
}

impl Caller {
    /// The groups that the caller's outlets live in, and the directory's.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        let own = self.outlets().into_iter().map(|outlet| outlet.entry().group());
        let groups: BTreeSet<u64> = own.chain([DIRECTORY]).collect();
        groups.into_iter().collect()
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
        if self.groups().contains(&group) {
            return Ok(());
        }
        Err(Problem::not_found("GROUP_UNKNOWN", format!("there is no group {group}")))
    }
}
