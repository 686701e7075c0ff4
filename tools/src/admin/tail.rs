//! `fiscus admin tail`: a group's journal as it grows.

use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use fiscus_ledger::hash::hex;
use fiscus_ledger::payload::Object;
use fiscus_ledger::record::Record;
use fiscus_proto::ledger::{Consistency, FeedItem, JournalRecord};
use futures_util::StreamExt;

use super::cluster::{Cluster, Connection};
use super::roster::Roster;
use super::{Failure, READ_WAIT, Report, operate, tell};
use crate::output::{answer, line};

/// Print the records of a group's journal, a line each.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR tail
  fiscus admin --dir DIR tail --group 2 --follow
  fiscus admin --dir DIR tail --from 0 --json > journal.jsonl

Only records whose signature is in the log are printed; the leaves of the group's tree are numbered from 0.
When a node is lost while it follows, another one goes on: no record is left out, and none comes twice.

Exit codes:
  0  printed, or interrupted while it followed
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// The group.
    #[arg(long, default_value_t = 1)]
    group: u64,
    /// The first leaf; the tenth from the end when absent.
    #[arg(long, value_name = "LEAF")]
    from: Option<u64>,
    /// Go on as records come, until interrupted.
    #[arg(long)]
    follow: bool,
    /// Print lines of JSON.
    #[arg(long)]
    json: bool,
}

/// Without `--from`, so many leaves are shown.
const LAST: u64 = 10;

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    match operate(connection, async |cluster| tail(&cluster, arguments).await) {
        Ok(()) => answer("admin tail", "", 0),
        Err(failure) => tell("admin tail", Err::<Report, _>(failure), arguments.json),
    }
}

async fn tail(cluster: &Cluster, arguments: &Arguments) -> Result<(), Failure> {
    let group = arguments.group;
    Roster::read(cluster).await?.group(group)?;
    let client = cluster.client().await?;
    let end = client.read_group(group, Consistency::Linearizable, READ_WAIT).await?.signed_leaves;
    let from = arguments.from.unwrap_or(end.saturating_sub(LAST));
    if from > end {
        eprintln!("group {group} has {end} signed leaves so far");
    }
    if !arguments.follow && from >= end {
        return Ok(());
    }
    if !arguments.json {
        line(&heading())?;
    }
    let mut feed = pin!(client.feed(group, from));
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        let item = tokio::select! {
            item = feed.next() => item,
            _ = &mut interrupted => return Ok(()),
        };
        let Some(item) = item else { return Ok(()) };
        let item = item?;
        line(&shown(&item, arguments.json)?)?;
        if !arguments.follow && item.leaf + 1 >= end {
            return Ok(());
        }
    }
}

fn heading() -> String {
    "leaf     time                      outlet                    position  kind             number               \
     total         currency"
        .to_owned()
}

fn shown(item: &FeedItem, json: bool) -> Result<String, Failure> {
    let Some(stored) = &item.record else {
        // The digest of all outlets' heads, which is a leaf and no record.
        return Ok(if json {
            Object::new().count("leaf", item.leaf).text("kind", "heads").finish()
        } else {
            format!("{:<7}  {:<24}  {:<24}  {:<8}  heads", item.leaf, "", "", "")
        });
    };
    let record = Record::decode(&stored.record)
        .with_context(|| format!("the record of leaf {}", item.leaf))?;
    Ok(if json { record_json(&record, stored) } else { record_line(&record) })
}

fn record_line(record: &Record<'_>) -> String {
    let text = format!(
        "{:<7}  {:<24}  {:<24}  {:<8}  {:<15}  {:<19}  {:<12}  {}",
        record.leaf_index,
        record.timestamp.to_string(),
        record.outlet_id,
        record.position,
        record.kind.as_str(),
        record.fiscal_number,
        record.total,
        record.currency
    );
    text.trim_end().to_owned()
}

fn record_json(record: &Record<'_>, stored: &JournalRecord) -> String {
    let if_any = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    Object::new()
        .count("leaf", record.leaf_index)
        .text("outlet", record.outlet_id)
        .count("position", record.position)
        .text("kind", record.kind.as_str())
        .optional("fiscal_number", if_any(record.fiscal_number).as_deref())
        .text("timestamp", &record.timestamp.to_string())
        .optional("total", if_any(record.total).as_deref())
        .optional("currency", if_any(record.currency).as_deref())
        .text("entry_hash", &hex(&record.entry_hash))
        .text("signature", &hex(&stored.signature))
        .finish()
}
