//! Reads everything that a group holds on this node, says what is wrong, and mends it on demand.
//!
//! ```text
//! pass ─► findings ─► mend (leaves, records, signatures, nodes)   ─┐
//!                 ├─► open anew from snapshot and log (index)     ─┼─► pass again ─► finished
//!                 └─► take all of it from the peers (the rest)    ─┘
//! ```
//!
//! Apply goes on meanwhile: a pass looks at what was there when it began, in steps.

mod copy;
mod mend;
mod pass;

use std::sync::Arc;
use std::time::Duration;

use fiscus_proto::admin::Progress;
use fiscus_raft::store::{Step, StoreError};
use fiscus_raft::threads::aside;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::context::NodeContext;
use crate::groups::{Groups, Hosted};
use crate::recovery;
pub(crate) use copy::sound_record;
use mend::{Peers, mend};
use pass::{DAMAGE_MAX, Pass, Stepped};

/// How often a repair looks again.
const ROUNDS: usize = 3;
/// Messages that wait for the network.
const MESSAGES_MAX: usize = 64;
/// A replica that is taken anew is complete within this time, or the operator looks again.
const REBUILD_WAIT: Duration = Duration::from_secs(600);
/// Between two looks whether it is.
const REBUILD_POLL: Duration = Duration::from_millis(100);

/// Begins a scrub; `leaves_per_s` bounds how fast it goes.
pub(crate) fn start(
    context: Arc<NodeContext>,
    groups: Arc<Groups>,
    group: u64,
    repair: bool,
    leaves_per_s: Option<u64>,
) -> impl Stream<Item = Result<Progress, Status>> + Send + use<> {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    tokio::spawn(async move {
        let scrub = Scrub { context, groups, group, sender, leaves_per_s };
        if let Err(status) = scrub.run(repair).await {
            // Whoever asked may have gone.
            let _ = scrub.sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

/// What a pass calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Remedy {
    Nothing,
    Mend,
    Rebuild(Step, String),
}

fn remedy(pass: &Pass) -> Remedy {
    if !pass.is_committed() {
        let why = "its leaves are not those that the group committed to".to_owned();
        return Remedy::Rebuild(Step::Refetch, why);
    }
    if pass.damage.len() > DAMAGE_MAX || pass.nodes.len() > DAMAGE_MAX {
        return Remedy::Rebuild(Step::Refetch, "too much of it is damaged".to_owned());
    }
    if !pass.damage.is_empty() || !pass.nodes.is_empty() {
        return Remedy::Mend;
    }
    match &pass.index {
        Some(why) => Remedy::Rebuild(Step::Reindex, format!("its index is damaged: {why}")),
        None => Remedy::Nothing,
    }
}

struct Scrub {
    context: Arc<NodeContext>,
    groups: Arc<Groups>,
    group: u64,
    sender: mpsc::Sender<Result<Progress, Status>>,
    leaves_per_s: Option<u64>,
}

/// Whoever asked has gone: there is nobody to work for.
fn gone<T>(_: T) -> Status {
    Status::cancelled("nobody listens any more")
}

fn lost(error: &StoreError) -> Status {
    Status::data_loss(error.to_string())
}

impl Scrub {
    async fn say(&self, progress: Progress) -> Result<(), Status> {
        self.sender.send(Ok(progress)).await.map_err(gone)
    }

    async fn step(&self, step: &str, done: u64, total: u64) -> Result<(), Status> {
        self.say(Progress { step: step.to_owned(), done, total, ..Progress::default() }).await
    }

    /// Says what was found, and how much that is.
    async fn found(&self, findings: Vec<String>) -> Result<u64, Status> {
        let count = findings.len() as u64;
        for finding in findings {
            tracing::error!(group = self.group, finding, "a scrub has found damage");
            self.say(Progress { finding, ..Progress::default() }).await?;
        }
        Ok(count)
    }

    async fn repaired(&self, repaired: String) -> Result<(), Status> {
        tracing::info!(group = self.group, repaired, "a scrub has mended damage");
        self.say(Progress { repaired, ..Progress::default() }).await
    }

    /// Nothing else is held up by a scrub that has time.
    async fn rest_after(&self, leaves: u64) {
        if let Some(rate) = self.leaves_per_s {
            tokio::time::sleep(Duration::from_millis(leaves.saturating_mul(1_000) / rate.max(1)))
                .await;
        }
    }

    fn hosted(&self) -> Result<Arc<Hosted>, Status> {
        let hosted = self.groups.get(self.group);
        hosted.ok_or_else(|| Status::unavailable("the group is not open on this node"))
    }

    async fn run(&self, repair: bool) -> Result<(), Status> {
        if repair {
            if let Some(why) = self.hosted()?.handle.recovering()
                && !self.hosted()?.handle.replica().quarantined()
            {
                let what =
                    format!("the replica is recovering; scrub it when it has caught up: {why}");
                return Err(Status::failed_precondition(what));
            }
            self.lift_quarantine().await?;
        }
        let (mut pass, mut left) = self.pass().await?;
        // Each round takes away one kind of damage; what is left after the last one is only said.
        for _ in 0..ROUNDS {
            let rebuild = match remedy(&pass) {
                _ if !repair => break,
                Remedy::Nothing => break,
                Remedy::Mend => self.mend(&pass).await?,
                Remedy::Rebuild(step, why) => Some((step, why)),
            };
            // The replica is only closed when nobody holds it.
            drop(pass);
            if let Some((step, why)) = rebuild {
                self.rebuild(step, &why).await?;
            }
            (pass, left) = self.pass().await?;
        }
        let total = pass.leaves;
        let sound = remedy(&pass) == Remedy::Nothing;
        if sound {
            pass.replica().harm().forget();
        }
        let left = left.max(u64::from(!sound));
        self.say(Progress {
            step: "finished".to_owned(),
            done: total,
            total,
            finished: true,
            left: Some(left),
            ..Progress::default()
        })
        .await
    }

    /// Mends what it can; what is left calls for a replica that is taken anew.
    async fn mend(&self, pass: &Pass) -> Result<Option<(Step, String)>, Status> {
        let peers = Peers::of(self.context.clone(), &self.hosted()?.handle);
        let mended = mend(&self.context, &peers, pass).await.map_err(|error| lost(&error))?;
        for repaired in mended.repaired {
            self.repaired(repaired).await?;
        }
        let left = mended.left;
        let why = || format!("{left} of its leaves have no sound copy by themselves");
        Ok((left > 0).then(|| (Step::Refetch, why())))
    }

    /// A replica that diverged, or that an error keeps out of service, is taken anew.
    async fn lift_quarantine(&self) -> Result<(), Status> {
        let hosted = self.hosted()?;
        if !hosted.handle.replica().quarantined() {
            return Ok(());
        }
        let why = hosted.handle.status().stopped.unwrap_or_default();
        drop(hosted);
        self.found(vec![format!("group {}: {why}", self.group)]).await?;
        self.rebuild(Step::Refetch, &why).await
    }

    /// Nothing is thrown away unless another node leads, which then has all that was committed, and a
    /// majority has confirmed it just now.
    async fn check_that_peers_have_it(&self) -> Result<(), Status> {
        let hosted = self.hosted()?;
        let refuse = |what: &str| Err(Status::failed_precondition(what.to_owned()));
        if hosted.handle.status().voters.len() < 2 {
            return refuse("there is no other voter to take the group from; restore a backup");
        }
        if hosted.handle.leading().is_some() {
            return refuse(
                "this node leads the group; let another lead first (`fiscus admin groups transfer`), \
                 and scrub again",
            );
        }
        match recovery::confirmed_index(&self.context, &hosted).await {
            Some(_) => Ok(()),
            None => refuse(
                "no other node leads the group with a majority, so that this replica may be the only \
                 one that has everything: it stays as it is; scrub again when the others are back",
            ),
        }
    }

    async fn rebuild(&self, step: Step, why: &str) -> Result<(), Status> {
        if step == Step::Refetch {
            self.check_that_peers_have_it().await?;
        }
        self.step("rebuild", 0, 0).await?;
        let reopened = self.groups.reopen(self.group, Some((step, why))).await;
        reopened.map_err(|error| Status::unavailable(error.to_string()))?;
        let complete = async {
            loop {
                tokio::time::sleep(REBUILD_POLL).await;
                let Some(hosted) = self.groups.get(self.group) else { continue };
                let status = hosted.handle.status();
                let there = status.leader.is_some() && status.applied > 0;
                if there && status.recovering.is_none() && status.stopped.is_none() {
                    return;
                }
            }
        };
        if tokio::time::timeout(REBUILD_WAIT, complete).await.is_err() {
            let what =
                format!("it has not caught up within {REBUILD_WAIT:?}; it goes on by itself");
            return Err(Status::deadline_exceeded(what));
        }
        let from = match step {
            Step::Reindex => "the snapshot and the log",
            Step::Refetch | Step::CatchUp | Step::Quarantine => "its peers",
        };
        self.repaired(format!("group {}: rebuilt from {from}: {why}", self.group)).await
    }

    /// Reads everything once; says how much is wrong.
    async fn pass(&self) -> Result<(Pass, u64), Status> {
        let mut findings = 0;
        let hosted = self.hosted()?;
        let peers = Peers::of(self.context.clone(), &hosted.handle);
        let mut pass =
            Pass::begin(hosted.handle.replica().clone()).map_err(|error| lost(&error))?;
        drop(hosted);
        loop {
            let before = pass.next;
            let (back, stepped) = in_background(pass, Pass::step).await?;
            pass = back;
            self.rest_after(pass.next - before).await;
            findings += self.found(std::mem::take(&mut pass.findings)).await?;
            self.step("leaves", pass.next, pass.leaves).await?;
            match stepped {
                Stepped::More => {}
                Stepped::Stuck(leaf) => {
                    let copies = peers.fetch(leaf, leaf + 1, |_, _| true).await;
                    pass.supply(copies.get(&leaf).map(|copy| copy.hash))
                        .map_err(|error| lost(&error))?;
                }
                Stepped::End => break,
            }
        }
        pass.check_root();
        self.step("index", 0, 0).await?;
        loop {
            let (back, more) = in_background(pass, Pass::step_rows).await?;
            pass = back;
            if !more {
                break;
            }
        }
        let (mut pass, ()) = in_background(pass, Pass::check_outlets).await?;
        findings += self.found(std::mem::take(&mut pass.findings)).await?;
        Ok((pass, findings))
    }
}

/// Does what reads the disk without holding up the others.
async fn in_background<T: Send + 'static>(
    mut pass: Pass,
    work: impl FnOnce(&mut Pass) -> Result<T, StoreError> + Send + 'static,
) -> Result<(Pass, T), Status> {
    let done = aside(move || {
        let done = work(&mut pass);
        (pass, done)
    });
    let (pass, done) = done.await.map_err(|error| Status::internal(error.to_string()))?;
    done.map(|done| (pass, done)).map_err(|error| lost(&error))
}
