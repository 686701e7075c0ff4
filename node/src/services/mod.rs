//! What a node serves.

pub(crate) mod admin;
mod credentials;
mod documents;
mod group_view;
pub(crate) mod http;
pub(crate) mod ledger;
mod log;
mod members;
mod outlets;
pub(crate) mod peer;
mod proofs;
mod rehearse;
mod reports;
mod search;
mod submit;
pub(crate) mod uploads;
mod watch;

use std::sync::{Arc, Weak};

use fiscus_proto::tls::{Role, peer_roles};
use tonic::{Request, Status};

use crate::context::NodeContext;
use crate::groups::Hosted;

/// A group that answers are read from page by page. Between two pages nobody holds it, so that a slow caller
/// does not keep it from being opened anew.
fn still_open(hosted: &Weak<Hosted>) -> Result<Arc<Hosted>, Status> {
    hosted
        .upgrade()
        .ok_or_else(|| Status::unavailable("the group was closed on this node; ask again"))
}

/// Checks that whoever asks has one of the roles. Without certificates everybody on the loopback is
/// everybody.
pub(crate) fn require<T>(
    context: &NodeContext,
    request: &Request<T>,
    roles: &[Role],
) -> Result<(), Status> {
    if context.config.tls.is_none() {
        return Ok(());
    }
    let held = peer_roles(request).map_err(|error| Status::unauthenticated(error.to_string()))?;
    if held.iter().any(|role| roles.contains(role)) {
        return Ok(());
    }
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let detail = format!(
        "this needs a certificate with the role {}; make one with `fiscus admin pki issue`",
        names.join(" or ")
    );
    Err(Status::permission_denied(detail))
}
