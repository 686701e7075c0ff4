//! Lists: a page, where the next one begins, and as of what.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fiscus_ledger::base64::{decode_url, encode_url};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger as wire;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::problem::Problem;

/// A page has so many items unless asked otherwise,
pub const LIMIT_DEFAULT: usize = 50;
/// and at most so many.
pub const LIMIT_MAX: usize = 500;
/// or so many when each carries its proof.
pub const PROVED_MAX: usize = 100;
const CURSOR_BYTES_MAX: usize = 8 * 1024;

/// The position that an answer is as of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsOf {
    /// The group.
    pub group: u64,
    /// The last applied entry of its log.
    pub applied: u64,
    /// The group's time.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    pub time: String,
    /// Records and other leaves of its tree.
    pub leaves: u64,
}

impl From<&wire::AsOf> for AsOf {
    fn from(moment: &wire::AsOf) -> Self {
        Self {
            group: moment.group,
            applied: moment.applied,
            time: UnixMs::new(moment.time_ms).to_string(),
            leaves: moment.leaves,
        }
    }
}

impl AsOf {
    /// The `As-Of` header.
    #[must_use]
    pub fn header(&self) -> (HeaderName, HeaderValue) {
        let text = format!(
            "group={}; applied={}; leaves={}; time={}",
            self.group, self.applied, self.leaves, self.time
        );
        let value = HeaderValue::from_str(&text).expect("numbers and a time are a header's value");
        (HeaderName::from_static("as-of"), value)
    }
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// Send it as `cursor` for the next page; `null` at the end.
    pub next_cursor: Option<String>,
    /// One moment for each group that was read.
    pub as_of: Vec<AsOf>,
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let header = self.as_of.first().map(AsOf::header);
        let mut response = Json(self).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// How many items a page has.
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(_) => {
            let detail = format!("limit must be 1 to {LIMIT_MAX}");
            Err(Problem::at(StatusCode::BAD_REQUEST, "PARAMETER_INVALID", "limit", detail))
        }
    }
}

/// How many items a page has that may carry proofs.
pub fn limit_proved(asked: Option<usize>, proof: bool) -> Result<usize, Problem> {
    match limit(asked)? {
        limit if proof && limit > PROVED_MAX => {
            let detail = format!("with proof=true, limit must be 1 to {PROVED_MAX}");
            Err(Problem::at(StatusCode::BAD_REQUEST, "PARAMETER_INVALID", "limit", detail))
        }
        limit => Ok(limit),
    }
}

/// Where a list goes on, as the client carries it. It says what is asked, not what may be seen: every page is
/// checked anew.
#[must_use]
pub fn write_cursor<T: Serialize>(place: &T) -> String {
    encode_url(&serde_json::to_vec(place).expect("a place is JSON"))
}

/// Reads a cursor that was given out.
pub fn read_cursor<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let read = (text.len() <= CURSOR_BYTES_MAX).then(|| decode_url(text)).flatten();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(cursor_invalid)
}

/// A cursor that is none, or one of another list.
#[must_use]
pub fn cursor_invalid() -> Problem {
    let detail =
        "the cursor is not one that this list gave out with these filters; start without it";
    Problem::at(StatusCode::BAD_REQUEST, "CURSOR_INVALID", "cursor", detail)
}

/// Which page of a list that is sorted by ids.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500, example = 50)]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct After {
    after: String,
}

impl PageQuery {
    /// The page of items that are sorted by their ids. An id never changes, so a cursor means the same for ever.
    pub fn page<K, T>(
        &self,
        items: Vec<(String, K)>,
        as_of: AsOf,
        view: impl Fn(K) -> T,
    ) -> Result<Page<T>, Problem> {
        let limit = limit(self.limit)?;
        let after = self.cursor.as_deref().map(read_cursor::<After>).transpose()?;
        let rest = items.into_iter().skip_while(|(id, _)| {
            after.as_ref().is_some_and(|place| id.as_str() <= place.after.as_str())
        });
        let mut items: Vec<(String, K)> = rest.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|(id, _)| After { after: id.clone() });
        let next_cursor = last.filter(|_| more).map(|place| write_cursor(&place));
        let data = items.into_iter().map(|(_, item)| view(item)).collect();
        Ok(Page { data, next_cursor, as_of: vec![as_of] })
    }
}
