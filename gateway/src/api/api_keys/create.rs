//! `POST /api/v1/api-keys`.

use axum::response::Response;
use fiscus_ledger::time::UnixMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{ApiKeyMade, made};
use crate::access::key_ring::{LIMITED_TO_MAX, NewKey, TIERS};
use crate::access::{Caller, Once, Role, Scope};
use crate::http::{Body, Fields, IdempotencyKey, Problem, Problems};

/// An API key that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApiKey {
    /// Of which organisation: only the platform's operator says it.
    #[schema(example = json!(null))]
    organization_id: Option<String>,
    /// What it is called.
    #[schema(example = "Caisses de Gombe", max_length = 200)]
    name: String,
    /// `cashier`, `supervisor`, `manager`, `owner`, `auditor`, `integrator` or `platform`.
    #[schema(example = "cashier")]
    role: String,
    /// What it may do, where that is less than the role's; an integrator may exactly this.
    #[serde(default)]
    #[schema(example = json!(["invoices:seal", "invoices:read"]))]
    scopes: Vec<String>,
    /// Only these outlets.
    #[serde(default)]
    #[schema(example = json!(["outlet-gombe"]), max_items = 1000)]
    outlets: Vec<String>,
    /// Only these regions.
    #[serde(default)]
    #[schema(example = json!([]), max_items = 1000)]
    regions: Vec<String>,
    /// `growth`, `professional` or `enterprise`; the caller's own when it is left out.
    #[schema(example = "growth")]
    tier: Option<String>,
    /// Not valid from then on; without it, for ever.
    #[schema(example = "2027-11-28T10:15:30.123Z")]
    expires_at: Option<String>,
}

impl NewApiKey {
    fn check(&self) -> Result<NewKey, Problem> {
        let mut fields = Fields::default();
        fields.name("/name", &self.name);
        let role = Role::parse(&self.role);
        if role.is_none() {
            let roles: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
            fields.word("/role", &self.role, &roles);
        }
        let mut scopes = Vec::new();
        for (at, word) in self.scopes.iter().enumerate() {
            let most = role.map_or(&[][..], Role::scopes);
            match Scope::parse(word).filter(|scope| role.is_none() || most.contains(scope)) {
                Some(scope) if !scopes.contains(&scope) => scopes.push(scope),
                Some(_) => {}
                None => {
                    let detail = format!("{word:?} is not a scope that this role may have");
                    fields.refuse(&format!("/scopes/{at}"), "FIELD_INVALID", detail);
                }
            }
        }
        if role == Some(Role::Integrator) && self.scopes.is_empty() {
            fields.refuse("/scopes", "FIELD_MISSING", "an integrator's key names its scopes");
        }
        for (pointer, list) in [("/outlets", &self.outlets), ("/regions", &self.regions)] {
            if list.len() > LIMITED_TO_MAX {
                let detail = format!("must have at most {LIMITED_TO_MAX} items");
                fields.refuse(pointer, "LIMIT_EXCEEDED", detail);
            }
        }
        if let Some(tier) = &self.tier {
            fields.word("/tier", tier, &TIERS);
        }
        let expires = self.expires_at.as_deref().map(UnixMs::parse_lenient);
        if expires == Some(None) {
            let detail = "must be a time with its zone, as in 2027-11-28T10:15:30Z";
            fields.refuse("/expires_at", "FIELD_INVALID", detail);
        }
        fields.finish()?;
        Ok(NewKey {
            organization: self.organization_id.clone(),
            name: self.name.clone(),
            role: role.expect("an unknown one was refused"),
            scopes,
            outlets: self.outlets.clone(),
            regions: self.regions.clone(),
            tier: self.tier.clone(),
            expires_ms: expires.flatten().map_or(0, UnixMs::get),
        })
    }
}

/// Make an API key.
///
/// The answer holds the key's text, this once: only a hash is kept. A key makes keys that may do at most what it may
/// do itself, at outlets, regions, tier and time that are within its own.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys",
    tag = "api-keys",
    security(("api_key" = ["keys:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each key")),
    request_body = NewApiKey,
    responses(
        (status = 201, description = "Made now, with its text", body = ApiKeyMade),
        (status = 200, description = "Made before, under this Idempotency-Key; without its text", body = ApiKeyMade),
        Problems,
    ),
    extensions(("x-codes" = json!([
        "KEY_TOO_STRONG", "API_KEYS_FULL", "ORGANIZATION_UNKNOWN", "OUTLET_UNKNOWN", "REGION_UNKNOWN", "LIMIT_EXCEEDED"
    ])))
)]
pub(super) async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewApiKey>,
) -> Result<Response, Problem> {
    caller.may(Scope::KeysWrite)?;
    let wanted = new.check()?;
    let once = Once::new("api-key", &key, &new);
    let (done, text) = caller.make_api_key(&wanted, &once).await?;
    let known = caller.api_key(&done.id)?;
    Ok(made(done.status(), text, &known, caller.now().get()))
}
