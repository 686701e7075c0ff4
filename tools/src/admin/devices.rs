//! `fiscus admin devices`: fiscal devices of outlets, and the codes with which they are activated.

use std::fmt::Write;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use fiscus_ledger::activation::{RANDOM_BYTES, activation_code, activation_hash};
use fiscus_ledger::facts::{DeviceFact, DeviceState, Fact, FactKind};
use fiscus_ledger::payload::{Object, array};
use fiscus_proto::command::{Command, RegisterDevice, ReplaceDevice, RevokeDevice, command};
use fiscus_proto::ledger::{Consistency, ListDocumentsRequest};
use futures_util::StreamExt;

use super::cluster::{Cluster, Connection};
use super::consent::Consent;
use super::directory::random;
use super::{Failure, LIST_WAIT, Report, operate, tell};

#[derive(Debug, Subcommand)]
pub(super) enum Devices {
    Register(Register),
    List(List),
    Replace(Replace),
    Revoke(Revoke),
}

/// Register a device of an outlet, and print its activation code: it is kept nowhere and not shown again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR devices register --id def-gombe-1 --outlet outlet-gombe

Whoever installs the device sends the code with CFG|INIT. It works once, for this device only. The code alone
goes to standard output.

Exit codes:
  0  registered
  1  refused, for example because the id belongs to another device, or there is no such outlet
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; list the devices before you run it again")]
pub(super) struct Register {
    /// The device's id, unique in the cluster: its serial number.
    #[arg(long)]
    id: String,
    /// The one outlet that it will seal for.
    #[arg(long, value_name = "ID")]
    outlet: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// List the devices.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR devices list --outlet outlet-gombe

Exit codes:
  0  listed
  2  wrong usage, or no node answers")]
pub(super) struct List {
    /// Only those of this outlet.
    #[arg(long, value_name = "ID")]
    outlet: Option<String>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Take a device out of service and register another one for the same outlet; print the new one's code.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR devices replace def-gombe-1 --by def-gombe-2

The old device answers DEVICE_REVOKED from then on. The outlet's numbers go on.

Exit codes:
  0  replaced
  1  refused, for example because it was replaced or revoked already
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; list the devices before you run it again")]
pub(super) struct Replace {
    /// The device that leaves.
    id: String,
    /// The id of the device that comes.
    #[arg(long, value_name = "ID")]
    by: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Revoke a device, for ever.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR devices revoke def-gombe-1

It answers DEVICE_REVOKED within a second wherever the directory is heard of.

Exit codes:
  0  revoked
  1  refused, for example because it was replaced or revoked already
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; list the devices before you run it again")]
pub(super) struct Revoke {
    /// The device.
    id: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, command: &Devices) -> ExitCode {
    match command {
        Devices::Register(arguments) => {
            let done = operate(connection, async |cluster| register(&cluster, arguments).await);
            tell("admin devices register", done, arguments.json)
        }
        Devices::List(arguments) => {
            let listed = operate(connection, async |cluster| list(&cluster, arguments).await);
            tell("admin devices list", listed, arguments.json)
        }
        Devices::Replace(arguments) => {
            let done = operate(connection, async |cluster| replace(&cluster, arguments).await);
            tell("admin devices replace", done, arguments.json)
        }
        Devices::Revoke(arguments) => {
            let done = operate(connection, async |cluster| revoke(&cluster, arguments).await);
            tell("admin devices revoke", done, arguments.json)
        }
    }
}

/// A new code, and what the ledger is to know of it.
fn new_code(device_id: &str) -> Result<(String, Vec<u8>), Failure> {
    let code = activation_code(device_id, random::<RANDOM_BYTES>()?);
    let hash = activation_hash(&code).to_vec();
    Ok((code, hash))
}

async fn register(cluster: &Cluster, arguments: &Register) -> Result<Report, Failure> {
    let Register { id, outlet, .. } = arguments;
    arguments.consent.ask(&format!(
        "The device {id} is registered for the outlet {outlet}. Neither can ever change.",
    ))?;
    let (code, hash) = new_code(id)?;
    let register = RegisterDevice {
        device_id: id.clone(),
        outlet_id: outlet.clone(),
        activation_hash: hash.into(),
    };
    execute(cluster, command::Command::RegisterDevice(register)).await?;
    eprintln!(
        "the device {id} is registered for the outlet {outlet}; this is its code, for CFG|INIT, once:"
    );
    let json = Report::ok().text("device_id", id).text("outlet_id", outlet);
    Ok(Report { text: format!("{code}\n"), json: json.text("activation_code", &code) })
}

async fn replace(cluster: &Cluster, arguments: &Replace) -> Result<Report, Failure> {
    let Replace { id, by, .. } = arguments;
    arguments.consent.ask(&format!(
        "The device {id} is replaced by {by}. It seals nothing any more, at once and for ever.",
    ))?;
    let (code, hash) = new_code(by)?;
    let replace = ReplaceDevice {
        device_id: id.clone(),
        replacement_id: by.clone(),
        activation_hash: hash.into(),
    };
    execute(cluster, command::Command::ReplaceDevice(replace)).await?;
    eprintln!(
        "the device {id} is replaced by {by}; this is the new one's code, for CFG|INIT, once:"
    );
    let json = Report::ok().text("device_id", by).text("replaces", id);
    Ok(Report { text: format!("{code}\n"), json: json.text("activation_code", &code) })
}

async fn revoke(cluster: &Cluster, arguments: &Revoke) -> Result<Report, Failure> {
    let id = &arguments.id;
    arguments.consent.ask(&format!(
        "The device {id} is revoked. It seals nothing any more, at once and for ever.",
    ))?;
    let revoke = RevokeDevice { device_id: id.clone() };
    execute(cluster, command::Command::RevokeDevice(revoke)).await?;
    Ok(Report::done(&format!("the device {id} is revoked"), Report::ok().text("device_id", id)))
}

async fn execute(cluster: &Cluster, kind: command::Command) -> Result<(), Failure> {
    cluster.execute(0, &Command { command: Some(kind) }).await?;
    Ok(())
}

async fn list(cluster: &Cluster, arguments: &List) -> Result<Report, Failure> {
    let client = cluster.client().await?;
    let request = ListDocumentsRequest {
        kind: FactKind::Device.as_str().to_owned(),
        consistency: Consistency::Linearizable.into(),
        ..ListDocumentsRequest::default()
    };
    let mut documents = pin!(client.list_documents(request, LIST_WAIT));
    let mut text = String::from("device                    outlet                    state\n");
    let mut rows = Vec::new();
    while let Some(document) = documents.next().await {
        let document = document?;
        let Ok(Fact::Device(fact)) = Fact::decode(FactKind::Device, &document.bytes) else {
            return Err(
                anyhow!("the directory's document of device {} is none", document.id).into()
            );
        };
        if arguments.outlet.as_ref().is_some_and(|outlet| **outlet != *fact.outlet_id) {
            continue;
        }
        let state = state_of(&fact);
        writeln!(text, "{:<24}  {:<24}  {state}", fact.device_id, fact.outlet_id)
            .expect("text takes text");
        let row = Object::new()
            .text("device_id", &fact.device_id)
            .text("outlet_id", &fact.outlet_id)
            .text("state", fact.state.as_str());
        let by = match &fact.state {
            DeviceState::Replaced { by } => Some(&**by),
            _ => None,
        };
        rows.push(row.optional("replaced_by", by).finish());
    }
    Ok(Report { text, json: Report::ok().json("devices", &array(rows)) })
}

fn state_of(fact: &DeviceFact) -> String {
    match &fact.state {
        DeviceState::Replaced { by } => format!("replaced by {by}"),
        state => state.as_str().to_owned(),
    }
}
