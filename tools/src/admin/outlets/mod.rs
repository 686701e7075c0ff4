//! `fiscus admin outlets`: registrations, and what each outlet has issued.

mod change;
mod list;
mod register;
mod release;
mod show;
mod signing_mode;

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use fiscus_ledger::facts::{Environment, Fact, FactKind, OutletFact, OutletStatus, SigningMode};
use fiscus_proto::client::ClusterClient;
use fiscus_proto::command as proto;
use fiscus_proto::ledger::{Consistency, Document, ReadDocumentRequest};

use super::cluster::Connection;
use super::{Failure, READ_WAIT};

#[derive(Debug, Subcommand)]
pub(super) enum Outlets {
    List(list::Arguments),
    Show(show::Arguments),
    Register(register::Arguments),
    /// Stop an outlet for now: nothing is sealed for it until it is activated.
    Suspend(change::Arguments),
    /// Let a suspended outlet seal again.
    Activate(change::Arguments),
    /// Close an outlet for ever. Its journal stays; its prefix and code are never given away again.
    Close(change::Arguments),
    SigningMode(signing_mode::Arguments),
    Release(release::Release),
}

pub(super) fn run(connection: &Connection, command: &Outlets) -> ExitCode {
    match command {
        Outlets::List(arguments) => list::run(connection, arguments),
        Outlets::Show(arguments) => show::run(connection, arguments),
        Outlets::Register(arguments) => register::run(connection, arguments),
        Outlets::Suspend(arguments) => {
            change::run(connection, "suspend", OutletStatus::Suspended, arguments)
        }
        Outlets::Activate(arguments) => {
            change::run(connection, "activate", OutletStatus::Active, arguments)
        }
        Outlets::Close(arguments) => {
            change::run(connection, "close", OutletStatus::Closed, arguments)
        }
        Outlets::SigningMode(arguments) => signing_mode::run(connection, arguments),
        Outlets::Release(arguments) => release::run(connection, arguments),
    }
}

/// An outlet as the directory has it.
struct Registered {
    version: u64,
    fact: OutletFact,
}

async fn registered(client: &ClusterClient, outlet_id: &str) -> Result<Registered, Failure> {
    let request = ReadDocumentRequest {
        kind: FactKind::Outlet.as_str().to_owned(),
        id: outlet_id.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    let document = client.read_document(request, READ_WAIT).await?.document;
    let document = document.ok_or_else(|| {
        Failure::new(1, "OUTLET_UNKNOWN", &format!("there is no outlet {outlet_id}"))
    })?;
    Ok(Registered { version: document.version, fact: outlet_fact(&document)? })
}

/// The group that an outlet lives in.
pub(in crate::admin) async fn group_of(
    client: &ClusterClient,
    outlet_id: &str,
) -> Result<u64, Failure> {
    Ok(registered(client, outlet_id).await?.fact.group)
}

fn outlet_fact(document: &Document) -> Result<OutletFact, anyhow::Error> {
    let fact = Fact::decode(FactKind::Outlet, &document.bytes);
    match fact.with_context(|| format!("the directory's document of outlet {}", document.id))? {
        Fact::Outlet(fact) => Ok(fact),
        _ => Err(anyhow!("the directory's document of outlet {} is none", document.id)),
    }
}

fn status_name(status: OutletStatus) -> &'static str {
    match status {
        OutletStatus::Active => "active",
        OutletStatus::Suspended => "suspended",
        OutletStatus::Closed => "closed",
    }
}

fn mode_name(mode: SigningMode) -> &'static str {
    match mode {
        SigningMode::Cluster => "cluster",
        SigningMode::Def => "def",
    }
}

fn wire(fact: &OutletFact) -> proto::OutletFact {
    proto::OutletFact {
        outlet_id: fact.outlet_id.to_string(),
        merchant_nif: fact.merchant_nif.to_string(),
        prefix: fact.prefix.to_string(),
        code: fact.code.to_string(),
        group: fact.group,
        status: match fact.status {
            OutletStatus::Active => proto::OutletStatus::Active,
            OutletStatus::Suspended => proto::OutletStatus::Suspended,
            OutletStatus::Closed => proto::OutletStatus::Closed,
        }
        .into(),
        environment: match fact.environment {
            Environment::Live => proto::Environment::Live,
            Environment::Sandbox => proto::Environment::Sandbox,
        }
        .into(),
        signing_mode: match fact.signing_mode {
            SigningMode::Cluster => proto::SigningMode::Cluster,
            SigningMode::Def => proto::SigningMode::Def,
        }
        .into(),
    }
}
