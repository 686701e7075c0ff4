//! What a document says, before anything is computed.

use std::borrow::Cow;

use super::types::{
    Classification, Currency, GroupCode, InvoiceType, Item, Payment, PriceMode, Texts,
};
use crate::money::{Amount, FxRate, Rate};
use crate::time::UnixMs;

/// A document as it was read: each field in itself is right, or absent.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    pub(super) merchant_nif: Option<Cow<'a, str>>,
    pub(super) outlet_id: Option<Cow<'a, str>>,
    pub(super) pos_terminal_id: Option<Cow<'a, str>>,
    pub(super) cashier_id: Option<Cow<'a, str>>,
    pub(super) invoice_type: Option<InvoiceType>,
    pub(super) timestamp: Option<UnixMs>,
    pub(super) original_fiscal_number: Option<Cow<'a, str>>,
    pub(super) client: Option<ClientDraft<'a>>,
    /// The lines; their base and tax are still zero.
    pub(super) items: Option<Vec<Item<'a>>>,
    pub(super) tax_groups: Option<Vec<GroupDraft<'a>>>,
    pub(super) totals: Option<TotalsDraft>,
    pub(super) payments: Option<Vec<PaymentDraft<'a>>>,
    pub(super) fx: Option<FxDraft>,
    pub(super) price_mode: Option<PriceMode>,
    pub(super) tax_manifest_version: Option<Cow<'a, str>>,
    pub(super) metadata: Option<Texts<'a>>,
    /// Beside the totals, where REST takes it.
    pub(super) currency: Option<Currency>,
}

#[derive(Debug, Default)]
pub(super) struct ClientDraft<'a> {
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) nif: Option<Cow<'a, str>>,
    pub(super) classification: Option<Classification>,
}

#[derive(Debug)]
pub(super) struct GroupDraft<'a> {
    pub(super) code: GroupCode,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) rate: Option<Rate>,
    pub(super) base: Option<Amount>,
    pub(super) tax: Option<Amount>,
}

#[derive(Debug, Default)]
pub(super) struct TotalsDraft {
    pub(super) subtotal: Option<Amount>,
    pub(super) total_vat: Option<Amount>,
    pub(super) total: Option<Amount>,
    pub(super) currency: Option<Currency>,
    pub(super) rounding_adjustment: Option<Amount>,
}

/// A payment whose currency may still be the invoice's.
#[derive(Debug)]
pub(super) struct PaymentDraft<'a> {
    pub(super) payment: Payment<'a>,
    pub(super) own_currency: bool,
}

#[derive(Debug, Default)]
pub(super) struct FxDraft {
    pub(super) rate: Option<FxRate>,
    pub(super) reporting_currency: Option<Currency>,
    pub(super) tax: Option<Amount>,
}
