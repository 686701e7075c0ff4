//! The operator: founds the cluster, and carries out what the seed orders.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::manifest::Manifest;
use fiscus_proto::admin::admin_client::AdminClient;
use fiscus_proto::admin::change_members_request::Change;
use fiscus_proto::admin::{
    ChangeMembersRequest, ExecuteRequest, InitRequest, KeysRequest, ProveAuthorityRequest,
    ReplicaStatus, ScrubRequest, SnapshotRequest, StatusRequest, TransferRequest,
};
use fiscus_proto::client::{Answer, ClientConfig, ClientLimits, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::dial::connect_lazy;
use fiscus_proto::ledger::submit_response::Result as Told;
use tonic::transport::{Channel, Endpoint};

use crate::keys::AUTHORITY;
use crate::network;
use crate::world::{Order, Phase, World};

pub(crate) const MERCHANT: &str = "A1234567B";
pub(crate) const TERMINAL: &str = "till-1";
/// The outlets: two that are busy.
pub(crate) const OUTLETS: [&str; 2] = ["outlet-gombe", "outlet-limete"];
/// Groups with outlets: one.
pub(crate) const DATA_GROUP: u64 = 1;
const CODES: [&str; 2] = ["GOMBE", "LIMETE"];
const PAUSE: Duration = Duration::from_millis(20);
const CALL: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

/// A client of the cluster, as a gateway has one.
pub(crate) fn client(nodes: u64, jitter: u64) -> Result<ClusterClient> {
    let seeds = (1..=nodes).map(network::address).collect();
    let limits = ClientLimits {
        connect_timeout: Duration::from_millis(250),
        attempt_timeout: Duration::from_millis(500),
        ..ClientLimits::default()
    };
    let config = ClientConfig {
        limits,
        jitter_seed: Some(jitter),
        dialer: Some(network::dialer()),
        ..ClientConfig::new(seeds, None)
    };
    Ok(ClusterClient::new(config)?)
}

/// The operator's life.
pub(crate) async fn run(world: World, voters: u64) {
    let operator = Operator { world, voters };
    if let Err(error) = operator.found().await {
        return operator.world.broke(format!("the cluster was not founded: {error:#}"));
    }
    operator.world.lock().founded = true;
    loop {
        let order = operator.world.lock().orders.pop_front();
        let Some(order) = order else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let told = operator.carry_out(&order).await.map_err(|error| format!("{error:#}"));
        operator.world.lock().carried_out.push((order, told));
    }
}

struct Operator {
    world: World,
    voters: u64,
}

impl Operator {
    fn admin(id: u64) -> Result<AdminClient<Channel>> {
        let endpoint = Endpoint::from_shared(format!("http://{}", network::address(id)))?
            .connect_timeout(Duration::from_secs(1))
            .timeout(LONG);
        Ok(AdminClient::new(connect_lazy(&endpoint, Some(&network::dialer()))))
    }

    async fn replica(&self, id: u64, group: u64) -> Option<ReplicaStatus> {
        let mut admin = Self::admin(id).ok()?;
        let asked = tokio::time::timeout(CALL, admin.status(StatusRequest {})).await.ok()?.ok()?;
        asked.into_inner().replicas.into_iter().find(|replica| replica.group == group)
    }

    async fn leader(&self, group: u64) -> Result<u64> {
        let machines: Vec<u64> = self.world.lock().machines.keys().copied().collect();
        let waiting = async {
            loop {
                for id in &machines {
                    if self.replica(*id, group).await.is_some_and(|r| r.role == "leader") {
                        return *id;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.context("nobody leads")
    }

    async fn execute(&self, group: u64, command: command::Command) -> Result<()> {
        let command = Some(Command { command: Some(command) });
        let request = ExecuteRequest { group, command, timeout_ms: 5_000 };
        for _ in 0..100 {
            let leader = self.leader(group).await?;
            match Self::admin(leader)?.execute(request.clone()).await {
                Ok(answer) => match answer.into_inner().result {
                    Some(Told::Refused(refused)) => bail!("{refused:?}"),
                    Some(Told::Malformed(wrong)) => bail!("{wrong:?}"),
                    Some(Told::NotLeader(_) | Told::Busy(_) | Told::Unknown(_)) | None => {}
                    Some(_) => return Ok(()),
                },
                Err(status) => tracing::debug!(%status, "an operator's command is repeated"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("a command is not taken")
    }

    async fn found(&self) -> Result<()> {
        let nodes: Vec<String> = (1..=self.voters).map(network::address).collect();
        let begun = async {
            loop {
                let init = InitRequest { nodes: nodes.clone(), data_groups: DATA_GROUP };
                match Self::admin(1)?.init(init).await {
                    Ok(_) => return Ok::<_, anyhow::Error>(()),
                    Err(status) => tracing::debug!(%status, "the cluster does not begin yet"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(LONG, begun).await.context("the cluster does not begin")??;
        self.authorities().await?;
        let json = Manifest::builtin().to_json();
        let publish = proto::PublishManifest { json };
        self.execute(0, command::Command::PublishManifest(publish)).await?;
        for (outlet, code) in OUTLETS.iter().zip(CODES) {
            let fact = proto::OutletFact {
                outlet_id: (*outlet).to_owned(),
                merchant_nif: MERCHANT.to_owned(),
                prefix: "KIN".to_owned(),
                code: code.to_owned(),
                group: DATA_GROUP,
                status: proto::OutletStatus::Active.into(),
                environment: proto::Environment::Live.into(),
                signing_mode: proto::SigningMode::Cluster.into(),
            };
            let register = proto::RegisterOutlet { fact: Some(fact) };
            self.execute(0, command::Command::RegisterOutlet(register)).await?;
        }
        self.open_shifts().await
    }

    async fn authorities(&self) -> Result<()> {
        let keys = Self::admin(1)?.keys(KeysRequest {}).await?.into_inner().keys;
        let key = keys.iter().find(|key| key.name == AUTHORITY).context("no authority")?;
        for group in 0..=DATA_GROUP {
            let mut proofs = Vec::new();
            for voter in 1..=self.voters {
                let request = ProveAuthorityRequest {
                    group,
                    name: key.name.clone(),
                    public_key: key.public_key.clone(),
                };
                let proof = Self::admin(voter)?.prove_authority(request).await?;
                let signature = proof.into_inner().signature;
                proofs.push(proto::VoterProof { voter, signature });
            }
            let prepare = proto::PrepareAuthority {
                name: key.name.clone(),
                public_key: key.public_key.clone(),
                environment: key.environment,
                proofs,
            };
            self.execute(group, command::Command::PrepareAuthority(prepare)).await?;
            let authority_id = key.authority_id.clone();
            let activate = proto::ActivateAuthority { authority_id };
            self.execute(group, command::Command::ActivateAuthority(activate)).await?;
        }
        Ok(())
    }

    /// Opens the shifts as soon as the data group has heard of the outlets.
    async fn open_shifts(&self) -> Result<()> {
        let client = client(self.voters, 1)?;
        for outlet in OUTLETS {
            let open = proto::OpenShift {
                submitted: Some(submitted(outlet, "shift", [0; 32].to_vec())),
                terminal_id: TERMINAL.to_owned(),
                shift_id: "shift-1".to_owned(),
                cashier_id: "cashier-7".to_owned(),
            };
            let command = Command { command: Some(command::Command::OpenShift(open)) };
            let mut tries = 0;
            while let Answer::Refused(refused) =
                client.submit(DATA_GROUP, command.clone(), LONG).await?
            {
                tries += 1;
                if tries > 200 {
                    bail!("the shift does not open: {refused:?}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    async fn carry_out(&self, order: &Order) -> Result<()> {
        match order {
            Order::Transfer { group, to } => {
                let leader = self.leader(*group).await?;
                let request = TransferRequest { group: *group, to: *to };
                Self::admin(leader)?.transfer(request).await?;
            }
            Order::Snapshot { node, group } => {
                Self::admin(*node)?.snapshot(SnapshotRequest { group: *group }).await?;
            }
            Order::Scrub { node, group } => self.scrub(*node, *group).await?,
            Order::Join { node } => {
                for group in 0..=DATA_GROUP {
                    self.change(group, Change::AddLearner(network::address(*node))).await?;
                    self.change(group, Change::Promote(*node)).await?;
                }
            }
        }
        Ok(())
    }

    /// Scrubs until nothing is left to mend; a replica that still recovers is asked again.
    async fn scrub(&self, node: u64, group: u64) -> Result<()> {
        let mut last = String::new();
        for _ in 0..60 {
            match self.scrub_once(node, group).await {
                Ok(0) => return Ok(()),
                Ok(left) => last = format!("{left} findings are left"),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("a scrub does not mend n{node}, group {group}: {last}")
    }

    async fn scrub_once(&self, node: u64, group: u64) -> Result<u64> {
        let request = ScrubRequest { group, repair: true };
        let mut told = Self::admin(node)?.scrub(request).await?.into_inner();
        while let Some(progress) = told.message().await? {
            if progress.finished {
                return progress.left.context("a scrub says what is left");
            }
        }
        bail!("the scrub does not finish")
    }

    /// Changes members of one group; asks again while the group is not ready for it.
    async fn change(&self, group: u64, change: Change) -> Result<()> {
        let mut last = String::new();
        for _ in 0..60 {
            if self.world.phase() == Phase::Quiet {
                bail!("the quiet phase began: {last}");
            }
            let leader = self.leader(group).await?;
            let request = ChangeMembersRequest { group, change: Some(change.clone()) };
            match Self::admin(leader)?.change_members(request).await {
                Ok(_) => return Ok(()),
                Err(status) => last = status.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("members are not changed: {last}")
    }
}

/// What every submission says about itself.
pub(crate) fn submitted(outlet: &str, key: &str, fingerprint: Vec<u8>) -> proto::Submitted {
    let key = payload_hash(key.as_bytes())[..16].to_vec().into();
    proto::Submitted { outlet_id: outlet.to_owned(), key, fingerprint: fingerprint.into() }
}

/// The machines that vote in the beginning.
pub(crate) fn founders(voters: u64) -> BTreeSet<u64> {
    (1..=voters).collect()
}
