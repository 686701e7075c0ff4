//! Reads the query of a list. `outlet_id` and the kinds may be given several times, or with commas.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use fiscus_ledger::hash::{Tagged, hex};
use fiscus_ledger::invoice::{Currency, GroupCode, InvoiceType, PaymentMethod};
use fiscus_ledger::money::{Amount, DecimalText, parse_decimal};
use fiscus_ledger::record::RecordKind;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::Consistency;
use utoipa::IntoParams;

use super::filters::{Asked, Filters, Sort, kinds_of};
use crate::http::list::{limit, limit_proved};
use crate::http::parameters::invalid;
use crate::http::{Parameters, Problem};
use crate::uploads::status::STATUSES;

const TEXT_BYTES_MAX: usize = 64;
/// Given several times, they add up.
const REPEATED: [&str; 3] = ["outlet_id", "kind", "invoice_type"];

/// What may be asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the query is read pair by pair; this only describes it")]
pub(in crate::api::invoices) struct Query {
    /// Only these outlets; all of the caller's when it is absent. Several times, or with commas.
    #[param(required = false, example = json!(["outlet-gombe"]))]
    outlet_id: Vec<String>,
    /// Only these kinds of records, as `offline_sale`. Several times, or with commas.
    #[param(required = false, example = json!(["sale"]))]
    kind: Vec<String>,
    /// Only these types: `sale`, `advance`, `credit_note`, `export`, `export_credit`, sealed online or offline.
    #[param(required = false, example = json!(["sale"]))]
    invoice_type: Vec<String>,
    /// Sealed at or after this time.
    #[param(required = false, example = "2026-11-01T00:00:00Z")]
    from: String,
    /// Sealed before this time.
    #[param(required = false, example = "2026-12-01T00:00:00Z")]
    to: String,
    /// Only of this terminal.
    #[param(required = false, example = "till-1")]
    terminal_id: String,
    /// Only of this cashier.
    #[param(required = false, example = "cashier-7")]
    cashier_id: String,
    /// Only for this client.
    #[param(required = false, example = "C7654321D")]
    client_nif: String,
    /// Only those with such a payment.
    #[param(required = false, example = "cash")]
    payment_method: String,
    /// Only in this currency.
    #[param(required = false, example = "CDF")]
    currency: String,
    /// With a total of at least this.
    #[param(required = false, example = "0.00")]
    min_total: String,
    /// With a total of at most this.
    #[param(required = false, example = "1000000.00")]
    max_total: String,
    /// Only with a line in this group.
    #[param(required = false, example = "TG02")]
    tax_group: String,
    /// Only credit notes of this invoice.
    #[param(required = false, example = "KIN-GOMBE-42")]
    original_fiscal_number: String,
    /// Only those that the tax authority has so far: `queued`, `uploading`, `acknowledged`, `rejected`, `failed`, or
    /// `none` of a sandbox.
    #[param(required = false, example = "queued")]
    dgi_status: String,
    /// `-time` (the latest first) unless asked otherwise; `time`, `number`, `-number`. By number, one outlet is named.
    #[param(required = false, example = "-time")]
    sort: String,
    /// Items of a page, 1 to 500; 50 unless asked otherwise.
    #[param(required = false, minimum = 1, maximum = 500, example = 50)]
    limit: usize,
    /// Where the page begins, from the one before.
    #[param(required = false)]
    cursor: String,
    /// `linearizable` unless asked otherwise, or `local`.
    #[param(required = false, example = "local")]
    consistency: String,
    /// Whether each invoice carries its proof of inclusion; a page then has at most 100 items.
    #[param(required = false, example = false)]
    proof: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Parameters(pairs) =
            Parameters::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        read(pairs)
    }
}

fn read(pairs: Vec<(String, String)>) -> Result<Asked, Problem> {
    let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        given.entry(name).or_default().push(value);
    }
    let mut asked = Asked {
        filters: Filters::all(),
        sort: Sort::TimeDescending,
        limit: limit(None)?,
        cursor: None,
        consistency: Consistency::Linearizable,
        proof: false,
        fingerprint: fingerprint(&given),
    };
    let mut kinds: Vec<RecordKind> = Vec::new();
    for (name, values) in &given {
        if values.len() > 1 && !REPEATED.contains(&name.as_str()) {
            return Err(invalid(name, format!("{name} may be given once")));
        }
        let parts =
            || values.iter().flat_map(|value| value.split(',')).filter(|part| !part.is_empty());
        match name.as_str() {
            "outlet_id" => asked.filters.outlet_ids = parts().map(str::to_owned).collect(),
            "kind" => {
                for part in parts() {
                    let kind = RecordKind::parse(part).filter(|kind| kind.invoice_type().is_some());
                    kinds.push(kind.ok_or_else(|| word(name, part))?);
                }
            }
            "invoice_type" => {
                for part in parts() {
                    let found = InvoiceType::parse(part).ok_or_else(|| word(name, part))?;
                    kinds.extend(kinds_of(found));
                }
            }
            _ => one(&mut asked, name, values.first().map_or("", String::as_str))?,
        }
    }
    if !kinds.is_empty() {
        asked.filters.kinds = kinds;
    }
    limit_proved(Some(asked.limit), asked.proof)?;
    if asked.sort.is_by_number() && asked.filters.outlet_ids.len() != 1 {
        return Err(invalid("sort", "numbers are those of one outlet; name it as outlet_id"));
    }
    Ok(asked)
}

fn one(asked: &mut Asked, name: &str, value: &str) -> Result<(), Problem> {
    let filters = &mut asked.filters;
    match name {
        "from" => filters.from_ms = time(name, value)?,
        // 0 would leave the end open.
        "to" => filters.until_ms = time(name, value)?.max(1),
        "terminal_id" => filters.terminal_id = Some(text(name, value)?),
        "cashier_id" => filters.cashier_id = Some(text(name, value)?),
        "client_nif" => filters.client_nif = Some(text(name, value)?),
        "original_fiscal_number" => filters.original = Some(text(name, value)?),
        "dgi_status" => {
            let known = STATUSES.contains(&value);
            filters.dgi_status =
                Some(known.then(|| value.to_owned()).ok_or_else(|| word(name, value))?);
        }
        "payment_method" => {
            let method = PaymentMethod::parse(value).ok_or_else(|| word(name, value))?;
            filters.payment_method = Some(method);
        }
        "currency" => {
            let currency = Currency::parse(value).ok_or_else(|| word(name, value))?;
            filters.currency = Some(currency.as_str().to_owned());
        }
        "tax_group" => {
            let group = GroupCode::parse(value).ok_or_else(|| word(name, value))?;
            filters.tax_group = Some(group.as_str().to_owned());
        }
        "min_total" => filters.min_total = Some(amount(name, value)?),
        "max_total" => filters.max_total = Some(amount(name, value)?),
        "sort" => asked.sort = Sort::parse(value).ok_or_else(|| word(name, value))?,
        "limit" => {
            let read = value.parse().map_err(|_| invalid(name, "limit must be a number"))?;
            asked.limit = limit(Some(read))?;
        }
        "cursor" => asked.cursor = Some(value.to_owned()),
        "consistency" => {
            asked.consistency = match value {
                "linearizable" => Consistency::Linearizable,
                "local" => Consistency::Local,
                _ => return Err(word(name, value)),
            };
        }
        "proof" => asked.proof = value.parse().map_err(|_| word(name, value))?,
        _ => {
            let detail = format!("there is no parameter {name:?} here");
            let status = StatusCode::BAD_REQUEST;
            return Err(Problem::at(status, "PARAMETER_UNKNOWN", name, detail));
        }
    }
    Ok(())
}

fn word(name: &str, value: &str) -> Problem {
    let shown: String = value.chars().take(TEXT_BYTES_MAX).collect();
    invalid(name, format!("{shown:?} is not one of the words for {name}"))
}

fn text(name: &str, value: &str) -> Result<String, Problem> {
    if value.len() > TEXT_BYTES_MAX {
        return Err(invalid(name, format!("{name} has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(value.to_owned())
}

fn time(name: &str, value: &str) -> Result<u64, Problem> {
    let read = UnixMs::parse_lenient(value).map(UnixMs::get);
    read.ok_or_else(|| invalid(name, format!("{name} is an ISO 8601 time with its zone")))
}

fn amount(name: &str, value: &str) -> Result<Amount, Problem> {
    let minor = parse_decimal(DecimalText::String(value), 2).ok();
    let amount = minor.and_then(Amount::from_wide);
    amount.ok_or_else(|| invalid(name, format!("{name} is a decimal with at most 2 decimals")))
}

/// The same for the same filters, in whatever order they are given.
fn fingerprint(given: &BTreeMap<String, Vec<String>>) -> String {
    let mut hash = Tagged::new("fiscus/list/v1");
    for (name, values) in given {
        if ["limit", "cursor", "consistency", "proof"].contains(&name.as_str()) {
            continue;
        }
        for value in values {
            hash.str(name).str(value);
        }
    }
    hex(&hash.finish()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &[(&str, &str)]) -> Result<Asked, Problem> {
        read(query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn lists_may_be_given_twice_or_with_commas() {
        let pairs = [("outlet_id", "a,b"), ("outlet_id", "c"), ("invoice_type", "sale")];
        let asked = asked(&pairs).expect("it reads");
        assert_eq!(asked.filters.outlet_ids, ["a", "b", "c"]);
        assert_eq!(asked.filters.kind_names(), ["sale", "offline_sale", "def_sale"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, code, name) in [
            (&[("nonsense", "1")][..], "PARAMETER_UNKNOWN", "nonsense"),
            (&[("limit", "0")], "PARAMETER_INVALID", "limit"),
            (&[("limit", "x")], "PARAMETER_INVALID", "limit"),
            (&[("limit", "101"), ("proof", "true")], "PARAMETER_INVALID", "limit"),
            (&[("proof", "yes")], "PARAMETER_INVALID", "proof"),
            (&[("limit", "1"), ("limit", "2")], "PARAMETER_INVALID", "limit"),
            (&[("from", "yesterday")], "PARAMETER_INVALID", "from"),
            (&[("kind", "z")], "PARAMETER_INVALID", "kind"),
            (&[("min_total", "1.001")], "PARAMETER_INVALID", "min_total"),
            (&[("tax_group", "TG15")], "PARAMETER_INVALID", "tax_group"),
            (&[("sort", "number")], "PARAMETER_INVALID", "sort"),
            (&[("consistency", "none")], "PARAMETER_INVALID", "consistency"),
        ] {
            let problem = asked(query).expect_err(name);
            assert_eq!((&*problem.code, &*problem.errors[0].pointer), (code, name));
        }
    }

    #[test]
    fn a_fingerprint_is_of_filters_and_order_alone() {
        let of = |query: &[(&str, &str)]| asked(query).expect("it reads").fingerprint;
        let plain = of(&[("currency", "CDF"), ("sort", "time")]);
        assert_eq!(plain, of(&[("sort", "time"), ("limit", "5"), ("currency", "CDF")]));
        assert_ne!(plain, of(&[("currency", "CDF")]));
    }
}
