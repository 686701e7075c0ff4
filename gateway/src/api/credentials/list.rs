//! `GET /api/v1/credentials`, and one of them.

use axum::Json;
use fiscus_ledger::record::Record;
use fiscus_proto::ledger::{FindRecordsRequest, JournalRecord};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::view::Credential;
use crate::access::{Caller, Scope};
use crate::http::list::{AsOf, Page, cursor_invalid, limit, read_cursor, write_cursor};
use crate::http::parameters::Consistency;
use crate::http::{Parameters, PathOf, Problem, Problems};

/// Each of them is read by itself.
const ITEMS_MAX: usize = 50;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: String,
    /// Items of a page; at most 50 are told at once.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
    /// Where the page begins, from the one before.
    cursor: Option<String>,
    /// `linearizable` unless asked otherwise.
    #[serde(default)]
    #[param(inline)]
    consistency: Consistency,
}

/// Whose credential.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// The outlet.
    #[param(example = "outlet-gombe")]
    outlet_id: String,
}

/// What a cursor carries.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    outlet: String,
    below: u64,
}

/// What is read of the record that lent numbers.
#[derive(Debug, Deserialize)]
struct Lent {
    credential_id: String,
}

/// List credentials
///
/// Of an outlet, the latest first, those of the outlet's device proxies included. A page may have fewer items than
/// `limit`, and none, and still a `next_cursor`.
#[utoipa::path(
    get,
    path = "/api/v1/credentials",
    tag = "credentials",
    security(("api_key" = ["registry:read"])),
    params(Wanted),
    responses(
        (status = 200, description = "Credentials", body = Page<Credential>, headers(("As-Of" = String, description = "The position that this is as of"))),
        Problems,
    ),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN"])))
)]
pub(super) async fn list(
    caller: Caller,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Page<Credential>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let outlet = caller.outlet(&wanted.outlet_id)?;
    let most = limit(wanted.limit)?.min(ITEMS_MAX);
    let below_leaf = match wanted.cursor.as_deref().map(read_cursor::<Cursor>).transpose()? {
        Some(cursor) if cursor.outlet != outlet.id() => return Err(cursor_invalid()),
        cursor => cursor.map_or(0, |cursor| cursor.below),
    };
    let consistency = fiscus_proto::ledger::Consistency::from(wanted.consistency);
    let request = FindRecordsRequest {
        below_leaf,
        descending: true,
        kinds: vec!["block_grant".to_owned()],
        limit: u32::try_from(most).unwrap_or(1),
        consistency: consistency.into(),
        ..FindRecordsRequest::default()
    };
    let found = outlet.find_records(request).await?;
    let mut data = Vec::with_capacity(found.records.len());
    for record in &found.records {
        let id = credential_id(record)?;
        data.push(Credential::read(&outlet, &id, consistency).await?);
    }
    let next_cursor = found
        .next_leaf
        .map(|below| write_cursor(&Cursor { outlet: outlet.id().to_owned(), below }));
    Ok(Page { data, next_cursor, as_of: found.as_of.iter().map(AsOf::from).collect() })
}

/// Read a credential
#[utoipa::path(
    get,
    path = "/api/v1/credentials/{credential_id}",
    tag = "credentials",
    security(("api_key" = ["registry:read"])),
    params(("credential_id" = String, Path, example = "cred-7f2c9e51a0b34d6688c1d2e3f4051627"), Whose),
    responses((status = 200, description = "The credential", body = Credential), Problems),
    extensions(("x-codes" = json!(["OUTLET_UNKNOWN", "CREDENTIAL_UNKNOWN"])))
)]
pub(super) async fn get(
    caller: Caller,
    PathOf(credential_id): PathOf<String>,
    Parameters(whose): Parameters<Whose>,
) -> Result<Json<Credential>, Problem> {
    caller.may(Scope::RegistryRead)?;
    let outlet = caller.outlet(&whose.outlet_id)?;
    Credential::read(&outlet, &credential_id, Consistency::default().into()).await.map(Json)
}

fn credential_id(stored: &JournalRecord) -> Result<String, Problem> {
    let record = Record::decode(&stored.record)
        .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
    let lent: Lent = serde_json::from_slice(record.payload)
        .map_err(|error| Problem::internal(&format!("the record of a grant: {error}")))?;
    Ok(lent.credential_id)
}
