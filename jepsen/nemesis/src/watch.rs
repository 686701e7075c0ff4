//! Looks at the nodes while the load runs: who leads, what state each replica is in, which signed states it shows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use fiscus_check::line::{Checkpoint, Digest, Line, State};
use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::{Cluster, GROUP};
use crate::operator::Operator;
use crate::record::Recorder;

const EVERY: Duration = Duration::from_millis(100);
/// A checkpoint is asked for with every so many looks.
const CHECKPOINTS_EVERY: u64 = 10;

/// Addresses of the nodes as they are now.
pub(crate) fn addresses(cluster: &Mutex<Cluster>) -> Vec<(u64, String)> {
    let cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.ids().into_iter().map(|id| (id, cluster.address(id))).collect()
}

/// Looks until it is dropped.
pub(crate) async fn run(
    cluster: Arc<Mutex<Cluster>>,
    operator: Operator,
    recorder: Recorder,
) -> Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A node that says two things of one entry, or of one size, is noted with both.
    let mut known: BTreeSet<(u64, u64, u64, [u8; 32])> = BTreeSet::new();
    let mut shown: BTreeSet<(u64, u64, [u8; 32])> = BTreeSet::new();
    let (mut last_leader, mut last_term) = (0, 0);
    for look in 0.. {
        ticks.tick().await;
        let nodes = addresses(&cluster);
        let asked = nodes.iter().map(|(_, address)| operator.status(address));
        let told = join_all(asked).await;
        let mut leads = None;
        for ((id, _), status) in nodes.iter().zip(told) {
            let Some(status) = status else { continue };
            for replica in status.replicas {
                if replica.group == GROUP && replica.role == "leader" {
                    leads = leads.max(Some((replica.term, *id)));
                }
                let (group, index) = (replica.group, replica.state_index);
                let Ok(hash) = <[u8; 32]>::try_from(&*replica.state_hash) else { continue };
                if index > 0 && known.insert((*id, group, index, hash)) {
                    let node = format!("n{id}").into();
                    recorder.line(&Line::State(State {
                        group,
                        node,
                        index,
                        hash: Digest(hash),
                    }))?;
                }
            }
        }
        if let Some((term, _)) = leads.filter(|(term, _)| *term > last_term) {
            last_term = term;
            let now = recorder.now();
            recorder.seen().terms.push(now);
        }
        if let Some((_, leader)) = leads.filter(|(_, leader)| *leader != last_leader) {
            last_leader = leader;
            let now = recorder.now();
            recorder.seen().leaders.push((now, leader));
        }
        if look % CHECKPOINTS_EVERY == 0 {
            let asked = nodes.iter().map(|(_, address)| operator.checkpoint(address));
            for ((id, _), told) in nodes.iter().zip(join_all(asked).await) {
                let Some((size, root)) =
                    told.filter(|(size, root)| shown.insert((*id, *size, *root)))
                else {
                    continue;
                };
                let (group, root, source) = (GROUP, Digest(root), format!("n{id}").into());
                recorder.line(&Line::Checkpoint(Checkpoint { group, size, root, source }))?;
            }
        }
    }
    Ok(())
}
