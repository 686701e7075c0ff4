//! What payment providers say, modelled.

use fiscus_ledger::commands::RecordPayment;
use fiscus_ledger::state::rows::PaymentStatus;

use crate::answer::Answer;
use crate::model::{Checked, Model, Paid, refuse};

impl Model {
    pub(crate) fn pay(&mut self, command: &RecordPayment) -> Checked<Answer> {
        if command.provider.is_empty() || command.amount.minor() < 0 {
            return refuse("FIELD_INVALID");
        }
        let shop = self.known(&command.outlet_id)?;
        let same = |paid: &&Paid| {
            paid.event.outlet_id == command.outlet_id
                && paid.event.provider == command.provider
                && paid.event.reference == command.reference
        };
        if let Some(number) = &command.fiscal_number
            && self.shops[shop].original(number).is_none()
        {
            return refuse("INVOICE_UNKNOWN");
        }
        let events: Vec<&Paid> = self.payments.iter().filter(same).collect();
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            let invoice = events.iter().find_map(|paid| paid.event.fiscal_number.as_ref());
            let other = matches!((invoice, &command.fiscal_number), (Some(a), Some(b)) if a != b);
            let event = &first.event;
            if other || event.amount != command.amount || event.currency != command.currency {
                return refuse("PAYMENT_MISMATCH");
            }
            let links = invoice.is_none()
                && command.fiscal_number.is_some()
                && last.event.status == command.status;
            let said = events.iter().find(|paid| paid.event.status == command.status);
            if let Some(said) = said.filter(|_| !links) {
                return Err(Answer::Already(said.position));
            }
            use PaymentStatus::{Confirmed, Failed, Pending, Reversed};
            let allowed = matches!(
                (last.event.status, command.status),
                (Pending, Confirmed | Failed | Reversed)
                    | (Failed, Confirmed)
                    | (Confirmed, Reversed)
            );
            if !allowed && !links {
                return refuse("PAYMENT_TRANSITION");
            }
        }
        let answer = self.write(shop, "payment_event", None)?;
        let position = self.shops[shop].journal.len();
        self.payments.push(Paid { event: command.clone(), position });
        Ok(answer)
    }
}
