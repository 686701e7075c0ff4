//! Running totals: counts per invoice type and, per currency, base and tax per tax group and amounts
//! per payment method.
//!
//! Credit notes subtract. An invoice is at most 10^15 minor units and a tally holds at most 2^64 of
//! them, so the 128-bit sums cannot overflow; the additions are checked all the same.

use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::{Hash32, Tagged};
use crate::invoice::{CanonicalInvoice, Currency, InvoiceType, PaymentMethod};

/// An outlet's totals hold at most this many currencies, so that rows and reports stay small.
pub const CURRENCIES_MAX: usize = 16;
const GROUPS: usize = 14;
const TYPES: usize = InvoiceType::ALL.len();
const METHODS: usize = PaymentMethod::ALL.len();
const CANNOT_OVERFLOW: &str = "2^64 invoices of 10^15 minor units fit 128 bits";

/// Base and tax of one tax group, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupSum {
    /// Sum of the taxable bases.
    pub base: i128,
    /// Sum of the taxes.
    pub tax: i128,
}

/// The totals of one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyTally {
    /// The currency that the sums are in.
    pub currency: Currency,
    /// By tax group, TG01 first.
    pub groups: [GroupSum; GROUPS],
    /// By payment method, in the order of `PaymentMethod::ALL`.
    pub payments: [i128; METHODS],
}

/// Counts and totals over a run of invoices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; TYPES],
    currencies: Vec<CurrencyTally>,
}

impl Tally {
    /// Adds one invoice; a credit note is subtracted.
    pub fn add(&mut self, invoice: &CanonicalInvoice<'_>) {
        let kind = invoice.invoice_type();
        let sign = if kind.is_credit() { -1 } else { 1 };
        self.counts[type_index(kind)] += 1;
        let sums = self.currency_mut(invoice.totals().currency);
        for group in invoice.tax_groups() {
            let sum = &mut sums.groups[group.code.index()];
            accumulate(&mut sum.base, sign, group.base.minor());
            accumulate(&mut sum.tax, sign, group.tax.minor());
        }
        for payment in invoice.payments() {
            let sums = self.currency_mut(payment.currency);
            accumulate(
                &mut sums.payments[method_index(payment.method)],
                sign,
                payment.amount.minor(),
            );
        }
    }

    /// Whether an invoice would bring in more currencies than totals may hold.
    #[must_use]
    pub fn is_full_for(&self, invoice: &CanonicalInvoice<'_>) -> bool {
        if self.currencies.len() + 1 + invoice.payments().len() <= CURRENCIES_MAX {
            return false;
        }
        let own = std::iter::once(invoice.totals().currency);
        let mut new: Vec<Currency> = own
            .chain(invoice.payments().iter().map(|payment| payment.currency))
            .filter(|currency| self.currencies.iter().all(|sums| sums.currency != *currency))
            .collect();
        new.sort_unstable();
        new.dedup();
        self.currencies.len() + new.len() > CURRENCIES_MAX
    }

    /// How many invoices of one type were added.
    #[must_use]
    pub fn count(&self, kind: InvoiceType) -> u64 {
        self.counts[type_index(kind)]
    }

    /// How many invoices were added.
    #[must_use]
    pub fn invoices(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The totals per currency, sorted by currency.
    #[must_use]
    pub fn currencies(&self) -> &[CurrencyTally] {
        &self.currencies
    }

    /// The digest that the heads tree publishes for the perpetual totals.
    #[must_use]
    pub fn digest(&self) -> Hash32 {
        let mut out = Writer::with_capacity(256);
        self.encode(&mut out);
        Tagged::new("fiscus/perpetual/v1").raw(out.as_bytes()).finish()
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        for count in self.counts {
            out.u64(count);
        }
        out.len(self.currencies.len());
        for sums in &self.currencies {
            sums.encode(out);
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut counts = [0; TYPES];
        for count in &mut counts {
            *count = from.u64("tally count")?;
        }
        let length = from.len("tally currencies")?;
        let mut currencies: Vec<CurrencyTally> = Vec::with_capacity(length.min(16));
        for _ in 0..length {
            let sums = CurrencyTally::decode(from)?;
            if currencies.last().is_some_and(|last| last.currency >= sums.currency) {
                return Err(DecodeError::Invalid("tally currency order"));
            }
            currencies.push(sums);
        }
        Ok(Self { counts, currencies })
    }

    fn currency_mut(&mut self, currency: Currency) -> &mut CurrencyTally {
        let at = match self.currencies.binary_search_by_key(&currency, |sums| sums.currency) {
            Ok(at) => at,
            Err(at) => {
                self.currencies.insert(at, CurrencyTally::new(currency));
                at
            }
        };
        &mut self.currencies[at]
    }
}

impl CurrencyTally {
    fn new(currency: Currency) -> Self {
        Self { currency, groups: [GroupSum::default(); GROUPS], payments: [0; METHODS] }
    }

    /// The totals over all tax groups.
    #[must_use]
    pub fn total(&self) -> GroupSum {
        self.groups.iter().fold(GroupSum::default(), |sum, group| GroupSum {
            base: sum.base.checked_add(group.base).expect(CANNOT_OVERFLOW),
            tax: sum.tax.checked_add(group.tax).expect(CANNOT_OVERFLOW),
        })
    }

    /// Only what is not zero is written: two bitmaps say what follows.
    fn encode(&self, out: &mut Writer) {
        out.raw(self.currency.as_str().as_bytes());
        let used = |at: usize| self.groups[at] != GroupSum::default();
        out.u16(bitmap(GROUPS, used))
            .u8(u8::try_from(bitmap(METHODS, |at| self.payments[at] != 0))
                .expect("there are fewer than eight payment methods"));
        for group in self.groups.iter().filter(|group| **group != GroupSum::default()) {
            out.i128(group.base).i128(group.tax);
        }
        for payment in self.payments.iter().filter(|payment| **payment != 0) {
            out.i128(*payment);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code: [u8; 3] = from.array("tally currency")?;
        let currency = std::str::from_utf8(&code)
            .ok()
            .and_then(Currency::parse)
            .ok_or(DecodeError::Invalid("tally currency"))?;
        let groups = from.u16("tally groups")?;
        let payments = u16::from(from.u8("tally payments")?);
        if groups >> GROUPS != 0 || payments >> METHODS != 0 {
            return Err(DecodeError::Invalid("tally bitmap"));
        }
        let mut sums = Self::new(currency);
        for (at, group) in sums.groups.iter_mut().enumerate() {
            if groups >> at & 1 == 1 {
                *group = GroupSum { base: from.i128("tally base")?, tax: from.i128("tally tax")? };
                if *group == GroupSum::default() {
                    return Err(DecodeError::Invalid("tally group"));
                }
            }
        }
        for (at, payment) in sums.payments.iter_mut().enumerate() {
            if payments >> at & 1 == 1 {
                *payment = from.i128("tally payment")?;
                if *payment == 0 {
                    return Err(DecodeError::Invalid("tally payment"));
                }
            }
        }
        Ok(sums)
    }
}

fn bitmap(bits: usize, is_set: impl Fn(usize) -> bool) -> u16 {
    (0..bits).filter(|at| is_set(*at)).fold(0, |map, at| map | 1 << at)
}

fn accumulate(sum: &mut i128, sign: i128, minor: i64) {
    *sum = sum.checked_add(sign * i128::from(minor)).expect(CANNOT_OVERFLOW);
}

fn type_index(kind: InvoiceType) -> usize {
    match kind {
        InvoiceType::Sale => 0,
        InvoiceType::Advance => 1,
        InvoiceType::CreditNote => 2,
        InvoiceType::Export => 3,
        InvoiceType::ExportCredit => 4,
    }
}

fn method_index(method: PaymentMethod) -> usize {
    match method {
        PaymentMethod::Cash => 0,
        PaymentMethod::MobileMoney => 1,
        PaymentMethod::Card => 2,
        PaymentMethod::BankTransfer => 3,
        PaymentMethod::Credit => 4,
        PaymentMethod::Voucher => 5,
        PaymentMethod::Other => 6,
    }
}
