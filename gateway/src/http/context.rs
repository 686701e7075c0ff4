//! What every request carries: its id, its trace, its deadline; and how problems get their form.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fiscus_ledger::hash::hex;
use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::access::App;
use crate::access::rates::{Standing, Told};
use crate::config::LimitsSection;
use crate::http::problem::Problem;
use crate::http::redact::redact;

/// The header of the request's id, in and out.
pub const REQUEST_ID: &str = "x-request-id";
/// The one route that takes longer.
pub const BATCH: &str = "/api/v1/invoices/batch";
/// Seals of terminals, as many as a block has.
pub const RECONCILE: &str = "/api/v1/invoices/reconcile";
const TRACEPARENT: &str = "traceparent";
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Who asks when, under which names.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// As the client chose it, or made here.
    pub request_id: Arc<str>,
    /// W3C trace context; made here when the client has none.
    pub traceparent: Arc<str>,
    /// The answer must be on its way by then.
    pub deadline: Instant,
}

impl RequestContext {
    /// What is left until the deadline.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let context = parts.extensions.get::<Self>();
        Ok(context.expect("the outermost layer makes it").clone())
    }
}

/// The outermost layer: names the request, bounds its time, counts and logs it, and gives problems their form.
pub async fn serve(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let limits = &app.config().limits;
    // The client hears from us even when a handler waits to its very end.
    let timeout_ms = timeout_ms(limits, request.uri().path());
    let deadline = began + Duration::from_millis(timeout_ms);
    let context = RequestContext {
        request_id: request_id(request.headers(), &app),
        traceparent: traceparent(request.headers(), &app),
        deadline: deadline - Duration::from_millis(timeout_ms / 20),
    };
    // Nobody logs or answers a key, wherever it was put.
    let path = redact(request.uri().path()).into_owned();
    let method = request.method().clone();
    for value in request.headers_mut().iter_mut().filter(|(name, _)| *name == header::AUTHORIZATION)
    {
        value.1.set_sensitive(true);
    }
    let told = Told::default();
    request.extensions_mut().insert(context.clone());
    request.extensions_mut().insert(told.clone());
    // What is logged on the way is found by the id that the client is told.
    let span = tracing::info_span!("request", request_id = &*context.request_id);
    let response = match app.admit() {
        None => overloaded(),
        Some(permit) => match timeout_at(deadline, next.run(request).instrument(span)).await {
            Ok(response) => hold(response, permit),
            Err(_elapsed) => too_late(&method),
        },
    };
    if let Some(problem) = response.extensions().get::<Problem>() {
        app.metrics().problem(&problem.code);
    }
    let mut response = finish(response, &path, &context);
    if let Some(standing) = told.get() {
        tell_limits(response.headers_mut(), standing);
    }
    let took = began.elapsed();
    app.metrics().request(response.status().as_u16(), took);
    tracing::debug!(
        request_id = &*context.request_id,
        traceparent = &*context.traceparent,
        %method,
        path,
        status = response.status().as_u16(),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}

/// A batch has the time of many requests; everything else has that of one.
fn timeout_ms(limits: &LimitsSection, path: &str) -> u64 {
    match path {
        BATCH | RECONCILE => limits.batch_timeout_ms,
        _ => limits.request_timeout_ms,
    }
}

/// An answer that is still being made has its place until its end; one that is whole needs none.
fn hold(response: Response, permit: OwnedSemaphorePermit) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let _held = &permit;
            piece
        }))
    })
}

fn overloaded() -> Response {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "OVERLOADED",
        "this gateway serves as many requests as it may; nothing was done; send the request again",
    )
    .retry_after(Duration::from_secs(1))
    .into_response()
}

/// Whoever only reads has lost nothing; a change may have been taken.
fn too_late(method: &axum::http::Method) -> Response {
    let (code, detail) = if method.is_safe() {
        ("CLUSTER_UNAVAILABLE", "there was no answer in time; send the request again")
    } else {
        (
            "OUTCOME_UNKNOWN",
            "there was no answer in time and it is not known whether this was done; send the same request with the \
             same Idempotency-Key until there is an answer",
        )
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        .retry_after(Duration::from_secs(1))
        .into_response()
}

/// Gives a problem its body, and every answer its request id.
fn finish(mut response: Response, path: &str, context: &RequestContext) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let body = problem.body(path, &context.request_id);
        let body = serde_json::to_string(&body).expect("a problem is JSON");
        let body = redact(&body).into_owned();
        let (mut parts, _) = response.into_parts();
        let value = HeaderValue::from_static("application/problem+json");
        parts.headers.insert(header::CONTENT_TYPE, value);
        parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        parts.headers.remove(header::CONTENT_LENGTH);
        response = Response::from_parts(parts, Body::from(body));
    }
    let id = HeaderValue::from_str(&context.request_id).expect("it was checked, or made here");
    response.headers_mut().insert(REQUEST_ID, id);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// How much more may be asked, as of the tightest limit that the request met.
fn tell_limits(headers: &mut HeaderMap, standing: Standing) {
    let reset = u32::try_from(standing.reset.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
    let told = [
        ("ratelimit-limit", standing.limit),
        ("ratelimit-remaining", standing.remaining),
        ("ratelimit-reset", reset),
    ];
    for (name, number) in told {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
    }
}

fn request_id(headers: &HeaderMap, app: &App) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = |text: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
            && redact(text) == *text
    };
    match given.filter(usable) {
        Some(id) => Arc::from(id),
        None => Arc::from(hex(&app.random::<12>())),
    }
}

fn traceparent(headers: &HeaderMap, app: &App) -> Arc<str> {
    let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let usable = |text: &&str| {
        let mut parts = text.split('-');
        let lengths = [2, 32, 16, 2];
        let fits = lengths.iter().all(|length| {
            parts.next().is_some_and(|part| {
                part.len() == *length
                    && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
        });
        fits && parts.next().is_none()
    };
    match given.filter(usable) {
        Some(trace) => Arc::from(trace),
        None => {
            let (trace, span) = (app.random::<16>(), app.random::<8>());
            Arc::from(format!("00-{}-{}-01", hex(&trace), hex(&span)))
        }
    }
}
