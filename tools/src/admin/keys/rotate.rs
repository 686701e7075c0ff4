//! `fiscus admin keys rotate`.

use std::process::ExitCode;

use clap::Args;
use fiscus_proto::admin::KeysRequest;
use fiscus_proto::command::{ActivateAuthority, Command, Environment, command};
use fiscus_proto::ledger::Consistency;

use super::add::Kind;
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::consent::Consent;
use crate::admin::init::{Candidate, proven};
use crate::admin::roster::Roster;
use crate::admin::{Failure, READ_WAIT, Report, operate, tell};

/// Let a group sign with a new key.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin keys add cd.keys --group 1 --environment live --name cd-1-live-2027 \\
    --passphrase-file passphrase
  (give the file to every node, and restart them one after the other)
  fiscus admin --dir DIR keys rotate 1 --environment live --name cd-1-live-2027

Every voter of the group must answer, and shows that it holds the new key; then the key is announced in the
journal, and becomes active. The old key retires: it signs no new seals. Keep it in the key file all the
same, for it still answers for what it sealed. Rotating both environments takes two runs.

Exit codes:
  0  the new key is active, or was
  1  a voter does not hold the key or does not answer, or the key was used before
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(crate) struct Arguments {
    /// The group.
    group: u64,
    /// What the key signs.
    #[arg(long, value_enum)]
    environment: Kind,
    /// The new key's name.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let done = operate(connection, async |cluster| rotate(&cluster, arguments).await);
    tell("admin keys rotate", done, arguments.json)
}

async fn rotate(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let group = arguments.group;
    let environment = match arguments.environment {
        Kind::Live => Environment::Live,
        Kind::Sandbox => Environment::Sandbox,
    };
    let spelled = arguments.environment.environment().as_str();
    let voters = voters(&Roster::read(cluster).await?, group)?;
    let key = held_by_all(cluster, &voters, arguments, environment).await?;
    let client = cluster.client().await?;
    let known = client.read_group(group, Consistency::Linearizable, READ_WAIT).await?.authorities;
    let status = known.iter().find(|known| known.id == key.id).map(|known| known.status.as_str());
    let old = known
        .iter()
        .find(|known| known.status == "active" && known.environment == i32::from(environment));
    let old = old.map_or("no key", |known| known.id.as_str());
    let json = Report::ok().count("group", group).text("fiscal_authority_id", &key.id);
    let done = format!("{} signs for group {group} ({spelled})", key.id);
    match status {
        Some("active") => return Ok(Report::done(&done, json)),
        Some("retired") => {
            return Err(Failure::refused(format!("{} has retired; make a new key", key.id)));
        }
        _ => {}
    }
    arguments.consent.ask(&format!(
        "Group {group} ({spelled}) signs with {} instead of {old}, which retires for good. All {} voters \
         hold the new key. Keep the old one in the key file: it still answers for what it sealed.",
        key.id,
        voters.len()
    ))?;
    if status.is_none() {
        let prepare = proven(cluster, &voters, group, &key, environment).await?;
        let prepare = Command { command: Some(command::Command::PrepareAuthority(prepare)) };
        cluster.execute(group, &prepare).await?;
        eprintln!("{} is announced", key.id);
    }
    let activate = ActivateAuthority { authority_id: key.id.clone() };
    let activate = Command { command: Some(command::Command::ActivateAuthority(activate)) };
    cluster.execute(group, &activate).await?;
    Ok(Report::done(&done, json.text("replaces", old)))
}

/// The addresses of the group's voters, all of which answer.
fn voters(roster: &Roster, group: u64) -> Result<Vec<String>, Failure> {
    let mut addresses = Vec::new();
    for voter in &roster.group(group)?.voters {
        // A voter that is silent cannot show that it holds the key.
        addresses.push(roster.answering(*voter)?.to_owned());
    }
    Ok(addresses)
}

/// The named key, when every voter holds the same one.
async fn held_by_all(
    cluster: &Cluster,
    voters: &[String],
    arguments: &Arguments,
    environment: Environment,
) -> Result<Candidate, Failure> {
    let mut common: Option<Candidate> = None;
    for voter in voters {
        let keys = cluster.node(voter)?.keys(KeysRequest {}).await;
        let keys = keys.map_err(|status| Failure::of_call(voter, &status))?.into_inner().keys;
        let fits = |key: &fiscus_proto::admin::Key| {
            key.name == arguments.name
                && key.environment == i32::from(environment)
                && key.group.is_none_or(|own| own == arguments.group)
        };
        let key = keys.into_iter().find(fits).ok_or_else(|| {
            Failure::refused(format!(
                "{voter} holds no key {} for group {} and this environment; add it with `fiscus admin keys \
                 add`, give the file to every node, and restart them",
                arguments.name, arguments.group
            ))
        })?;
        let key =
            Candidate { id: key.authority_id, name: key.name, public_key: key.public_key.to_vec() };
        if common.as_ref().is_some_and(|first| *first != key) {
            return Err(Failure::refused(format!(
                "{voter} holds another key of the name {}; every node needs the same file",
                arguments.name
            )));
        }
        common = Some(key);
    }
    common.ok_or_else(|| Failure::refused(format!("group {} has no voters", arguments.group)))
}
