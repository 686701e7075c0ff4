//! `fiscus demo`: a trading day of one outlet, through the real core in memory.
//!
//! Non-goals: there is no network, no replication and no storage here; the files that it leaves are
//! what a cluster would hand out.

mod day;
mod group;
mod random;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use fiscus_ledger::hash::hex;
use fiscus_ledger::keys::{AuthorityKey, KeySet, KeyStatus};
use fiscus_ledger::payload::Object;
use fiscus_ledger::reports::AuditChunk;

use crate::output::answer;
use day::{Day, Receipt};

/// Play a trading day of one outlet through the core, in memory, and leave its files to try.
#[derive(Debug, Args)]
#[command(after_help = "\
It leaves fiscal-keys.json, receipts/*.txt, journal.jsonl, z.json, checkpoint.txt, log-key.txt and
invoice.json in the directory.

Exit codes:
  0  the day was played
  2  wrong usage, or the directory cannot be used")]
pub(crate) struct Arguments {
    /// Where to put the files: a new or an empty directory. Without it, a fresh temporary one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one line of JSON with the paths.
    #[arg(long)]
    json: bool,
}

/// Runs the command and prints its answer.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match play(arguments) {
        Ok(text) => answer("demo", &text, 0),
        Err(error) => {
            let detail = format!("{error:#}");
            eprintln!("fiscus demo: {detail}");
            if !arguments.json {
                return ExitCode::from(2);
            }
            let line = Object::new()
                .flag("ok", false)
                .text("code", "DEMO_FAILED")
                .text("detail", &detail)
                .finish();
            answer("demo", &(line + "\n"), 2)
        }
    }
}

fn play(arguments: &Arguments) -> Result<String> {
    let dir = directory(arguments.dir.as_deref())?;
    let day = day::play()?;
    let files = Files::new(dir);
    files.write(&day)?;
    if arguments.json { Ok(files.json(&day)) } else { screen(&files, &day) }
}

/// A new directory, or an empty one: files of two days must not mix.
fn directory(wanted: Option<&Path>) -> Result<PathBuf> {
    let dir = match wanted {
        Some(dir) => dir.to_owned(),
        None => {
            let suffix = hex(&random::random_bytes::<6>()?);
            std::env::temp_dir().join(format!("fiscus-demo-{suffix}"))
        }
    };
    let named = || dir.display().to_string();
    fs::create_dir_all(&dir).with_context(named)?;
    let dir = dir.canonicalize().with_context(named)?;
    let empty = fs::read_dir(&dir).with_context(named)?.next().is_none();
    ensure!(empty, "{} is not empty; name a new directory", dir.display());
    Ok(dir)
}

/// Where everything is.
struct Files {
    dir: PathBuf,
}

impl Files {
    fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn receipt(&self, receipt: &Receipt) -> PathBuf {
        self.path("receipts").join(format!("{}.txt", receipt.number))
    }

    fn write(&self, day: &Day) -> Result<()> {
        let receipts = self.path("receipts");
        fs::create_dir(&receipts).with_context(|| receipts.display().to_string())?;
        for receipt in &day.receipts {
            write(&self.receipt(receipt), &format!("{}\n", receipt.url))?;
        }
        write(&self.path("fiscal-keys.json"), &keys(day)?)?;
        write(&self.path("journal.jsonl"), &journal(day)?)?;
        write(&self.path("z.json"), &format!("{}\n", day.closure))?;
        write(&self.path("checkpoint.txt"), &day.checkpoint.0)?;
        write(&self.path("log-key.txt"), &format!("{}\n", day.log_key))?;
        // Canonical bytes end where the invoice ends: a line end would not be canonical.
        write(&self.path("invoice.json"), &day.invoice)
    }

    fn json(&self, day: &Day) -> String {
        let shown = |path: PathBuf| path.display().to_string();
        let receipts: Vec<String> =
            day.receipts.iter().map(|receipt| shown(self.receipt(receipt))).collect();
        let line = Object::new()
            .flag("ok", true)
            .text("dir", &self.dir.display().to_string())
            .text("keys", &shown(self.path("fiscal-keys.json")))
            .texts("receipts", receipts.iter().map(String::as_str))
            .text("journal", &shown(self.path("journal.jsonl")))
            .text("z", &shown(self.path("z.json")))
            .text("checkpoint", &shown(self.path("checkpoint.txt")))
            .text("log_key", &shown(self.path("log-key.txt")))
            .text("invoice", &shown(self.path("invoice.json")));
        line.finish() + "\n"
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn keys(day: &Day) -> Result<String> {
    let (id, key, valid_from) = day.authority()?;
    let listed = AuthorityKey {
        id: id.to_owned(),
        public_key: key.verifying_key(),
        valid_from,
        valid_until: None,
        status: KeyStatus::Active,
    };
    Ok(KeySet::new([listed])?.to_json())
}

/// One record a line, each as an audit chunk of its own with its inclusion proof; the last line
/// carries the checkpoint that all proofs lead to.
fn journal(day: &Day) -> Result<String> {
    let records = day.group.records()?;
    let (note, size) = &day.checkpoint;
    let mut lines = String::new();
    for (index, (record, signature)) in records.iter().enumerate() {
        let mut chunk = AuditChunk::new(u64::try_from(index)?);
        chunk.push(record, signature, &day.group.prove(*size, record.leaf_index)?)?;
        let last = index + 1 == records.len();
        lines.push_str(&chunk.finish(last.then_some(note)));
        lines.push('\n');
    }
    Ok(lines)
}

fn screen(files: &Files, day: &Day) -> Result<String> {
    let program = std::env::current_exe().context("where this program is")?;
    let program = quoted(&program);
    let first = day.receipts.first().context("the day has a receipt")?;
    let digit = first.total.chars().next().context("a total has a digit")?;
    let other = if digit == '9' { '8' } else { '9' };
    let receipt = format!("receipts/{}.txt", first.number);
    let story = day.story.join("\n");
    Ok(format!(
        "\
A trading day of one outlet, played through the ledger's core in memory. Numbers, taxes, hashes,
signatures and proofs are real; the replicated cluster that will keep them is the next stage.

{story}

Everything is in {dir}
  fiscal-keys.json  the published key     receipts/       what the QR codes say
  journal.jsonl     records and proofs    z.json          the daily closure
  checkpoint.txt    the signed root       log-key.txt     the key that signed it
  invoice.json      the first sale in its one canonical spelling

Try it. A receipt proves itself, without any network:
  cd {dir_quoted}
  {program} receipt verify \"$(cat {receipt})\" --keys fiscal-keys.json
One digit of its total changed, and it is refused:
  {program} receipt verify \"$(sed s/t={digit}/t={other}/ {receipt})\" --keys fiscal-keys.json
The invoice behind it, as a fiscal device would send it:
  {program} invoice check --strict invoice.json
",
        dir = files.dir.display(),
        dir_quoted = quoted(&files.dir),
    ))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
