//! `fiscus admin organisations`: the tenants.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fiscus_gateway::directory::documents::{Organisation, kind};
use fiscus_ledger::facts::is_identifier;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::time::UnixMs;

use super::cluster::{Cluster, Connection};
use super::consent::Consent;
use super::directory::{self, Change, now_ms};
use super::{Failure, Report, operate, tell};

#[derive(Debug, Subcommand)]
pub(super) enum Organisations {
    Create(Create),
    List(List),
}

/// Make an organisation: a tenant with merchants, outlets and keys of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR organisations create org-kivu-retail --name 'Kivu Retail'

Gateways hear of it within a second. Its first key is made with `fiscus admin api-keys create`; with that,
its owner does the rest through the API.

Exit codes:
  0  made
  1  there is one of that id
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(super) struct Create {
    /// Its id, 1 to 64 letters, digits and -_.
    id: String,
    /// What it is called.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// List the organisations.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR organisations list

Exit codes:
  0  listed
  2  wrong usage, or no node answers")]
pub(super) struct List {
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, command: &Organisations) -> ExitCode {
    match command {
        Organisations::Create(arguments) => {
            let made = operate(connection, async |cluster| create(&cluster, arguments).await);
            tell("admin organisations create", made, arguments.json)
        }
        Organisations::List(arguments) => {
            let listed = operate(connection, async |cluster| list(&cluster).await);
            tell("admin organisations list", listed, arguments.json)
        }
    }
}

async fn create(cluster: &Cluster, arguments: &Create) -> Result<Report, Failure> {
    let (id, name) = (&arguments.id, arguments.name.trim());
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_identifier(id) || !plain {
        return Err(Failure::argument("an id has 1 to 64 letters, digits and -_."));
    }
    if name.is_empty() || name.len() > 200 {
        return Err(Failure::argument("a name has 1 to 200 bytes"));
    }
    if directory::read::<Organisation>(cluster, kind::ORGANISATION, id).await?.is_some() {
        return Err(Failure::refused(format!("there is an organisation {id} already")));
    }
    arguments.consent.ask(&format!("The organisation {id}, {name}, is made."))?;
    let organisation = Organisation { name: name.to_owned(), created_ms: now_ms()? };
    let change = Change {
        kind: kind::ORGANISATION,
        id,
        version: 0,
        organisation: id,
        action: "organisation.create",
    };
    change.make(cluster, &organisation).await?;
    let json = Report::ok().text("id", id).text("name", name);
    Ok(Report::done(&format!("organisation {id} is made"), json))
}

async fn list(cluster: &Cluster) -> Result<Report, Failure> {
    let known = directory::list::<Organisation>(cluster, kind::ORGANISATION).await?;
    let mut text = String::from("organisation              since                     name\n");
    for organisation in &known {
        let since = UnixMs::new(organisation.value.created_ms).to_string();
        let _ = writeln!(text, "{:<24}  {since:<24}  {}", organisation.id, organisation.value.name);
    }
    let rows = known.iter().map(|organisation| {
        Object::new()
            .text("id", &organisation.id)
            .text("name", &organisation.value.name)
            .text("created", &UnixMs::new(organisation.value.created_ms).to_string())
            .finish()
    });
    Ok(Report { text, json: Report::ok().json("organisations", &array(rows)) })
}
