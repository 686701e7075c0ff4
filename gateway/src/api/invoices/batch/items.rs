//! Reads the items of a batch: from one JSON document, or from lines.

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::body::parse;
use crate::http::lines::Lines;
use crate::http::{IdempotencyKey, Problem};

/// A batch has at most so many.
pub(super) const ITEMS_MAX: usize = 1_000;

/// One item, as far as it can be read.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) index: usize,
    pub(super) key: Option<IdempotencyKey>,
    /// The invoice's text, or why there is none.
    pub(super) invoice: Result<Bytes, Problem>,
}

/// An item as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    #[serde(default)]
    idempotency_key: Option<String>,
    invoice: Box<RawValue>,
}

/// The document around them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'b> {
    #[serde(borrow)]
    invoices: Vec<&'b RawValue>,
}

/// The texts of the items of a document, each a part of it.
pub(in crate::api) fn of_document(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Problem::at(StatusCode::BAD_REQUEST, "UTF8_INVALID", "", detail)
    })?;
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let refused = |code, pointer: &str, detail: String| {
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, code, pointer, detail)
    };
    if document.invoices.is_empty() {
        return Err(refused("FIELD_INVALID", "/invoices", "a batch has an invoice".to_owned()));
    }
    if document.invoices.len() > ITEMS_MAX {
        let (pointer, detail) = (format!("/invoices/{ITEMS_MAX}"), too_many());
        return Err(refused("LIMIT_EXCEEDED", &pointer, detail));
    }
    Ok(document.invoices.iter().map(|raw| body.slice_ref(raw.get().as_bytes())).collect())
}

fn too_many() -> String {
    format!("a batch has at most {ITEMS_MAX} invoices; send the rest in another one")
}

fn wrong(error: &serde_json::Error) -> Problem {
    let detail = error.to_string();
    if !error.is_data() {
        let detail = format!("the body is not JSON: {detail}");
        return Problem::at(StatusCode::BAD_REQUEST, "JSON_INVALID", "", detail);
    }
    let (status, code) = match detail.as_str() {
        text if text.starts_with("duplicate field") => {
            (StatusCode::BAD_REQUEST, "JSON_DUPLICATE_KEY")
        }
        text if text.starts_with("unknown field") => {
            (StatusCode::UNPROCESSABLE_ENTITY, "FIELD_UNKNOWN")
        }
        text if text.starts_with("missing field") => {
            (StatusCode::UNPROCESSABLE_ENTITY, "FIELD_MISSING")
        }
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID"),
    };
    Problem::at(status, code, "/invoices", detail)
}

/// Items of texts that are all there.
pub(super) fn of_texts(
    texts: Vec<Bytes>,
    batch: Option<IdempotencyKey>,
) -> BoxStream<'static, Item> {
    let items = texts.into_iter().enumerate();
    stream::iter(items.map(move |(index, text)| item(index, Ok(text), batch.as_ref()))).boxed()
}

/// Items of lines, read when they are asked for. What is wrong with the body is told as one more item, the last.
pub(super) fn of_lines(lines: Lines, batch: Option<IdempotencyKey>) -> BoxStream<'static, Item> {
    let start = (lines, batch, 0);
    let items = stream::unfold(start, |(mut lines, batch, index)| async move {
        if index > ITEMS_MAX {
            return None;
        }
        let line = lines.next().await?;
        let line = if index == ITEMS_MAX {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "LIMIT_EXCEEDED", too_many()))
        } else {
            line
        };
        let item = item(index, line, batch.as_ref());
        Some((item, (lines, batch, index + 1)))
    });
    items.boxed()
}

fn item(index: usize, text: Result<Bytes, Problem>, batch: Option<&IdempotencyKey>) -> Item {
    let derived = || batch.map(|key| key.of_item(index));
    let sent: Sent = match text.and_then(|text| parse(&text)) {
        Ok(sent) => sent,
        Err(problem) => return Item { index, key: derived(), invoice: Err(problem) },
    };
    let key = match sent.idempotency_key {
        Some(text) => IdempotencyKey::new(&text).map_err(at_key),
        None => derived().ok_or_else(|| {
            let detail = "give the item an idempotency_key, or the batch an Idempotency-Key";
            let status = StatusCode::BAD_REQUEST;
            Problem::at(status, "IDEMPOTENCY_KEY_REQUIRED", "/idempotency_key", detail)
        }),
    };
    match key {
        Ok(key) => {
            let invoice = Bytes::from(Box::<str>::from(sent.invoice).into_boxed_bytes());
            Item { index, key: Some(key), invoice: Ok(invoice) }
        }
        Err(problem) => Item { index, key: None, invoice: Err(problem) },
    }
}

fn at_key(mut problem: Problem) -> Problem {
    for error in &mut problem.errors {
        "/idempotency_key".clone_into(&mut error.pointer);
    }
    problem
}
