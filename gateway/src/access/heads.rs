//! What the heads tree says of an outlet: how far its journal went, at one leaf of the log and at another, or that there is
//! no such outlet.

use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::heads::{HeadsProof, HeadsVerdict};
use fiscus_ledger::record::Record;
use fiscus_ledger::reports::audit_line;
use fiscus_proto::command::{CheckpointCut, Command, command};
use fiscus_proto::ledger::prove_heads_request::Which;
use fiscus_proto::ledger::{
    Consistency, HeadsProof as Wire, JournalRecord, ProveHeadsRequest, ProveInclusionRequest,
};
use futures_util::stream::{Stream, StreamExt};
use tokio::time::sleep;

use super::app::App;
use super::caller::Caller;
use super::checkpoints::{CHECKPOINT_WAIT, LOOK_INTERVAL, SignedCheckpoint, pending};
use super::outlet::Outlet;
use super::range::Range;
use super::scopes::Scope;
use crate::http::Problem;

/// Records that are written out together.
const WRITTEN_TOGETHER: usize = 16;

/// A version of the heads tree, what it says of an outlet, and the way from its leaf to a checkpoint's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenHeads {
    /// The leaf.
    pub leaf_index: u64,
    /// The root of the heads tree.
    pub root: Hash32,
    /// The proof in its stored form.
    pub proof: Vec<u8>,
    /// From the leaf to the root, nearest the leaf first.
    pub inclusion: Vec<Hash32>,
}

/// A range of an outlet's journal that is complete: what it was at before, what it was at after, all under a checkpoint.
#[derive(Debug)]
pub struct CompleteRange {
    /// Before the first record; none when the journal begins with it.
    pub start: Option<ProvenHeads>,
    /// After the last record.
    pub end: ProvenHeads,
    /// Covers both.
    pub pinned: SignedCheckpoint,
    /// The first position.
    pub from: u64,
    /// The last position.
    pub to: u64,
}

/// An outlet that a group does not have.
#[derive(Debug)]
pub struct AbsentOutlet {
    /// The proof.
    pub heads: ProvenHeads,
    /// Covers it.
    pub pinned: SignedCheckpoint,
}

/// A version as a node tells of it.
#[derive(Debug)]
struct Told {
    leaf: u64,
    root: Hash32,
    proof: Vec<u8>,
    /// The outlet's last position; none when it is not in this version.
    last_position: Option<u64>,
}

impl Told {
    /// Nothing is passed on that does not hold.
    fn read(told: Wire, outlet_id: &str) -> Result<Self, Problem> {
        let broken = |what: &str| Problem::internal(&format!("a heads proof: {what}"));
        let root = Hash32::try_from(&*told.root).map_err(|_| broken("a root has 32 bytes"))?;
        let proof = HeadsProof::decode(&told.proof).map_err(|error| broken(&error.to_string()))?;
        let verdict = proof.verify(&root, outlet_id).map_err(|error| broken(&error.to_string()))?;
        let last_position = match verdict {
            HeadsVerdict::Present(entry) => Some(entry.last_position()),
            HeadsVerdict::Absent => None,
        };
        Ok(Self { leaf: told.leaf, root, proof: told.proof.into(), last_position })
    }

    fn proven(self, inclusion: Vec<Hash32>) -> ProvenHeads {
        ProvenHeads { leaf_index: self.leaf, root: self.root, proof: self.proof, inclusion }
    }
}

impl App {
    /// A version of the heads tree; none when no such one is kept. Says whether leaves have come since the last one.
    async fn heads(
        &self,
        group: u64,
        outlet_id: &str,
        which: Option<Which>,
        wait: Duration,
    ) -> Result<(Option<Told>, bool), Problem> {
        let request = ProveHeadsRequest {
            group,
            outlet_id: outlet_id.to_owned(),
            which,
            consistency: Consistency::Linearizable.into(),
        };
        let answer = self.cluster().prove_heads(request, wait).await?;
        let told = answer.proof.map(|told| Told::read(told, outlet_id)).transpose()?;
        Ok((told, answer.is_behind))
    }

    /// Asks for a version of the heads tree as of now.
    async fn demand_heads(&self, group: u64, wait: Duration) -> Result<(), Problem> {
        let cut = command::Command::CheckpointCut(CheckpointCut { demand_heads: true });
        self.cluster().submit(group, Command { command: Some(cut) }, wait).await?;
        Ok(())
    }

    /// The first version from a leaf on, which is made when there is none yet.
    async fn heads_from(
        &self,
        group: u64,
        outlet_id: &str,
        leaf: u64,
        wait: Duration,
    ) -> Result<Told, Problem> {
        let looking = async {
            loop {
                let which = Some(Which::FromLeaf(leaf));
                if let (Some(told), _) = self.heads(group, outlet_id, which, wait).await? {
                    return Ok(told);
                }
                self.demand_heads(group, wait).await?;
                sleep(LOOK_INTERVAL / 10).await;
            }
        };
        let looked = tokio::time::timeout(CHECKPOINT_WAIT.min(wait), looking).await;
        looked.unwrap_or_else(|_elapsed| Err(pending()))
    }
}

impl Outlet {
    /// Proves that a range is complete. It may grow at both ends, to where a version of the heads tree is kept.
    pub async fn complete(&self, range: &Range) -> Result<CompleteRange, Problem> {
        let (group, id) = (self.entry().group(), self.id());
        let before = Some(Which::BeforeLeaf(range.first_leaf));
        let (start, _) = self.app().heads(group, id, before, self.time_left()).await?;
        let end = self.app().heads_from(group, id, range.last_leaf + 1, self.time_left()).await?;
        let from = start.as_ref().and_then(|start| start.last_position).unwrap_or(0) + 1;
        let to = end.last_position.unwrap_or(0);
        if from > range.from || to < range.to {
            return Err(Problem::internal("a version of the heads tree is of another time"));
        }
        let pinned = self.checkpoint_over(end.leaf).await?;
        let leaves = start.iter().chain([&end]).map(|heads| heads.leaf).collect();
        let mut ways = self.inclusion(leaves, pinned.checkpoint.size(), self.time_left()).await?;
        let end = end.proven(ways.pop().unwrap_or_default());
        let start = start.map(|start| start.proven(ways.pop().unwrap_or_default()));
        Ok(CompleteRange { start, end, pinned, from, to })
    }

    /// The records of a range, lines of JSON.
    pub fn lines(
        &self,
        from: u64,
        to: u64,
    ) -> impl Stream<Item = Result<String, Problem>> + Send + use<> {
        let lines = self.records(from, to).map(|record| line(&record?));
        lines.chunks(WRITTEN_TOGETHER).map(|lines| lines.into_iter().collect())
    }
}

fn line(sealed: &JournalRecord) -> Result<String, Problem> {
    let record = Record::decode(&sealed.record)
        .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
    let signature: [u8; 64] = (&*sealed.signature)
        .try_into()
        .map_err(|_| Problem::internal("a signature has not 64 bytes"))?;
    Ok(audit_line(&record, &signature))
}

impl Caller {
    /// Proves that a group has no such outlet, now. That it has one is told to whoever may ask, whosever it is: there is
    /// no proof that could be given instead.
    pub async fn absent(&self, group: u64, outlet_id: &str) -> Result<AbsentOutlet, Problem> {
        self.may_all(Scope::AuditRead)?;
        if group == 0 || !self.app().cluster().groups().contains(&group) {
            let detail = format!("there is no group {group} that outlets live in");
            return Err(Problem::not_found("GROUP_UNKNOWN", detail));
        }
        let (app, wait) = (self.app(), self.context().time_left());
        let (told, is_behind) = app.heads(group, outlet_id, None, wait).await?;
        let told = match told {
            Some(told) if !is_behind => told,
            told => {
                let after = told.map_or(0, |told| told.leaf + 1);
                app.heads_from(group, outlet_id, after, self.context().time_left()).await?
            }
        };
        if told.last_position.is_some() {
            let detail = format!("group {group} has an outlet {outlet_id:?}");
            return Err(Problem::new(StatusCode::CONFLICT, "OUTLET_EXISTS", detail));
        }
        let wait = self.context().time_left();
        let pinned = app.checkpoint_over(group, told.leaf, wait).await?;
        let (leaves, size) = (vec![told.leaf], pinned.checkpoint.size());
        let request = ProveInclusionRequest { group, leaves, size };
        let ways = app.inclusion(request, self.context().time_left()).await?;
        let inclusion = ways.into_iter().next().unwrap_or_default();
        Ok(AbsentOutlet { heads: told.proven(inclusion), pinned })
    }
}
