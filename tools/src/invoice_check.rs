//! `fiscus invoice check`: what the ledger would make of an invoice, before there is a ledger.
//!
//! Non-goals: it knows no outlet and no journal, so it cannot say whether the outlet exists or whether
//! a credit note fits its original.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use fiscus_ledger::hash::hex;
use fiscus_ledger::invoice::{
    BODY_BYTES_MAX, CanonicalInvoice, Filled, parse_lenient, parse_strict,
};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::Object;
use fiscus_ledger::problem::Problem;
use fiscus_ledger::time::UnixMs;

use crate::output::answer;

/// A manifest is far below this.
const MANIFEST_BYTES_MAX: usize = 1024 * 1024;

/// Check an invoice: its canonical bytes, its hash, its taxes and totals, or what is wrong with it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus invoice check docs/samples/sale.json
  fiscus invoice check --json - < docs/samples/sale.json
  fiscus invoice check --strict canonical.json    what a fiscal device would accept

Exit codes:
  0  the invoice is right
  1  it is not; the message says where and what to do
  2  wrong usage, or a file cannot be read")]
pub(crate) struct Arguments {
    /// The invoice, or - to read it from standard input.
    file: PathBuf,
    /// Accept canonical bytes only, as the device protocol does.
    #[arg(long)]
    strict: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    /// The tax manifest in force, instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// Runs the command and prints its answer.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let (document, manifest) = match read_input(arguments) {
        Ok(input) => input,
        Err(detail) => {
            eprintln!("fiscus invoice check: {detail}");
            if arguments.json {
                return answer(
                    "invoice check",
                    &refusal_json("INPUT_UNREADABLE", "", &detail, None),
                    2,
                );
            }
            return ExitCode::from(2);
        }
    };
    let checked = if arguments.strict {
        parse_strict(&document, &manifest)
    } else {
        parse_lenient(&document, &manifest, now()).map(|parsed| {
            report_filled(parsed.filled, &parsed.invoice);
            parsed.invoice
        })
    };
    match (checked, arguments.json) {
        (Ok(invoice), true) => answer("invoice check", &invoice_json(&invoice, &manifest), 0),
        (Ok(invoice), false) => answer("invoice check", &invoice_text(&invoice, &manifest), 0),
        (Err(problem), true) => answer("invoice check", &problem_json(&problem), 1),
        (Err(problem), false) => {
            eprintln!("{problem}");
            ExitCode::from(1)
        }
    }
}

fn read_input(arguments: &Arguments) -> Result<(Vec<u8>, Manifest), String> {
    // One byte more than the limit, so that the parser sees that it is too long.
    let document = read_bounded(&arguments.file, BODY_BYTES_MAX + 1)?;
    let Some(path) = &arguments.manifest else { return Ok((document, Manifest::builtin())) };
    let text = String::from_utf8(read_bounded(path, MANIFEST_BYTES_MAX)?)
        .map_err(|_| format!("{}: the manifest is not UTF-8", path.display()))?;
    let manifest =
        Manifest::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((document, manifest))
}

fn read_bounded(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map(|_| bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The time of authoring for an invoice that names none, as the gateway would fill it in.
fn now() -> UnixMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs::new(u64::try_from(elapsed.as_millis()).unwrap_or(UnixMs::MAX.get()))
}

/// Says on standard error what the answer holds that the document did not.
fn report_filled(filled: Filled, invoice: &CanonicalInvoice<'_>) {
    if filled.timestamp {
        eprintln!(
            "note: the invoice names no timestamp; {} was filled in, so its hash differs each time",
            invoice.timestamp()
        );
    }
    let computed = [
        (filled.tax_manifest_version, "tax_manifest_version"),
        (filled.tax_groups, "tax_groups"),
        (filled.totals, "totals"),
        (filled.fx_tax, "fx.tax_in_reporting_currency"),
    ];
    let names: Vec<&str> =
        computed.into_iter().filter(|(filled, _)| *filled).map(|(_, name)| name).collect();
    if !names.is_empty() {
        eprintln!("note: filled in: {}", names.join(", "));
    }
}

fn invoice_json(invoice: &CanonicalInvoice<'_>, manifest: &Manifest) -> String {
    let line = Object::new()
        .flag("ok", true)
        .text("canonical", invoice.canonical_text())
        .bytes("payload_hash", &invoice.payload_hash())
        .json("tax_groups", &invoice.tax_groups_json(manifest))
        .json("totals", &invoice.totals_json());
    line.finish() + "\n"
}

fn problem_json(problem: &Problem) -> String {
    let expected = problem.expected.as_ref().map(|expected| {
        Object::new()
            .json("tax_groups", &expected.tax_groups)
            .json("totals", &expected.totals)
            .finish()
    });
    refusal_json(problem.code.as_str(), &problem.pointer, &problem.detail, expected.as_deref())
}

fn refusal_json(code: &str, pointer: &str, detail: &str, expected: Option<&str>) -> String {
    let line = Object::new()
        .flag("ok", false)
        .text("code", code)
        .text("pointer", pointer)
        .text("detail", detail);
    let line = match expected {
        Some(expected) => line.json("expected", expected),
        None => line,
    };
    line.finish() + "\n"
}

fn invoice_text(invoice: &CanonicalInvoice<'_>, manifest: &Manifest) -> String {
    let totals = invoice.totals();
    let currency = totals.currency.as_str();
    let mut text = format!(
        "canonical     {}\npayload hash  {}\n\n{:<6} {:<44} {:>8} {:>20} {:>20}\n",
        invoice.canonical_text(),
        hex(&invoice.payload_hash()),
        "group",
        "name",
        "rate",
        "base",
        "tax"
    );
    let mut row = |cells: [&str; 5]| {
        let [group, name, rate, base, tax] = cells;
        writeln!(text, "{group:<6} {name:<44} {rate:>8} {base:>20} {tax:>20}")
            .expect("writing to a String cannot fail");
    };
    for group in invoice.tax_groups() {
        let (rate, base, tax) =
            (group.rate.to_string(), group.base.to_string(), group.tax.to_string());
        row([group.code.as_str(), &manifest.group(group.code).name, &rate, &base, &tax]);
    }
    for (name, amount) in [
        ("subtotal", totals.subtotal),
        ("total VAT", totals.total_vat),
        ("total", totals.total),
        ("rounding adjustment", totals.rounding_adjustment),
    ] {
        row(["", name, "", currency, &amount.to_string()]);
    }
    text
}
