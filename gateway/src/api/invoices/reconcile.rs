//! `POST /api/v1/invoices/reconcile`: what terminals sealed while they reached nobody.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use fiscus_ledger::hash::from_hex;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, command::Command};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::view::SealedInvoice;
use crate::access::{App, Caller, Outlet, Scope};
use crate::http::body::{expect_type, parse, read};
use crate::http::context::RECONCILE;
use crate::http::problem::ProblemBody;
use crate::http::{Problem, Problems};

/// A block has so many numbers.
const SEALS_MAX: usize = 500;

/// Seals of an outlet, in the order in which they were made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReconcileRequest {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// 1 to 500.
    #[schema(min_items = 1, max_items = 500)]
    seals: Vec<OfflineSealRequest>,
}

/// An invoice as a terminal sealed it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfflineSealRequest {
    /// The credential that it was sealed under.
    #[schema(example = "cred-7f2c9e51a0b34d6688c1d2e3f4051627")]
    credential_id: String,
    /// Its place in the terminal's chain, from 1.
    #[schema(example = 1, minimum = 1, maximum = 500)]
    place: u64,
    /// The terminal's time.
    #[schema(example = "2026-11-28T12:00:00.000Z")]
    timestamp: String,
    /// 32 random bytes of the terminal's, in hexadecimal.
    #[schema(example = "0909090909090909090909090909090909090909090909090909090909090909")]
    blind: String,
    /// The entry hash of the seal before it, or of the block's record, in hexadecimal.
    #[schema(example = "0404040404040404040404040404040404040404040404040404040404040404")]
    prev_hash: String,
    /// The terminal's signature of the entry hash, in hexadecimal.
    #[schema(example = "6b1c…")]
    signature: String,
    /// The canonical invoice, byte by byte as it was sealed.
    #[schema(value_type = Object)]
    invoice: Box<RawValue>,
}

/// What the ledger made of a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReconcileOutcome)]
pub(super) enum Outcome {
    /// It is in the journal now.
    Appended,
    /// It was before.
    AlreadyAppended,
    /// It is genuine and waits for those before it.
    Waiting,
    /// It is not taken; with most codes this has raised a security alert.
    Refused,
    /// Nobody knows, or it was not tried: send it again.
    Unknown,
}

/// The answer to one of them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reconciled {
    /// Its place in the request, from 0.
    #[schema(example = 0)]
    index: usize,
    /// What the ledger made of it.
    outcome: Outcome,
    /// The invoice with both seals: the ledger's, and in `offline` the one on the paper.
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<SealedInvoice>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemBody>,
}

/// The answers, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReconcileAnswer {
    data: Vec<Reconciled>,
    /// How many are in the journal, now or since before.
    #[schema(example = 1)]
    appended: usize,
    /// How many were refused.
    #[schema(example = 0)]
    refused: usize,
    /// How many are to be sent again.
    #[schema(example = 0)]
    unknown: usize,
}

/// Deliver offline seals
///
/// Each is checked against its credential, its terminal's key, its place in the chain and its time, and appended as a
/// record of kind `offline_…` under its reserved number. Credential and place are its key: a repetition is answered as
/// before, so after a broken connection the same request is sent again. Those that come before their predecessors wait.
/// A refusal of what is not genuine raises a security alert. When one has no outcome, those after it are not tried.
#[utoipa::path(
    post,
    path = "/api/v1/invoices/reconcile",
    tag = "credentials",
    security(("api_key" = ["invoices:seal"])),
    request_body(content_type = "application/json", content = ReconcileRequest),
    responses(
        (status = 200, description = "An answer for each, in their order", body = ReconcileAnswer),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "LIMIT_EXCEEDED", "CREDENTIAL_UNKNOWN", "OFFLINE_SIGNATURE_INVALID", "OFFLINE_OUT_OF_BLOCK", "OFFLINE_OUT_OF_TIME", "OFFLINE_LINK_BROKEN", "OFFLINE_SLOT_CONFLICT", "OFFLINE_WAITING_FULL", "IDENTITY_MISMATCH"])))
)]
pub(super) async fn reconcile(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Json<ReconcileAnswer>, Problem> {
    caller.may(Scope::InvoicesSeal)?;
    expect_type(request.headers(), &["application/json"])?;
    let body = read(request, app.config().limits.batch_bytes_max).await?;
    let asked: ReconcileRequest = parse(&body)?;
    let outlet = caller.outlet_in_body(&asked.outlet_id)?;
    if asked.seals.is_empty() || asked.seals.len() > SEALS_MAX {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let detail = "a request delivers 1 to 500 seals";
        return Err(Problem::at(status, "LIMIT_EXCEEDED", "/seals", detail));
    }
    // The request itself has been counted as its first seal.
    caller.charge(u32::try_from(asked.seals.len()).unwrap_or(u32::MAX).saturating_sub(1));
    let request_id = &caller.context().request_id;
    let mut answer = ReconcileAnswer { data: Vec::new(), appended: 0, refused: 0, unknown: 0 };
    let mut stopped = None;
    for (index, seal) in asked.seals.into_iter().enumerate() {
        let told = match &stopped {
            Some(problem) => Err(Problem::clone(problem)),
            None => deliver(&outlet, seal).await,
        };
        if let Err(problem) = &told
            && problem.status.is_server_error()
        {
            stopped = Some(problem.clone());
        }
        answer.push(Reconciled::of(index, told, request_id));
    }
    Ok(Json(answer))
}

/// Delivers one: what it became.
async fn deliver(
    outlet: &Outlet,
    seal: OfflineSealRequest,
) -> Result<(Outcome, Option<SealedInvoice>), Problem> {
    let seal = Some(seal.message()?);
    let command = proto::ReconcileOffline { outlet_id: outlet.id().to_owned(), seal };
    let (outcome, record) = match outlet.submit(Command::ReconcileOffline(command)).await? {
        Answer::Recorded(record) => (Outcome::Appended, record),
        Answer::AlreadyRecorded(record) => (Outcome::AlreadyAppended, record),
        Answer::Waiting => return Ok((Outcome::Waiting, None)),
        Answer::Refused(refusal) => return Err(Problem::of_refusal(&refusal)),
        other => return Err(Problem::internal(&format!("a seal was answered with {other}"))),
    };
    Ok((outcome, Some(SealedInvoice::of(outlet, &record)?)))
}

impl OfflineSealRequest {
    fn message(self) -> Result<proto::OfflineSeal, Problem> {
        let invalid = |pointer: &str, rule: &str| {
            Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", pointer, rule)
        };
        let bytes = |pointer: &str, text: &str| {
            let rule = "must be 32 bytes in lower-case hexadecimal";
            from_hex::<32>(text).ok_or_else(|| invalid(pointer, rule))
        };
        let timestamp = UnixMs::parse_canonical(&self.timestamp)
            .ok_or_else(|| invalid("/timestamp", "must be like 2026-11-28T12:00:00.000Z"))?;
        let signature = from_hex::<64>(&self.signature)
            .ok_or_else(|| invalid("/signature", "must be 64 bytes in lower-case hexadecimal"))?;
        Ok(proto::OfflineSeal {
            timestamp_ms: timestamp.get(),
            blind: bytes("/blind", &self.blind)?.to_vec().into(),
            prev_hash: bytes("/prev_hash", &self.prev_hash)?.to_vec().into(),
            signature: signature.to_vec().into(),
            invoice: self.invoice.get().as_bytes().to_vec().into(),
            credential_id: self.credential_id,
            place: self.place,
        })
    }
}

impl Reconciled {
    fn of(
        index: usize,
        told: Result<(Outcome, Option<SealedInvoice>), Problem>,
        request_id: &str,
    ) -> Self {
        match told {
            Ok((outcome, invoice)) => Self { index, outcome, invoice, problem: None },
            Err(problem) => {
                let outcome = if problem.status.is_server_error() {
                    Outcome::Unknown
                } else {
                    Outcome::Refused
                };
                let problem = Some(problem.body(RECONCILE, request_id));
                Self { index, outcome, invoice: None, problem }
            }
        }
    }
}

impl ReconcileAnswer {
    fn push(&mut self, told: Reconciled) {
        match told.outcome {
            Outcome::Appended | Outcome::AlreadyAppended => self.appended += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Unknown => self.unknown += 1,
            Outcome::Waiting => {}
        }
        self.data.push(told);
    }
}
