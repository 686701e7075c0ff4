//! Organisations, their regions and their merchants, as far as a caller reaches them.

use std::sync::Arc;

use axum::http::StatusCode;

use super::caller::Caller;
use super::registry::{Made, Once, check_room};
use super::scopes::{Role, Scope};
use crate::directory::Versioned;
use crate::directory::documents::{Merchant, Organisation, Region, kind};
use crate::http::{Precondition, Problem};

/// An organisation has at most so many regions,
const REGIONS_MAX: usize = 1_000;
/// and so many merchants.
const MERCHANTS_MAX: usize = 10_000;

/// What a merchant may change of itself.
#[derive(Debug, Clone, Default)]
pub struct MerchantChange {
    /// What it is called.
    pub name: Option<String>,
    /// Its number in the trade register.
    pub rccm: Option<String>,
    /// Where it is.
    pub address: Option<String>,
}

impl Caller {
    /// Whether the key is the platform's operator's.
    #[must_use]
    pub fn is_platform(&self) -> bool {
        self.role() == Some(Role::Platform) && self.organisation().is_empty()
    }

    /// An organisation: the caller's own, or any for the platform's operator.
    pub fn organization(&self, id: &str) -> Result<Arc<Versioned<Organisation>>, Problem> {
        let own = self.is_platform() || (id == self.organisation() && !id.is_empty());
        let found = self.app().directory().read().organisations.get(id).filter(|_| own).cloned();
        found.ok_or_else(|| {
            let detail = format!("there is no organisation {id:?}");
            Problem::not_found("ORGANIZATION_UNKNOWN", detail)
        })
    }

    /// The organisations that the caller reaches, by id.
    #[must_use]
    pub fn organizations(&self) -> Vec<(String, Arc<Versioned<Organisation>>)> {
        let tables = self.app().directory().read();
        let all = tables.organisations.iter();
        let own = all.filter(|(id, _)| self.is_platform() || *id == self.organisation());
        own.map(|(id, organisation)| (id.clone(), Arc::clone(organisation))).collect()
    }

    /// The tenant that a request names, or the caller's own when it names none.
    pub fn tenant(&self, named: Option<&str>) -> Result<String, Problem> {
        match named {
            None if self.is_platform() => Ok(String::new()),
            None => self.own_tenant().map(str::to_owned),
            Some(id) => self.organization(id).map(|_| id.to_owned()),
        }
    }

    /// Makes a tenant; the platform's operator does.
    pub async fn make_organization(
        &self,
        id: Option<&str>,
        name: &str,
        once: &Once,
    ) -> Result<Made, Problem> {
        self.may(Scope::Platform)?;
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::ORGANISATION, &made).await?;
            return Ok(Made::before(made));
        }
        let id = id.map_or_else(|| format!("org-{}", once.made_id("")), str::to_owned);
        let organisation = Organisation { name: name.to_owned(), created_ms: self.now().get() };
        let change = self.change(&id, "organization.create", "organization", &id);
        let change = change.detail("name", name).put(&id, 0, &organisation).once(once);
        change.make(|| exists("ORGANIZATION_EXISTS", "an organisation with this id exists")).await
    }

    /// Renames a tenant; its owner and the platform's operator do.
    pub async fn rename_organization(
        &self,
        id: &str,
        name: &str,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        self.may_all(Scope::RegistryWrite)?;
        let mut attempt = 0;
        loop {
            let found = self.organization(id)?;
            if !self.is_platform() && self.role() != Some(Role::Owner) {
                let detail = "only an owner's key changes the organisation";
                return Err(Problem::forbidden(detail));
            }
            precondition.check(&found.version.to_string())?;
            let changed = Organisation { name: name.to_owned(), ..found.value.clone() };
            if changed == found.value {
                return Ok(());
            }
            let change = self.change(id, "organization.change", "organization", id);
            let change = change.detail("name", name).put(id, found.version, &changed);
            attempt += 1;
            match change.commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// A region of the caller's organisation.
    pub fn region(&self, region_id: &str) -> Result<Arc<Versioned<Region>>, Problem> {
        let id = format!("{}/{region_id}", self.organisation());
        let found = self.app().directory().read().regions.get(&id).cloned();
        let own = found.filter(|region| self.reaches_region(&region.value.region_id));
        own.ok_or_else(|| {
            Problem::not_found("REGION_UNKNOWN", format!("there is no region {region_id:?}"))
        })
    }

    /// The regions that the caller reaches.
    #[must_use]
    pub fn regions(&self) -> Vec<Arc<Versioned<Region>>> {
        let tables = self.app().directory().read();
        let first = format!("{}/", self.organisation());
        let own =
            tables.regions.range(first.clone()..).take_while(|(id, _)| id.starts_with(&first));
        let reached = own.filter(|(_, region)| self.reaches_region(&region.value.region_id));
        reached.map(|(_, region)| Arc::clone(region)).collect()
    }

    fn reaches_region(&self, region_id: &str) -> bool {
        let regions = &self.key().regions;
        regions.is_empty() || regions.iter().any(|known| known == region_id)
    }

    /// Makes a region of the caller's organisation.
    pub async fn make_region(
        &self,
        region_id: &str,
        name: &str,
        once: &Once,
    ) -> Result<Made, Problem> {
        self.may_all(Scope::RegistryWrite)?;
        let organisation = self.own_tenant()?;
        let id = format!("{organisation}/{region_id}");
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::REGION, &id).await?;
            return Ok(Made::before(made));
        }
        check_room(self.regions().len(), REGIONS_MAX, "regions in the organisation")?;
        let region = Region {
            organisation: organisation.to_owned(),
            region_id: region_id.to_owned(),
            name: name.to_owned(),
            created_ms: self.now().get(),
        };
        let change = self.change(organisation, "region.create", "region", region_id);
        let change = change.detail("name", name).put(&id, 0, &region).once(once);
        change.make(|| exists("REGION_EXISTS", "a region with this id exists")).await
    }

    /// Renames a region.
    pub async fn rename_region(
        &self,
        region_id: &str,
        name: &str,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        self.may_all(Scope::RegistryWrite)?;
        let organisation = self.own_tenant()?;
        let id = format!("{organisation}/{region_id}");
        let mut attempt = 0;
        loop {
            let found = self.region(region_id)?;
            precondition.check(&found.version.to_string())?;
            let changed = Region { name: name.to_owned(), ..found.value.clone() };
            if changed == found.value {
                return Ok(());
            }
            let change = self.change(organisation, "region.change", "region", region_id);
            let change = change.detail("name", name).put(&id, found.version, &changed);
            attempt += 1;
            match change.commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// A merchant of the caller's.
    pub fn merchant(&self, nif: &str) -> Result<Arc<Versioned<Merchant>>, Problem> {
        let tables = self.app().directory().read();
        let found = tables.merchants.get(nif).cloned();
        drop(tables);
        found.filter(|merchant| self.reaches_merchant(&merchant.value)).ok_or_else(|| {
            Problem::not_found("MERCHANT_UNKNOWN", format!("there is no merchant {nif:?}"))
        })
    }

    /// The merchants that the caller reaches, by tax number.
    #[must_use]
    pub fn merchants(&self) -> Vec<Arc<Versioned<Merchant>>> {
        let all: Vec<_> = self.app().directory().read().merchants.values().cloned().collect();
        all.into_iter().filter(|merchant| self.reaches_merchant(&merchant.value)).collect()
    }

    /// The tenant's; to a key that is limited, those of its outlets.
    fn reaches_merchant(&self, merchant: &Merchant) -> bool {
        if self.organisation().is_empty() || merchant.organisation != self.organisation() {
            return false;
        }
        if !self.is_limited() {
            return true;
        }
        let tables = self.app().directory().read();
        let mut its = tables.outlets.values().filter(|o| *o.value.merchant_nif == *merchant.nif);
        its.any(|fact| {
            tables.outlet(&fact.value.outlet_id).is_some_and(|entry| self.reaches(&entry))
        })
    }

    /// Makes a merchant. Its tax number is nobody else's in the whole cluster.
    pub async fn make_merchant(&self, merchant: Merchant, once: &Once) -> Result<Made, Problem> {
        self.may_all(Scope::RegistryWrite)?;
        let organisation = self.own_tenant()?.to_owned();
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::MERCHANT, &made).await?;
            return Ok(Made::before(made));
        }
        check_room(self.merchants().len(), MERCHANTS_MAX, "merchants in the organisation")?;
        let created_ms = self.now().get();
        let merchant = Merchant { organisation: organisation.clone(), created_ms, ..merchant };
        let change = self.change(&organisation, "merchant.create", "merchant", &merchant.nif);
        let change = change.detail("name", &merchant.name).put(&merchant.nif, 0, &merchant);
        let taken = || exists("MERCHANT_EXISTS", "a merchant with this tax number is registered");
        change.once(once).make(taken).await
    }

    /// Changes a merchant of the caller's.
    pub async fn change_merchant(
        &self,
        nif: &str,
        wanted: &MerchantChange,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        self.may_all(Scope::RegistryWrite)?;
        let mut attempt = 0;
        loop {
            let found = self.merchant(nif)?;
            precondition.check(&found.version.to_string())?;
            let mut changed = found.value.clone();
            let mut change = self.change(self.organisation(), "merchant.change", "merchant", nif);
            for (name, field, value) in [
                ("name", &mut changed.name, &wanted.name),
                ("rccm", &mut changed.rccm, &wanted.rccm),
                ("address", &mut changed.address, &wanted.address),
            ] {
                if let Some(value) = value.as_ref().filter(|value| *value != field) {
                    field.clone_from(value);
                    change = change.detail(name, value);
                }
            }
            if changed == found.value {
                return Ok(());
            }
            attempt += 1;
            match change.put(nif, found.version, &changed).commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// The caller's organisation; the platform's operator has none.
    pub(super) fn own_tenant(&self) -> Result<&str, Problem> {
        let organisation = self.organisation();
        if organisation.is_empty() {
            let detail = "this key belongs to no organisation; use a key of the organisation";
            return Err(Problem::forbidden(detail));
        }
        Ok(organisation)
    }
}

pub(super) fn exists(code: &'static str, detail: &str) -> Problem {
    let detail = format!("{detail}; nothing was done");
    Problem::new(StatusCode::CONFLICT, code, detail)
}
