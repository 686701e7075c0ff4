//! Reports of an outlet: what nodes make and sign, and what is kept of those that are no records.

use std::time::Duration;

use fiscus_ledger::hash::Tagged;
use fiscus_ledger::record::RecordKind;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{CloseDay, Submitted, command};
use fiscus_proto::ledger::{
    AReportRequest, Consistency, FindRecordsRequest, FindRecordsResponse, JournalRecord,
    ReportPart, SignedReport, XReportRequest, report_part::Part, x_report_request,
};
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::caller::Caller;
use super::outlet::Outlet;
use super::registry::{Made, Once};
use super::ring::{slot_id, version_before};
use crate::delivery::notices::{Ring, is_wanted, notice, with_new};
use crate::directory::Stored;
use crate::directory::documents::kind;
use crate::directory::webhooks::{Notice, Notices};
use crate::http::{IdempotencyKey, Problem};
use crate::place_id::PlaceId;
use crate::webhooks::catalogue::EventType;
use crate::webhooks::event::metadata_of;

/// Reports of an organisation that are made at once are told one after the other; each is tried again so often.
const REPORT_ATTEMPTS_MAX: u64 = 32;
/// From this attempt on a report is kept without being told: nobody who asks for one is to be refused for a webhook.
const TELL_ATTEMPTS_MAX: u64 = 24;
/// The lines of an A report come within this time, or it is broken off.
const ARTICLES_MAX: Duration = Duration::from_secs(15 * 60);

/// What is kept of an X or A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReport {
    /// The outlet.
    pub outlet_id: String,
    /// When it was made, by the gateway's clock.
    pub made_ms: u64,
    /// Who asked for it: the key's name.
    pub made_by: String,
    /// What it is.
    #[serde(flatten)]
    pub content: KeptContent,
}

/// The part that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum KeptContent {
    /// An X: a moment that does not come again, so its text is kept beside it.
    X {
        /// `outlet`, `shift` or `terminal`.
        scope: String,
        /// The terminal, where it is about one.
        #[serde(default)]
        pos_terminal_id: String,
        /// When it was made, by the group's clock.
        generated_at: String,
        /// The key that signed.
        authority_id: String,
        /// In hexadecimal.
        digest: String,
        /// The same.
        signature: String,
    },
    /// An A: records do not change, so only the range is kept.
    A {
        /// The first position.
        from_position: u64,
        /// The last position.
        to_position: u64,
    },
}

/// The text of an X report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptText {
    /// Canonical JSON.
    pub json: String,
}

/// How many reports an outlet has had: the version counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ReportCount {}

impl Stored for KeptReport {
    const KIND: &'static str = kind::REPORT;
}
impl Stored for KeptText {
    const KIND: &'static str = "report_text";
}
impl Stored for ReportCount {
    const KIND: &'static str = "report_count";
}

/// A report to be kept.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// What is kept in the list.
    pub report: KeptReport,
    /// The text, of an X.
    pub text: Option<String>,
}

impl Caller {
    /// Keeps a report under the next number of its outlet, with the action that made it.
    pub async fn keep_report(
        &self,
        outlet: &Outlet,
        new: &NewReport,
        once: &Once,
    ) -> Result<Made, Problem> {
        let action = match new.report.content {
            KeptContent::X { .. } => "report.x",
            KeptContent::A { .. } => "report.a",
        };
        for attempt in 0..REPORT_ATTEMPTS_MAX {
            // Whoever tries again and again does so apart from the others.
            let [random] = self.app().random::<1>();
            sleep(Duration::from_millis(attempt * u64::from(random) / 16)).await;
            let number = self.ring_count(kind::REPORT, outlet).await?;
            let (slot, before) = (slot_id(outlet.id(), number), version_before(number));
            let mut change = self
                .change(self.organisation(), action, "report", &number.to_string())
                .outlet(outlet.id())
                .once(once)
                .put(outlet.id(), number, &ReportCount {})
                .put(&slot, before, &new.report);
            // Every slot has a text of the same version, so that the numbers of both stay the same.
            let json = new.text.clone().unwrap_or_default();
            change = change.put(&slot, before, &KeptText { json });
            if attempt == TELL_ATTEMPTS_MAX {
                tracing::warn!(outlet = outlet.id(), number, "a report is not told to endpoints");
            }
            if attempt < TELL_ATTEMPTS_MAX {
                for (id, seen, notices) in self.told_of(outlet, &new.report, number) {
                    change = change.put(&id, seen, &notices);
                }
            }
            match change.commit().await {
                Err(problem) if problem.code == "VERSION_CONFLICT" => {}
                done => return done,
            }
        }
        Err(crowded())
    }

    /// The documents that tell endpoints of a report.
    fn told_of(
        &self,
        outlet: &Outlet,
        report: &KeptReport,
        number: u64,
    ) -> Vec<(String, u64, Notices)> {
        let tables = self.app().directory().read();
        let place = (outlet.id(), outlet.entry().region());
        if !is_wanted(&tables, self.organisation(), EventType::ReportGenerated, place) {
            return Vec::new();
        }
        let told = Notice {
            outlet_id: outlet.id().to_owned(),
            ..notice(
                EventType::ReportGenerated,
                report.made_ms,
                report_data(outlet, report, number),
            )
        };
        with_new(Ring::Reports, &tables, self.organisation(), [told])
    }

    /// What an earlier copy of a request for a report made.
    pub async fn report_made_before(&self, once: &Once) -> Result<Option<u64>, Problem> {
        let made = self.made_before(once).await?;
        Ok(made.and_then(|number| number.parse().ok()))
    }

    /// A kept report; none when there never was one, or when a hundred others came after it.
    pub async fn kept_report(
        &self,
        outlet: &Outlet,
        number: u64,
    ) -> Result<Option<KeptReport>, Problem> {
        self.ring_get(kind::REPORT, outlet, number).await
    }

    /// The text of a kept X report.
    pub async fn kept_text(
        &self,
        outlet: &Outlet,
        number: u64,
    ) -> Result<Option<KeptText>, Problem> {
        self.ring_get(KeptText::KIND, outlet, number).await
    }

    /// All kept reports of an outlet, the latest first.
    pub async fn kept_reports(
        &self,
        outlet: &Outlet,
        consistency: Consistency,
    ) -> Result<Vec<(u64, KeptReport)>, Problem> {
        self.ring_list(kind::REPORT, outlet, consistency).await
    }
}

/// What is told of an X or A report, with the fields of a Z.
fn report_data(outlet: &Outlet, report: &KeptReport, number: u64) -> Value {
    let generated_at = UnixMs::new(report.made_ms).to_string();
    let mut data = json!({
        "group": outlet.entry().group(), "tree_index": null, "position": null, "record_kind": null,
        "fiscal_authority_id": null, "record_hash": null, "previous_hash": null, "z_number": null,
        "empty": null, "invoices": null, "operator": report.made_by, "digest": null, "scope": null,
        "pos_terminal_id": null, "from_position": null, "to_position": null,
        "generated_at": generated_at,
    });
    match &report.content {
        KeptContent::X { scope, pos_terminal_id, generated_at, authority_id, digest, .. } => {
            data["report"] = json!("x");
            data["report_id"] = json!(PlaceId::new('x', outlet.id(), number).to_string());
            data["generated_at"] = json!(generated_at);
            data["fiscal_authority_id"] = json!(authority_id);
            data["digest"] = json!(digest);
            data["scope"] = json!(scope);
            let terminal = Some(pos_terminal_id).filter(|terminal| !terminal.is_empty());
            data["pos_terminal_id"] = json!(terminal);
        }
        KeptContent::A { from_position, to_position } => {
            data["report"] = json!("a");
            data["report_id"] = json!(PlaceId::new('a', outlet.id(), number).to_string());
            data["from_position"] = json!(from_position);
            data["to_position"] = json!(to_position);
        }
    }
    for (name, value) in metadata_of(outlet.entry()) {
        data[name] = value;
    }
    data
}

/// Others were quicker, again and again.
pub(super) fn crowded() -> Problem {
    let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
    let detail =
        "too many others ask for the same at once; nothing was done; send the request again";
    Problem::new(status, "CLUSTER_BUSY", detail).retry_after(Duration::from_secs(1))
}

impl Outlet {
    /// Closes the day. Whether it was done now, and the record.
    pub async fn close_day(
        &self,
        operator: &str,
        key: &IdempotencyKey,
    ) -> Result<(bool, JournalRecord), Problem> {
        let fingerprint = Tagged::new("fiscus/close-day/v1").str(operator).finish();
        let command = CloseDay {
            submitted: Some(Submitted {
                outlet_id: self.id().to_owned(),
                key: key.submission_key().to_vec().into(),
                fingerprint: fingerprint.to_vec().into(),
            }),
            operator: operator.to_owned(),
        };
        match self.submit(command::Command::CloseDay(command)).await? {
            Answer::Recorded(record) => Ok((true, record)),
            Answer::AlreadyRecorded(record) => Ok((false, record)),
            Answer::Refused(refusal) => Err(Problem::of_refusal(&refusal)),
            other => Err(Problem::internal(&format!("a closing was answered with {other}"))),
        }
    }

    /// What a part of the outlet comes to now, signed.
    pub async fn look_at(&self, scope: x_report_request::Scope) -> Result<SignedReport, Problem> {
        let is_shift = !matches!(scope, x_report_request::Scope::Outlet(_));
        let request = XReportRequest {
            group: self.entry().group(),
            outlet_id: self.id().to_owned(),
            scope: Some(scope),
            consistency: Consistency::Linearizable.into(),
        };
        let made = self.app().cluster().x_report(request, self.time_left()).await;
        made.map_err(
            |error| {
                if is_shift && error.is_not_found() { shift_not_open() } else { error.into() }
            },
        )
    }

    /// Closings of the day, the latest first, below a leaf; 0 for all that there are now.
    pub async fn closures(
        &self,
        below_leaf: u64,
        (from_ms, until_ms): (u64, u64),
        limit: u32,
        consistency: Consistency,
    ) -> Result<FindRecordsResponse, Problem> {
        let request = FindRecordsRequest {
            group: self.entry().group(),
            outlet_ids: vec![self.id().to_owned()],
            from_leaf: 0,
            below_leaf,
            descending: true,
            kinds: vec![RecordKind::ZClosure.as_str().to_owned()],
            from_ms,
            until_ms,
            limit,
            consistency: consistency.into(),
        };
        Ok(self.app().cluster().find_records(request, self.time_left()).await?)
    }

    /// Every line of every invoice between two positions: the header, and then the rest as it comes.
    pub async fn articles(
        &self,
        from_position: u64,
        to_position: u64,
    ) -> Result<(String, impl Stream<Item = Result<ReportPart, Problem>> + Send + use<>), Problem>
    {
        let request = AReportRequest {
            group: self.entry().group(),
            outlet_id: self.id().to_owned(),
            from_position,
            to_position,
            consistency: Consistency::Linearizable.into(),
        };
        let parts = self.app().cluster().a_report(request, ARTICLES_MAX);
        let mut parts = Box::pin(parts.map(|part| part.map_err(Problem::from)));
        // The first part is waited for, so that what goes wrong at the start is answered as a problem.
        let first = tokio::time::timeout(self.time_left(), parts.next()).await;
        let first = first.map_err(|_elapsed| no_answer())?.transpose()?;
        match first.and_then(|part| part.part) {
            Some(Part::Header(header)) => Ok((header, parts)),
            _ => Err(Problem::internal("an A report does not begin with its header")),
        }
    }
}

fn shift_not_open() -> Problem {
    let detail = "no such shift is open at this terminal; a closed shift has its report in its closing record";
    Problem::new(axum::http::StatusCode::CONFLICT, "SHIFT_NOT_OPEN", detail)
}

/// The cluster has not begun to answer in the time that a request has.
pub(crate) fn no_answer() -> Problem {
    fiscus_proto::client::ReadError::Unavailable { detail: "no answer in time".to_owned() }.into()
}
