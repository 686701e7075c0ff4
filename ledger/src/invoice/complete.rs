//! From a draft to an invoice: what must be there, what is computed, and whether both agree.

use std::borrow::Cow;

use super::draft::{ClientDraft, Draft, FxDraft, GroupDraft, PaymentDraft, TotalsDraft};
use super::types::{Client, Currency, Fx, GroupTotal, InvoiceType, Payment, PriceMode, Totals};
use super::{Body, Filled, write};
use crate::manifest::Manifest;
use crate::money::Amount;
use crate::problem::{Code, Expected, Problem};
use crate::tax;
use crate::time::UnixMs;

/// Completes a draft. `now` stands in for a missing time of authoring; without it, nothing may be
/// missing.
pub(super) fn complete<'a>(
    draft: Draft<'a>,
    manifest: &Manifest,
    now: Option<UnixMs>,
) -> Result<(Body<'a>, Filled), Problem> {
    let strict = now.is_none();
    let mut filled = Filled::default();
    let merchant_nif = required(draft.merchant_nif, "merchant_nif")?;
    let outlet_id = required(draft.outlet_id, "outlet_id")?;
    let pos_terminal_id = required(draft.pos_terminal_id, "pos_terminal_id")?;
    let cashier_id = optional(draft.cashier_id, "cashier_id", strict)?;
    let invoice_type = required(draft.invoice_type, "invoice_type")?;
    filled.timestamp = draft.timestamp.is_none();
    let timestamp = required(draft.timestamp.or(now), "timestamp")?;
    let client = complete_client(required(draft.client, "client")?, strict)?;
    let mut items = required(draft.items, "items")?;
    demand(strict, draft.tax_groups.is_some(), "tax_groups")?;
    demand(strict, draft.totals.is_some(), "totals")?;
    let payments = optional(draft.payments, "payments", strict)?;
    demand(strict, draft.tax_manifest_version.is_some(), "tax_manifest_version")?;
    filled.tax_manifest_version = draft.tax_manifest_version.is_none();
    check_manifest(draft.tax_manifest_version.as_deref(), manifest)?;
    check_original(invoice_type, draft.original_fiscal_number.is_some())?;
    let metadata = draft.metadata.unwrap_or_default();
    let price_mode = draft.price_mode.unwrap_or(PriceMode::Exclusive);

    tax::check_rules(invoice_type, client.classification, &items, &metadata, manifest)?;
    let (tax_groups, totals) =
        tax::compute(&mut items, price_mode, currency(&draft.totals, draft.currency)?, manifest)?;
    filled.tax_groups = compare_groups(draft.tax_groups, &tax_groups, &totals, manifest)?;
    filled.totals = compare_totals(draft.totals.as_ref(), &tax_groups, &totals, manifest)?;
    let fx = complete_fx(draft.fx, &totals, manifest, &mut filled)?;
    let body = Body {
        merchant_nif,
        outlet_id,
        pos_terminal_id,
        cashier_id,
        invoice_type,
        timestamp,
        original_fiscal_number: draft.original_fiscal_number,
        client,
        items,
        tax_groups,
        totals,
        payments: complete_payments(payments, totals.currency),
        fx,
        price_mode,
        manifest_version: manifest.shared_version(),
        metadata,
    };
    Ok((body, filled))
}

fn required<T>(value: Option<T>, name: &str) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::new(Code::FieldMissing, "this field is required").at(name))
}

/// What lenient input may leave out when there is nothing to say.
fn optional<T: Default>(value: Option<T>, name: &str, strict: bool) -> Result<T, Problem> {
    if strict { required(value, name) } else { Ok(value.unwrap_or_default()) }
}

fn demand(strict: bool, present: bool, name: &str) -> Result<(), Problem> {
    if strict { required(present.then_some(()), name) } else { Ok(()) }
}

fn complete_client(client: ClientDraft<'_>, strict: bool) -> Result<Client<'_>, Problem> {
    let inside = |problem: Problem| problem.at("client");
    let classification = required(client.classification, "classification").map_err(inside)?;
    let name = optional(client.name, "name", strict).map_err(inside)?;
    let nif: Cow<'_, str> = optional(client.nif, "nif", strict).map_err(inside)?;
    if nif.trim().is_empty() && classification.needs_nif() {
        let detail = format!("a client of class {} needs its tax number", classification.as_str());
        return Err(Problem::new(Code::ClientNifRequired, detail).at("nif").at("client"));
    }
    Ok(Client { name, nif, classification })
}

fn check_manifest(given: Option<&str>, manifest: &Manifest) -> Result<(), Problem> {
    match given {
        Some(version) if version != manifest.version() => Err(Problem::new(
            Code::ManifestStale,
            format!(
                "the invoice names manifest {version:?}, but {:?} is the current version",
                manifest.version()
            ),
        )
        .at("tax_manifest_version")),
        _ => Ok(()),
    }
}

fn check_original(invoice_type: InvoiceType, given: bool) -> Result<(), Problem> {
    let (code, detail) = match (invoice_type.is_credit(), given) {
        (true, false) => (Code::OriginalRequired, "a credit note must name the invoice it credits"),
        (false, true) => (Code::OriginalNotAllowed, "only a credit note names another invoice"),
        _ => return Ok(()),
    };
    Err(Problem::new(code, detail).at("original_fiscal_number"))
}

/// The invoice's currency: in the totals, beside them, or the Congolese franc.
fn currency(totals: &Option<TotalsDraft>, beside: Option<Currency>) -> Result<Currency, Problem> {
    let inside = totals.as_ref().and_then(|totals| totals.currency);
    match (inside, beside) {
        (Some(inside), Some(beside)) if inside != beside => Err(Problem::new(
            Code::CurrencyConflict,
            format!(
                "the totals are in {}, but the invoice says {}",
                inside.as_str(),
                beside.as_str()
            ),
        )
        .at("currency")),
        (inside, beside) => Ok(inside.or(beside).unwrap_or(Currency::CDF)),
    }
}

fn mismatch(code: Code, groups: &[GroupTotal], totals: &Totals, manifest: &Manifest) -> Problem {
    let expected =
        Expected { tax_groups: write::tax_groups(groups, manifest), totals: write::totals(totals) };
    let detail = format!(
        "the figure is not what the lines make; expected are tax_groups {} and totals {}",
        expected.tax_groups, expected.totals
    );
    Problem { expected: Some(Box::new(expected)), ..Problem::new(code, detail) }
}

/// Whether something had to be filled in. Given groups may stand in any order.
fn compare_groups(
    given: Option<Vec<GroupDraft<'_>>>,
    computed: &[GroupTotal],
    totals: &Totals,
    manifest: &Manifest,
) -> Result<bool, Problem> {
    let Some(given) = given else { return Ok(true) };
    let wrong = |at: Option<usize>, name: &str| {
        let problem = mismatch(Code::TaxGroupsMismatch, computed, totals, manifest);
        let problem = if name.is_empty() { problem } else { problem.at(name) };
        at.map_or(problem.clone(), |at| problem.at_index(at)).at("tax_groups")
    };
    let mut filled = false;
    for (at, group) in given.iter().enumerate() {
        let repeated = given[..at].iter().any(|before| before.code == group.code);
        let same = computed.iter().find(|known| known.code == group.code && !repeated);
        let Some(same) = same else { return Err(wrong(Some(at), "code")) };
        let known = manifest.group(group.code);
        let named = |name: &Cow<'_, str>| **name == known.name || **name == known.name_fr;
        let agrees = [
            (group.name.as_ref().is_none_or(named), "name"),
            (group.rate.is_none_or(|rate| rate == same.rate), "rate"),
            (group.base.is_none_or(|base| base == same.base), "base_amount"),
            (group.tax.is_none_or(|tax| tax == same.tax), "tax_amount"),
        ];
        if let Some((_, name)) = agrees.into_iter().find(|(agrees, _)| !agrees) {
            return Err(wrong(Some(at), name));
        }
        // A name that is absent or French is replaced by the manifest's, which may change.
        let own_name = group.name.as_deref() == Some(known.name.as_str());
        filled |= group.base.is_none() || group.tax.is_none() || group.rate.is_none() || !own_name;
    }
    if given.len() == computed.len() { Ok(filled) } else { Err(wrong(None, "")) }
}

/// Whether something had to be filled in.
fn compare_totals(
    given: Option<&TotalsDraft>,
    groups: &[GroupTotal],
    computed: &Totals,
    manifest: &Manifest,
) -> Result<bool, Problem> {
    let Some(given) = given else { return Ok(true) };
    let pairs = [
        (given.subtotal, computed.subtotal, "subtotal"),
        (given.total_vat, computed.total_vat, "total_vat"),
        (given.total, computed.total, "total"),
        (given.rounding_adjustment, computed.rounding_adjustment, "rounding_adjustment"),
    ];
    for (given, computed_amount, name) in pairs {
        if given.is_some_and(|given| given != computed_amount) {
            let problem = mismatch(Code::TotalsMismatch, groups, computed, manifest);
            return Err(problem.at(name).at("totals"));
        }
    }
    Ok(pairs.iter().any(|(given, _, _)| given.is_none()))
}

fn complete_fx(
    given: Option<FxDraft>,
    totals: &Totals,
    manifest: &Manifest,
    filled: &mut Filled,
) -> Result<Option<Fx>, Problem> {
    let reporting = manifest.reporting_currency();
    if totals.currency == reporting {
        return match given {
            None => Ok(None),
            Some(_) => Err(Problem::new(
                Code::FxNotAllowed,
                format!("an invoice in {} has no exchange rate", reporting.as_str()),
            )
            .at("fx")),
        };
    }
    let needed = |detail: &str| Problem::new(Code::FxRequired, detail);
    let given = given.ok_or_else(|| {
        needed("an invoice in another than the reporting currency needs fx with its rate").at("fx")
    })?;
    let rate =
        given.rate.ok_or_else(|| needed("the exchange rate is required").at("rate").at("fx"))?;
    if given.reporting_currency.is_some_and(|given| given != reporting) {
        let detail = format!("taxes are reported in {}", reporting.as_str());
        return Err(Problem::new(Code::FxMismatch, detail).at("reporting_currency").at("fx"));
    }
    let tax: Amount = rate.convert(totals.total_vat).ok_or_else(|| {
        let detail = "the tax in the reporting currency is over the limit";
        Problem::new(Code::AmountOverflow, detail).at("tax_in_reporting_currency").at("fx")
    })?;
    if given.tax.is_some_and(|given| given != tax) {
        let detail = format!("the tax in {} is {tax}", reporting.as_str());
        return Err(Problem::new(Code::FxMismatch, detail)
            .at("tax_in_reporting_currency")
            .at("fx"));
    }
    filled.fx_tax = given.tax.is_none();
    Ok(Some(Fx { rate, reporting_currency: reporting, tax }))
}

fn complete_payments(drafts: Vec<PaymentDraft<'_>>, currency: Currency) -> Vec<Payment<'_>> {
    drafts
        .into_iter()
        .map(|draft| match draft.own_currency {
            true => draft.payment,
            false => Payment { currency, ..draft.payment },
        })
        .collect()
}
