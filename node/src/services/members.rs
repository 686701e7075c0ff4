//! Who is a member of the groups: a cluster is founded, nodes come, vote and go.
//!
//! Invariant: one id, one directory, for ever. The directory notes durably that an id leaves before the
//! node leaves any group, and no node is taken in under a noted id, nor under the id of a member with
//! another directory. Two nodes under one id would be one voter that forgets its votes: a term could get
//! two leaders.
//!
//! Not here: which node leads, and whether a removal leaves a majority that answers; operators' tools
//! see to both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fiscus_ledger::facts::FactKind;
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
/// A new group has its leader within this time.
const ELECTION_WAIT: Duration = Duration::from_secs(30);
/// A learner becomes a voter when it lacks at most so many entries,
const PROMOTE_LAG_MAX: u64 = 64;

pub(super) fn changed(error: ClusterChange) -> Status {
    match error {
        ClusterChange::NotLeader { leader } => not_leader(leader),
        ClusterChange::NotYet(what) => Status::unavailable(what),
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

    /// Asks every first member who it is. All are new, or were told of exactly these members by a
    /// founding that did not come to its end.
    pub(super) async fn first_members(&self, addresses: &[String]) -> Result<Founding, Status> {
        let mut members = BTreeMap::new();
        let mut told = Vec::new();
        for address in addresses {
            let answer = self.hello(address).await?;
            let refused = |what: &str| Status::failed_precondition(format!("{address} {what}"));
            if answer.members.len() != answer.groups.len() {
                return Err(refused("does not tell the members of its groups; update its program"));
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
            let of_groups = answer.groups.into_iter().zip(answer.members);
            told.extend(of_groups.map(|(group, members)| (address.as_str(), group, members.ids)));
        }
        let own = self.context.identity.node;
        if !members.contains_key(&own) {
            let what = format!("the asked node, {own}, must be among the first members");
            return Err(Status::invalid_argument(what));
        }
        let founded = founded(&members.keys().copied().collect(), told)?;
        Ok(Founding { members, founded })
    }

    /// Founds the groups that have no members yet.
    pub(super) async fn found(&self, founding: &Founding, data_groups: u64) -> Result<(), Status> {
        if let Some(more) = founding.founded.last().filter(|last| **last > data_groups) {
            let what = format!("it was begun with {more} data groups; give that number");
            return Err(Status::failed_precondition(what));
        }
        let missing = |group: &u64| !founding.founded.contains(group);
        if founding.founded.contains(&DIRECTORY_GROUP) && (0..=data_groups).any(|g| missing(&g)) {
            self.require_unfinished().await?;
        }
        for group in (0..=data_groups).filter(missing) {
            let hosted = self.opened(group).await?;
            hosted.handle.initialize(founding.members.clone()).await.map_err(changed)?;
        }
        for group in 0..=data_groups {
            self.wait_for_leader(group).await?;
        }
        Ok(())
    }

    /// The number of data groups is for ever once a cluster is made, which its first manifest ends.
    async fn require_unfinished(&self) -> Result<(), Status> {
        let directory = self.opened(DIRECTORY_GROUP).await?;
        // To know who leads is not enough: a replica hears of a leader before it hears of the members, and
        // whom it knows may lead no more.
        self.ledger.catch_up_within(&directory, ELECTION_WAIT).await?;
        let reading = directory.handle.replica().read().map_err(|error| failed(&error))?;
        let manifests = reading.documents(FactKind::Manifest.as_str(), None, 1);
        if manifests.map_err(|error| failed(&error))?.is_empty() {
            return Ok(());
        }
        Err(Status::failed_precondition(
            "the cluster is made already, and the number of its data groups never changes",
        ))
    }

    async fn opened(&self, group: u64) -> Result<Arc<Hosted>, Status> {
        let opened = self.groups.open(group).await;
        opened.map_err(|error| Status::internal(error.to_string()))
    }

    /// Waits until a group lives here and has a leader.
    async fn wait_for_leader(&self, group: u64) -> Result<(), Status> {
        let hosted = self.opened(group).await?;
        let led = hosted.handle.wait_status(ELECTION_WAIT, |status| status.leader.is_some());
        let led = led.await.map(|_| ());
        led.map_err(|what| Status::unavailable(format!("group {group} has no leader: {what}")))
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

/// The first members of a cluster, and the groups that have them already.
#[derive(Debug)]
pub(super) struct Founding {
    pub(super) members: BTreeMap<u64, Member>,
    founded: BTreeSet<u64>,
}

/// The groups that were founded before, when all of them have exactly the members asked for.
fn founded(
    asked: &BTreeSet<u64>,
    told: Vec<(&str, u64, Vec<u64>)>,
) -> Result<BTreeSet<u64>, Status> {
    let mut founded = BTreeSet::new();
    for (address, group, members) in told {
        let members: BTreeSet<u64> = members.into_iter().collect();
        if members.is_empty() {
            continue;
        }
        if members != *asked {
            return Err(Status::failed_precondition(format!(
                "{address} is part of a cluster already: its group {group} has the members {members:?}, \
                 not {asked:?}; add it with `fiscus admin nodes add`, or give it an empty directory and \
                 a new id"
            )));
        }
        founded.insert(group);
    }
    Ok(founded)
}

/// What the directory notes of an id that has left.
pub(super) fn note(directory: &Reading, id: u64) -> Result<Option<Document>, Status> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_founding_goes_on_with_the_same_members_only() {
        let asked = BTreeSet::from([1, 2, 3]);
        type Told = Vec<(&'static str, u64, Vec<u64>)>;
        let rows: [(Told, Option<&[u64]>); 6] = [
            (vec![], Some(&[])),
            (vec![("a", 0, vec![]), ("b", 0, vec![])], Some(&[])),
            (vec![("a", 0, vec![3, 1, 2]), ("b", 0, vec![]), ("b", 1, vec![])], Some(&[0])),
            (vec![("a", 0, vec![1, 2, 3]), ("b", 1, vec![1, 2, 3])], Some(&[0, 1])),
            (vec![("a", 0, vec![1, 2])], None),
            (vec![("a", 0, vec![1, 2, 3]), ("b", 1, vec![1, 2, 3, 4])], None),
        ];
        for (told, expected) in rows {
            let found = founded(&asked, told.clone()).ok();
            let expected = expected.map(|groups| groups.iter().copied().collect());
            assert_eq!(found, expected, "{told:?}");
        }
    }
}
