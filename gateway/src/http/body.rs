//! Bodies: their type, their length, and JSON without surprises.

use std::collections::BTreeSet;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use fiscus_ledger::facts::is_identifier;
use fiscus_ledger::json::{Kind, Reader};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout_at;

use crate::access::App;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;

/// A JSON body, read whole.
#[derive(Debug, Clone, Copy)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = json_bytes(request, app.config().limits.body_bytes_max).await?;
        parse(&bytes).map(Self)
    }
}

/// The bytes of a JSON body, for whoever reads them himself.
#[derive(Debug, Clone)]
pub struct JsonBytes(pub Bytes);

impl FromRequest<App> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        json_bytes(request, app.config().limits.body_bytes_max).await.map(Self)
    }
}

/// Reads a body that must be JSON by its type, up to a limit.
pub async fn json_bytes(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    expect_type(request.headers(), &["application/json"])?;
    read(request, bytes_max).await
}

/// Refuses a body of another type, or one that is compressed.
pub fn expect_type(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        let detail = "the body must be sent as it is, without Content-Encoding";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::at(status, "CONTENT_TYPE_UNSUPPORTED", "Content-Encoding", detail));
    }
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let bare = given.unwrap_or("").split(';').next().unwrap_or("").trim();
    if types.iter().any(|known| known.eq_ignore_ascii_case(bare)) {
        return Ok(());
    }
    Err(Problem::at(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "CONTENT_TYPE_UNSUPPORTED",
        "Content-Type",
        format!("the body must be {}; say so in Content-Type", types.join(" or ")),
    ))
}

/// Reads a body up to a limit, within the request's time.
pub async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BODY_TOO_LARGE",
            format!("the body has more than {bytes_max} bytes; send less at once"),
        )
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let incomplete = |status, detail| Problem::new(status, "BODY_INCOMPLETE", detail);
    let context = request.extensions().get::<RequestContext>();
    let deadline = context.expect("the outermost layer makes it").deadline;
    let body = Limited::new(request.into_body(), bytes_max).collect();
    match timeout_at(deadline, body).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(error)) => {
            let detail = format!("the body could not be read to its end: {error}");
            Err(incomplete(StatusCode::BAD_REQUEST, detail))
        }
        // Nothing was done yet, and that is known: the outcome is not in doubt.
        Err(_elapsed) => {
            let detail = "the body did not come in time; nothing was done; send the request again";
            Err(incomplete(StatusCode::REQUEST_TIMEOUT, detail.to_owned()))
        }
    }
}

/// Reads JSON into a type: first its form, duplicate keys included, then its fields, with a pointer.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bad = |code, detail: String| Problem::at(StatusCode::BAD_REQUEST, code, "", detail);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        bad("UTF8_INVALID", format!("the body is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    check_form(text)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let mut pointer = pointer(error.path());
        let detail = error.inner().to_string();
        // The place in the text says less than the pointer.
        let detail = detail.split(" at line ").next().unwrap_or_default().to_owned();
        let code = if detail.starts_with("unknown field") {
            "FIELD_UNKNOWN"
        } else if detail.starts_with("missing field") {
            "FIELD_MISSING"
        } else {
            "FIELD_INVALID"
        };
        // A field that is not there is at no place that a reader can have passed.
        if code == "FIELD_MISSING"
            && let Some(name) = detail.split('`').nth(1)
        {
            push(&mut pointer, name);
        }
        Problem::at(StatusCode::UNPROCESSABLE_ENTITY, code, pointer, detail)
    })
}

/// Refuses a text that the ledger takes for no identifier; `pointer` says where it stands.
pub fn identifier(pointer: &str, text: &str) -> Result<(), Problem> {
    if is_identifier(text) {
        return Ok(());
    }
    let detail = "must have 1 to 64 bytes, none of them a control character";
    Err(Problem::at(StatusCode::UNPROCESSABLE_ENTITY, "FIELD_INVALID", pointer, detail))
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } | Segment::Enum { variant: key } => push(&mut pointer, key),
            Segment::Unknown => push(&mut pointer, "?"),
        }
    }
    pointer
}

fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Whether it is JSON, not too deep, without a key twice in an object.
fn check_form(text: &str) -> Result<(), Problem> {
    let mut reader = Reader::new(text);
    let mut open = vec![Open::root()];
    while let Some(level) = open.last_mut() {
        match level.step(&mut reader)? {
            Step::Into(level) => open.push(level),
            Step::Value => {}
            Step::Done => {
                open.pop();
            }
            Step::Twice => return Err(twice(&open)),
        }
    }
    reader.finish().map_err(not_json)
}

/// The innermost object has its last key twice; those around it say where it stands.
fn twice(open: &[Open]) -> Problem {
    let mut pointer = String::new();
    open.iter().for_each(|level| level.write_place(&mut pointer));
    let detail = format!("an object has the key {pointer} twice");
    Problem::at(StatusCode::BAD_REQUEST, "JSON_DUPLICATE_KEY", pointer, detail)
}

fn not_json(error: fiscus_ledger::json::JsonError) -> Problem {
    let detail = format!("the body is not JSON at byte {}: {}", error.at, error.what);
    Problem::at(StatusCode::BAD_REQUEST, "JSON_INVALID", "", detail)
}

enum Step {
    Into(Open),
    Value,
    Done,
    Twice,
}

/// An open array or object, or the document itself, with where in it the reader is.
enum Open {
    Root { read: bool },
    Array { first: bool, length: usize },
    Object { first: bool, keys: BTreeSet<String>, last: String },
}

impl Open {
    fn root() -> Self {
        Self::Root { read: false }
    }

    fn step(&mut self, reader: &mut Reader<'_>) -> Result<Step, Problem> {
        match self {
            Self::Root { read: true } => Ok(Step::Done),
            Self::Root { read } => {
                *read = true;
                value(reader)
            }
            Self::Array { first, length } => {
                if reader.next_element(first).map_err(not_json)? {
                    *length += 1;
                    value(reader)
                } else {
                    Ok(Step::Done)
                }
            }
            Self::Object { first, keys, last } => match reader.next_key(first).map_err(not_json)? {
                None => Ok(Step::Done),
                Some(key) => {
                    *last = key.into_owned();
                    if keys.insert(last.clone()) { value(reader) } else { Ok(Step::Twice) }
                }
            },
        }
    }

    fn write_place(&self, pointer: &mut String) {
        match self {
            Self::Root { .. } => {}
            Self::Array { length, .. } => push(pointer, &length.saturating_sub(1).to_string()),
            Self::Object { last, .. } => push(pointer, last),
        }
    }
}

fn value(reader: &mut Reader<'_>) -> Result<Step, Problem> {
    match reader.peek().map_err(not_json)? {
        Kind::Object => {
            reader.begin_object().map_err(not_json)?;
            let (keys, last) = (BTreeSet::new(), String::new());
            Ok(Step::Into(Open::Object { first: true, keys, last }))
        }
        Kind::Array => {
            reader.begin_array().map_err(not_json)?;
            Ok(Step::Into(Open::Array { first: true, length: 0 }))
        }
        Kind::String => reader.string().map(|_| Step::Value).map_err(not_json),
        Kind::Number => reader.number().map(|_| Step::Value).map_err(not_json),
        Kind::Null => reader.take_null().map(|_| Step::Value).map_err(not_json),
        _ => reader.boolean().map(|_| Step::Value).map_err(not_json),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is wrong with a body is looked at, not what is right")]
    struct Thing {
        name: String,
        #[serde(default)]
        parts: Vec<Self>,
        #[serde(default)]
        words: BTreeMap<String, String>,
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (body, code, pointer) in [
            (r#"{"name":"a","name":"b"}"#, "JSON_DUPLICATE_KEY", "/name"),
            (
                r#"{"name":"a","parts":[{"name":"b"},{"name":"c","words":{"x/y":"","x\/y":""}}]}"#,
                "JSON_DUPLICATE_KEY",
                "/parts/1/words/x~1y",
            ),
            (r#"{"name":"a","parts":[{}]}"#, "FIELD_MISSING", "/parts/0/name"),
            (r#"{}"#, "FIELD_MISSING", "/name"),
            (
                r#"{"name":"a","parts":[{"name":"b","colour":1}]}"#,
                "FIELD_UNKNOWN",
                "/parts/0/colour",
            ),
            (r#"{"name":7}"#, "FIELD_INVALID", "/name"),
            (r#"{"name":"a""#, "JSON_INVALID", ""),
        ] {
            let problem = parse::<Thing>(body.as_bytes()).expect_err(body);
            let told = (&*problem.code, &*problem.errors[0].pointer);
            assert_eq!(told, (code, pointer), "{body}");
        }
    }
}
