//! Records what a payment provider said. It never blocks sealing, may come before or after it, and is
//! recorded once however often the provider repeats it.

use super::{Context, no_authority, outlet_unknown};
use crate::apply::ApplyError;
use crate::facts::is_identifier;
use crate::invoice::Currency;
use crate::journal::Draft;
use crate::money::Amount;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::rows::{Payment, PaymentKey, PaymentStatus};
use crate::state::working::Reads;

/// One event of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPayment {
    /// The outlet.
    pub outlet_id: Id,
    /// The payment method, or the mobile money provider.
    pub provider: Id,
    /// The provider's own reference: with the provider, it names the payment.
    pub reference: Id,
    /// What the provider says.
    pub status: PaymentStatus,
    /// What is paid.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// The invoice that it pays, when that is known already.
    pub fiscal_number: Option<Id>,
}

impl RecordPayment {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.outlets.insert(self.outlet_id.clone());
        reads.payments.insert(self.key());
        if let Some(number) = &self.fiscal_number {
            reads.invoices.insert((self.outlet_id.clone(), number.clone()));
        }
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        for (field, text) in [("provider", &self.provider), ("reference", &self.reference)] {
            if !is_identifier(text) {
                return Ok(super::field_invalid(field, "must have 1 to 64 printable bytes"));
            }
        }
        if self.amount.minor() < 0 {
            return Ok(super::field_invalid("amount", "must not be negative"));
        }
        let state = &mut *cx.state;
        let Some(outlet) = state.outlets.get(&self.outlet_id)? else {
            return Ok(outlet_unknown(&self.outlet_id));
        };
        let known = state.payments.get(&self.key())?;
        if let Some(number) = &self.fiscal_number
            && state.invoices.get(&(self.outlet_id.clone(), number.clone()))?.is_none()
        {
            let detail = format!("invoice {number} is not in this outlet's journal");
            return Ok(Outcome::refused(RefusalCode::InvoiceUnknown, detail));
        }
        if let Some(answer) = known.and_then(|known| self.answer_from(known)) {
            return Ok(answer);
        }
        let Some(authority) = state.group.active_authority(outlet.fact.environment) else {
            return Ok(no_authority());
        };
        let authority_id = authority.id.clone();

        let fiscal_number =
            self.fiscal_number.clone().or_else(|| known.and_then(|row| row.fiscal_number.clone()));
        let mut stated_at = known.map_or([0; 4], |row| row.stated_at);
        let payload = self.payload(fiscal_number.as_deref());
        let draft = Draft::plain(&self.outlet_id, RecordKind::Payment, &authority_id, &payload);
        let outlet = state.outlets.get_mut(&self.outlet_id)?.expect("it was there above");
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        let first = &mut stated_at[self.status_index()];
        if *first == 0 {
            *first = recorded.position;
        }
        let row = Payment {
            status: self.status,
            position: recorded.position,
            stated_at,
            amount: self.amount,
            currency: self.currency,
            fiscal_number,
        };
        state.payments.put(self.key(), row);
        Ok(Outcome::Recorded(recorded))
    }

    fn key(&self) -> PaymentKey {
        (self.outlet_id.clone(), self.provider.clone(), self.reference.clone())
    }

    fn status_index(&self) -> usize {
        PaymentStatus::ALL
            .iter()
            .position(|status| *status == self.status)
            .expect("ALL lists every status")
    }

    /// The answer that the recorded events give: a repetition, or a contradiction.
    fn answer_from(&self, known: &Payment) -> Option<Outcome> {
        let another_invoice = match (&self.fiscal_number, &known.fiscal_number) {
            (Some(given), Some(recorded)) => given != recorded,
            _ => false,
        };
        if self.amount != known.amount || self.currency != known.currency || another_invoice {
            let detail = format!(
                "payment {} of {} was recorded with another amount, currency or invoice",
                self.reference, self.provider
            );
            return Some(Outcome::refused(RefusalCode::PaymentMismatch, detail));
        }
        let stated_at = known.stated_at[self.status_index()];
        // A confirmation may come before its invoice is sealed; said again with the number, it becomes
        // the record that links the two.
        let links = self.fiscal_number.is_some() && known.fiscal_number.is_none();
        if stated_at != 0 {
            let linked = links && self.status == known.status;
            return (!linked).then_some(Outcome::AlreadyRecorded { position: stated_at });
        }
        if !known.status.may_become(self.status) {
            let detail = format!(
                "payment {} of {} is {} and cannot become {}",
                self.reference,
                self.provider,
                known.status.as_str(),
                self.status.as_str()
            );
            return Some(Outcome::refused(RefusalCode::PaymentTransition, detail));
        }
        None
    }

    fn payload(&self, fiscal_number: Option<&str>) -> String {
        Object::new()
            .text("provider", &self.provider)
            .text("reference", &self.reference)
            .text("status", self.status.as_str())
            .text("amount", &self.amount.to_string())
            .text("currency", self.currency.as_str())
            .optional("fiscal_number", fiscal_number)
            .finish()
    }
}
