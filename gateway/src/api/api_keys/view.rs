//! How an API key is answered: never with a secret, but once with the text of the one that was just made.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::key_ring::{SecretText, is_in_force, is_secret_in_force, scopes_of};
use crate::api::time::when;
use crate::directory::Versioned;
use crate::directory::documents;
use crate::http::Tagged;

/// One of a key's secrets, without itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ApiKeySecret {
    /// Tells the two of a rotation apart.
    #[schema(example = "9f3a11c2")]
    pub secret_id: String,
    /// `active`, `expired` or `revoked`.
    #[schema(example = "active")]
    pub status: String,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
    /// Not valid from then on; `null` when it has no end.
    #[schema(example = "2026-11-29T10:15:30.123Z")]
    pub expires_at: Option<String>,
}

/// A key to the API.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ApiKey {
    /// Its public part.
    #[schema(example = "5f0c2a9d7be4413c88")]
    pub key_id: String,
    /// What it is called.
    #[schema(example = "Caisses de Gombe")]
    pub name: String,
    /// Its organisation; empty for the platform's operator.
    #[schema(example = "org-kivu-retail")]
    pub organization_id: String,
    /// Who uses it.
    #[schema(example = "cashier")]
    pub role: String,
    /// What it may do.
    #[schema(example = json!(["invoices:seal", "invoices:read"]))]
    pub scopes: Vec<String>,
    /// The outlets that it is limited to; all when empty.
    #[schema(example = json!(["outlet-gombe"]))]
    pub outlets: Vec<String>,
    /// The regions that it is limited to; all when empty.
    #[schema(example = json!([]))]
    pub regions: Vec<String>,
    /// How often it may ask: `growth`, `professional` or `enterprise`.
    #[schema(example = "growth")]
    pub tier: String,
    /// `active`, `expired` or `revoked`.
    #[schema(example = "active")]
    pub status: String,
    /// At most two are active.
    pub secrets: Vec<ApiKeySecret>,
    /// Since when it is known.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub created_at: Option<String>,
    /// Not valid from then on; `null` when it has no end.
    #[schema(example = "2027-11-28T10:15:30.123Z")]
    pub expires_at: Option<String>,
    /// Since when it is revoked.
    pub revoked_at: Option<String>,
}

fn status(revoked: bool, in_force: bool) -> String {
    let word = match (revoked, in_force) {
        (true, _) => "revoked",
        (false, true) => "active",
        (false, false) => "expired",
    };
    word.to_owned()
}

impl ApiKey {
    pub(super) fn of(key: &documents::ApiKey, now: u64) -> Self {
        let secret = |secret: &documents::KeySecret| ApiKeySecret {
            secret_id: secret.id.clone(),
            status: status(secret.revoked_ms > 0, is_secret_in_force(secret, now)),
            created_at: when(secret.created_ms),
            expires_at: when(secret.expires_ms),
        };
        Self {
            key_id: key.id.clone(),
            name: key.name.clone(),
            organization_id: key.organisation.clone(),
            role: key.role.clone(),
            scopes: scopes_of(key).iter().map(|scope| scope.as_str().to_owned()).collect(),
            outlets: key.outlets.clone(),
            regions: key.regions.clone(),
            tier: key.tier.clone(),
            status: status(key.revoked_ms > 0, is_in_force(key, now)),
            secrets: key.secrets.iter().map(secret).collect(),
            created_at: when(key.created_ms),
            expires_at: when(key.expires_ms),
            revoked_at: when(key.revoked_ms),
        }
    }

    pub(super) fn tagged(known: &Versioned<documents::ApiKey>, now: u64) -> Tagged<Self> {
        Tagged { version: known.version.to_string(), value: Self::of(&known.value, now) }
    }
}

/// A key with the secret that was just made.
#[derive(Serialize, ToSchema)]
pub struct ApiKeyMade {
    /// The key as it is sent in `Authorization: Bearer …`. It is shown this once and kept nowhere: `null` when the
    /// request is repeated. Whoever has lost it makes another one.
    #[schema(example = "fsk_5f0c2a9d7be4413c88_…")]
    pub key: Option<String>,
    /// Always true: `key` is not shown again.
    #[schema(example = true)]
    pub shown_once: bool,
    /// What is known of it.
    pub api_key: ApiKey,
}

impl std::fmt::Debug for ApiKeyMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyMade").field("api_key", &self.api_key).finish_non_exhaustive()
    }
}

/// Answers with the key's text, which no cache is to keep.
pub(super) fn made(
    status: StatusCode,
    text: Option<SecretText>,
    known: &Versioned<documents::ApiKey>,
    now: u64,
) -> Response {
    let value = ApiKeyMade {
        key: text.map(SecretText::reveal),
        shown_once: true,
        api_key: ApiKey::of(&known.value, now),
    };
    let mut response =
        (status, Tagged { version: known.version.to_string(), value }).into_response();
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
