//! `fiscus admin pki`: a CA for a start.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use fiscus_ledger::hash::hex;
use fiscus_ledger::payload::Object;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::tls::{CertificateFacts, Role, node_dns_name, node_ids_of, roles_of};
use ring::digest::{SHA256, digest};

use super::files::{Pair, read_text};
use super::{Failure, Report, tell};
use crate::pki::{Subject, certificate, issue, make_ca};

/// The CA's files in its folder: ca.pem and ca.key.
const CA: &str = "ca";

#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    Init(Init),
    Issue(Issue),
    Show(Show),
}

/// Make a certificate authority.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin pki init --out pki --cluster cd

It writes ca.pem, which everybody gets, and ca.key, which nobody gets: whoever has it can make itself a
node. Keep it off the machines of the cluster.

Exit codes:
  0  made
  1  a CA is there already; --force replaces it, and then every certificate must be issued again
  2  wrong usage, or the files cannot be written")]
pub(crate) struct Init {
    /// The folder for ca.pem and ca.key.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The name of the cluster.
    #[arg(long, default_value = "fiscus")]
    cluster: String,
    /// For how many days the CA is valid.
    #[arg(long, default_value_t = 3650)]
    days: u32,
    /// Replace a CA that is there.
    #[arg(long)]
    force: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Make a certificate with a role, and its key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin pki issue --ca pki --role node --node-id 1 --name n1 --host n1.example --host 10.0.0.1 \\
    --out pki
  fiscus admin pki issue --ca pki --role gateway --name gw1 --days 90 --out pki

It writes NAME.pem and NAME.key. A node takes part in consensus, a gateway and a proxy submit, an admin
operates, an auditor reads. A node's certificate says which node it is, and the others believe nothing else:
a node that gets a new id needs a new certificate.

Exit codes:
  0  made
  1  NAME.pem or NAME.key is there already; --force replaces them
  2  wrong usage, or the CA cannot be used")]
pub(crate) struct Issue {
    /// The folder with ca.pem and ca.key.
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// What the holder is: node, gateway, proxy, admin or auditor.
    #[arg(long, value_parser = parse_role)]
    role: Role,
    /// The id of the node, as in its configuration; for the role node, and only for it.
    #[arg(long, value_name = "ID")]
    node_id: Option<u64>,
    /// The name of the holder, and of the files.
    #[arg(long)]
    name: String,
    /// A host name or an IP address under which it serves; may be repeated.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// For how many days the certificate is valid.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// The folder for the two files.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Say what a certificate says.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin pki show pki/n1.pem

It does not say whether the certificate is genuine: no CA is asked.

Exit codes:
  0  shown
  2  wrong usage, or the file holds no certificate")]
pub(crate) struct Show {
    /// A certificate in PEM.
    file: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

fn parse_role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| "a role is node, gateway, proxy, admin or auditor".to_owned())
}

/// Runs the command and prints its answer.
pub(super) fn run(command: &Pki) -> ExitCode {
    match command {
        Pki::Init(arguments) => tell("admin pki init", init(arguments), arguments.json),
        Pki::Issue(arguments) => tell("admin pki issue", issue_one(arguments), arguments.json),
        Pki::Show(arguments) => tell("admin pki show", show(arguments), arguments.json),
    }
}

fn failed(error: &anyhow::Error) -> Failure {
    Failure::new(2, "PKI_FAILED", &format!("{error:#}"))
}

fn refuse_existing(pair: &Pair, force: bool) -> Result<(), Failure> {
    match pair.existing() {
        Some(path) if !force => {
            let detail = format!("{} exists; --force replaces it", path.display());
            Err(Failure::new(1, "PKI_FILE_EXISTS", &detail))
        }
        _ => Ok(()),
    }
}

fn init(arguments: &Init) -> Result<Report, Failure> {
    let pair = Pair::new(&arguments.out, CA);
    refuse_existing(&pair, arguments.force)?;
    let make = || {
        let ca = make_ca(&arguments.cluster, arguments.days, now_s()?)?;
        pair.write(&ca)?;
        made(&pair, &ca.cert_pem)
    };
    make().map_err(|error| failed(&error))
}

fn issue_one(arguments: &Issue) -> Result<Report, Failure> {
    if arguments.name.eq_ignore_ascii_case(CA) {
        let detail = "ca is the name of the CA's own files; take another --name";
        return Err(Failure::new(2, "PKI_FAILED", &detail));
    }
    let pair = Pair::new(&arguments.out, &arguments.name);
    refuse_existing(&pair, arguments.force)?;
    let make = || {
        let ca = Pair::new(&arguments.ca, CA).read()?;
        let Issue { role, node_id: node, ref name, ref hosts, days, .. } = *arguments;
        let issued = issue(&ca, &Subject { role, node, name, hosts, days }, now_s()?)?;
        pair.write(&issued)?;
        made(&pair, &issued.cert_pem)
    };
    make().map_err(|error| failed(&error))
}

fn show(arguments: &Show) -> Result<Report, Failure> {
    let look = || {
        let pem = read_text(&arguments.file)?;
        let shown = Shown::read(&pem).with_context(|| arguments.file.display().to_string())?;
        Ok(Report { text: shown.text(), json: shown.json(Object::new().flag("ok", true)) })
    };
    look().map_err(|error| failed(&error))
}

fn now_s() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(since.as_secs())
}

fn made(pair: &Pair, cert_pem: &str) -> Result<Report> {
    let shown = Shown::read(cert_pem)?;
    let (cert, key) = (pair.cert.display().to_string(), pair.key.display().to_string());
    let text = format!("certificate  {cert}\nprivate key  {key}\n{}", shown.text());
    let json = Object::new().flag("ok", true).text("cert", &cert).text("key", &key);
    Ok(Report { text, json: shown.json(json) })
}

/// What a certificate says, ready to print.
struct Shown {
    facts: CertificateFacts,
    roles: Vec<&'static str>,
    /// The node that it names.
    node: Option<u64>,
    hosts: Vec<String>,
    fingerprint: String,
}

impl Shown {
    fn read(pem: &str) -> Result<Self> {
        let der = certificate(pem)?;
        let facts = CertificateFacts::read(&der)?;
        let roles = roles_of(&der)?;
        let nodes = node_ids_of(&der)?;
        let is_role = |name: &String| roles.iter().any(|role| role.dns_name() == **name);
        let is_node = |name: &String| nodes.iter().any(|id| node_dns_name(*id) == **name);
        let names = facts.dns_names.iter().filter(|name| !is_role(name) && !is_node(name)).cloned();
        let hosts = names.chain(facts.ip_addresses.iter().map(ToString::to_string)).collect();
        let fingerprint = hex(digest(&SHA256, &der).as_ref());
        let roles = roles.into_iter().map(Role::as_str).collect();
        let node = nodes.first().copied();
        Ok(Self { facts, roles, node, hosts, fingerprint })
    }

    fn subject(&self) -> &str {
        self.facts.common_name.as_deref().unwrap_or("")
    }

    fn validity(&self) -> (String, String) {
        let iso = |seconds: i64| {
            let ms = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
            UnixMs::new(ms).to_string()
        };
        (iso(self.facts.validity.not_before_s), iso(self.facts.validity.not_after_s))
    }

    fn text(&self) -> String {
        let list = |words: &[String]| {
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        let (from, until) = self.validity();
        let roles: Vec<String> = self.roles.iter().map(|role| (*role).to_owned()).collect();
        let node = self.node.map_or_else(|| "none".to_owned(), |id| id.to_string());
        format!(
            "subject      {}{}\nroles        {}\nnode         {node}\nhosts        {}\nvalid        {from} to {until}\n\
             sha256       {}\n",
            self.subject(),
            if self.facts.is_ca { " (a CA)" } else { "" },
            list(&roles),
            list(&self.hosts),
            self.fingerprint,
        )
    }

    fn json(&self, object: Object) -> Object {
        let (from, until) = self.validity();
        object
            .text("subject", self.subject())
            .flag("is_ca", self.facts.is_ca)
            .texts("roles", self.roles.iter().copied())
            .json("node", &self.node.map_or_else(|| "null".to_owned(), |id| id.to_string()))
            .texts("hosts", self.hosts.iter().map(String::as_str))
            .text("not_before", &from)
            .text("not_after", &until)
            .text("sha256", &self.fingerprint)
    }
}
