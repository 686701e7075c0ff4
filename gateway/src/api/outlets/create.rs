//! `POST /api/v1/outlets`.

use axum::response::{IntoResponse, Response};
use fiscus_ledger::facts::Environment;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::Outlet;
use crate::access::{self, Caller, Once, Scope};
use crate::http::{Body, Fields, IdempotencyKey, Problem, Problems};

/// An outlet that is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOutlet {
    /// Its id, unique in the cluster; one is made when it is left out. It can never change.
    #[schema(example = "outlet-gombe", max_length = 64, pattern = "^[^@/ ][^/ ]*$")]
    outlet_id: Option<String>,
    /// Its merchant. It can never change.
    #[schema(example = "A1234567B")]
    merchant_nif: String,
    /// First part of its fiscal numbers. It can never change.
    #[schema(example = "KIN", pattern = "^[A-Z0-9]{1,12}$")]
    prefix: String,
    /// Second part of its fiscal numbers; with the prefix unique in the cluster, for ever.
    #[schema(example = "GOMBE", pattern = "^[A-Z0-9]{1,12}$")]
    code: String,
    /// `live`, or `sandbox` for trials, whose receipts say TEST. It can never change.
    #[schema(example = "live", pattern = "^(live|sandbox)$")]
    environment: String,
    /// Its region.
    #[serde(default)]
    #[schema(example = "kinshasa")]
    region_id: String,
    /// What it is called.
    #[schema(example = "Gombe", max_length = 200)]
    name: String,
    /// Where it is.
    #[serde(default)]
    #[schema(example = "12, avenue du Commerce, Gombe, Kinshasa", max_length = 500)]
    address: String,
    /// Its telephone.
    #[serde(default)]
    #[schema(example = "+243 81 000 0000", max_length = 500)]
    phone: String,
}

impl NewOutlet {
    fn check(&self) -> Result<Environment, Problem> {
        let mut fields = Fields::default();
        if let Some(id) = &self.outlet_id {
            fields.id("/outlet_id", id);
        }
        fields.code("/prefix", &self.prefix);
        fields.code("/code", &self.code);
        fields.word("/environment", &self.environment, &["live", "sandbox"]);
        fields.name("/name", &self.name);
        fields.text("/address", &self.address);
        fields.text("/phone", &self.phone);
        fields.finish()?;
        Ok(if self.environment == "live" { Environment::Live } else { Environment::Sandbox })
    }
}

/// Register an outlet.
///
/// When this is answered, the outlet can seal. Its id, merchant, numbers, group and environment can never change.
#[utoipa::path(
    post,
    path = "/api/v1/outlets",
    tag = "outlets",
    security(("api_key" = ["registry:write"])),
    params(("Idempotency-Key" = String, Header, description = "A new one for each outlet")),
    request_body = NewOutlet,
    responses(
        (status = 201, description = "Registered now", body = Outlet),
        (status = 200, description = "Registered before, under this key", body = Outlet),
        Problems,
    ),
    extensions(("x-codes" = json!([
        "OUTLET_EXISTS", "NUMBER_SPACE_TAKEN", "MERCHANT_UNKNOWN", "REGION_UNKNOWN", "KEY_LIMITED", "NO_AUTHORITY",
        "REGISTRY_FULL"
    ])))
)]
pub(super) async fn create(
    caller: Caller,
    key: IdempotencyKey,
    Body(new): Body<NewOutlet>,
) -> Result<Response, Problem> {
    caller.may_all(Scope::RegistryWrite)?;
    let environment = new.check()?;
    let once = Once::new("outlet", &key, &new);
    let outlet = access::NewOutlet {
        outlet_id: new.outlet_id,
        merchant_nif: new.merchant_nif,
        prefix: new.prefix,
        code: new.code,
        environment,
        region: new.region_id,
        name: new.name,
        address: new.address,
        phone: new.phone,
    };
    let made = caller.make_outlet(outlet, &once).await?;
    let outlet = caller.outlet(&made.id)?;
    Ok((made.status(), Outlet::tagged(&outlet)).into_response())
}
