//! What opening and closing a shift have in common: three names, once, and a record.

use fiscus_ledger::hash::Tagged;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{self as proto, command::Command};

use super::view::Shift;
use crate::access::Outlet;
use crate::http::body::identifier;
use crate::http::{IdempotencyKey, Problem};

/// The submission of a request that names a terminal, a cashier and a shift, each with where it stands in the request.
pub(super) fn submitted(
    outlet: &Outlet,
    key: &IdempotencyKey,
    tag: &str,
    named: [(&str, &str); 3],
) -> Result<proto::Submitted, Problem> {
    let mut fingerprint = Tagged::new(tag);
    for (pointer, text) in named {
        identifier(pointer, text)?;
        fingerprint.str(text);
    }
    Ok(proto::Submitted {
        outlet_id: outlet.id().to_owned(),
        key: key.submission_key().to_vec().into(),
        fingerprint: fingerprint.finish().to_vec().into(),
    })
}

/// The shift as its record tells it, and whether this request made the record.
pub(super) async fn record(outlet: &Outlet, command: Command) -> Result<(bool, Shift), Problem> {
    match outlet.submit(command).await? {
        Answer::Recorded(record) => Ok((true, Shift::of(&record)?)),
        Answer::AlreadyRecorded(record) => Ok((false, Shift::of(&record)?)),
        Answer::Refused(refusal) => Err(Problem::of_refusal(&refusal)),
        other => Err(Problem::internal(&format!("a shift was answered with {other}"))),
    }
}
