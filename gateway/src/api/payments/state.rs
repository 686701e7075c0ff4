//! Stating a payment: the provider, its reference and the status make it happen once.
//!
//! An Idempotency-Key adds one thing: sent again with another payment, it is a conflict. The record comes first and
//! the key after it, because a refused payment leaves no key behind, and a repetition finds the record without it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::invoice::Currency;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, command::Command};

use super::view::{PaymentRecord, Status};
use crate::access::{Caller, Once, Outlet};
use crate::http::body::identifier;
use crate::http::{Decimal, IdempotencyKey, Problem};

/// What a provider says.
pub(super) struct Said<'b> {
    pub(super) provider: &'b str,
    pub(super) reference: &'b str,
    pub(super) status: Status,
    pub(super) amount: &'b Decimal,
    pub(super) currency: Option<&'b str>,
    pub(super) fiscal_number: Option<&'b str>,
}

pub(super) async fn state(
    caller: &Caller,
    outlet: &Outlet,
    key: Option<IdempotencyKey>,
    said: Said<'_>,
) -> Result<Response, Problem> {
    let invalid = |pointer: &str, detail: &str| {
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", pointer, detail)
    };
    for (pointer, text) in [("/provider", said.provider), ("/reference", said.reference)] {
        identifier(pointer, text)?;
    }
    let currency = said.currency.unwrap_or("CDF");
    let currency = Currency::parse(currency)
        .ok_or_else(|| invalid("/currency", "is a currency of three capital letters"))?;
    let command = proto::RecordPayment {
        outlet_id: outlet.id().to_owned(),
        provider: said.provider.to_owned(),
        reference: said.reference.to_owned(),
        status: proto::PaymentStatus::from(said.status).into(),
        amount_minor: said.amount.amount("/amount")?.minor(),
        currency: currency.as_str().to_owned(),
        fiscal_number: said.fiscal_number.map(str::to_owned),
    };
    let once = key.map(|key| Once::new("payment", &key, &named(&command)));
    let known = match &once {
        Some(once) => caller.is_key_of(once).await?,
        None => true,
    };
    let (status, record) = match outlet.submit(Command::RecordPayment(command)).await? {
        Answer::Recorded(record) => (StatusCode::CREATED, record),
        Answer::AlreadyRecorded(record) => (StatusCode::OK, record),
        Answer::Refused(refusal) => return Err(Problem::of_refusal(&refusal)),
        other => return Err(Problem::internal(&format!("a payment was answered with {other}"))),
    };
    if let Some(once) = once.filter(|_| !known) {
        caller.keep_key(&once, outlet.id()).await;
    }
    Ok((status, Json(PaymentRecord::of(&record)?)).into_response())
}

/// What a key stands for, however the request spells it.
fn named(said: &proto::RecordPayment) -> impl serde::Serialize + '_ {
    let who = (&said.outlet_id, &said.provider, &said.reference);
    (who, said.status, said.amount_minor, &said.currency, &said.fiscal_number)
}
