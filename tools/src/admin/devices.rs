//! `fiscus admin devices`: fiscal devices of outlets, and the codes with which they are activated.

mod authority_key;
mod standing;

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fiscus_ledger::activation::{RANDOM_BYTES, activation_code, activation_hash};
use fiscus_ledger::facts::{DeviceFact, DeviceState};
use fiscus_ledger::payload::array;
use fiscus_proto::command::{Command, RegisterDevice, ReplaceDevice, RevokeDevice, command};

use super::cluster::{Cluster, Connection};
use super::consent::Consent;
use super::directory::random;
use super::{Failure, Report, operate, tell};

pub(super) use standing::{KnownDevice, all};

#[derive(Debug, Subcommand)]
pub(super) enum Devices {
    Register(Register),
    List(List),
    Show(Show),
    Replace(Replace),
    Revoke(Revoke),
    AuthorityKey(authority_key::AuthorityKey),
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

/// List the devices, and how each stands.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR devices list --outlet outlet-gombe

A device is online (green), syncing (blue), offline (amber) or blocked (red). `!` stands behind one that is not as it is
registered, or that has warnings: `devices show` says which.

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

/// Show a device: its registration, how it stands, in what it drifts, and what its proxy told last.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR devices show def-gombe-1

Exit codes:
  0  shown
  1  there is no such device
  2  wrong usage, or no node answers")]
pub(super) struct Show {
    /// The device.
    id: String,
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
        Devices::Show(arguments) => {
            let shown = operate(connection, async |cluster| show(&cluster, &arguments.id).await);
            tell("admin devices show", shown, arguments.json)
        }
        Devices::Replace(arguments) => {
            let done = operate(connection, async |cluster| replace(&cluster, arguments).await);
            tell("admin devices replace", done, arguments.json)
        }
        Devices::Revoke(arguments) => {
            let done = operate(connection, async |cluster| revoke(&cluster, arguments).await);
            tell("admin devices revoke", done, arguments.json)
        }
        Devices::AuthorityKey(arguments) => {
            let done =
                operate(connection, async |cluster| authority_key::run(&cluster, arguments).await);
            tell("admin devices authority-key", done, arguments.json)
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
    let all = all(cluster, arguments.outlet.as_deref()).await?;
    let mut text = String::from(
        "device                    outlet                    state                 stands        last seen                 numbers left\n",
    );
    let mut rows = Vec::new();
    for known in &all {
        let fact = &known.fact;
        let mark = if known.needs_a_look() { " !" } else { "" };
        let stands = known.standing.as_ref().map_or("-", |standing| standing.state.as_str());
        let seen = known.standing.as_ref().and_then(|standing| standing.last_seen.as_deref());
        let left = known.standing.as_ref().and_then(|standing| standing.numbers_left);
        let left = left.map_or_else(|| "-".to_owned(), |left| left.to_string());
        let stands = format!("{stands}{mark}");
        writeln!(
            text,
            "{:<24}  {:<24}  {:<20}  {stands:<12}  {:<24}  {left}",
            fact.device_id,
            fact.outlet_id,
            state_of(fact),
            seen.unwrap_or("-"),
        )
        .expect("text takes text");
        rows.push(known.json()?);
    }
    Ok(Report { text, json: Report::ok().json("devices", &array(rows)) })
}

async fn show(cluster: &Cluster, id: &str) -> Result<Report, Failure> {
    let all = all(cluster, None).await?;
    let known = all
        .into_iter()
        .find(|known| *known.fact.device_id == *id)
        .ok_or_else(|| Failure::new(1, "DEVICE_UNKNOWN", &format!("there is no device {id}")))?;
    let mut text = format!(
        "device        {}\noutlet        {}\nregistered    {}\n",
        known.fact.device_id,
        known.fact.outlet_id,
        state_of(&known.fact)
    );
    known.describe(&mut text);
    Ok(Report { text, json: Report::ok().json("device", &known.json()?) })
}

fn state_of(fact: &DeviceFact) -> String {
    match &fact.state {
        DeviceState::Replaced { by } => format!("replaced by {by}"),
        state => state.as_str().to_owned(),
    }
}
