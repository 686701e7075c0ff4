//! Decimals of a request: a string or a JSON number, read from its text and never through a float.

use axum::http::StatusCode;
use fiscus_ledger::money::{Amount, DecimalError, DecimalText, Quantity, parse_decimal};
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::Problem;

/// The text of a decimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    text: String,
    number: bool,
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
            return Ok(Self { text, number: false });
        }
        let number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if number {
            return Ok(Self { text: raw.get().to_owned(), number: true });
        }
        Err(D::Error::custom("a decimal, as a string or a number, should stand here"))
    }
}

impl Decimal {
    /// A decimal as a string.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: false }
    }

    /// An amount of money that is not negative.
    pub fn amount(&self, pointer: &str) -> Result<Amount, Problem> {
        let minor = self.read(2, pointer)?;
        if minor < 0 {
            return Err(invalid(pointer, "an amount must not be negative".to_owned()));
        }
        Amount::from_wide(minor).ok_or_else(|| too_large(pointer))
    }

    /// A quantity of more than nothing.
    pub fn quantity(&self, pointer: &str) -> Result<Quantity, Problem> {
        let thousandths = self.read(3, pointer)?;
        if thousandths <= 0 {
            return Err(invalid(pointer, "a quantity must be more than 0".to_owned()));
        }
        Quantity::from_thousandths(thousandths).ok_or_else(|| too_large(pointer))
    }

    fn read(&self, decimals: u8, pointer: &str) -> Result<i128, Problem> {
        let text = match self.number {
            true => DecimalText::Number(&self.text),
            false => DecimalText::String(&self.text),
        };
        parse_decimal(text, decimals).map_err(|error| match error {
            DecimalError::TooLarge => too_large(pointer),
            DecimalError::TooPrecise => {
                invalid(pointer, format!("the number has more than {decimals} decimals"))
            }
            error => invalid(pointer, format!("the value {error}")),
        })
    }
}

fn invalid(pointer: &str, detail: String) -> Problem {
    Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", pointer, detail)
}

fn too_large(pointer: &str) -> Problem {
    let detail = "the number is over its limit";
    Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "LIMIT_EXCEEDED", pointer, detail)
}

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^-?[0-9]{1,13}(\.[0-9]{1,6})?$"))
            .examples(["1160.00"]);
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .maximum(Some(10_000_000_000_000_isize));
        let either = AnyOfBuilder::new()
            .item(text)
            .item(number)
            .description(Some(
                "A decimal as a string, or as a JSON number that is read from its text",
            ))
            .examples(["1160.00"]);
        RefOr::T(Schema::AnyOf(either.build()))
    }
}

impl ToSchema for Decimal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Decimal, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn strings_and_numbers_are_read_from_their_text() {
        for (json, minor) in [("\"12.5\"", 1250), ("12.50", 1250), ("1e2", 10_000), ("0.1", 10)] {
            let amount = read(json).expect(json).amount("/amount").expect(json);
            assert_eq!(amount.minor(), minor, "{json}");
        }
        for json in ["\"1e2\"", "0.001", "-1", "1e99", "\"\"", "\"x\""] {
            read(json).expect(json).amount("/amount").expect_err(json);
        }
        for json in ["null", "true", "[]", "{}"] {
            read(json).expect_err(json);
        }
    }
}
