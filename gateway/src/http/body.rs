//! Bodies: their type, their length, and JSON without surprises.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use fiscus_ledger::facts::is_identifier;
use fiscus_ledger::json::{Kind, Reader};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::access::App;
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

/// Refuses a body of another type.
pub fn expect_type(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
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

/// Reads a body up to a limit.
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
    match Limited::new(request.into_body(), bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(error) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "BODY_INCOMPLETE",
            format!("the body could not be read to its end: {error}"),
        )),
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
        let pointer = pointer(error.path());
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
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => pointer.push('?'),
        }
    }
    pointer
}

/// Whether it is JSON, not too deep, without a key twice in an object.
fn check_form(text: &str) -> Result<(), Problem> {
    let mut reader = Reader::new(text);
    let mut open = vec![Open::root()];
    while let Some(level) = open.last_mut() {
        let step = level.step(&mut reader)?;
        match step {
            Step::Into(level) => open.push(level),
            Step::Value => {}
            Step::Done => {
                open.pop();
            }
        }
    }
    reader.finish().map_err(not_json)
}

fn not_json(error: fiscus_ledger::json::JsonError) -> Problem {
    let detail = format!("the body is not JSON at byte {}: {}", error.at, error.what);
    Problem::at(StatusCode::BAD_REQUEST, "JSON_INVALID", "", detail)
}

enum Step {
    Into(Open),
    Value,
    Done,
}

/// An open array or object, or the document itself.
enum Open {
    Root { read: bool },
    Array { first: bool },
    Object { first: bool, keys: std::collections::BTreeSet<String> },
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
            Self::Array { first } => {
                if reader.next_element(first).map_err(not_json)? {
                    value(reader)
                } else {
                    Ok(Step::Done)
                }
            }
            Self::Object { first, keys } => match reader.next_key(first).map_err(not_json)? {
                None => Ok(Step::Done),
                Some(key) => {
                    if !keys.insert(key.clone().into_owned()) {
                        let pointer = format!("/{key}");
                        let detail = format!("an object has the key {key:?} twice");
                        let code = "JSON_DUPLICATE_KEY";
                        return Err(Problem::at(StatusCode::BAD_REQUEST, code, pointer, detail));
                    }
                    value(reader)
                }
            },
        }
    }
}

fn value(reader: &mut Reader<'_>) -> Result<Step, Problem> {
    match reader.peek().map_err(not_json)? {
        Kind::Object => {
            reader.begin_object().map_err(not_json)?;
            Ok(Step::Into(Open::Object { first: true, keys: std::collections::BTreeSet::new() }))
        }
        Kind::Array => {
            reader.begin_array().map_err(not_json)?;
            Ok(Step::Into(Open::Array { first: true }))
        }
        Kind::String => reader.string().map(|_| Step::Value).map_err(not_json),
        Kind::Number => reader.number().map(|_| Step::Value).map_err(not_json),
        Kind::Null => reader.take_null().map(|_| Step::Value).map_err(not_json),
        _ => reader.boolean().map(|_| Step::Value).map_err(not_json),
    }
}
