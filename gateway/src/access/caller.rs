//! Whoever holds a key, for one request.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use fiscus_ledger::manifest::Manifest;
use fiscus_proto::client::ReadError;
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};

use super::app::App;
use super::keys::{KeyText, matches};
use super::outlet::Outlet;
use super::places::Place;
use super::rates::{Counted, Told};
use super::scopes::{Role, Scope};
use super::strangers::Look;
use super::visitors::visitor;
use crate::directory::documents::{ApiKey, KeySecret, kind};
use crate::directory::{OutletEntry, Versioned};
use crate::http::list::AsOf;
use crate::http::{Problem, RequestContext};

/// A key that is not known here yet is asked for within this time, and so long a gateway that has just begun is waited
/// for.
const KEY_WAIT: Duration = Duration::from_secs(2);

/// An authenticated caller. Everything that a handler may reach, it reaches through this.
#[derive(Debug, Clone)]
pub struct Caller {
    app: App,
    key: Arc<Versioned<ApiKey>>,
    seed: Seed,
    scopes: BTreeSet<Scope>,
    context: RequestContext,
    told: Told,
    /// Given back when the request has been served.
    _place: Arc<Place>,
}

/// What only the key's holder can make secrets from; it is never printed.
#[derive(Clone)]
struct Seed(blake3::Hash);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, app).await;
        let context = context.unwrap_or_else(|never| match never {});
        let key = authenticate(parts, app).await?;
        let seed = key_text(&parts.headers).map(|text| Seed(text.seed()));
        let seed = seed.ok_or_else(unauthenticated)?;
        let place = app.admit_organisation(&key.value.organisation).ok_or_else(overloaded)?;
        let scopes = scopes(&key.value);
        let told = parts.extensions.get::<Told>().cloned().unwrap_or_default();
        let _place = Arc::new(place);
        let caller = Self { app: app.clone(), key, seed, scopes, context, told, _place };
        caller.count(1)?;
        Ok(caller)
    }
}

/// The key that a request carries. A wrong, an unknown, an expired and a revoked one are told alike.
async fn authenticate(parts: &Parts, app: &App) -> Result<Arc<Versioned<ApiKey>>, Problem> {
    let key = key_text(&parts.headers).ok_or_else(unauthenticated)?;
    directory_known(app).await?;
    let hash = key.secret_hash();
    let known = app.directory().read().api_keys.get(key.id).cloned();
    let is_over = known.as_ref().is_some_and(|known| never_opens(&known.value, &hash));
    if let Some(known) = known.filter(|known| opens(&known.value, &hash, app.now().get())) {
        return Ok(known);
    }
    // Only keys that fail are counted: whoever shares an address with somebody who guesses is served on.
    count_failure(parts, app)?;
    if is_over {
        return Err(unauthenticated());
    }
    ask_for(app, key.id, &hash).await?.ok_or_else(unauthenticated)
}

/// Whether nothing that this gateway has not heard of yet can make a secret valid: it, or the key, was in force and
/// is not any more. A secret that is not known may be that of a rotation at another gateway, a moment ago.
fn never_opens(key: &ApiKey, hash: &blake3::Hash) -> bool {
    key.revoked_ms != 0 || key.secrets.iter().any(|secret| matches(&secret.hash, hash))
}

/// A gateway that has just begun has not heard of everything: what it does not know may well exist, and nothing may
/// be refused for it.
async fn directory_known(app: &App) -> Result<(), Problem> {
    let directory = app.directory();
    if directory.is_loaded() || directory.wait_until(KEY_WAIT, |_| directory.is_loaded()).await {
        return Ok(());
    }
    let detail = "the directory is not known yet".to_owned();
    Err(ReadError::Unavailable { detail }.into())
}

/// The key of the one `Authorization` header that there may be.
fn key_text(headers: &HeaderMap) -> Option<KeyText<'_>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    KeyText::parse(key.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
}

/// Whether a secret's hash is one of the key's that are in force. Takes as long for a wrong one.
fn opens(key: &ApiKey, hash: &blake3::Hash, now: u64) -> bool {
    let holds = |until: u64| until == 0 || now < until;
    let in_force = |secret: &KeySecret| secret.revoked_ms == 0 && holds(secret.expires_ms);
    let fits = key.secrets.iter().filter(|secret| matches(&secret.hash, hash));
    let fits = fits.filter(|secret| in_force(secret)).count() > 0;
    fits && key.revoked_ms == 0 && holds(key.expires_ms)
}

fn count_failure(parts: &Parts, app: &App) -> Result<(), Problem> {
    let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
        return Ok(());
    };
    let address = visitor(peer.ip(), &parts.headers, &app.config().trusted_proxies);
    let counted = app.rates().take(&Counted::Failures(address), app.rates().failures_tier(), 1);
    counted.map(|_| ()).map_err(|(_, wait)| {
        let detail =
            "this address has sent too many wrong keys; check the key and wait as Retry-After says";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", detail).retry_after(wait)
    })
}

fn unauthenticated() -> Problem {
    Problem::at(
        StatusCode::UNAUTHORIZED,
        "UNAUTHENTICATED",
        "Authorization",
        "send a valid API key as `Authorization: Bearer <key>`; this one is missing, unknown, expired or revoked",
    )
}

fn overloaded() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "OVERLOADED",
        "this gateway serves as many requests of your organisation as it may; nothing was done; send the request \
         again",
    )
    .retry_after(Duration::from_secs(1))
}

/// A key or a secret that is not known here: it may be newer than what this gateway has heard.
async fn ask_for(
    app: &App,
    id: &str,
    hash: &blake3::Hash,
) -> Result<Option<Arc<Versioned<ApiKey>>>, Problem> {
    // The hash is of the id, too.
    let text = hash.to_hex();
    match app.strangers().look(&text) {
        Look::Ask => {}
        Look::Unknown => return Ok(None),
        Look::Later => {
            let detail = "too many unknown keys are being sent; send the request again";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", detail);
            return Err(problem.retry_after(Duration::from_secs(1)));
        }
    }
    let request = ReadDocumentRequest {
        kind: kind::API_KEY.to_owned(),
        id: id.to_owned(),
        consistency: Consistency::Linearizable.into(),
    };
    let answer = app.cluster().read_document(request, KEY_WAIT).await?;
    if let Some(document) = answer.document {
        app.directory().note(&document);
    }
    let known = app.directory().read().api_keys.get(id).cloned();
    let found = known.filter(|key| opens(&key.value, hash, app.now().get()));
    if found.is_none() {
        app.strangers().remember(&text);
    }
    Ok(found)
}

/// What a key may do: its role's, or less.
pub(super) fn scopes(key: &ApiKey) -> BTreeSet<Scope> {
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

    /// Refuses what concerns the whole organisation to a key that is limited to a part of it.
    pub fn may_all(&self, scope: Scope) -> Result<(), Problem> {
        self.may(scope)?;
        if !self.is_limited() {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "KEY_LIMITED",
            "this key is limited to outlets or regions, and this concerns the whole organisation",
        ))
    }

    /// Whether the key is limited to some outlets or regions.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.key().outlets.is_empty() || !self.key().regions.is_empty()
    }

    /// Who uses the key; none when this gateway does not know the role, which then may nothing.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        Role::parse(&self.key().role)
    }

    /// What the key may do.
    #[must_use]
    pub fn scopes(&self) -> &BTreeSet<Scope> {
        &self.scopes
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// The position that the directory is known up to here.
    #[must_use]
    pub fn directory_as_of(&self) -> AsOf {
        AsOf::from(&self.app.directory().as_of())
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

    /// What only the key's holder can make secrets from.
    pub(super) fn seed(&self) -> &blake3::Hash {
        &self.seed.0
    }

    /// The tenant; empty for the platform's operator.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.key.value.organisation
    }

    /// An outlet of the caller's; another tenant's is answered as one that does not exist.
    pub fn outlet(&self, outlet_id: &str) -> Result<Outlet, Problem> {
        let outlet = self.reach_outlet(outlet_id)?;
        self.count_outlet(outlet.id())?;
        Ok(outlet)
    }

    /// The same, of an outlet that a body names.
    pub fn outlet_in_body(&self, outlet_id: &str) -> Result<Outlet, Problem> {
        self.outlet(outlet_id).map_err(|problem| problem.about("/outlet_id"))
    }

    /// The same within a request that has been counted.
    pub(super) fn reach_outlet(&self, outlet_id: &str) -> Result<Outlet, Problem> {
        let found = self.app.directory().read().outlet(outlet_id);
        let own = found.filter(|entry| self.reaches(entry));
        let entry = own.ok_or_else(|| {
            Problem::not_found("OUTLET_UNKNOWN", format!("there is no outlet {outlet_id:?}"))
        })?;
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

    /// The ids of every outlet that the caller reaches.
    pub(super) fn outlet_ids(&self) -> BTreeSet<String> {
        let tables = self.app.directory().read();
        let known = tables.outlets.keys().filter_map(|id| tables.outlet(id));
        known.filter(|entry| self.reaches(entry)).map(|entry| entry.id().to_owned()).collect()
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
        let (standing, wait) = match self.app.rates().take(who, tier, cost) {
            Ok(standing) => {
                standing.into_iter().for_each(|standing| self.told.note(standing));
                return Ok(());
            }
            Err(refused) => refused,
        };
        self.told.note(standing);
        let detail = format!(
            "this key may ask {} times a window and has; wait as Retry-After says",
            standing.limit
        );
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", detail);
        Err(problem.retry_after(wait))
    }

    /// The tenant's, and within what the key is limited to.
    pub(super) fn reaches(&self, entry: &OutletEntry) -> bool {
        let key = &self.key.value;
        // The platform's operator, who has no tenant, reaches no outlet, nor one that belongs to nobody.
        let tenant =
            !key.organisation.is_empty() && entry.merchant.value.organisation == key.organisation;
        let listed =
            |list: &[String], word: &str| list.is_empty() || list.iter().any(|l| l == word);
        tenant && listed(&key.outlets, entry.id()) && listed(&key.regions, entry.region())
    }
}

pub(crate) fn invoice_unknown(fiscal_number: &str) -> Problem {
    let detail = format!("there is no invoice {fiscal_number:?}");
    Problem::not_found("INVOICE_UNKNOWN", detail)
}
