//! `fiscus receipt verify`: is this paper genuine, with nothing but the published keys?
//!
//! Non-goals: it asks no server, so it cannot know whether an invoice was credited since, nor prove
//! that a record is in the ledger.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::hex;
use fiscus_ledger::keys::{KEYS_BYTES_MAX, KeySet};
use fiscus_ledger::payload::Object;
use fiscus_ledger::qr::{self, QrPayload, URL_BYTES_MAX, Verified, VerifyError};

use crate::output::answer;

/// Check the QR text of a receipt offline, with the published keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus receipt verify 'https://verify.example.cd/v?fn=…&s=…' --keys fiscal-keys.json
  zbarimg --quiet --raw receipt.png | fiscus receipt verify - --keys fiscal-keys.json --json

Exit codes:
  0  genuine
  1  the signature does not match: the receipt was tampered with
  2  wrong usage
  3  the QR text is malformed; the message says which field
  4  the authority is not in the keys file, or its key cannot be used
  5  the keys file cannot be read or is invalid
  6  the key was not valid at the receipt's time
  7  the key is reported compromised: ask for an inclusion proof
  8  the offline credential is invalid: its signature, its numbers or its window")]
pub(crate) struct Arguments {
    /// The text of the QR code, or - to read it from standard input.
    url: String,
    /// The published keys, as served under /.well-known/fiscal-keys.json.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What went wrong: a number for scripts, a code for programs, a sentence for people.
struct Failure {
    exit: u8,
    code: &'static str,
    detail: String,
}

/// Runs the command and prints its answer.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let (text, exit) = match (check(arguments), arguments.json) {
        (Ok((payload, verified)), true) => (success_json(&payload, &verified), 0),
        (Ok((payload, verified)), false) => (success_text(&payload, &verified), 0),
        (Err(failure), true) => {
            let line = Object::new().flag("ok", false).text("code", failure.code);
            (line.text("detail", &failure.detail).finish() + "\n", failure.exit)
        }
        (Err(failure), false) => {
            eprintln!("not verified ({}): {}", failure.code, failure.detail);
            return ExitCode::from(failure.exit);
        }
    };
    answer("receipt verify", &text, exit)
}

fn check(arguments: &Arguments) -> Result<(QrPayload, Verified), Failure> {
    let keys = read_keys(&arguments.keys)?;
    let text = read_url(&arguments.url)?;
    let payload = QrPayload::parse(&text)
        .map_err(|error| malformed(&format!("{}: {error}", error.field())))?;
    let verified = qr::verify(&payload, &keys).map_err(|error| not_genuine(&error))?;
    Ok((payload, verified))
}

fn read_keys(path: &Path) -> Result<KeySet, Failure> {
    let invalid = |detail: &dyn std::fmt::Display| Failure {
        exit: 5,
        code: "KEYS_INVALID",
        detail: format!("{}: {detail}", path.display()),
    };
    // One byte more than a list may have, so that the parser sees that it is too long.
    let file = File::open(path).map_err(|error| invalid(&error))?;
    let text = read_bounded(file, KEYS_BYTES_MAX + 1).map_err(|error| invalid(&error))?;
    KeySet::parse(&text).map_err(|error| invalid(&error))
}

/// The argument as it is, or standard input without its line end, which `echo` and scanners add.
fn read_url(argument: &str) -> Result<String, Failure> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let text = read_bounded(io::stdin(), URL_BYTES_MAX + 3)
        .map_err(|error| malformed(&format!("standard input cannot be read: {error}")))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn read_bounded(source: impl Read, bytes_max: usize) -> io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    source.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

fn malformed(detail: &str) -> Failure {
    Failure { exit: 3, code: "QR_MALFORMED", detail: detail.to_owned() }
}

fn not_genuine(error: &VerifyError) -> Failure {
    let (exit, code) = match error {
        VerifyError::SignatureInvalid => (1, "SIGNATURE_INVALID"),
        VerifyError::AuthorityUnknown(_) | VerifyError::KeyUnusable { .. } => {
            (4, "AUTHORITY_UNKNOWN")
        }
        VerifyError::KeyNotValidAtTime(_) | VerifyError::KeyPrepared(_) => {
            (6, "KEY_NOT_VALID_AT_TIME")
        }
        VerifyError::KeyCompromised(_) => (7, "KEY_COMPROMISED"),
        VerifyError::CredentialSignature
        | VerifyError::TerminalKey
        | VerifyError::NotCovered(_) => (8, "CREDENTIAL_INVALID"),
    };
    Failure { exit, code, detail: error.to_string() }
}

fn success_json(payload: &QrPayload, verified: &Verified) -> String {
    let fields = payload.fields();
    let members = [
        ("fiscal_number", fields.fiscal_number.clone()),
        ("timestamp", fields.timestamp.to_string()),
        ("kind", fields.kind.clone()),
        ("total", fields.total.clone()),
        ("currency", fields.currency.clone()),
        ("fiscal_authority_id", fields.authority_id.clone()),
        ("auth_code", verified.auth_code.to_string()),
        ("hidden_hash", hex(&fields.hidden_hash)),
        ("entry_hash", hex(&verified.entry_hash)),
        ("environment", verified.environment.as_str().to_owned()),
    ];
    let line = members
        .iter()
        .fold(Object::new().flag("ok", true), |object, (name, value)| object.text(name, value));
    line.finish() + "\n"
}

fn success_text(payload: &QrPayload, verified: &Verified) -> String {
    let fields = payload.fields();
    let head = match verified.environment {
        Environment::Live => "",
        Environment::Sandbox => "TEST / SPÉCIMEN: a trial, no sale was made\n",
    };
    let mut text = format!(
        "{head}genuine: the signature matches everything below\n\
         number       {}\n\
         time         {}\n\
         type         {}\n\
         total        {} {}\n\
         authority    {}\n\
         auth code    {}   (must be the one printed on the receipt)\n",
        fields.fiscal_number,
        fields.timestamp,
        fields.kind,
        fields.total,
        fields.currency,
        verified.authority_id,
        verified.auth_code,
    );
    if let Some(id) = &verified.credential_id {
        text.push_str(&format!("sealed       offline, under credential {id}\n"));
    }
    text
}
