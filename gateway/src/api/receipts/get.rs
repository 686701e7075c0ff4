//! `GET /api/v1/invoices/{fiscal_number}/receipt`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use fiscus_ledger::credential::Credential;
use fiscus_ledger::record::Record;
use fiscus_ledger::reports::invoice_of;
use fiscus_proto::ledger::{Consistency, JournalRecord};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, Outlet, Scope};
use crate::api::labels::{merchant_label, outlet_label};
use crate::api::tongue::Tongue;
use crate::http::negotiate::{Form, forms};
use crate::http::parameters::{PathOf, invalid};
use crate::http::policy::page_policy;
use crate::http::{Parameters, Problem, Problems};
use crate::render::{CopyMark, Language, Paper, ReceiptParts, ReceiptView, Roll, qr, receipt};

/// Which copy an answer holds: `original`, `duplicate; n=2`, `preview`.
const COPY: HeaderName = HeaderName::from_static("receipt-copy");

/// A form of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// A page.
    Html,
    /// For a printer of sheets or rolls.
    Pdf,
    /// A thermal printer's bytes.
    Escpos,
    /// The QR code alone, as a picture.
    Png,
    /// The QR code alone, as a drawing.
    Svg,
}

static FORMS: [Form<Format>; 5] = forms([
    (Format::Html, "html", "text/html; charset=utf-8"),
    (Format::Pdf, "pdf", "application/pdf"),
    (Format::Escpos, "escpos", "application/vnd.escpos"),
    (Format::Png, "png", "image/png"),
    (Format::Svg, "svg", "image/svg+xml"),
]);

impl Format {
    /// The QR code is part of a receipt, and is no receipt.
    fn is_code(self) -> bool {
        matches!(self, Self::Png | Self::Svg)
    }
}

/// The width of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub(super) enum Width {
    /// Sheets of 210 mm.
    #[serde(rename = "a4")]
    A4,
    /// Rolls of 80 mm.
    #[serde(rename = "80")]
    Mm80,
    /// Rolls of 58 mm.
    #[serde(rename = "58")]
    Mm58,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Its form; by `Accept` unless said, and `html` without either.
    #[param(inline)]
    format: Option<Format>,
    /// The width of the paper; `a4` unless said, and 80 mm for ESC/POS.
    #[param(inline)]
    width: Option<Width>,
    /// Its language; by `Accept-Language` unless said, and French without either.
    #[param(inline)]
    lang: Option<Tongue>,
    /// To look at, not to give away: marked APERÇU, and not counted.
    #[serde(default)]
    preview: bool,
}

impl Wanted {
    fn paper(&self, format: Format) -> Result<Paper, Problem> {
        match (format, self.width) {
            (Format::Escpos, Some(Width::A4)) => {
                Err(invalid("width", "a thermal printer has rolls of 80 or 58 mm"))
            }
            (Format::Escpos, None) | (_, Some(Width::Mm80)) => Ok(Paper::Roll(Roll::Mm80)),
            (_, Some(Width::Mm58)) => Ok(Paper::Roll(Roll::Mm58)),
            (_, Some(Width::A4) | None) => Ok(Paper::A4),
        }
    }
}

/// Read a receipt
///
/// With its five security elements. The first one that is given out is the original; each later one is marked
/// `DUPLICATA` with its number, whichever form it has, and is logged. The QR code alone (`png`, `svg`) and a preview
/// are not counted. What a sandbox outlet sealed is marked TEST.
#[utoipa::path(
    get,
    path = "/api/v1/invoices/{fiscal_number}/receipt",
    tag = "receipts",
    security(("api_key" = ["invoices:read"])),
    params(("fiscal_number" = String, Path, example = "KIN-GOMBE-1"), Wanted),
    responses(
        (status = 200, description = "The receipt", headers(
            ("Content-Disposition" = String, description = "A name for the file"),
            ("Receipt-Copy" = String, description = "`original`, `duplicate; n=1`, `preview`; not with a QR code alone"),
        ), content(
            (String = "text/html"),
            (Vec<u8> = "application/pdf"),
            (Vec<u8> = "application/vnd.escpos"),
            (Vec<u8> = "image/png"),
            (String = "image/svg+xml"),
        )),
        Problems,
    ),
    extensions(("x-codes" = json!(["INVOICE_UNKNOWN", "NOT_ACCEPTABLE", "OUTCOME_UNKNOWN"])))
)]
pub(super) async fn receipt(
    caller: Caller,
    PathOf(fiscal_number): PathOf<String>,
    Parameters(wanted): Parameters<Wanted>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may(Scope::InvoicesRead)?;
    let form = Form::choose(&FORMS, wanted.format, &headers)?;
    let format = form.format;
    let paper = wanted.paper(format)?;
    let tongue = Tongue::choose(wanted.lang, &headers);
    let outlet = caller.outlet_of_number(&fiscal_number)?;
    let found = outlet.invoice(&fiscal_number, Consistency::Linearizable).await?;
    let sealed = found.record.ok_or_else(|| {
        Problem::not_found("INVOICE_UNKNOWN", format!("there is no invoice {fiscal_number:?}"))
    })?;
    // Before it is counted it is known that it can be made.
    let credential = found.credential.map(|bytes| Credential::from_bytes(&bytes)).transpose();
    let credential = credential.map_err(|_| Problem::internal("a receipt's credential"))?;
    let sold = Sold { sealed: &sealed, credential: credential.as_ref() };
    let preview = view(&outlet, &sold, CopyMark::Preview, tongue)?;
    // Whoever only asks about a receipt is given none.
    let counted = !format.is_code() && !wanted.preview && method != Method::HEAD;
    let (view, mark) = if counted {
        let before = caller.count_copy(&outlet, &fiscal_number, form.name).await?;
        let mark = if before == 0 { CopyMark::Original } else { CopyMark::Duplicate(before) };
        (view(&outlet, &sold, mark, tongue)?, mark)
    } else {
        (preview, CopyMark::Preview)
    };
    let bytes = tokio::task::spawn_blocking(move || made(&view, format, paper));
    let bytes = bytes.await.map_err(|_| Problem::internal("a receipt could not be laid out"))?;
    let mut response = bytes.into_response();
    form.name_file(response.headers_mut(), "inline", &fiscal_number);
    tell(response.headers_mut(), form, mark);
    Ok(response)
}

fn made(view: &ReceiptView, format: Format, paper: Paper) -> Vec<u8> {
    match format {
        Format::Html => receipt::html(view).into_bytes(),
        Format::Pdf => receipt::pdf(view, paper),
        Format::Escpos => receipt::escpos(
            view,
            match paper {
                Paper::Roll(roll) => roll,
                Paper::A4 => Roll::Mm80,
            },
        ),
        Format::Png => qr::png(view.qr(), paper),
        Format::Svg => qr::svg(view.qr(), paper, "QR").into_bytes(),
    }
}

fn tell(headers: &mut HeaderMap, form: &Form<Format>, mark: CopyMark) {
    let format = form.format;
    form.tell(headers);
    // The code of a sealed invoice never changes; which copy a receipt is does.
    let cache = if format.is_code() { "private, max-age=86400, immutable" } else { "no-store" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if format == Format::Html {
        headers.insert(header::CONTENT_SECURITY_POLICY, page_policy(receipt::STYLE));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    if !format.is_code() {
        let copy = match mark {
            CopyMark::Original => "original".to_owned(),
            CopyMark::Duplicate(number) => format!("duplicate; n={number}"),
            CopyMark::Preview => "preview".to_owned(),
        };
        headers.insert(COPY, HeaderValue::from_str(&copy).expect("a word and a number"));
    }
}

/// What is known of what was sold.
struct Sold<'s> {
    sealed: &'s JournalRecord,
    /// With it the receipt carries the code of the terminal that sealed it offline.
    credential: Option<&'s Credential>,
}

fn view(
    outlet: &Outlet,
    Sold { sealed, credential }: &Sold<'_>,
    mark: CopyMark,
    language: Language,
) -> Result<ReceiptView, Problem> {
    #[derive(Deserialize)]
    struct Named {
        tax_manifest_version: String,
    }
    let broken = |what: &str| Problem::internal(&format!("a receipt's {what}"));
    let record = Record::decode(&sealed.record).map_err(|error| broken(&error.to_string()))?;
    let signature: [u8; 64] = (&*sealed.signature).try_into().map_err(|_| broken("signature"))?;
    let named = crate::api::invoices::view::invoice_bytes(&record)?;
    let named: Named = serde_json::from_slice(named).map_err(|_| broken("invoice"))?;
    let manifest =
        outlet.manifest(&named.tax_manifest_version).ok_or_else(|| broken("manifest"))?;
    let invoice = invoice_of(&record, &[&manifest]).map_err(|error| broken(&error.to_string()))?;
    let view = ReceiptView::new(&ReceiptParts {
        record: &record,
        signature: &signature,
        invoice: &invoice,
        manifest: &manifest,
        credential: *credential,
        merchant: merchant_label(outlet),
        outlet: outlet_label(outlet),
        verify_host: outlet.verify_host(),
        mark,
        language,
    });
    view.map_err(|error| broken(&error.to_string()))
}
