//! Everything here that reads what strangers send, for the fuzz target: nothing panics, and what is accepted is read
//! the same again. Compiled for the fuzzer only.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use bytes::Bytes;
use fiscus_ledger::qr::QrPayload;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::tongue::Tongue;
use crate::access::keys::KeyText;
use crate::access::visitor;
use crate::http::lines::Lines;
use crate::http::list::{read_cursor, write_cursor};
use crate::http::negotiate::{Form, forms};
use crate::http::redact::redact;
use crate::http::{Decimal, IdempotencyKey, Precondition, body};
use crate::network::Network;
use crate::place_id::PlaceId;
use crate::render::{escape, visible};

const LINE_BYTES_MAX: usize = 64;
static FORMS: [Form<u8>; 3] = forms([
    (1, "html", "text/html; charset=utf-8"),
    (2, "pdf", "application/pdf"),
    (3, "json", "application/json"),
]);

/// The first byte says which reader gets the rest.
pub fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 7 {
        0 => json(bytes),
        1 => document(bytes),
        2 => lines(bytes),
        3 => query(bytes),
        4 => headers(bytes),
        5 => ids(bytes),
        _ => texts(bytes),
    }
}

/// What our reader takes for JSON is JSON to others, and decimals never become floats.
fn json(bytes: &[u8]) {
    if let Ok(value) = body::parse::<serde_json::Value>(bytes) {
        let text = value.to_string();
        assert!(body::parse::<serde_json::Value>(text.as_bytes()).is_ok(), "{text}");
    }
    if let Ok(decimal) = body::parse::<Decimal>(bytes) {
        let _ = decimal.quantity("/quantity");
        if let Ok(amount) = decimal.amount("/amount") {
            let again = Decimal::text(amount.to_string()).amount("/amount");
            assert_eq!(again, Ok(amount));
        }
    }
}

/// Items of a batch are parts of its document, in their order.
fn document(bytes: &[u8]) {
    let whole = Bytes::copy_from_slice(bytes);
    let Ok(items) = super::invoices::of_document(&whole) else { return };
    let mut from = 0;
    for item in items {
        let at = bytes[from..].windows(item.len().max(1)).position(|part| part == &item[..]);
        from += at.expect("an item stands after the one before it") + item.len();
    }
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"),
    );
}

/// However a body is cut into pieces, its lines are those of the whole.
fn lines(bytes: &[u8]) {
    let Some((piece, text)) = bytes.split_first() else { return };
    let pieces: Vec<Result<Bytes, std::io::Error>> = text
        .chunks(usize::from(*piece % 16) + 1)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let sent = Body::from_stream(futures_util::stream::iter(pieces));
    let deadline = Instant::now() + Duration::from_secs(3_600);
    let mut lines = Lines::new(sent, usize::MAX, LINE_BYTES_MAX, deadline);
    let read = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let mut read = Vec::new();
            while let Some(line) = lines.next().await {
                read.push(line.ok());
            }
            read
        })
    });
    let whole = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let whole: Vec<&[u8]> = whole.filter(|line| !line.is_empty()).collect();
    // Blanks around a line can make it too long for one way of reading and not for the other.
    let plain = text.split(|byte| *byte == b'\n').all(|line| line.len() <= LINE_BYTES_MAX);
    if plain {
        let read: Vec<&[u8]> = read.iter().map(|line| line.as_deref().expect("a line")).collect();
        assert_eq!(read, whole);
    }
}

/// The page behind the QR code, and what else stands in a query.
fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = super::verify::query_read(text);
    let Ok(uri) = format!("/v?{text}").parse::<Uri>() else { return };
    let _ = Query::<Vec<(String, String)>>::try_from_uri(&uri);
    if let Ok(payload) = QrPayload::parse(text.trim()) {
        assert!(QrPayload::parse(&payload.to_url()).is_ok());
    }
}

fn headers(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let of = |name: HeaderName| HeaderMap::from_iter([(name, value.clone())]);
    let _ = Form::choose(&FORMS, None, &of(header::ACCEPT));
    let _ = Tongue::choose(None, &of(header::ACCEPT_LANGUAGE));
    let _ = super::verify::is_for_a_person(&of(header::ACCEPT));
    let key = IdempotencyKey::of(&of(HeaderName::from_static("idempotency-key")));
    if let Ok(Some(key)) = key {
        assert_eq!(key.as_str().as_bytes(), bytes);
    }
    let proxies = [Network::try_from("10.0.0.0/8".to_owned()).expect("a network")];
    let _ = visitor(
        IpAddr::from([10, 0, 0, 1]),
        &of(HeaderName::from_static("x-forwarded-for")),
        &proxies,
    );
    if let Ok(text) = value.to_str() {
        let _ = Precondition::parse(text).map(|precondition| precondition.check("3"));
        let _ = KeyText::parse(text);
    }
}

/// What was given out is read back, and has one spelling.
fn ids(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(id) = PlaceId::parse(text) {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(place) = read_cursor::<serde_json::Value>(text) {
        assert!(read_cursor::<serde_json::Value>(&write_cursor(&place)).is_ok());
    }
    if let Ok(network) = Network::try_from(text.to_owned()) {
        let _ = network.contains(IpAddr::from([10, 0, 0, 1]));
    }
}

/// Nothing gets through as markup or as a secret.
fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let shown = escape(&visible(text));
    assert!(!shown.contains(['<', '>', '"', '\'']) && !shown.chars().any(char::is_control));
    let redacted = redact(text);
    assert_eq!(redact(&redacted), redacted);
    let secret = format!("{redacted} fsk_ab12_5ec2e7");
    assert!(redact(&secret).ends_with(" fsk_ab12_…"), "{text}");
}
