//! `POST /api/v1/credentials`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::base64::decode_standard;
use fiscus_ledger::hash::{Tagged, hex};
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, command::Command};
use fiscus_proto::ledger::Consistency;
use serde::Deserialize;
use utoipa::ToSchema;

use super::view::Credential;
use crate::access::{Caller, Outlet, Scope};
use crate::http::body::identifier;
use crate::http::{Body, IdempotencyKey, Problem, Problems};

const HOUR_MS: u64 = 3_600_000;
const NUMBERS: u64 = 500;
const HOURS: u64 = 12;
const HOURS_MAX: u64 = 72;

/// Numbers to be lent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCredential)]
pub(super) struct Wanted {
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The terminal that will seal.
    #[schema(example = "till-1", min_length = 1, max_length = 64)]
    pos_terminal_id: String,
    /// Its Ed25519 public key, 32 bytes in base64. The private half never leaves the terminal.
    #[schema(example = "ebVWLo/mVPlAeLES6KmLp5AfhTrmlbw7f8Vk0TfzP3w=")]
    public_key: String,
    /// How many numbers: 1 to 500; 500 unless asked otherwise.
    #[serde(default)]
    #[schema(example = 500, minimum = 1, maximum = 500)]
    numbers: Option<u64>,
    /// For how many hours: 1 to 72; 12 unless asked otherwise.
    #[serde(default)]
    #[schema(example = 12, minimum = 1, maximum = 72)]
    hours: Option<u64>,
}

/// Provision a credential
///
/// Lends the outlet's next numbers to a terminal, which may seal under them while it reaches nobody. What it has sealed
/// goes to `/invoices/reconcile`, in order; numbers that never come back are flagged 72 hours after the credential's end.
#[utoipa::path(
    post,
    path = "/api/v1/credentials",
    tag = "credentials",
    security(("api_key" = ["invoices:seal"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each credential; the same one when the request is repeated", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "till-1-2026-11-28")),
    request_body(content_type = "application/json", content = Wanted),
    responses(
        (status = 201, description = "Lent now", body = Credential),
        (status = 200, description = "Lent before, under this key", body = Credential),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "FIELD_INVALID", "BLOCK_LIMIT", "TERMINAL_BLOCKED", "OUTLET_INACTIVE", "OUTLET_HELD", "SIGNING_MODE_DEF", "SERIES_EXHAUSTED", "NO_AUTHORITY"])))
)]
pub(super) async fn lend(
    caller: Caller,
    key: IdempotencyKey,
    Body(wanted): Body<Wanted>,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesSeal)?;
    let outlet = caller.outlet_in_body(&wanted.outlet_id)?;
    let (credential_id, grant) = grant(&outlet, &key, &wanted)?;
    let status = match outlet.submit(Command::GrantBlock(grant)).await? {
        Answer::Recorded(_) => StatusCode::CREATED,
        Answer::AlreadyRecorded(_) => StatusCode::OK,
        Answer::Refused(refusal) => return Err(Problem::of_refusal(&refusal)),
        other => return Err(Problem::internal(&format!("a grant was answered with {other}"))),
    };
    let lent = Credential::read(&outlet, &credential_id, Consistency::Linearizable).await?;
    Ok((status, Json(lent)).into_response())
}

fn grant(
    outlet: &Outlet,
    key: &IdempotencyKey,
    wanted: &Wanted,
) -> Result<(String, proto::GrantBlock), Problem> {
    let invalid = |pointer: &str, rule: &str| {
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", pointer, rule)
    };
    identifier("/pos_terminal_id", &wanted.pos_terminal_id)?;
    let terminal_key = decode_standard(&wanted.public_key).filter(|bytes| bytes.len() == 32);
    let terminal_key = terminal_key.ok_or_else(|| {
        invalid("/public_key", "must be the 32 bytes of an Ed25519 key in base64")
    })?;
    let numbers = wanted.numbers.unwrap_or(NUMBERS);
    if !(1..=NUMBERS).contains(&numbers) {
        return Err(invalid("/numbers", "must be 1 to 500"));
    }
    let hours = wanted.hours.unwrap_or(HOURS);
    if !(1..=HOURS_MAX).contains(&hours) {
        return Err(invalid("/hours", "must be 1 to 72"));
    }
    let submission = key.submission_key();
    // The same whenever the request is repeated, and unique among all outlets of the group.
    let id = Tagged::new("fiscus/credential-id/v1").str(outlet.id()).raw(&submission).finish();
    let credential_id = format!("cred-{}", hex(&id[..16]));
    let fingerprint = Tagged::new("fiscus/grant-block/v1")
        .str(&wanted.pos_terminal_id)
        .bytes(&terminal_key)
        .u64(numbers)
        .u64(hours)
        .finish();
    let grant = proto::GrantBlock {
        submitted: Some(proto::Submitted {
            outlet_id: outlet.id().to_owned(),
            key: submission.to_vec().into(),
            fingerprint: fingerprint.to_vec().into(),
        }),
        credential_id: credential_id.clone(),
        terminal_id: wanted.pos_terminal_id.clone(),
        terminal_key: terminal_key.into(),
        numbers,
        validity_ms: hours * HOUR_MS,
    };
    Ok((credential_id, grant))
}
