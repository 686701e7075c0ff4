//! `fiscus admin outlets show`.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use fiscus_ledger::hash::hex;
use fiscus_ledger::money::format_minor;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::state::outlet::{Outlet, Series};
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::tally::Tally;
use fiscus_proto::ledger::{Consistency, ReadOutletRequest};

use super::{Registered, mode_name, registered, status_name};
use crate::admin::cluster::{Cluster, Connection};
use crate::admin::devices::{self, KnownDevice};
use crate::admin::{Failure, READ_WAIT, Report, operate, tell};

/// Show an outlet: its registration, its counters and its totals.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  fiscus admin --dir DIR outlets show outlet-gombe

The registration is the directory's; the rest is what the outlet's group holds at this moment, and how its devices
stand.

Exit codes:
  0  shown
  1  there is no such outlet
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// The outlet's id.
    id: String,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let shown = operate(connection, async |cluster| show(&cluster, &arguments.id).await);
    tell("admin outlets show", shown, arguments.json)
}

async fn show(cluster: &Cluster, id: &str) -> Result<Report, Failure> {
    let client = cluster.client().await?;
    let registered = registered(&client, id).await?;
    let request = ReadOutletRequest {
        group: registered.fact.group,
        outlet_id: id.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    let row = client.read_outlet(request, READ_WAIT).await?.row;
    let outlet = if row.is_empty() {
        None
    } else {
        let outlet =
            Outlet::from_stored(&row).with_context(|| format!("the row of outlet {id}"))?;
        Some(outlet)
    };
    let devices = devices::all(cluster, Some(id)).await?;
    let mut text = text(&registered, outlet.as_ref());
    let mut rows = Vec::with_capacity(devices.len());
    for device in &devices {
        describe(&mut text, device);
        rows.push(device.json()?);
    }
    let json = json(&registered, outlet.as_ref()).json("devices", &array(rows));
    Ok(Report { text, json })
}

fn describe(text: &mut String, device: &KnownDevice) {
    let _ = writeln!(text, "\ndevice        {}", device.fact.device_id);
    device.describe(text);
}

fn text(registered: &Registered, outlet: Option<&Outlet>) -> String {
    let fact = &registered.fact;
    let mut out = format!(
        "outlet        {}\nmerchant      {}\nnumbers       {}-{}-…\ngroup         {}\n\
         environment   {}\nsealed by     {}\nstatus        {} (version {})\n",
        fact.outlet_id,
        fact.merchant_nif,
        fact.prefix,
        fact.code,
        fact.group,
        fact.environment.as_str(),
        mode_name(fact.signing_mode),
        status_name(fact.status),
        registered.version
    );
    let Some(outlet) = outlet else {
        out.push_str("\nits group has not heard of it yet\n");
        return out;
    };
    if outlet.fact_version < registered.version {
        let _ = writeln!(out, "              its group still has version {}", outlet.fact_version);
    }
    let (series, chain) = (&outlet.series, &outlet.chain);
    let _ =
        writeln!(out, "held          {}", if outlet.held { "yes, since a restore" } else { "no" });
    let _ = writeln!(
        out,
        "\nseries {}: last number {}, sealed {}, reserved {}, missing {}, recovery gaps {}",
        outlet.number_prefix(),
        series.last,
        series.sealed,
        series.reserved.count(),
        series.missing.count(),
        series.recovery_gaps.count()
    );
    for (device_id, series) in &outlet.device_series {
        let _ = writeln!(out, "series {device_id}: last number {} imported", series.last);
    }
    let _ = writeln!(out, "journal: position {}, head {}", chain.last_position, hex(&chain.head));
    let _ = writeln!(out, "last Z: {}", outlet.last_z);
    totals(&mut out, "since the last Z", &outlet.period.tally);
    totals(&mut out, "since the first invoice", &outlet.perpetual);
    out
}

fn totals(out: &mut String, what: &str, tally: &Tally) {
    let _ = writeln!(out, "{what}: {} invoices", tally.invoices());
    for currency in tally.currencies() {
        let total = currency.total();
        let _ = writeln!(
            out,
            "  {}  base {}  tax {}",
            currency.currency.as_str(),
            format_minor(total.base),
            format_minor(total.tax)
        );
    }
}

fn json(registered: &Registered, outlet: Option<&Outlet>) -> Object {
    let fact = &registered.fact;
    let base = Report::ok()
        .text("id", &fact.outlet_id)
        .text("merchant_nif", &fact.merchant_nif)
        .text("prefix", &fact.prefix)
        .text("code", &fact.code)
        .count("group", fact.group)
        .text("environment", fact.environment.as_str())
        .text("status", status_name(fact.status))
        .text("signing_mode", mode_name(fact.signing_mode))
        .count("version", registered.version)
        .flag("known_to_group", outlet.is_some());
    let Some(outlet) = outlet else { return base };
    base.flag("held", outlet.held)
        .count("position", outlet.chain.last_position)
        .text("head", &hex(&outlet.chain.head))
        .count("last_z", outlet.last_z)
        .json("series", &array([series_json(&outlet.number_prefix(), &outlet.series)]))
        .json(
            "device_series",
            &array(outlet.device_series.iter().map(|(device_id, series)| {
                Object::new()
                    .text("device_id", device_id)
                    .count("last_sequence", series.last)
                    .finish()
            })),
        )
        .json("since_last_z", &tally_json(&outlet.period.tally))
        .json("perpetual", &tally_json(&outlet.perpetual))
}

fn series_json(prefix: &str, series: &Series) -> String {
    Object::new()
        .text("prefix", prefix)
        .count("last", series.last)
        .count("sealed", series.sealed)
        .ranges("reserved", series.reserved.ranges())
        .ranges("missing", series.missing.ranges())
        .ranges("recovery_gaps", series.recovery_gaps.ranges())
        .finish()
}

fn tally_json(tally: &Tally) -> String {
    let currencies = tally.currencies().iter().map(|currency| {
        let total = currency.total();
        Object::new()
            .text("currency", currency.currency.as_str())
            .text("base", &format_minor(total.base))
            .text("tax", &format_minor(total.tax))
            .finish()
    });
    Object::new().count("invoices", tally.invoices()).json("totals", &array(currencies)).finish()
}
