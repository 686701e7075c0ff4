//! Records what the tax authority has answered for invoices of an outlet, and that refused ones are to be sent again.
//!
//! Whoever uploads names the position up to which it saw everything settled; a second one that works at the same
//! time, or an answer that is recorded twice, names one that is not the outlet's any more and changes nothing.

use super::{Context, no_authority, outlet_unknown};
use crate::apply::ApplyError;
use crate::facts::{Environment, is_identifier};
use crate::journal::Draft;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::{Object, array};
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::rows::InvoiceKey;
use crate::state::upload::{Upload, UploadState};
use crate::state::working::{Reads, WorkingSet};
use crate::time::UnixMs;

/// Acknowledged invoices of one record at most: what is told of it stays below 20 kB.
pub const UPLOAD_ITEMS_MAX: usize = 100;
/// Refused invoices of one record at most: each has a reason.
pub const UPLOAD_REFUSED_MAX: usize = 32;
/// Bytes of a reason at most.
pub const UPLOAD_REASON_BYTES_MAX: usize = 200;

/// What is recorded of all invoices of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadVerdict {
    /// The tax authority has them.
    Acknowledged,
    /// The tax authority will not take them.
    Rejected,
    /// The tax authority could not take them, again and again.
    Failed,
    /// Somebody wants refused ones to be sent again.
    Again,
}

impl UploadVerdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Acknowledged, Self::Rejected, Self::Failed, Self::Again];

    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Again => "queued",
        }
    }

    fn refusal(self) -> Option<UploadState> {
        match self {
            Self::Rejected => Some(UploadState::Rejected),
            Self::Failed => Some(UploadState::Failed),
            Self::Acknowledged | Self::Again => None,
        }
    }

    fn items_max(self) -> usize {
        if self.refusal().is_some() { UPLOAD_REFUSED_MAX } else { UPLOAD_ITEMS_MAX }
    }
}

/// One invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadItem {
    /// Its number.
    pub fiscal_number: Id,
    /// The tax authority's code, when it was refused; else empty.
    pub code: Id,
    /// And its sentence; may be empty.
    pub reason: Id,
}

/// What became of invoices of one outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordUpload {
    /// The outlet.
    pub outlet_id: Id,
    /// What became of them.
    pub verdict: UploadVerdict,
    /// To whom they were sent, as the operator calls it; or who wants them sent again.
    pub destination: Id,
    /// The batch in which they were sent; empty when they are to be sent again.
    pub batch_id: Id,
    /// The tax authority's own reference of its answer; may be empty.
    pub receipt: Id,
    /// Everything up to here was settled before, as whoever uploads saw it.
    pub after: u64,
    /// Everything up to here is settled with this.
    pub through: u64,
    /// The invoices, in the order of their positions.
    pub items: Vec<UploadItem>,
}

/// An invoice with what is known of it.
struct Found {
    key: InvoiceKey,
    position: u64,
    before: Option<Upload>,
}

impl RecordUpload {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.outlets.insert(self.outlet_id.clone());
        for item in &self.items {
            let key = self.key(item);
            reads.uploads.insert(key.clone());
            reads.invoices.insert(key);
        }
    }

    fn key(&self, item: &UploadItem) -> InvoiceKey {
        (self.outlet_id.clone(), item.fiscal_number.clone())
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if let Some(refused) = self.check_form() {
            return Ok(refused);
        }
        let state = &mut *cx.state;
        let Some(outlet) = state.outlets.get(&self.outlet_id)? else {
            return Ok(outlet_unknown(&self.outlet_id));
        };
        let environment = outlet.fact.environment;
        if environment != Environment::Live {
            let detail = format!("outlet {} is a sandbox; nothing is uploaded", self.outlet_id);
            return Ok(Outcome::refused(RefusalCode::UploadNotLive, detail));
        }
        let (through, last) = (outlet.uploads.through, outlet.chain.last_position);
        let found = match self.find(state)? {
            Ok(found) => found,
            Err(refused) => return Ok(refused),
        };
        let checked = match self.verdict {
            UploadVerdict::Again => check_again(&found),
            _ => self.check_order(through, last, &found),
        };
        if let Some(answer) = checked {
            return Ok(answer);
        }
        let Some(authority) = state.group.active_authority(environment) else {
            return Ok(no_authority());
        };
        let authority_id = authority.id.clone();

        let payload = self.payload(&found, through);
        let draft = Draft::plain(&self.outlet_id, RecordKind::Upload, &authority_id, &payload);
        let outlet = state.outlets.get_mut(&self.outlet_id)?.expect("it was there above");
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        if self.verdict != UploadVerdict::Again {
            outlet.uploads.through = self.through;
        }
        for (item, found) in self.items.iter().zip(found) {
            self.settle(state, item, found, (recorded.position, recorded.timestamp))?;
        }
        Ok(Outcome::Recorded(recorded))
    }

    fn check_form(&self) -> Option<Outcome> {
        let invalid = |field: &str, rule: &str| Some(super::field_invalid(field, rule));
        if !is_identifier(&self.destination) {
            return invalid("destination", "must have 1 to 64 printable bytes");
        }
        for (field, text) in [("batch_id", &self.batch_id), ("receipt", &self.receipt)] {
            if !text.is_empty() && !is_identifier(text) {
                return invalid(field, "must have at most 64 printable bytes");
            }
        }
        if self.items.is_empty() || self.items.len() > self.verdict.items_max() {
            return invalid("items", "must be 1 to 100 invoices, 1 to 32 that are refused");
        }
        let refuses = self.verdict.refusal().is_some();
        for item in &self.items {
            if refuses != is_identifier(&item.code) || (!refuses && !item.code.is_empty()) {
                return invalid("code", "must be given of what is refused, and only of that");
            }
            if item.reason.len() > UPLOAD_REASON_BYTES_MAX
                || (!refuses && !item.reason.is_empty())
                || item.reason.chars().any(char::is_control)
            {
                return invalid("reason", "must be at most 200 bytes of text of what is refused");
            }
        }
        None
    }

    fn find(&self, state: &WorkingSet) -> Result<Result<Vec<Found>, Outcome>, ApplyError> {
        let mut all = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let key = self.key(item);
            let Some(invoice) = state.invoices.get(&key)? else {
                let detail = format!("invoice {} is not in this outlet's journal", key.1);
                return Ok(Err(Outcome::refused(RefusalCode::InvoiceUnknown, detail)));
            };
            let before = state.uploads.get(&key)?.cloned();
            all.push(Found { key, position: invoice.position, before });
        }
        let in_order = all.windows(2).all(|pair| pair[0].position < pair[1].position);
        if !in_order {
            let detail = "the invoices are not in the order of their positions";
            return Ok(Err(Outcome::refused(RefusalCode::UploadOutOfOrder, detail)));
        }
        Ok(Ok(all))
    }

    /// What is answered must come next, or have been asked for again.
    fn check_order(&self, through: u64, last: u64, found: &[Found]) -> Option<Outcome> {
        let refused =
            |detail: String| Some(Outcome::refused(RefusalCode::UploadOutOfOrder, detail));
        if self.after != through {
            return refused(format!("everything is settled up to {through}, not {}", self.after));
        }
        if self.through < self.after || self.through > last {
            return refused(format!("the journal cannot be settled up to {}", self.through));
        }
        for one in found {
            let is_next = match &one.before {
                None => one.position > through,
                Some(before) => before.state == UploadState::Again,
            };
            let is_within = self.verdict.refusal().is_some() || one.position <= self.through;
            if !is_next || !is_within {
                return refused(format!("invoice {} does not come next", one.key.1));
            }
        }
        None
    }

    fn settle(
        &self,
        state: &mut WorkingSet,
        item: &UploadItem,
        found: Found,
        (stated_at, since): (u64, UnixMs),
    ) -> Result<(), ApplyError> {
        let outlet = state.outlets.get_mut(&self.outlet_id)?.expect("it was there above");
        let uploads = &mut outlet.uploads;
        match &found.before {
            Some(before) if before.state == UploadState::Again => uploads.again -= 1,
            Some(_) => uploads.refused -= 1,
            None => {}
        }
        let refusals = found.before.as_ref().map_or(0, |before| before.refusals);
        let row = |state, refusals, (code, reason): (&Id, &Id)| Upload {
            state,
            position: found.position,
            stated_at,
            since,
            refusals,
            code: code.clone(),
            reason: reason.clone(),
        };
        match (self.verdict, self.verdict.refusal()) {
            (_, Some(refusal)) => {
                uploads.refused += 1;
                let row = row(refusal, refusals.saturating_add(1), (&item.code, &item.reason));
                state.uploads.put(found.key, row);
            }
            (UploadVerdict::Again, None) => {
                uploads.again += 1;
                let before = found.before.as_ref().expect("only what is refused is sent again");
                let row = row(UploadState::Again, refusals, (&before.code, &before.reason));
                state.uploads.put(found.key, row);
            }
            (_, None) => {
                uploads.acknowledged += 1;
                if found.before.is_some() {
                    state.uploads.delete(found.key);
                }
            }
        }
        Ok(())
    }

    fn payload(&self, found: &[Found], before: u64) -> String {
        let items = self.items.iter().zip(found).map(|(item, found)| {
            let text = |text: &Id| Some(&**text).filter(|text| !text.is_empty()).map(str::to_owned);
            Object::new()
                .text("fiscal_number", &item.fiscal_number)
                .count("position", found.position)
                .optional("code", text(&item.code).as_deref())
                .optional("reason", text(&item.reason).as_deref())
                .finish()
        });
        let given = |text: &Id| (!text.is_empty()).then(|| text.to_string());
        let (who, through) = match self.verdict {
            UploadVerdict::Again => ("requested_by", before),
            _ => ("destination", self.through),
        };
        Object::new()
            .text("state", self.verdict.as_str())
            .text(who, &self.destination)
            .optional("batch_id", given(&self.batch_id).as_deref())
            .optional("receipt", given(&self.receipt).as_deref())
            .count("after_position", before)
            .count("through_position", through)
            .count("count", self.items.len() as u64)
            .json("invoices", &array(items))
            .finish()
    }
}

/// Only what is refused is sent again; asked for twice, it is sent once.
fn check_again(found: &[Found]) -> Option<Outcome> {
    let refused =
        |one: &Found| one.before.as_ref().is_some_and(|before| before.state != UploadState::Again);
    let waits =
        |one: &Found| one.before.as_ref().is_some_and(|before| before.state == UploadState::Again);
    if found.iter().all(waits) {
        return Some(Outcome::Unchanged);
    }
    let other = found.iter().find(|one| !refused(one))?;
    let detail = format!("invoice {} is not refused by the tax authority", other.key.1);
    Some(Outcome::refused(RefusalCode::UploadNotRefused, detail))
}
