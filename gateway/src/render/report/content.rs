//! A report taken apart, in its own order.

use fiscus_ledger::base64;
use fiscus_ledger::hash::hex;
use fiscus_ledger::invoice::GroupCode;
use fiscus_ledger::json::Value;
use fiscus_ledger::manifest::Manifest;

use super::{RenderError, Signed, SignedReport};
use crate::render::Language;
use crate::render::text::visible;

/// A name as the report spells it, and its value as text.
pub(super) type Fact = (String, String);

/// A part of a report.
#[derive(Debug)]
pub(super) enum Section {
    /// Names and values, such as the counts.
    Facts(String, Vec<Fact>),
    /// Rows, such as the devices.
    Table(Table),
    /// The totals of one currency.
    Totals(Totals),
}

/// Rows of the same shape.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// One tax group.
#[derive(Debug)]
pub(super) struct GroupRow {
    pub(super) code: String,
    pub(super) name: String,
    pub(super) base: String,
    pub(super) tax: String,
    pub(super) total: String,
}

/// Groups, totals and payments in one currency.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) name: String,
    pub(super) currency: String,
    pub(super) groups: Vec<GroupRow>,
    pub(super) sums: Vec<Fact>,
    pub(super) payments: Vec<Fact>,
}

/// A report, ready for any output.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) title: &'static str,
    pub(super) is_articles: bool,
    pub(super) is_sandbox: bool,
    pub(super) is_empty: bool,
    /// Who and where, for people.
    pub(super) head: Vec<String>,
    pub(super) facts: Vec<Fact>,
    pub(super) sections: Vec<Section>,
    /// What vouches for it.
    pub(super) seal: Vec<Fact>,
}

impl Content {
    pub(super) fn read(report: &SignedReport<'_>, language: Language) -> Result<Self, RenderError> {
        let value = Value::parse(report.json)?;
        let Value::Object(members) = &value else { return Err(RenderError::NotAReport) };
        let words = &language.words().report;
        let kind = value.member("report").map(text).unwrap_or_default();
        let title = match kind.as_str() {
            "z" => words.z,
            "x" => words.x,
            "a" => words.a,
            "shift" => words.shift,
            _ => return Err(RenderError::NotAReport),
        };
        let mut content = Self {
            title,
            is_articles: kind == "a",
            is_sandbox: value.member("environment").map(text) == Some("sandbox".to_owned()),
            is_empty: matches!(value.member("empty"), Some(Value::Bool(true))),
            head: head(report, language),
            facts: Vec::new(),
            sections: Vec::new(),
            seal: seal(report),
        };
        for (name, value) in members.iter().filter(|(name, _)| name != "report") {
            content.member(name, value, report.manifest, language);
        }
        Ok(content)
    }

    fn member(&mut self, name: &str, value: &Value<'_>, manifest: &Manifest, language: Language) {
        match value {
            Value::Object(members) => {
                self.sections.push(Section::Facts(name.to_owned(), facts(members)));
            }
            Value::Array(values)
                if values.iter().any(|value| value.member("currency").is_some())
                    && name != "lines" =>
            {
                let totals = values.iter().map(|value| totals(name, value, manifest, language));
                self.sections.extend(totals.map(Section::Totals));
            }
            Value::Array(values)
                if values.iter().any(|value| matches!(value, Value::Object(_))) =>
            {
                self.sections.push(Section::Table(table(name, values)));
            }
            // Only there when it says something, because it is a warning.
            Value::Array(values) if name == "warnings" => {
                let warning = |value: &Value<'_>| (name.to_owned(), text(value));
                self.facts.extend(values.iter().map(warning));
            }
            plain => self.facts.push((name.to_owned(), text(plain))),
        }
    }
}

fn head(report: &SignedReport<'_>, language: Language) -> Vec<String> {
    let words = language.words();
    let mut head = Vec::new();
    if let Some(merchant) = &report.merchant {
        head.push(visible(merchant.name));
        let parts = [
            (words.nif, merchant.nif),
            (words.rccm, merchant.rccm),
            (words.address, merchant.address),
        ];
        let parts = parts.into_iter().filter(|(_, value)| !value.trim().is_empty());
        let parts: Vec<String> = parts.map(|(name, value)| format!("{name} {value}")).collect();
        head.push(visible(&parts.join(" · ")));
    }
    if let Some(outlet) = &report.outlet {
        let address = if outlet.address.trim().is_empty() { "" } else { " · " };
        head.push(visible(&format!("{}{address}{}", outlet.name, outlet.address)));
    }
    head
}

fn seal(report: &SignedReport<'_>) -> Vec<Fact> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut seal = vec![fact("signed_by", visible(report.authority_id))];
    match report.signed {
        Signed::Digest(digest) => seal.push(fact("signed_digest", hex(digest))),
        Signed::Record(record) => seal.extend([
            fact("record_position", record.position.to_string()),
            fact("record_timestamp", record.timestamp.to_string()),
            fact("previous_hash", hex(&record.prev_hash)),
            fact("entry_hash", hex(&record.entry_hash)),
        ]),
    }
    seal.push(fact("signature", base64::encode_url(report.signature)));
    seal
}

fn facts(members: &[(std::borrow::Cow<'_, str>, Value<'_>)]) -> Vec<Fact> {
    members.iter().map(|(name, value)| (visible(name), text(value))).collect()
}

fn totals(name: &str, value: &Value<'_>, manifest: &Manifest, language: Language) -> Totals {
    let member = |name| value.member(name).map(text).unwrap_or_default();
    let mut totals = Totals {
        name: name.to_owned(),
        currency: member("currency"),
        groups: Vec::new(),
        sums: Vec::new(),
        payments: Vec::new(),
    };
    let Value::Object(members) = value else { return totals };
    for (name, value) in members {
        match (&**name, value) {
            ("currency", _) => {}
            ("groups", Value::Array(groups)) => {
                totals.groups = groups.iter().map(|group| row(group, manifest, language)).collect();
            }
            ("payments", Value::Object(members)) => totals.payments = facts(members),
            (name, value) => totals.sums.push((visible(name), text(value))),
        }
    }
    totals
}

fn row(group: &Value<'_>, manifest: &Manifest, language: Language) -> GroupRow {
    let member = |name| group.member(name).map(text).unwrap_or_default();
    let (code, name) = (member("code"), member("name"));
    let known = GroupCode::parse(&code).map(|code| manifest.group(code));
    let name = match (language, known) {
        // A name that the manifest does not know is of another version: it stays as it is.
        (Language::French, Some(group)) if group.name == name => visible(&group.name_fr),
        _ => name,
    };
    GroupRow { code, name, base: member("base"), tax: member("tax"), total: member("total") }
}

/// The columns are the members of all rows, in the order in which they come.
fn table(name: &str, values: &[Value<'_>]) -> Table {
    let mut columns: Vec<String> = Vec::new();
    for value in values {
        let Value::Object(members) = value else { continue };
        for (name, _) in members {
            if !columns.iter().any(|known| known == name) {
                columns.push(name.clone().into_owned());
            }
        }
    }
    let cell = |value: &Value<'_>, name: &str| value.member(name).map(text).unwrap_or_default();
    let row = |value: &Value<'_>| columns.iter().map(|name| cell(value, name)).collect();
    let rows = values.iter().map(row).collect();
    Table { name: name.to_owned(), columns, rows }
}

/// A value on one line. Ranges of numbers are written as such.
pub(super) fn text(value: &Value<'_>) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) => (*text).to_owned(),
        Value::String(text) => visible(text),
        Value::Array(values) => values.iter().map(element).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let pairs =
                members.iter().map(|(name, value)| format!("{}: {}", visible(name), text(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
    }
}

fn element(value: &Value<'_>) -> String {
    match value {
        Value::Array(range) => match range.as_slice() {
            [Value::Number(first), Value::Number(last)] if first == last => (*first).to_owned(),
            [Value::Number(first), Value::Number(last)] => format!("{first}–{last}"),
            _ => text(value),
        },
        value => text(value),
    }
}

/// Whether a text is a plain decimal, with a sign or without.
pub(super) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// Whether a text is an amount: a decimal with two decimals.
pub(super) fn is_amount(text: &str) -> bool {
    is_decimal(text) && text.split_once('.').is_some_and(|(_, fraction)| fraction.len() == 2)
}
