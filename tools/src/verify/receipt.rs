//! `fiscus verify receipt`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use fiscus_verify::verify_receipt;
use serde_json::json;

use super::picture::{is_png, qr_text};
use super::{
    Answer, Common, Problem, checkpoint_json, checkpoint_text, finish, read, read_bytes, text_of,
};

/// A picture of a receipt is far below this.
const PICTURE_BYTES_MAX: u64 = 32 << 20;

/// Is this paper genuine? Checks the text, or a picture, of a receipt's QR code.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus verify receipt --policy policy.toml 'https://verify.example.cd/v?fn=…&s=…'
  fiscus verify receipt --policy policy.toml receipt.png
  zbarimg --quiet --raw photo.jpg | fiscus verify receipt --policy policy.toml --json -
  fiscus verify receipt --policy policy.toml --proof KIN-GOMBE-1.tlog-proof 'https://…'

Of pictures it reads PNG, with one QR code in it. It says nothing of credit notes since: that needs the ledger. Exit codes: `fiscus verify --help`.")]
pub(super) struct Arguments {
    /// The text of the QR code; or a file with it or with a PNG picture of it, or - for standard input.
    code: String,
    /// That its record is in the log: a tlog-proof, or the answer of /api/v1/audit/proofs/inclusion.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    finish("verify receipt", arguments.common.json, check(arguments))
}

/// The code that a file has, as a text or in a picture.
fn code_in(file: &Path) -> Result<String, Problem> {
    let bytes = read_bytes(file, PICTURE_BYTES_MAX)?;
    if is_png(&bytes) {
        let read = qr_text(&bytes);
        return read.map_err(|error| Problem::Usage(format!("{}: {error}", file.display())));
    }
    let text = text_of(bytes);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn check(arguments: &Arguments) -> Result<Answer, Problem> {
    let policy = arguments.common.policy()?;
    let code = match arguments.code.as_str() {
        "-" => code_in(Path::new("-"))?,
        // Every receipt's text has it; what has not is the name of a file, and one that is not there says so.
        code if code.contains("://") => code.to_owned(),
        file => code_in(Path::new(file))?,
    };
    let proof = arguments.proof.as_deref().map(read).transpose()?;
    let receipt = verify_receipt(&code, proof.as_deref(), &policy)?;
    let members = json!({
        "fiscal_number": receipt.fiscal_number,
        "timestamp": receipt.timestamp,
        "kind": receipt.kind,
        "total": receipt.total,
        "currency": receipt.currency,
        "fiscal_authority_id": receipt.authority,
        "credential_id": receipt.credential,
        "auth_code": receipt.auth_code,
        "entry_hash": receipt.entry_hash,
        "environment": if receipt.sandbox { "sandbox" } else { "live" },
        "checkpoint": receipt.checkpoint.as_ref().map(checkpoint_json),
        "checked": {"bytes": receipt.bytes, "proofs": u8::from(receipt.checkpoint.is_some())},
    });
    let head = if receipt.sandbox { "TEST / SPÉCIMEN: a trial, no sale was made\n" } else { "" };
    let mut text = format!(
        "{head}genuine: the signature matches everything below\n\
         number       {}\n\
         time         {}\n\
         type         {}\n\
         total        {} {}\n\
         authority    {}\n\
         auth code    {}   (must be the one printed on the receipt)\n",
        receipt.fiscal_number,
        receipt.timestamp,
        receipt.kind,
        receipt.total,
        receipt.currency,
        receipt.authority,
        receipt.auth_code,
    );
    if let Some(credential) = &receipt.credential {
        text.push_str(&format!("sealed       offline, under credential {credential}\n"));
    }
    match &receipt.checkpoint {
        Some(checkpoint) => text.push_str(&checkpoint_text(checkpoint)),
        None => text.push_str("log          not checked: no --proof was given\n"),
    }
    Ok(Answer { members, text })
}
