//! How endpoints are shown and described.

use std::net::IpAddr;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Caller;
use crate::api::time::when;
use crate::delivery::policy::{Mode, PER_SECOND, PER_SECOND_DEFAULT, Schedule};
use crate::directory::Versioned;
use crate::directory::webhooks::{EndpointState, WebhookEndpoint};
use crate::http::{Fields, Problem, Tagged};
use crate::webhooks::catalogue::EventType;
use crate::webhooks::signature::Secret;
use crate::webhooks::target::Target;

const LIST_MAX: usize = 200;

/// An endpoint.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Webhook {
    /// Its id.
    #[schema(example = "5b2c7f0a91d34e6688aa1020")]
    pub(super) endpoint_id: String,
    /// Where messages are sent.
    #[schema(example = "https://erp.example.cd/fiscus")]
    pub(super) url: String,
    /// What it is for.
    #[schema(example = "Comptabilité")]
    pub(super) description: String,
    /// The events that it wants; all when empty.
    #[schema(example = json!(["invoice.sealed"]))]
    pub(super) events: Vec<String>,
    /// Of these outlets only; of all when empty.
    #[schema(example = json!(["outlet-gombe"]))]
    pub(super) outlets: Vec<String>,
    /// Of outlets in these regions only; of all when empty.
    #[schema(example = json!([]))]
    pub(super) regions: Vec<String>,
    /// The order.
    pub(super) mode: Mode,
    /// How long an event is tried again.
    pub(super) schedule: Schedule,
    /// Messages a second at most.
    #[schema(example = 100)]
    pub(super) per_second: u32,
    /// `active`, `paused` or `disabled`.
    #[schema(example = "active")]
    pub(super) state: String,
    /// Why it was disabled: `failing` for five days, or `gone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_reason: Option<String>,
    /// The public keys of the secrets that sign, for receivers that check `v1a`.
    #[schema(example = json!(["whpk_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="]))]
    pub(super) public_keys: Vec<String>,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub(super) created_at: Option<String>,
}

impl Webhook {
    pub(super) fn of(known: &Versioned<WebhookEndpoint>, now_ms: u64) -> Self {
        let endpoint = &known.value;
        let state = match endpoint.state {
            EndpointState::Active => "active",
            EndpointState::Paused => "paused",
            EndpointState::Disabled | EndpointState::Deleted => "disabled",
        };
        let sign =
            endpoint.secrets.iter().filter(|it| it.expires_ms == 0 || now_ms < it.expires_ms);
        Self {
            endpoint_id: endpoint.endpoint_id.clone(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            events: endpoint.events.clone(),
            outlets: endpoint.outlets.clone(),
            regions: endpoint.regions.clone(),
            mode: endpoint.mode,
            schedule: endpoint.schedule,
            per_second: endpoint.per_second,
            state: state.to_owned(),
            state_reason: Some(endpoint.state_reason.clone()).filter(|reason| !reason.is_empty()),
            public_keys: sign.map(|secret| secret.public_key.clone()).collect(),
            created_at: when(endpoint.created_ms),
        }
    }

    pub(super) fn tagged(known: &Versioned<WebhookEndpoint>, now_ms: u64) -> Tagged<Self> {
        Tagged { version: known.version.to_string(), value: Self::of(known, now_ms) }
    }
}

/// An endpoint with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookMade {
    /// The endpoint.
    #[serde(flatten)]
    pub(super) endpoint: Webhook,
    /// For receivers that check `v1`. The same request under the same Idempotency-Key and API key tells it again, as
    /// long as it signs; under another API key it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=")]
    pub(super) secret: Option<String>,
}

/// What was made, with its secret, which no cache is to keep.
pub(super) fn made(
    caller: &Caller,
    status: StatusCode,
    endpoint_id: &str,
    secret: &Secret,
) -> Result<Response, Problem> {
    let known = caller.webhook(endpoint_id)?;
    let endpoint = Webhook::of(&known, caller.now().get());
    // A repetition under another API key makes another secret, which is none of the endpoint's.
    let signs = endpoint.public_keys.contains(&secret.public_text());
    let body = WebhookMade { endpoint, secret: signs.then(|| secret.text()) };
    Ok((status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// What an endpoint is to be; what is left out stays, or is the default.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookPatch {
    /// Where messages are sent: https.
    #[schema(example = "https://erp.example.cd/fiscus", max_length = 2048)]
    pub(super) url: Option<String>,
    /// What it is for.
    #[schema(example = "Comptabilité", max_length = 500)]
    pub(super) description: Option<String>,
    /// The events that it wants; all when empty.
    #[schema(example = json!(["invoice.sealed", "report.generated"]))]
    pub(super) events: Option<Vec<String>>,
    /// Of these outlets only; of all when empty.
    #[schema(example = json!(["outlet-gombe"]))]
    pub(super) outlets: Option<Vec<String>>,
    /// Of outlets in these regions only; of all when empty.
    #[schema(example = json!([]))]
    pub(super) regions: Option<Vec<String>>,
    /// The order; `parallel` unless asked otherwise.
    pub(super) mode: Option<Mode>,
    /// How long an event is tried again; `short` unless asked otherwise.
    pub(super) schedule: Option<Schedule>,
    /// Messages a second at most; 100 unless asked otherwise.
    #[schema(example = 100, minimum = 1, maximum = 500)]
    pub(super) per_second: Option<u32>,
}

impl WebhookPatch {
    /// Refuses what cannot be. Outlets and regions must be the caller's.
    pub(super) fn check(&self, caller: &Caller) -> Result<(), Problem> {
        let mut fields = Fields::default();
        if let Some(url) = &self.url {
            match Target::parse(url, caller.plain_http()?) {
                Ok(target) => {
                    if let Ok(address) = target.host_text().parse::<IpAddr>()
                        && let Err(closed) = caller.may_reach(address)
                    {
                        fields.refuse("/url", "FIELD_INVALID", closed);
                    }
                }
                Err(error) => fields.refuse("/url", "FIELD_INVALID", error.to_string()),
            }
        }
        if let Some(description) = &self.description {
            fields.text("/description", description);
        }
        for (at, event) in self.events.iter().flatten().enumerate() {
            if EventType::parse(event).is_none() {
                let detail = "must be an event of GET /api/v1/webhooks/events";
                fields.refuse(&format!("/events/{at}"), "FIELD_INVALID", detail);
            }
        }
        for (pointer, list) in
            [("/events", &self.events), ("/outlets", &self.outlets), ("/regions", &self.regions)]
        {
            if list.as_ref().is_some_and(|list| list.len() > LIST_MAX) {
                fields.refuse(
                    pointer,
                    "FIELD_INVALID",
                    format!("must have at most {LIST_MAX} items"),
                );
            }
        }
        if self.per_second.is_some_and(|rate| !PER_SECOND.contains(&rate)) {
            fields.refuse("/per_second", "FIELD_INVALID", "must be 1 to 500");
        }
        fields.finish()?;
        for outlet_id in self.outlets.iter().flatten() {
            caller.outlet(outlet_id).map_err(|problem| problem.about("/outlets"))?;
        }
        for region_id in self.regions.iter().flatten() {
            caller.region(region_id).map_err(|problem| problem.about("/regions"))?;
        }
        Ok(())
    }

    pub(super) fn apply(&self, endpoint: &mut WebhookEndpoint) {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(from) = from {
                to.clone_from(from);
            }
        }
        set(&mut endpoint.url, &self.url);
        set(&mut endpoint.description, &self.description);
        set(&mut endpoint.events, &self.events);
        set(&mut endpoint.outlets, &self.outlets);
        set(&mut endpoint.regions, &self.regions);
        set(&mut endpoint.mode, &self.mode);
        set(&mut endpoint.schedule, &self.schedule);
        set(&mut endpoint.per_second, &self.per_second);
    }

    /// An endpoint that is nobody's yet.
    pub(super) fn endpoint(&self) -> WebhookEndpoint {
        let mut endpoint = WebhookEndpoint {
            organisation: String::new(),
            endpoint_id: String::new(),
            url: String::new(),
            description: String::new(),
            events: Vec::new(),
            outlets: Vec::new(),
            regions: Vec::new(),
            mode: Mode::default(),
            schedule: Schedule::default(),
            per_second: PER_SECOND_DEFAULT,
            state: EndpointState::default(),
            state_reason: String::new(),
            state_ms: 0,
            secrets: Vec::new(),
            begin: std::collections::BTreeMap::new(),
            replays: std::collections::VecDeque::new(),
            created_ms: 0,
        };
        self.apply(&mut endpoint);
        endpoint
    }
}
