//! `DELETE /api/v1/credentials/{credential_id}`.

use axum::Json;
use fiscus_ledger::base64::decode_standard;
use fiscus_ledger::hash::{Hash32, Tagged};
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, command::Command};
use fiscus_proto::ledger::Consistency;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::view::Credential;
use crate::access::{Caller, Scope};
use crate::http::parameters::invalid;
use crate::http::{Parameters, PathOf, Problem, Problems};

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CredentialEnd)]
pub(super) enum Reason {
    /// The terminal does not need it any more.
    Returned,
    /// Nobody is to seal under it any more: the terminal was stolen.
    Revoked,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: String,
    /// Why it ends.
    #[param(inline, example = "returned")]
    reason: Reason,
    /// The terminal's Ed25519 signature in base64, of the hash that `docs/FORMAT.md` calls
    /// `fiscus/credential-return/v1`: a terminal returns its own credential with it.
    #[serde(default)]
    #[param(required = false)]
    proof: Option<String>,
}

/// What a terminal signs to return its credential.
fn return_hash(outlet_id: &str, credential_id: &str) -> Hash32 {
    Tagged::new("fiscus/credential-return/v1").str(outlet_id).str(credential_id).finish()
}

/// Return or revoke a credential
///
/// Its block is closed: what waits in it is appended, and numbers that have not come are recorded as missing, since
/// numbers are never given out twice; of a returned one they are told as `returned_unused`, of a revoked one as `missing`. What was sealed before is still taken afterwards and clears the flag; what says
/// that it was sealed later is refused with a security alert. A terminal delivers everything before it returns its
/// credential.
///
/// A key with `registry:write` may end any credential. A key with `invoices:seal` may return one with the proof of the
/// terminal that it was lent to: seals that a terminal makes after its credential has ended are refused for good, so no
/// other one ends it.
#[utoipa::path(
    delete,
    path = "/api/v1/credentials/{credential_id}",
    tag = "credentials",
    security(("api_key" = ["invoices:seal"]), ("api_key" = ["registry:write"])),
    params(("credential_id" = String, Path, example = "cred-7f2c9e51a0b34d6688c1d2e3f4051627"), Wanted),
    responses((status = 200, description = "Closed, now or before", body = Credential), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CREDENTIAL_UNKNOWN", "NO_AUTHORITY"])))
)]
pub(super) async fn give_back(
    caller: Caller,
    PathOf(credential_id): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Credential>, Problem> {
    let reason = match wanted.reason {
        Reason::Returned => proto::CloseReason::Returned,
        Reason::Revoked => proto::CloseReason::Revoked,
    };
    let any = caller.may(Scope::RegistryWrite);
    match wanted.reason {
        Reason::Returned if any.is_err() => {
            caller.may(Scope::InvoicesSeal)?;
            if wanted.proof.is_none() {
                return Err(invalid("proof", "is required of a key that has not registry:write"));
            }
        }
        Reason::Returned | Reason::Revoked => any?,
    }
    let outlet = caller.outlet(&wanted.outlet_id)?;
    let known = Credential::read(&outlet, &credential_id, Consistency::Linearizable).await?;
    let hash = return_hash(outlet.id(), &credential_id);
    let proof = wanted.proof.as_deref().map(|proof| decode_standard(proof).unwrap_or_default());
    if proof.is_some_and(|proof| !known.is_signed_by_its_terminal(&hash, &proof)) {
        let detail =
            "the proof is not the signature of the terminal that this credential was lent to";
        return Err(Problem::forbidden(detail.to_owned()));
    }
    if known.is_closed() {
        return Ok(Json(known));
    }
    let close = proto::CloseBlock {
        outlet_id: outlet.id().to_owned(),
        credential_id: credential_id.clone(),
        reason: reason.into(),
    };
    match outlet.submit(Command::CloseBlock(close)).await? {
        Answer::Recorded(_) | Answer::AlreadyRecorded(_) => {}
        // Somebody else, or an earlier copy of this request, was quicker.
        Answer::Refused(refusal) if refusal.code == "BLOCK_CLOSED" => {}
        Answer::Refused(refusal) => return Err(Problem::of_refusal(&refusal)),
        other => return Err(Problem::internal(&format!("a closing was answered with {other}"))),
    }
    Credential::read(&outlet, &credential_id, Consistency::Linearizable).await.map(Json)
}
