//! `fiscus admin init`: makes a cluster of nodes that belong to none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::Object;
use fiscus_proto::admin::{InitRequest, KeysRequest, ProveAuthorityRequest};
use fiscus_proto::command::{self as proto, Command, command};

use super::cluster::{Cluster, Connection, explain};
use super::consent::Consent;
use super::{Failure, Report, block_on, tell};

/// Make a cluster of running nodes that belong to none.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --ca ca.pem --cert ops.pem --key ops.key --node-address n1:7400 \\
    init --nodes n1:7400,n2:7400,n3:7400 --data-groups 3

It founds the directory and the data groups, shows with every node that it holds the signing keys,
activates them, and publishes the tax manifest. The first members and the number of data groups are what the
cluster begins with; that number never changes. After a failure run it again with the same nodes: what is
done already is left as it is.

Exit codes:
  0  made
  2  wrong usage, not agreed to, or it could not be finished; what was made until then stays")]
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
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    tell("admin init", make(connection, arguments), arguments.json)
}

fn make(connection: &Connection, arguments: &Arguments) -> Result<Report, Failure> {
    let failed = |error: anyhow::Error| Failure::new(2, "INIT_FAILED", &format!("{error:#}"));
    let (nodes, data_groups) = (&arguments.nodes, arguments.data_groups);
    let cluster = connection.open().map_err(failed)?;
    let manifest = manifest(arguments.manifest.as_deref()).map_err(failed)?;
    arguments.consent.ask(&format!(
        "The nodes {} become one cluster with {data_groups} data groups. That number is for ever, and so \
         is the part of each of these nodes in this cluster.",
        nodes.join(", ")
    ))?;
    let founded = block_on(found(&cluster, nodes, data_groups, &manifest)).map_err(failed)?;
    Ok(report(nodes, data_groups, &founded))
}

fn manifest(file: Option<&Path>) -> Result<String> {
    let Some(path) = file else { return Ok(Manifest::builtin().to_json()) };
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
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
    let replicas = views.iter().flat_map(|view| &view.status).flat_map(|status| &status.replicas);
    // A replica without voters is one of a founding that did not come to its end.
    let founded: BTreeSet<u64> = replicas
        .filter(|replica| !replica.voters.is_empty())
        .map(|replica| replica.group)
        .collect();
    if !(0..=data_groups).all(|group| founded.contains(&group)) {
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
