//! From raw text to a draft: the form of every field, and every limit.
//!
//! One reader serves both ways in; the mode decides what it lets pass. In strict mode the order of the
//! fields, the spelling of decimals and the form of text are checked here so that the refusal can name
//! the field; that nothing else was let pass is settled by comparing the canonical bytes afterwards.

use std::borrow::Cow;

use super::draft::{ClientDraft, Draft, FxDraft, GroupDraft, PaymentDraft, TotalsDraft};
use super::types::{
    Classification, Currency, GroupCode, InvoiceType, Item, Payment, PaymentMethod, PriceMode,
    Provider, Texts,
};
use super::{
    DESCRIPTION_BYTES_MAX, ENTRIES_MAX, IDENTIFIER_BYTES_MAX, ITEMS_MAX, METADATA_BYTES_MAX,
    PAYMENTS_MAX,
};
use crate::json::{JsonError, Kind, Reader};
use crate::money::{
    Amount, DecimalError, DecimalText, FxRate, Quantity, Rate, parse_decimal, parse_fixed,
    parse_trimmed,
};
use crate::problem::{Code, Problem};
use crate::text::{first_unassigned, is_normalized, normalize};
use crate::time::UnixMs;

type Result<T> = std::result::Result<T, Problem>;

/// Which way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// REST.
    Lenient,
    /// Devices and apply.
    Strict,
}

/// Reads one whole document.
pub(super) fn read(text: &str, mode: Mode) -> Result<Draft<'_>> {
    let mut document = Document { reader: Reader::new(text), mode };
    let draft = document.invoice()?;
    document.reader.finish().map_err(json)?;
    Ok(draft)
}

struct Document<'a> {
    reader: Reader<'a>,
    mode: Mode,
}

/// The members of one object: which there may be, and which have been seen.
struct Members {
    names: &'static [&'static str],
    seen: u32,
    next: usize,
    first: bool,
}

const INVOICE: &[&str] = &[
    "merchant_nif",
    "outlet_id",
    "pos_terminal_id",
    "cashier_id",
    "invoice_type",
    "timestamp",
    "original_fiscal_number",
    "client",
    "items",
    "tax_groups",
    "totals",
    "payments",
    "fx",
    "price_mode",
    "tax_manifest_version",
    "metadata",
    "currency",
];
const CLIENT: &[&str] = &["name", "nif", "classification"];
const ITEM: &[&str] = &[
    "code",
    "description",
    "quantity",
    "unit_price",
    "discount",
    "tax_group",
    "taxable_unit",
    "references",
];
const GROUP: &[&str] = &["code", "name", "rate", "base_amount", "tax_amount"];
const TOTALS: &[&str] = &["subtotal", "total_vat", "total", "currency", "rounding_adjustment"];
const PAYMENT: &[&str] = &["method", "amount", "currency", "instrument_id", "provider"];
const FX: &[&str] = &["rate", "reporting_currency", "tax_in_reporting_currency"];

fn json(error: JsonError) -> Problem {
    let detail = format!("the document is not valid JSON: {error}");
    Problem::new(Code::JsonInvalid, detail)
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::FieldInvalid, detail)
}

fn missing() -> Problem {
    Problem::new(Code::FieldMissing, "this field is required")
}

/// Puts a key that the client chose before the pointer. One that is longer than any key may be is left
/// out, so that an answer never echoes the document: the pointer then names the object.
fn at_key(problem: Problem, key: &str) -> Problem {
    if key.len() > METADATA_BYTES_MAX { problem } else { problem.at(key) }
}

impl<'a> Document<'a> {
    fn strict(&self) -> bool {
        self.mode == Mode::Strict
    }

    /// Enters an object.
    fn members(&mut self, names: &'static [&'static str]) -> Result<Members> {
        self.expect(Kind::Object, "an object")?;
        self.reader.begin_object().map_err(json)?;
        Ok(Members { names, seen: 0, next: 0, first: true })
    }

    /// The next member that has a value, as its place in the object's table of names: every invoice has
    /// dozens of them, so they are compared as text once only.
    /// Lenient input may say `null` for nothing.
    fn next(&mut self, members: &mut Members) -> Result<Option<usize>> {
        while let Some(key) = self.reader.next_key(&mut members.first).map_err(json)? {
            let at = self.place(members, &key)?;
            let nothing = !self.strict()
                && self.reader.take_null().map_err(|e| json(e).at(members.names[at]))?;
            if !nothing {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Finds a member's name, and refuses an unknown, a repeated and, strictly, a misplaced one.
    fn place(&self, members: &mut Members, key: &str) -> Result<usize> {
        let names = members.names;
        let expected = names.get(members.next).filter(|name| **name == key).map(|_| members.next);
        let Some(at) = expected.or_else(|| names.iter().position(|name| *name == key)) else {
            let detail = "no such field exists here; check its spelling";
            return Err(at_key(Problem::new(Code::FieldUnknown, detail), key));
        };
        if members.seen >> at & 1 == 1 {
            let detail = "this key stands twice in its object";
            return Err(Problem::new(Code::JsonDuplicateKey, detail).at(key));
        }
        if self.strict() && at < members.next {
            let detail = "this field stands out of its canonical order";
            return Err(Problem::new(Code::SchemaInvalid, detail).at(key));
        }
        members.seen |= 1 << at;
        members.next = at + 1;
        Ok(at)
    }

    fn invoice(&mut self) -> Result<Draft<'a>> {
        let mut draft = Draft::default();
        let mut members = self.members(INVOICE)?;
        while let Some(at) = self.next(&mut members)? {
            self.invoice_member(at, &mut draft).map_err(|problem| problem.at(INVOICE[at]))?;
        }
        Ok(draft)
    }

    fn invoice_member(&mut self, at: usize, draft: &mut Draft<'a>) -> Result<()> {
        match at {
            0 /* merchant_nif */ => draft.merchant_nif = Some(self.identifier()?),
            1 /* outlet_id */ => draft.outlet_id = Some(self.identifier()?),
            2 /* pos_terminal_id */ => draft.pos_terminal_id = Some(self.identifier()?),
            3 /* cashier_id */ => draft.cashier_id = Some(self.text(IDENTIFIER_BYTES_MAX)?),
            4 /* invoice_type */ => {
                draft.invoice_type = Some(self.word(InvoiceType::parse, "an invoice type")?);
            }
            5 /* timestamp */ => draft.timestamp = Some(self.timestamp()?),
            6 /* original_fiscal_number */ => draft.original_fiscal_number = Some(self.identifier()?),
            7 /* client */ => draft.client = Some(self.client()?),
            8 /* items */ => draft.items = Some(self.list(ITEMS_MAX, Self::item)?),
            9 /* tax_groups */ => {
                draft.tax_groups = Some(self.list(GroupCode::COUNT, Self::tax_group)?);
            }
            10 /* totals */ => draft.totals = Some(self.totals()?),
            11 /* payments */ => draft.payments = Some(self.list(PAYMENTS_MAX, Self::payment)?),
            12 /* fx */ => draft.fx = Some(self.fx()?),
            13 /* price_mode */ => draft.price_mode = Some(self.price_mode()?),
            14 /* tax_manifest_version */ => draft.tax_manifest_version = Some(self.identifier()?),
            15 /* metadata */ => draft.metadata = Some(self.texts(METADATA_BYTES_MAX)?),
            _ => draft.currency = Some(self.top_currency()?),
        }
        Ok(())
    }

    fn client(&mut self) -> Result<ClientDraft<'a>> {
        let mut client = ClientDraft::default();
        let mut members = self.members(CLIENT)?;
        while let Some(at) = self.next(&mut members)? {
            match at {
                0 /* name */ => self.text(DESCRIPTION_BYTES_MAX).map(|text| client.name = Some(text)),
                1 /* nif */ => self.text(IDENTIFIER_BYTES_MAX).map(|text| client.nif = Some(text)),
                _ => self.classification().map(|class| client.classification = Some(class)),
            }
            .map_err(|problem| problem.at(CLIENT[at]))?;
        }
        Ok(client)
    }

    fn item(&mut self) -> Result<Item<'a>> {
        let (mut quantity, mut unit_price, mut tax_group) = (None, None, None);
        let (mut code, mut description, mut taxable_unit) = (None, None, None);
        let mut discount = Amount::ZERO;
        let mut references = Texts::new();
        let mut members = self.members(ITEM)?;
        while let Some(at) = self.next(&mut members)? {
            match at {
                0 /* code */ => self.text(IDENTIFIER_BYTES_MAX).map(|text| code = Some(text)),
                1 /* description */ => self.described().map(|text| description = Some(text)),
                2 /* quantity */ => self.quantity().map(|value| quantity = Some(value)),
                3 /* unit_price */ => self.price().map(|value| unit_price = Some(value)),
                4 /* discount */ => self.discount().map(|value| discount = value),
                5 /* tax_group */ => self.group_code().map(|value| tax_group = Some(value)),
                6 /* taxable_unit */ => {
                    self.text(IDENTIFIER_BYTES_MAX).map(|text| taxable_unit = Some(text))
                }
                _ => self.texts(IDENTIFIER_BYTES_MAX).map(|texts| references = texts),
            }
            .map_err(|problem| problem.at(ITEM[at]))?;
        }
        Ok(Item {
            code: self.or_empty(code, "code")?,
            description: description.ok_or_else(|| missing().at("description"))?,
            quantity: quantity.ok_or_else(|| missing().at("quantity"))?,
            unit_price: unit_price.ok_or_else(|| missing().at("unit_price"))?,
            discount,
            tax_group: tax_group.ok_or_else(|| missing().at("tax_group"))?,
            taxable_unit: self.or_empty(taxable_unit, "taxable_unit")?,
            references,
            base: Amount::ZERO,
            tax: Amount::ZERO,
        })
    }

    fn tax_group(&mut self) -> Result<GroupDraft<'a>> {
        let mut code = None;
        let (mut name, mut rate, mut base, mut tax) = (None, None, None, None);
        let mut members = self.members(GROUP)?;
        while let Some(at) = self.next(&mut members)? {
            match at {
                0 /* code */ => self.group_code().map(|value| code = Some(value)),
                1 /* name */ => self.text(2 * IDENTIFIER_BYTES_MAX).map(|text| name = Some(text)),
                2 /* rate */ => self.rate().map(|value| rate = Some(value)),
                3 /* base_amount */ => self.price().map(|value| base = Some(value)),
                _ => self.price().map(|value| tax = Some(value)),
            }
            .map_err(|problem| problem.at(GROUP[at]))?;
        }
        self.demand(&[
            (name.is_some(), "name"),
            (rate.is_some(), "rate"),
            (base.is_some(), "base_amount"),
            (tax.is_some(), "tax_amount"),
        ])?;
        Ok(GroupDraft { code: code.ok_or_else(|| missing().at("code"))?, name, rate, base, tax })
    }

    fn totals(&mut self) -> Result<TotalsDraft> {
        let mut totals = TotalsDraft::default();
        let mut members = self.members(TOTALS)?;
        while let Some(at) = self.next(&mut members)? {
            match at {
                0 /* subtotal */ => self.price().map(|value| totals.subtotal = Some(value)),
                1 /* total_vat */ => self.price().map(|value| totals.total_vat = Some(value)),
                2 /* total */ => self.price().map(|value| totals.total = Some(value)),
                3 /* currency */ => self.currency().map(|value| totals.currency = Some(value)),
                _ => self.signed().map(|value| totals.rounding_adjustment = Some(value)),
            }
            .map_err(|problem| problem.at(TOTALS[at]))?;
        }
        self.demand(&[
            (totals.subtotal.is_some(), "subtotal"),
            (totals.total_vat.is_some(), "total_vat"),
            (totals.total.is_some(), "total"),
            (totals.currency.is_some(), "currency"),
            (totals.rounding_adjustment.is_some(), "rounding_adjustment"),
        ])?;
        Ok(totals)
    }

    fn payment(&mut self) -> Result<PaymentDraft<'a>> {
        let (mut method, mut amount, mut currency) = (None, None, None);
        let (mut instrument_id, mut provider) = (None, None);
        let mut members = self.members(PAYMENT)?;
        while let Some(at) = self.next(&mut members)? {
            match at {
                0 /* method */ => self
                    .word(PaymentMethod::parse, "a payment method")
                    .map(|value| method = Some(value)),
                1 /* amount */ => self.price().map(|value| amount = Some(value)),
                2 /* currency */ => self.currency().map(|value| currency = Some(value)),
                3 /* instrument_id */ => {
                    self.text(IDENTIFIER_BYTES_MAX).map(|text| instrument_id = Some(text))
                }
                _ => self.provider().map(|value| provider = value),
            }
            .map_err(|problem| problem.at(PAYMENT[at]))?;
        }
        let method = method.ok_or_else(|| missing().at("method"))?;
        if provider.is_some() && method != PaymentMethod::MobileMoney {
            let detail = "only a mobile_money payment has a provider";
            return Err(Problem::new(Code::ProviderNotAllowed, detail).at("provider"));
        }
        self.demand(&[(currency.is_some(), "currency")])?;
        let payment = Payment {
            method,
            amount: amount.ok_or_else(|| missing().at("amount"))?,
            currency: currency.unwrap_or(Currency::CDF),
            instrument_id: self.or_empty(instrument_id, "instrument_id")?,
            provider,
        };
        Ok(PaymentDraft { payment, own_currency: currency.is_some() })
    }

    fn fx(&mut self) -> Result<FxDraft> {
        let mut fx = FxDraft::default();
        let mut members = self.members(FX)?;
        while let Some(at) = self.next(&mut members)? {
            match at {
                0 /* rate */ => self.fx_rate().map(|value| fx.rate = Some(value)),
                1 /* reporting_currency */ => {
                    self.currency().map(|value| fx.reporting_currency = Some(value))
                }
                _ => self.price().map(|value| fx.tax = Some(value)),
            }
            .map_err(|problem| problem.at(FX[at]))?;
        }
        self.demand(&[
            (fx.reporting_currency.is_some(), "reporting_currency"),
            (fx.tax.is_some(), "tax_in_reporting_currency"),
        ])?;
        Ok(fx)
    }

    /// Strictly, what lenient input may leave out must be there.
    fn demand(&self, members: &[(bool, &str)]) -> Result<()> {
        match members.iter().find(|(present, _)| self.strict() && !present) {
            Some((_, name)) => Err(missing().at(name)),
            None => Ok(()),
        }
    }

    fn or_empty(&self, text: Option<Cow<'a, str>>, name: &str) -> Result<Cow<'a, str>> {
        self.demand(&[(text.is_some(), name)])?;
        Ok(text.unwrap_or_default())
    }

    fn list<T>(
        &mut self,
        most: usize,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(Kind::Array, "an array")?;
        self.reader.begin_array().map_err(json)?;
        let mut values = Vec::with_capacity(4);
        let mut first = true;
        while self.reader.next_element(&mut first).map_err(json)? {
            if values.len() == most {
                let detail = format!("there are more than {most} entries");
                return Err(Problem::new(Code::LimitExceeded, detail));
            }
            let value = element(self).map_err(|problem| problem.at_index(values.len()))?;
            values.push(value);
        }
        Ok(values)
    }

    /// An object of texts, sorted by key; no key stands twice, also not in another normal form.
    fn texts(&mut self, bytes_max: usize) -> Result<Texts<'a>> {
        self.expect(Kind::Object, "an object of texts")?;
        self.reader.begin_object().map_err(json)?;
        let mut entries = Texts::new();
        let mut first = true;
        while let Some(key) = self.reader.next_key(&mut first).map_err(json)? {
            let name = key.clone();
            self.entry(key, bytes_max, &mut entries).map_err(|problem| at_key(problem, &name))?;
        }
        if self.strict() && entries.is_empty() {
            let detail = "an empty object is left out of the canonical form";
            return Err(Problem::new(Code::SchemaInvalid, detail));
        }
        Ok(entries)
    }

    fn entry(
        &mut self,
        key: Cow<'a, str>,
        bytes_max: usize,
        entries: &mut Texts<'a>,
    ) -> Result<()> {
        let key = self.normal(key, bytes_max)?;
        if key.is_empty() {
            return Err(invalid("a key must not be empty"));
        }
        let value = self.text(bytes_max)?;
        if entries.len() == ENTRIES_MAX {
            let detail = format!("there are more than {ENTRIES_MAX} entries");
            return Err(Problem::new(Code::LimitExceeded, detail));
        }
        let at = match entries.binary_search_by(|(known, _)| known.as_bytes().cmp(key.as_bytes())) {
            Err(at) => at,
            Ok(_) => {
                let detail = "this key stands twice in its object";
                return Err(Problem::new(Code::JsonDuplicateKey, detail));
            }
        };
        if self.strict() && at != entries.len() {
            let detail = "the keys are not in their canonical order";
            return Err(Problem::new(Code::SchemaInvalid, detail));
        }
        entries.insert(at, (key, value));
        Ok(())
    }

    fn expect(&mut self, kind: Kind, what: &str) -> Result<()> {
        if self.reader.peek().map_err(json)? == kind {
            Ok(())
        } else {
            Err(invalid(format!("{what} should stand here")))
        }
    }

    /// Text within a limit, assigned and in its normal form.
    fn text(&mut self, bytes_max: usize) -> Result<Cow<'a, str>> {
        self.expect(Kind::String, "a string")?;
        let text = self.reader.string().map_err(json)?;
        self.normal(text, bytes_max)
    }

    fn normal(&self, text: Cow<'a, str>, bytes_max: usize) -> Result<Cow<'a, str>> {
        let text = if text.is_ascii() { text } else { self.normal_unicode(text)? };
        if text.len() > bytes_max {
            let detail =
                format!("the text has {} bytes, over its limit of {bytes_max}", text.len());
            return Err(Problem::new(Code::LimitExceeded, detail));
        }
        Ok(text)
    }

    fn normal_unicode(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>> {
        if let Some(unassigned) = first_unassigned(&text) {
            let code = u32::from(unassigned);
            let detail = format!("the text holds U+{code:04X}, which Unicode has not assigned");
            return Err(Problem::new(Code::TextUnassigned, detail));
        }
        if self.strict() && !is_normalized(&text) {
            let detail = "the text is not in Unicode normalisation form C";
            return Err(Problem::new(Code::SchemaInvalid, detail));
        }
        Ok(normalize(text))
    }

    fn identifier(&mut self) -> Result<Cow<'a, str>> {
        self.not_empty(IDENTIFIER_BYTES_MAX)
    }

    fn described(&mut self) -> Result<Cow<'a, str>> {
        self.not_empty(DESCRIPTION_BYTES_MAX)
    }

    fn not_empty(&mut self, bytes_max: usize) -> Result<Cow<'a, str>> {
        let text = self.text(bytes_max)?;
        if text.is_empty() { Err(invalid("this text must not be empty")) } else { Ok(text) }
    }

    fn word<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>, what: &str) -> Result<T> {
        let word = self.text(IDENTIFIER_BYTES_MAX)?;
        parse(&word).ok_or_else(|| invalid(format!("{word:?} is not {what}")))
    }

    fn classification(&mut self) -> Result<Classification> {
        let parse =
            if self.strict() { Classification::parse } else { Classification::parse_lenient };
        self.word(parse, "a client's classification")
    }

    fn currency(&mut self) -> Result<Currency> {
        self.word(Currency::parse, "a currency of three capital letters")
    }

    fn top_currency(&mut self) -> Result<Currency> {
        if self.strict() {
            let detail = "the currency stands in the totals only";
            return Err(Problem::new(Code::FieldUnknown, detail));
        }
        self.currency()
    }

    fn price_mode(&mut self) -> Result<PriceMode> {
        let mode = self.word(PriceMode::parse, "a price mode")?;
        if self.strict() && mode == PriceMode::Exclusive {
            let detail = "the default is left out of the canonical form";
            return Err(Problem::new(Code::SchemaInvalid, detail));
        }
        Ok(mode)
    }

    /// A provider, or nothing: lenient input may say so with an empty string.
    fn provider(&mut self) -> Result<Option<Provider>> {
        let word = self.text(IDENTIFIER_BYTES_MAX)?;
        if word.is_empty() && !self.strict() {
            return Ok(None);
        }
        let provider = Provider::parse(&word);
        provider.map(Some).ok_or_else(|| invalid(format!("{word:?} is not a provider")))
    }

    fn group_code(&mut self) -> Result<GroupCode> {
        let word = self.text(IDENTIFIER_BYTES_MAX)?;
        GroupCode::parse(&word).ok_or_else(|| {
            let detail = format!("{word:?} is not a tax group; they are TG01 to TG14");
            Problem::new(Code::TaxGroupUnknown, detail)
        })
    }

    fn timestamp(&mut self) -> Result<UnixMs> {
        let text = self.text(IDENTIFIER_BYTES_MAX)?;
        let moment = if self.strict() {
            UnixMs::parse_canonical(&text)
        } else {
            UnixMs::parse_lenient(&text)
        };
        moment.ok_or_else(|| invalid(format!("{text:?} is not an ISO 8601 time with its zone")))
    }

    fn price(&mut self) -> Result<Amount> {
        let amount = self.signed()?;
        if amount < Amount::ZERO {
            Err(invalid("an amount must not be negative"))
        } else {
            Ok(amount)
        }
    }

    fn discount(&mut self) -> Result<Amount> {
        let discount = self.price()?;
        if self.strict() && discount == Amount::ZERO {
            let detail = "no discount is left out of the canonical form";
            return Err(Problem::new(Code::SchemaInvalid, detail));
        }
        Ok(discount)
    }

    fn signed(&mut self) -> Result<Amount> {
        let minor = self.decimal(2, parse_fixed)?;
        Amount::from_wide(minor).ok_or_else(|| too_large("10000000000000.00"))
    }

    fn quantity(&mut self) -> Result<Quantity> {
        let thousandths = self.decimal(3, parse_trimmed)?;
        if thousandths <= 0 {
            return Err(invalid("a quantity must be more than 0"));
        }
        Quantity::from_thousandths(thousandths).ok_or_else(|| too_large("1000000000000"))
    }

    fn rate(&mut self) -> Result<Rate> {
        let value = self.decimal(4, parse_fixed)?;
        Rate::from_ten_thousandths(value).ok_or_else(|| invalid("a rate is between 0 and 10"))
    }

    fn fx_rate(&mut self) -> Result<FxRate> {
        let millionths = self.decimal(6, parse_trimmed)?;
        if millionths <= 0 {
            return Err(invalid("an exchange rate must be more than 0"));
        }
        FxRate::from_millionths(millionths).ok_or_else(|| too_large("1000000000"))
    }

    /// A decimal: strictly in its canonical spelling, leniently as a string or a number.
    fn decimal(
        &mut self,
        decimals: u8,
        canonical: fn(&str, u8) -> std::result::Result<i128, DecimalError>,
    ) -> Result<i128> {
        let value = match (self.reader.peek().map_err(json)?, self.mode) {
            (Kind::String, Mode::Strict) => {
                canonical(&self.reader.string().map_err(json)?, decimals)
            }
            (Kind::String, Mode::Lenient) => {
                let text = self.reader.string().map_err(json)?;
                parse_decimal(DecimalText::String(&text), decimals)
            }
            (Kind::Number, Mode::Lenient) => {
                let text = self.reader.number().map_err(json)?;
                parse_decimal(DecimalText::Number(text), decimals)
            }
            _ => return Err(invalid("a decimal, as a string, should stand here")),
        };
        value.map_err(|error| match error {
            DecimalError::TooLarge => too_large("what the field holds"),
            DecimalError::TooPrecise => {
                invalid(format!("the number has more than {decimals} decimals"))
            }
            error => invalid(format!("the value {error}")),
        })
    }
}

fn too_large(limit: &str) -> Problem {
    Problem::new(Code::LimitExceeded, format!("the number is over the limit of {limit}"))
}
