//! `fiscus admin init`: makes a cluster of nodes that belong to none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::Object;
use fiscus_proto::admin::{InitRequest, KeysRequest, ProveAuthorityRequest};
use fiscus_proto::command::{self as proto, Command, command};

use super::cluster::{Cluster, Connection, explain};
use super::{Failure, Report, block_on, tell};

/// Make a cluster of running nodes that belong to none.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --ca ca.pem --cert ops.pem --key ops.key --node-address n1:7400 \\
    init --nodes n1:7400,n2:7400,n3:7400 --data-groups 3

It founds the directory and the data groups, shows with every node that it holds the signing keys,
activates them, and publishes the tax manifest. It can be run again after a failure.

Exit codes:
  0  made
  2  wrong usage, or it cannot be made; nothing that was there has changed")]
pub(crate) struct Arguments {
    /// The first members as host:port, separated by commas.
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// The number of data groups; it never changes.
    #[arg(long, default_value_t = 3)]
    data_groups: u64,
    /// The tax manifest to publish; the one in force since 2026-02-01 when absent.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let made = block_on(async {
        let cluster = connection.open()?;
        let manifest = match &arguments.manifest {
            None => Manifest::builtin().to_json(),
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| path.display().to_string())?
            }
        };
        let founded = found(&cluster, &arguments.nodes, arguments.data_groups, &manifest).await?;
        Ok(report(&arguments.nodes, arguments.data_groups, &founded))
    });
    let made = made.map_err(|error| Failure::new(2, "INIT_FAILED", &format!("{error:#}")));
    tell("admin init", made, arguments.json)
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Founded {
    pub(crate) authorities: Vec<String>,
}

fn report(nodes: &[String], data_groups: u64, founded: &Founded) -> Report {
    let authorities = founded.authorities.iter().map(String::as_str);
    let json = Object::new()
        .flag("ok", true)
        .texts("nodes", nodes.iter().map(String::as_str))
        .count("data_groups", data_groups)
        .texts("authorities", authorities);
    let text = format!(
        "the cluster is made: {} nodes, {data_groups} data groups\nactive authorities: {}\n",
        nodes.len(),
        founded.authorities.join(", ")
    );
    Report { text, json }
}

/// Founds the groups, activates the keys that every node holds, publishes the manifest. What is done
/// already is left as it is.
pub(crate) async fn found(
    cluster: &Cluster,
    nodes: &[String],
    data_groups: u64,
    manifest: &str,
) -> Result<Founded> {
    let views = cluster.views().await;
    let founded = views.iter().any(|view| {
        view.status.as_ref().is_ok_and(|status| status.replicas.len() as u64 > data_groups)
    });
    if !founded {
        let first = nodes.first().context("name at least one node")?;
        let request = InitRequest { nodes: nodes.to_vec(), data_groups };
        let made = cluster.node(first)?.init(request).await;
        made.map_err(|status| anyhow!("{first}: {}", explain(&status)))?;
    }
    let mut authorities = Vec::new();
    for group in 0..=data_groups {
        for environment in [proto::Environment::Live, proto::Environment::Sandbox] {
            authorities.push(activate(cluster, nodes, group, environment).await?);
        }
    }
    let publish = proto::PublishManifest { json: manifest.to_owned() };
    let publish = Command { command: Some(command::Command::PublishManifest(publish)) };
    if let Err(error) = cluster.execute(0, &publish).await
        && !error.to_string().starts_with("MANIFEST_CONFLICT")
    {
        bail!("publishing the manifest: {error:#}");
    }
    Ok(Founded { authorities })
}

/// A key that can be an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) public_key: Vec<u8>,
}

/// Activates the first key for the group and environment that every node holds.
async fn activate(
    cluster: &Cluster,
    nodes: &[String],
    group: u64,
    environment: proto::Environment,
) -> Result<String> {
    let mut held: BTreeMap<String, (Candidate, usize)> = BTreeMap::new();
    for node in nodes {
        let keys = cluster.node(node)?.keys(KeysRequest {}).await;
        let keys =
            keys.map_err(|status| anyhow!("{node}: {}", explain(&status)))?.into_inner().keys;
        for key in keys {
            let fits = key.environment == i32::from(environment)
                && key.group.is_none_or(|own| own == group);
            if fits {
                let candidate = Candidate {
                    id: key.authority_id.clone(),
                    name: key.name,
                    public_key: key.public_key.to_vec(),
                };
                held.entry(key.authority_id).or_insert((candidate, 0)).1 += 1;
            }
        }
    }
    let common = held.into_values().find(|(_, count)| *count == nodes.len());
    let (key, _) = common.with_context(|| {
        format!(
            "no {} key of group {group} is on every node; make one file with `fiscus admin keys \
             generate` and give it to all",
            environment.as_str_name()
        )
    })?;
    let prepare = proven(cluster, nodes, group, &key, environment).await?;
    let prepare = Command { command: Some(command::Command::PrepareAuthority(prepare)) };
    if let Err(error) = cluster.execute(group, &prepare).await
        && !error.to_string().starts_with("AUTHORITY_INVALID")
    {
        bail!("preparing {}: {error:#}", key.id);
    }
    let activate = proto::ActivateAuthority { authority_id: key.id.clone() };
    let activate = Command { command: Some(command::Command::ActivateAuthority(activate)) };
    if let Err(error) = cluster.execute(group, &activate).await
        && !error.to_string().starts_with("AUTHORITY_NOT_PREPARED")
    {
        bail!("activating {}: {error:#}", key.id);
    }
    Ok(key.id)
}

/// The announcement of a key, with every node's proof that it holds it.
pub(super) async fn proven(
    cluster: &Cluster,
    nodes: &[String],
    group: u64,
    key: &Candidate,
    environment: proto::Environment,
) -> Result<proto::PrepareAuthority> {
    let mut proofs = Vec::new();
    for node in nodes {
        let request = ProveAuthorityRequest {
            group,
            name: key.name.clone(),
            public_key: key.public_key.clone().into(),
        };
        let proof = cluster.node(node)?.prove_authority(request).await;
        let proof = proof.map_err(|status| anyhow!("{node}: {}", explain(&status)))?.into_inner();
        ensure!(!proof.signature.is_empty(), "{node} does not hold the key {}", key.id);
        proofs.push(proto::VoterProof { voter: proof.node, signature: proof.signature });
    }
    proofs.sort_by_key(|proof| proof.voter);
    Ok(proto::PrepareAuthority {
        name: key.name.clone(),
        public_key: key.public_key.clone().into(),
        environment: environment.into(),
        proofs,
    })
}
