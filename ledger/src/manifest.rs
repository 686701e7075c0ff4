//! The tax manifest: the versioned table of the 14 tax groups.

use std::sync::Arc;

use crate::invoice::{Currency, GroupCode};
use crate::json::{JsonError, Kind, Reader};
use crate::money::{DecimalText, Rate, parse_decimal};
use crate::payload::{Object, array};
use crate::text::{first_unassigned, is_normalized};
use crate::time::UnixMs;

const GROUPS: usize = GroupCode::COUNT;
const TEXT_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 128;
const REQUIRES_MAX: usize = 8;

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON.
    #[error("the manifest is not JSON: {0}")]
    Json(#[from] JsonError),
    /// A member is absent, unknown, twice, or holds what it may not hold.
    #[error("the manifest's {0} is absent or invalid")]
    Member(&'static str),
}

/// One tax group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxGroup {
    /// TG01 to TG14.
    pub code: GroupCode,
    /// Its English name, which invoices carry.
    pub name: String,
    /// Its French name.
    pub name_fr: String,
    /// Its rate.
    pub rate: Rate,
    /// The references that a line in it needs.
    pub requires: Vec<String>,
}

/// A version of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    version: Arc<str>,
    jurisdiction: String,
    effective_from: UnixMs,
    reporting_currency: Currency,
    groups: Vec<TaxGroup>,
}

impl Manifest {
    /// The first manifest, in force since February 2026.
    #[must_use]
    pub fn builtin() -> Self {
        Self::parse(include_str!("../data/tax-manifest-2026-02-01.json"))
            .expect("the tests parse the same text")
    }

    /// Reads a manifest; its groups must be TG01 to TG14, in this order.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut reader = Reader::new(text);
        let mut draft = Draft::default();
        reader.begin_object()?;
        let mut first = true;
        while let Some(key) = reader.next_key(&mut first)? {
            draft.member(&key, &mut reader)?;
        }
        reader.finish()?;
        Ok(Self {
            version: draft.version.ok_or(ManifestError::Member("version"))?.into(),
            jurisdiction: draft.jurisdiction.ok_or(ManifestError::Member("jurisdiction"))?,
            effective_from: draft.effective_from.ok_or(ManifestError::Member("effective_from"))?,
            reporting_currency: draft
                .reporting_currency
                .ok_or(ManifestError::Member("reporting_currency"))?,
            groups: draft.groups.ok_or(ManifestError::Member("groups"))?,
        })
    }

    /// The version that invoices name.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn shared_version(&self) -> Arc<str> {
        self.version.clone()
    }

    /// From when on it is in force.
    #[must_use]
    pub fn effective_from(&self) -> UnixMs {
        self.effective_from
    }

    /// The currency that taxes are reported in.
    #[must_use]
    pub fn reporting_currency(&self) -> Currency {
        self.reporting_currency
    }

    /// One group.
    #[must_use]
    pub fn group(&self, code: GroupCode) -> &TaxGroup {
        &self.groups[code.index()]
    }

    /// The manifest in its one spelling.
    #[must_use]
    pub fn to_json(&self) -> String {
        let groups = self.groups.iter().map(|group| {
            Object::new()
                .text("code", group.code.as_str())
                .text("name", &group.name)
                .text("name_fr", &group.name_fr)
                .text("rate", &group.rate.to_string())
                .texts("requires", group.requires.iter().map(String::as_str))
                .finish()
        });
        Object::new()
            .text("version", &self.version)
            .text("jurisdiction", &self.jurisdiction)
            .text("effective_from", &self.effective_from.to_string())
            .text("reporting_currency", self.reporting_currency.as_str())
            .json("groups", &array(groups))
            .finish()
    }
}

#[derive(Default)]
struct Draft {
    version: Option<String>,
    jurisdiction: Option<String>,
    effective_from: Option<UnixMs>,
    reporting_currency: Option<Currency>,
    groups: Option<Vec<TaxGroup>>,
}

impl Draft {
    fn member(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), ManifestError> {
        match key {
            "version" => {
                once(&mut self.version, "version", text(reader, "version", TEXT_BYTES_MAX)?)
            }
            "jurisdiction" => {
                let value = text(reader, "jurisdiction", TEXT_BYTES_MAX)?;
                once(&mut self.jurisdiction, "jurisdiction", value)
            }
            "effective_from" => {
                let value = UnixMs::parse_lenient(&reader.string()?)
                    .ok_or(ManifestError::Member("effective_from"))?;
                once(&mut self.effective_from, "effective_from", value)
            }
            "reporting_currency" => {
                let value = Currency::parse(&reader.string()?)
                    .ok_or(ManifestError::Member("reporting_currency"))?;
                once(&mut self.reporting_currency, "reporting_currency", value)
            }
            "groups" => {
                let value = groups(reader)?;
                once(&mut self.groups, "groups", value)
            }
            _ => Err(ManifestError::Member("set of members")),
        }
    }
}

fn once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), ManifestError> {
    if slot.replace(value).is_some() { Err(ManifestError::Member(name)) } else { Ok(()) }
}

fn text(
    reader: &mut Reader<'_>,
    name: &'static str,
    bytes_max: usize,
) -> Result<String, ManifestError> {
    let value = reader.string()?;
    // Names and the version end up in invoices, whose readers refuse any other text.
    let plain = is_normalized(&value) && first_unassigned(&value).is_none();
    let fits = !value.is_empty() && value.len() <= bytes_max && plain;
    if fits { Ok(value.into_owned()) } else { Err(ManifestError::Member(name)) }
}

fn groups(reader: &mut Reader<'_>) -> Result<Vec<TaxGroup>, ManifestError> {
    let mut groups = Vec::with_capacity(GROUPS);
    reader.begin_array()?;
    let mut first = true;
    while reader.next_element(&mut first)? {
        let group = group(reader)?;
        if group.code.index() != groups.len() {
            return Err(ManifestError::Member("order of groups TG01 to TG14"));
        }
        groups.push(group);
    }
    if groups.len() == GROUPS { Ok(groups) } else { Err(ManifestError::Member("groups")) }
}

fn group(reader: &mut Reader<'_>) -> Result<TaxGroup, ManifestError> {
    let (mut code, mut name, mut name_fr, mut rate, mut requires) = (None, None, None, None, None);
    reader.begin_object()?;
    let mut first = true;
    while let Some(key) = reader.next_key(&mut first)? {
        match &*key {
            "code" => {
                let value = GroupCode::parse(&reader.string()?);
                once(&mut code, "group code", value.ok_or(ManifestError::Member("group code"))?)?;
            }
            "name" => once(&mut name, "group name", text(reader, "group name", NAME_BYTES_MAX)?)?,
            "name_fr" => {
                once(
                    &mut name_fr,
                    "group name_fr",
                    text(reader, "group name_fr", NAME_BYTES_MAX)?,
                )?;
            }
            "rate" => once(&mut rate, "group rate", read_rate(reader)?)?,
            "requires" => once(&mut requires, "group requires", read_requires(reader)?)?,
            _ => return Err(ManifestError::Member("set of group members")),
        }
    }
    Ok(TaxGroup {
        code: code.ok_or(ManifestError::Member("group code"))?,
        name: name.ok_or(ManifestError::Member("group name"))?,
        name_fr: name_fr.ok_or(ManifestError::Member("group name_fr"))?,
        rate: rate.ok_or(ManifestError::Member("group rate"))?,
        requires: requires.ok_or(ManifestError::Member("group requires"))?,
    })
}

fn read_rate(reader: &mut Reader<'_>) -> Result<Rate, ManifestError> {
    let wrong = ManifestError::Member("group rate");
    let value = if reader.peek()? == Kind::Number {
        parse_decimal(DecimalText::Number(reader.number()?), 4)
    } else {
        parse_decimal(DecimalText::String(&reader.string()?), 4)
    };
    value.ok().and_then(Rate::from_ten_thousandths).ok_or(wrong)
}

fn read_requires(reader: &mut Reader<'_>) -> Result<Vec<String>, ManifestError> {
    let mut requires = Vec::new();
    reader.begin_array()?;
    let mut first = true;
    while reader.next_element(&mut first)? {
        let name = text(reader, "group requires", TEXT_BYTES_MAX)?;
        if requires.contains(&name) || requires.len() == REQUIRES_MAX {
            return Err(ManifestError::Member("group requires"));
        }
        requires.push(name);
    }
    Ok(requires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_manifest_round_trips() {
        let manifest = Manifest::builtin();
        assert_eq!(manifest.version(), "2026-02-01");
        assert_eq!(Manifest::parse(&manifest.to_json()), Ok(manifest.clone()));
        let fuel = manifest.group(GroupCode::parse("TG10").unwrap());
        assert_eq!(
            (fuel.rate.to_string().as_str(), &*fuel.requires),
            ("0.2500", &["excise_certificate".to_owned()][..])
        );
    }

    #[test]
    fn a_manifest_must_have_exactly_its_groups() {
        let good = Manifest::builtin().to_json();
        for (from, to) in [
            ("TG14", "TG15"),
            ("TG13", "TG14"),
            ("\"rate\":\"0.1600\"", "\"rate\":\"16\""),
            ("\"rate\":\"0.1600\"", "\"rate\":\"0.16001\""),
            ("\"version\":", "\"versio\":"),
            ("\"name\":\"Exempt\"", "\"name\":\"\""),
            ("\"CDF\"", "\"cdf\""),
            ("2026-02-01T", "2026-02-31T"),
            ("2026-02-01T00:00:00.000Z", "9999-12-31T23:59:59-00:01"),
            ("\"Exempt\"", "\"Exempt \u{378}\""),
            ("[\"telecom_operator\"]", "[\"a\",\"a\"]"),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(Manifest::parse(&good.replace(from, to)).is_err(), "{from} → {to}");
        }
    }
}
