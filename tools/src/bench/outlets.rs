//! The outlets that sell, and how the cluster comes to know them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fiscus_proto::client::{Answer, ClusterClient, SubmitError};
use fiscus_proto::command::{self as proto, command};
use fiscus_proto::ledger::{Consistency, ReadOutletRequest};
use futures_util::stream::{self, StreamExt, TryStreamExt};

const DIRECTORY: u64 = 0;
/// The first part of their fiscal numbers.
pub(super) const PREFIX: &str = "BENCH";
const WAIT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);
/// How many are registered at once.
pub(super) const TOGETHER: usize = 128;

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct BenchOutlet {
    pub(super) id: String,
    pub(super) merchant_nif: String,
    /// The second part of its fiscal numbers.
    pub(super) code: String,
    /// The group that holds it.
    pub(super) group: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Roster {
    outlets: Vec<BenchOutlet>,
}

impl Roster {
    /// So many, shared out over the data groups.
    pub(super) fn named(count: u32, merchant_nif: &str, client: &ClusterClient) -> Self {
        let groups: Vec<u64> = client.data_groups().into_iter().map(|(group, _)| group).collect();
        Self::of_groups(count, merchant_nif, &groups)
    }

    pub(super) fn of_groups(count: u32, merchant_nif: &str, groups: &[u64]) -> Self {
        let outlet = |number: u32| BenchOutlet {
            id: format!("bench-{number:05}"),
            merchant_nif: merchant_nif.to_owned(),
            code: format!("B{number:05}"),
            group: groups[number as usize % groups.len()],
        };
        Self { outlets: (0..count).map(outlet).collect() }
    }

    /// The outlet of a device, wherever it is.
    pub(super) async fn of_device(
        id: &str,
        merchant_nif: &str,
        client: &ClusterClient,
    ) -> Result<Self> {
        for (group, _) in client.data_groups() {
            let request = ReadOutletRequest {
                group,
                outlet_id: id.to_owned(),
                consistency: Consistency::Linearizable.into(),
            };
            if !client.read_outlet(request, WAIT).await?.row.is_empty() {
                let (id, merchant_nif) = (id.to_owned(), merchant_nif.to_owned());
                let outlet = BenchOutlet { id, merchant_nif, code: String::new(), group };
                return Ok(Self { outlets: vec![outlet] });
            }
        }
        bail!("no group has the outlet {id}: name the device's outlet with --device-outlet")
    }

    pub(super) fn outlets(&self) -> &[BenchOutlet] {
        &self.outlets
    }

    pub(super) fn len(&self) -> usize {
        self.outlets.len()
    }

    pub(super) fn group(&self, outlet: usize) -> u64 {
        self.outlets[outlet].group
    }
}

/// Registers them; one that is there already stays.
pub(super) async fn register(client: &ClusterClient, roster: &Roster) -> Result<()> {
    let all = stream::iter(roster.outlets())
        .map(|outlet| register_one(client, outlet))
        .buffer_unordered(TOGETHER)
        .try_collect::<Vec<()>>();
    all.await?;
    Ok(())
}

async fn register_one(client: &ClusterClient, outlet: &BenchOutlet) -> Result<()> {
    let fact = proto::OutletFact {
        outlet_id: outlet.id.clone(),
        merchant_nif: outlet.merchant_nif.clone(),
        prefix: PREFIX.to_owned(),
        code: outlet.code.clone(),
        group: outlet.group,
        status: proto::OutletStatus::Active.into(),
        environment: proto::Environment::Live.into(),
        signing_mode: proto::SigningMode::Cluster.into(),
    };
    let register = command::Command::RegisterOutlet(proto::RegisterOutlet { fact: Some(fact) });
    let command = proto::Command { command: Some(register) };
    let began = Instant::now();
    loop {
        match client.submit(DIRECTORY, command.clone(), WAIT).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_)) => return Ok(()),
            Ok(Answer::Refused(refusal)) if refusal.code == "OUTLET_EXISTS" => return Ok(()),
            Ok(answer) => bail!("{} was not registered: {answer:?}", outlet.id),
            Err(SubmitError::Malformed { detail }) => {
                bail!("{} was not registered: {detail}", outlet.id)
            }
            Err(error) => ensure!(began.elapsed() < PATIENCE, "{}: {error}", outlet.id),
        }
    }
}
