//! What the engine asks of a kind of destination. A further kind is a variant of [`Kind`], its documents in
//! [`Adapter::destinations`], and an arm in [`Adapter::deliver`]; order, pauses, leases and cursors are the engine's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::destination::{Attempt, Outcome};
use super::feed::Feed;
use super::kept::{Place, Replay};
use super::notices::{Kept, Ring};
use super::policy::Policy;
use crate::directory::webhooks::{AttemptLine, EndpointState, Notice, WebhookEndpoint};
use crate::directory::{Directory, OutletEntry, Versioned};
use crate::webhooks::catalogue::EventType;
use crate::webhooks::event::Event;
use crate::webhooks::message;
use crate::webhooks::post::{PostError, Poster};
use crate::webhooks::signature::{SECRET_BYTES, Secret};
use crate::webhooks::target::Target;
use crate::webhooks::vault::Vault;

/// What this gateway cannot send whatever the endpoint does waits for so long, or for another gateway.
const UNABLE_PAUSE_MS: u64 = 60_000;

/// A destination as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Its tenant, whose events it may get.
    pub(crate) organisation: String,
    /// How it is served.
    pub(crate) policy: Policy,
    /// Whether anything is sent.
    pub(crate) is_active: bool,
    /// By source, where it begins.
    pub(crate) begin: BTreeMap<u64, u64>,
    /// Replays that were asked for.
    pub(crate) replays: Vec<Replay>,
    pub(crate) kind: Kind,
}

/// What kind of destination it is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A customer's endpoint.
    Webhook(Arc<Versioned<WebhookEndpoint>>),
}

/// How an attempt went, and its line in the log.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) outcome: Outcome,
    /// None when nothing was sent.
    pub(crate) line: Option<AttemptLine>,
}

impl Spec {
    /// The document of its log.
    pub(crate) fn log_id(&self) -> String {
        match &self.kind {
            Kind::Webhook(endpoint) => {
                format!("webhook/{}/{}", endpoint.value.organisation, endpoint.value.endpoint_id)
            }
        }
    }

    /// Whether it wants an event of an outlet of its tenant's.
    pub(crate) fn wants(&self, event: &Event, outlet: &OutletEntry) -> bool {
        match &self.kind {
            Kind::Webhook(endpoint) => {
                endpoint.value.wants(event.kind.as_str(), &event.outlet_id, outlet.region())
            }
        }
    }

    /// Whether it wants a notice. One that is about an endpoint is not told to that one; what is about no outlet is
    /// told whatever outlets are wanted.
    pub(crate) fn wants_notice(&self, notice: &Notice, outlet: Option<&OutletEntry>) -> bool {
        let listed =
            |list: &[String], word: &str| list.is_empty() || list.iter().any(|one| one == word);
        match &self.kind {
            Kind::Webhook(endpoint) => {
                let endpoint = &endpoint.value;
                let about_outlet = notice.outlet_id.is_empty()
                    || (listed(&endpoint.outlets, &notice.outlet_id)
                        && listed(&endpoint.regions, outlet.map_or("", OutletEntry::region)));
                listed(&endpoint.events, &notice.kind)
                    && about_outlet
                    && endpoint.endpoint_id != notice.endpoint_id
            }
        }
    }
}

/// Everything that sending takes.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) directory: Arc<Directory>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) poster: Poster,
    pub(crate) vault: Vault,
    pub(crate) plain_http: bool,
    pub(crate) limit: Duration,
    /// Pauses that the operator wants instead of the short schedule's.
    pub(crate) delays_ms: Option<Vec<u64>>,
}

impl Adapter {
    /// All destinations that there are.
    pub(crate) fn destinations(&self) -> BTreeMap<String, Spec> {
        let tables = self.directory.read();
        let there =
            tables.webhooks.iter().filter(|(_, known)| known.value.state != EndpointState::Deleted);
        there.map(|(id, known)| (format!("webhook/{id}"), self.webhook(known))).collect()
    }

    fn webhook(&self, known: &Arc<Versioned<WebhookEndpoint>>) -> Spec {
        let endpoint = &known.value;
        let delays_ms = match (&self.delays_ms, endpoint.schedule) {
            (Some(delays_ms), super::policy::Schedule::Short) => delays_ms.clone(),
            _ => endpoint.schedule.delays_ms(),
        };
        Spec {
            organisation: endpoint.organisation.clone(),
            policy: Policy {
                since_ms: endpoint.state_ms,
                ..Policy::new(endpoint.mode, delays_ms, endpoint.per_second)
            },
            is_active: endpoint.state == EndpointState::Active,
            begin: endpoint.begin.clone(),
            replays: endpoint.replays.iter().cloned().collect(),
            kind: Kind::Webhook(Arc::clone(known)),
        }
    }

    /// Makes one attempt.
    pub(crate) async fn deliver(&self, spec: &Spec, attempt: Attempt, now_ms: u64) -> Attempted {
        match &spec.kind {
            Kind::Webhook(endpoint) => self.send_event(&endpoint.value, attempt, now_ms).await,
        }
    }

    async fn send_event(
        &self,
        endpoint: &WebhookEndpoint,
        attempt: Attempt,
        now_ms: u64,
    ) -> Attempted {
        let made = match Ring::of_source(attempt.place.source) {
            Some(ring) => self.notice(ring, endpoint, attempt.place.leaf),
            None => self.told(endpoint, attempt.place).await,
        };
        let (kind, time_ms, data) = match made {
            Ok(made) => made,
            Err(outcome) => return Attempted { outcome, line: None },
        };
        let Value::Object(data) = data else {
            return undeliverable("the event has no data");
        };
        let Some(body) = message::body(kind, time_ms, data, attempt.sequence) else {
            return undeliverable("the message would be larger than a message may be");
        };
        let id = message::message_id(&endpoint.endpoint_id, attempt.place);
        let (outcome, mut line) = self.send(endpoint, &id, kind, body, now_ms).await;
        line.number = attempt.number;
        let tried = !matches!(outcome, Outcome::Withdrawn { .. });
        Attempted { outcome, line: tried.then_some(line) }
    }

    /// An event of a journal. What cannot be read now is read later.
    async fn told(
        &self,
        endpoint: &WebhookEndpoint,
        place: Place,
    ) -> Result<(EventType, u64, Value), Outcome> {
        let event = self.feed.event(place).await.map_err(|error| {
            tracing::warn!(group = place.source, leaf = place.leaf, %error, "an event cannot be read now");
            Outcome::Withdrawn { pause_ms: 0 }
        })?;
        let missing =
            || Outcome::Undeliverable { reason: "the journal has no such event".to_owned() };
        let event = event.ok_or_else(missing)?;
        let outlet = self.directory.read().outlet(&event.outlet_id);
        if outlet.is_none() && !self.feed.knows_owners() {
            return Err(Outcome::Withdrawn { pause_ms: 0 });
        }
        let own =
            outlet.filter(|outlet| outlet.merchant.value.organisation == endpoint.organisation);
        let outlet = own.ok_or_else(missing)?;
        let data = event
            .data(&outlet)
            .map_err(|error| Outcome::Undeliverable { reason: error.to_string() })?;
        Ok((event.kind, event.time_ms, Value::Object(data)))
    }

    fn notice(
        &self,
        ring: Ring,
        endpoint: &WebhookEndpoint,
        number: u64,
    ) -> Result<(EventType, u64, Value), Outcome> {
        let tables = self.directory.read();
        let kept = Kept::from(ring, &tables, &endpoint.organisation, number);
        if kept.is_awaited(number) {
            return Err(Outcome::Withdrawn { pause_ms: 0 });
        }
        let notice = kept.get(number);
        let kind =
            notice.and_then(|notice| EventType::parse(&notice.kind).map(|kind| (kind, notice)));
        let (kind, notice) = kind.ok_or_else(|| Outcome::Undeliverable {
            reason: "this notice is kept no longer".to_owned(),
        })?;
        Ok((kind, notice.time_ms, notice.data.clone()))
    }

    /// Sends a message that is about nothing in the ledger, once: the example of an event, which says that it is none.
    pub(crate) async fn test(
        &self,
        endpoint: &WebhookEndpoint,
        id: &str,
        kind: EventType,
        now_ms: u64,
    ) -> (Outcome, AttemptLine) {
        let data = match kind {
            EventType::EndpointTest => json!({"endpoint_id": endpoint.endpoint_id}),
            other => other.example(),
        };
        let Value::Object(mut data) = data else { unreachable!("examples are objects") };
        data.insert("test".to_owned(), json!(true));
        let body = message::body(kind, now_ms, data, None).expect("it is small");
        self.send(endpoint, id, kind, body, now_ms).await
    }

    async fn send(
        &self,
        endpoint: &WebhookEndpoint,
        id: &str,
        kind: EventType,
        body: bytes::Bytes,
        now_ms: u64,
    ) -> (Outcome, AttemptLine) {
        let began = tokio::time::Instant::now();
        let mut line = AttemptLine {
            time_ms: now_ms,
            message_id: id.to_owned(),
            event: kind.as_str().to_owned(),
            number: 1,
            bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
            status: 0,
            took_ms: 0,
            detail: String::new(),
        };
        let target = match Target::parse(&endpoint.url, self.plain_http) {
            Ok(target) => target,
            Err(error) => {
                line.detail = format!("the URL: {error}");
                return (failed(&line.detail, None), line);
            }
        };
        // What this gateway lacks is no failure of the endpoint's.
        if target.secure && !self.poster.has_roots() {
            line.detail =
                "this gateway has no certificates to check the endpoint's with".to_owned();
            return (Outcome::Withdrawn { pause_ms: UNABLE_PAUSE_MS }, line);
        }
        let secrets = secrets(&self.vault, endpoint, now_ms);
        if secrets.is_empty() {
            line.detail = "this gateway cannot open the endpoint's secret".to_owned();
            return (Outcome::Withdrawn { pause_ms: UNABLE_PAUSE_MS }, line);
        }
        let headers = message::headers(id, now_ms / 1_000, &body, &secrets);
        let sent =
            self.poster.post(&endpoint.organisation, &target, &headers, &body, self.limit).await;
        line.took_ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        let outcome = match sent {
            Ok(reply) => {
                line.status = reply.status;
                line.detail = reply.head;
                outcome_of(reply.status, reply.retry_after_ms)
            }
            Err(error) => {
                line.detail = shown(&error);
                failed(&line.detail, None)
            }
        };
        (outcome, line)
    }
}

/// The secrets that are in force and that this gateway can open.
fn secrets(vault: &Vault, endpoint: &WebhookEndpoint, now_ms: u64) -> Vec<Secret> {
    let of = format!("{}/{}", endpoint.organisation, endpoint.endpoint_id);
    let in_force = endpoint
        .secrets
        .iter()
        .filter(|secret| secret.expires_ms == 0 || now_ms < secret.expires_ms);
    let opened = in_force.filter_map(|secret| {
        vault
            .open::<SECRET_BYTES>(&of, &secret.sealed)
            .inspect_err(|error| {
                tracing::error!(endpoint = of, secret = secret.id, %error, "a secret cannot be opened");
            })
            .ok()
    });
    opened.map(Secret::new).collect()
}

fn undeliverable(reason: &str) -> Attempted {
    Attempted { outcome: Outcome::Undeliverable { reason: reason.to_owned() }, line: None }
}

fn failed(reason: &str, retry_after_ms: Option<u64>) -> Outcome {
    Outcome::Failed { reason: reason.to_owned(), retry_after_ms }
}

/// Only 2xx is success; 410 says that there will be none.
fn outcome_of(status: u16, retry_after_ms: Option<u64>) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Gone,
        300..=399 => failed(&format!("it answered {status}; redirects are not followed"), None),
        _ => {
            let word =
                StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            failed(&format!("it answered {status} {}", word.unwrap_or_default()), retry_after_ms)
        }
    }
}

fn shown(error: &PostError) -> String {
    error.to_string().chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::webhooks::WebhookSecret;

    #[test]
    fn what_can_be_opened_signs_whatever_else_cannot() {
        let secret = |vault: u8, id: u8, expires_ms: u64| WebhookSecret {
            id: id.to_string(),
            sealed: Vault::of_seeds(&[vault]).seal("org/e", &[id; SECRET_BYTES], [id; 12]),
            public_key: String::new(),
            created_ms: 0,
            expires_ms,
        };
        let endpoint = json!({
            "organisation": "org", "endpoint_id": "e", "url": "", "per_second": 1,
            "secrets": [secret(1, 1, 0), secret(2, 2, 0), secret(1, 3, 99)],
        });
        let endpoint: WebhookEndpoint = serde_json::from_value(endpoint).expect("an endpoint");
        let opened = |seeds: &[u8]| -> Vec<u8> {
            let secrets = secrets(&Vault::of_seeds(seeds), &endpoint, 99);
            secrets.iter().map(|secret| secret.bytes()[0]).collect()
        };
        assert_eq!(opened(&[1, 2]), [1, 2]);
        assert_eq!((opened(&[1]), opened(&[2]), opened(&[3])), (vec![1], vec![2], vec![]));
    }
}
