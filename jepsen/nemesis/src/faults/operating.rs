//! What operators do while everything else goes wrong: it is no fault, and must not be one.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fiscus_dice::Dice;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{CAUGHT_UP, Done, Faults};
use crate::cluster::GROUP;
use crate::watch::addresses;

const STOP_WAIT: Duration = Duration::from_secs(40);
const COMMAND: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(500);

impl Faults {
    /// An operator tries again what could not be done now.
    async fn persist(&self, arguments: &str) -> Result<String> {
        let began = Instant::now();
        loop {
            match self.operator.run(arguments, COMMAND).await {
                Ok(told) => return Ok(told),
                Err(error) if began.elapsed() > COMMAND => return Err(error),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    pub(super) async fn members(&self, dice: &mut Dice) -> Result<Done> {
        let new = self.lock().ids().into_iter().max().context("there are nodes")? + 1;
        let address = {
            let mut cluster = self.lock();
            cluster.add(new)?;
            cluster.address(new)
        };
        let added = self.persist(&format!("nodes add {address} --yes")).await;
        if let Err(error) = added {
            // Whether it belongs to some groups already is not known: it stays, and is added in the end.
            return Err(error.context(format!("node {new} is not added")));
        }
        let ids: Vec<u64> = self.lock().ids().into_iter().filter(|id| *id != new).collect();
        let old = *ids.get(usize::try_from(dice.below(ids.len() as u64))?).context("one goes")?;
        self.persist(&format!("nodes remove {old} --yes")).await?;
        let mut cluster = self.lock();
        cluster.forget(old);
        let left = cluster.ids();
        cluster.write_profile(&left)?;
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
            if cluster.make.previous.is_none() {
                bail!("name the older program: --previous FILE");
            }
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
                if !how.contains("status: 0") {
                    self.recorder.remark(format!("node {id} was asked to stop, and ended: {how}"));
                }
                break;
            }
            if began.elapsed() > STOP_WAIT {
                self.recorder
                    .remark(format!("node {id} does not stop within {STOP_WAIT:?}: it is killed"));
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
        let how = if self.operator.run(&asked, COMMAND).await.is_ok() { "" } else { " (not done)" };
        Ok(Done { target: format!("to n{to}{how}"), ..Done::default() })
    }

    pub(super) async fn snapshot(&self, dice: &mut Dice) -> Result<Done> {
        let ids = self.lock().ids();
        let of = *ids.get(usize::try_from(dice.below(ids.len() as u64))?).context("a node")?;
        let asked = format!("snapshot {GROUP} --node {of}");
        let how = if self.operator.run(&asked, COMMAND).await.is_ok() { "" } else { " (not done)" };
        Ok(Done { target: format!("of n{of}{how}"), ..Done::default() })
    }
}
