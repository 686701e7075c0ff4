//! `fiscus admin devices authority-key`: the tax authority's key, whose leave lets a device begin a new life.

use clap::Args;
use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::commands::{
    TAX_AUTHORITY_KEY_ID, TAX_AUTHORITY_KEY_KIND, read_tax_authority_key,
};

use super::super::cluster::Cluster;
use super::super::consent::Consent;
use super::super::directory::{Change, read};
use super::super::{Failure, Report};

/// Register the tax authority's key for devices, or show the one that is registered.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR devices authority-key --set 1TysH9vkpI3HzyJI4Yd1wBnzSBMvMVzs5CVwEaJXnvw=

With a leave that this key has signed, over `ADM|RESET|{device id}|{life}`, a device begins that life (ADM|RESET). The
life that a device is in is told by the answer to a leave for another.

Exit codes:
  0  registered, or shown
  1  none is registered, or somebody else has just changed it
  2  wrong usage, not agreed to, or no node answers
  3  a command was sent and nobody knows whether it was taken; show the key before you run it again")]
pub(in crate::admin) struct AuthorityKey {
    /// The Ed25519 public key, 32 bytes in base64. It takes the place of the one before.
    #[arg(long, value_name = "KEY")]
    set: Option<String>,
    #[command(flatten)]
    consent: Consent,
    /// Print one line of JSON.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(cluster: &Cluster, arguments: &AuthorityKey) -> Result<Report, Failure> {
    let known = read::<String>(cluster, TAX_AUTHORITY_KEY_KIND, TAX_AUTHORITY_KEY_ID).await?;
    let Some(set) = &arguments.set else {
        let none = || Failure::new(1, "NOT_FOUND", &"no key of the tax authority is registered");
        let key = known.ok_or_else(none)?.value;
        return Ok(Report {
            text: format!("{key}\n"),
            json: Report::ok().text("public_key", &key),
        });
    };
    let key = read_tax_authority_key(format!("\"{set}\"").as_bytes());
    let key = key.ok_or_else(|| {
        Failure::new(2, "USAGE", &"this is no Ed25519 public key of 32 bytes in base64")
    })?;
    arguments.consent.ask(
        "Whoever holds the private part of this key can let devices begin new lives; nobody else can any more.",
    )?;
    let key = encode_standard(key.as_bytes());
    let change = Change {
        kind: TAX_AUTHORITY_KEY_KIND,
        id: TAX_AUTHORITY_KEY_ID,
        version: known.map_or(0, |known| known.version),
        organisation: "",
        action: "tax_authority_key.register",
    };
    change.make(cluster, &key).await?;
    let text = "the tax authority's key for devices is registered";
    Ok(Report::done(text, Report::ok().text("public_key", &key)))
}
