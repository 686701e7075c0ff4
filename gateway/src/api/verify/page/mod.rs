//! `GET /v`: the page behind the QR code of every receipt, for people with a telephone and no patience. One
//! document of a few kilobytes, without scripts, fonts or anything else to load.

mod html;
mod style;
mod view;
mod words;

use axum::extract::{FromRequestParts, Query, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use fiscus_ledger::qr::QrPayload;

use self::view::{Shown, document};
use super::check::{by_number, by_qr};
use super::schedule::on_schedule;
use crate::access::{App, Public};
use crate::api::tongue::Tongue;
use crate::http::Problems;
use crate::render::Language;

/// More than any receipt's query, with the language added.
const QUERY_BYTES_MAX: usize = 8 * 1024;
/// The parameters that only a QR code has.
const OF_QR: [&str; 7] = ["ts", "k", "t", "c", "fa", "h", "s"];

/// The page that a receipt's QR code leads to.
///
/// With the parameters of a QR code it says whether the receipt is genuine; with `fn` and `auth_code`, as the form
/// sends them, it checks those; without any it shows the form. French or English, as `lang` or the browser says.
#[utoipa::path(
    get,
    path = "/v",
    tag = "verification",
    security(()),
    params(
        ("fn" = Option<String>, Query, description = "The number on the paper", example = "KIN-GOMBE-1"),
        ("auth_code" = Option<String>, Query, description = "The code on the paper", example = "7Q4X-1M8K-ZC0D-3J5W"),
        ("lang" = Option<String>, Query, description = "`fr` or `en`", example = "fr"),
    ),
    responses(
        (status = 200, description = "What was found, or the form", body = String, content_type = "text/html", example = "<!doctype html>"),
        (status = 400, description = "The parameters are no receipt's: a page that says so", body = String, content_type = "text/html", example = "<!doctype html>"),
        (status = 401, description = "A key was sent and is none: a page that says so", body = String, content_type = "text/html", example = "<!doctype html>"),
        (status = 429, description = "Too many checks: a page that says so", body = String, content_type = "text/html", example = "<!doctype html>"),
        (status = 503, description = "The ledger cannot be reached now: a page that says so", body = String, content_type = "text/html", example = "<!doctype html>"),
        Problems,
    )
)]
pub(super) async fn page(State(app): State<App>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let (lang, query) = split_language(parts.uri.query().unwrap_or_default());
    let language = wanted(lang.as_deref(), &parts.headers);
    let shown = if query.is_empty() {
        Shown::Form
    } else {
        match Public::from_request_parts(&mut parts, &app).await {
            Ok(public) => found(&public, &parts.uri, &query).await,
            Err(problem) => Shown::of_problem(&problem),
        }
    };
    respond(&shown, language, parts.uri.path(), &query)
}

/// The form for a number and a code.
#[utoipa::path(
    get,
    path = "/verify",
    tag = "verification",
    security(()),
    params(("lang" = Option<String>, Query, description = "`fr` or `en`", example = "fr")),
    responses(
        (status = 200, description = "The form", body = String, content_type = "text/html", example = "<!doctype html>"),
        Problems,
    )
)]
pub(super) async fn form(uri: Uri, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let (lang, _) = split_language(&query);
    respond(&Shown::Form, wanted(lang.as_deref(), &headers), uri.path(), "")
}

/// The form, at the address that is printed on receipts.
#[utoipa::path(
    get,
    path = "/",
    tag = "verification",
    security(()),
    params(("lang" = Option<String>, Query, description = "`fr` or `en`", example = "fr")),
    responses(
        (status = 200, description = "The form", body = String, content_type = "text/html", example = "<!doctype html>"),
        Problems,
    )
)]
pub(super) async fn home(uri: Uri, query: RawQuery, headers: HeaderMap) -> Response {
    form(uri, query, headers).await
}

/// A page for whoever comes with a browser to a path that is none.
pub(in crate::api) fn no_such_page(uri: &Uri, headers: &HeaderMap) -> Response {
    let (lang, _) = split_language(uri.query().unwrap_or_default());
    respond(&Shown::NoSuchPage, wanted(lang.as_deref(), headers), "/verify", "")
}

/// Whether a request is a person's with a browser.
pub(in crate::api) fn is_for_a_person(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| {
        accept.split(',').any(|kind| kind.trim().to_ascii_lowercase().starts_with("text/html"))
    })
}

/// The language that is asked for, else the one that the browser prefers, else French.
fn wanted(asked: Option<&str>, headers: &HeaderMap) -> Language {
    asked.and_then(Language::parse).unwrap_or_else(|| Tongue::choose(None, headers))
}

/// Takes the language out of a query; the rest stays as it was written.
fn split_language(query: &str) -> (Option<String>, String) {
    let is_language = |pair: &&str| pair.strip_prefix("lang=").is_some();
    let language = query.split('&').find(is_language);
    let language = language.and_then(|pair| pair.strip_prefix("lang=")).map(str::to_owned);
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_language(pair)).collect();
    (language, rest.join("&"))
}

/// What the query asks for, and what was found.
async fn found(public: &Public, uri: &Uri, query: &str) -> Shown {
    if query.len() > QUERY_BYTES_MAX {
        return Shown::Unreadable;
    }
    let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let scanned = names.clone().any(|name| OF_QR.contains(&name));
    let found = if scanned {
        let text = format!("https://{}/v?{query}", public.verify_host());
        let Ok(payload) = QrPayload::parse(&text) else { return Shown::Unreadable };
        on_schedule(by_qr(public, &payload)).await
    } else {
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Shown::Unreadable;
        };
        let value = |name: &str| {
            let named = pairs.iter().find(|(known, _)| known == name);
            named.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let (number, code) = (value("fn"), value("auth_code"));
        if number.is_empty() || code.is_empty() {
            return Shown::Incomplete { number, code };
        }
        on_schedule(by_number(public, &number, &code)).await
    };
    match found {
        Ok(verification) => Shown::Found { verification, scanned },
        Err(problem) => Shown::of_problem(&problem),
    }
}

fn respond(shown: &Shown, language: Language, path: &str, query: &str) -> Response {
    let page = document(shown, language, path, query);
    let mut response = (shown.status(), page).into_response();
    let headers = response.headers_mut();
    let set = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_LANGUAGE, language.tag()),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept-language"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, style::POLICY.as_str()),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_str(value).expect("it is a header's value"));
    }
    let robots = header::HeaderName::from_static("x-robots-tag");
    headers.insert(robots, HeaderValue::from_static("noindex"));
    if let Some(wait) = shown.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// Reads a query as the page does, for the fuzz target.
#[cfg(fuzzing)]
pub(in crate::api) fn query_read(query: &str) -> bool {
    let (lang, rest) = split_language(query);
    let shown = Shown::Incomplete { number: rest.clone(), code: rest.clone() };
    let page = document(&shown, wanted(lang.as_deref(), &HeaderMap::new()), "/v", &rest);
    assert_eq!(page.matches("<script").count() + page.matches("<form").count(), 1);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_taken_out_and_the_rest_stays() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(split_language("fn=A&ts=x%3A&lang=en"), (some("en"), "fn=A&ts=x%3A".to_owned()));
        assert_eq!(split_language("lang=fr"), (some("fr"), String::new()));
        assert_eq!(split_language("lang=fr&fn=A"), (some("fr"), "fn=A".to_owned()));
        assert_eq!(split_language("slang=fr"), (None, "slang=fr".to_owned()));
        assert_eq!(split_language(""), (None, String::new()));
    }

    #[test]
    fn the_language_is_the_one_asked_for_or_the_one_preferred() {
        for (asked, accepted, expected) in [
            (None, "", Language::French),
            (None, "en-GB,en;q=0.9", Language::English),
            (None, "ln, sw;q=0.9, en;q=0.5", Language::English),
            (None, "de", Language::French),
            (Some("en"), "fr", Language::English),
            (Some("xx"), "en", Language::English),
        ] {
            let accepted = HeaderValue::from_static(accepted);
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, accepted)]);
            assert_eq!(wanted(asked, &headers), expected, "{asked:?} {headers:?}");
        }
    }

    #[test]
    fn browsers_are_told_from_programs() {
        let accept = |text: &'static str| {
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(text))])
        };
        assert!(is_for_a_person(&accept("text/html,application/xhtml+xml,*/*;q=0.8")));
        assert!(!is_for_a_person(&accept("application/json")));
        assert!(!is_for_a_person(&accept("*/*")));
        assert!(!is_for_a_person(&HeaderMap::new()));
    }
}
