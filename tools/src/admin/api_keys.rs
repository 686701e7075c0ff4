//! `fiscus admin api-keys`: keys to the API, for the first one of a tenant and for when there is no other.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fiscus_gateway::access::keys::{ID_BYTES, SECRET_BYTES, new_id, new_secret};
use fiscus_gateway::access::{Role, Scope};
use fiscus_gateway::directory::documents::{ApiKey, KeySecret, Organisation, kind};
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::time::UnixMs;

use super::cluster::{Cluster, Connection};
use super::consent::Consent;
use super::directory::{self, Change, now_ms, random};
use super::{Failure, Report, operate, tell};

const TIERS: [&str; 3] = ["growth", "professional", "enterprise"];
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeys {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key to the API, and print it: it is kept nowhere and is not shown again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR api-keys create --organisation org-kivu-retail --role owner --name 'Head office'
  fiscus admin --dir DIR api-keys create --role platform --name Operations
  fiscus admin --dir DIR api-keys create --organisation org-kivu-retail --role integrator --name Tills \\
    --scope invoices:seal --scope invoices:read --outlet outlet-gombe

A key of the role platform belongs to no organisation: it makes organisations. The key alone goes to
standard output. Every gateway knows it at once; it works until it expires or is revoked.

Exit codes:
  0  made
  1  there is no such organisation
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; list the keys before you run it again")]
pub(super) struct Create {
    /// Its tenant.
    #[arg(long, value_name = "ID")]
    organisation: Option<String>,
    /// What it is called.
    #[arg(long)]
    name: String,
    /// What it may do: cashier, supervisor, manager, owner, auditor, integrator or platform.
    #[arg(long)]
    role: String,
    /// Of what the role may do, only this; may be given more than once, and must be for an integrator.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Only at this outlet; may be given more than once.
    #[arg(long = "outlet", value_name = "ID")]
    outlets: Vec<String>,
    /// Only in this region; may be given more than once.
    #[arg(long = "region", value_name = "NAME")]
    regions: Vec<String>,
    /// How often it may ask: growth, professional or enterprise.
    #[arg(long, default_value = "growth")]
    tier: String,
    /// Valid for so many days; for ever when absent.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3_650))]
    expires_in: Option<u64>,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// List the keys. Their secrets are not known here.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR api-keys list --organisation org-kivu-retail

Exit codes:
  0  listed
  2  wrong usage, or no node answers")]
pub(super) struct List {
    /// Only those of this tenant.
    #[arg(long, value_name = "ID")]
    organisation: Option<String>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Revoke a key, for ever.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR api-keys revoke 0f1e2d3c4b5a697887

Gateways that hear of the directory refuse it within a second.

Exit codes:
  0  revoked, or it was so already
  1  there is no such key, or somebody else changed it meanwhile
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; look before you run it again")]
pub(super) struct Revoke {
    /// The key's id: what stands between the two underscores.
    id: String,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, command: &ApiKeys) -> ExitCode {
    match command {
        ApiKeys::Create(arguments) => {
            let made = operate(connection, async |cluster| create(&cluster, arguments).await);
            tell("admin api-keys create", made, arguments.json)
        }
        ApiKeys::List(arguments) => {
            let listed = operate(connection, async |cluster| list(&cluster, arguments).await);
            tell("admin api-keys list", listed, arguments.json)
        }
        ApiKeys::Revoke(arguments) => {
            let revoked = operate(connection, async |cluster| revoke(&cluster, arguments).await);
            tell("admin api-keys revoke", revoked, arguments.json)
        }
    }
}

/// Checks what is asked for; the role and its tenant, empty for the platform's own.
fn checked(arguments: &Create) -> Result<(Role, String), Failure> {
    let role = Role::parse(&arguments.role).ok_or_else(|| {
        let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        Failure::argument(format!("--role is one of {}", known.join(", ")))
    })?;
    let organisation = match (&arguments.organisation, role) {
        (None, Role::Platform) => String::new(),
        (Some(id), role) if role != Role::Platform => id.clone(),
        _ => return Err(Failure::argument("give --organisation, but not with --role platform")),
    };
    if arguments.name.trim().is_empty() || arguments.name.len() > 200 {
        return Err(Failure::argument("--name has 1 to 200 bytes"));
    }
    if !TIERS.contains(&arguments.tier.as_str()) {
        return Err(Failure::argument(format!("--tier is one of {}", TIERS.join(", "))));
    }
    let allowed = |word: &&String| Scope::parse(word).is_some_and(|s| role.scopes().contains(&s));
    if let Some(wrong) = arguments.scopes.iter().find(|word| !allowed(word)) {
        let known: Vec<&str> = role.scopes().iter().map(|scope| scope.as_str()).collect();
        let detail = format!("--scope {wrong}: the role {role} may {}", known.join(", "));
        return Err(Failure::argument(detail));
    }
    if role == Role::Integrator && arguments.scopes.is_empty() {
        return Err(Failure::argument(
            "an integrator's key may do exactly its scopes: give --scope",
        ));
    }
    Ok((role, organisation))
}

async fn create(cluster: &Cluster, arguments: &Create) -> Result<Report, Failure> {
    let (role, organisation) = checked(arguments)?;
    if !organisation.is_empty()
        && directory::read::<Organisation>(cluster, kind::ORGANISATION, &organisation)
            .await?
            .is_none()
    {
        return Err(Failure::refused(format!("there is no organisation {organisation}")));
    }
    let whose = if organisation.is_empty() { "the platform" } else { &organisation };
    arguments.consent.ask(&format!("A key of the role {role} is made for {whose}."))?;
    let id = new_id(&random::<ID_BYTES>()?);
    let (text, hash) = new_secret(&id, &random::<SECRET_BYTES>()?);
    let created_ms = now_ms()?;
    let secret = KeySecret { id: "1".to_owned(), hash, created_ms, expires_ms: 0, revoked_ms: 0 };
    let key = ApiKey {
        id: id.clone(),
        name: arguments.name.trim().to_owned(),
        organisation: organisation.clone(),
        role: role.as_str().to_owned(),
        scopes: arguments.scopes.clone(),
        outlets: arguments.outlets.clone(),
        regions: arguments.regions.clone(),
        tier: arguments.tier.clone(),
        secrets: vec![secret],
        revoked_ms: 0,
        expires_ms: arguments.expires_in.map_or(0, |days| created_ms + days * DAY_MS),
        created_ms,
    };
    let change = Change {
        kind: kind::API_KEY,
        id: &id,
        version: 0,
        organisation: &organisation,
        action: "api_key.create",
    };
    change.make(cluster, &key).await?;
    eprintln!("key {id} is made; keep what is printed: it is not shown again");
    Ok(Report { text: format!("{text}\n"), json: Report::ok().text("id", &id).text("key", &text) })
}

/// How a key stands.
fn standing(key: &ApiKey, now_ms: u64) -> &'static str {
    let over = |at: u64| at != 0 && at <= now_ms;
    let usable = |secret: &KeySecret| secret.revoked_ms == 0 && !over(secret.expires_ms);
    if key.revoked_ms != 0 {
        "revoked"
    } else if over(key.expires_ms) || !key.secrets.iter().any(usable) {
        "expired"
    } else {
        "active"
    }
}

async fn list(cluster: &Cluster, arguments: &List) -> Result<Report, Failure> {
    let mut known = directory::list::<ApiKey>(cluster, kind::API_KEY).await?;
    if let Some(organisation) = &arguments.organisation {
        known.retain(|key| key.value.organisation == *organisation);
    }
    let now_ms = now_ms()?;
    let mut text = String::from(
        "key                 organisation              role        tier          status   name\n",
    );
    let mut rows = Vec::new();
    for key in known.iter().map(|known| &known.value) {
        let status = standing(key, now_ms);
        let _ = writeln!(
            text,
            "{:<18}  {:<24}  {:<10}  {:<12}  {status:<7}  {}",
            key.id, key.organisation, key.role, key.tier, key.name
        );
        rows.push(
            Object::new()
                .text("id", &key.id)
                .text("name", &key.name)
                .text("organisation", &key.organisation)
                .text("role", &key.role)
                .text("tier", &key.tier)
                .text("status", status)
                .text("created", &UnixMs::new(key.created_ms).to_string())
                .finish(),
        );
    }
    Ok(Report { text, json: Report::ok().json("api_keys", &array(rows)) })
}

async fn revoke(cluster: &Cluster, arguments: &Revoke) -> Result<Report, Failure> {
    let id = &arguments.id;
    let known = directory::read::<ApiKey>(cluster, kind::API_KEY, id).await?;
    let known = known.ok_or_else(|| Failure::refused(format!("there is no key {id}")))?;
    let done = || {
        let json = Report::ok().text("id", id);
        Report::done(&format!("key {id} is revoked"), json)
    };
    let mut key = known.value;
    if key.revoked_ms != 0 {
        return Ok(done());
    }
    let name = &key.name;
    arguments
        .consent
        .ask(&format!("The key {id}, {name}, is revoked; this cannot be taken back."))?;
    key.revoked_ms = now_ms()?;
    let organisation = key.organisation.clone();
    let change = Change {
        kind: kind::API_KEY,
        id,
        version: known.version,
        organisation: &organisation,
        action: "api_key.revoke",
    };
    change.make(cluster, &key).await?;
    Ok(done())
}
