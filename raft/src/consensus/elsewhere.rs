//! Asks whether what a replica has lost is elsewhere, before anything of it is set aside.
//!
//! | voters beside this node | asked for |
//! |---|---|
//! | none, or nobody knows which | nothing: the group stays closed, and an operator decides |
//! | one, and this node votes | nothing: two voters confirm nothing without each other, and whatever was committed is with the other one |
//! | more | a leader that a majority confirms now; without it the group stays closed and is tried again |
//!
//! Invariant: a leader that a majority has confirmed has everything that was committed. Non-goal: how much
//! of it this replica needs; it takes all of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fiscus_proto::peer::{Membership, NodeInfo, ReadIndexRequest};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::consensus::errors::OpenError;
use crate::consensus::peers::{Lane, PeerPool};
use crate::disk::Disk;
use crate::store::{known_members, remains};

/// A leader answers within this time, or there is none.
const ASK_WAIT: Duration = Duration::from_secs(3);

/// What has to be known of a group whose state is lost.
#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    /// Nobody else has it.
    Alone(&'static str),
    /// The other one of two voters has it.
    WithTheOther,
    /// One of these has to be a leader that a majority confirms.
    Ask(Vec<&'a NodeInfo>),
}

fn judge(members: Option<&Membership>, own: u64) -> Verdict<'_> {
    let Some(members) = members else {
        return Verdict::Alone("nothing here says which other nodes have the group");
    };
    let voters = members.configs.iter().flat_map(|set| set.voters.iter().copied());
    let voters: BTreeSet<u64> = voters.collect();
    let others = voters.iter().filter(|id| **id != own).count();
    match (others, voters.contains(&own)) {
        (0, _) => Verdict::Alone("no other node votes in the group"),
        (1, true) => Verdict::WithTheOther,
        _ => {
            let is_other = |node: &&NodeInfo| node.id != own && voters.contains(&node.id);
            Verdict::Ask(members.nodes.iter().filter(is_other).collect())
        }
    }
}

/// Whether all of a group can be taken from its peers; otherwise it stays closed, as it is.
pub(super) async fn check_elsewhere(
    disk: &dyn Disk,
    dir: &Path,
    pool: &PeerPool,
    group: u64,
    why: &str,
) -> Result<(), OpenError> {
    let members = known_members(disk, dir)?;
    let left = || remains(disk, dir);
    match judge(members.as_ref(), pool.identity().node) {
        Verdict::WithTheOther => Ok(()),
        Verdict::Alone(who) => Err(OpenError::OnlyCopy {
            group,
            dir: dir.to_owned(),
            why: why.to_owned(),
            who,
            left: left(),
        }),
        Verdict::Ask(others) => {
            if is_led_elsewhere(pool, group, &others).await {
                return Ok(());
            }
            Err(OpenError::Unconfirmed {
                group,
                dir: dir.to_owned(),
                why: why.to_owned(),
                asked: others.iter().map(|node| node.id).collect(),
                left: left(),
            })
        }
    }
}

/// Whether one of the nodes leads the group, and a majority confirms it now.
async fn is_led_elsewhere(pool: &PeerPool, group: u64, others: &[&NodeInfo]) -> bool {
    let mut asking: FuturesUnordered<_> = others
        .iter()
        .map(|node| async move {
            let client = pool.client(node.id, &node.incarnation, &node.rpc, Lane::Control);
            let Ok(mut client) = client else { return false };
            let asked = client.read_index(ReadIndexRequest { group });
            match tokio::time::timeout(ASK_WAIT, asked).await {
                Ok(Ok(answer)) => !answer.into_inner().not_leader,
                // It does not answer, or no majority confirms it: it is no witness.
                Ok(Err(_)) | Err(_) => false,
            }
        })
        .collect();
    while let Some(leads) = asking.next().await {
        if leads {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use fiscus_proto::peer::VoterSet;

    use super::*;

    #[test]
    fn who_has_to_be_asked_follows_from_the_voters() {
        let members = |sets: &[&[u64]]| Membership {
            configs: sets.iter().map(|set| VoterSet { voters: set.to_vec() }).collect(),
            nodes: (1..=4).map(|id| NodeInfo { id, ..NodeInfo::default() }).collect(),
        };
        let ids = |verdict: Verdict<'_>| match verdict {
            Verdict::Alone(_) => Err("alone"),
            Verdict::WithTheOther => Err("with the other"),
            Verdict::Ask(nodes) => Ok(nodes.iter().map(|node| node.id).collect::<Vec<_>>()),
        };
        assert_eq!(ids(judge(None, 1)), Err("alone"));
        type Case<'a> = (&'a [&'a [u64]], u64, Result<Vec<u64>, &'a str>);
        let rows: [Case<'_>; 7] = [
            (&[], 1, Err("alone")),
            (&[&[1]], 1, Err("alone")),
            (&[&[1, 2]], 1, Err("with the other")),
            // A learner has promised nothing, and its one voter confirms by itself.
            (&[&[2]], 1, Ok(vec![2])),
            (&[&[1, 2, 3]], 2, Ok(vec![1, 3])),
            (&[&[1], &[1, 2, 3]], 1, Ok(vec![2, 3])),
            (&[&[2, 3]], 1, Ok(vec![2, 3])),
        ];
        for (sets, own, wanted) in rows {
            assert_eq!(ids(judge(Some(&members(sets)), own)), wanted, "{sets:?} at {own}");
        }
    }
}
