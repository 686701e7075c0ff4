//! Outlets as they are registered and changed. Registrations and their status have commands of their own in the
//! directory, which take nothing else with them; what else is known of an outlet is a document beside them.
//!
//! ```text
//! asked: the log's line, and what the key is for ─► the command ─► done
//! ```
//!
//! The line comes first: no change is without one, whenever a gateway is killed. Whoever repeats a request that was
//! cut finds what it asked for, and from which version, and goes on there.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::facts::{Environment, Fact, FactKind, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::state::outlet::Outlet as Counters;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, Refusal, command};
use fiscus_proto::ledger::{AsOf, Consistency, ReadOutletRequest};
use tokio::time::{Instant, sleep};

use super::caller::Caller;
use super::outlet::Outlet;
use super::registry::{Made, Once, check_room};
use super::scopes::Scope;
use super::tenants::exists;
use crate::directory::documents::{Idempotency, OutletProfile, kind};
use crate::directory::{OutletEntry, Versioned};
use crate::http::{Precondition, Problem};

/// An outlet's group has heard of a change within this time.
const READY_WAIT: Duration = Duration::from_secs(5);
/// An organisation has at most so many outlets, those that are closed included.
const OUTLETS_MAX: usize = 100_000;
/// How a request under a key says from which version it changes an outlet, until it is done. No id begins so.
const FROM_VERSION: char = '@';
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(200);

/// An outlet that is to be.
#[derive(Debug, Clone)]
pub struct NewOutlet {
    /// Its id; one is made when it is left open.
    pub outlet_id: Option<String>,
    /// Its merchant.
    pub merchant_nif: String,
    /// First part of its fiscal numbers.
    pub prefix: String,
    /// Second part of its fiscal numbers.
    pub code: String,
    /// Whether its seals are real.
    pub environment: Environment,
    /// Its region; none when empty.
    pub region: String,
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its telephone.
    pub phone: String,
}

/// What may change of an outlet.
#[derive(Debug, Clone, Default)]
pub struct OutletChange {
    /// What it is called.
    pub name: Option<String>,
    /// Where it is.
    pub address: Option<String>,
    /// Its telephone.
    pub phone: Option<String>,
    /// The region that it belongs to; none when empty.
    pub region: Option<String>,
}

impl OutletEntry {
    /// The versions of its two documents.
    #[must_use]
    pub fn version(&self) -> String {
        let profile = self.profile.as_ref().map_or(0, |profile| profile.version);
        format!("{}-{profile}", self.fact.version)
    }
}

/// What may be changed of an outlet's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutletSwitch {
    /// Whether it sells.
    Status(OutletStatus),
    /// Who seals for it.
    SealedBy(SigningMode),
}

impl OutletSwitch {
    /// Whether an outlet is so already.
    fn is_in(self, fact: &OutletFact) -> bool {
        match self {
            Self::Status(status) => fact.status == status,
            Self::SealedBy(mode) => fact.signing_mode == mode,
        }
    }

    /// An outlet as it shall be.
    fn of(self, fact: &OutletFact) -> OutletFact {
        match self {
            Self::Status(status) => OutletFact { status, ..fact.clone() },
            Self::SealedBy(signing_mode) => OutletFact { signing_mode, ..fact.clone() },
        }
    }

    /// The name in the log of administration.
    fn action(self) -> &'static str {
        match self {
            Self::Status(OutletStatus::Active) => "outlet.resume",
            Self::Status(OutletStatus::Suspended) => "outlet.suspend",
            Self::Status(OutletStatus::Closed) => "outlet.close",
            Self::SealedBy(SigningMode::Cluster) => "outlet.seal_in_cluster",
            Self::SealedBy(SigningMode::Def) => "outlet.seal_by_device",
        }
    }
}

impl Caller {
    /// What is known of the outlets that the caller reaches, by id.
    #[must_use]
    pub fn outlet_entries(&self) -> Vec<OutletEntry> {
        let tables = self.app().directory().read();
        let known = tables.outlets.keys().filter_map(|id| tables.outlet(id));
        known.filter(|entry| self.reaches(entry)).collect()
    }

    /// Registers an outlet. When this returns, it can seal.
    pub async fn make_outlet(&self, new: NewOutlet, once: &Once) -> Result<Made, Problem> {
        self.may_all(Scope::RegistryWrite)?;
        let organisation = self.own_tenant()?.to_owned();
        let asked = self.made_before(once).await?;
        let id = asked.clone().or_else(|| new.outlet_id.clone());
        let id = id.unwrap_or_else(|| format!("outlet-{}", once.made_id(&organisation)));
        let fact = OutletFact {
            outlet_id: id.as_str().into(),
            merchant_nif: new.merchant_nif.as_str().into(),
            prefix: new.prefix.as_str().into(),
            code: new.code.as_str().into(),
            group: self.emptiest_group(&new.region)?,
            status: OutletStatus::Active,
            environment: new.environment,
            signing_mode: SigningMode::Cluster,
        };
        let made = match asked {
            Some(id) => Made::before(id),
            None => self.ask_for_outlet(&organisation, &new, &fact, once).await?,
        };
        if !self.is_whole(&fact).await? {
            self.register(&fact).await?;
            let profile = OutletProfile {
                outlet_id: id.clone(),
                name: new.name,
                region: new.region,
                address: new.address,
                phone: new.phone,
                created_ms: self.now().get(),
            };
            self.finish_with(&id, 0, &profile).await?;
        }
        self.learn(kind::OUTLET, &id).await?;
        self.learn(kind::OUTLET_PROFILE, &id).await?;
        self.wait_until_ready(&self.reach_outlet(&id)?, 1).await?;
        Ok(made)
    }

    /// Checks what can be checked of a registration, and writes the line of the log that tells of it.
    async fn ask_for_outlet(
        &self,
        organisation: &str,
        new: &NewOutlet,
        fact: &OutletFact,
        once: &Once,
    ) -> Result<Made, Problem> {
        self.merchant(&new.merchant_nif).map_err(|problem| problem.about("/merchant_nif"))?;
        if !new.region.is_empty() {
            self.region(&new.region).map_err(|problem| problem.about("/region_id"))?;
        }
        check_room(self.outlet_ids().len(), OUTLETS_MAX, "outlets in the organisation")?;
        let id = &*fact.outlet_id;
        if self.is_whole(fact).await? {
            return Err(outlet_exists());
        }
        let numbers = format!("{}-{}", new.prefix, new.code);
        let owner = self.app().directory().read().fact_of_series(&numbers).cloned();
        if owner.is_some_and(|owner| owner.outlet_id != fact.outlet_id) {
            return Err(numbers_taken(fact));
        }
        let change = self.change(organisation, "outlet.register", "outlet", id).outlet(id);
        let change = change.detail("numbers", &numbers);
        let change = change.detail("environment", new.environment.as_str());
        change.once(once).commit().await
    }

    /// The data group with the fewest outlets of those that are led from the region, or of all when none is.
    fn emptiest_group(&self, region: &str) -> Result<u64, Problem> {
        let groups = self.app().cluster().data_groups();
        let tables = self.app().directory().read();
        let near = groups.iter().any(|(_, led_from)| !region.is_empty() && led_from == region);
        let fit = groups.iter().filter(|(_, led_from)| !near || led_from == region);
        let load = |group: u64| tables.outlets.values().filter(|o| o.value.group == group).count();
        let least = fit.min_by_key(|(group, _)| (load(*group), *group));
        least.map(|(group, _)| *group).ok_or_else(|| Problem::internal("there is no data group"))
    }

    /// Registers the fiscal part, or finds that this has happened.
    async fn register(&self, fact: &OutletFact) -> Result<(), Problem> {
        let command = proto::RegisterOutlet { fact: Some(wire(fact)) };
        let answer = self.submit_to_directory(command::Command::RegisterOutlet(command)).await?;
        match answer {
            Answer::Recorded(_) | Answer::AlreadyRecorded(_) | Answer::Done => Ok(()),
            Answer::Refused(refusal) if refusal.code == "OUTLET_EXISTS" => {
                if self.is_whole(fact).await? { Err(outlet_exists()) } else { Ok(()) }
            }
            Answer::Refused(refusal) => Err(register_refused(&refusal, fact)),
            other => Err(Problem::internal(&format!("a registration was answered with {other}"))),
        }
    }

    /// Whether an outlet is registered with all that belongs to it; without the rest it is an earlier attempt's. One
    /// of another identity is somebody else's.
    async fn is_whole(&self, wanted: &OutletFact) -> Result<bool, Problem> {
        let id = &*wanted.outlet_id;
        let Some(known) = self.document(kind::OUTLET, id).await? else { return Ok(false) };
        let Ok(Fact::Outlet(known)) = Fact::decode(FactKind::Outlet, &known.bytes) else {
            return Err(Problem::internal("an outlet's document cannot be read"));
        };
        // These may have changed since.
        let (group, status, signing_mode) = (known.group, known.status, known.signing_mode);
        if (OutletFact { group, status, signing_mode, ..wanted.clone() }) != known {
            return Err(outlet_exists());
        }
        Ok(self.document(kind::OUTLET_PROFILE, id).await?.is_some())
    }

    /// Changes what is known of an outlet beside its fiscal part.
    pub async fn change_outlet(
        &self,
        outlet_id: &str,
        wanted: &OutletChange,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        self.may(Scope::RegistryWrite)?;
        self.outlet(outlet_id)?;
        let mut attempt = 0;
        loop {
            let outlet = self.reach_outlet(outlet_id)?;
            precondition.check(&outlet.entry().version())?;
            let profile = outlet.entry().profile.as_ref();
            let seen = profile.map_or(0, |profile| profile.version);
            let known =
                profile.map_or_else(|| bare_profile(outlet_id), |known| known.value.clone());
            if let Some(region) = wanted.region.as_ref().filter(|region| **region != known.region) {
                // What keys reach an outlet by its region is the organisation's business.
                self.may_all(Scope::RegistryWrite)?;
                if !region.is_empty() {
                    self.region(region).map_err(|problem| problem.about("/region_id"))?;
                }
            }
            let mut changed = known.clone();
            let mut change = self.change(self.organisation(), "outlet.change", "outlet", outlet_id);
            for (name, field, value) in [
                ("name", &mut changed.name, &wanted.name),
                ("address", &mut changed.address, &wanted.address),
                ("phone", &mut changed.phone, &wanted.phone),
                ("region", &mut changed.region, &wanted.region),
            ] {
                if let Some(value) = value.as_ref().filter(|value| *value != field) {
                    field.clone_from(value);
                    change = change.detail(name, value);
                }
            }
            if changed == known {
                return Ok(());
            }
            attempt += 1;
            match change.outlet(outlet_id).put(outlet_id, seen, &changed).commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// Suspends an outlet, lets it seal again, closes it for ever, or lets another seal for it. When this returns, its
    /// group knows.
    ///
    /// The change is made from the version that the line of the log was written at, so it is made once, however often
    /// the request is repeated and whatever others have changed since.
    pub async fn switch_outlet(
        &self,
        outlet_id: &str,
        wanted: OutletSwitch,
        once: &Once,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        match wanted {
            OutletSwitch::Status(OutletStatus::Closed) => self.may_all(Scope::RegistryWrite)?,
            OutletSwitch::Status(_) | OutletSwitch::SealedBy(_) => {
                self.may(Scope::RegistryWrite)?;
            }
        }
        self.outlet(outlet_id)?;
        let id = once.document_id(self.organisation());
        let mut asked = self.asked_before(once).await?;
        self.learn(kind::OUTLET, outlet_id).await?;
        let fact = Arc::clone(&self.reach_outlet(outlet_id)?.entry().fact);
        if asked.is_none() {
            self.ask_for_switch(&fact, wanted, once, precondition).await?;
            asked = self.asked_before(once).await?;
        }
        let asked = asked.ok_or_else(|| Problem::internal("what was written is not there"))?;
        let mut version = fact.version;
        if let Some(seen) = seen(&asked.value) {
            match (seen == version, wanted.is_in(&fact.value)) {
                (_, true) => {}
                (true, false) => {
                    self.submit_switch(&fact, wanted).await?;
                    version += 1;
                }
                (false, false) => return Err(changed_since()),
            }
            // Without it, a repetition that comes after other changes is told of a conflict: nothing worse.
            let done = once.document(outlet_id, self.now().get());
            if let Err(problem) = self.finish_with(&id, asked.version, &done).await {
                tracing::warn!(code = &*problem.code, "that a change is done is not written down");
            }
        }
        self.learn(kind::OUTLET, outlet_id).await?;
        self.wait_until_ready(&self.reach_outlet(outlet_id)?, version).await
    }

    /// Writes the line of the log, and from which version the change is made; none when nothing is to be changed.
    async fn ask_for_switch(
        &self,
        fact: &Versioned<OutletFact>,
        wanted: OutletSwitch,
        once: &Once,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        let outlet_id = &*fact.value.outlet_id;
        precondition.check(&self.reach_outlet(outlet_id)?.entry().version())?;
        let is_so = wanted.is_in(&fact.value);
        if fact.value.status == OutletStatus::Closed && !is_so {
            let detail = "a closed outlet stays closed; register another one";
            return Err(Problem::new(StatusCode::CONFLICT, "OUTLET_CLOSED", detail));
        }
        let action = wanted.action();
        let asked =
            if is_so { outlet_id.to_owned() } else { format!("{FROM_VERSION}{}", fact.version) };
        let id = once.document_id(self.organisation());
        let change = self.change(self.organisation(), action, "outlet", outlet_id);
        let change = change.outlet(outlet_id).put(&id, 0, &once.document(&asked, self.now().get()));
        match change.commit().await {
            // A copy of this request was quicker.
            Err(problem) if problem.code == "VERSION_CONFLICT" => Ok(()),
            done => done.map(|_| ()),
        }
    }

    async fn submit_switch(
        &self,
        seen: &Arc<Versioned<OutletFact>>,
        wanted: OutletSwitch,
    ) -> Result<(), Problem> {
        let fact = wanted.of(&seen.value);
        let command =
            proto::ChangeOutlet { fact: Some(wire(&fact)), expected_version: seen.version };
        let answer = self.submit_to_directory(command::Command::ChangeOutlet(command)).await?;
        match answer {
            Answer::Done | Answer::Unchanged | Answer::Recorded(_) => Ok(()),
            Answer::Refused(refusal) => {
                // A copy of this change may have been taken before this one was refused: then it is as wanted.
                self.learn(kind::OUTLET, &fact.outlet_id).await?;
                let now = self.reach_outlet(&fact.outlet_id)?;
                let known = &now.entry().fact;
                if known.version == seen.version + 1 && wanted.is_in(&known.value) {
                    return Ok(());
                }
                Err(Problem::of_refusal(&refusal))
            }
            other => {
                Err(Problem::internal(&format!("a change of an outlet was answered with {other}")))
            }
        }
    }

    /// Waits until the outlet's group has a version of its registration.
    async fn wait_until_ready(&self, outlet: &Outlet, version: u64) -> Result<(), Problem> {
        let deadline = self.context().deadline.min(Instant::now() + READY_WAIT);
        let mut pause = LOOK_FIRST;
        loop {
            let (_, counters) = outlet.counters(Consistency::Linearizable).await?;
            if counters.is_some_and(|counters| counters.fact_version >= version) {
                return Ok(());
            }
            if Instant::now() + pause >= deadline {
                let detail = "the outlet's group has not heard of this yet; send the same request with the same \
                              Idempotency-Key until there is an answer";
                let problem =
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "OUTCOME_UNKNOWN", detail);
                return Err(problem.retry_after(Duration::from_secs(1)));
            }
            sleep(pause).await;
            pause = LOOK_MAX.min(pause * 2);
        }
    }
}

impl Outlet {
    /// What its group knows of it: counters, chain, totals. None before the group has heard of it.
    pub async fn counters(
        &self,
        consistency: Consistency,
    ) -> Result<(AsOf, Option<Counters>), Problem> {
        let request = ReadOutletRequest {
            group: self.entry().group(),
            outlet_id: self.id().to_owned(),
            consistency: consistency.into(),
        };
        let answer = self.app().cluster().read_outlet(request, self.time_left()).await?;
        let as_of = answer.as_of.unwrap_or_default();
        if answer.row.is_empty() {
            return Ok((as_of, None));
        }
        let row = Counters::from_stored(&answer.row);
        let row = row.map_err(|error| Problem::internal(&format!("an outlet's row: {error}")))?;
        Ok((as_of, Some(row)))
    }
}

fn bare_profile(outlet_id: &str) -> OutletProfile {
    OutletProfile {
        outlet_id: outlet_id.to_owned(),
        name: String::new(),
        region: String::new(),
        address: String::new(),
        phone: String::new(),
        created_ms: 0,
    }
}

/// The version of the outlet that a change of its status is made from; none when it is done.
fn seen(asked: &Idempotency) -> Option<u64> {
    asked.object_id.strip_prefix(FROM_VERSION)?.parse().ok()
}

fn changed_since() -> Problem {
    let detail = "the outlet has been changed since this was asked for; read it, and send the change with a new \
                  Idempotency-Key if it is still wanted";
    Problem::new(StatusCode::CONFLICT, "VERSION_CONFLICT", detail)
}

fn numbers_taken(fact: &OutletFact) -> Problem {
    let detail = format!("the numbers {}-{} belong to another outlet", fact.prefix, fact.code);
    exists("NUMBER_SPACE_TAKEN", &detail).about("/code")
}

fn outlet_exists() -> Problem {
    exists("OUTLET_EXISTS", "an outlet with this id is registered").about("/outlet_id")
}

/// The ledger says whose the numbers are, which may be another tenant's business.
fn register_refused(refusal: &Refusal, fact: &OutletFact) -> Problem {
    if refusal.code == "NUMBER_SPACE_TAKEN" {
        return numbers_taken(fact);
    }
    Problem::of_refusal(refusal)
}

fn wire(fact: &OutletFact) -> proto::OutletFact {
    proto::OutletFact {
        outlet_id: fact.outlet_id.to_string(),
        merchant_nif: fact.merchant_nif.to_string(),
        prefix: fact.prefix.to_string(),
        code: fact.code.to_string(),
        group: fact.group,
        status: match fact.status {
            OutletStatus::Active => proto::OutletStatus::Active,
            OutletStatus::Suspended => proto::OutletStatus::Suspended,
            OutletStatus::Closed => proto::OutletStatus::Closed,
        }
        .into(),
        environment: match fact.environment {
            Environment::Live => proto::Environment::Live,
            Environment::Sandbox => proto::Environment::Sandbox,
        }
        .into(),
        signing_mode: match fact.signing_mode {
            SigningMode::Cluster => proto::SigningMode::Cluster,
            SigningMode::Def => proto::SigningMode::Def,
        }
        .into(),
    }
}
