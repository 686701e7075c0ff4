//! What clients do: each workload is some clients with a habit of their own.

mod audit;
mod blocks;
mod credits;
mod gateways;
mod keys;
mod sales;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use fiscus_dice::Dice;
use fiscus_proto::client::ClusterClient;
use tokio::task::JoinSet;

use crate::cluster::GROUP;
use crate::record::Recorder;
use crate::sales::{close_day, register, seal};
use crate::till::{Floor, Till};

pub(crate) use audit::must_audit;
pub(crate) use gateways::{Gateways, Pair};

/// A key is asked for so long at most while there are faults.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
const HOT: u64 = 3;

/// What some clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// Few busy outlets and many that are not, one sale after the other.
    Sales,
    /// The same key at once through different clients, earlier keys again, other invoices under used keys.
    Keys,
    /// Many sales at once.
    Batches,
    /// Credit notes that race for one original.
    Credits,
    /// Numbers that are lent, sealed offline and brought back.
    Blocks,
    /// Z closures under load.
    Closures,
    /// Linearizable reads.
    Reads,
    /// An auditor, who verifies that each log follows from the one before, and that what was sold is in it.
    Audit,
    /// Outlets that are opened while others sell.
    Admin,
    /// Sales over HTTP, the same key at once through two gateways.
    Gateways,
}

/// The outlets.
#[derive(Debug)]
pub(crate) struct Roster {
    outlets: Vec<(String, String)>,
}

impl Roster {
    pub(crate) fn new(cold: u64) -> Self {
        let hot = (0..HOT).map(|at| (format!("hot-{at}"), format!("H{at}")));
        let cold = (0..cold).map(|at| (format!("cold-{at:03}"), format!("C{at:03}")));
        Self { outlets: hot.chain(cold).collect() }
    }

    pub(crate) fn all(&self) -> &[(String, String)] {
        &self.outlets
    }

    /// Six of ten sales are those of the busy ones.
    pub(crate) fn choose(&self, dice: &mut Dice) -> &str {
        let cold = self.outlets.len() as u64 - HOT;
        let at = match dice.chance(60) || cold == 0 {
            true => dice.below(HOT),
            false => HOT + dice.below(cold),
        };
        &self.outlets[usize::try_from(at).unwrap_or(0)].0
    }

    /// The series of an outlet's numbers.
    pub(crate) fn series(&self, outlet: &str) -> String {
        let known = self.outlets.iter().find(|(id, _)| id == outlet);
        crate::sales::series(known.map_or("", |(_, code)| code))
    }
}

/// What every workload is given.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    pub(crate) clients: Vec<ClusterClient>,
    /// Who may do everything.
    pub(crate) operator: ClusterClient,
    pub(crate) recorder: Recorder,
    pub(crate) floor: Arc<Floor>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) seed: u64,
    /// Clients that sell one sale after the other.
    pub(crate) tills: u64,
    /// Sales a second of all of them; 0 for as many as they can.
    pub(crate) rate: u64,
    pub(crate) gateways: Option<Gateways>,
}

impl Shop {
    pub(crate) fn till(&self, at: u64) -> Till {
        let at = usize::try_from(at).unwrap_or(0) % self.clients.len();
        Till::new(&self.clients[at], &self.recorder, &self.floor)
    }

    fn dice(&self, purpose: &str) -> Dice {
        Dice::new(self.seed, purpose)
    }
}

/// Makes the outlets known, to the directory and to their group.
pub(crate) async fn open(shop: &Shop) -> Result<()> {
    for (outlet, code) in shop.roster.all() {
        register(&shop.operator, outlet, code).await?;
    }
    let till = shop.till(0);
    for (outlet, _) in shop.roster.all() {
        let first = seal(outlet, &format!("first {outlet}"), &format!("first {outlet}"), None)?;
        till.submit(&first, PATIENCE).await?;
    }
    Ok(())
}

/// Lets the clients of some workloads begin.
pub(crate) fn start(shop: &Shop, workloads: &[Workload]) -> JoinSet<Result<()>> {
    let mut running = JoinSet::new();
    for workload in workloads {
        match workload {
            Workload::Sales => {
                for at in 0..shop.tills {
                    running.spawn(sales::sell(shop.clone(), at));
                }
            }
            Workload::Keys => {
                for at in 0..3 {
                    running.spawn(keys::run(shop.clone(), at));
                }
            }
            Workload::Batches => {
                running.spawn(sales::batches(shop.clone()));
            }
            Workload::Credits => {
                for at in 0..2 {
                    running.spawn(credits::run(shop.clone(), at));
                }
            }
            Workload::Blocks => {
                for at in 0..2 {
                    running.spawn(blocks::run(shop.clone(), at));
                }
            }
            Workload::Closures => {
                running.spawn(closures(shop.clone()));
            }
            Workload::Reads => {
                for at in 0..3 {
                    running.spawn(sales::look(shop.clone(), at));
                }
            }
            Workload::Audit => {
                running.spawn(audit::run(shop.clone()));
            }
            Workload::Admin => {
                running.spawn(admin(shop.clone()));
            }
            Workload::Gateways => gateways::start(shop, &mut running),
        }
    }
    running
}

async fn closures(shop: Shop) -> Result<()> {
    let (till, mut dice) = (shop.till(1), shop.dice("closures"));
    let mut at = 0;
    while !shop.floor.stopped() {
        let outlet = shop.roster.choose(&mut dice).to_owned();
        till.submit(&close_day(&outlet, &format!("z {at}")), PATIENCE).await?;
        at += 1;
        tokio::time::sleep(Duration::from_millis(dice.between(200, 800))).await;
    }
    Ok(())
}

/// Outlets come and are sold in; what an operator does goes on while there are faults.
async fn admin(shop: Shop) -> Result<()> {
    let (till, mut dice) = (shop.till(2), shop.dice("admin"));
    let mut at = 0;
    while !shop.floor.stopped() {
        let start = shop.recorder.now();
        let (outlet, code) = (format!("new-{at}"), format!("N{at}"));
        // While nobody leads the directory it cannot be registered; the next one can.
        match register(&shop.operator, &outlet, &code).await {
            Ok(()) => {
                till.note("register", start, None)?;
                let sale = seal(&outlet, &format!("sale {outlet}"), &outlet, None)?;
                till.submit(&sale, PATIENCE).await?;
            }
            Err(error) => till.note("register", start, Some(format!("{error:#}")))?,
        }
        at += 1;
        tokio::time::sleep(Duration::from_millis(dice.between(500, 1_500))).await;
    }
    Ok(())
}

/// The data group, for what is not an outlet's.
pub(crate) const DATA: u64 = GROUP;
