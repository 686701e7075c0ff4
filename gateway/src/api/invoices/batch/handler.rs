//! `POST /api/v1/invoices/batch`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::answer::{BatchAnswer, ItemAnswer};
use super::items::{Item, of_document, of_lines, of_texts};
use super::lanes::answers;
use crate::access::{App, Caller, Scope};
use crate::api::invoices::request::InvoiceRequest;
use crate::http::body::{expect_type, read};
use crate::http::lines::{Lines, NDJSON};
use crate::http::{IdempotencyKey, Parameters, Problem, Problems};

/// An item is an invoice and what stands around it.
const AROUND_BYTES_MAX: usize = 4_096;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api::invoices) struct Wanted {
    /// Answers as lines of JSON (`application/x-ndjson`), each as soon as those before it are there. `Accept` may ask
    /// for it as well.
    #[serde(default)]
    stream: bool,
}

/// Invoices to be sealed.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "items are read one by one; this only describes them")]
pub(in crate::api::invoices) struct BatchRequest {
    /// 1 to 1,000.
    #[schema(min_items = 1, max_items = 1000)]
    invoices: Vec<BatchItem>,
}

/// One of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "items are read one by one; this only describes them")]
pub(in crate::api::invoices) struct BatchItem {
    /// The same one whenever the item is repeated. Made of the batch's Idempotency-Key and the item's place when it
    /// is absent.
    #[schema(
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[ -~]+$",
        example = "7f9c2ba4-e88f-41d3-9c2b-2f0f6a1c5a01"
    )]
    idempotency_key: String,
    /// The invoice, at most 1 MiB.
    invoice: InvoiceRequest,
}

/// Seal many invoices
///
/// Each item is answered as if it had been sent alone, in the order of the batch; a bad one fails no other. Items of
/// one outlet are sealed in their order. A repetition with the same keys seals nothing twice, so after a connection
/// that broke, or items without an outcome (5XX), send the batch again as it was.
///
/// A batch is let in as one request and counts one for each item; what is over the key's tier, its next requests wait
/// for. The body is one JSON document or, as `application/x-ndjson`, an item a line, read as fast as it is sealed.
#[utoipa::path(
    post,
    path = "/api/v1/invoices/batch",
    tag = "batches",
    security(("api_key" = ["invoices:seal"])),
    params(
        Wanted,
        ("Idempotency-Key" = Option<String>, Header, description = "For items without a key of their own", min_length = 1, max_length = 255, pattern = "^[ -~]+$", example = "day-2026-11-28"),
    ),
    request_body(content((BatchRequest = "application/json"), (BatchItem = "application/x-ndjson")), description = "The invoices"),
    responses(
        (status = 200, description = "An answer for each item, in their order", content((BatchAnswer = "application/json"), (ItemAnswer = "application/x-ndjson"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["LIMIT_EXCEEDED", "IDEMPOTENCY_KEY_REQUIRED", "IDEMPOTENCY_KEY_INVALID", "BODY_INCOMPLETE"])))
)]
pub(in crate::api::invoices) async fn seal_many(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Parameters(wanted): Parameters<Wanted>,
    request: Request,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesSeal)?;
    let place = caller.batch_place().ok_or_else(overloaded)?;
    let batch = IdempotencyKey::of(&headers)?;
    let items = items(&app, &caller, request, batch).await?;
    let answers = answers(caller, items);
    if wanted.stream || accepts_lines(&headers) {
        // The place is given back when the last line has been taken, or the client is gone.
        let lines = lines(answers).map(move |line| {
            let _held = &place;
            line
        });
        let head = [(header::CONTENT_TYPE, NDJSON)];
        return Ok((head, Body::from_stream(lines)).into_response());
    }
    let mut all = BatchAnswer::default();
    let mut answers = std::pin::pin!(answers);
    while let Some(answer) = answers.next().await {
        all.push(answer);
    }
    drop(place);
    Ok(Json(all).into_response())
}

async fn items(
    app: &App,
    caller: &Caller,
    request: Request,
    batch: Option<IdempotencyKey>,
) -> Result<BoxStream<'static, Item>, Problem> {
    let limits = &app.config().limits;
    expect_type(request.headers(), &["application/json", NDJSON])?;
    if expect_type(request.headers(), &[NDJSON]).is_ok() {
        let line_bytes_max = limits.body_bytes_max + AROUND_BYTES_MAX;
        let deadline = caller.context().deadline;
        let body = request.into_body();
        let lines = Lines::new(body, limits.batch_bytes_max, line_bytes_max, deadline);
        let caller = caller.clone();
        return Ok(of_lines(lines, batch)
            .inspect(move |item| caller.charge(cost(item.index)))
            .boxed());
    }
    let body = read(request, limits.batch_bytes_max).await?;
    let texts = of_document(&body)?;
    caller.charge(u32::try_from(texts.len()).unwrap_or(u32::MAX).saturating_sub(1));
    Ok(of_texts(texts, batch))
}

/// The request itself has been counted as its first item.
fn cost(index: usize) -> u32 {
    u32::from(index > 0)
}

fn accepts_lines(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter();
    accepts.filter_map(|value| value.to_str().ok()).any(|value| value.contains(NDJSON))
}

fn lines(
    answers: impl Stream<Item = ItemAnswer> + Send,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    answers.map(|answer| {
        let mut line = serde_json::to_vec(&answer).expect("an answer is JSON");
        line.push(b'\n');
        Ok(Bytes::from(line))
    })
}

fn overloaded() -> Problem {
    let detail =
        "this gateway serves as many batches as it may; nothing was done; send the batch again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", detail)
        .retry_after(Duration::from_secs(1))
}
