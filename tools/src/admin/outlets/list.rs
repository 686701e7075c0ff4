//! `fiscus admin outlets list`.

use std::fmt::Write;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::ledger::{Consistency, ListOutletsRequest};
use futures_util::StreamExt;

use super::status_name;
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::roster::Roster;
use crate::admin::{Failure, LIST_WAIT, Report, operate, tell};

/// List outlets as the data groups know them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR outlets list
  fiscus admin --dir DIR outlets list --group 2 --held --json

An outlet is listed once its group has heard of its registration, within a second of it.

Exit codes:
  0  listed
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// Only those of this data group.
    #[arg(long)]
    group: Option<u64>,
    /// Only those that a restore holds back.
    #[arg(long)]
    held: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let listed = operate(connection, async |cluster| list(&cluster, arguments).await);
    tell("admin outlets list", listed, arguments.json)
}

async fn list(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let roster = Roster::read(cluster).await?;
    let groups: Vec<u64> = match arguments.group {
        Some(group) => {
            roster.data_group(group)?;
            vec![group]
        }
        None => (1..=roster.data_groups()).collect(),
    };
    let client = cluster.client().await?;
    let mut text = String::from(
        "outlet                    group  status     environment  held  numbers        last  position  Z\n",
    );
    let mut rows = Vec::new();
    for group in groups {
        let request = ListOutletsRequest {
            group,
            after: String::new(),
            consistency: Consistency::Linearizable.into(),
        };
        let mut outlets = pin!(client.list_outlets(request, LIST_WAIT));
        while let Some(row) = outlets.next().await {
            let row = row?;
            let outlet = Outlet::from_stored(&row.row)
                .with_context(|| format!("the row of outlet {}", row.outlet_id))?;
            if outlet.held || !arguments.held {
                write_line(&mut text, &outlet);
                rows.push(short_json(&outlet));
            }
        }
    }
    Ok(Report { text, json: Report::ok().json("outlets", &array(rows)) })
}

fn write_line(text: &mut String, outlet: &Outlet) {
    let fact = &outlet.fact;
    let _ = writeln!(
        text,
        "{:<24}  {:<5}  {:<9}  {:<11}  {:<4}  {:<13}  {:<4}  {:<8}  {}",
        fact.outlet_id,
        fact.group,
        status_name(fact.status),
        fact.environment.as_str(),
        if outlet.held { "yes" } else { "no" },
        outlet.number_prefix(),
        outlet.series.last,
        outlet.chain.last_position,
        outlet.last_z
    );
}

fn short_json(outlet: &Outlet) -> String {
    let fact = &outlet.fact;
    Object::new()
        .text("id", &fact.outlet_id)
        .count("group", fact.group)
        .text("merchant_nif", &fact.merchant_nif)
        .text("status", status_name(fact.status))
        .text("environment", fact.environment.as_str())
        .flag("held", outlet.held)
        .text("numbers", &outlet.number_prefix())
        .count("last_number", outlet.series.last)
        .count("position", outlet.chain.last_position)
        .count("last_z", outlet.last_z)
        .finish()
}
