//! `fiscus admin uploads status`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use fiscus_gateway::directory::documents::kind;
use fiscus_gateway::directory::uploads::{CONTROL_ID, UploadControl, UploadProgress, upload_shard};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::record::Record;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{
    Consistency, ListDocumentsRequest, ListOutletsRequest, ReadRecordsRequest, UploadState,
};
use futures_util::StreamExt;

use crate::admin::cluster::{Cluster, Connection};
use crate::admin::roster::Roster;
use crate::admin::{Failure, LIST_WAIT, READ_WAIT, Report, operate, tell};

/// Records that are looked at for the oldest invoice that waits.
const LOOKED_AT_MAX: usize = 2_000;

/// Show how far the uploads are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fiscus admin --dir DIR uploads status
  fiscus admin --dir DIR uploads status --waiting --json

Of each live outlet: invoices that wait, those of them that a gateway is sending now (as of two seconds ago), those
that the tax authority has and has refused, how much of all that is, and how long the oldest one has waited.

Exit codes:
  0  shown
  2  wrong usage, or no node answers")]
pub(crate) struct Arguments {
    /// Only this outlet.
    #[arg(long, value_name = "ID")]
    outlet: Option<String>,
    /// Only outlets of which something waits or was refused.
    #[arg(long)]
    waiting: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(connection: &Connection, arguments: &Arguments) -> ExitCode {
    let shown = operate(connection, async |cluster| show(&cluster, arguments).await);
    tell("admin uploads status", shown, arguments.json)
}

/// What gateways and operators have written.
struct Under {
    progress: BTreeMap<usize, UploadProgress>,
    control: UploadControl,
}

async fn show(cluster: &Cluster, arguments: &Arguments) -> Result<Report, Failure> {
    let roster = Roster::read(cluster).await?;
    let client = cluster.client().await?;
    let under = under(&client).await?;
    let mut text = String::from(
        "outlet                    queued  uploading  acknowledged  refused  done    oldest      state\n",
    );
    let (mut rows, mut sums) = (Vec::new(), [0_u64; 4]);
    for group in 1..=roster.data_groups() {
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
            let wanted = arguments.outlet.as_ref().is_none_or(|id| *id == row.outlet_id);
            let quiet = outlet.upload_queue() == 0 && outlet.uploads.refused == 0;
            if outlet.fact.environment != Environment::Live || !wanted {
                continue;
            }
            if arguments.waiting && quiet {
                continue;
            }
            let line = line(&client, group, &outlet, &under).await?;
            for (sum, more) in sums.iter_mut().zip([
                line.queued,
                line.uploading,
                outlet.uploads.acknowledged,
                outlet.uploads.refused,
            ]) {
                *sum += more;
            }
            write_line(&mut text, &outlet, &line);
            rows.push(json_of(&outlet, &line));
        }
    }
    Ok(report(text, &rows, sums, &under))
}

/// What is told of all of it, below the outlets and beside them.
fn report(mut text: String, rows: &[String], sums: [u64; 4], under: &Under) -> Report {
    let [queued, uploading, acknowledged, refused] = sums;
    let rate = Rate::of(under.progress.values());
    let minutes_left = rate.minutes_left(queued);
    let by_age = under.progress.values().filter(|progress| progress.failures > 0);
    let failing = by_age.max_by_key(|progress| progress.written_ms);
    let _ = writeln!(
        text,
        "{queued} queued, {uploading} of them on their way; {acknowledged} acknowledged, {refused} refused; \
         {} a minute by {}{}{}{}",
        rate.per_minute,
        if rate.gateways == 1 {
            "1 gateway".to_owned()
        } else {
            format!("{} gateways", rate.gateways)
        },
        minutes_left.map_or_else(String::new, |minutes| format!("; about {minutes} min left")),
        if under.control.paused { "; paused" } else { "" },
        failing.map_or_else(String::new, |progress| format!(
            "\nno answer {} times in a row: {}",
            progress.failures, progress.last_error
        ))
    );
    let json = Report::ok()
        .count("queued", queued)
        .count("uploading", uploading)
        .count("acknowledged", acknowledged)
        .count("refused", refused)
        .count("per_minute", rate.per_minute)
        .count("gateways", rate.gateways)
        .flag("paused", under.control.paused)
        .count("failures", failing.map_or(0, |progress| progress.failures.into()))
        .text("last_error", failing.map_or("", |progress| &progress.last_error))
        .json("outlets", &array(rows.iter().cloned()));
    let json = match minutes_left {
        Some(minutes) => json.count("minutes_left", minutes),
        None => json,
    };
    Report { text, json }
}

/// How fast it goes.
#[derive(Debug, PartialEq, Eq)]
struct Rate {
    /// Invoices that were answered in the last minute.
    per_minute: u64,
    /// The gateways that upload.
    gateways: u64,
}

impl Rate {
    /// Each gateway tells its own with every part that it serves; what it told last counts.
    fn of<'p>(progress: impl Iterator<Item = &'p UploadProgress>) -> Self {
        let mut newest: BTreeMap<&str, &UploadProgress> = BTreeMap::new();
        for one in progress {
            let known = newest.entry(&one.gateway).or_insert(one);
            if one.written_ms > known.written_ms {
                *known = one;
            }
        }
        let per_minute = newest.values().map(|progress| progress.per_minute).sum();
        Self { per_minute, gateways: newest.len() as u64 }
    }

    /// How long the queue takes when it goes on so; nothing where nothing is queued or nothing is answered.
    fn minutes_left(&self, queued: u64) -> Option<u64> {
        if queued == 0 {
            None
        } else {
            queued.checked_add(self.per_minute)?.saturating_sub(1).checked_div(self.per_minute)
        }
    }
}

async fn under(client: &ClusterClient) -> Result<Under, Failure> {
    let mut under = Under { progress: BTreeMap::new(), control: UploadControl::default() };
    for kind in [kind::UPLOAD_PROGRESS, kind::UPLOAD_CONTROL] {
        let request = ListDocumentsRequest {
            kind: kind.to_owned(),
            consistency: Consistency::Linearizable.into(),
            ..ListDocumentsRequest::default()
        };
        let mut documents = pin!(client.list_documents(request, LIST_WAIT));
        while let Some(document) = documents.next().await {
            let document = document?;
            let unreadable = || format!("the document {}/{}", document.kind, document.id);
            if document.kind == kind::UPLOAD_CONTROL && document.id == CONTROL_ID {
                under.control = serde_json::from_slice(&document.bytes).with_context(unreadable)?;
            } else if let Ok(shard) = document.id.parse() {
                let progress = serde_json::from_slice(&document.bytes).with_context(unreadable)?;
                under.progress.insert(shard, progress);
            }
        }
    }
    Ok(under)
}

/// What is told of one outlet.
struct Line {
    queued: u64,
    uploading: u64,
    oldest_ms: u64,
    state: &'static str,
}

async fn line(
    client: &ClusterClient,
    group: u64,
    outlet: &Outlet,
    under: &Under,
) -> Result<Line, Failure> {
    let id = &*outlet.fact.outlet_id;
    let queued = outlet.upload_queue();
    let sending = under.progress.get(&upload_shard(id)).and_then(|it| it.sending.get(id));
    // What was answered meanwhile is not on its way any more.
    let sending = sending.filter(|sending| sending.last > outlet.uploads.through);
    let oldest_ms = match queued {
        0 => 0,
        _ => oldest(client, group, outlet).await?.map_or(0, |sealed_ms| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_sub(sealed_ms)
        }),
    };
    let paused = under.control.paused || under.control.paused_outlets.contains(id);
    let state = match (queued, sending) {
        (0, _) => "done",
        _ if paused => "paused",
        (_, Some(_)) => "uploading",
        (_, None) => "waits",
    };
    let uploading = sending.map_or(0, |sending| u64::from(sending.count).min(queued));
    Ok(Line { queued, uploading, oldest_ms, state })
}

/// When the first invoice that waits was sealed.
async fn oldest(
    client: &ClusterClient,
    group: u64,
    outlet: &Outlet,
) -> Result<Option<u64>, Failure> {
    let request = ReadRecordsRequest {
        group,
        outlet_id: outlet.fact.outlet_id.to_string(),
        from_position: outlet.uploads.through + 1,
        to_position: 0,
        consistency: Consistency::Local.into(),
    };
    let mut records = pin!(client.read_records(request, READ_WAIT).take(LOOKED_AT_MAX));
    while let Some(sealed) = records.next().await {
        let sealed = sealed?;
        if sealed.upload.as_ref().is_some_and(|it| it.state() == UploadState::Queued) {
            let record = Record::decode(&sealed.record).context("a record")?;
            return Ok(Some(record.timestamp.get()));
        }
    }
    Ok(None)
}

/// How much of an outlet's invoices is acknowledged or refused, in tenths of a percent.
fn done_permille(outlet: &Outlet) -> u64 {
    let (settled, all) = (outlet.uploads.settled(), outlet.invoices());
    if all == 0 {
        1_000
    } else {
        u64::try_from(u128::from(settled) * 1_000 / u128::from(all)).unwrap_or(0)
    }
}

fn write_line(text: &mut String, outlet: &Outlet, line: &Line) {
    let (done, seconds) = (done_permille(outlet), line.oldest_ms / 1_000);
    let oldest = match seconds {
        0 => "-".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    };
    let _ = writeln!(
        text,
        "{:<24}  {:>6}  {:>9}  {:>12}  {:>7}  {:>3}.{} %  {:>8}    {}",
        outlet.fact.outlet_id,
        line.queued,
        line.uploading,
        outlet.uploads.acknowledged,
        outlet.uploads.refused,
        done / 10,
        done % 10,
        oldest,
        line.state
    );
}

fn json_of(outlet: &Outlet, line: &Line) -> String {
    Object::new()
        .text("outlet", &outlet.fact.outlet_id)
        .count("group", outlet.fact.group)
        .count("queued", line.queued)
        .count("uploading", line.uploading)
        .count("acknowledged", outlet.uploads.acknowledged)
        .count("refused", outlet.uploads.refused)
        .count("again", outlet.uploads.again)
        .count("done_permille", done_permille(outlet))
        .count("oldest_ms", line.oldest_ms)
        .text("state", line.state)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_gateway_told_last_is_added_up_and_says_how_long_the_queue_takes() {
        let told = |gateway: &str, written_ms, per_minute| UploadProgress {
            gateway: gateway.to_owned(),
            written_ms,
            per_minute,
            ..UploadProgress::default()
        };
        let all = [told("a", 5, 100), told("b", 4, 30), told("a", 7, 200), told("a", 6, 150)];
        let rate = Rate::of(all.iter());
        assert_eq!(rate, Rate { per_minute: 230, gateways: 2 });
        for (queued, minutes) in [(0, None), (1, Some(1)), (230, Some(1)), (231, Some(2))] {
            assert_eq!(rate.minutes_left(queued), minutes, "{queued}");
        }
        let none = Rate::of([].iter());
        assert_eq!((none.gateways, none.minutes_left(10)), (0, None));
    }
}
