//! What is asked of nodes beside the load: how they are, and what an operator does to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_proto::admin::admin_client::AdminClient;
use fiscus_proto::admin::{ReplicaStatus, StatusRequest, StatusResponse};
use fiscus_proto::ledger::Consistency;
use fiscus_proto::ledger::ReadCheckpointRequest;
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::tls::{TlsMaterial, client_config};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{GROUP, tls_files};

const CALL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// An operator; copies share connections.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    dir: PathBuf,
    program: PathBuf,
    tls: TlsMaterial,
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
}

impl Operator {
    pub(crate) fn new(dir: &Path, program: &Path) -> Result<Self> {
        let tls = tls_files(dir, "ops").load()?;
        let (dir, program) = (dir.to_owned(), program.to_owned());
        Ok(Self { dir, program, tls, channels: Arc::default() })
    }

    fn channel(&self, address: &str) -> Result<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?
            .connect_timeout(CALL)
            .http2_keep_alive_interval(CALL)
            .keep_alive_timeout(CALL)
            .keep_alive_while_idle(true)
            .tls_config(client_config(&self.tls))?;
        let channel = endpoint.connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    pub(crate) fn admin(&self, address: &str) -> Result<AdminClient<Channel>> {
        Ok(AdminClient::new(self.channel(address)?))
    }

    pub(crate) fn ledger(&self, address: &str) -> Result<LedgerClient<Channel>> {
        let client = LedgerClient::new(self.channel(address)?);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// What a node says of itself, if it says something soon.
    pub(crate) async fn status(&self, address: &str) -> Option<StatusResponse> {
        let mut admin = self.admin(address).ok()?;
        let asked = timeout(CALL, admin.status(StatusRequest {})).await.ok()?;
        Some(asked.ok()?.into_inner())
    }

    pub(crate) async fn replica(&self, address: &str, group: u64) -> Option<ReplicaStatus> {
        let status = self.status(address).await?;
        status.replicas.into_iter().find(|replica| replica.group == group)
    }

    /// The last signed state of the data group's log that a node has: its size and its root.
    pub(crate) async fn checkpoint(&self, address: &str) -> Option<(u64, [u8; 32])> {
        let consistency = Consistency::Local.into();
        let request = ReadCheckpointRequest { group: GROUP, consistency };
        let mut ledger = self.ledger(address).ok()?;
        let told = timeout(CALL, ledger.read_checkpoint(request)).await.ok()?.ok()?;
        size_and_root(&told.into_inner().checkpoint)
    }

    /// Waits until a node answers, and then until it has what the others have; milliseconds of both.
    pub(crate) async fn caught_up(
        &self,
        address: &str,
        others: &[String],
        patience: Duration,
    ) -> Result<(u64, u64)> {
        let began = Instant::now();
        let until = began + patience;
        let millis = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        while self.status(address).await.is_none() {
            if Instant::now() > until {
                bail!("{address} does not answer within {patience:?}");
            }
            sleep(PAUSE).await;
        }
        let answered = millis();
        let mut goal = 0;
        for other in others {
            if let Some(replica) = self.replica(other, GROUP).await {
                goal = goal.max(replica.committed);
            }
        }
        loop {
            let own = self.replica(address, GROUP).await;
            if own.is_some_and(|own| own.applied >= goal && own.stopped.is_empty()) {
                return Ok((answered, millis()));
            }
            if Instant::now() > until {
                bail!("{address} has not caught up within {patience:?}");
            }
            sleep(PAUSE).await;
        }
    }

    /// Runs `fiscus admin`, and returns what it prints.
    pub(crate) async fn run(&self, arguments: &str, patience: Duration) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(["admin", "--dir"]).arg(&self.dir).args(arguments.split(' '));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let ended = timeout(patience, command.output()).await;
        let ended = ended.map_err(|_| anyhow!("{arguments}: not done within {patience:?}"))??;
        if !ended.status.success() {
            bail!("{arguments}: {}", String::from_utf8_lossy(&ended.stderr));
        }
        String::from_utf8(ended.stdout).context("what fiscus admin prints")
    }
}

/// Size and root that a signed note is about.
pub(crate) fn size_and_root(note: &str) -> Option<(u64, [u8; 32])> {
    let (text, _) = note.split_once("\n\n")?;
    let checkpoint = Checkpoint::parse(&format!("{text}\n")).ok()?;
    Some((checkpoint.size(), *checkpoint.root()))
}
