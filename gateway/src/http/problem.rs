//! Errors as `application/problem+json` (RFC 9457), with a stable code each.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fiscus_ledger::problem as invoice;
use fiscus_proto::client::{ReadError, SubmitError};
use fiscus_proto::command::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

/// After so long a client that was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer (RFC 6901) into the body, or the name of a parameter or header.
    #[schema(example = "/totals/total")]
    pub pointer: String,
    /// Stable.
    #[schema(example = "TOTALS_MISMATCH")]
    pub code: Cow<'static, str>,
    /// What is wrong there, and what to do.
    pub detail: String,
    /// The figures that the ledger computes, where the body's own are wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<serde_json::Value>,
}

/// An answer that is not the one hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable; it has a page of its own.
    pub code: Cow<'static, str>,
    /// What happened, and what to do.
    pub detail: String,
    /// The places in the request.
    pub errors: Vec<FieldError>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// The form in which a problem is sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem, title = "Problem")]
pub struct ProblemBody {
    /// The page that explains the code.
    #[serde(rename = "type")]
    #[schema(example = "/docs/errors/TOTALS_MISMATCH")]
    pub kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
    /// The request's path.
    pub instance: String,
    /// Stable.
    #[schema(example = "TOTALS_MISMATCH")]
    pub code: String,
    /// The places in the request that are wrong; empty when the problem is not about one.
    pub errors: Vec<FieldError>,
    /// The request, as the operator's log names it.
    pub request_id: String,
}

impl Problem {
    /// A problem that is about no place in particular.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        let (code, detail) = (code.into(), detail.into());
        Self { status, code, detail, errors: Vec::new(), retry_after: None }
    }

    /// A problem with one place: a pointer into the body, or the name of a parameter or header.
    #[must_use]
    pub fn at(
        status: StatusCode,
        code: &'static str,
        pointer: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        let error = FieldError {
            pointer: pointer.into(),
            code: code.into(),
            detail: detail.clone(),
            expected: None,
        };
        Self { errors: vec![error], ..Self::new(status, code, detail) }
    }

    /// The same about a place in the request, where it names none yet.
    #[must_use]
    pub fn about(mut self, pointer: &str) -> Self {
        if self.errors.is_empty() {
            self.errors.push(FieldError {
                pointer: pointer.to_owned(),
                code: self.code.clone(),
                detail: self.detail.clone(),
                expected: None,
            });
        }
        self
    }

    /// The same where the places that it names are fields of a body rather than parameters.
    #[must_use]
    pub fn in_body(mut self) -> Self {
        for error in &mut self.errors {
            if !error.pointer.starts_with('/') {
                error.pointer.insert(0, '/');
            }
        }
        self
    }

    /// What is not there, or not for this caller: told alike.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// The key is right, but may not do this.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "SCOPE_MISSING", detail)
    }

    /// Something in the cluster or here that should not be.
    #[must_use]
    pub fn internal(detail: &str) -> Self {
        tracing::error!(detail, "a request could not be served");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "the gateway could not serve this; tell the operator the request id",
        )
    }

    /// The same with a time to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the ledger's rules refused. The code says which status it is.
    #[must_use]
    pub fn of_refusal(refusal: &Refusal) -> Self {
        let status = refusal_status(&refusal.code);
        let code = refusal.code.clone();
        let mut problem = Self::new(status, code, refusal.detail.clone());
        let expected = expected_figures(&refusal.expected_tax_groups, &refusal.expected_totals);
        if !refusal.pointer.is_empty() || expected.is_some() {
            problem.errors.push(FieldError {
                pointer: refusal.pointer.clone(),
                code: problem.code.clone(),
                detail: problem.detail.clone(),
                expected,
            });
        }
        if problem.code == "IDEMPOTENCY_CONFLICT" {
            problem.about("Idempotency-Key")
        } else {
            problem
        }
    }

    /// The form in which it is sent.
    #[must_use]
    pub fn body(&self, instance: &str, request_id: &str) -> ProblemBody {
        ProblemBody {
            kind: format!("/docs/errors/{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            instance: instance.to_owned(),
            code: self.code.clone().into_owned(),
            errors: self.errors.clone(),
            request_id: request_id.to_owned(),
        }
    }
}

fn expected_figures(tax_groups: &str, totals: &str) -> Option<serde_json::Value> {
    if tax_groups.is_empty() && totals.is_empty() {
        return None;
    }
    let read = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    Some(serde_json::json!({ "tax_groups": read(tax_groups), "totals": read(totals) }))
}

/// Refusals that are about the state of something are conflicts; what is not there is not found; what a
/// repetition may heal says so; all others are about what the request says.
fn refusal_status(code: &str) -> StatusCode {
    match code {
        "OUTLET_UNKNOWN" | "INVOICE_UNKNOWN" | "DEVICE_UNKNOWN" | "CREDENTIAL_UNKNOWN" => {
            StatusCode::NOT_FOUND
        }
        "IDEMPOTENCY_CONFLICT"
        | "VERSION_CONFLICT"
        | "OUTLET_EXISTS"
        | "NUMBER_SPACE_TAKEN"
        | "DEVICE_EXISTS"
        | "CREDENTIAL_EXISTS"
        | "SHIFT_OPEN"
        | "SHIFT_NOT_OPEN"
        | "OUTLET_INACTIVE"
        | "OUTLET_HELD"
        | "OUTLET_NOT_HELD"
        | "TERMINAL_BLOCKED"
        | "PAYMENT_TRANSITION"
        | "PAYMENT_MISMATCH"
        | "UPLOAD_OUT_OF_ORDER"
        | "UPLOAD_NOT_LIVE"
        | "UPLOAD_NOT_REFUSED"
        | "SIGNING_MODE_DEF"
        | "MANIFEST_CONFLICT"
        | "MANIFEST_STALE"
        | "BLOCK_CLOSED"
        | "DEVICE_REVOKED"
        | "DEVICE_NOT_ACTIVE"
        | "DEVICE_TRANSITION"
        | "DEVICE_LEAVE_INVALID"
        | "SERIES_EXHAUSTED"
        | "CURRENCY_LIMIT"
        | "NO_MANIFEST"
        | "NO_AUTHORITY" => StatusCode::CONFLICT,
        "BODY_TOO_LARGE" => StatusCode::PAYLOAD_TOO_LARGE,
        "UTF8_INVALID" | "JSON_INVALID" | "JSON_DUPLICATE_KEY" => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<&invoice::Problem> for Problem {
    fn from(found: &invoice::Problem) -> Self {
        let expected = found.expected.as_ref();
        let expected = expected.and_then(|e| expected_figures(&e.tax_groups, &e.totals));
        let code = found.code.as_str();
        let mut problem = Self::at(refusal_status(code), code, &*found.pointer, &*found.detail);
        problem.errors[0].expected = expected;
        problem
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let unavailable = |code, detail| {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(RETRY_AFTER)
        };
        match error {
            SubmitError::Unknown { detail } => {
                tracing::warn!(detail, "outcome unknown");
                unavailable(
                    "OUTCOME_UNKNOWN",
                    "it is not known whether this was done; send the same request with the same Idempotency-Key \
                     until there is an answer",
                )
            }
            SubmitError::Unavailable { detail } => {
                tracing::warn!(detail, "the cluster is not available");
                unavailable(
                    "CLUSTER_UNAVAILABLE",
                    "the ledger cannot be reached now; nothing was done; send the request again",
                )
            }
            SubmitError::Busy { retry_after, code, detail } => {
                tracing::info!(code, detail, "the cluster is busy");
                unavailable(
                    "CLUSTER_BUSY",
                    "the ledger has too much to do now; nothing was done; send the request again",
                )
                .retry_after(retry_after.max(RETRY_AFTER))
            }
            SubmitError::Malformed { detail } => Self::of_malformed(&detail),
        }
    }
}

impl Problem {
    /// A command that a node cannot read. Where it says what a field must be, the request is at fault, and a rule
    /// of the ledger is one that is not checked here; anything else is ours.
    fn of_malformed(detail: &str) -> Self {
        let Some((field, _)) = detail.split_once(" must ") else {
            return match detail.contains("larger than") {
                true => Self::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "BODY_TOO_LARGE",
                    format!("{detail}; nothing was done; send less at once"),
                ),
                false => Self::internal(detail),
            };
        };
        tracing::warn!(detail, "a command cannot be read");
        let is_name = field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let pointer = if is_name { format!("/{field}") } else { String::new() };
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::at(status, "FIELD_INVALID", pointer, format!("{detail}; nothing was done"))
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        // Whatever a read names came with the request, a cursor that somebody made up included.
        let is_of_request = error.is_of_request();
        match error {
            ReadError::Unavailable { detail } => {
                tracing::warn!(detail, "a read has no answer");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "CLUSTER_UNAVAILABLE",
                    "the ledger cannot be reached now; send the request again",
                )
                .retry_after(RETRY_AFTER)
            }
            ReadError::Rejected { status, detail } if is_of_request => {
                tracing::warn!(?status, detail, "a read was refused");
                let detail = format!("the ledger cannot read this: {detail}; correct the request");
                Self::at(StatusCode::BAD_REQUEST, "PARAMETER_INVALID", "", detail)
            }
            ReadError::Rejected { status, detail } => {
                Self::internal(&format!("{status:?}: {detail}"))
            }
        }
    }
}

/// The problem waits in the answer's extensions for the layer that knows the request.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1_000).max(1).to_string();
            let value = HeaderValue::from_str(&seconds).expect("a number is a header's value");
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        // A client that was not told of the scheme cannot know how to do better (RFC 9110).
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_the_request_is_at_fault_for_is_no_failure_of_ours() {
        let malformed = |detail: &str| {
            let problem = Problem::from(SubmitError::Malformed { detail: detail.to_owned() });
            let pointer = problem.errors.first().map(|error| error.pointer.clone());
            (problem.status.as_u16(), problem.code.into_owned(), pointer)
        };
        let told = |status, code: &str, pointer: Option<&str>| {
            (status, code.to_owned(), pointer.map(str::to_owned))
        };
        assert_eq!(
            malformed("reference must not be longer than 64 bytes, but has 65"),
            told(422, "FIELD_INVALID", Some("/reference"))
        );
        assert_eq!(
            malformed("the command is larger than an entry may be"),
            told(413, "BODY_TOO_LARGE", None)
        );
        assert_eq!(malformed("the request has no command"), told(500, "INTERNAL_ERROR", None));
        let rejected = |status| {
            let error = ReadError::Rejected { status, detail: "no leaf 7".to_owned() };
            Problem::from(error).status.as_u16()
        };
        assert_eq!(rejected(Code::OutOfRange), 400);
        assert_eq!(rejected(Code::InvalidArgument), 400);
        assert_eq!(rejected(Code::PermissionDenied), 500);
    }

    #[test]
    fn whoever_has_no_key_is_told_how_one_is_sent() {
        let response =
            Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "x").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
