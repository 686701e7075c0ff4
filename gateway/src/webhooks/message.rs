//! A message: its id, its body, its header.

use bytes::Bytes;
use fiscus_ledger::time::UnixMs;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use serde_json::{Map, Value, json};

use super::catalogue::EventType;
use super::signature::Secret;
use crate::delivery::kept::{ALERTS, NOTICES, Place};

/// A body has fewer bytes.
pub const BODY_BYTES_MAX: usize = 20_000;

/// The id of an event at an endpoint: the same whenever it is sent.
#[must_use]
pub fn message_id(endpoint_id: &str, place: Place) -> String {
    match place {
        Place { source: NOTICES, leaf } => format!("msg_{endpoint_id}_n_{leaf}"),
        Place { source: ALERTS, leaf } => format!("msg_{endpoint_id}_a_{leaf}"),
        Place { source, leaf } => format!("msg_{endpoint_id}_{source}_{leaf}"),
    }
}

/// The event that an id of this endpoint names.
#[must_use]
pub fn place_of(endpoint_id: &str, message_id: &str) -> Option<Place> {
    let rest = message_id.strip_prefix("msg_")?.strip_prefix(endpoint_id)?.strip_prefix('_')?;
    let (source, leaf) = rest.split_once('_')?;
    let source = match source {
        "n" => NOTICES,
        "a" => ALERTS,
        group => group.parse().ok()?,
    };
    let place = Place { source, leaf: leaf.parse().ok()? };
    (self::message_id(endpoint_id, place) == message_id).then_some(place)
}

/// The body of a message; none when it would be too large.
#[must_use]
pub fn body(
    kind: EventType,
    time_ms: u64,
    mut data: Map<String, Value>,
    sequence: Option<u64>,
) -> Option<Bytes> {
    data.insert("sequence".to_owned(), json!(sequence));
    let timestamp = UnixMs::new(time_ms).to_string();
    let body = json!({"type": kind.as_str(), "timestamp": timestamp, "data": data}).to_string();
    (body.len() < BODY_BYTES_MAX).then(|| body.into())
}

/// The header of a message that is sent now, with a signature of each secret that is in force.
#[must_use]
pub fn headers(
    id: &str,
    now_s: u64,
    body: &[u8],
    secrets: &[Secret],
) -> Vec<(HeaderName, HeaderValue)> {
    let signatures: Vec<String> =
        secrets.iter().map(|secret| secret.sign(id, now_s, body)).collect();
    let text =
        |text: &str| HeaderValue::from_str(text).expect("ids and signatures are a header's value");
    vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (USER_AGENT, HeaderValue::from_static("Fiscus-Webhooks/1")),
        (HeaderName::from_static("webhook-id"), text(id)),
        (HeaderName::from_static("webhook-timestamp"), text(&now_s.to_string())),
        (HeaderName::from_static("webhook-signature"), text(&signatures.join(" "))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_event_and_no_other_endpoints() {
        for place in [
            Place { source: 1, leaf: 4_711 },
            Place { source: NOTICES, leaf: 2 },
            Place { source: ALERTS, leaf: 2 },
        ] {
            let id = message_id("ab12", place);
            assert_eq!(place_of("ab12", &id), Some(place));
            assert_eq!(place_of("ab1", &id), None);
            assert!(!id.contains('.'), "the signed text is parted by dots");
        }
        for id in [
            "",
            "msg_ab12_1_",
            "msg_ab12_1_04711",
            "msg_ab12_x_1",
            "msg_ab12_1_1_1",
            "msg_ab12_t_1",
        ] {
            assert_eq!(place_of("ab12", id), None, "{id}");
        }
    }

    #[test]
    fn a_body_is_small() {
        let data = |size: usize| Map::from_iter([("a".to_owned(), json!("x".repeat(size)))]);
        let small = body(EventType::InvoiceSealed, 0, data(10), Some(3)).expect("it is small");
        let read: Value = serde_json::from_slice(&small).expect("it is JSON");
        assert_eq!(
            (&read["type"], &read["data"]["sequence"]),
            (&json!("invoice.sealed"), &json!(3))
        );
        assert_eq!(body(EventType::InvoiceSealed, 0, data(BODY_BYTES_MAX), None), None);
    }
}
