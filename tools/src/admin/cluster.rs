//! Talking to a cluster as an operator: any node tells of the others, and what only a leader can do goes
//! to the leader.
//!
//! Invariant: once a command was handed to a connection, nothing but a node's own word says that it was
//! not taken; every wait has an end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use fiscus_proto::admin::admin_client::AdminClient;
use fiscus_proto::admin::{ExecuteRequest, StatusRequest, StatusResponse};
use fiscus_proto::client::{ClientConfig, ClusterClient};
use fiscus_proto::command::Command;
use fiscus_proto::ledger::submit_response::Result as Answer;
use fiscus_proto::tls::{TlsFiles, TlsMaterial, client_config, only_node};
use serde::{Deserialize, Serialize};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// The file in a directory that says how its cluster is reached.
pub(crate) const PROFILE: &str = "admin.toml";
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// A node that hangs in the middle of a long call is noticed within twice this time.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const STATUS_WAIT: Duration = Duration::from_secs(3);
/// A leader is found, or there is none.
const LEADER_WAIT: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// A leader has this long for a command, and tells before that what it knows.
const EXECUTE_WAIT: Duration = Duration::from_secs(15);
const EXECUTE_TIMEOUT_MS: u32 = 10_000;
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Which cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Connection {
    /// A directory with an admin.toml that says how the cluster is reached, as `fiscus demo` leaves it.
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// A node as host:port; any one will do. May be given more than once.
    #[arg(long = "node-address", value_name = "HOST:PORT", global = true)]
    nodes: Vec<String>,
    /// The certificate of the cluster's CA.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Your certificate, with the role admin.
    #[arg(long, value_name = "FILE", global = true)]
    cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", global = true)]
    key: Option<PathBuf>,
    /// Plain text, to nodes on this machine that run so.
    #[arg(long, global = true)]
    insecure: bool,
}

/// How a cluster is reached; paths are relative to the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) nodes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
}

impl Connection {
    /// A connection as a directory describes it.
    pub(crate) fn of_dir(dir: &Path) -> Self {
        Self { dir: Some(dir.to_owned()), ..Self::default() }
    }

    /// The directory that describes the cluster.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Reads what is needed; nothing is sent yet.
    pub(crate) fn open(&self) -> Result<Cluster> {
        let profile = match &self.dir {
            Some(dir) => read_profile(dir)?,
            None => Profile {
                nodes: self.nodes.clone(),
                ca: self.ca.clone(),
                cert: self.cert.clone(),
                key: self.key.clone(),
            },
        };
        ensure!(
            !profile.nodes.is_empty(),
            "name the cluster: --dir DIR with an {PROFILE}, or --node-address HOST:PORT with --ca, --cert \
             and --key"
        );
        let tls = match (profile.ca, profile.cert, profile.key) {
            (Some(ca), Some(cert), Some(key)) => Some(TlsFiles { ca, cert, key }.load()?),
            (None, None, None) if self.insecure => None,
            _ => bail!("give --ca, --cert and --key; plain text only works with --insecure"),
        };
        Ok(Cluster { seeds: profile.nodes, tls })
    }
}

fn read_profile(dir: &Path) -> Result<Profile> {
    let path = dir.join(PROFILE);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut profile: Profile = toml::from_str(&text).with_context(|| path.display().to_string())?;
    for file in [&mut profile.ca, &mut profile.cert, &mut profile.key].into_iter().flatten() {
        *file = dir.join(&*file);
    }
    Ok(profile)
}

/// A command that the rules refuse; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub(crate) struct Refusal {
    pub(crate) code: String,
    detail: String,
}

/// A command that may have happened.
#[derive(Debug, thiserror::Error)]
#[error("whether it happened is not known: {detail}; look before you try again")]
pub(crate) struct OutcomeUnknown {
    pub(crate) detail: String,
}

/// A cluster to be operated.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    seeds: Vec<String>,
    tls: Option<TlsMaterial>,
}

/// A node's own view, or why there is none.
#[derive(Debug)]
pub(crate) struct NodeView {
    pub(crate) address: String,
    /// Known from others when it does not answer.
    pub(crate) id: Option<u64>,
    pub(crate) status: Result<StatusResponse, String>,
}

impl Cluster {
    /// Leads to one node, or to any that is there when none is named.
    fn endpoint(&self, address: &str, node: Option<u64>) -> Result<Endpoint> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .with_context(|| format!("{address} is not an address"))?
            .connect_timeout(CONNECT_WAIT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        if let Some(tls) = &self.tls {
            let any = client_config(tls);
            endpoint = endpoint.tls_config(match node {
                Some(id) => only_node(any, id),
                None => any,
            })?;
        }
        Ok(endpoint)
    }

    /// A client of whichever node is at an address, which connects when it is used.
    pub(crate) fn node(&self, address: &str) -> Result<AdminClient<Channel>> {
        Ok(client_on(self.endpoint(address, None)?.connect_lazy()))
    }

    /// A client of one node that is connected: what fails from here on may have arrived.
    async fn connected(&self, node: u64, address: &str) -> Result<AdminClient<Channel>> {
        let connecting = self.endpoint(address, Some(node))?;
        let connected = tokio::time::timeout(STATUS_WAIT, connecting.connect()).await;
        let channel = connected.map_err(|_| anyhow!("no connection within {STATUS_WAIT:?}"))?;
        Ok(client_on(channel?))
    }

    /// The client that points of sale use, with an operator's certificate.
    pub(crate) async fn client(&self) -> Result<ClusterClient> {
        let config = ClientConfig::new(self.seeds.clone(), self.tls.clone());
        Ok(ClusterClient::connect(config).await?)
    }

    async fn view(&self, address: String) -> NodeView {
        let asked = async {
            let mut client = self.node(&address)?;
            let answer = tokio::time::timeout(STATUS_WAIT, client.status(StatusRequest {})).await;
            let answer = answer.map_err(|_| anyhow!("no answer within {STATUS_WAIT:?}"))?;
            answer.map(tonic::Response::into_inner).map_err(|status| anyhow!(explain(&status)))
        };
        let status = asked.await.map_err(|error: anyhow::Error| format!("{error:#}"));
        let id = status.as_ref().ok().and_then(|answer| answer.node.as_ref()).map(|node| node.id);
        NodeView { address, id, status }
    }

    /// Asks every node that somebody knows.
    pub(crate) async fn views(&self) -> Vec<NodeView> {
        let mut asked: BTreeSet<String> = BTreeSet::new();
        let mut views: Vec<NodeView> = Vec::new();
        let mut next: Vec<String> = self.seeds.clone();
        while !next.is_empty() {
            let fresh: Vec<String> =
                next.drain(..).filter(|address| asked.insert(address.clone())).collect();
            let asking = fresh.into_iter().map(|address| self.view(address));
            let answers = futures_util::future::join_all(asking).await;
            for view in &answers {
                let members = view.status.iter().flat_map(|answer| &answer.members);
                next.extend(members.map(|member| member.rpc.clone()));
            }
            views.extend(answers);
        }
        name_silent_nodes(&mut views);
        views.sort_by_key(|view| (view.id.unwrap_or(u64::MAX), view.address.clone()));
        views.dedup_by(|later, first| later.id.is_some() && later.id == first.id);
        views
    }

    /// The node that leads a group at this moment.
    async fn leader_if_any(&self, group: u64) -> Option<(u64, String)> {
        // Two leaders are told of while the old one has not heard yet: the higher term is right.
        let mut leads: Option<(u64, u64, String)> = None;
        for view in self.views().await {
            let Ok(status) = &view.status else { continue };
            let own = status.replicas.iter().find(|r| r.group == group && r.role == "leader");
            if let (Some(node), Some(replica)) = (&status.node, own)
                && leads.as_ref().is_none_or(|(term, ..)| *term < replica.term)
            {
                leads = Some((replica.term, node.id, view.address.clone()));
            }
        }
        let (_, id, address) = leads?;
        Some((id, address))
    }

    /// The leader of a group, and where it is.
    pub(crate) async fn leader(&self, group: u64) -> Result<(u64, AdminClient<Channel>)> {
        let (id, address) = self.leader_address(group).await?;
        Ok((id, client_on(self.endpoint(&address, Some(id))?.connect_lazy())))
    }

    async fn leader_address(&self, group: u64) -> Result<(u64, String)> {
        let until = Instant::now() + LEADER_WAIT;
        loop {
            if let Some(leader) = self.leader_if_any(group).await {
                return Ok(leader);
            }
            ensure!(
                Instant::now() < until,
                "group {group} has no leader; see `fiscus admin status`"
            );
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Has a command executed by a group's leader. A command that was not taken is sent again; one whose
    /// outcome is not known is not.
    pub(crate) async fn execute(&self, group: u64, command: &Command) -> Result<Answer> {
        self.execute_within(group, command, EXECUTE_WAIT).await
    }

    async fn execute_within(
        &self,
        group: u64,
        command: &Command,
        wait: Duration,
    ) -> Result<Answer> {
        let until = Instant::now() + LEADER_WAIT;
        loop {
            let (node, address) = self.leader_address(group).await?;
            let mut leader = match self.connected(node, &address).await {
                Ok(leader) => leader,
                Err(error) => {
                    let what = || format!("node {node} at {address}: nothing was sent");
                    ensure!(Instant::now() < until, error.context(what()));
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    continue;
                }
            };
            let command = Some(command.clone());
            let request = ExecuteRequest { group, command, timeout_ms: EXECUTE_TIMEOUT_MS };
            let answer = match tokio::time::timeout(wait, leader.execute(request)).await {
                Ok(answer) => answer.map_err(|status| after_sending(node, &status))?,
                Err(_) => {
                    let detail = format!("node {node} did not answer within {wait:?}");
                    return Err(OutcomeUnknown { detail }.into());
                }
            };
            let Some(answer) = answer.into_inner().result else {
                let detail = format!("node {node} answers in words of a newer version");
                return Err(OutcomeUnknown { detail }.into());
            };
            let not_taken =
                matches!(answer, Answer::NotLeader(_) | Answer::Busy(_)) && Instant::now() < until;
            if !not_taken {
                return clear(group, answer);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

fn client_on(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// What a call that failed says of the command in it. A node that turns the caller or the request away
/// has not looked at the command; after any other end nobody knows.
fn after_sending(node: u64, status: &Status) -> anyhow::Error {
    let detail = format!("node {node}: {}", explain(status));
    let turned_away =
        [Code::Unauthenticated, Code::PermissionDenied, Code::InvalidArgument, Code::Unimplemented];
    if turned_away.contains(&status.code()) {
        return anyhow!(detail);
    }
    OutcomeUnknown { detail }.into()
}

/// What a leader's last word means.
fn clear(group: u64, answer: Answer) -> Result<Answer> {
    match answer {
        Answer::Busy(busy) => bail!("{}: {}", busy.code, busy.detail),
        Answer::NotLeader(_) => bail!("group {group} has no leader"),
        Answer::Unknown(unknown) => Err(OutcomeUnknown { detail: unknown.detail }.into()),
        Answer::Malformed(malformed) => bail!("{}", malformed.detail),
        Answer::Refused(refusal) => {
            Err(Refusal { code: refusal.code, detail: refusal.detail }.into())
        }
        answer => Ok(answer),
    }
}

/// Gives nodes that do not answer the id under which the others know them.
fn name_silent_nodes(views: &mut [NodeView]) {
    let known: BTreeMap<String, u64> = views
        .iter()
        .flat_map(|view| view.status.iter())
        .flat_map(|answer| &answer.members)
        .map(|member| (member.rpc.clone(), member.id))
        .collect();
    for view in views.iter_mut().filter(|view| view.id.is_none()) {
        view.id = known.get(&view.address).copied();
    }
}

/// What a failed call means, for people.
pub(crate) fn explain(status: &Status) -> String {
    let message = status.message();
    match status.code() {
        Code::Unavailable if message.contains("connect") || message.contains("transport") => {
            format!("it cannot be reached ({message})")
        }
        Code::Unauthenticated | Code::PermissionDenied => format!("it refuses: {message}"),
        Code::Ok | Code::Unknown => format!("the call failed: {message}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
