//! `GET /api/v1/api-keys` and `GET /api/v1/api-keys/{key_id}`.

use serde::Deserialize;
use utoipa::IntoParams;

use super::view::ApiKey;
use crate::access::{Caller, Scope};
use crate::http::list::{Page, PageQuery};
use crate::http::parameters::invalid;
use crate::http::{Parameters, PathOf, Problem, Problems, Tagged};

/// Which keys, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of which organisation; the platform's operator names one.
    #[param(example = "org-kivu-retail")]
    organization_id: Option<String>,
    /// `active`, `expired` or `revoked`.
    #[param(example = "active")]
    status: Option<String>,
    /// How many items; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List the API keys that the key manages: itself, and those that may do no more than itself.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys",
    tag = "api-keys",
    security(("api_key" = ["keys:write"])),
    params(Wanted),
    responses((status = 200, description = "A page, by id; without secrets", body = Page<ApiKey>), Problems),
    extensions(("x-codes" = json!(["ORGANIZATION_UNKNOWN"])))
)]
pub(super) async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<ApiKey>, Problem> {
    caller.may(Scope::KeysWrite)?;
    let words = ["active", "expired", "revoked"];
    if wanted.status.as_deref().is_some_and(|word| !words.contains(&word)) {
        return Err(invalid("status", "status must be one of active, expired, revoked"));
    }
    let organization = caller.tenant(wanted.organization_id.as_deref())?;
    let now = caller.now().get();
    let all = caller.api_keys(&organization).into_iter();
    let all = all.map(|(id, known)| (id, ApiKey::of(&known.value, now)));
    let fits = |key: &ApiKey| wanted.status.as_ref().is_none_or(|word| *word == key.status);
    let all = all.filter(|(_, key)| fits(key)).collect();
    let query = PageQuery { limit: wanted.limit, cursor: wanted.cursor.clone() };
    query.page(all, caller.directory_as_of(), |key| key)
}

/// Read an API key, without its secrets.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys/{key_id}",
    tag = "api-keys",
    security(("api_key" = ["keys:write"])),
    params(("key_id" = String, Path, example = "5f0c2a9d7be4413c88")),
    responses(
        (status = 200, description = "The key; its version is the ETag", body = ApiKey),
        Problems,
    ),
    extensions(("x-codes" = json!(["API_KEY_UNKNOWN"])))
)]
pub(super) async fn get(
    caller: Caller,
    PathOf(key_id): PathOf<String>,
) -> Result<Tagged<ApiKey>, Problem> {
    caller.may(Scope::KeysWrite)?;
    let known = caller.api_key(&key_id)?;
    Ok(ApiKey::tagged(&known, caller.now().get()))
}
