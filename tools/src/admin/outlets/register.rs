//! `fiscus admin outlets register`.

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use fiscus_ledger::facts::{Environment, FactKind, OutletFact, OutletStatus, SigningMode};
use fiscus_proto::client::ClusterClient;
use fiscus_proto::command::{Command, RegisterOutlet, command};
use fiscus_proto::ledger::{Consistency, ListDocumentsRequest};
use futures_util::StreamExt;

use super::{outlet_fact, wire};
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::roster::Roster;
use crate::admin::{Failure, LIST_WAIT, Report, operate, tell};

/// Register an outlet.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR outlets register --id outlet-matete --merchant-nif A1234567B \\
    --prefix KIN --code MATETE --environment live

Its fiscal numbers are PREFIX-CODE-1, -2 and so on. Id, merchant, prefix, code, group and environment can
never change. Without --group it lives in the data group with the fewest outlets.

Exit codes:
  0  registered
  1  refused, for example because the id or the numbers belong to another outlet
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(crate) struct Arguments {
    /// The outlet's id.
    #[arg(long)]
    id: String,
    /// The merchant's tax number.
    #[arg(long, value_name = "NIF")]
    merchant_nif: String,
    /// First part of its fiscal numbers.
    #[arg(long)]
    prefix: String,
    /// Second part of its fiscal numbers.
    #[arg(long)]
    code: String,
    /// The data group that it lives in, for ever.
    #[arg(long)]
    group: Option<u64>,
    /// Whether its seals are real.
    #[arg(long, value_enum)]
    environment: Kind,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Live,
    Sandbox,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let done = operate(connection, async |cluster| register(&cluster, arguments).await);
    tell("admin outlets register", done, arguments.json)
}

async fn register(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let roster = Roster::read(cluster).await?;
    let group = match arguments.group {
        Some(group) => {
            roster.data_group(group)?;
            group
        }
        None => emptiest(&cluster.client().await?, roster.data_groups()).await?,
    };
    let environment = match arguments.environment {
        Kind::Live => Environment::Live,
        Kind::Sandbox => Environment::Sandbox,
    };
    let fact = OutletFact {
        outlet_id: arguments.id.as_str().into(),
        merchant_nif: arguments.merchant_nif.as_str().into(),
        prefix: arguments.prefix.as_str().into(),
        code: arguments.code.as_str().into(),
        group,
        status: OutletStatus::Active,
        environment,
        signing_mode: SigningMode::Cluster,
    };
    arguments.consent.ask(&format!(
        "The outlet {} of the merchant {} is registered in group {group} ({}), with the fiscal numbers \
         {}-{}-1 and so on. None of this can ever change.",
        fact.outlet_id,
        fact.merchant_nif,
        environment.as_str(),
        fact.prefix,
        fact.code
    ))?;
    let command = RegisterOutlet { fact: Some(wire(&fact)) };
    let command = Command { command: Some(command::Command::RegisterOutlet(command)) };
    cluster.execute(0, &command).await?;
    let json = Report::ok().text("id", &fact.outlet_id).count("group", group);
    Ok(Report::done(&format!("outlet {} is registered in group {group}", fact.outlet_id), json))
}

/// The data group with the fewest registered outlets; among equals the first.
async fn emptiest(client: &ClusterClient, data_groups: u64) -> Result<u64, Failure> {
    let mut outlets: BTreeMap<u64, u64> = (1..=data_groups).map(|group| (group, 0)).collect();
    let request = ListDocumentsRequest {
        kind: FactKind::Outlet.as_str().to_owned(),
        consistency: Consistency::Linearizable.into(),
        ..ListDocumentsRequest::default()
    };
    let mut documents = pin!(client.list_documents(request, LIST_WAIT));
    while let Some(document) = documents.next().await {
        *outlets.entry(outlet_fact(&document?)?.group).or_default() += 1;
    }
    let least = outlets.iter().min_by_key(|(_, count)| **count);
    least.map(|(group, _)| *group).ok_or_else(|| Failure::refused("there is no data group"))
}
