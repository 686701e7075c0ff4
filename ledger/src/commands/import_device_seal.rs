//! Takes what a real fiscal device sealed into the journal: the next number of the device's own series.
//!
//! The device has sealed and the customer has the paper, whatever the ledger thinks of it. So nothing that is
//! only a matter of the moment refuses an import: not the outlet's status or signing mode, not a terminal that
//! was stopped. What is refused is what cannot be true, and then everything after it waits.

use super::seal::{
    count_in_shift, credit_original, refuse_identity, sealed_invoice, too_many_currencies,
};
use super::{Context, InvoiceSlot, Submitted, no_authority, no_manifest, outlet_unknown};
use crate::apply::ApplyError;
use crate::device_seal::{
    DeviceSeal, device_key, device_number, entry_hash, is_signed, journal_origin,
};
use crate::facts::DeviceState;
use crate::hash::Hash32;
use crate::invoice::CanonicalInvoice;
use crate::journal::Draft;
use crate::outcome::{Event, Outcome, Refusal, RefusalCode};
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::outlet::{DEVICE_SERIES_MAX, DeviceSeries, Outlet};
use crate::state::rows::{Device, Operation, TerminalKey};
use crate::state::working::{Reads, WorkingSet};

/// Imports one seal. Its device and its number are its idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportDeviceSeal {
    /// The outlet.
    pub outlet_id: Id,
    /// The seal.
    pub seal: DeviceSeal,
}

/// A seal that everything fits, but perhaps the invoice that it credits.
struct Genuine<'e> {
    fiscal_number: Id,
    authority_id: Id,
    entry: String,
    invoice: CanonicalInvoice<'e>,
}

impl ImportDeviceSeal {
    fn submitted(&self) -> Submitted {
        Submitted {
            outlet_id: self.outlet_id.clone(),
            key: self.seal.key(),
            fingerprint: self.seal.digest(),
        }
    }

    pub(super) fn read(&self, parsed: Option<&InvoiceSlot<'_>>, reads: &mut Reads) {
        self.submitted().read(Operation::ImportDeviceSeal, reads);
        reads.devices.insert(self.seal.device_id.clone());
        if let Some(InvoiceSlot(Some(Ok(invoice)))) = parsed {
            reads.terminals.insert(self.terminal_key(invoice));
            if let Some(original) = invoice.original_fiscal_number() {
                reads.invoices.insert((self.outlet_id.clone(), Id::from(original)));
            }
        }
    }

    pub(super) fn apply(
        &self,
        cx: &mut Context<'_>,
        parsed: Option<InvoiceSlot<'_>>,
    ) -> Result<Outcome, ApplyError> {
        let submitted = self.submitted();
        let genuine = match self.check(cx.state, &submitted, parsed)? {
            Ok(genuine) => genuine,
            Err(answer) => return Ok(self.told(cx, answer)),
        };
        let state = &mut *cx.state;
        if let Some(refusal) =
            credit_original(&self.outlet_id, &genuine.invoice, &mut state.invoices)?
        {
            return Ok(self.told(cx, refusal));
        }

        // From here on nothing can be refused.
        let outlet = state.outlets.get_mut(&self.outlet_id)?.expect("check has found it");
        let totals = genuine.invoice.totals();
        let payload = self.seal.record_payload(&genuine.entry, &genuine.invoice);
        let draft = Draft {
            outlet_id: &self.outlet_id,
            kind: RecordKind::Def(genuine.invoice.invoice_type()),
            authority_id: &genuine.authority_id,
            fiscal_number: genuine.fiscal_number.clone(),
            total: &totals.total.to_string(),
            currency: totals.currency.as_str(),
            payload: payload.as_bytes(),
            payload_hash: None,
            submission: Some(submitted.mark(Operation::ImportDeviceSeal)),
        };
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        let device_id = self.seal.device_id.clone();
        let series = outlet.device_series.entry(device_id).or_insert_with(|| {
            let head = journal_origin(&self.seal.device_id);
            DeviceSeries { last: 0, head, closed: 0 }
        });
        series.last = self.seal.sequence;
        series.head = entry_hash(&genuine.entry);
        outlet.count(&genuine.invoice);
        let terminal = self.terminal_key(&genuine.invoice);
        count_in_shift(&mut state.terminals, &terminal, &genuine.invoice)?;
        submitted.remember(Operation::ImportDeviceSeal, &mut state.submissions, recorded.position);
        let key = (self.outlet_id.clone(), genuine.fiscal_number);
        state.invoices.put(key, sealed_invoice(&genuine.invoice, recorded.position));
        Ok(Outcome::Recorded(recorded))
    }

    /// Everything that can refuse the import, except the credit of an original. The signature comes before the
    /// invoice's own fields: nothing a forger writes is looked at further.
    fn check<'e>(
        &self,
        state: &WorkingSet,
        submitted: &Submitted,
        parsed: Option<InvoiceSlot<'e>>,
    ) -> Result<Result<Genuine<'e>, Outcome>, ApplyError> {
        let Some(outlet) = state.outlets.get(&self.outlet_id)? else {
            return Ok(Err(outlet_unknown(&self.outlet_id)));
        };
        let submissions = &state.submissions;
        if let Some(answer) = submitted.duplicate(Operation::ImportDeviceSeal, submissions)? {
            return Ok(Err(match answer {
                Outcome::Refused(_) => self.conflict(),
                original => original,
            }));
        }
        let device = state.devices.get(&self.seal.device_id)?;
        if let Some(refusal) = self.refuse_device(outlet, device) {
            return Ok(Err(refusal));
        }
        let device = device.expect("it was not refused");
        if let Some(refusal) = self.refuse_place(outlet) {
            return Ok(Err(refusal));
        }
        let Some(fiscal_number) = self.number(outlet) else { return Ok(Err(self.no_series())) };
        let Some(key) = device_key(&device.fact.public_key) else {
            let detail = format!(
                "the key of device {} is no point of P-256, so nothing that it signs can be checked",
                self.seal.device_id
            );
            return Ok(Err(Outcome::refused(RefusalCode::DeviceKeyInvalid, detail)));
        };
        let Some(authority) = state.group.active_authority(outlet.fact.environment) else {
            return Ok(Err(no_authority()));
        };
        let invoice = match parsed {
            Some(InvoiceSlot(Some(Ok(invoice)))) => invoice,
            Some(InvoiceSlot(Some(Err(problem)))) => {
                return Ok(Err(Outcome::Refused(Refusal::Invoice(problem))));
            }
            Some(InvoiceSlot(None)) | None => return Ok(Err(no_manifest())),
        };
        let entry = self.seal.entry(&invoice);
        if !is_signed(&key, &entry, &self.seal.signature) {
            let detail = format!("the signature of {fiscal_number} is not the device's");
            return Ok(Err(Outcome::refused(RefusalCode::DeviceSealSignatureInvalid, detail)));
        }
        if let Some(refusal) = refuse_identity(outlet, &invoice, invoice.pos_terminal_id()) {
            return Ok(Err(refusal));
        }
        if outlet.perpetual.is_full_for(&invoice) {
            return Ok(Err(too_many_currencies(&self.outlet_id)));
        }
        Ok(Ok(Genuine { fiscal_number, authority_id: authority.id.clone(), entry, invoice }))
    }

    /// A replaced device's last seals still come in. A revoked one's do not: who has stolen it has its key.
    fn refuse_device(&self, outlet: &Outlet, device: Option<&Device>) -> Option<Outcome> {
        let id = &self.seal.device_id;
        let device = device.filter(|device| device.fact.outlet_id == outlet.fact.outlet_id);
        let Some(device) = device else {
            let detail = format!("device {id} is not registered for this outlet");
            return Some(Outcome::refused(RefusalCode::DeviceUnknown, detail));
        };
        match device.fact.state {
            DeviceState::Active | DeviceState::Replaced { .. } => None,
            DeviceState::Registered => {
                let detail = format!("device {id} has not been activated");
                Some(Outcome::refused(RefusalCode::DeviceNotActive, detail))
            }
            DeviceState::Revoked => {
                let detail = format!("device {id} was revoked; what it seals is not trusted");
                Some(Outcome::refused(RefusalCode::DeviceRevoked, detail))
            }
        }
    }

    /// Its fiscal number, when the device may have a series here.
    fn number(&self, outlet: &Outlet) -> Option<Id> {
        let id = &self.seal.device_id;
        let has_room =
            outlet.device_series.contains_key(id) || outlet.device_series.len() < DEVICE_SERIES_MAX;
        let number = device_number(id, self.seal.sequence)?;
        (has_room && **id != *outlet.number_prefix()).then(|| Id::from(number))
    }

    fn no_series(&self) -> Outcome {
        let detail = format!(
            "device {} can have no series of its own here: its id must be capital letters and digits in parts \
             with dashes, other than the outlet's prefix, and an outlet has at most {DEVICE_SERIES_MAX}",
            self.seal.device_id
        );
        Outcome::refused(RefusalCode::DeviceSeriesInvalid, detail)
    }

    /// Whether it is the next one, and links to the last one.
    fn refuse_place(&self, outlet: &Outlet) -> Option<Outcome> {
        let id = &self.seal.device_id;
        let (last, head): (u64, Hash32) = match outlet.device_series.get(id) {
            Some(series) => (series.last, series.head),
            None => (0, journal_origin(id)),
        };
        if self.seal.sequence != last + 1 {
            let detail = format!(
                "number {} of device {id} cannot follow number {last}; import them in order",
                self.seal.sequence
            );
            return Some(Outcome::refused(RefusalCode::DeviceSealOutOfOrder, detail));
        }
        (self.seal.prev_hash != head).then(|| {
            let detail = format!(
                "entry {} of device {id} does not link to the one before it",
                self.seal.sequence
            );
            Outcome::refused(RefusalCode::DeviceSealLinkBroken, detail)
        })
    }

    fn conflict(&self) -> Outcome {
        let detail = format!(
            "number {} of device {} is another invoice in the journal; the device sealed twice under it",
            self.seal.sequence, self.seal.device_id
        );
        Outcome::refused(RefusalCode::DeviceSealConflict, detail)
    }

    fn terminal_key(&self, invoice: &CanonicalInvoice<'_>) -> TerminalKey {
        (self.outlet_id.clone(), Id::from(invoice.pos_terminal_id()))
    }

    /// Lets people hear of what no honest device and no honest proxy sends.
    fn told(&self, cx: &mut Context<'_>, answer: Outcome) -> Outcome {
        let code = match &answer {
            Outcome::Refused(Refusal::Rule { code, .. }) => *code,
            Outcome::Refused(Refusal::Invoice(_)) => RefusalCode::DocumentInvalid,
            _ => return answer,
        };
        let alarming = matches!(
            code,
            RefusalCode::DeviceRevoked
                | RefusalCode::DeviceSealSignatureInvalid
                | RefusalCode::DeviceSealLinkBroken
                | RefusalCode::DeviceSealConflict
                | RefusalCode::DocumentInvalid
                | RefusalCode::IdentityMismatch
                | RefusalCode::CreditExceedsOriginal
                | RefusalCode::OriginalMismatch
        );
        if alarming {
            cx.events.push(Event::DeviceAlert {
                outlet_id: self.outlet_id.clone(),
                device_id: self.seal.device_id.clone(),
                code,
            });
        }
        answer
    }
}
