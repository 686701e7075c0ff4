//! Who is a member of the groups: nodes come, vote and go.
//!
//! Invariant: one id, one directory, for ever. The directory notes durably that an id leaves before the
//! node leaves any group, and no node is taken in under a noted id, nor under the id of a member with
//! another directory. Two nodes under one id would be one voter that forgets its votes: a term could get
//! two leaders.
//!
//! Not here: which node leads, and whether a removal leaves a majority that answers; operators' tools
//! see to both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fiscus_ledger::state::registry::Document;
use fiscus_proto::admin::change_members_request::Change;
use fiscus_proto::command::{Command, PutDocument, command};
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_proto::peer::{HelloRequest, HelloResponse, NodeInfo};
use fiscus_raft::consensus::{ClusterChange, Lane, Member};
use fiscus_raft::entry::DIRECTORY_GROUP;
use fiscus_raft::store::Reading;
use tonic::Status;

use crate::groups::Hosted;
use crate::services::admin::{AdminService, EXECUTE_WAIT};
use crate::services::ledger::failed;

/// The kind of the directory's documents that say which ids have left. A document's id is the node's id,
/// its text the incarnation that left.
const REMOVED_KIND: &str = "removed-node";
/// Removed nodes read at once.
const REMOVED_PAGE: usize = 500;
/// A node that is asked who it is answers within this time, or is not there.
const HELLO_WAIT: Duration = Duration::from_secs(3);
/// A learner becomes a voter when it lacks at most so many entries,
const PROMOTE_LAG_MAX: u64 = 64;

pub(super) fn changed(error: ClusterChange) -> Status {
    match error {
        ClusterChange::NotLeader { leader } => not_leader(leader),
        ClusterChange::Refused(what) => Status::failed_precondition(what),
    }
}

/// Whoever asks looks for the leader again.
pub(super) fn not_leader(leader: Option<u64>) -> Status {
    let known = leader.map_or("it has none now".to_owned(), |id| format!("node {id} does"));
    Status::aborted(format!("this node does not lead the group; {known}"))
}

impl AdminService {
    /// Asks whoever listens at an address who it is.
    async fn hello(&self, address: &str) -> Result<HelloResponse, Status> {
        let refused = |what: String| Status::failed_precondition(format!("{address}: {what}"));
        let mut client = self
            .context
            .pool
            .client(0, "", address, Lane::Control)
            .map_err(|error| refused(error.to_string()))?;
        let answer = tokio::time::timeout(HELLO_WAIT, client.hello(HelloRequest {}))
            .await
            .map_err(|_| refused(format!("no answer within {HELLO_WAIT:?}")))?
            .map_err(|status| refused(status.message().to_owned()))?
            .into_inner();
        let own = &self.context.config.cluster;
        if answer.cluster != *own {
            return Err(refused(format!("it belongs to cluster {}, not to {own}", answer.cluster)));
        }
        Ok(answer)
    }

    pub(super) async fn first_members(
        &self,
        addresses: &[String],
    ) -> Result<BTreeMap<u64, Member>, Status> {
        let mut members = BTreeMap::new();
        for address in addresses {
            let answer = self.hello(address).await?;
            let refused = |what: &str| Status::failed_precondition(format!("{address} {what}"));
            if !answer.groups.is_empty() {
                return Err(refused(
                    "is part of a cluster already; add it with `fiscus admin nodes add`, or give it \
                     an empty directory and a new id",
                ));
            }
            let node = answer.node.ok_or_else(|| refused("does not say who it is"))?;
            let member = Member {
                rpc: address.clone(),
                region: node.region,
                incarnation: node.incarnation,
                admin: node.admin,
            };
            if members.insert(node.id, member).is_some() {
                return Err(refused(&format!("has the id {} of another one", node.id)));
            }
        }
        let own = self.context.identity.node;
        if !members.contains_key(&own) {
            let what = format!("the asked node, {own}, must be among the first members");
            return Err(Status::invalid_argument(what));
        }
        Ok(members)
    }

    pub(super) async fn change(&self, hosted: &Hosted, change: Change) -> Result<String, Status> {
        let status = hosted.handle.status();
        match change {
            Change::AddLearner(address) => self.add(hosted, address).await,
            Change::Promote(id) => {
                if status.voters.contains(&id) {
                    return Ok(format!("node {id} votes already"));
                }
                let at = status.replication.get(&id).copied().unwrap_or(0);
                if at + PROMOTE_LAG_MAX < status.last_log {
                    let behind = status.last_log - at;
                    return Err(Status::unavailable(format!(
                        "node {id} is {behind} entries behind"
                    )));
                }
                let mut voters = status.voters.clone();
                voters.insert(id);
                hosted.handle.set_voters(voters, true).await.map_err(changed)?;
                Ok(format!("node {id} votes"))
            }
            Change::Remove(id) => self.remove(hosted, id).await,
        }
    }

    async fn add(&self, hosted: &Hosted, address: String) -> Result<String, Status> {
        let node = self.hello(&address).await?.node;
        let node = node.filter(|node| node.id > 0);
        let node = node.ok_or_else(|| {
            Status::failed_precondition(format!("{address} does not say who it is"))
        })?;
        self.require_unused(&node).await?;
        let id = node.id;
        if hosted.handle.status().members.contains_key(&id) {
            return Ok(format!("node {id} follows already"));
        }
        let member = Member {
            rpc: address,
            region: node.region,
            incarnation: node.incarnation,
            admin: node.admin,
        };
        hosted.handle.add_learner(id, member).await.map_err(changed)?;
        Ok(format!("node {id} follows"))
    }

    async fn remove(&self, hosted: &Hosted, id: u64) -> Result<String, Status> {
        let status = hosted.handle.status();
        let mut voters = status.voters.clone();
        let votes = voters.remove(&id);
        if votes && voters.is_empty() {
            return Err(Status::failed_precondition("the last voter cannot leave"));
        }
        if votes && id == self.context.identity.node {
            return Err(Status::failed_precondition(
                "a leader does not remove itself; transfer the group first",
            ));
        }
        if hosted.handle.group() == DIRECTORY_GROUP {
            self.note_removal(id).await?;
        } else {
            self.require_remembered(id).await?;
        }
        if !status.members.contains_key(&id) {
            return Ok(format!("node {id} is no member"));
        }
        if votes {
            hosted.handle.set_voters(voters, false).await.map_err(changed)?;
        }
        if hosted.handle.status().members.contains_key(&id) {
            let ids = BTreeSet::from([id]);
            hosted.handle.remove_learners(ids).await.map_err(changed)?;
        }
        Ok(format!("node {id} has left"))
    }

    /// The directory, with everything that it decided before this call.
    async fn directory(&self) -> Result<Reading, Status> {
        let hosted = self.group(DIRECTORY_GROUP)?;
        self.ledger.catch_up(&hosted).await?;
        hosted.handle.replica().read().map_err(|error| failed(&error))
    }

    /// Has the directory note that an id leaves. This node leads the directory.
    async fn note_removal(&self, id: u64) -> Result<(), Status> {
        if note(&self.directory().await?, id)?.is_some() {
            return Ok(());
        }
        let incarnation = self.groups.members().remove(&id).map(|member| member.incarnation);
        let put = PutDocument {
            kind: REMOVED_KIND.to_owned(),
            id: id.to_string(),
            expected_version: 0,
            bytes: incarnation.unwrap_or_default().into_bytes().into(),
        };
        let put = Command { command: Some(command::Command::PutDocument(put)) };
        match self.ledger.execute(DIRECTORY_GROUP, put, EXECUTE_WAIT).await {
            Answer::Done(_) => Ok(()),
            Answer::NotLeader(other) => Err(not_leader((other.leader > 0).then_some(other.leader))),
            // Whoever asks asks again, and finds it noted or not.
            answer => Err(Status::aborted(format!(
                "the directory did not note that node {id} leaves: {answer:?}"
            ))),
        }
    }

    /// Refuses a removal after which the directory would not know whose id it was: it has the node as a
    /// member, or a note that it has left.
    async fn require_remembered(&self, id: u64) -> Result<(), Status> {
        let noted = note(&self.directory().await?, id)?.is_some();
        let directory = self.group(DIRECTORY_GROUP)?;
        if noted || directory.handle.status().members.contains_key(&id) {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "the directory does not note that node {id} leaves; remove it from group \
             {DIRECTORY_GROUP} first, as `fiscus admin nodes remove` does"
        )))
    }

    /// Refuses a node whose id has left, or is a member's with another directory.
    async fn require_unused(&self, node: &NodeInfo) -> Result<(), Status> {
        let directory = self.directory().await?;
        let members = self.groups.members();
        let id = node.id;
        let what = if note(&directory, id)?.is_some() {
            format!("the id {id} is that of a node that was removed")
        } else if members.get(&id).is_some_and(|known| known.incarnation != node.incarnation) {
            format!("the id {id} is that of a member, which has another directory")
        } else {
            return Ok(());
        };
        let mut used: BTreeSet<u64> = members.into_keys().collect();
        used.extend(noted(&directory)?);
        let next = used.last().map_or(1, |last| last + 1);
        Err(Status::already_exists(format!(
            "{what}; an id is never used again. Set node = {next}, which no node ever had, give it an \
             empty data_dir, start it and add it again"
        )))
    }
}

/// What the directory notes of an id that has left.
fn note(directory: &Reading, id: u64) -> Result<Option<Document>, Status> {
    directory.document(REMOVED_KIND, &id.to_string()).map_err(|error| failed(&error))
}

/// Every id that has left.
fn noted(directory: &Reading) -> Result<BTreeSet<u64>, Status> {
    let mut ids = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = directory.documents(REMOVED_KIND, after.as_deref(), REMOVED_PAGE);
        let page = page.map_err(|error| failed(&error))?;
        let Some((last, _)) = page.last() else { return Ok(ids) };
        after = Some(last.to_string());
        ids.extend(page.iter().filter_map(|(id, _)| id.parse::<u64>().ok()));
    }
}
