//! `RPT|Z`, `RPT|X` and `RPT|A`: the ledger's reports in the protocol's form.

use fiscus_ledger::hash::Tagged;
use fiscus_ledger::payload::{Object, array};
use fiscus_ledger::record::Record;
use fiscus_ledger::state::rows::Operation;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{CloseDay, Command, Submitted, command};
use fiscus_proto::ledger::report_part::Part;
use fiscus_proto::ledger::x_report_request::Scope;
use fiscus_proto::ledger::{
    AReportRequest, FindRecordsRequest, JournalRecord, OutletScope, ReadSubmissionRequest,
    XReportRequest,
};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{LINEARIZABLE, Port, Until, faults};
use crate::protocol::answer::ok;
use crate::protocol::{FRAME_BYTES_MAX, Fault, Reply};

const DAY_MS: u64 = 86_400_000;
/// Kept of a frame for what stands around the lines of a report.
const AROUND_BYTES: usize = 1_024;

/// What is told of a Z or an X.
#[derive(Deserialize)]
struct Report<'a> {
    #[serde(default)]
    z_number: u64,
    opened_after_position: u64,
    closing_position: u64,
    generated_at: String,
    invoices: u64,
    series: Vec<Series>,
    #[serde(borrow)]
    currencies: &'a RawValue,
}

#[derive(Deserialize)]
struct Series {
    sealed: Vec<(u64, u64)>,
}

impl Port {
    /// A date is closed once: asked again, the same Z is told.
    pub(super) async fn close_day(&self, date: &str, until: Until) -> Result<Reply, Fault> {
        let outlet = self.outlet(until).await?;
        let hash = Tagged::new("fiscus/device-z/v1").str(date).finish();
        let key = hash[..16].to_vec();
        let request = ReadSubmissionRequest {
            group: outlet.group,
            outlet_id: outlet.outlet_id.to_string(),
            operation: Operation::CloseDay.code().into(),
            key: key.clone().into(),
            consistency: LINEARIZABLE,
        };
        let known = self.shared.cluster.read_submission(request, until.left()).await;
        let known = known.map_err(|error| faults::of_read(&error))?;
        if let Some(record) = known.record {
            return closed(date, &record);
        }
        let now = known.as_of.unwrap_or_default().time_ms;
        let day = UnixMs::parse_canonical(&format!("{date}T00:00:00.000Z"));
        // A day begins and ends somewhere else than in Greenwich.
        if day.is_none_or(|day| now + DAY_MS < day.get() || day.get() + 2 * DAY_MS < now) {
            let detail = format!("{date} is not today, and was not closed by this device");
            return Ok(Reply::Refused(Fault::schema(detail)));
        }
        let close = CloseDay {
            submitted: Some(Submitted {
                outlet_id: outlet.outlet_id.to_string(),
                key: key.into(),
                fingerprint: hash.to_vec().into(),
            }),
            operator: self.device_id.clone(),
        };
        let command = Command { command: Some(command::Command::CloseDay(close)) };
        match self.shared.cluster.submit(outlet.group, command, until.left()).await {
            Ok(Answer::Recorded(record) | Answer::AlreadyRecorded(record)) => closed(date, &record),
            Ok(Answer::Refused(refusal)) => Ok(Reply::Refused(faults::of_refusal(&refusal))),
            Ok(other) => Ok(Reply::InDoubt(format!("a closing was answered with {other}"))),
            Err(error) => Ok(faults::of_submit(error)),
        }
    }

    pub(super) async fn snapshot(&self, until: Until) -> Result<Reply, Fault> {
        let outlet = self.outlet(until).await?;
        let request = XReportRequest {
            group: outlet.group,
            outlet_id: outlet.outlet_id.to_string(),
            scope: Some(Scope::Outlet(OutletScope {})),
            consistency: LINEARIZABLE,
        };
        let made = self.shared.cluster.x_report(request, until.left()).await;
        let made = made.map_err(|error| faults::of_read(&error))?;
        let report = parsed(made.json.as_bytes())?;
        let answer = ok()
            .json("period", &period(Object::new(), &report))
            .count("transaction_count", report.invoices)
            .json("totals", report.currencies.get());
        Ok(Reply::Done(answer.finish()))
    }

    pub(super) async fn articles(
        &self,
        range: (UnixMs, UnixMs),
        until: Until,
    ) -> Result<Reply, Fault> {
        let first = self.edge(range, false, until).await?;
        let last = self.edge(range, true, until).await?;
        let Some((from, to)) = first.zip(last) else {
            return Ok(Reply::Done(ok().json("articles", "[]").finish()));
        };
        let outlet = self.outlet(until).await?;
        let request = AReportRequest {
            group: outlet.group,
            outlet_id: outlet.outlet_id.to_string(),
            from_position: from,
            to_position: to,
            consistency: LINEARIZABLE,
        };
        let mut parts = Box::pin(self.shared.cluster.a_report(request, until.left()));
        let (mut lines, mut bytes) = (Vec::new(), AROUND_BYTES);
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| faults::of_read(&error))?.part;
            if let Some(Part::Line(line)) = part {
                bytes += line.len() + 1;
                if bytes > FRAME_BYTES_MAX {
                    let detail = "the report does not fit into one frame; ask for a shorter time";
                    return Ok(Reply::Refused(Fault::schema(detail)));
                }
                lines.push(line);
            }
        }
        Ok(Reply::Done(ok().json("articles", &array(lines)).finish()))
    }

    /// The position of the first or the last record between two times.
    async fn edge(
        &self,
        (since, end): (UnixMs, UnixMs),
        last: bool,
        until: Until,
    ) -> Result<Option<u64>, Fault> {
        let outlet = self.outlet(until).await?;
        let mut request = FindRecordsRequest {
            group: outlet.group,
            outlet_ids: vec![outlet.outlet_id.to_string()],
            from_leaf: 0,
            below_leaf: 0,
            descending: last,
            kinds: Vec::new(),
            from_ms: since.get(),
            until_ms: end.get(),
            limit: 1,
            consistency: LINEARIZABLE,
        };
        loop {
            let found = self.shared.cluster.find_records(request.clone(), until.left()).await;
            let found = found.map_err(|error| faults::of_read(&error))?;
            if let Some(record) = found.records.first() {
                let record = Record::decode(&record.record);
                return record
                    .map(|record| Some(record.position))
                    .map_err(|_| faults::strange("a record"));
            }
            // A call looks at so many records only.
            let Some(next) = found.next_leaf else { return Ok(None) };
            if last {
                request.below_leaf = next;
            } else {
                request.from_leaf = next;
            }
        }
    }
}

fn parsed(json: &[u8]) -> Result<Report<'_>, Fault> {
    serde_json::from_slice(json).map_err(|_| faults::strange("a report"))
}

fn closed(date: &str, sealed: &JournalRecord) -> Result<Reply, Fault> {
    let record = Record::decode(&sealed.record).map_err(|_| faults::strange("a record"))?;
    let report = parsed(record.payload)?;
    let sealed = || report.series.iter().flat_map(|series| &series.sealed);
    let first = sealed().map(|(first, _)| *first).min();
    let last = sealed().map(|(_, last)| *last).max();
    let number = |number: Option<u64>| number.map_or("null".to_owned(), |n| n.to_string());
    let period =
        period(Object::new().text("date", date).count("z_number", report.z_number), &report);
    let answer = ok()
        .json("period", &period)
        .json("sequence_start", &number(first))
        .json("sequence_end", &number(last))
        .count("transaction_count", report.invoices)
        .json("totals", report.currencies.get());
    Ok(Reply::Done(answer.finish()))
}

fn period(object: Object, report: &Report<'_>) -> String {
    object
        .count("opened_after_position", report.opened_after_position)
        .count("closing_position", report.closing_position)
        .text("generated_at", &report.generated_at)
        .finish()
}
