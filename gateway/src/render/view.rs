//! A receipt as texts in their places: what every output shows, in one language.

use fiscus_ledger::credential::Credential;
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::{Hash32, from_hex, payload_hash};
use fiscus_ledger::invoice::{
    CanonicalInvoice, Classification, InvoiceType, Item, PaymentMethod, PriceMode, Provider,
};
use fiscus_ledger::json::Value;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::money::Amount;
use fiscus_ledger::qr::{QrError, QrFields, QrPayload};
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::seal::{AuthCode, hidden_hash};
use fiscus_ledger::time::UnixMs;

use super::Language;
use super::text::visible;
use super::words::Words;

/// Which printing of a receipt this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMark {
    /// The first.
    Original,
    /// A reprint, and which.
    Duplicate(u64),
    /// A look at the receipt, which is no receipt.
    Preview,
}

/// The merchant as its receipts name it.
#[derive(Debug, Clone, Copy)]
pub struct MerchantLabel<'a> {
    /// The name.
    pub name: &'a str,
    /// The tax number.
    pub nif: &'a str,
    /// The number in the register of commerce; empty when there is none.
    pub rccm: &'a str,
    /// The address.
    pub address: &'a str,
}

/// The outlet as its receipts name it.
#[derive(Debug, Clone, Copy)]
pub struct OutletLabel<'a> {
    /// The name.
    pub name: &'a str,
    /// The address.
    pub address: &'a str,
    /// Whether its receipts count.
    pub environment: Environment,
}

/// What a receipt is made of.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptParts<'a> {
    /// The sealed record.
    pub record: &'a Record<'a>,
    /// The signature of its entry hash.
    pub signature: &'a [u8; 64],
    /// The invoice in it.
    pub invoice: &'a CanonicalInvoice<'a>,
    /// The manifest that the invoice names.
    pub manifest: &'a Manifest,
    /// For an invoice that a terminal sealed offline: its credential. With it the receipt carries the
    /// terminal's code, which can be checked offline, without it the ledger's.
    pub credential: Option<&'a Credential>,
    /// Who sells.
    pub merchant: MerchantLabel<'a>,
    /// Where.
    pub outlet: OutletLabel<'a>,
    /// Who answers at the address in the QR code.
    pub verify_host: &'a str,
    /// Which printing this is.
    pub mark: CopyMark,
    /// The language.
    pub language: Language,
}

/// Why a record has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A closure, an event: nothing was sold.
    #[error("a record of kind {0} is no invoice and has no receipt")]
    NotAnInvoice(&'static str),
    /// The record of an offline seal does not hold one.
    #[error("the offline seal in the record lacks {0}, or has it in another form")]
    OfflineSeal(&'static str),
    /// The parts make no QR code.
    #[error("no QR code can be made: {0}")]
    Qr(#[from] QrError),
}

/// A label and its value.
pub(super) type Pair = (String, String);

/// One line of the invoice.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) index: String,
    pub(super) description: String,
    /// Code, references, discount.
    pub(super) details: Vec<String>,
    pub(super) group: &'static str,
    pub(super) quantity: String,
    pub(super) unit_price: String,
    pub(super) net: String,
    pub(super) tax: String,
    pub(super) gross: String,
}

/// One tax group of the invoice.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) code: &'static str,
    pub(super) name: String,
    pub(super) rate: String,
    pub(super) net: String,
    pub(super) tax: String,
    pub(super) gross: String,
}

/// A receipt, ready for any output.
#[derive(Debug, Clone)]
pub struct ReceiptView {
    pub(super) language: Language,
    pub(super) payload: QrPayload,
    /// What stands above everything: TEST, DUPLICATA, APERÇU.
    pub(super) banners: Vec<String>,
    pub(super) invoice_type: &'static str,
    pub(super) number: String,
    pub(super) date: String,
    pub(super) merchant_name: String,
    pub(super) merchant: Vec<Pair>,
    pub(super) outlet: Vec<Pair>,
    pub(super) client: Vec<Pair>,
    pub(super) original: Option<Pair>,
    pub(super) currency: String,
    pub(super) lines: Vec<Line>,
    pub(super) groups: Vec<Group>,
    /// HT, TVA, rounding.
    pub(super) totals: Vec<Pair>,
    pub(super) grand_total: Pair,
    pub(super) payments: Vec<Pair>,
    pub(super) fx: Vec<Pair>,
    /// The security elements but the QR code.
    pub(super) security: Vec<Pair>,
    pub(super) notes: Vec<String>,
    pub(super) verify: String,
}

impl ReceiptView {
    /// Spells the parts out.
    pub fn new(parts: &ReceiptParts<'_>) -> Result<Self, ViewError> {
        let kind = parts.record.kind;
        let invoice_type =
            kind.invoice_type().ok_or_else(|| ViewError::NotAnInvoice(kind.as_str()))?;
        let seal = match kind {
            RecordKind::Offline(_) => Some(InnerSeal::read(parts)?),
            _ => None,
        };
        let payload = QrPayload::new(qr_fields(parts, seal.as_ref()))?;
        let (language, words) = (parts.language, parts.language.words());
        let invoice = parts.invoice;
        let type_at = InvoiceType::ALL.iter().position(|known| *known == invoice_type);
        let original = invoice.original_fiscal_number();
        Ok(Self {
            language,
            banners: banners(parts, words),
            invoice_type: words.invoice_types[type_at.unwrap_or_default()],
            number: parts.record.fiscal_number.to_owned(),
            date: language.moment(payload.fields().timestamp),
            merchant_name: visible(parts.merchant.name),
            merchant: merchant(parts, words),
            outlet: outlet(parts, words),
            client: client(parts, words),
            original: original.map(|number| pair(words.original, number)),
            currency: invoice.totals().currency.as_str().to_owned(),
            lines: lines(parts),
            groups: groups(parts),
            totals: totals(parts, words),
            grand_total: (words.total_gross.to_owned(), money(parts, invoice.totals().total)),
            payments: payments(parts, words),
            fx: fx(parts, words),
            security: security(&payload, parts, seal.as_ref()),
            notes: notes(parts, words),
            verify: format!("{} https://{}/", words.verify, payload.fields().host),
            payload,
        })
    }

    /// What the QR code holds.
    #[must_use]
    pub fn qr(&self) -> &QrPayload {
        &self.payload
    }

    /// The language of the receipt.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    pub(super) fn words(&self) -> &'static Words {
        self.language.words()
    }
}

fn pair(label: &str, value: &str) -> Pair {
    (label.to_owned(), visible(value))
}

/// Pairs whose value says something.
fn filled<const N: usize>(pairs: [(&str, &str); N]) -> Vec<Pair> {
    let filled = pairs.into_iter().filter(|(_, value)| !value.trim().is_empty());
    filled.map(|(label, value)| pair(label, value)).collect()
}

fn amount(parts: &ReceiptParts<'_>, amount: Amount) -> String {
    parts.language.figure(&amount.to_string())
}

fn money(parts: &ReceiptParts<'_>, amount: Amount) -> String {
    parts.language.money(&amount.to_string(), parts.invoice.totals().currency.as_str())
}

fn banners(parts: &ReceiptParts<'_>, words: &Words) -> Vec<String> {
    let test = (parts.outlet.environment == Environment::Sandbox).then(|| words.test.to_owned());
    let copy = match parts.mark {
        CopyMark::Original => None,
        CopyMark::Duplicate(count) => Some(format!("{} {count}", words.duplicate)),
        CopyMark::Preview => Some(words.preview.to_owned()),
    };
    test.into_iter().chain(copy).collect()
}

fn merchant(parts: &ReceiptParts<'_>, words: &Words) -> Vec<Pair> {
    let merchant = &parts.merchant;
    filled([
        (words.nif, merchant.nif),
        (words.rccm, merchant.rccm),
        (words.address, merchant.address),
    ])
}

fn outlet(parts: &ReceiptParts<'_>, words: &Words) -> Vec<Pair> {
    filled([
        (words.outlet, parts.outlet.name),
        (words.code, parts.invoice.outlet_id()),
        (words.address, parts.outlet.address),
        (words.terminal, parts.invoice.pos_terminal_id()),
        (words.operator, parts.invoice.cashier_id()),
    ])
}

fn client(parts: &ReceiptParts<'_>, words: &Words) -> Vec<Pair> {
    let client = parts.invoice.client();
    let at = Classification::ALL.iter().position(|known| *known == client.classification);
    filled([
        (words.client_name, &client.name),
        (words.nif, &client.nif),
        (words.classification, words.classifications[at.unwrap_or_default()]),
    ])
}

fn lines(parts: &ReceiptParts<'_>) -> Vec<Line> {
    let line = |(at, item): (usize, &Item<'_>)| {
        // Both are within the limits of an amount, because the group's total is.
        let gross = item.base.checked_add(item.tax).unwrap_or(item.base);
        let unit = item.taxable_unit.trim();
        let number = parts.language.figure(&item.quantity.to_string());
        Line {
            index: (at + 1).to_string(),
            description: visible(&item.description),
            details: details(parts, item),
            group: item.tax_group.as_str(),
            quantity: if unit.is_empty() { number } else { format!("{number} {}", visible(unit)) },
            unit_price: amount(parts, item.unit_price),
            net: amount(parts, item.base),
            tax: amount(parts, item.tax),
            gross: amount(parts, gross),
        }
    };
    parts.invoice.items().iter().enumerate().map(line).collect()
}

fn details(parts: &ReceiptParts<'_>, item: &Item<'_>) -> Vec<String> {
    let (language, words) = (parts.language, parts.language.words());
    let mut details = Vec::new();
    if !item.code.trim().is_empty() {
        details.push(language.labelled(words.code, &visible(&item.code)));
    }
    if item.discount != Amount::ZERO {
        details
            .push(language.labelled(words.discount, &format!("-{}", amount(parts, item.discount))));
    }
    let references = item.references.iter();
    details
        .extend(references.map(|(name, value)| language.labelled(&visible(name), &visible(value))));
    details
}

fn groups(parts: &ReceiptParts<'_>) -> Vec<Group> {
    let group = |total: &fiscus_ledger::invoice::GroupTotal| {
        let known = parts.manifest.group(total.code);
        let gross = total.base.checked_add(total.tax).unwrap_or(total.base);
        Group {
            code: total.code.as_str(),
            name: visible(match parts.language {
                Language::French => &known.name_fr,
                Language::English => &known.name,
            }),
            rate: parts.language.percent(total.rate),
            net: amount(parts, total.base),
            tax: amount(parts, total.tax),
            gross: amount(parts, gross),
        }
    };
    parts.invoice.tax_groups().iter().map(group).collect()
}

fn totals(parts: &ReceiptParts<'_>, words: &Words) -> Vec<Pair> {
    let totals = parts.invoice.totals();
    vec![
        (words.total_net.to_owned(), money(parts, totals.subtotal)),
        (words.total_tax.to_owned(), money(parts, totals.total_vat)),
        (words.rounding.to_owned(), money(parts, totals.rounding_adjustment)),
    ]
}

fn payments(parts: &ReceiptParts<'_>, words: &Words) -> Vec<Pair> {
    let payment = |payment: &fiscus_ledger::invoice::Payment<'_>| {
        let at = PaymentMethod::ALL.iter().position(|known| *known == payment.method);
        let mut label = words.methods[at.unwrap_or_default()].to_owned();
        if let Some(provider) = payment.provider {
            label.push_str(" · ");
            label.push_str(provider_name(provider));
        }
        if !payment.instrument_id.trim().is_empty() {
            label.push_str(" · ");
            label.push_str(&visible(&payment.instrument_id));
        }
        let currency = payment.currency.as_str();
        (label, parts.language.money(&payment.amount.to_string(), currency))
    };
    parts.invoice.payments().iter().map(payment).collect()
}

/// Names of companies, the same in every language.
fn provider_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Mpesa => "M-Pesa",
        Provider::AirtelMoney => "Airtel Money",
        Provider::OrangeMoney => "Orange Money",
        Provider::MtnMomo => "MTN MoMo",
    }
}

fn fx(parts: &ReceiptParts<'_>, words: &Words) -> Vec<Pair> {
    let Some(fx) = parts.invoice.fx() else { return Vec::new() };
    let (own, reporting) = (parts.invoice.totals().currency, fx.reporting_currency);
    let rate = parts.language.money(&fx.rate.to_string(), reporting.as_str());
    let tax = parts.language.money(&fx.tax.to_string(), reporting.as_str());
    vec![
        (words.fx_rate.to_owned(), format!("1\u{a0}{} = {rate}", own.as_str())),
        (format!("{} {}", words.fx_tax, reporting.as_str()), tax),
    ]
}

fn notes(parts: &ReceiptParts<'_>, words: &Words) -> Vec<String> {
    let prices = match parts.invoice.price_mode() {
        PriceMode::Exclusive => words.prices_exclusive,
        PriceMode::Inclusive => words.prices_inclusive,
    };
    let manifest =
        parts.language.labelled(words.manifest, &visible(parts.invoice.manifest_version()));
    let mut notes = vec![prices.to_owned(), manifest];
    let metadata = parts.invoice.metadata();
    if let Some((_, reason)) = metadata.iter().find(|(name, _)| name == "tax_override_reason") {
        notes.push(parts.language.labelled(words.override_reason, &visible(reason)));
    }
    notes
}

fn security(payload: &QrPayload, parts: &ReceiptParts<'_>, seal: Option<&InnerSeal>) -> Vec<Pair> {
    let words = parts.language.words();
    let fields = payload.fields();
    let mut pairs = vec![
        pair(words.fiscal_number, &fields.fiscal_number),
        pair(words.authority, &fields.authority_id),
        pair(words.auth_code, &payload.auth_code().to_string()),
        pair(words.timestamp, &fields.timestamp.to_string()),
    ];
    let Some(seal) = seal else { return pairs };
    // Two codes answer for one sale, and either may be asked for.
    if parts.credential.is_some() {
        pairs.push(pair(words.recorded, &parts.record.timestamp.to_string()));
        let code = AuthCode::of_signature(parts.signature).to_string();
        pairs.push(pair(words.ledger_code, &code));
    } else {
        pairs.push(pair(words.sealed_offline, &seal.timestamp.to_string()));
    }
    pairs
}

/// What a terminal made of an invoice, from the payload of the ledger's record.
#[derive(Debug)]
struct InnerSeal {
    credential_id: String,
    timestamp: UnixMs,
    hidden: Hash32,
    signature: [u8; 64],
}

impl InnerSeal {
    fn read(parts: &ReceiptParts<'_>) -> Result<Self, ViewError> {
        let text = std::str::from_utf8(parts.record.payload).unwrap_or_default();
        let payload = Value::parse(text).map_err(|_| ViewError::OfflineSeal("a payload"))?;
        let member = |name: &'static str| match payload.member(name) {
            Some(Value::String(text)) => Ok(text.as_ref()),
            _ => Err(ViewError::OfflineSeal(name)),
        };
        let place = match payload.member("place") {
            Some(Value::Number(text)) => text.parse::<u64>().ok(),
            _ => None,
        };
        let time = UnixMs::parse_canonical(member("timestamp")?);
        let hidden = hidden_hash(
            parts.record.outlet_id,
            place.ok_or(ViewError::OfflineSeal("place"))?,
            &payload_hash(parts.invoice.canonical_bytes()),
            &from_hex(member("blind")?).ok_or(ViewError::OfflineSeal("blind"))?,
            &from_hex(member("prev_hash")?).ok_or(ViewError::OfflineSeal("prev_hash"))?,
        );
        Ok(Self {
            credential_id: member("credential_id")?.to_owned(),
            timestamp: time.ok_or(ViewError::OfflineSeal("timestamp"))?,
            hidden,
            signature: from_hex(member("signature")?).ok_or(ViewError::OfflineSeal("signature"))?,
        })
    }
}

/// The code that the receipt carries: the terminal's own where its credential is at hand.
fn qr_fields(parts: &ReceiptParts<'_>, seal: Option<&InnerSeal>) -> QrFields {
    let ledger = QrFields::of_online_seal(parts.verify_host, parts.record, *parts.signature);
    let (Some(seal), Some(credential)) = (seal, parts.credential) else { return ledger };
    QrFields {
        timestamp: seal.timestamp,
        kind: parts.invoice.invoice_type().as_str().to_owned(),
        authority_id: seal.credential_id.clone(),
        hidden_hash: seal.hidden,
        signature: seal.signature,
        credential: Some(credential.clone()),
        ..ledger
    }
}
