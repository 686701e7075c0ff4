//! API keys of a tenant, as far as a caller manages them.
//!
//! Invariants: no key makes or renews one that may do more than itself; a secret is seen once, by whoever made it;
//! an organisation that has an owner's key keeps one.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;

use super::caller::{Caller, scopes};
use super::keys::{ID_BYTES, SECRET_BYTES, new_id, new_secret};
use super::registry::{Change, Made, Once};
use super::scopes::{Role, Scope};
use crate::directory::Versioned;
use crate::directory::documents::{ApiKey, KeySecret, kind};
use crate::http::{Fields, Precondition, Problem};

/// So many secrets of a key are in force at once: the old and the new one of a rotation.
pub const SECRETS_MAX: usize = 2;
/// An organisation has at most so many keys that are not revoked.
pub const KEYS_MAX: usize = 10_000;
/// A key is limited to at most so many outlets, and so many regions.
pub const LIMITED_TO_MAX: usize = 1_000;
/// The tiers, the lowest first.
pub const TIERS: [&str; 3] = ["growth", "professional", "enterprise"];

/// A key that is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The tenant, where the platform's operator makes it.
    pub organization: Option<String>,
    /// What it is called.
    pub name: String,
    /// Who uses it.
    pub role: Role,
    /// Less than what the role may do.
    pub scopes: Vec<Scope>,
    /// Only these outlets.
    pub outlets: Vec<String>,
    /// Only these regions.
    pub regions: Vec<String>,
    /// How often it may ask; as often as the caller when it is left open.
    pub tier: Option<String>,
    /// Until when it is valid; for ever when it is 0.
    pub expires_ms: u64,
}

/// The text of a new secret. It is nowhere else.
pub struct SecretText(String);

impl SecretText {
    /// The key as its user will send it.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// How high a tier is; an unknown one is the lowest.
fn height(tier: &str) -> usize {
    TIERS.iter().position(|known| *known == tier).unwrap_or(0)
}

/// Whether a key opens anything at a time.
#[must_use]
pub fn is_in_force(key: &ApiKey, now: u64) -> bool {
    key.revoked_ms == 0
        && (key.expires_ms == 0 || now < key.expires_ms)
        && key.secrets.iter().any(|secret| is_secret_in_force(secret, now))
}

/// Whether a secret opens its key at a time.
#[must_use]
pub fn is_secret_in_force(secret: &KeySecret, now: u64) -> bool {
    secret.revoked_ms == 0 && (secret.expires_ms == 0 || now < secret.expires_ms)
}

/// What a key may do.
#[must_use]
pub fn scopes_of(key: &ApiKey) -> BTreeSet<Scope> {
    scopes(key)
}

impl Caller {
    /// A key that the caller manages; all others are answered as those that do not exist.
    pub fn api_key(&self, id: &str) -> Result<Arc<Versioned<ApiKey>>, Problem> {
        let found = self.app().directory().read().api_keys.get(id).cloned();
        found.filter(|key| self.manages(&key.value)).ok_or_else(|| {
            Problem::not_found("API_KEY_UNKNOWN", format!("there is no API key {id:?}"))
        })
    }

    /// The keys of a tenant that the caller manages, by id.
    #[must_use]
    pub fn api_keys(&self, organization: &str) -> Vec<(String, Arc<Versioned<ApiKey>>)> {
        let tables = self.app().directory().read();
        let its = tables.api_keys.iter().filter(|(_, key)| key.value.organisation == organization);
        let own = its.filter(|(_, key)| self.manages(&key.value));
        own.map(|(id, key)| (id.clone(), Arc::clone(key))).collect()
    }

    /// Itself, and of its tenant what may do no more than itself.
    fn manages(&self, key: &ApiKey) -> bool {
        if self.is_platform() || key.id == self.key().id {
            return true;
        }
        let tenant = !key.organisation.is_empty() && key.organisation == self.organisation();
        tenant && self.exceeding(key).is_none()
    }

    /// In what a key may do more than the caller: none when it does not.
    fn exceeding(&self, key: &ApiKey) -> Option<(&'static str, &'static str)> {
        let own = self.key();
        let role = Role::parse(&key.role);
        let may_have = match self.role() {
            Some(Role::Owner) => role.is_some_and(|role| role != Role::Platform),
            Some(Role::Manager) => {
                role.is_some_and(|role| !matches!(role, Role::Owner | Role::Platform))
            }
            _ => role
                .is_some_and(|role| !matches!(role, Role::Owner | Role::Manager | Role::Platform)),
        };
        if !may_have {
            return Some(("/role", "no key makes one of a higher role"));
        }
        if !scopes(key).is_subset(self.scopes()) {
            return Some(("/scopes", "no key makes one that may do more than itself"));
        }
        let within = |part: &[String], own: &[String]| {
            own.is_empty() || (!part.is_empty() && part.iter().all(|one| own.contains(one)))
        };
        if !within(&key.outlets, &own.outlets) {
            return Some((
                "/outlets",
                "a key that is limited to outlets makes keys of some of them",
            ));
        }
        if !within(&key.regions, &own.regions) {
            return Some((
                "/regions",
                "a key that is limited to regions makes keys of some of them",
            ));
        }
        None
    }

    /// Makes a key. Its text is in the answer, and never again: a repetition gets none.
    pub async fn make_api_key(
        &self,
        new: &NewKey,
        once: &Once,
    ) -> Result<(Made, Option<SecretText>), Problem> {
        self.may(Scope::KeysWrite)?;
        let organisation = self.tenant(new.organization.as_deref())?;
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::API_KEY, &made).await?;
            return Ok((Made::before(made), None));
        }
        let id = new_id(&self.app().random::<ID_BYTES>());
        let (secret, text) = self.new_secret(&id);
        let tier = new.tier.clone().unwrap_or_else(|| self.key().tier.clone());
        let key = ApiKey {
            id: id.clone(),
            name: new.name.clone(),
            organisation: organisation.clone(),
            role: new.role.as_str().to_owned(),
            scopes: new.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            outlets: new.outlets.clone(),
            regions: new.regions.clone(),
            tier,
            secrets: vec![secret],
            revoked_ms: 0,
            expires_ms: new.expires_ms,
            created_ms: self.now().get(),
        };
        self.check_new_key(&key)?;
        let change = self.key_change("api_key.create", &key);
        let change = change.detail("role", &key.role).detail("name", &key.name);
        let made = change.put(&id, 0, &key).once(once).commit().await?;
        let text = made.new.then_some(text);
        Ok((made, text))
    }

    /// Whether the caller may make such a key, and whether it names what there is.
    fn check_new_key(&self, key: &ApiKey) -> Result<(), Problem> {
        if self.is_platform() {
            let fits = match Role::parse(&key.role) {
                Some(Role::Platform) => key.organisation.is_empty(),
                Some(Role::Owner) => !key.organisation.is_empty(),
                _ => false,
            };
            if !fits {
                let detail = "the operator makes an organisation's first owner key, and keys of its own; the owner \
                              makes all others";
                return Err(too_strong("/role", detail));
            }
        } else if let Some((pointer, detail)) = self.exceeding(key) {
            return Err(too_strong(pointer, detail));
        } else if height(&key.tier) > height(&self.key().tier) {
            return Err(too_strong("/tier", "no key makes one of a higher tier"));
        }
        let own = self.key();
        if own.expires_ms > 0 && (key.expires_ms == 0 || key.expires_ms > own.expires_ms) {
            return Err(too_strong("/expires_at", "no key makes one that outlives it"));
        }
        let mut fields = Fields::default();
        if key.expires_ms > 0 && key.expires_ms <= self.now().get() {
            fields.refuse("/expires_at", "FIELD_INVALID", "must be in the future");
        }
        for (at, outlet) in key.outlets.iter().enumerate() {
            if self.reach_outlet(outlet).is_err() {
                let detail = format!("there is no outlet {outlet:?}");
                fields.refuse(&format!("/outlets/{at}"), "OUTLET_UNKNOWN", detail);
            }
        }
        for (at, region) in key.regions.iter().enumerate() {
            if self.region(region).is_err() {
                let detail = format!("there is no region {region:?}");
                fields.refuse(&format!("/regions/{at}"), "REGION_UNKNOWN", detail);
            }
        }
        fields.finish()?;
        let tables = self.app().directory().read();
        let its = tables.api_keys.values().filter(|known| {
            known.value.organisation == key.organisation && known.value.revoked_ms == 0
        });
        if its.count() >= KEYS_MAX {
            let detail = format!(
                "an organisation has at most {KEYS_MAX} keys; revoke those that nobody uses"
            );
            return Err(Problem::new(StatusCode::CONFLICT, "API_KEYS_FULL", detail));
        }
        Ok(())
    }

    /// Changes a key's name or lowers its tier.
    pub async fn change_api_key(
        &self,
        id: &str,
        name: Option<&str>,
        tier: Option<&str>,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        self.may(Scope::KeysWrite)?;
        let mut attempt = 0;
        loop {
            let found = self.api_key(id)?;
            precondition.check(&found.version.to_string())?;
            let mut changed = found.value.clone();
            if let Some(name) = name {
                name.clone_into(&mut changed.name);
            }
            if let Some(tier) = tier {
                let most = height(&self.key().tier).max(height(&changed.tier));
                let most = if self.is_platform() { TIERS.len() } else { most };
                if height(tier) > most
                    || (id == self.key().id && height(tier) > height(&changed.tier))
                {
                    return Err(too_strong("/tier", "no key raises a tier beyond its own"));
                }
                tier.clone_into(&mut changed.tier);
            }
            if changed == found.value {
                return Ok(());
            }
            let change = self.key_change("api_key.change", &changed);
            let change = change.detail("name", &changed.name).detail("tier", &changed.tier);
            attempt += 1;
            match change.put(id, found.version, &changed).commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// Gives a key a second secret. The first stays in force for so many hours, or until it is revoked.
    pub async fn rotate_api_key(
        &self,
        id: &str,
        overlap_hours: Option<u64>,
        once: &Once,
    ) -> Result<(Made, Option<SecretText>), Problem> {
        self.may(Scope::KeysWrite)?;
        let found = self.api_key(id)?;
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::API_KEY, id).await?;
            return Ok((Made::before(made), None));
        }
        let now = self.now().get();
        if found.value.revoked_ms != 0 {
            return Err(revoked());
        }
        let mut changed = found.value.clone();
        // Secrets that open nothing any more are of no use to anybody.
        changed.secrets.retain(|secret| is_secret_in_force(secret, now));
        if changed.secrets.len() >= SECRETS_MAX {
            let detail = "this key has two secrets in force; revoke one of them first";
            return Err(Problem::new(StatusCode::CONFLICT, "KEY_SECRETS_FULL", detail));
        }
        if let Some(hours) = overlap_hours {
            let end = now + hours * 60 * 60 * 1_000;
            for secret in &mut changed.secrets {
                secret.expires_ms =
                    if secret.expires_ms == 0 { end } else { end.min(secret.expires_ms) };
            }
        }
        let (secret, text) = self.new_secret(id);
        let change = self.key_change("api_key.rotate", &changed).detail("secret", &secret.id);
        changed.secrets.push(secret);
        let made = change.put(id, found.version, &changed).once(once).commit().await?;
        let text = made.new.then_some(text);
        Ok((made, text))
    }

    /// Revokes one secret of a key at once; the other stays.
    pub async fn revoke_secret(&self, id: &str, secret_id: &str) -> Result<(), Problem> {
        self.may(Scope::KeysWrite)?;
        let mut attempt = 0;
        loop {
            let found = self.api_key(id)?;
            let now = self.now().get();
            let mut changed = found.value.clone();
            let secret = changed.secrets.iter_mut().find(|secret| secret.id == secret_id);
            let secret = secret.ok_or_else(|| {
                let detail = format!("this key has no secret {secret_id:?}");
                Problem::not_found("SECRET_UNKNOWN", detail)
            })?;
            if !is_secret_in_force(secret, now) {
                return Ok(());
            }
            secret.revoked_ms = now;
            if !changed.secrets.iter().any(|secret| is_secret_in_force(secret, now)) {
                let detail = "this is the key's last secret; revoke the key itself";
                return Err(Problem::new(StatusCode::CONFLICT, "LAST_SECRET", detail));
            }
            let change = self.key_change("api_key.revoke_secret", &changed);
            let change = change.detail("secret", secret_id);
            attempt += 1;
            match change.put(id, found.version, &changed).commit().await {
                Err(problem) if Precondition::default().lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// Revokes a key at once, for ever.
    pub async fn revoke_api_key(&self, id: &str) -> Result<(), Problem> {
        self.may(Scope::KeysWrite)?;
        let mut attempt = 0;
        loop {
            let found = self.api_key(id)?;
            if found.value.revoked_ms != 0 {
                return Ok(());
            }
            let mut changed = found.value.clone();
            changed.revoked_ms = self.now().get();
            let change = self.key_change("api_key.revoke", &changed).detail("name", &changed.name);
            let change = self.keep_an_owner(change, &found.value)?;
            attempt += 1;
            match change.put(id, found.version, &changed).commit().await {
                Err(problem) if Precondition::default().lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// Refuses to revoke the last owner's key. Two such revocations at once meet at the organisation's document,
    /// which both write as it is: the second one sees the first.
    fn keep_an_owner<'c>(&self, change: Change<'c>, key: &ApiKey) -> Result<Change<'c>, Problem> {
        let is_owner = |key: &ApiKey| Role::parse(&key.role) == Some(Role::Owner);
        let now = self.now().get();
        if self.is_platform() || !is_owner(key) || !is_in_force(key, now) {
            return Ok(change);
        }
        let tables = self.app().directory().read();
        let mut others = tables.api_keys.values().filter(|other| {
            other.value.organisation == key.organisation && other.value.id != key.id
        });
        if !others.any(|other| is_owner(&other.value) && is_in_force(&other.value, now)) {
            let detail = "this is the organisation's last owner key; make another one first";
            return Err(Problem::new(StatusCode::CONFLICT, "LAST_OWNER_KEY", detail));
        }
        Ok(match tables.organisations.get(&key.organisation) {
            Some(known) => change.put(&key.organisation, known.version, &known.value),
            None => change,
        })
    }

    /// A change of a key is told in its tenant's log; one that is limited to one outlet concerns that outlet.
    fn key_change(&self, action: &'static str, key: &ApiKey) -> Change<'_> {
        let change = self.change(&key.organisation, action, "api_key", &key.id);
        match key.outlets.as_slice() {
            [outlet] => change.outlet(outlet),
            _ => change,
        }
    }

    fn new_secret(&self, key_id: &str) -> (KeySecret, SecretText) {
        let (text, hash) = new_secret(key_id, &self.app().random::<SECRET_BYTES>());
        let id = fiscus_ledger::hash::hex(&self.app().random::<4>());
        let created_ms = self.now().get();
        let secret = KeySecret { id, hash, created_ms, expires_ms: 0, revoked_ms: 0 };
        (secret, SecretText(text))
    }
}

fn too_strong(pointer: &str, detail: &str) -> Problem {
    Problem::at(StatusCode::FORBIDDEN, "KEY_TOO_STRONG", pointer, detail)
}

fn revoked() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "KEY_REVOKED",
        "a revoked key stays revoked; make another one",
    )
}
