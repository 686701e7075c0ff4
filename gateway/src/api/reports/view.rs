//! How a report is answered, and what it says in its text.

use fiscus_ledger::hash::hex;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::JournalRecord;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::access::{KeptContent, KeptReport, KeptText, Outlet};
use crate::api::proved::{Evident, RecordEvidence};
use crate::http::Problem;
use crate::place_id::PlaceId;

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Closes the day: a record of the journal.
    Z,
    /// Looks at an outlet, a shift or a terminal, and changes nothing.
    X,
    /// Every line of every invoice of a range.
    A,
}

/// A report: what it is, what it says, and what vouches for it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Report {
    /// Its id.
    #[schema(example = "z-b3V0bGV0LWdvbWJl-17")]
    pub(super) report_id: String,
    /// Which report.
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    pub(super) outlet_id: String,
    /// `live`, or `sandbox` for trials.
    #[schema(example = "live")]
    pub(super) environment: String,
    /// When it was made.
    #[schema(example = "2026-11-28T18:00:03.512Z")]
    pub(super) generated_at: String,
    /// Who closed the day, or the name of the key that asked for the report.
    #[schema(example = "cashier-7")]
    pub(super) made_by: String,
    /// Of a Z: its number, without gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 12)]
    pub(super) z_number: Option<u64>,
    /// Of an X: `outlet`, `shift` or `terminal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "outlet")]
    pub(super) scope: Option<String>,
    /// Of an X of a shift or a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "till-1")]
    pub(super) pos_terminal_id: Option<String>,
    /// Of an A: its first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1)]
    pub(super) from_position: Option<u64>,
    /// Of an A: its last record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 42)]
    pub(super) to_position: Option<u64>,
    /// The key that signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "kinshasa-live.3f9a1c0b7d24e865")]
    pub(super) fiscal_authority_id: Option<String>,
    /// What the signature is over: `entry_hash` of a Z's record, `digest` of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "entry_hash")]
    pub(super) signed: Option<String>,
    /// The digest of the report's text, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// Ed25519, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    /// Of a Z: its record, with all that its entry hash is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) record: Option<ReportRecord>,
    /// The report itself, in the canonical form that the digest is over. Lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) report: Option<Box<RawValue>>,
    /// Of a Z: what proves its record.
    #[serde(flatten)]
    pub(super) evidence: RecordEvidence,
}

impl Evident for Report {
    fn evidence(&mut self) -> &mut RecordEvidence {
        &mut self.evidence
    }
}

/// Where a Z stands in the journal.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ReportRecord {
    /// The place in the outlet's journal.
    #[schema(example = 43)]
    pub(super) position: u64,
    /// The place in the group's tree.
    #[schema(example = 57)]
    pub(super) leaf_index: u64,
    /// The trusted time.
    #[schema(example = "2026-11-28T18:00:03.512Z")]
    pub(super) timestamp: String,
    /// What keeps the payload from being guessed by those who do not have it.
    pub(super) blind: String,
    /// The entry hash of the record before it.
    pub(super) previous_hash: String,
    /// What is signed and is the tree's leaf.
    pub(super) entry_hash: String,
}

/// What is read of a report's text for the answer around it.
#[derive(Debug, Deserialize)]
struct Text {
    generated_at: String,
    #[serde(default)]
    operator: String,
    #[serde(default)]
    z_number: u64,
    #[serde(default)]
    digest: String,
}

impl Text {
    fn read(json: &str) -> Result<Self, Problem> {
        serde_json::from_str(json).map_err(|error| Problem::internal(&format!("a report: {error}")))
    }
}

fn raw(json: &str) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(json.to_owned())
        .map_err(|error| Problem::internal(&format!("a report: {error}")))
}

impl Report {
    fn empty(kind: Kind, outlet: &Outlet, number: u64) -> Self {
        let letter = match kind {
            Kind::Z => 'z',
            Kind::X => 'x',
            Kind::A => 'a',
        };
        Self {
            report_id: PlaceId::new(letter, outlet.id(), number).to_string(),
            kind,
            outlet_id: outlet.id().to_owned(),
            environment: outlet.entry().fact.value.environment.as_str().to_owned(),
            generated_at: String::new(),
            made_by: String::new(),
            z_number: None,
            scope: None,
            pos_terminal_id: None,
            from_position: None,
            to_position: None,
            fiscal_authority_id: None,
            signed: None,
            digest: None,
            signature: None,
            record: None,
            report: None,
            evidence: RecordEvidence::default(),
        }
    }

    /// A closing of the day; none when the record is something else.
    pub(super) fn of_closure(
        outlet: &Outlet,
        sealed: &JournalRecord,
    ) -> Result<Option<Self>, Problem> {
        let record = Record::decode(&sealed.record)
            .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
        if record.kind != RecordKind::ZClosure {
            return Ok(None);
        }
        let json = std::str::from_utf8(record.payload)
            .map_err(|_| Problem::internal("a Z report is not UTF-8"))?;
        let text = Text::read(json)?;
        Ok(Some(Self {
            generated_at: text.generated_at,
            made_by: text.operator,
            z_number: Some(text.z_number),
            fiscal_authority_id: Some(record.authority_id.to_owned()),
            signed: Some("entry_hash".to_owned()),
            digest: Some(text.digest),
            signature: Some(hex(&sealed.signature)),
            record: Some(ReportRecord {
                position: record.position,
                leaf_index: record.leaf_index,
                timestamp: record.timestamp.to_string(),
                blind: hex(&record.blind),
                previous_hash: hex(&record.prev_hash),
                entry_hash: hex(&record.entry_hash),
            }),
            report: Some(raw(json)?),
            evidence: RecordEvidence::of(sealed, &record),
            ..Self::empty(Kind::Z, outlet, record.position)
        }))
    }

    /// A kept report, without its text.
    pub(super) fn of_kept(outlet: &Outlet, number: u64, kept: &KeptReport) -> Self {
        let made_by = kept.made_by.clone();
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match &kept.content {
            KeptContent::X {
                scope,
                pos_terminal_id,
                generated_at,
                authority_id,
                digest,
                signature,
            } => Self {
                generated_at: generated_at.clone(),
                made_by,
                scope: Some(scope.clone()),
                pos_terminal_id: said(pos_terminal_id),
                fiscal_authority_id: Some(authority_id.clone()),
                signed: Some("digest".to_owned()),
                digest: Some(digest.clone()),
                signature: Some(signature.clone()),
                ..Self::empty(Kind::X, outlet, number)
            },
            KeptContent::A { from_position, to_position } => Self {
                generated_at: UnixMs::new(kept.made_ms).to_string(),
                made_by,
                from_position: Some(*from_position),
                to_position: Some(*to_position),
                ..Self::empty(Kind::A, outlet, number)
            },
        }
    }

    /// The same with its text.
    pub(super) fn with_text(mut self, text: &KeptText) -> Result<Self, Problem> {
        self.report = Some(raw(&text.json)?);
        Ok(self)
    }

    /// As it stands in a list.
    pub(super) fn listed(mut self) -> Self {
        self.report = None;
        self
    }
}

/// There is none for this caller.
pub(super) fn unknown(report_id: &str) -> Problem {
    let detail = format!(
        "there is no report {report_id:?}; of X and A reports an outlet keeps the last hundred"
    );
    Problem::not_found("REPORT_UNKNOWN", detail)
}
