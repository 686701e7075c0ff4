//! How the items of a batch are answered.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::sealing::Sealed;
use super::super::view::SealedInvoice;
use crate::http::context::BATCH;
use crate::http::problem::ProblemBody;
use crate::http::{IdempotencyKey, Problem};

/// What became of one item.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api::invoices) struct ItemAnswer {
    /// Its place in the batch, from 0.
    #[schema(example = 0)]
    index: usize,
    /// The key that it was, or would be, sealed under; `null` when it has none.
    #[schema(example = "7f9c2ba4-e88f-41d3-9c2b-2f0f6a1c5a01")]
    idempotency_key: Option<String>,
    /// As if it had been sent alone: 201 sealed now, 200 sealed before, 4XX refused, 5XX no outcome yet.
    #[schema(example = 201)]
    status: u16,
    /// The seal.
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<SealedInvoice>,
    /// Why there is none. Pointers lead into the item. With a status of 5XX, send the item again with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemBody>,
}

impl ItemAnswer {
    pub(super) fn of(
        index: usize,
        key: Option<&IdempotencyKey>,
        sealed: Result<Sealed, Problem>,
        request_id: &str,
    ) -> Self {
        let sealed = sealed.and_then(|sealed| Ok((sealed.status(), sealed.view()?)));
        let idempotency_key = key.map(|key| key.as_str().to_owned());
        match sealed {
            Ok((status, invoice)) => {
                let (status, invoice) = (status.as_u16(), Some(invoice));
                Self { index, idempotency_key, status, invoice, problem: None }
            }
            Err(problem) => {
                let body = problem.body(BATCH, request_id);
                let (status, problem) = (body.status, Some(body));
                Self { index, idempotency_key, status, invoice: None, problem }
            }
        }
    }
}

/// What became of a batch.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::api::invoices) struct BatchAnswer {
    /// One for each item, in their order.
    data: Vec<ItemAnswer>,
    /// Sealed now.
    #[schema(example = 1)]
    sealed: usize,
    /// Sealed before, under the same keys.
    #[schema(example = 0)]
    repeated: usize,
    /// Refused: correct them.
    #[schema(example = 0)]
    refused: usize,
    /// Without an outcome yet: send them again with the same keys.
    #[schema(example = 0)]
    unanswered: usize,
}

impl BatchAnswer {
    pub(super) fn push(&mut self, answer: ItemAnswer) {
        let count = match StatusCode::from_u16(answer.status) {
            Ok(StatusCode::CREATED) => &mut self.sealed,
            Ok(StatusCode::OK) => &mut self.repeated,
            Ok(status) if status.is_client_error() => &mut self.refused,
            _ => &mut self.unanswered,
        };
        *count += 1;
        self.data.push(answer);
    }
}
