//! The problems that every operation can answer, for its description: `responses(…, Problems)`.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{Ref, RefOr, Response};

/// Every 4XX and 5XX as `application/problem+json`. The codes that are an operation's own stand in its
/// `extensions(("x-codes" = json!(["…"])))`; those that its form brings with it (a key, a body, an
/// Idempotency-Key) are added when the document is finished.
#[derive(Debug, Clone, Copy)]
pub struct Problems;

/// The component that describes all refusals.
pub(crate) const REFUSED: &str = "Refused";
/// The component that describes what may be sent again.
pub(crate) const UNAVAILABLE: &str = "Unavailable";

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let named = |status: &str, name: &str| {
            (status.to_owned(), RefOr::Ref(Ref::from_response_name(name)))
        };
        BTreeMap::from([named("4XX", REFUSED), named("5XX", UNAVAILABLE)])
    }
}
