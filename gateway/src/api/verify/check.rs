//! The two ways to check a receipt.

use std::str::FromStr as _;

use fiscus_ledger::facts::Environment;
use fiscus_ledger::qr::QrPayload;
use fiscus_ledger::seal::AuthCode;

use super::answer::{Evidence, Facts, LedgerState, NotFound, Verification, VerifiedReceipt};
use super::examine::{Examined, examine};
use crate::access::{Credited, LookUp, Public, SealedReceipt};
use crate::http::Problem;
use crate::http::list::AsOf;

/// By the number and the code beside it. Whatever is wrong, the answer is the same, and so is the work.
pub(super) async fn by_number(
    public: &Public,
    fiscal_number: &str,
    auth_code: &str,
) -> Result<Verification, Problem> {
    let fiscal_number = fiscal_number.trim().to_ascii_uppercase();
    let LookUp { receipt, as_of } = public.look_up(&fiscal_number).await?;
    let typed: String = auth_code.split_whitespace().collect();
    let typed = AuthCode::from_str(&typed).ok();
    // A record that a terminal sealed offline has its own code and the one on the paper: both are good.
    let nothing = AuthCode::of_signature(&[0; 64]);
    let codes = receipt
        .as_ref()
        .map_or([nothing; 2], |receipt| [receipt.seal.auth_code, receipt.printed().auth_code]);
    let fits = codes.map(|code| same(&code, &typed.unwrap_or(nothing)));
    match receipt {
        Some(receipt) if typed.is_some() && fits.contains(&true) => {
            verified(public, &receipt, as_of).await
        }
        _ => Ok(not_found(
            "no receipt with this number and this code is known; check both, character by character",
            as_of,
        )),
    }
}

/// Compares hashes, in a time that says nothing of where two codes differ.
fn same(code: &AuthCode, other: &AuthCode) -> bool {
    blake3::hash(code.to_string().as_bytes()) == blake3::hash(other.to_string().as_bytes())
}

/// By all that a QR code says.
pub(super) async fn by_qr(public: &Public, payload: &QrPayload) -> Result<Verification, Problem> {
    let fields = payload.fields();
    let authority_id = match &fields.credential {
        Some(credential) => &credential.terms().authority_id,
        None => &fields.authority_id,
    };
    let published = public.published(Some(authority_id)).await?;
    let environment = match examine(payload, &published.keys, |host| public.is_verify_host(host)) {
        Examined::Genuine(environment) => Some(environment),
        Examined::ForTheLedger => None,
        Examined::Tampered(evidence) => return Ok(evidence.into()),
        Examined::Foreign => return Ok(unknown(None)),
    };
    // From here on the caller has shown a signature of ours, and so may learn what became of the number.
    let LookUp { receipt, as_of } = public.look_up(&fields.fiscal_number).await?;
    match (receipt, environment) {
        (Some(receipt), _) if is_of(&receipt, payload) => verified(public, &receipt, as_of).await,
        (Some(_), _) => Ok(Evidence::Record.into()),
        (None, Some(environment)) => unrecorded(public, payload, environment, as_of).await,
        (None, None) => Ok(unknown(as_of)),
    }
}

/// Whether a QR code is of this record: the terminal's own code when it carries a credential, or the ledger's.
fn is_of(receipt: &SealedReceipt, payload: &QrPayload) -> bool {
    let seal = match payload.fields().credential {
        Some(_) => receipt.offline(),
        None => Some(&receipt.seal),
    };
    seal.is_some_and(|seal| seal.entry_hash == payload.entry_hash())
}

async fn verified(
    public: &Public,
    receipt: &SealedReceipt,
    as_of: Option<AsOf>,
) -> Result<Verification, Problem> {
    let credited = public.credited(receipt).await?;
    let facts = Facts {
        fiscal_number: &receipt.fiscal_number,
        invoice_type: receipt.invoice_type.as_str(),
        timestamp: receipt.timestamp,
        total: &receipt.total,
        currency: &receipt.currency,
        authority_id: &receipt.authority_id,
        auth_code: receipt.printed().auth_code,
        place: Some(&receipt.place),
        environment: receipt.place.environment,
        ledger: LedgerState::Recorded,
        sealed_offline: receipt.offline().is_some(),
        upload: receipt.upload.as_deref(),
    };
    Ok(Verification::Verified(Box::new(VerifiedReceipt::new(&facts, credited, as_of))))
}

/// A genuine receipt that is not in the ledger. A terminal may not have delivered it yet; a restore may have lost
/// it; a replica may not have heard of it. A signature without any of that is not enough here.
async fn unrecorded(
    public: &Public,
    payload: &QrPayload,
    environment: Environment,
    as_of: Option<AsOf>,
) -> Result<Verification, Problem> {
    let fields = payload.fields();
    let ledger = if fields.credential.is_some() {
        LedgerState::Awaited
    } else if as_of.is_some() {
        LedgerState::Unconfirmed
    } else if public.is_lost(&fields.fiscal_number).await? {
        LedgerState::Lost
    } else {
        return Ok(unknown(as_of));
    };
    let authority = fields.credential.as_ref().map(|credential| &credential.terms().authority_id);
    let place = public.place_of(&fields.fiscal_number)?;
    let inner = fields.kind.strip_prefix("offline_").or_else(|| fields.kind.strip_prefix("def_"));
    let kind = inner.unwrap_or(&fields.kind);
    let facts = Facts {
        fiscal_number: &fields.fiscal_number,
        invoice_type: kind,
        timestamp: fields.timestamp,
        total: &fields.total,
        currency: &fields.currency,
        authority_id: authority.unwrap_or(&fields.authority_id),
        auth_code: payload.auth_code(),
        place: place.as_ref(),
        environment,
        ledger,
        sealed_offline: fields.credential.is_some() || fields.kind.starts_with("offline_"),
        upload: None,
    };
    // Nothing can be credited that the ledger does not have.
    Ok(Verification::Verified(Box::new(VerifiedReceipt::new(&facts, Credited::None, as_of))))
}

fn unknown(as_of: Option<AsOf>) -> Verification {
    not_found("this receipt is not known here: no authority of this ledger has sealed it", as_of)
}

/// What a replica has not heard of is not unknown for that.
fn not_found(detail: &str, as_of: Option<AsOf>) -> Verification {
    let detail = match as_of {
        Some(_) => {
            "the majority of the ledger does not answer now, and the replica that does has no such receipt yet; ask \
             again later"
        }
        None => detail,
    };
    Verification::NotFound(NotFound { detail: detail.to_owned(), as_of })
}
