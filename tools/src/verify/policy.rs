//! `fiscus verify policy`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Answer, Common, Problem, finish};

/// Say what a policy trusts, and the digest that notices when it is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus verify policy --policy policy.toml

A policy is a file of TOML:
  fiscus_policy = 1
  logs = [\"kinshasa/g/1+5c2f0a17+AWw…\"]       verifier keys of the logs; their names are the origins;
                                               or { origin = \"…\", public_key = \"hexadecimal\" }
  witnesses = [\"witness.example+a1b2…+BF…\"]    keys of witnesses
  quorum = 1                                   how many of them must have cosigned
  fiscal_keys = \"fiscal-keys.json\"             the authorities' keys, a file beside it
  tax_manifests = [\"tax-2027.json\"]            tables after the built-in one
  tax_authority_keys = [\"1Tys…\"]              whose leave lets devices begin new lives; any key, if absent
  # digest …                                   optional, the last line

Get the keys on another way than what you check: from the tax authority, printed, or from a checkpoint that
others keep, too. Exit codes: 0, or 3 when it cannot be used.")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    finish("verify policy", arguments.common.json, check(arguments))
}

fn check(arguments: &Arguments) -> Result<Answer, Problem> {
    let policy = arguments.common.policy()?;
    let logs: Vec<String> = policy.logs().collect();
    let witnesses: Vec<String> = policy.witnesses().collect();
    let authorities: Vec<&str> = policy.authority_ids().collect();
    let manifests: Vec<&str> = policy.manifest_versions().collect();
    let of_devices: Vec<String> = policy.tax_authority_keys().collect();
    let mut text = String::new();
    let witness = format!("witness ({} needed)", policy.quorum());
    for (name, values) in [("log", &logs), (&*witness, &witnesses)] {
        for value in values {
            text.push_str(&format!("{name:<22} {value}\n"));
        }
    }
    for (name, values) in [("authority", &authorities), ("tax manifest", &manifests)] {
        for value in values {
            text.push_str(&format!("{name:<22} {value}\n"));
        }
    }
    for value in &of_devices {
        text.push_str(&format!("{:<22} {value}\n", "leave for devices"));
    }
    text.push_str(&format!("last line              {}\n", policy.digest_line()));
    let members = json!({
        "logs": logs,
        "witnesses": witnesses,
        "quorum": policy.quorum(),
        "authorities": authorities,
        "tax_manifests": manifests,
        "tax_authority_keys": of_devices,
        "digest_line": policy.digest_line(),
    });
    Ok(Answer { members, text })
}
