//! What became of messages: tests, attempts, dead letters, replays, statistics.

use axum::Json;
use axum::http::StatusCode;
use fiscus_ledger::time::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Again, Caller, Once};
use crate::api::time::when;
use crate::delivery::destination::Outcome;
use crate::delivery::kept::{DeadLetter, Place};
use crate::directory::webhooks::AttemptLine;
use crate::http::list::{Page, limit};
use crate::http::parameters::invalid;
use crate::http::{Body, Fields, IdempotencyKey, Parameters, PathOf, Problem, Problems};
use crate::webhooks::catalogue::EventType;
use crate::webhooks::message::{message_id, place_of};

/// One attempt to deliver.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryAttempt {
    /// When.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    time: String,
    /// `webhook-id`.
    #[schema(example = "msg_5b2c7f0a91d34e6688aa1020_1_4711")]
    message_id: String,
    /// What it told.
    #[schema(example = "invoice.sealed")]
    event: String,
    /// From 1.
    #[schema(example = 1)]
    number: u32,
    /// Bytes of the body.
    #[schema(example = 1200)]
    bytes: u32,
    /// `delivered` or `failed`.
    #[schema(example = "delivered")]
    outcome: String,
    /// The answer's status; `null` when there was none.
    #[schema(example = 204)]
    status: Option<u16>,
    /// Milliseconds to the answer.
    #[schema(example = 37)]
    took_ms: u32,
    /// Some of the answer's head, or what went wrong.
    #[schema(example = "content-type: text/plain")]
    detail: String,
}

impl DeliveryAttempt {
    fn of(line: AttemptLine) -> Self {
        let delivered = (200..300).contains(&line.status);
        Self {
            time: UnixMs::new(line.time_ms).to_string(),
            message_id: line.message_id,
            event: line.event,
            number: line.number,
            bytes: line.bytes,
            outcome: if delivered { "delivered" } else { "failed" }.to_owned(),
            status: (line.status != 0).then_some(line.status),
            took_ms: line.took_ms,
            detail: line.detail,
        }
    }
}

/// What is tried.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TestWanted {
    /// `endpoint.test`, or the event whose example is to be sent; its `data` has `"test": true`.
    #[param(example = "invoice.sealed")]
    event: Option<String>,
}

/// Send a test message now, once, and see what is answered. It is sent even while the endpoint is paused.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{endpoint_id}/test",
    tag = "webhooks",
    operation_id = "test_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(
        ("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020"),
        TestWanted,
        ("Idempotency-Key" = String, Header, description = "Makes the message's id"),
    ),
    responses((status = 200, description = "What became of it", body = DeliveryAttempt), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "WEBHOOKS_OFF", "KEY_LIMITED"])))
)]
pub(super) async fn test(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
    Parameters(wanted): Parameters<TestWanted>,
    key: IdempotencyKey,
) -> Result<Json<DeliveryAttempt>, Problem> {
    let event = wanted.event.as_deref().unwrap_or(EventType::EndpointTest.as_str());
    let event = EventType::parse(event)
        .ok_or_else(|| invalid("event", "must be an event of GET /api/v1/webhooks/events"))?;
    let once = Once::new("webhook-test", &key, &(&endpoint_id, &wanted));
    let (outcome, mut line) = caller.test_webhook(&endpoint_id, event, &once).await?;
    if let Outcome::Failed { reason, .. } = outcome
        && line.detail.is_empty()
    {
        line.detail = reason;
    }
    Ok(Json(DeliveryAttempt::of(line)))
}

/// Which attempts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptsWanted {
    /// `delivered` or `failed`.
    #[param(example = "failed")]
    outcome: Option<String>,
    /// Of this event.
    #[param(example = "invoice.sealed")]
    event: Option<String>,
    /// Of this message.
    #[param(example = "msg_5b2c7f0a91d34e6688aa1020_1_4711")]
    message_id: Option<String>,
    /// How many; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
}

/// List the last attempts, the newest first.
///
/// The last hundred of an endpoint are kept; the newest of them are here within some seconds.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{endpoint_id}/attempts",
    tag = "webhooks",
    operation_id = "list_webhook_attempts",
    security(("api_key" = ["webhooks:write"])),
    params(("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020"), AttemptsWanted),
    responses((status = 200, description = "The newest first", body = Page<DeliveryAttempt>), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "KEY_LIMITED"])))
)]
pub(super) async fn attempts(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
    Parameters(wanted): Parameters<AttemptsWanted>,
) -> Result<Page<DeliveryAttempt>, Problem> {
    let limit = limit(wanted.limit)?;
    let mut fields = Fields::default();
    if wanted.outcome.as_deref().is_some_and(|it| !["delivered", "failed"].contains(&it)) {
        fields.refuse("/outcome", "FIELD_INVALID", "it is delivered or failed");
    }
    if wanted.event.as_deref().is_some_and(|it| EventType::parse(it).is_none()) {
        fields.refuse("/event", "FIELD_INVALID", "there is no such event in the catalogue");
    }
    fields.finish()?;
    let log = caller.webhook_log(&endpoint_id).await?;
    let fits = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
    let found = log.attempts.into_iter().rev().map(DeliveryAttempt::of).filter(|attempt| {
        fits(&wanted.outcome, &attempt.outcome)
            && fits(&wanted.event, &attempt.event)
            && fits(&wanted.message_id, &attempt.message_id)
    });
    Ok(Page {
        data: found.take(limit).collect(),
        next_cursor: None,
        as_of: vec![caller.directory_as_of()],
    })
}

/// An event that was given up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookDeadLetter {
    /// `webhook-id`; send it to `/replay` to have it sent once more.
    #[schema(example = "msg_5b2c7f0a91d34e6688aa1020_1_4711")]
    message_id: String,
    /// Its number at this endpoint.
    #[schema(example = 1287)]
    sequence: Option<u64>,
    /// How often it was tried.
    #[schema(example = 6)]
    attempts: u32,
    /// When it was given up.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    time: String,
    /// Why.
    #[schema(example = "it answered 500 Internal Server Error")]
    reason: String,
}

impl WebhookDeadLetter {
    fn of(endpoint_id: &str, letter: &DeadLetter) -> Self {
        let place = Place { source: letter.source, leaf: letter.leaf };
        Self {
            message_id: message_id(endpoint_id, place),
            sequence: letter.sequence,
            attempts: letter.attempts,
            time: UnixMs::new(letter.time_ms).to_string(),
            reason: letter.reason.clone(),
        }
    }
}

/// List the events that were given up, the newest first; the last two hundred are kept.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{endpoint_id}/dead-letters",
    tag = "webhooks",
    operation_id = "list_webhook_dead_letters",
    security(("api_key" = ["webhooks:write"])),
    params(("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020")),
    responses((status = 200, description = "The newest first", body = Page<WebhookDeadLetter>), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "KEY_LIMITED"])))
)]
pub(super) async fn dead_letters(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
) -> Result<Page<WebhookDeadLetter>, Problem> {
    let log = caller.webhook_log(&endpoint_id).await?;
    let data = log
        .letters
        .iter()
        .rev()
        .map(|letter| WebhookDeadLetter::of(&endpoint_id, letter))
        .collect();
    Ok(Page { data, next_cursor: None, as_of: vec![caller.directory_as_of()] })
}

/// What is to be sent once more: one of the three.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    /// One message, by its `webhook-id`.
    #[schema(example = "msg_5b2c7f0a91d34e6688aa1020_1_4711")]
    message_id: Option<String>,
    /// What happened from this time on,
    #[schema(example = "2026-11-28T10:00:00Z")]
    from: Option<String>,
    /// and before this one.
    #[schema(example = "2026-11-28T11:00:00Z")]
    to: Option<String>,
    /// Everything that was given up and is listed.
    #[schema(example = false)]
    failed: Option<bool>,
}

/// Have events sent once more, under their ids. They come beside what happens now, without a sequence.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{endpoint_id}/replay",
    tag = "webhooks",
    operation_id = "replay_webhook",
    security(("api_key" = ["webhooks:write"])),
    params(
        ("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020"),
        ("Idempotency-Key" = String, Header, description = "A new one for each time"),
    ),
    request_body = ReplayRequest,
    responses((status = 202, description = "It is under way; the statistics tell when it is done"), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "WEBHOOK_REPLAYS_FULL", "VERSION_CONFLICT", "KEY_LIMITED"])))
)]
pub(super) async fn replay(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
    key: IdempotencyKey,
    Body(asked): Body<ReplayRequest>,
) -> Result<StatusCode, Problem> {
    caller.webhook(&endpoint_id)?;
    let again = what(&endpoint_id, &asked)?;
    let once = Once::new("webhook-replay", &key, &(&endpoint_id, &asked));
    caller.replay_webhook(&endpoint_id, again, &once).await?;
    Ok(StatusCode::ACCEPTED)
}

fn what(endpoint_id: &str, asked: &ReplayRequest) -> Result<Again, Problem> {
    let mut fields = Fields::default();
    let time =
        |text: &Option<String>| text.as_deref().and_then(UnixMs::parse_lenient).map(UnixMs::get);
    let again = match (&asked.message_id, &asked.from, &asked.to, asked.failed) {
        (Some(id), None, None, None | Some(false)) => place_of(endpoint_id, id).map(Again::One),
        (None, Some(_), Some(_), None | Some(false)) => {
            let times = time(&asked.from).zip(time(&asked.to)).filter(|(from, to)| from < to);
            times.map(|(from, to)| Again::Between(from, to))
        }
        (None, None, None, Some(true)) => Some(Again::Failed),
        _ => None,
    };
    if again.is_none() {
        let detail = "must name a message of this endpoint, or times from and to, or failed";
        fields.refuse("/message_id", "FIELD_INVALID", detail);
    }
    fields.finish()?;
    again.ok_or_else(|| Problem::internal("a replay that is none was not refused"))
}

/// How an endpoint is doing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookStatistics {
    /// Events and other leaves that are not settled, at most.
    #[schema(example = 3)]
    lag_events: u64,
    /// Events that were read and are not settled.
    #[schema(example = 1)]
    pending: usize,
    /// When the oldest of them happened.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    oldest_undelivered: Option<String>,
    /// Seconds since then.
    #[schema(example = 12)]
    lag_seconds: u64,
    /// Events that were delivered.
    #[schema(example = 1287)]
    delivered: u64,
    /// Attempts that failed.
    #[schema(example = 4)]
    failed_attempts: u64,
    /// Events that were given up.
    #[schema(example = 0)]
    dead: u64,
    /// Of a hundred attempts, so many went well.
    #[schema(example = 99)]
    success_percent: u64,
    /// Since when every attempt fails.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    failing_since: Option<String>,
    /// Nothing is sent before, because it failed too often or wants to be left alone.
    #[schema(example = "2026-11-28T10:20:30.123Z")]
    held_until: Option<String>,
    /// The last success.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    last_success: Option<String>,
    /// The last failure.
    #[schema(example = "2026-11-28T09:15:30.123Z")]
    last_failure: Option<String>,
    /// Whether a replay is under way.
    #[schema(example = false)]
    replaying: bool,
    /// Replays that are done.
    #[schema(example = 1)]
    replays_done: u64,
}

/// See how an endpoint is doing, as of some seconds ago.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{endpoint_id}/statistics",
    tag = "webhooks",
    operation_id = "get_webhook_statistics",
    security(("api_key" = ["webhooks:write"])),
    params(("endpoint_id" = String, Path, example = "5b2c7f0a91d34e6688aa1020")),
    responses((status = 200, description = "As of some seconds ago", body = WebhookStatistics), Problems),
    extensions(("x-codes" = json!(["WEBHOOK_UNKNOWN", "WEBHOOKS_OFF", "KEY_LIMITED"])))
)]
pub(super) async fn statistics(
    caller: Caller,
    PathOf(endpoint_id): PathOf<String>,
) -> Result<Json<WebhookStatistics>, Problem> {
    let progress = caller.webhook_progress(&endpoint_id)?;
    let (kept, now_ms) = (&progress.kept, caller.now().get());
    let standing = &kept.standing;
    let oldest_ms = kept.pending.iter().map(|pending| pending.time_ms).min();
    let attempts = standing.delivered + standing.failed;
    Ok(Json(WebhookStatistics {
        lag_events: progress.lag_events,
        pending: kept.pending.len(),
        oldest_undelivered: oldest_ms.and_then(when),
        lag_seconds: oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms) / 1_000),
        delivered: standing.delivered,
        failed_attempts: standing.failed,
        dead: standing.dead,
        success_percent: (standing.delivered * 100).checked_div(attempts).unwrap_or(100),
        failing_since: when(standing.failing_since_ms),
        held_until: when(standing.hold_until_ms).filter(|_| standing.hold_until_ms > now_ms),
        last_success: when(standing.succeeded_ms),
        last_failure: when(standing.failed_ms),
        replaying: kept.replay.is_some(),
        replays_done: kept.replayed,
    }))
}
