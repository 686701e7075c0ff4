//! Terminals and cashiers of the outlets that a caller reaches.

use std::sync::Arc;

use fiscus_ledger::facts::TerminalFact;

use super::caller::Caller;
use super::registry::{Made, Once, check_room};
use super::scopes::Scope;
use super::tenants::exists;
use crate::directory::documents::{Cashier, TerminalProfile, kind};
use crate::directory::{Table, Versioned};
use crate::http::{Precondition, Problem};

/// An outlet has at most so many terminals,
const TERMINALS_MAX: usize = 1_000;
/// and so many cashiers, those who have left included.
const CASHIERS_MAX: usize = 10_000;

/// A terminal of the caller's.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// The fiscal part.
    pub fact: Arc<Versioned<TerminalFact>>,
    /// The rest, when there is any.
    pub profile: Option<Arc<Versioned<TerminalProfile>>>,
}

impl Terminal {
    /// The versions of its two documents.
    #[must_use]
    pub fn version(&self) -> String {
        let profile = self.profile.as_ref().map_or(0, |profile| profile.version);
        format!("{}-{profile}", self.fact.version)
    }
}

/// What may change of a terminal.
#[derive(Debug, Clone, Default)]
pub struct TerminalChange {
    /// What it is called.
    pub name: Option<String>,
    /// Whether it is stopped.
    pub blocked: Option<bool>,
}

/// What may change of a cashier.
#[derive(Debug, Clone, Default)]
pub struct CashierChange {
    /// What the person is called.
    pub name: Option<String>,
    /// Whether the person still sells there.
    pub active: Option<bool>,
}

impl Caller {
    /// A terminal of an outlet of the caller's.
    pub fn terminal(&self, outlet_id: &str, terminal_id: &str) -> Result<Terminal, Problem> {
        let outlet = self.reach_outlet(outlet_id)?;
        let id = format!("{}/{terminal_id}", outlet.id());
        // An id with a slash in it, as an operator may have made, is not to name another outlet's.
        let own = |terminal: &Terminal| *terminal.fact.value.outlet_id == *outlet.id();
        self.terminal_by(&id).filter(own).ok_or_else(|| {
            let detail = format!("there is no terminal {terminal_id:?} at this outlet");
            Problem::not_found("TERMINAL_UNKNOWN", detail)
        })
    }

    fn terminal_by(&self, id: &str) -> Option<Terminal> {
        let tables = self.app().directory().read();
        let fact = Arc::clone(tables.terminals.get(id)?);
        Some(Terminal { fact, profile: tables.terminal_profiles.get(id).cloned() })
    }

    /// The terminals of the outlets that the caller reaches, by outlet and id.
    #[must_use]
    pub fn terminals(&self) -> Vec<(String, Terminal)> {
        let own = self.outlet_ids();
        let tables = self.app().directory().read();
        let reached =
            tables.terminals.iter().filter(|(_, fact)| own.contains(&*fact.value.outlet_id));
        let terminal = |(id, fact): (&String, &Arc<Versioned<TerminalFact>>)| {
            let profile = tables.terminal_profiles.get(id).cloned();
            (id.clone(), Terminal { fact: Arc::clone(fact), profile })
        };
        reached.map(terminal).collect()
    }

    /// Registers a terminal of an outlet of the caller's.
    pub async fn make_terminal(
        &self,
        outlet_id: &str,
        terminal_id: &str,
        name: &str,
        once: &Once,
    ) -> Result<Made, Problem> {
        self.may(Scope::RegistryWrite)?;
        let outlet = self.outlet_in_body(outlet_id)?;
        let id = format!("{}/{terminal_id}", outlet.id());
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::TERMINAL, &id).await?;
            self.learn(kind::TERMINAL_PROFILE, &id).await?;
            return Ok(Made::before(made));
        }
        let there = count_at(&self.app().directory().read().terminals, outlet.id());
        check_room(there, TERMINALS_MAX, "terminals at the outlet")?;
        let fact = TerminalFact {
            outlet_id: outlet.id().into(),
            terminal_id: terminal_id.into(),
            blocked: false,
        };
        let profile = TerminalProfile {
            outlet_id: outlet.id().to_owned(),
            terminal_id: terminal_id.to_owned(),
            name: name.to_owned(),
            created_ms: self.now().get(),
        };
        let change = self.change(self.organisation(), "terminal.create", "terminal", terminal_id);
        let change = change.outlet(outlet.id()).detail("name", name);
        let change = change.put_terminal(&id, 0, fact).put(&id, 0, &profile).once(once);
        let taken = || exists("TERMINAL_EXISTS", "a terminal with this id is registered there");
        change.make(taken).await
    }

    /// Changes a terminal of the caller's: its name, or whether it is stopped.
    pub async fn change_terminal(
        &self,
        outlet_id: &str,
        terminal_id: &str,
        wanted: &TerminalChange,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        self.may(Scope::RegistryWrite)?;
        let id = format!("{outlet_id}/{terminal_id}");
        let mut attempt = 0;
        loop {
            let found = self.terminal(outlet_id, terminal_id)?;
            precondition.check(&found.version())?;
            let known = &found.fact.value;
            let blocks = wanted.blocked.filter(|blocked| *blocked != known.blocked);
            let action = match blocks {
                Some(true) => "terminal.block",
                Some(false) => "terminal.unblock",
                None => "terminal.change",
            };
            let mut change = self.change(self.organisation(), action, "terminal", terminal_id);
            if let Some(blocked) = blocks {
                let fact = TerminalFact { blocked, ..known.clone() };
                change = change.put_terminal(&id, found.fact.version, fact);
            }
            let name = found.profile.as_ref().map_or("", |profile| &profile.value.name);
            if let Some(new) = wanted.name.as_ref().filter(|new| *new != name) {
                let profile = TerminalProfile {
                    outlet_id: outlet_id.to_owned(),
                    terminal_id: terminal_id.to_owned(),
                    name: new.clone(),
                    created_ms: found.profile.as_ref().map_or(0, |known| known.value.created_ms),
                };
                let seen = found.profile.as_ref().map_or(0, |known| known.version);
                change = change.detail("name", new).put(&id, seen, &profile);
            }
            if change.is_empty() {
                return Ok(());
            }
            attempt += 1;
            match change.outlet(outlet_id).commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// A cashier of an outlet of the caller's.
    pub fn cashier(
        &self,
        outlet_id: &str,
        cashier_id: &str,
    ) -> Result<Arc<Versioned<Cashier>>, Problem> {
        let outlet = self.reach_outlet(outlet_id)?;
        let id = format!("{}/{cashier_id}", outlet.id());
        let found = self.app().directory().read().cashiers.get(&id).cloned();
        found.filter(|cashier| cashier.value.outlet_id == outlet.id()).ok_or_else(|| {
            let detail = format!("there is no cashier {cashier_id:?} at this outlet");
            Problem::not_found("CASHIER_UNKNOWN", detail)
        })
    }

    /// The cashiers of the outlets that the caller reaches, by outlet and id.
    #[must_use]
    pub fn cashiers(&self) -> Vec<(String, Arc<Versioned<Cashier>>)> {
        let own = self.outlet_ids();
        let tables = self.app().directory().read();
        let reached =
            tables.cashiers.iter().filter(|(_, known)| own.contains(&known.value.outlet_id));
        reached.map(|(id, cashier)| (id.clone(), Arc::clone(cashier))).collect()
    }

    /// Registers a cashier of an outlet of the caller's.
    pub async fn make_cashier(
        &self,
        outlet_id: &str,
        cashier_id: &str,
        name: &str,
        once: &Once,
    ) -> Result<Made, Problem> {
        self.may(Scope::RegistryWrite)?;
        let outlet = self.outlet_in_body(outlet_id)?;
        let id = format!("{}/{cashier_id}", outlet.id());
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::CASHIER, &id).await?;
            return Ok(Made::before(made));
        }
        let there = count_at(&self.app().directory().read().cashiers, outlet.id());
        check_room(there, CASHIERS_MAX, "cashiers at the outlet")?;
        let cashier = Cashier {
            outlet_id: outlet.id().to_owned(),
            cashier_id: cashier_id.to_owned(),
            name: name.to_owned(),
            active: true,
            created_ms: self.now().get(),
        };
        let change = self.change(self.organisation(), "cashier.create", "cashier", cashier_id);
        let change = change.outlet(outlet.id()).detail("name", name).put(&id, 0, &cashier);
        let taken = || exists("CASHIER_EXISTS", "a cashier with this id is registered there");
        change.once(once).make(taken).await
    }

    /// Changes a cashier of the caller's: the name, or whether the person still sells there.
    pub async fn change_cashier(
        &self,
        outlet_id: &str,
        cashier_id: &str,
        wanted: &CashierChange,
        precondition: &Precondition,
    ) -> Result<(), Problem> {
        self.may(Scope::RegistryWrite)?;
        let id = format!("{outlet_id}/{cashier_id}");
        let mut attempt = 0;
        loop {
            let found = self.cashier(outlet_id, cashier_id)?;
            precondition.check(&found.version.to_string())?;
            let mut changed = found.value.clone();
            changed.name = wanted.name.clone().unwrap_or(changed.name);
            changed.active = wanted.active.unwrap_or(changed.active);
            if changed == found.value {
                return Ok(());
            }
            let action = match (found.value.active, changed.active) {
                (true, false) => "cashier.deactivate",
                (false, true) => "cashier.activate",
                _ => "cashier.change",
            };
            let change = self.change(self.organisation(), action, "cashier", cashier_id);
            let change = change.outlet(outlet_id).detail("name", &changed.name);
            attempt += 1;
            match change.put(&id, found.version, &changed).commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => return done.map(|_| ()),
            }
        }
    }
}

/// How many documents of a kind an outlet has.
fn count_at<T>(table: &Table<T>, outlet_id: &str) -> usize {
    let first = format!("{outlet_id}/");
    table.range(first.clone()..).take_while(|(id, _)| id.starts_with(&first)).count()
}
