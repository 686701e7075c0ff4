//! The document of each outcome.

use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::invoice::InvoiceType;
use fiscus_ledger::time::UnixMs;

use super::html::Html;
use super::style::STYLE;
use super::words::{Words, credited, evidence, unrecorded};
use crate::api::verify::answer::{CreditedState, LedgerState, Verification, VerifiedReceipt};
use crate::http::Problem;
use crate::http::list::AsOf;
use crate::render::Language;

const WAIT: Duration = Duration::from_secs(1);

/// What a page shows.
#[derive(Debug)]
pub(super) enum Shown {
    /// The form alone.
    Form,
    /// The form, sent with only one of the two.
    Incomplete { number: String, code: String },
    /// The query is not a receipt's.
    Unreadable,
    /// There is nothing at this path.
    NoSuchPage,
    /// The address has asked too often.
    Limited(Duration),
    /// The ledger cannot be reached.
    Unavailable(Duration),
    /// Something else is wrong here.
    Failed(StatusCode),
    /// An answer.
    Found {
        verification: Verification,
        /// Whether by a QR code.
        scanned: bool,
    },
}

impl Shown {
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let wait = problem.retry_after.unwrap_or(WAIT);
        match problem.status {
            StatusCode::TOO_MANY_REQUESTS => Self::Limited(wait),
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable(wait),
            status => Self::Failed(status),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Form | Self::Found { .. } => StatusCode::OK,
            Self::Incomplete { .. } | Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::NoSuchPage => StatusCode::NOT_FOUND,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(status) => *status,
        }
    }

    /// Seconds.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Limited(wait) | Self::Unavailable(wait) => {
                u64::try_from(wait.as_millis().div_ceil(1_000).max(1)).ok()
            }
            _ => None,
        }
    }

    /// The outcome in the page's title and its heading.
    fn heading(&self, words: &Words) -> &'static str {
        match self {
            Self::Form | Self::Incomplete { .. } => words.form,
            Self::Unreadable => words.unreadable,
            Self::NoSuchPage => words.no_page,
            Self::Limited(_) => words.limited,
            Self::Unavailable(_) => words.unavailable,
            Self::Failed(_) => words.failed,
            Self::Found { verification, .. } => match verification {
                // Whoever only reads the heading must not take a trial for a sale.
                Verification::Verified(receipt) if receipt.notice.is_some() => words.trial,
                Verification::Verified(_) => words.verified,
                Verification::NotFound(_) => words.not_found,
                Verification::Tampered(_) => words.tampered,
            },
        }
    }
}

/// Icons with a shape of their own each: a tick in a shield, a question mark in a circle, a bar in an octagon, a
/// sign in a triangle.
const GENUINE: &str = "<svg viewBox=\"0 0 48 48\" aria-hidden=\"true\" focusable=\"false\"><path fill=\"currentColor\" d=\"M24 2 6 9v13c0 11 8 20 18 24 10-4 18-13 18-24V9z\"/><path fill=\"none\" stroke=\"#fff\" stroke-width=\"5\" d=\"m14 24 7 7 13-14\"/></svg>";
const UNKNOWN: &str = "<svg viewBox=\"0 0 48 48\" aria-hidden=\"true\" focusable=\"false\"><circle cx=\"24\" cy=\"24\" r=\"20\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"4\"/><path fill=\"none\" stroke=\"currentColor\" stroke-width=\"5\" d=\"M17 19c0-9 14-9 14 0 0 5-7 5-7 11m0 3v5\"/></svg>";
const FORGED: &str = "<svg viewBox=\"0 0 48 48\" aria-hidden=\"true\" focusable=\"false\"><path fill=\"currentColor\" d=\"M15 2h18l13 13v18L33 46H15L2 33V15z\"/><path fill=\"none\" stroke=\"#fff\" stroke-width=\"6\" d=\"m15 15 18 18m0-18L15 33\"/></svg>";
const NOTHING: &str = "<svg viewBox=\"0 0 48 48\" aria-hidden=\"true\" focusable=\"false\"><path fill=\"none\" stroke=\"currentColor\" stroke-width=\"4\" stroke-linejoin=\"round\" d=\"M24 5 3 43h42z\"/><path fill=\"none\" stroke=\"currentColor\" stroke-width=\"5\" d=\"M24 18v12m0 3v5\"/></svg>";

/// The whole document. `query` is what the page was asked with, but for the language.
pub(super) fn document(shown: &Shown, language: Language, path: &str, query: &str) -> String {
    let words = Words::of(language);
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=\"").text(language.tag());
    html.raw("\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"robots\" content=\"noindex\"><meta name=\"format-detection\" content=\"telephone=no\">");
    html.raw("<title>").text(shown.heading(words));
    if shown.heading(words) != words.form {
        html.raw(" – ").text(words.page);
    }
    html.raw("</title><style>").raw(STYLE).raw("</style></head>\n<body>\n");
    html.raw("<header><p>").text(words.page).raw("</p><nav><a href=\"").text(path).raw("?");
    let other = language.other().tag();
    if !query.is_empty() {
        html.text(query).raw("&amp;");
    }
    html.raw("lang=").text(other).raw("\" lang=\"").text(other).raw("\" hreflang=\"").text(other);
    html.raw("\">").text(words.other).raw("</a></nav></header>\n<main>\n");
    push_outcome(&mut html, shown, language);
    push_form(&mut html, shown, language);
    html.raw("</main>\n<footer><p>").text(words.offline);
    html.raw(" <a href=\"/.well-known/fiscal-keys.json\">").text(words.keys);
    html.raw("</a></p></footer>\n</body></html>\n");
    html.finish()
}

fn push_outcome(html: &mut Html, shown: &Shown, language: Language) {
    let words = Words::of(language);
    let (class, icon, text) = match shown {
        Shown::Form | Shown::Incomplete { .. } => return,
        Shown::Unreadable => ("none", NOTHING, words.unreadable_text),
        Shown::NoSuchPage => ("none", NOTHING, words.no_page_text),
        Shown::Limited(_) => ("none", NOTHING, words.limited_text),
        Shown::Unavailable(_) => ("none", NOTHING, words.unavailable_text),
        Shown::Failed(_) => ("none", NOTHING, words.failed_text),
        Shown::Found { verification, scanned } => match verification {
            Verification::Verified(receipt) => {
                push_verified(html, receipt, (shown.heading(words), *scanned), language);
                return;
            }
            Verification::NotFound(found) => {
                push_as_of(html, found.as_of.as_ref(), language);
                let text = match (found.as_of.is_some(), *scanned) {
                    (true, _) => words.not_found_yet,
                    (false, true) => words.not_found_qr,
                    (false, false) => words.not_found_number,
                };
                ("none", UNKNOWN, text)
            }
            Verification::Tampered(found) => ("bad", FORGED, evidence(language, found.evidence)),
        },
    };
    push_banner(html, class, icon, shown.heading(words), text);
    if class == "bad" {
        html.raw("<p class=\"note\">").text(words.tampered_advice).raw("</p>\n");
    }
}

fn push_banner(
    html: &mut Html,
    class: &'static str,
    icon: &'static str,
    heading: &str,
    text: &str,
) {
    html.raw("<div class=\"outcome ").raw(class).raw("\">").raw(icon).raw("<h1>").text(heading);
    html.raw("</h1><p>").text(text).raw("</p></div>\n");
}

fn push_as_of(html: &mut Html, as_of: Option<&AsOf>, language: Language) {
    if let Some(as_of) = as_of {
        html.raw("<p class=\"note\">").text(Words::of(language).as_of).raw(" ");
        push_time(html, &as_of.time, language);
        html.raw("</p>\n");
    }
}

fn push_verified(
    html: &mut Html,
    receipt: &VerifiedReceipt,
    (heading, scanned): (&str, bool),
    language: Language,
) {
    let words = Words::of(language);
    if let Some(notice) = &receipt.notice {
        html.raw("<p class=\"test\"><strong>").text(notice).raw("</strong> ").text(words.test);
        html.raw("</p>\n");
    }
    push_as_of(html, receipt.as_of.as_ref(), language);
    let (class, icon) = if receipt.notice.is_some() { ("none", NOTHING) } else { ("ok", GENUINE) };
    let text = if scanned { words.verified_text } else { words.verified_number };
    push_banner(html, class, icon, heading, text);
    if receipt.credited != CreditedState::None {
        html.raw("<p class=\"note\"><strong>").text(credited(language, receipt.credited));
        html.raw("</strong></p>\n");
    }
    if let Some(note) = unrecorded(language, receipt.ledger) {
        html.raw("<p class=\"note\">").text(note).raw("</p>\n");
    }
    html.raw("<section><h2>").text(words.details).raw("</h2><dl>");
    let total = language.money(&receipt.total, &receipt.currency);
    let kind = InvoiceType::parse(&receipt.invoice_type);
    let upload = match &*receipt.dgi_status {
        "queued" => words.upload_queued,
        "acknowledged" => words.upload_acknowledged,
        "rejected" | "failed" => words.upload_refused,
        _ => words.upload_none,
    };
    // Nobody can say whether it still stands before the ledger has it.
    let recorded = receipt.ledger == LedgerState::Recorded;
    let state = if recorded { credited(language, receipt.credited) } else { "" };
    for (label, value) in [
        (words.merchant, receipt.merchant_name.as_str()),
        (words.outlet, &receipt.outlet_name),
        (words.kind, kind.map_or("", |kind| language.invoice_type(kind))),
        (words.total, &total),
        (words.state, state),
        (words.upload, upload),
    ] {
        if !value.is_empty() {
            html.raw("<div><dt>").text(label).raw("</dt><dd>").foreign(value).raw("</dd></div>");
        }
    }
    html.raw("<div><dt>").text(words.date).raw("</dt><dd>");
    push_time(html, &receipt.timestamp, language);
    html.raw("</dd></div></dl></section>\n");
    push_elements(html, receipt, scanned, words);
    let proves: &[&str] = &[words.proves_text, words.proves_record];
    let proves = if recorded { proves } else { &proves[..1] };
    for (heading, texts) in [(words.proves, proves), (words.proves_not, &words.proves_not_text)] {
        html.raw("<section><h2>").text(heading).raw("</h2><ul>");
        for text in texts {
            html.raw("<li>").text(text).raw("</li>");
        }
        html.raw("</ul></section>\n");
    }
}

/// The five elements, and what was done with each.
fn push_elements(html: &mut Html, receipt: &VerifiedReceipt, scanned: bool, words: &Words) {
    html.raw("<section><h2>").text(words.checked).raw("</h2><dl>");
    for (label, value) in [
        (words.number, receipt.fiscal_number.as_str()),
        (words.authority, &receipt.fiscal_authority_id),
        (words.code, &receipt.auth_code),
        (words.time, &receipt.timestamp),
    ] {
        html.raw("<div><dt>").text(label).raw("</dt><dd>✓ ").foreign(value).raw("</dd></div>");
    }
    html.raw("<div><dt>").text(words.qr).raw("</dt><dd>");
    if scanned {
        html.raw("✓ ").text(words.qr_checked);
    } else {
        html.raw("– ").text(words.qr_unchecked);
    }
    html.raw("</dd></div></dl><p class=\"hint\">✓ = ").text(words.compare).raw("</p></section>\n");
}

/// As it stands on the paper.
fn push_time(html: &mut Html, time: &str, language: Language) {
    html.raw("<time datetime=\"").text(time).raw("\">");
    match UnixMs::parse_canonical(time) {
        Some(moment) => html.text(&language.moment(moment)),
        None => html.text(time),
    };
    html.raw("</time>");
}

fn push_form(html: &mut Html, shown: &Shown, language: Language) {
    let words = Words::of(language);
    let alone = matches!(shown, Shown::Form | Shown::Incomplete { .. });
    html.raw("<section>");
    if alone {
        html.raw("<h1>").text(words.form).raw("</h1>");
    } else {
        html.raw("<h2>").text(words.another).raw("</h2>");
    }
    let (mut number, mut code) = ("", "");
    if let Shown::Incomplete { number: typed, code: typed_code } = shown {
        (number, code) = (typed, typed_code);
        html.raw("<p class=\"note\" role=\"alert\">").text(words.both).raw("</p>");
    }
    html.raw("<p>").text(words.form_hint).raw("</p><form action=\"/v\" method=\"get\">");
    for (name, label, hint, value, length) in [
        ("fn", words.number, words.number_hint, number, "64"),
        ("auth_code", words.code, words.code_hint, code, "24"),
    ] {
        html.raw("<label for=\"")
            .raw(name)
            .raw("\">")
            .text(label)
            .raw("</label><p class=\"hint\" id=\"");
        html.raw(name).raw("-hint\">").text(hint).raw("</p><input id=\"").raw(name);
        html.raw("\" name=\"")
            .raw(name)
            .raw("\" maxlength=\"")
            .raw(length)
            .raw("\" value=\"")
            .text(value);
        html.raw("\" aria-describedby=\"")
            .raw(name)
            .raw("-hint\" autocomplete=\"off\" autocapitalize=\"characters\"");
        html.raw(" spellcheck=\"false\" required>");
    }
    html.raw("<input type=\"hidden\" name=\"lang\" value=\"").text(language.tag());
    html.raw("\"><button>").text(words.send).raw("</button></form></section>\n");
}
