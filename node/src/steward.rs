//! Who should lead: not a node that is draining, that cannot agree on the time, or that lacks the key;
//! otherwise a node of the preferred region, when there is a sound one. It moves once, and waits before
//! it moves again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fiscus_ledger::facts::Environment;
use fiscus_raft::consensus::{GroupStatus, Lane, Role};
use fiscus_raft::store::StoreError;

use crate::clock::{Agreement, Sample};
use crate::context::NodeContext;
use crate::groups::{Groups, Hosted};

/// The kind of the directory's documents that say where a group's leader should be.
pub const PLACEMENT_KIND: &str = "group-placement";
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A leader stays at least so long before it moves for the region's sake.
const SETTLED: Duration = Duration::from_secs(5);
/// A transfer that did not happen is asked for again after so long.
const TRANSFER_PAUSE: Duration = Duration::from_secs(2);
/// A clock may be out of agreement for so long before leadership moves.
const UNSYNCED_MAX: Duration = Duration::from_secs(1);
/// A voter further behind is not given the lead.
const LAG_MAX: u64 = 32;

/// What the decision is made from.
#[derive(Debug)]
struct View<'a> {
    own: u64,
    status: &'a GroupStatus,
    /// Why this node should not lead.
    unfit: bool,
    preferred: Option<&'a str>,
    settled: bool,
}

/// To whom leadership should go.
fn target(view: &View<'_>) -> Option<u64> {
    let status = view.status;
    if status.role != Role::Leader {
        return None;
    }
    let sound = |id: &u64| {
        *id != view.own
            && status.replication.get(id).is_some_and(|at| at + LAG_MAX >= status.last_log)
    };
    let region = |id: &u64| status.members.get(id).map(|member| member.region.as_str());
    let preferred = |id: &u64| view.preferred.is_some() && region(id) == view.preferred;
    let mut sound: Vec<u64> = status.voters.iter().copied().filter(|id| sound(id)).collect();
    // The preferred region first; among equals the one that is furthest.
    sound
        .sort_by_key(|id| (!preferred(id), std::cmp::Reverse(status.replication.get(id).copied())));
    let best = sound.first().copied()?;
    let misplaced = view.preferred.is_some() && !preferred(&view.own) && preferred(&best);
    (view.unfit || (misplaced && view.settled)).then_some(best)
}

/// Looks after one group's leadership for as long as it lives here.
pub(crate) async fn run(context: Arc<NodeContext>, groups: Arc<Groups>, hosted: Arc<Hosted>) {
    let own = context.identity.node;
    let mut leading_since: Option<Instant> = None;
    let mut unsynced_since: Option<Instant> = None;
    let mut asked: Option<Instant> = None;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let status = hosted.handle.status();
        let voters: Vec<u64> = status.voters.iter().copied().collect();
        let agreed = matches!(context.clock.agreement(own, &voters), Agreement::Agreed { .. });
        unsynced_since =
            if agreed { None } else { unsynced_since.or_else(|| Some(Instant::now())) };
        let unsynced = unsynced_since.is_some_and(|since| since.elapsed() >= UNSYNCED_MAX);
        let keyless = lacks_key(&context, &hosted).unwrap_or(true);
        let recovering = status.recovering.is_some();
        let unfit = context.draining() || context.disk_full() || unsynced || keyless || recovering;
        hosted.handle.allow_campaign(!unfit);
        leading_since = match status.role {
            Role::Leader => leading_since.or_else(|| Some(Instant::now())),
            _ => None,
        };
        let settled = leading_since.is_some_and(|since| since.elapsed() >= SETTLED);
        let preferred = preferred_region(&groups, hosted.handle.group());
        let view = View { own, status: &status, unfit, preferred: preferred.as_deref(), settled };
        let pausing = asked.is_some_and(|asked| asked.elapsed() < TRANSFER_PAUSE);
        if let Some(to) = target(&view).filter(|_| !pausing) {
            asked = Some(Instant::now());
            tracing::info!(group = hosted.handle.group(), to, unfit, "leadership moves");
            if let Err(error) = hosted.handle.transfer(to).await {
                tracing::warn!(group = hosted.handle.group(), to, %error, "it did not move");
            }
            leading_since = Some(Instant::now());
        }
    }
}

/// Whether an authority that is active here has its private key elsewhere.
fn lacks_key(context: &NodeContext, hosted: &Hosted) -> Result<bool, StoreError> {
    let group = hosted.handle.replica().read()?.group()?;
    let active = [Environment::Live, Environment::Sandbox];
    let mut active =
        active.into_iter().filter_map(|environment| group.active_authority(environment));
    Ok(active.any(|authority| context.authority_key(&authority.id).is_none()))
}

/// The region where a group's leader should be.
pub(crate) fn preferred_region(groups: &Groups, group: u64) -> Option<String> {
    let directory = groups.get(0)?;
    let reading = directory.handle.replica().read().ok()?;
    let document = reading.document(PLACEMENT_KIND, &group.to_string()).ok()??;
    let region = String::from_utf8(document.bytes).ok()?;
    (!region.is_empty()).then_some(region)
}

/// Asks every voter for its time, again and again.
pub(crate) async fn sample_clocks(context: Arc<NodeContext>, groups: Arc<Groups>) {
    let every = Duration::from_millis(context.config.clock.sample_interval_ms);
    let limit = every.min(Duration::from_secs(1));
    let mut look = tokio::time::interval(every);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let mut voters = BTreeMap::new();
        for hosted in groups.all() {
            let status = hosted.handle.status();
            let members = status.members.into_iter();
            voters.extend(members.filter(|(id, _)| status.voters.contains(id)));
        }
        context.clock.keep(|voter| voters.contains_key(&voter));
        voters.remove(&context.identity.node);
        let asking = voters.into_iter().map(|(voter, member)| {
            let context = context.clone();
            async move {
                let client =
                    context.pool.client(voter, &member.incarnation, &member.rpc, Lane::Control);
                let Ok(mut client) = client else { return };
                let asked = context.clock.read().monotonic;
                let answer = client.clock(fiscus_proto::peer::ClockRequest {});
                if let Ok(Ok(answer)) = tokio::time::timeout(limit, answer).await {
                    let answered = context.clock.read().monotonic;
                    let said_ms = answer.into_inner().unix_ms;
                    context.clock.note(voter, Sample { asked, answered, said_ms });
                }
            }
        });
        futures_util::future::join_all(asking).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fiscus_raft::consensus::Member;

    use super::*;

    fn status(regions: &[(u64, &str, u64)]) -> GroupStatus {
        let member = |region: &str| Member { region: region.to_owned(), ..Member::default() };
        GroupStatus {
            role: Role::Leader,
            term: 1,
            leader: Some(1),
            last_log: 1_000,
            committed: 1_000,
            applied: 1_000,
            snapshot: 0,
            members: regions.iter().map(|(id, region, _)| (*id, member(region))).collect(),
            voters: regions.iter().map(|(id, ..)| *id).collect::<BTreeSet<_>>(),
            replication: regions.iter().map(|(id, _, at)| (*id, *at)).collect(),
            quorum_ack_ms: Some(0),
            stopped: None,
            recovering: None,
        }
    }

    #[test]
    fn leadership_moves_when_it_must_or_when_it_should_and_may() {
        let east_west = [(1, "east", 1_000), (2, "west", 1_000), (3, "west", 998)];
        let late = [(1, "east", 1_000), (2, "west", 10), (3, "west", 20)];
        type Regions<'a> = &'a [(u64, &'a str, u64)];
        type Case<'a> = (Regions<'a>, bool, Option<&'a str>, bool, Option<u64>);
        let rows: [Case<'_>; 7] = [
            (&east_west, false, None, true, None),
            (&east_west, true, None, false, Some(2)),
            (&east_west, false, Some("west"), true, Some(2)),
            (&east_west, false, Some("west"), false, None),
            (&east_west, false, Some("east"), true, None),
            (&east_west, false, Some("north"), true, None),
            (&late, true, Some("west"), true, None),
        ];
        for (regions, unfit, preferred, settled, expected) in rows {
            let status = status(regions);
            let view = View { own: 1, status: &status, unfit, preferred, settled };
            assert_eq!(target(&view), expected, "{view:?}");
        }
        let mut follower = status(&east_west);
        follower.role = Role::Follower;
        let view = View { own: 1, status: &follower, unfit: true, preferred: None, settled: true };
        assert_eq!(target(&view), None);
    }
}
