//! What an invoice looks like in a request. The ledger reads it; this describes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Decimal;

/// An invoice to be sealed. Fields may stand in any order; what is left out is computed where it can be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = InvoiceRequest, title = "InvoiceRequest", example = json!({
    "merchant_nif": "A1234567B",
    "outlet_id": "outlet-gombe",
    "pos_terminal_id": "till-1",
    "cashier_id": "cashier-7",
    "invoice_type": "sale",
    "client": { "name": "", "nif": "", "classification": "individual" },
    "items": [
        { "code": "RIZ-25", "description": "Riz parfumé, sac de 25 kg", "quantity": "2", "unit_price": "45000.00", "tax_group": "TG02", "taxable_unit": "sac" },
        { "code": "LIV", "description": "Livraison", "quantity": "1", "unit_price": "5000.00", "tax_group": "TG03" }
    ],
    "payments": [
        { "method": "mobile_money", "amount": "110200.00", "currency": "CDF", "instrument_id": "MP261128.0815.C77", "provider": "mpesa" }
    ]
}))]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the ledger reads invoices itself, from their text; this only describes them"
)]
pub(crate) struct InvoiceRequest {
    /// The merchant's tax number: the outlet's own.
    #[schema(example = "A1234567B", min_length = 1, max_length = 64)]
    merchant_nif: String,
    /// The outlet, one of the caller's.
    #[schema(example = "outlet-gombe", min_length = 1, max_length = 64)]
    outlet_id: String,
    /// The terminal that sells.
    #[schema(example = "till-1", min_length = 1, max_length = 64)]
    pos_terminal_id: String,
    /// Who sells; may be empty or absent for programs.
    #[schema(required = false, example = "cashier-7", max_length = 64)]
    cashier_id: String,
    invoice_type: InvoiceKind,
    /// When the client made it: recorded, never used for order. Now, when it is absent.
    #[schema(required = false, example = "2026-11-28T10:15:30Z", format = DateTime)]
    timestamp: String,
    /// The invoice that a credit note credits; required for `credit_note` and `export_credit`, and for nothing else.
    #[schema(required = false, example = "KIN-GOMBE-42", min_length = 1, max_length = 64)]
    original_fiscal_number: String,
    client: ClientRequest,
    /// The lines: 1 to 2,000.
    #[schema(min_items = 1, max_items = 2000)]
    items: Vec<ItemRequest>,
    /// Computed when absent; when given, it must match to the cent.
    #[schema(required = false, max_items = 14)]
    tax_groups: Vec<TaxGroupRequest>,
    #[schema(required = false)]
    totals: TotalsRequest,
    /// How it was paid: at most 64.
    #[schema(required = false, max_items = 64)]
    payments: Vec<PaymentRequest>,
    #[schema(required = false)]
    fx: FxRequest,
    #[schema(required = false)]
    price_mode: PriceModeRequest,
    /// The tax table that the client computed with; the one in force when absent.
    #[schema(required = false, example = "2026-02-01", min_length = 1, max_length = 64)]
    tax_manifest_version: String,
    /// At most 32 entries of 256 bytes.
    #[schema(required = false)]
    metadata: BTreeMap<String, String>,
    /// ISO 4217, where `totals` is absent. CDF when both are.
    #[schema(required = false, example = "CDF", pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// What an invoice is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = InvoiceType)]
pub(crate) enum InvoiceKind {
    Sale,
    Advance,
    CreditNote,
    Export,
    ExportCredit,
}

/// Whether unit prices include tax; `exclusive` when absent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PriceMode)]
pub(crate) enum PriceModeRequest {
    Exclusive,
    Inclusive,
}

/// Whom the invoice is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientRequest)]
#[expect(dead_code, reason = "the ledger reads invoices itself; this only describes them")]
pub(crate) struct ClientRequest {
    /// The name; may be empty.
    #[schema(
        required = false,
        max_length = 512,
        pattern = "^[ -~À-ÿ]*$",
        example = "Brasserie du Fleuve SARL"
    )]
    name: String,
    /// The tax number; required for `company` and `commercial_individual`.
    #[schema(required = false, max_length = 64, example = "C7654321D")]
    nif: String,
    classification: ClassificationRequest,
}

/// What the client is to the tax law.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Classification)]
pub(crate) enum ClassificationRequest {
    Individual,
    Company,
    CommercialIndividual,
    Professional,
    Embassy,
}

/// One line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ItemRequest)]
#[expect(dead_code, reason = "the ledger reads invoices itself; this only describes them")]
pub(crate) struct ItemRequest {
    /// The article's code.
    #[schema(required = false, max_length = 64, example = "RIZ-25")]
    code: String,
    /// What it is.
    #[schema(
        min_length = 1,
        max_length = 512,
        pattern = "^[ -~À-ÿ]+$",
        example = "Riz, sac de 25 kg"
    )]
    description: String,
    /// More than 0, up to 3 decimals.
    quantity: Decimal,
    /// Not negative, up to 2 decimals.
    unit_price: Decimal,
    /// An amount, at most the line's.
    #[schema(required = false)]
    discount: Decimal,
    /// TG01 to TG14.
    #[schema(pattern = "^TG(0[1-9]|1[0-4])$", example = "TG02")]
    tax_group: String,
    /// The unit.
    #[schema(required = false, max_length = 64, example = "sac")]
    taxable_unit: String,
    /// What the tax group asks for, as `export_certificate`.
    #[schema(required = false, example = json!({ "export_certificate": "EXP-2026-114" }))]
    references: BTreeMap<String, String>,
}

/// A tax group, as the client computed it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TaxGroupRequest)]
#[expect(dead_code, reason = "the ledger reads invoices itself; this only describes them")]
pub(crate) struct TaxGroupRequest {
    /// TG01 to TG14.
    #[schema(pattern = "^TG(0[1-9]|1[0-4])$", example = "TG02")]
    code: String,
    /// Its English or French name.
    #[schema(required = false, example = "Standard VAT, goods")]
    name: String,
    #[schema(required = false)]
    rate: Decimal,
    #[schema(required = false)]
    base_amount: Decimal,
    #[schema(required = false)]
    tax_amount: Decimal,
}

/// The totals, as the client computed them; all or some.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TotalsRequest)]
#[expect(dead_code, reason = "the ledger reads invoices itself; this only describes them")]
pub(crate) struct TotalsRequest {
    #[schema(required = false)]
    subtotal: Decimal,
    #[schema(required = false)]
    total_vat: Decimal,
    #[schema(required = false)]
    total: Decimal,
    /// ISO 4217.
    #[schema(required = false, example = "CDF", pattern = "^[A-Z]{3}$")]
    currency: String,
    #[schema(required = false)]
    rounding_adjustment: Decimal,
}

/// One payment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PaymentRequest)]
#[expect(dead_code, reason = "the ledger reads invoices itself; this only describes them")]
pub(crate) struct PaymentRequest {
    method: PaymentMethodRequest,
    amount: Decimal,
    /// The invoice's when absent.
    #[schema(required = false, example = "CDF", pattern = "^[A-Z]{3}$")]
    currency: String,
    /// The instrument's reference.
    #[schema(required = false, max_length = 64, example = "MP261128.0815.C77")]
    instrument_id: String,
    /// Who runs the wallet; only with `mobile_money`.
    #[schema(required = false)]
    provider: ProviderRequest,
}

/// How money changes hands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentMethod)]
pub(crate) enum PaymentMethodRequest {
    Cash,
    MobileMoney,
    Card,
    BankTransfer,
    Credit,
    Voucher,
    Other,
}

/// Who runs a mobile wallet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Provider)]
pub(crate) enum ProviderRequest {
    Mpesa,
    AirtelMoney,
    OrangeMoney,
    MtnMomo,
}

/// The exchange into the reporting currency, on an invoice in another one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FxRequest)]
#[expect(dead_code, reason = "the ledger reads invoices itself; this only describes them")]
pub(crate) struct FxRequest {
    /// Units of the reporting currency for one; up to 6 decimals.
    rate: Decimal,
    #[schema(required = false, example = "CDF", pattern = "^[A-Z]{3}$")]
    reporting_currency: String,
    #[schema(required = false)]
    tax_in_reporting_currency: Decimal,
}
