//! How a shift is answered.

use fiscus_ledger::record::{Record, RecordKind};
use fiscus_proto::ledger::JournalRecord;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::api::proved::{Evident, RecordEvidence};
use crate::http::Problem;

/// Where a shift is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ShiftStatus)]
pub(crate) enum Status {
    Open,
    Closed,
}

/// A shift.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Shift {
    /// Its id, unique at its outlet by the client's choice.
    #[schema(example = "till-1-2026-11-28-a")]
    pub(super) shift_id: String,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    pub(super) outlet_id: String,
    /// The terminal.
    #[schema(example = "till-1")]
    pub(super) pos_terminal_id: String,
    pub(super) status: Status,
    /// Who opened it.
    #[schema(example = "cashier-7")]
    pub(super) opened_by: String,
    /// When, by the trusted time.
    #[schema(example = "2026-11-28T07:00:00.000Z")]
    pub(super) opened_at: String,
    /// The place in the outlet's journal of the record that opened it.
    pub(super) opened_at_position: u64,
    /// Who closed it.
    #[schema(example = "cashier-7")]
    pub(super) closed_by: Option<String>,
    /// When.
    #[schema(example = "2026-11-28T15:00:00.000Z")]
    pub(super) closed_at: Option<String>,
    /// The place of the record that closed it.
    pub(super) closed_at_position: Option<u64>,
    /// Its X report: as recorded at its end, or as of now while it is open; in lists, of closed ones only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) report: Option<Box<RawValue>>,
    /// What proves the record that it is made of: that of its end, or of its opening while it is open.
    #[serde(flatten)]
    pub(super) evidence: RecordEvidence,
}

impl Evident for Shift {
    fn evidence(&mut self) -> &mut RecordEvidence {
        &mut self.evidence
    }
}

/// The payload of a record that opened a shift.
#[derive(Debug, Deserialize)]
struct Opening {
    shift_id: String,
    pos_terminal_id: String,
    cashier_id: String,
}

/// The payload of a record that closed one.
#[derive(Debug, Deserialize)]
struct Closing {
    shift_id: String,
    pos_terminal_id: String,
    opened_by: String,
    closed_by: String,
    opened_at: String,
    opened_at_position: u64,
}

impl Shift {
    /// What the record of its opening or its end says.
    pub(super) fn of(sealed: &JournalRecord) -> Result<Self, Problem> {
        let record = Record::decode(&sealed.record)
            .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
        let unreadable =
            |error: serde_json::Error| Problem::internal(&format!("a shift's record: {error}"));
        let outlet_id = record.outlet_id.to_owned();
        let time = record.timestamp.to_string();
        let evidence = RecordEvidence::of(sealed, &record);
        if record.kind == RecordKind::ShiftOpen {
            let opening: Opening = serde_json::from_slice(record.payload).map_err(unreadable)?;
            return Ok(Self {
                shift_id: opening.shift_id,
                outlet_id,
                pos_terminal_id: opening.pos_terminal_id,
                status: Status::Open,
                opened_by: opening.cashier_id,
                opened_at: time,
                opened_at_position: record.position,
                closed_by: None,
                closed_at: None,
                closed_at_position: None,
                report: None,
                evidence,
            });
        }
        let closing: Closing = serde_json::from_slice(record.payload).map_err(unreadable)?;
        let report = String::from_utf8(record.payload.to_vec());
        let report = report.ok().and_then(|text| RawValue::from_string(text).ok());
        Ok(Self {
            shift_id: closing.shift_id,
            outlet_id,
            pos_terminal_id: closing.pos_terminal_id,
            status: Status::Closed,
            opened_by: closing.opened_by,
            opened_at: closing.opened_at,
            opened_at_position: closing.opened_at_position,
            closed_by: Some(closing.closed_by),
            closed_at: Some(time),
            closed_at_position: Some(record.position),
            report,
            evidence,
        })
    }
}
