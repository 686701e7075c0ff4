//! What operators do while everything else goes wrong: it is no fault, and must not be one.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fiscus_check::Kind;
use fiscus_dice::Dice;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{CAUGHT_UP, Done, Faults};
use crate::cluster::GROUP;
use crate::watch::addresses;

const STOP_WAIT: Duration = Duration::from_secs(40);
const COMMAND: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(500);
/// Once all is healed, what operators had begun is done within this time.
const FINISH_WAIT: Duration = Duration::from_secs(120);

/// What an operator does with a node's membership.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Comes,
    Goes,
}

impl Faults {
    /// An operator tries again what could not be done now.
    async fn persist(&self, arguments: &str, patience: Duration) -> Result<String> {
        let began = Instant::now();
        loop {
            match self.operator.run(arguments, COMMAND).await {
                Ok(told) => return Ok(told),
                Err(error) if began.elapsed() > patience => return Err(error),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    fn unfinished(&self) -> MutexGuard<'_, BTreeMap<u64, Change>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a node come or go. Until that is done, whether it belongs to some groups already is not known.
    async fn change(&self, id: u64, change: Change, patience: Duration) -> Result<()> {
        self.unfinished().insert(id, change);
        let asked = match change {
            Change::Comes => format!("nodes add {} --yes", self.lock().address(id)),
            Change::Goes => format!("nodes remove {id} --yes"),
        };
        match (change, self.persist(&asked, patience).await) {
            // It went in an earlier attempt whose answer was lost.
            (Change::Goes, Err(error)) if error.to_string().contains("there is no node") => {}
            (_, done) => drop(done?),
        }
        self.unfinished().remove(&id);
        let mut cluster = self.lock();
        if matches!(change, Change::Goes) {
            cluster.forget(id);
        }
        let left = cluster.ids();
        cluster.write_profile(&left)
    }

    /// Ends what was begun with members and not done because of faults; whether all of it could be.
    pub(crate) async fn finish_members(&self) -> bool {
        let unfinished = self.unfinished().clone();
        // Where one cannot be ended in all that time, the others are not waited for as well.
        let mut patience = FINISH_WAIT;
        for (id, change) in unfinished {
            if let Err(error) = self.change(id, change, patience).await {
                let what = format!("all is healed, and node {id} still {change:?}: {error:#}");
                self.recorder.finding(Kind::Convergence, what);
                patience = AGAIN;
            }
        }
        patience == FINISH_WAIT
    }

    pub(super) async fn members(&self, dice: &mut Dice) -> Result<Done> {
        let new = self.lock().ids().into_iter().max().context("there are nodes")? + 1;
        self.lock().add(new)?;
        // It stays, and is added in the end.
        let added = self.change(new, Change::Comes, COMMAND).await;
        added.with_context(|| format!("node {new} is not added"))?;
        // Of one that has come half-way nobody knows whether it is there to go.
        let unfinished = self.unfinished().clone();
        let mut ids = self.lock().ids();
        ids.retain(|id| *id != new && !unfinished.contains_key(id));
        ensure!(!ids.is_empty(), "no other node is known to be there");
        let old = *ids.get(usize::try_from(dice.below(ids.len() as u64))?).context("one goes")?;
        self.change(old, Change::Goes, COMMAND).await?;
        Ok(Done { target: format!("n{new} comes, n{old} goes"), ..Done::default() })
    }

    pub(super) async fn rolling(&self) -> Result<Done> {
        let ids = self.lock().ids();
        for id in ids {
            self.restart(id).await?;
        }
        Ok(Done { target: "each in turn".to_owned(), ..Done::default() })
    }

    pub(super) async fn upgrade(&self, dice: &mut Dice) -> Result<Done> {
        let ids = self.lock().ids();
        let id = *ids.get(usize::try_from(dice.below(ids.len() as u64))?).context("a node")?;
        let old = {
            let mut cluster = self.lock();
            let node = cluster.node(id)?;
            node.old = !node.old;
            node.old
        };
        self.restart(id).await?;
        let which = if old { "older" } else { "newer" };
        Ok(Done { target: format!("n{id} to the {which} program"), ..Done::default() })
    }

    /// SIGTERM, the end, and another start; waits until it has everything.
    async fn restart(&self, id: u64) -> Result<()> {
        {
            let mut cluster = self.lock();
            let node = cluster.node(id)?;
            node.held = true;
            node.signal(Signal::TERM)?;
        }
        let began = Instant::now();
        while self.lock().node(id)?.runs() {
            if let Some(how) = self.lock().node(id)?.ended() {
                // Before it listens to signals they end it.
                if !how.contains("status: 0") && !how.contains("SIGTERM") {
                    self.ended_by_itself(
                        format!("node {id} was asked to stop, and ended: {how}"),
                        id,
                    );
                }
                break;
            }
            if began.elapsed() > STOP_WAIT {
                let what = format!("node {id} does not stop within {STOP_WAIT:?}: it is killed");
                self.recorder.finding(Kind::Convergence, what);
                self.lock().node(id)?.kill();
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.start_again(id)?;
        let nodes = addresses(&self.cluster);
        let own = nodes.iter().find(|(known, _)| *known == id).context("it is there")?.1.clone();
        let others = nodes.into_iter().filter(|(known, _)| *known != id);
        let others: Vec<String> = others.map(|(_, address)| address).collect();
        // A network that keeps it away is no reason to wait for ever.
        if self.operator.caught_up(&own, &others, CAUGHT_UP / 3).await.is_err() {
            self.recorder.remark(format!("node {id} was restarted and has not caught up in time"));
        }
        Ok(())
    }

    pub(super) async fn transfer(&self, dice: &mut Dice) -> Result<Done> {
        let ids = self.lock().ids();
        let to = *ids.get(usize::try_from(dice.below(ids.len() as u64))?).context("a node")?;
        // While nobody leads, or the other one is away, it cannot be done.
        let asked = format!("groups transfer {GROUP} --to {to} --yes");
        let undone = self.operator.run(&asked, COMMAND).await.is_err();
        Ok(Done { target: format!("to n{to}"), undone, ..Done::default() })
    }

    pub(super) async fn snapshot(&self, dice: &mut Dice) -> Result<Done> {
        let ids = self.lock().ids();
        let of = *ids.get(usize::try_from(dice.below(ids.len() as u64))?).context("a node")?;
        let asked = format!("snapshot {GROUP} --node {of}");
        let undone = self.operator.run(&asked, COMMAND).await.is_err();
        Ok(Done { target: format!("of n{of}"), undone, ..Done::default() })
    }
}
