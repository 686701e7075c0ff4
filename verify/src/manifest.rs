//! Tax manifests: the rates and the references that each of the 14 groups asks for. The law's first table is built
//! in; later ones are named by the policy.

use serde::Deserialize;

/// The published table of the first manifest.
const FIRST: &str = include_str!("../../ledger/data/tax-manifest-2026-02-01.json");
pub(crate) const GROUPS: usize = 14;

/// One tax group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// In ten-thousandths.
    pub(crate) rate: i64,
    pub(crate) requires: Vec<String>,
}

/// A version of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) version: String,
    pub(crate) effective_ms: u64,
    pub(crate) reporting_currency: String,
    pub(crate) groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Document {
    version: String,
    effective_from: String,
    #[serde(default = "franc")]
    reporting_currency: String,
    groups: Vec<DocumentGroup>,
}

#[derive(Deserialize)]
struct DocumentGroup {
    code: String,
    name: String,
    rate: serde_json::Value,
    #[serde(default)]
    requires: Vec<String>,
}

fn franc() -> String {
    "CDF".to_owned()
}

impl Manifest {
    /// The built-in table.
    pub(crate) fn first() -> Self {
        Self::parse(FIRST).expect("the published table is whole")
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let effective_ms = crate::time::parse_published(&document.effective_from)
            .ok_or("effective_from is no time")?;
        if document.groups.len() != GROUPS {
            return Err(format!("it has {} groups instead of {GROUPS}", document.groups.len()));
        }
        let groups = (1..).zip(document.groups).map(|(place, group)| {
            if group.code != format!("TG{place:02}") {
                return Err(format!("group {place} is called {}", group.code));
            }
            let rate = rate(&group.rate)
                .ok_or_else(|| format!("the rate of {} is no decimal", group.code))?;
            Ok(Group { name: group.name, rate, requires: group.requires })
        });
        Ok(Self {
            version: document.version,
            effective_ms,
            reporting_currency: document.reporting_currency,
            groups: groups.collect::<Result<_, String>>()?,
        })
    }
}

/// A decimal in any of the spellings in which tables are published, in ten-thousandths.
fn rate(value: &serde_json::Value) -> Option<i64> {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || !(1..=2).contains(&whole.len()) || fraction.len() > 4
    {
        return None;
    }
    format!("{whole}{fraction:0<4}").parse().ok().filter(|rate| *rate <= 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_the_law_s() {
        let first = Manifest::first();
        let rates: Vec<i64> = first.groups.iter().map(|group| group.rate).collect();
        let law = [0, 1600, 1600, 900, 1600, 1600, 0, 500, 1000, 2500, 3000, 2000, 1500, 1200];
        assert_eq!(rates, law);
        assert_eq!(first.reporting_currency, "CDF");
    }
}
