//! How payments are asked for and answered.

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::money::format_minor;
use fiscus_ledger::record::Record;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::command::PaymentStatus;
use fiscus_proto::ledger as wire;
use fiscus_proto::ledger::JournalRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::proved::{Evident, Place, RecordEvidence};
use crate::http::Problem;

/// What a provider says of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PaymentStatus)]
pub(crate) enum Status {
    /// Started.
    Pending,
    /// The money has arrived.
    Confirmed,
    /// It will not arrive, unless it is confirmed late.
    Failed,
    /// It arrived and was taken back.
    Reversed,
}

impl From<Status> for PaymentStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Confirmed => Self::Confirmed,
            Status::Failed => Self::Failed,
            Status::Reversed => Self::Reversed,
        }
    }
}

/// The latest that is known of a payment.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PaymentState {
    /// Who runs the wallet, or the method.
    #[schema(example = "mpesa")]
    pub(crate) provider: String,
    /// The provider's own reference.
    #[schema(example = "MP261128.0815.C77")]
    pub(crate) reference: String,
    /// `pending`, `confirmed`, `failed` or `reversed`.
    #[schema(example = "confirmed")]
    pub(crate) status: String,
    /// What is paid.
    #[schema(example = "110200.00")]
    pub(crate) amount: String,
    /// In which currency.
    #[schema(example = "CDF")]
    pub(crate) currency: String,
    /// The place in the outlet's journal of the record that says so.
    pub(crate) position: u64,
    /// When it was recorded.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub(crate) timestamp: String,
}

impl PaymentState {
    pub(crate) fn of(state: &wire::PaymentState) -> Self {
        let status = match state.status() {
            PaymentStatus::Confirmed => "confirmed",
            PaymentStatus::Failed => "failed",
            PaymentStatus::Reversed => "reversed",
            PaymentStatus::Pending | PaymentStatus::Unspecified => "pending",
        };
        Self {
            provider: state.provider.clone(),
            reference: state.reference.clone(),
            status: status.to_owned(),
            amount: format_minor(i128::from(state.amount_minor)),
            currency: state.currency.clone(),
            position: state.position,
            timestamp: UnixMs::new(state.time_ms).to_string(),
        }
    }
}

/// The latest that is known of a payment, and what proves it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ProvedPayment {
    /// What is known.
    #[serde(flatten)]
    payment: PaymentState,
    /// What proves the record that says so.
    #[serde(flatten)]
    evidence: RecordEvidence,
}

impl Evident for ProvedPayment {
    fn evidence(&mut self) -> &mut RecordEvidence {
        &mut self.evidence
    }
}

impl ProvedPayment {
    pub(super) fn of(group: u64, state: &wire::PaymentState) -> Result<Self, Problem> {
        let entry_hash = Hash32::try_from(&*state.entry_hash)
            .map_err(|_| Problem::internal("a payment's record has no entry hash"))?;
        let evidence = RecordEvidence::at(Place { group, leaf: state.leaf, entry_hash });
        Ok(Self { payment: PaymentState::of(state), evidence })
    }
}

/// A record of what a provider said.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PaymentRecord {
    /// What was said.
    #[serde(flatten)]
    pub(crate) payment: PaymentState,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    pub(crate) outlet_id: String,
    /// The invoice that it pays, when that is known.
    #[schema(example = "KIN-GOMBE-42")]
    pub(crate) fiscal_number: Option<String>,
}

/// The payload of a payment's record.
#[derive(Debug, Deserialize)]
struct Payload {
    provider: String,
    reference: String,
    status: String,
    amount: String,
    currency: String,
    #[serde(default)]
    fiscal_number: Option<String>,
}

impl PaymentRecord {
    pub(super) fn of(sealed: &JournalRecord) -> Result<Self, Problem> {
        let record = Record::decode(&sealed.record)
            .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
        let said: Payload = serde_json::from_slice(record.payload)
            .map_err(|error| Problem::internal(&format!("a payment's record: {error}")))?;
        let payment = PaymentState {
            provider: said.provider,
            reference: said.reference,
            status: said.status,
            amount: said.amount,
            currency: said.currency,
            position: record.position,
            timestamp: record.timestamp.to_string(),
        };
        let outlet_id = record.outlet_id.to_owned();
        Ok(Self { payment, outlet_id, fiscal_number: said.fiscal_number })
    }
}
