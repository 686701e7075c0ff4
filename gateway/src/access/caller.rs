//! Whoever holds a key, for one request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use fiscus_ledger::manifest::Manifest;
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};

use super::app::App;
use super::keys::{KeyText, matches};
use super::outlet::Outlet;
use super::rates::Counted;
use super::scopes::{Role, Scope};
use crate::directory::documents::{ApiKey, kind};
use crate::directory::{OutletEntry, Versioned};
use crate::http::{Problem, RequestContext};

/// A key that is not known here yet is asked for within this time.
const KEY_WAIT: Duration = Duration::from_secs(2);

/// An authenticated caller. Everything that a handler may reach, it reaches through this.
#[derive(Debug, Clone)]
pub struct Caller {
    app: App,
    key: Arc<Versioned<ApiKey>>,
    scopes: BTreeSet<Scope>,
    context: RequestContext,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, app).await;
        let context = context.unwrap_or_else(|never| match never {});
        let text = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let text = text.and_then(|value| value.split_once(' '));
        let text = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let key =
            text.and_then(|(_, key)| KeyText::parse(key.trim())).ok_or_else(unauthenticated)?;
        let document = find(app, key.id).await?;
        let now = app.now().get();
        let hash = key.secret_hash();
        let holds = |from: u64| from == 0 || now < from;
        let known = document.as_ref().filter(|document| {
            let key = &document.value;
            let secret = key.secrets.iter().find(|secret| matches(&secret.hash, &hash));
            key.revoked_ms == 0
                && holds(key.expires_ms)
                && secret.is_some_and(|s| s.revoked_ms == 0 && holds(s.expires_ms))
        });
        let key = Arc::clone(known.ok_or_else(unauthenticated)?);
        let scopes = scopes(&key.value);
        let caller = Self { app: app.clone(), key, scopes, context };
        caller.count(1)?;
        Ok(caller)
    }
}

/// A wrong, an unknown, an expired and a revoked key are told alike.
fn unauthenticated() -> Problem {
    Problem::at(
        StatusCode::UNAUTHORIZED,
        "UNAUTHENTICATED",
        "Authorization",
        "send a valid API key as `Authorization: Bearer <key>`; this one is missing, unknown, expired or revoked",
    )
}

/// A key's document: as it is known here, or asked for when it may be newer than what is known.
async fn find(app: &App, id: &str) -> Result<Option<Arc<Versioned<ApiKey>>>, Problem> {
    let known = app.directory().read().api_keys.get(id).cloned();
    if known.is_some() {
        return Ok(known);
    }
    let request = ReadDocumentRequest {
        kind: kind::API_KEY.to_owned(),
        id: id.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    match app.cluster().read_document(request, KEY_WAIT).await {
        Ok(answer) => {
            let Some(document) = answer.document else { return Ok(None) };
            app.directory().note(&document);
            Ok(app.directory().read().api_keys.get(id).cloned())
        }
        Err(error) => Err(error.into()),
    }
}

fn scopes(key: &ApiKey) -> BTreeSet<Scope> {
    let Some(role) = Role::parse(&key.role) else { return BTreeSet::new() };
    let most = role.scopes().iter().copied();
    if key.scopes.is_empty() && role != Role::Integrator {
        return most.collect();
    }
    most.filter(|scope| key.scopes.iter().any(|word| word == scope.as_str())).collect()
}

impl Caller {
    /// Refuses what the key may not do.
    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("this key lacks the scope {scope}; ask its owner for it")))
    }

    /// The request.
    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }

    /// The key that was used.
    #[must_use]
    pub fn key(&self) -> &ApiKey {
        &self.key.value
    }

    /// The tenant; empty for the platform's operator.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.key.value.organisation
    }

    /// An outlet of the caller's; another tenant's is answered as one that does not exist.
    pub fn outlet(&self, outlet_id: &str) -> Result<Outlet, Problem> {
        let found = self.app.directory().read().outlet(outlet_id);
        let own = found.filter(|entry| self.reaches(entry));
        let entry = own.ok_or_else(|| {
            Problem::not_found("OUTLET_UNKNOWN", format!("there is no outlet {outlet_id:?}"))
        })?;
        self.count_outlet(entry.id())?;
        Ok(Outlet::new(self.app.clone(), entry, self.context.clone()))
    }

    /// The caller's outlet that issued a fiscal number, by the number's first two parts.
    pub fn outlet_of_number(&self, fiscal_number: &str) -> Result<Outlet, Problem> {
        let series = fiscus_ledger::seal::split_number(fiscal_number).map(|(series, _)| series);
        let found = series.and_then(|series| self.app.directory().read().outlet_of_series(series));
        let own = found.filter(|entry| self.reaches(entry));
        let entry = own.ok_or_else(|| invoice_unknown(fiscal_number))?;
        self.count_outlet(entry.id())?;
        Ok(Outlet::new(self.app.clone(), entry, self.context.clone()))
    }

    /// Every outlet that the caller reaches.
    #[must_use]
    pub fn outlets(&self) -> Vec<Outlet> {
        let tables = self.app.directory().read();
        let known = tables.outlets.keys().filter_map(|id| tables.outlet(id));
        let own = known.filter(|entry| self.reaches(entry));
        own.map(|entry| Outlet::new(self.app.clone(), entry, self.context.clone())).collect()
    }

    /// The tax manifest in force now; none before the first one is published.
    pub fn manifest(&self) -> Result<Arc<Manifest>, Problem> {
        let manifest = self.app.directory().read().manifest_at(self.app.now());
        manifest.ok_or_else(|| {
            Problem::new(
                StatusCode::CONFLICT,
                "NO_MANIFEST",
                "no tax manifest is in force yet; the operator publishes one",
            )
        })
    }

    /// A tax manifest by its version, in force or not.
    #[must_use]
    pub fn manifest_of(&self, version: &str) -> Option<Arc<Manifest>> {
        self.app.directory().read().manifest(version)
    }

    /// This machine's time, for what the client leaves open.
    #[must_use]
    pub fn now(&self) -> fiscus_ledger::time::UnixMs {
        self.app.now()
    }

    /// Counts requests of the key against its tier.
    pub fn count(&self, cost: u32) -> Result<(), Problem> {
        let who = Counted::Key(self.key.value.id.clone());
        self.take(&who, cost)
    }

    fn count_outlet(&self, outlet_id: &str) -> Result<(), Problem> {
        let who = Counted::Outlet(self.key.value.id.clone(), outlet_id.to_owned());
        self.take(&who, 1)
    }

    fn take(&self, who: &Counted, cost: u32) -> Result<(), Problem> {
        let tier = self.app.rates().tier(&self.key.value.tier);
        match self.app.rates().take(who, tier, cost) {
            Ok(_) => Ok(()),
            Err((standing, wait)) => Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                format!(
                    "this key may ask {} times a window and has; wait as Retry-After says",
                    standing.limit
                ),
            )
            .retry_after(wait)),
        }
    }

    /// The tenant's, and within what the key is limited to.
    fn reaches(&self, entry: &OutletEntry) -> bool {
        let key = &self.key.value;
        let tenant = entry.merchant.value.organisation == key.organisation;
        let listed =
            |list: &[String], word: &str| list.is_empty() || list.iter().any(|l| l == word);
        tenant && listed(&key.outlets, entry.id()) && listed(&key.regions, entry.region())
    }
}

pub(crate) fn invoice_unknown(fiscal_number: &str) -> Problem {
    let detail = format!("there is no invoice {fiscal_number:?}");
    Problem::not_found("INVOICE_UNKNOWN", detail)
}
