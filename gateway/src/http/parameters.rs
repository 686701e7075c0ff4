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
    let named = |lead: &str| {
        let (_, rest) = detail.split_once(lead)?;
        Some(rest.split('`').next().unwrap_or_default().to_owned())
    };
    let (code, name) = match named("unknown field `") {
        Some(name) => ("PARAMETER_UNKNOWN", name),
        None => {
            let name = named("missing field `").or_else(|| named("duplicate field `"));
            // Of a wrong value the name stands before it.
            let before = || detail.split(':').next().unwrap_or_default().to_owned();
            ("PARAMETER_INVALID", name.unwrap_or_else(before))
        }
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
    use axum::http::Request;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        limit: u16,
    }

    #[tokio::test]
    async fn what_is_wrong_names_its_parameter() {
        for (query, code, pointer) in [
            ("limit=x", "PARAMETER_INVALID", "limit"),
            ("limit=1&limit=2", "PARAMETER_INVALID", "limit"),
            ("", "PARAMETER_INVALID", "limit"),
            ("limit=1&colour=red", "PARAMETER_UNKNOWN", "colour"),
        ] {
            let (mut parts, ()) =
                Request::get(format!("/?{query}")).body(()).expect("a request").into_parts();
            let asked = Parameters::<Asked>::from_request_parts(&mut parts, &()).await;
            let problem = asked.map(|Parameters(asked)| asked.limit).expect_err(query);
            assert_eq!((&*problem.code, &*problem.errors[0].pointer), (code, pointer), "{query}");
        }
    }
}
