//! A group as clients are told of it.

use fiscus_ledger::facts::Environment;
use fiscus_ledger::state::group::{Authority, AuthorityStatus, Group};
use fiscus_proto::command as proto;
use fiscus_proto::ledger as wire;
use fiscus_raft::store::AsOf;

use super::ledger::as_of;

pub(super) fn group_response(
    moment: AsOf,
    group: &Group,
    checkpoint: Option<String>,
) -> wire::ReadGroupResponse {
    let manifests = group.manifests.iter().map(|known| known.json.to_string());
    wire::ReadGroupResponse {
        as_of: Some(as_of(moment)),
        tree_root: group.tree.root().to_vec().into(),
        state_hash: group.state_hash().to_vec().into(),
        signed_leaves: group.signed_leaves,
        apply_version: group.apply_version,
        authorities: group.authorities.iter().map(authority).collect(),
        manifests: manifests.collect(),
        checkpoint: checkpoint.unwrap_or_default(),
    }
}

fn authority(known: &Authority) -> wire::Authority {
    wire::Authority {
        id: known.id.to_string(),
        public_key: known.public_key.to_vec().into(),
        environment: match known.environment {
            Environment::Live => proto::Environment::Live,
            Environment::Sandbox => proto::Environment::Sandbox,
        }
        .into(),
        status: match known.status {
            AuthorityStatus::Prepared => "prepared",
            AuthorityStatus::Active => "active",
            AuthorityStatus::Retired => "retired",
        }
        .to_owned(),
        valid_from_ms: known.valid_from.map(|time| time.get()),
        valid_until_ms: known.valid_until.map(|time| time.get()),
    }
}
