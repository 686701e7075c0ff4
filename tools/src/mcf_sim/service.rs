//! What the control module does with a batch, and what it tells of itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::{Chance, Faults, Spoiled};
use super::http::{Reply, Request};
use super::store::{Held, Store};

/// More invoices than a batch may have.
const INVOICES_MAX: usize = 100;

#[derive(Debug)]
pub(crate) struct Service {
    key: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    store: Store,
    faults: Faults,
    chance: Chance,
    /// Nothing is answered before.
    down_until: Instant,
    /// By invoice that was rejected: the code.
    rejected: BTreeMap<String, String>,
    batches: u64,
    duplicates: u64,
    spoiled: u64,
    receipts: u64,
}

#[derive(Debug, Deserialize)]
struct Batch {
    batch_id: String,
    outlet_id: String,
    invoices: Vec<Invoice>,
}

#[derive(Debug, Deserialize)]
struct Invoice {
    id: String,
    fiscal_number: String,
    position: u64,
    record_hash: String,
}

impl Service {
    pub(crate) fn new(store: Store, key: Option<String>, faults: Faults) -> Self {
        let state = State {
            store,
            chance: Chance::new(faults.seed),
            down_until: Instant::now() + Duration::from_millis(faults.down_ms),
            faults,
            rejected: BTreeMap::new(),
            batches: 0,
            duplicates: 0,
            spoiled: 0,
            receipts: 0,
        };
        Self { key, state: Mutex::new(state) }
    }

    /// How long an answer waits.
    pub(crate) fn slowness(&self) -> Duration {
        Duration::from_millis(self.lock().faults.slow_ms)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer; none when the connection is to be closed without one.
    pub(crate) fn answer(&self, request: &Request) -> Option<Reply> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        match (request.method.as_str(), path) {
            ("POST", "/v1/batches") => self.upload(request),
            ("GET", "/admin/held") => Some(self.held(query)),
            ("GET", "/admin/stats") => Some(self.stats()),
            ("POST", "/admin/faults") => Some(self.fail(&request.body)),
            _ => Some(Reply::error(404, "there is nothing here")),
        }
    }

    fn upload(&self, request: &Request) -> Option<Reply> {
        let mut state = self.lock();
        if Instant::now() < state.down_until {
            return None;
        }
        if let Some(key) = &self.key
            && request.header("authorization") != format!("Bearer {key}")
        {
            return Some(Reply::error(401, "the key is not known"));
        }
        state.batches += 1;
        let (percent, status) = (state.faults.status_percent, state.faults.status);
        if status != 0 && state.chance.percent(percent) {
            let mut reply = Reply::error(status, "on purpose");
            reply.retry_after_s = state.faults.retry_after_s;
            return Some(reply);
        }
        let batch: Batch = match serde_json::from_slice(&request.body) {
            Ok(batch) => batch,
            Err(error) => return Some(Reply::error(400, &error.to_string())),
        };
        if batch.invoices.is_empty() || batch.invoices.len() > INVOICES_MAX {
            return Some(Reply::error(400, "a batch has 1 to 100 invoices"));
        }
        match state.take(&batch) {
            Ok(results) => state.reply(&batch, results),
            Err(error) => {
                eprintln!("fiscus mcf-sim: {error:#}");
                Some(Reply::error(500, "what was sent cannot be kept"))
            }
        }
    }

    fn held(&self, query: &str) -> Reply {
        let state = self.lock();
        let outlets = state.store.outlets();
        let held = match query.strip_prefix("outlet=") {
            None => json!({"outlets": outlets}),
            Some(outlet) => {
                let one: BTreeMap<_, _> =
                    outlets.get(outlet).map(|held| (outlet, held)).into_iter().collect();
                json!({"outlets": one})
            }
        };
        Reply::json(&held)
    }

    fn stats(&self) -> Reply {
        let state = self.lock();
        Reply::json(&json!({
            "held": state.store.count(),
            "outlets": state.store.outlets().len(),
            "batches": state.batches,
            "duplicates": state.duplicates,
            "spoiled": state.spoiled,
            "rejected": state.rejected,
            "faults": state.faults,
        }))
    }

    fn fail(&self, body: &[u8]) -> Reply {
        let faults = match Faults::parse(&String::from_utf8_lossy(body)) {
            Ok(faults) => faults,
            Err(error) => return Reply::error(400, &error),
        };
        let mut state = self.lock();
        state.down_until = Instant::now() + Duration::from_millis(faults.down_ms);
        state.chance = Chance::new(faults.seed);
        state.faults = faults;
        Reply::json(&json!({"faults": state.faults}))
    }
}

impl State {
    /// Takes the invoices of a batch in their order, and says what became of each.
    fn take(&mut self, batch: &Batch) -> anyhow::Result<Vec<Value>> {
        let (mut results, mut new) = (Vec::new(), Vec::new());
        let mut waits = false;
        for invoice in &batch.invoices {
            let result = |status: &str, code: &str, reason: &str| {
                json!({
                    "id": invoice.id, "record_hash": invoice.record_hash, "status": status,
                    "code": code, "reason": reason,
                })
            };
            let known = self.store.hash_of(&invoice.id).map(str::to_owned);
            let again = new.iter().any(|held: &Held| held.id == invoice.id);
            let suffix = &self.faults.reject_suffix;
            waits |= known.is_none() && self.chance.percent(self.faults.retry_percent);
            results.push(if waits {
                result("retry", "BUSY", "it is not taken now")
            } else if again || known.as_deref().is_some_and(|known| known != invoice.record_hash) {
                result("rejected", "CONFLICT", "another invoice is held under this id")
            } else if known.is_some() {
                self.duplicates += 1;
                result("duplicate", "", "")
            } else if !suffix.is_empty() && invoice.fiscal_number.ends_with(suffix.as_str()) {
                let code = match &*self.faults.reject_code {
                    "" => "REFUSED".to_owned(),
                    code => code.to_owned(),
                };
                let rejected = result("rejected", &code, "it is rejected on purpose");
                self.rejected.insert(invoice.fiscal_number.clone(), code);
                rejected
            } else {
                self.rejected.remove(&invoice.fiscal_number);
                new.push(Held {
                    id: invoice.id.clone(),
                    outlet_id: batch.outlet_id.clone(),
                    fiscal_number: invoice.fiscal_number.clone(),
                    position: invoice.position,
                    record_hash: invoice.record_hash.clone(),
                });
                result("acknowledged", "", "")
            });
        }
        self.store.take(new)?;
        Ok(results)
    }

    fn reply(&mut self, batch: &Batch, mut results: Vec<Value>) -> Option<Reply> {
        self.receipts += 1;
        let spoiled = self.faults.spoil(&mut self.chance);
        self.spoiled += u64::from(spoiled.is_some());
        match spoiled {
            Some(Spoiled::Lost) => return None,
            Some(Spoiled::WrongId) => results[0]["id"] = json!("inv_of_somebody_else"),
            Some(Spoiled::WrongHash) => results[0]["record_hash"] = json!("00"),
            Some(Spoiled::Missing) => drop(results.pop()),
            Some(Spoiled::Extra) => {
                let mut extra = results[0].clone();
                extra["id"] = json!("inv_of_somebody_else");
                results.push(extra);
            }
            None => {}
        }
        let receipt = format!("MCF-{}-{}", self.store.count(), self.receipts);
        Some(Reply::json(
            &json!({"batch_id": batch.batch_id, "receipt": receipt, "results": results}),
        ))
    }
}
