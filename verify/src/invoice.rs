//! A canonical invoice: its form, and what taxes and totals are computed from.

use std::borrow::Cow;

use crate::decimal::{amount, fixed, signed_amount, trimmed};
use crate::manifest::GROUPS;
use crate::qr::TYPES;
use crate::scan::{Scanner, Unreadable};
use crate::time;

/// Longer payloads are no invoices.
pub(crate) const INVOICE_BYTES_MAX: usize = 1 << 20;
const IDENTIFIER: usize = 64;
const LONG_TEXT: usize = 512;
const ITEMS_MAX: usize = 2_000;
const PAYMENTS_MAX: usize = 64;
const ENTRIES_MAX: usize = 32;
const METADATA_BYTES_MAX: usize = 256;
/// In the order in which totals are kept.
pub(crate) const METHODS: [&str; 7] =
    ["cash", "mobile_money", "card", "bank_transfer", "credit", "voucher", "other"];
const PROVIDERS: [&str; 4] = ["mpesa", "airtel_money", "orange_money", "mtn_momo"];
pub(crate) const COMPANY: usize = 1;
pub(crate) const PROFESSIONAL: usize = 3;
pub(crate) const EMBASSY: usize = 4;
const CLASSES: [&str; 5] =
    ["individual", "company", "commercial_individual", "professional", "embassy"];

/// Three capital letters.
pub(crate) type Currency = [u8; 3];
type Texts<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// In thousandths.
    pub(crate) quantity: i64,
    pub(crate) unit_price: i64,
    pub(crate) discount: i64,
    /// 0 for TG01.
    pub(crate) group: usize,
    pub(crate) references: Texts<'a>,
}

/// The sums of a tax group as the invoice states them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupSums<'a> {
    pub(crate) group: usize,
    pub(crate) name: Cow<'a, str>,
    pub(crate) rate: i64,
    pub(crate) base: i64,
    pub(crate) tax: i64,
}

/// The totals as the invoice states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) subtotal: i64,
    pub(crate) vat: i64,
    pub(crate) total: i64,
    pub(crate) currency: Currency,
    pub(crate) rounding: i64,
}

/// A payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) method: usize,
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
}

/// Taxes in the reporting currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fx {
    /// In millionths.
    pub(crate) rate: i64,
    pub(crate) currency: Currency,
    pub(crate) tax: i64,
}

/// An invoice in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invoice<'a> {
    pub(crate) outlet: Cow<'a, str>,
    pub(crate) terminal: Cow<'a, str>,
    /// Its place in [`TYPES`].
    pub(crate) kind: usize,
    pub(crate) original: Option<Cow<'a, str>>,
    /// Its place among the classifications.
    pub(crate) class: usize,
    pub(crate) items: Vec<Item<'a>>,
    pub(crate) groups: Vec<GroupSums<'a>>,
    pub(crate) totals: Totals,
    pub(crate) payments: Vec<Payment>,
    pub(crate) fx: Option<Fx>,
    pub(crate) inclusive: bool,
    pub(crate) manifest: Cow<'a, str>,
    pub(crate) metadata: Texts<'a>,
}

impl Invoice<'_> {
    /// Credit notes subtract.
    pub(crate) fn is_credit(&self) -> bool {
        TYPES[self.kind].ends_with("credit") || TYPES[self.kind].starts_with("credit")
    }
}

impl<'a> Invoice<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Unreadable> {
        let mut scanner = Scanner::new(text);
        if text.len() > INVOICE_BYTES_MAX {
            return Err(scanner.error("an invoice has at most 1 MiB"));
        }
        let invoice = Self::read(&mut scanner)?;
        scanner.finish()?;
        Ok(invoice)
    }

    fn read(s: &mut Scanner<'a>) -> Result<Self, Unreadable> {
        s.literal("{\"merchant_nif\":")?;
        s.text(1, IDENTIFIER)?;
        s.literal(",\"outlet_id\":")?;
        let outlet = s.text(1, IDENTIFIER)?;
        s.literal(",\"pos_terminal_id\":")?;
        let terminal = s.text(1, IDENTIFIER)?;
        s.literal(",\"cashier_id\":")?;
        s.text(0, IDENTIFIER)?;
        s.literal(",\"invoice_type\":")?;
        let kind = s.parsed("an invoice type", |word| place(&TYPES, word))?;
        s.literal(",\"timestamp\":")?;
        s.parsed("a UTC time", time::parse)?;
        let original = if s.take(",\"original_fiscal_number\":") {
            Some(s.text(1, IDENTIFIER)?)
        } else {
            None
        };
        s.literal(",\"client\":{\"name\":")?;
        s.text(0, LONG_TEXT)?;
        s.literal(",\"nif\":")?;
        let nif = s.text(0, IDENTIFIER)?;
        s.literal(",\"classification\":")?;
        let class = s.parsed("a class of client", |word| place(&CLASSES, word))?;
        if nif.trim().is_empty() && (COMPANY..PROFESSIONAL).contains(&class) {
            return Err(s.error("a client of this class needs its tax number"));
        }
        s.literal("},\"items\":")?;
        let items = s.list(ITEMS_MAX, read_item)?;
        s.literal(",\"tax_groups\":")?;
        let groups = s.list(GROUPS, read_group)?;
        s.literal(",\"totals\":")?;
        let totals = read_totals(s)?;
        s.literal(",\"payments\":")?;
        let payments = s.list(PAYMENTS_MAX, read_payment)?;
        let fx = if s.take(",\"fx\":{\"rate\":") { Some(read_fx(s)?) } else { None };
        let inclusive = s.take(",\"price_mode\":\"inclusive\"");
        s.literal(",\"tax_manifest_version\":")?;
        let manifest = s.text(1, IDENTIFIER)?;
        let metadata = read_texts(s, ",\"metadata\":", METADATA_BYTES_MAX)?;
        s.literal("}")?;
        let invoice = Self {
            outlet,
            terminal,
            kind,
            original,
            class,
            items,
            groups,
            totals,
            payments,
            fx,
            inclusive,
            manifest,
            metadata,
        };
        if invoice.is_credit() != invoice.original.is_some() {
            return Err(
                s.error("credit notes, and nothing else, name the invoice that they credit")
            );
        }
        Ok(invoice)
    }
}

fn place(words: &[&str], word: &str) -> Option<usize> {
    words.iter().position(|known| *known == word)
}

fn currency(word: &str) -> Option<Currency> {
    let letters: Currency = word.as_bytes().try_into().ok()?;
    letters.iter().all(u8::is_ascii_uppercase).then_some(letters)
}

/// `TG01` to `TG14`.
fn group(word: &str) -> Option<usize> {
    let digits = word.strip_prefix("TG").filter(|digits| digits.len() == 2)?;
    let number: usize =
        digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    (1..=GROUPS).contains(&number).then(|| number - 1)
}

fn read_item<'a>(s: &mut Scanner<'a>) -> Result<Item<'a>, Unreadable> {
    s.literal("{\"code\":")?;
    s.text(0, IDENTIFIER)?;
    s.literal(",\"description\":")?;
    s.text(1, LONG_TEXT)?;
    s.literal(",\"quantity\":")?;
    let quantity = s.parsed("a quantity", |text| trimmed(text, 3))?;
    s.literal(",\"unit_price\":")?;
    let unit_price = s.parsed("an amount", amount)?;
    let discount = if s.take(",\"discount\":") {
        s.parsed("a discount of more than 0.00", |text| {
            amount(text).filter(|discount| *discount > 0)
        })?
    } else {
        0
    };
    s.literal(",\"tax_group\":")?;
    let group = s.parsed("a tax group", group)?;
    s.literal(",\"taxable_unit\":")?;
    s.text(0, IDENTIFIER)?;
    let references = read_texts(s, ",\"references\":", IDENTIFIER)?;
    s.literal("}")?;
    Ok(Item { quantity, unit_price, discount, group, references })
}

fn read_group<'a>(s: &mut Scanner<'a>) -> Result<GroupSums<'a>, Unreadable> {
    s.literal("{\"code\":")?;
    let group = s.parsed("a tax group", group)?;
    s.literal(",\"name\":")?;
    let name = s.text(0, 2 * IDENTIFIER)?;
    s.literal(",\"rate\":")?;
    let rate = s.parsed("a rate with four decimals", |text| fixed(text, 4))?;
    s.literal(",\"base_amount\":")?;
    let base = s.parsed("an amount", amount)?;
    s.literal(",\"tax_amount\":")?;
    let tax = s.parsed("an amount", amount)?;
    s.literal("}")?;
    Ok(GroupSums { group, name, rate, base, tax })
}

fn read_totals(s: &mut Scanner<'_>) -> Result<Totals, Unreadable> {
    s.literal("{\"subtotal\":")?;
    let subtotal = s.parsed("an amount", amount)?;
    s.literal(",\"total_vat\":")?;
    let vat = s.parsed("an amount", amount)?;
    s.literal(",\"total\":")?;
    let total = s.parsed("an amount", amount)?;
    s.literal(",\"currency\":")?;
    let currency = s.parsed("a currency", currency)?;
    s.literal(",\"rounding_adjustment\":")?;
    let rounding = s.parsed("an amount", signed_amount)?;
    s.literal("}")?;
    Ok(Totals { subtotal, vat, total, currency, rounding })
}

fn read_payment(s: &mut Scanner<'_>) -> Result<Payment, Unreadable> {
    s.literal("{\"method\":")?;
    let method = s.parsed("a payment method", |word| place(&METHODS, word))?;
    s.literal(",\"amount\":")?;
    let amount = s.parsed("an amount", amount)?;
    s.literal(",\"currency\":")?;
    let currency = s.parsed("a currency", currency)?;
    s.literal(",\"instrument_id\":")?;
    s.text(0, IDENTIFIER)?;
    if METHODS[method] == "mobile_money" && s.take(",\"provider\":") {
        s.parsed("a provider", |word| place(&PROVIDERS, word))?;
    }
    s.literal("}")?;
    Ok(Payment { method, amount, currency })
}

/// What follows the name of its first member.
fn read_fx(s: &mut Scanner<'_>) -> Result<Fx, Unreadable> {
    let rate = s.parsed("a rate", |text| trimmed(text, 6))?;
    s.literal(",\"reporting_currency\":")?;
    let currency = s.parsed("a currency", currency)?;
    s.literal(",\"tax_in_reporting_currency\":")?;
    let tax = s.parsed("an amount", amount)?;
    s.literal("}")?;
    Ok(Fx { rate, currency, tax })
}

/// An object of texts with sorted keys; it is left out when it is empty.
fn read_texts<'a>(s: &mut Scanner<'a>, name: &str, most: usize) -> Result<Texts<'a>, Unreadable> {
    let mut entries: Texts<'a> = Vec::new();
    if !s.take(name) {
        return Ok(entries);
    }
    s.literal("{")?;
    loop {
        let key = s.text(1, most)?;
        if entries.last().is_some_and(|(before, _)| before.as_bytes() >= key.as_bytes()) {
            return Err(s.error("the keys are not sorted, or one stands there twice"));
        }
        s.literal(":")?;
        let value = s.text(0, most)?;
        entries.push((key, value));
        if s.take("}") {
            return Ok(entries);
        }
        if entries.len() == ENTRIES_MAX {
            return Err(s.error("there are more than 32 entries"));
        }
        s.literal(",")?;
    }
}
