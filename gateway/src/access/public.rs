//! What is open to everybody: the authorities' published keys, and of an invoice what its paper says. No line, no
//! buyer and no list can be reached through this.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::seal::split_number;
use fiscus_ledger::state::outlet::Outlet as OutletRow;
use fiscus_ledger::state::rows::SealedInvoice;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::ReadError;
use fiscus_proto::ledger::{
    Consistency, OutletNumber, ReadInvoiceRequest, ReadOutletRequest, ReadRecordRequest,
    read_record_request,
};

use super::app::App;
use super::authorities::Published;
use super::caller::Caller;
use super::rates::Told;
use super::receipt::{Credited, SealedReceipt};
use super::visitors::visitor;
use crate::http::list::AsOf;
use crate::http::{Problem, RequestContext};

/// The majority of a group has so long to answer before any replica of it is asked.
const MAJORITY_WAIT: Duration = Duration::from_secs(3);

/// Whoever verifies: with a key, counted by its tier; without, counted by the address. Each request counts as
/// one check before anything is looked at.
#[derive(Debug, Clone)]
pub struct Public {
    app: App,
    context: RequestContext,
    who: Who,
    told: Told,
}

#[derive(Debug, Clone)]
enum Who {
    Key(Box<Caller>),
    Address(IpAddr),
}

impl FromRequestParts<App> for Public {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, app).await;
        let context = context.unwrap_or_else(|never| match never {});
        let told = parts.extensions.get::<Told>().cloned().unwrap_or_default();
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let caller = Caller::from_request_parts(parts, app).await?;
            let who = Who::Key(Box::new(caller));
            return Ok(Self { app: app.clone(), context, who, told });
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(socket)| socket.ip());
        let address = visitor(peer, &parts.headers, &app.config().trusted_proxies);
        let who = Who::Address(address);
        let public = Self { app: app.clone(), context, who, told };
        public.count(1)?;
        Ok(public)
    }
}

/// Where something was sold, as the directory names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoldAt {
    /// The merchant; empty when the directory does not know it.
    pub merchant_name: String,
    /// The outlet, by its series when it has no name.
    pub outlet_name: String,
    /// Whether sales there are real.
    pub environment: Environment,
    group: u64,
    outlet_id: String,
}

/// What was found under a number.
#[derive(Debug, Clone)]
pub struct LookUp {
    /// Nothing when there is no such invoice.
    pub receipt: Option<SealedReceipt>,
    /// When it is only what one replica knew, because the majority did not answer: as of when.
    pub as_of: Option<AsOf>,
}

/// The keys of all authorities. Whoever asks for them is not counted: they are at hand, and good to have.
#[derive(Debug, Clone)]
pub struct PublishedKeys(pub Arc<Published>);

impl FromRequestParts<App> for PublishedKeys {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, app).await;
        let wait = context.unwrap_or_else(|never| match never {}).time_left();
        app.authorities().published(app.cluster(), None, wait).await.map(Self)
    }
}

impl Public {
    /// Counts further checks of the same request.
    pub fn count(&self, cost: u32) -> Result<(), Problem> {
        let address = match &self.who {
            Who::Key(caller) => return caller.count(cost),
            Who::Address(address) => *address,
        };
        match self.app.visitors().take(address, cost) {
            Ok(standing) => {
                standing.into_iter().for_each(|standing| self.told.note(standing));
                Ok(())
            }
            Err((standing, wait)) => {
                self.told.note(standing);
                let detail = format!(
                    "this address may check {} receipts a minute and has; wait as Retry-After says",
                    standing.limit
                );
                let status = StatusCode::TOO_MANY_REQUESTS;
                Err(Problem::new(status, "RATE_LIMITED", detail).retry_after(wait))
            }
        }
    }

    /// Whether somebody with a key asks.
    #[must_use]
    pub fn has_key(&self) -> bool {
        matches!(self.who, Who::Key(_))
    }

    /// How receipts' QR codes name us, now and formerly.
    #[must_use]
    pub fn is_verify_host(&self, host: &str) -> bool {
        let config = self.app.config();
        config.verify_host == host || config.verify_hosts_former.iter().any(|known| known == host)
    }

    /// How receipts' QR codes name us now.
    #[must_use]
    pub fn verify_host(&self) -> &str {
        &self.app.config().verify_host
    }

    /// The keys of all authorities; asked for anew when `needed` is not among them.
    pub async fn published(&self, needed: Option<&str>) -> Result<Arc<Published>, Problem> {
        let wait = self.context.time_left();
        self.app.authorities().published(self.app.cluster(), needed, wait).await
    }

    /// What the ledger has under a number. Numbers of unknown series, and texts that are no numbers, are asked
    /// for just as those that might be there: how long it takes says nothing.
    pub async fn look_up(&self, fiscal_number: &str) -> Result<LookUp, Problem> {
        let place = self.place_of(fiscal_number)?;
        let (group, outlet_id) = match &place {
            Some(place) => (place.group, place.outlet_id.clone()),
            None => (self.some_group(fiscal_number), "-".to_owned()),
        };
        let known = split_number(fiscal_number).is_some();
        let number = if known { fiscal_number } else { "-" };
        let which = read_record_request::Which::Number(OutletNumber {
            outlet_id,
            fiscal_number: number.to_owned(),
        });
        let ask = |consistency: Consistency, wait| {
            let which = Some(which.clone());
            let request = ReadRecordRequest { group, which, consistency: consistency.into() };
            self.app.cluster().read_record(request, wait)
        };
        let (answer, local) = self.majority_first(ask).await?;
        let as_of = answer.as_of.as_ref().map(AsOf::from).filter(|_| local);
        let receipt = match (place, answer.record) {
            (Some(place), Some(record)) => Some(SealedReceipt::of(place, &record)?),
            _ => None,
        };
        Ok(LookUp { receipt, as_of })
    }

    /// How much of it was credited since.
    pub async fn credited(&self, receipt: &SealedReceipt) -> Result<Credited, Problem> {
        let ask = |consistency: Consistency, wait| {
            let request = ReadInvoiceRequest {
                group: receipt.place.group,
                outlet_id: receipt.place.outlet_id.clone(),
                fiscal_number: receipt.fiscal_number.clone(),
                consistency: consistency.into(),
            };
            self.app.cluster().read_invoice(request, wait)
        };
        let (answer, _) = self.majority_first(ask).await?;
        if answer.invoice_row.is_empty() {
            return Ok(Credited::None);
        }
        let row = SealedInvoice::from_stored(&answer.invoice_row)
            .map_err(|error| Problem::internal(&format!("an invoice's row: {error}")))?;
        Ok(Credited::of(&row))
    }

    /// Whether the ledger knows that it lost the record of a number in a restore.
    pub async fn is_lost(&self, fiscal_number: &str) -> Result<bool, Problem> {
        let Some(place) = self.place_of(fiscal_number)? else { return Ok(false) };
        let ask = |consistency: Consistency, wait| {
            let request = ReadOutletRequest {
                group: place.group,
                outlet_id: place.outlet_id.clone(),
                consistency: consistency.into(),
            };
            self.app.cluster().read_outlet(request, wait)
        };
        let (answer, _) = self.majority_first(ask).await?;
        if answer.row.is_empty() {
            return Ok(false);
        }
        let row = OutletRow::from_stored(&answer.row)
            .map_err(|error| Problem::internal(&format!("an outlet's row: {error}")))?;
        let sequence = split_number(fiscal_number).map(|(_, sequence)| sequence);
        Ok(sequence.is_some_and(|sequence| row.series.recovery_gaps.contains(sequence)))
    }

    /// Where the series of a number belongs to.
    pub fn place_of(&self, fiscal_number: &str) -> Result<Option<SoldAt>, Problem> {
        if !self.app.directory().is_loaded() {
            let detail = "the directory is not known yet".to_owned();
            return Err(ReadError::Unavailable { detail }.into());
        }
        let Some((series, _)) = split_number(fiscal_number) else { return Ok(None) };
        let tables = self.app.directory().read();
        let Some(fact) = tables.fact_of_series(series) else { return Ok(None) };
        let profile = tables.outlet_profiles.get(&*fact.outlet_id);
        let merchant = tables.merchants.get(&*fact.merchant_nif);
        let outlet_name = profile.map(|profile| profile.value.name.clone());
        Ok(Some(SoldAt {
            merchant_name: merchant.map_or_else(String::new, |m| m.value.name.clone()),
            outlet_name: outlet_name.unwrap_or_else(|| series.to_owned()),
            environment: fact.environment,
            group: fact.group,
            outlet_id: fact.outlet_id.to_string(),
        }))
    }

    /// A group to ask for what cannot be there: always the same one for the same number.
    fn some_group(&self, fiscal_number: &str) -> u64 {
        let groups = self.app.cluster().groups();
        let data: Vec<u64> = groups.into_iter().filter(|group| *group != 0).collect();
        let hash = blake3::hash(fiscal_number.as_bytes());
        let choice = usize::from(hash.as_bytes()[0]);
        data.get(choice % data.len().max(1)).copied().unwrap_or(0)
    }

    /// Asks so that everything is seen that was answered before, since a receipt may be seconds old; and when no
    /// majority answers, whatever replica does. Says whether it came to that.
    async fn majority_first<T, F>(
        &self,
        ask: impl Fn(Consistency, Duration) -> F,
    ) -> Result<(T, bool), Problem>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let left = self.context.time_left();
        match ask(Consistency::Linearizable, MAJORITY_WAIT.min(left / 2)).await {
            Ok(answer) => Ok((answer, false)),
            Err(ReadError::Unavailable { .. }) => {
                Ok((ask(Consistency::Local, self.context.time_left()).await?, true))
            }
            Err(error) => Err(error.into()),
        }
    }
}
