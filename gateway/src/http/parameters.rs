//! Query parameters: known ones only, each once, each with a clear refusal.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use fiscus_proto::ledger::Consistency as Wire;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::http::problem::Problem;

/// The query of a request. The type denies unknown fields.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(wrong(&error.body_text())),
        }
    }
}

/// What is wrong, with the parameter's name where serde tells it.
fn wrong(told: &str) -> Problem {
    let detail = told.trim_start_matches("Failed to deserialize query string: ").to_owned();
    let quoted = |kind: &str| {
        let (_, rest) = detail.split_once(&format!("{kind} field `"))?;
        rest.split('`').next().map(str::to_owned)
    };
    let (code, name) = if let Some(name) = quoted("unknown") {
        ("PARAMETER_UNKNOWN", name)
    } else if let Some(name) = quoted("duplicate").or_else(|| quoted("missing")) {
        ("PARAMETER_INVALID", name)
    } else {
        // The name of the field stands before what is wrong with it.
        ("PARAMETER_INVALID", detail.split(':').next().unwrap_or("").to_owned())
    };
    Problem::at(StatusCode::BAD_REQUEST, code, name, detail)
}

/// A parameter that is wrong by more than its form.
#[must_use]
pub fn invalid(name: &str, detail: impl Into<String>) -> Problem {
    Problem::at(StatusCode::BAD_REQUEST, "PARAMETER_INVALID", name, detail)
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Everything that was answered anywhere before the request is seen.
    #[default]
    Linearizable,
    /// What the nearest replica has; the answer says as of what.
    Local,
}

impl From<Consistency> for Wire {
    fn from(wanted: Consistency) -> Self {
        match wanted {
            Consistency::Linearizable => Self::Linearizable,
            Consistency::Local => Self::Local,
        }
    }
}

/// The variable parts of a path.
#[derive(Debug, Clone, Copy)]
pub struct PathOf<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(error) => Err(invalid("path", error.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_parameter_is_named() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "what is wrong with a query is looked at, not what is right")]
        struct Wanted {
            outlet_id: String,
            limit: Option<usize>,
        }
        for (query, code, name) in [
            ("outlet_id=a&colour=red", "PARAMETER_UNKNOWN", "colour"),
            ("outlet_id=a&outlet_id=b", "PARAMETER_INVALID", "outlet_id"),
            ("limit=5", "PARAMETER_INVALID", "outlet_id"),
            ("outlet_id=a&limit=x", "PARAMETER_INVALID", "limit"),
        ] {
            let uri = format!("/x?{query}").parse().expect("a path");
            let error = Query::<Wanted>::try_from_uri(&uri).expect_err(query);
            let problem = wrong(&error.body_text());
            assert_eq!((&*problem.code, &*problem.errors[0].pointer), (code, name), "{query}");
        }
    }
}
