//! Gives an invoice its number, its place in the journal and its hashes.

use super::{
    Context, InvoiceSlot, Submitted, closed_for_sale, no_authority, no_manifest, outlet_unknown,
    terminal_blocked,
};
use crate::apply::ApplyError;
use crate::facts::DeviceState;
use crate::invoice::{CanonicalInvoice, InvoiceType, parse_strict};
use crate::journal::Draft;
use crate::money::Amount;
use crate::outcome::{Outcome, Refusal, RefusalCode};
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::group::Group;
use crate::state::outlet::Outlet;
use crate::state::rows::{Device, GroupAmounts, Operation, SealedInvoice, Terminal, TerminalKey};
use crate::state::table::Table;
use crate::state::tally::CURRENCIES_MAX;
use crate::state::working::{Reads, WorkingSet};
use crate::time::UnixMs;

use super::recovery_gap::SEQUENCE_MAX;

/// Seals one invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Who submits what, once.
    pub submitted: Submitted,
    /// The terminal that the payload names; it is checked to be the same.
    pub terminal_id: Id,
    /// The device that submits, on the device path.
    pub device_id: Option<Id>,
    /// The canonical invoice.
    pub payload: Vec<u8>,
}

impl Seal {
    pub(super) fn parse<'e>(&'e self, group: &Group, time: UnixMs) -> InvoiceSlot<'e> {
        InvoiceSlot(
            group
                .manifest_at(time)
                .map(|manifest| parse_strict(&self.payload, manifest).map_err(Box::new)),
        )
    }

    pub(super) fn read(&self, parsed: Option<&InvoiceSlot<'_>>, reads: &mut Reads) {
        self.submitted.read(Operation::Seal, reads);
        reads.terminals.insert(self.terminal_key());
        reads.devices.extend(self.device_id.clone());
        if let Some(InvoiceSlot(Some(Ok(invoice)))) = parsed
            && let Some(original) = invoice.original_fiscal_number()
        {
            reads.invoices.insert((self.submitted.outlet_id.clone(), Id::from(original)));
        }
    }

    pub(super) fn apply(
        &self,
        cx: &mut Context<'_>,
        parsed: Option<InvoiceSlot<'_>>,
    ) -> Result<Outcome, ApplyError> {
        let state = &mut *cx.state;
        let outlet_id = &self.submitted.outlet_id;
        let (invoice, authority_id) = match self.check(state, parsed)? {
            Ok(checked) => checked,
            Err(answer) => return Ok(answer),
        };
        if let Some(refusal) = credit_original(outlet_id, &invoice, &mut state.invoices)? {
            return Ok(refusal);
        }

        // From here on nothing can be refused: the number is taken and the record exists.
        let outlet = state.outlets.get_mut(outlet_id)?.expect("check has found it");
        let number = outlet.series.last + 1;
        #[cfg(feature = "planted-bugs")]
        let number = self.leaders_number().unwrap_or(number);
        outlet.series.last = number;
        outlet.series.sealed += 1;
        let totals = invoice.totals();
        let draft = Draft {
            outlet_id,
            kind: RecordKind::Invoice(invoice.invoice_type()),
            authority_id: &authority_id,
            fiscal_number: outlet.fiscal_number(number),
            total: &totals.total.to_string(),
            currency: totals.currency.as_str(),
            payload: invoice.canonical_bytes(),
            payload_hash: Some(invoice.payload_hash()),
            submission: Some(self.submitted.mark(Operation::Seal)),
        };
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        count_invoice(outlet, &invoice, number);
        count_in_shift(&mut state.terminals, &self.terminal_key(), &invoice)?;
        self.submitted.remember(Operation::Seal, &mut state.submissions, recorded.position);
        let key = (outlet_id.clone(), recorded.fiscal_number.clone());
        state.invoices.put(key, sealed_invoice(&invoice, recorded.position));
        Ok(Outcome::Recorded(recorded))
    }

    /// Everything that can refuse the seal, except the credit of an original; and the invoice and the
    /// authority when nothing does.
    fn check<'e>(
        &self,
        state: &WorkingSet,
        parsed: Option<InvoiceSlot<'e>>,
    ) -> Result<Result<(CanonicalInvoice<'e>, Id), Outcome>, ApplyError> {
        let outlet_id = &self.submitted.outlet_id;
        let Some(outlet) = state.outlets.get(outlet_id)? else {
            return Ok(Err(outlet_unknown(outlet_id)));
        };
        if let Some(answer) = self.submitted.duplicate(Operation::Seal, &state.submissions)? {
            return Ok(Err(answer));
        }
        if let Some(refusal) = closed_for_sale(outlet) {
            return Ok(Err(refusal));
        }
        if let Some(refusal) = self.refuse_device(&state.devices)? {
            return Ok(Err(refusal));
        }
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
        if let Some(refusal) = refuse_identity(outlet, &invoice, &self.terminal_id) {
            return Ok(Err(refusal));
        }
        if state.terminals.get(&self.terminal_key())?.is_some_and(|terminal| terminal.blocked) {
            return Ok(Err(terminal_blocked(&self.terminal_id)));
        }
        if outlet.perpetual.is_full_for(&invoice) {
            return Ok(Err(too_many_currencies(outlet_id)));
        }
        if outlet.series.last >= SEQUENCE_MAX {
            let detail = format!("outlet {outlet_id} has used its last fiscal number");
            return Ok(Err(Outcome::refused(RefusalCode::SeriesExhausted, detail)));
        }
        Ok(Ok((invoice, authority.id.clone())))
    }

    /// The number that the leader has given, when the bug is planted that it does: it travels as a device's name.
    #[cfg(feature = "planted-bugs")]
    fn leaders_number(&self) -> Option<u64> {
        use crate::planted::{Bug, is_planted};
        let given = self.device_id.as_deref().filter(|_| is_planted(Bug::LeaderNumbers));
        given?.strip_prefix("number-")?.parse().ok()
    }

    fn terminal_key(&self) -> TerminalKey {
        (self.submitted.outlet_id.clone(), self.terminal_id.clone())
    }

    fn refuse_device(&self, devices: &Table<Device>) -> Result<Option<Outcome>, ApplyError> {
        #[cfg(feature = "planted-bugs")]
        if self.leaders_number().is_some() {
            return Ok(None);
        }
        let Some(device_id) = &self.device_id else { return Ok(None) };
        let Some(device) = devices.get(device_id)? else {
            let detail = format!("device {device_id} is not registered; activate it first");
            return Ok(Some(Outcome::refused(RefusalCode::DeviceUnknown, detail)));
        };
        if device.fact.outlet_id != self.submitted.outlet_id {
            let detail = format!("device {device_id} does not serve this outlet");
            return Ok(Some(Outcome::refused(RefusalCode::DeviceUnknown, detail)));
        }
        Ok(match &device.fact.state {
            DeviceState::Active => None,
            DeviceState::Registered => {
                let detail = format!("device {device_id} has not been activated");
                Some(Outcome::refused(RefusalCode::DeviceNotActive, detail))
            }
            DeviceState::Replaced { .. } | DeviceState::Revoked => {
                let detail = format!("device {device_id} was replaced or revoked");
                Some(Outcome::refused(RefusalCode::DeviceRevoked, detail))
            }
        })
    }
}

/// Whether the payload names the outlet, merchant and terminal that the submission comes from.
pub(super) fn refuse_identity(
    outlet: &Outlet,
    invoice: &CanonicalInvoice<'_>,
    terminal_id: &str,
) -> Option<Outcome> {
    let wrong = [
        ("outlet_id", invoice.outlet_id(), &*outlet.fact.outlet_id),
        ("merchant_nif", invoice.merchant_nif(), &*outlet.fact.merchant_nif),
        ("pos_terminal_id", invoice.pos_terminal_id(), terminal_id),
    ]
    .into_iter()
    .find(|(_, given, expected)| given != expected)?;
    let (field, given, expected) = wrong;
    let detail =
        format!("the invoice's {field} is {given:?}, but it is submitted for {expected:?}");
    Some(Outcome::refused(RefusalCode::IdentityMismatch, detail))
}

/// The refusal of one currency too many.
pub(super) fn too_many_currencies(outlet_id: &str) -> Outcome {
    let detail =
        format!("outlet {outlet_id} has sold in {CURRENCIES_MAX} currencies and takes no more");
    Outcome::refused(RefusalCode::CurrencyLimit, detail)
}

/// Adds an invoice of the main series to its outlet's counters.
pub(super) fn count_invoice(outlet: &mut Outlet, invoice: &CanonicalInvoice<'_>, number: u64) {
    outlet.count(invoice);
    outlet.period.sealed.insert(number);
}

/// Adds an invoice to the shift that is open at its terminal, if one is.
pub(super) fn count_in_shift(
    terminals: &mut Table<Terminal>,
    key: &TerminalKey,
    invoice: &CanonicalInvoice<'_>,
) -> Result<(), ApplyError> {
    if let Some(terminal) = terminals.get_mut_if(key, |row| row.shift.is_some())?
        && let Some(shift) = &mut terminal.shift
    {
        shift.tally.add(invoice);
    }
    Ok(())
}

/// The row that later credit notes are checked against.
pub(super) fn sealed_invoice(invoice: &CanonicalInvoice<'_>, position: u64) -> SealedInvoice {
    let groups = if invoice.invoice_type().is_credit() { &[] } else { invoice.tax_groups() };
    let zero = Amount::ZERO;
    SealedInvoice {
        position,
        invoice_type: invoice.invoice_type(),
        currency: invoice.totals().currency,
        groups: groups
            .iter()
            .map(|group| GroupAmounts {
                code: group.code,
                base: group.base,
                tax: group.tax,
                credited_base: zero,
                credited_tax: zero,
            })
            .collect(),
    }
}

/// Takes a credit note off its original, or says why it does not fit. Other invoices pass.
pub(crate) fn credit_original(
    outlet_id: &Id,
    invoice: &CanonicalInvoice<'_>,
    invoices: &mut Table<SealedInvoice>,
) -> Result<Option<Outcome>, ApplyError> {
    let Some(number) = invoice.original_fiscal_number() else { return Ok(None) };
    let key = (outlet_id.clone(), Id::from(number));
    let Some(original) = invoices.get(&key)? else {
        let detail = format!("the original invoice {number} is not in this outlet's journal");
        return Ok(Some(Outcome::refused(RefusalCode::OriginalNotFound, detail)));
    };
    if !credits(invoice.invoice_type(), original.invoice_type)
        || original.currency != invoice.totals().currency
    {
        let detail = format!(
            "{number} is a {} in {}, which this {} in {} cannot credit",
            original.invoice_type.as_str(),
            original.currency.as_str(),
            invoice.invoice_type().as_str(),
            invoice.totals().currency.as_str(),
        );
        return Ok(Some(Outcome::refused(RefusalCode::OriginalMismatch, detail)));
    }
    let mut credited = original.groups.clone();
    for taken in invoice.tax_groups() {
        let fits = credited.iter_mut().find(|group| group.code == taken.code).and_then(|group| {
            group.credited_base = add_within(group.credited_base, taken.base, group.base)?;
            group.credited_tax = add_within(group.credited_tax, taken.tax, group.tax)?;
            Some(())
        });
        if fits.is_none() {
            let detail = format!(
                "with this credit note, the credits in {} would exceed the original {number}",
                taken.code.as_str()
            );
            return Ok(Some(Outcome::refused(RefusalCode::CreditExceedsOriginal, detail)));
        }
    }
    invoices.get_mut(&key)?.expect("it was there above").groups = credited;
    Ok(None)
}

fn credits(note: InvoiceType, original: InvoiceType) -> bool {
    match note {
        InvoiceType::CreditNote => matches!(original, InvoiceType::Sale | InvoiceType::Advance),
        InvoiceType::ExportCredit => original == InvoiceType::Export,
        InvoiceType::Sale | InvoiceType::Advance | InvoiceType::Export => false,
    }
}

fn add_within(sum: Amount, more: Amount, limit: Amount) -> Option<Amount> {
    let sum = sum.minor().checked_add(more.minor())?;
    if sum > limit.minor() { None } else { Amount::from_minor(sum) }
}
