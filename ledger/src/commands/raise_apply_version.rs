//! Raises the rules that a group follows, once all its voters know them.

use super::Context;
use super::directory_fact::append_to_group;
use crate::apply::ApplyError;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::group::APPLY_VERSION_MAX;

/// Raises the version by one, from the next entry on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaiseApplyVersion {
    /// The new version.
    pub to: u32,
}

impl RaiseApplyVersion {
    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let group = &mut cx.state.group;
        if Some(self.to) != group.apply_version.checked_add(1) {
            let detail = format!(
                "the group is at version {}, which can only be raised by one, not to {}",
                group.apply_version, self.to
            );
            return Ok(Outcome::refused(RefusalCode::ApplyVersionInvalid, detail));
        }
        // Committed means that all voters advertised it: a binary that does not know it must stop.
        if self.to > APPLY_VERSION_MAX {
            return Err(ApplyError::UnknownVersion { version: self.to, known: APPLY_VERSION_MAX });
        }
        let Some(authority) = group.chain_authority() else { return Ok(super::no_authority()) };
        let authority_id = authority.id.clone();
        group.apply_version = self.to;
        let payload = Object::new().count("apply_version", u64::from(self.to)).finish();
        Ok(append_to_group(cx, RecordKind::ApplyVersion, &authority_id, &payload))
    }
}
