//! The smaller rows of a data group: what was submitted under a key, what an invoice can still be
//! credited, terminals and their open shifts, payments and devices.

use crate::codec::{DecodeError, Reader, Writer};
use crate::facts::DeviceFact;
use crate::hash::Hash32;
use crate::invoice::{Currency, GroupCode, InvoiceType};
use crate::money::Amount;
use crate::state::table::Row;
use crate::state::tally::Tally;
use crate::state::{Id, read_id};
use crate::time::UnixMs;

/// What an idempotency key was used for. The same key may serve two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Sealing an invoice.
    Seal,
    /// Opening a shift.
    OpenShift,
    /// Closing a shift.
    CloseShift,
    /// A Z closure.
    CloseDay,
    /// Lending a block of numbers.
    GrantBlock,
    /// Importing what a device sealed.
    ImportDeviceSeal,
}

impl Operation {
    /// The code in stored rows and records.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Seal => 1,
            Self::OpenShift => 2,
            Self::CloseShift => 3,
            Self::CloseDay => 4,
            Self::GrantBlock => 5,
            Self::ImportDeviceSeal => 6,
        }
    }

    /// Reads a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [
            Self::Seal,
            Self::OpenShift,
            Self::CloseShift,
            Self::CloseDay,
            Self::GrantBlock,
            Self::ImportDeviceSeal,
        ]
        .into_iter()
        .find(|operation| operation.code() == code)
    }
}

/// The first 16 bytes of the hash of a client's idempotency key.
pub type KeyHash = [u8; 16];

/// A submission's identity: who, what, under which key. Compared by the key first, which nearly always
/// tells two apart at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubmissionKey {
    /// The key.
    pub key: KeyHash,
    /// The operation.
    pub operation: Operation,
    /// The outlet.
    pub outlet_id: Id,
}

/// Where a submission went. Kept for ever: a point of sale that was off for a month must not sell
/// twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The record that it became.
    pub position: u64,
    /// What the client chose; another one under the same key is a conflict.
    pub fingerprint: Hash32,
}

impl Row for Submission {
    type Key = SubmissionKey;
    const TABLE: u8 = 3;
    const NAME: &'static str = "submission";

    fn write_key(key: &SubmissionKey, out: &mut Writer) {
        out.str(&key.outlet_id).u8(key.operation.code()).raw(&key.key);
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.position).raw(&self.fingerprint);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            position: from.u64("submission position")?,
            fingerprint: from.h32("fingerprint")?,
        })
    }
}

/// Base and tax of one tax group of one invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupAmounts {
    /// The group.
    pub code: GroupCode,
    /// Its base.
    pub base: Amount,
    /// Its tax.
    pub tax: Amount,
    /// How much of the base credit notes have taken.
    pub credited_base: Amount,
    /// How much of the tax credit notes have taken.
    pub credited_tax: Amount,
}

/// A sealed invoice by its fiscal number: where it is, and what is left to credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedInvoice {
    /// The record's position.
    pub position: u64,
    /// Its type.
    pub invoice_type: InvoiceType,
    /// Its currency.
    pub currency: Currency,
    /// Its tax groups; empty for credit notes, which cannot be credited.
    pub groups: Vec<GroupAmounts>,
}

/// The outlet and the fiscal number.
pub type InvoiceKey = (Id, Id);

impl Row for SealedInvoice {
    type Key = InvoiceKey;
    const TABLE: u8 = 4;
    const NAME: &'static str = "invoice";

    fn write_key(key: &InvoiceKey, out: &mut Writer) {
        out.str(&key.0).str(&key.1);
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.position).str(self.invoice_type.as_str()).str(self.currency.as_str());
        out.len(self.groups.len());
        for group in &self.groups {
            out.u8(u8::try_from(group.code.index()).expect("there are 14 tax groups"));
            for amount in [group.base, group.tax, group.credited_base, group.credited_tax] {
                out.i64(amount.minor());
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position = from.u64("invoice position")?;
        let invoice_type = InvoiceType::parse(from.str("invoice type")?)
            .ok_or(DecodeError::Invalid("invoice type"))?;
        let currency = Currency::parse(from.str("invoice currency")?)
            .ok_or(DecodeError::Invalid("invoice currency"))?;
        let mut groups = Vec::new();
        for _ in 0..from.len("invoice groups")? {
            groups.push(GroupAmounts {
                code: GroupCode::from_index(usize::from(from.u8("invoice group")?))
                    .ok_or(DecodeError::Invalid("invoice group"))?,
                base: read_amount(from)?,
                tax: read_amount(from)?,
                credited_base: read_amount(from)?,
                credited_tax: read_amount(from)?,
            });
        }
        Ok(Self { position, invoice_type, currency, groups })
    }
}

fn read_amount(from: &mut Reader<'_>) -> Result<Amount, DecodeError> {
    Amount::from_minor(from.i64("amount")?).ok_or(DecodeError::Invalid("amount"))
}

/// A cashier's session at a terminal, with its own totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenShift {
    /// The shift.
    pub shift_id: Id,
    /// Who opened it.
    pub cashier_id: Id,
    /// The position of the record that opened it.
    pub opened_at: u64,
    /// The chain head after that record.
    pub opening_head: Hash32,
    /// When.
    pub opened: UnixMs,
    /// What was sealed at the terminal since.
    pub tally: Tally,
}

/// A terminal of an outlet: what the directory says of it, and its open shift.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminal {
    /// The version of the directory's document; 0 when there is none.
    pub fact_version: u64,
    /// Whether the operator has stopped it.
    pub blocked: bool,
    /// The open shift.
    pub shift: Option<OpenShift>,
}

/// The outlet and the terminal.
pub type TerminalKey = (Id, Id);

impl Row for Terminal {
    type Key = TerminalKey;
    const TABLE: u8 = 5;
    const NAME: &'static str = "terminal";

    fn write_key(key: &TerminalKey, out: &mut Writer) {
        out.str(&key.0).str(&key.1);
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.fact_version).bool(self.blocked).bool(self.shift.is_some());
        if let Some(shift) = &self.shift {
            out.str(&shift.shift_id).str(&shift.cashier_id).u64(shift.opened_at);
            out.raw(&shift.opening_head).u64(shift.opened.get());
            shift.tally.encode(out);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fact_version = from.u64("terminal version")?;
        let blocked = from.bool("terminal blocked")?;
        let shift = if from.bool("terminal shift")? {
            Some(OpenShift {
                shift_id: read_id(from, "shift id")?,
                cashier_id: read_id(from, "shift cashier")?,
                opened_at: from.u64("shift position")?,
                opening_head: from.h32("shift head")?,
                opened: UnixMs::new(from.u64("shift time")?),
                tally: Tally::decode(from)?,
            })
        } else {
            None
        };
        Ok(Self { fact_version, blocked, shift })
    }
}

/// What a payment provider last said of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Started.
    Pending,
    /// The money has arrived.
    Confirmed,
    /// It will not arrive.
    Failed,
    /// It arrived and was taken back.
    Reversed,
}

impl PaymentStatus {
    /// All, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Confirmed, Self::Failed, Self::Reversed];

    /// The name in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Reversed => "reversed",
        }
    }

    /// Whether a provider may say `next` after this. A failed payment can still be confirmed late; a
    /// confirmed one can only be reversed; a reversal is final.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => next != Self::Pending,
            Self::Failed => next == Self::Confirmed,
            Self::Confirmed => next == Self::Reversed,
            Self::Reversed => false,
        }
    }
}

/// A payment by its provider's reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The last status.
    pub status: PaymentStatus,
    /// The record that stated it.
    pub position: u64,
    /// The position of the first record that stated each status, 0 where there is none, in the order
    /// of `PaymentStatus::ALL`: what a repeated confirmation is answered with.
    pub stated_at: [u64; 4],
    /// What was paid: the same in every event of the payment.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// The invoice that it pays, when that is known.
    pub fiscal_number: Option<Id>,
}

/// The outlet, the payment method or provider, and the provider's reference.
pub type PaymentKey = (Id, Id, Id);

impl Row for Payment {
    type Key = PaymentKey;
    const TABLE: u8 = 6;
    const NAME: &'static str = "payment";

    fn write_key(key: &PaymentKey, out: &mut Writer) {
        out.str(&key.0).str(&key.1).str(&key.2);
    }

    fn encode(&self, out: &mut Writer) {
        let code = PaymentStatus::ALL.iter().position(|status| *status == self.status);
        out.u8(u8::try_from(code.expect("ALL lists every status")).expect("four statuses"));
        out.u64(self.position);
        for position in self.stated_at {
            out.u64(position);
        }
        out.i64(self.amount.minor()).str(self.currency.as_str());
        out.str(self.fiscal_number.as_deref().unwrap_or(""));
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let status = *PaymentStatus::ALL
            .get(usize::from(from.u8("payment status")?))
            .ok_or(DecodeError::Invalid("payment status"))?;
        let position = from.u64("payment position")?;
        let mut stated_at = [0; 4];
        for at in &mut stated_at {
            *at = from.u64("payment status position")?;
        }
        let amount = read_amount(from)?;
        let currency = Currency::parse(from.str("payment currency")?)
            .ok_or(DecodeError::Invalid("payment currency"))?;
        let fiscal_number = Some(read_id(from, "payment invoice")?).filter(|id| !id.is_empty());
        Ok(Self { status, position, stated_at, amount, currency, fiscal_number })
    }
}

/// A device as the directory last stated it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The version of the document.
    pub fact_version: u64,
    /// The document.
    pub fact: DeviceFact,
}

impl Row for Device {
    type Key = Id;
    const TABLE: u8 = 7;
    const NAME: &'static str = "device";

    fn write_key(key: &Id, out: &mut Writer) {
        out.str(key);
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.fact_version);
        self.fact.encode(out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { fact_version: from.u64("device version")?, fact: DeviceFact::decode(from)? })
    }
}
