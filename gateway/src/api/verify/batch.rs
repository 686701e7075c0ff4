//! `POST /api/v1/verify/batch`.

use axum::http::StatusCode;
use axum::response::Response;
use fiscus_ledger::qr::QrPayload;
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Verification;
use super::check::{by_number, by_qr};
use super::qr::malformed;
use super::schedule::on_schedule;
use super::uncached;
use crate::access::Public;
use crate::http::{Body, Problem, Problems};

/// Receipts at once with a key,
const WITH_KEY_MAX: usize = 100;
/// and without.
const WITHOUT_KEY_MAX: usize = 10;
/// Receipts that are looked up at the same time.
const AT_ONCE: usize = 16;

/// Receipts to verify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VerifyBatch)]
pub struct Batch {
    /// 1 to 100 with a key, 1 to 10 without.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<BatchItem>,
}

/// One receipt: its QR code's text, or its number with its code.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "an item has either `qr`, or `fiscal_number` and `auth_code`")]
#[schema(as = VerifyItem)]
pub enum BatchItem {
    /// By the text of the QR code.
    Qr(BatchQr),
    /// By what is printed beside it.
    Number(BatchNumber),
}

/// A receipt by its QR code.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VerifyItemQr)]
pub struct BatchQr {
    /// The whole text.
    qr: String,
}

/// A receipt by its number and code.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VerifyItemNumber)]
pub struct BatchNumber {
    /// The number on the paper.
    #[schema(example = "KIN-GOMBE-1")]
    fiscal_number: String,
    /// The code on the paper.
    #[schema(example = "7Q4X-1M8K-ZC0D-3J5W")]
    auth_code: String,
}

/// The answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VerifyBatchAnswer)]
pub struct BatchAnswer {
    /// One for each item, in its place.
    data: Vec<ItemAnswer>,
}

/// One answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = VerifyItemAnswer)]
pub enum ItemAnswer {
    /// As for a single receipt.
    Checked(Verification),
    /// The text is no receipt's QR code.
    Unreadable(Unreadable),
}

/// An item that is no receipt's QR code.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unreadable {
    /// `unreadable`.
    #[schema(example = "unreadable")]
    result: &'static str,
    /// Stable.
    #[schema(example = "QR_MALFORMED")]
    code: &'static str,
    /// The part that is wrong, and why.
    detail: String,
}

/// Verify several receipts.
///
/// Each is answered as if it were alone, in the order of the items; each counts as one check.
#[utoipa::path(
    post,
    path = "/api/v1/verify/batch",
    tag = "verification",
    security((), ("api_key" = [])),
    request_body(
        content = Batch,
        example = json!({"items": [{"fiscal_number": "KIN-GOMBE-1", "auth_code": "7Q4X-1M8K-ZC0D-3J5W"}]})
    ),
    responses(
        (status = 200, description = "An answer for each item", body = BatchAnswer),
        Problems,
    ),
    extensions(("x-codes" = json!(["LIMIT_EXCEEDED"])))
)]
pub(super) async fn in_batch(
    public: Public,
    Body(batch): Body<Batch>,
) -> Result<Response, Problem> {
    let items = batch.items;
    let most = if public.has_key() { WITH_KEY_MAX } else { WITHOUT_KEY_MAX };
    if items.is_empty() || items.len() > most {
        let detail = format!(
            "a batch has 1 to {WITH_KEY_MAX} items with an API key, 1 to {WITHOUT_KEY_MAX} without; this one has {}",
            items.len()
        );
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::at(status, "LIMIT_EXCEEDED", "/items", detail));
    }
    // One was counted when the request came in.
    public.count(u32::try_from(items.len() - 1).unwrap_or(u32::MAX))?;
    let checks = iter(items).map(|item| one(&public, item)).buffered(AT_ONCE).try_collect();
    let data = on_schedule(checks).await?;
    Ok(uncached(&BatchAnswer { data }))
}

async fn one(public: &Public, item: BatchItem) -> Result<ItemAnswer, Problem> {
    let found = match item {
        BatchItem::Number(BatchNumber { fiscal_number, auth_code }) => {
            by_number(public, &fiscal_number, &auth_code).await?
        }
        BatchItem::Qr(BatchQr { qr }) => match QrPayload::parse(qr.trim()) {
            Ok(payload) => by_qr(public, &payload).await?,
            Err(error) => {
                let (result, code) = ("unreadable", "QR_MALFORMED");
                let detail = malformed(&error);
                return Ok(ItemAnswer::Unreadable(Unreadable { result, code, detail }));
            }
        },
    };
    Ok(ItemAnswer::Checked(found))
}
