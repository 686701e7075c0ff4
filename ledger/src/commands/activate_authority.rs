//! Hands signing over to a prepared key. The record of it is signed by the old key, later ones by the
//! new.

use super::Context;
use super::directory_fact::append_to_group;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::group::AuthorityStatus;

/// Activates one authority; the one that was active for its environment retires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivateAuthority {
    /// The prepared authority.
    pub authority_id: Id,
}

impl ActivateAuthority {
    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Outcome {
        let group = &mut cx.state.group;
        let time = group.time;
        let prepared = group.authorities.iter().position(|known| {
            known.id == self.authority_id && known.status == AuthorityStatus::Prepared
        });
        let Some(prepared) = prepared else {
            let detail = format!("authority {} is not prepared", self.authority_id);
            return Outcome::refused(RefusalCode::AuthorityNotPrepared, detail);
        };
        let environment = group.authorities[prepared].environment;
        let old = group.authorities.iter().position(|known| {
            known.environment == environment && known.status == AuthorityStatus::Active
        });
        let signer = match old {
            Some(old) => group.authorities[old].id.clone(),
            None => group
                .chain_authority()
                .map_or_else(|| self.authority_id.clone(), |known| known.id.clone()),
        };
        let payload = Object::new()
            .text("event", "activated")
            .text("fiscal_authority_id", &self.authority_id)
            .optional("replaces", old.map(|old| &*group.authorities[old].id))
            .text("environment", environment.as_str())
            .finish();
        if let Some(old) = old {
            group.authorities[old].status = AuthorityStatus::Retired;
            group.authorities[old].valid_until = Some(time);
        }
        group.authorities[prepared].status = AuthorityStatus::Active;
        group.authorities[prepared].valid_from = Some(time);
        append_to_group(cx, RecordKind::Authority, &signer, &payload)
    }
}
