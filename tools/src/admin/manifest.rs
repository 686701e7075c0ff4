//! `fiscus admin manifest`: the tax rules, each from its date on.

use std::fmt::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use fiscus_ledger::facts::{Fact, FactKind};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::state::block::CREDENTIAL_VALIDITY_MS_MAX;
use fiscus_proto::command::{Command, PublishManifest, command};
use fiscus_proto::ledger::{Consistency, ListDocumentsRequest};
use futures_util::StreamExt;

use super::cluster::{Cluster, Connection};
use super::consent::Consent;
use super::directory::now_ms;
use super::{Failure, LIST_WAIT, Report, operate, tell};

#[derive(Debug, Subcommand)]
pub(super) enum Manifests {
    Publish(Publish),
    List(List),
}

/// Publish a tax manifest with a date to come.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR manifest publish 2027-01.json

From its date on every invoice is taxed by it. Its version is new, and its date lies ahead; neither can be
changed afterwards, and a published manifest is never withdrawn: publish a later one instead. The data
groups hear of it within a second.

Exit codes:
  0  published
  1  refused, for example because the version exists or the date has passed
  2  wrong usage, the file is no manifest, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(super) struct Publish {
    /// The manifest, in JSON.
    file: PathBuf,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// List the tax manifests.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR manifest list

Exit codes:
  0  listed
  2  wrong usage, or no node answers")]
pub(super) struct List {
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, command: &Manifests) -> ExitCode {
    match command {
        Manifests::Publish(arguments) => {
            let done = publish(connection, arguments);
            tell("admin manifest publish", done, arguments.json)
        }
        Manifests::List(arguments) => {
            let listed = operate(connection, async |cluster| list(&cluster).await);
            tell("admin manifest list", listed, arguments.json)
        }
    }
}

fn publish(connection: &Connection, arguments: &Publish) -> Result<Report, Failure> {
    let path = arguments.file.display();
    let unusable = |what: &dyn std::fmt::Display| {
        Failure::new(2, "INPUT_UNREADABLE", &format!("{path}: {what}"))
    };
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| unusable(&error))?;
    let manifest = Manifest::parse(&text).map_err(|error| unusable(&error))?;
    let (version, from) = (manifest.version().to_owned(), manifest.effective_from().to_string());
    let ahead_ms = manifest.effective_from().get().saturating_sub(now_ms()?);
    let soon = ahead_ms < CREDENTIAL_VALIDITY_MS_MAX;
    let warning = if soon {
        " That is in less than 72 hours: what shops that are away until then seal by themselves after it is refused, \
         and they keep it for a person to look at."
    } else {
        ""
    };
    operate(connection, async |cluster| {
        arguments.consent.ask(&format!(
            "The tax manifest {version} is published, in force from {from} on. It is never withdrawn.{warning}"
        ))?;
        let publish = PublishManifest { json: manifest.to_json() };
        let publish = Command { command: Some(command::Command::PublishManifest(publish)) };
        cluster.execute(0, &publish).await?;
        let json = Report::ok().text("version", &version).text("effective_from", &from);
        let json = json.flag("sooner_than_credentials_end", soon);
        Ok(Report::done(&format!("manifest {version} is in force from {from} on"), json))
    })
}

async fn list(cluster: &Cluster) -> Result<Report, Failure> {
    let client = cluster.client().await?;
    let request = ListDocumentsRequest {
        kind: FactKind::Manifest.as_str().to_owned(),
        consistency: Consistency::Linearizable.into(),
        ..ListDocumentsRequest::default()
    };
    let mut documents = pin!(client.list_documents(request, LIST_WAIT));
    let mut manifests = Vec::new();
    while let Some(document) = documents.next().await {
        let document = document?;
        let fact = Fact::decode(FactKind::Manifest, &document.bytes)
            .with_context(|| format!("the manifest {}", document.id))?;
        if let Fact::Manifest(manifest) = fact {
            manifests.push(manifest);
        }
    }
    manifests.sort_by_key(|manifest| manifest.effective_from().get());
    let mut text = String::from("in force from             version           currency\n");
    for manifest in &manifests {
        let from = manifest.effective_from().to_string();
        let currency = manifest.reporting_currency();
        let _ = writeln!(text, "{from:<24}  {:<16}  {}", manifest.version(), currency.as_str());
    }
    let rows = manifests.iter().map(|manifest| {
        Object::new()
            .text("version", manifest.version())
            .text("effective_from", &manifest.effective_from().to_string())
            .text("reporting_currency", manifest.reporting_currency().as_str())
            .finish()
    });
    Ok(Report { text, json: Report::ok().json("manifests", &array(rows)) })
}
