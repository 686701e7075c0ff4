//! The daily closure (Z): a record whose place in the journal decides what it covers.

use super::{Context, Submitted, no_authority, no_manifest, outlet_unknown};
use crate::apply::ApplyError;
use crate::facts::is_identifier;
use crate::journal::Draft;
use crate::outcome::Outcome;
use crate::record::RecordKind;
use crate::reports::{ZContext, z_report};
use crate::state::Id;
use crate::state::rows::Operation;
use crate::state::working::Reads;

/// Closes the day. An empty one is allowed, and a suspended outlet can still close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseDay {
    /// Who submits what, once.
    pub submitted: Submitted,
    /// Who closes.
    pub operator: Id,
}

impl CloseDay {
    pub(super) fn read(&self, reads: &mut Reads) {
        self.submitted.read(Operation::CloseDay, reads);
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if !is_identifier(&self.operator) {
            return Ok(super::field_invalid("operator", "must have 1 to 64 printable bytes"));
        }
        let state = &mut *cx.state;
        let outlet_id = &self.submitted.outlet_id;
        let Some(outlet) = state.outlets.get(outlet_id)? else {
            return Ok(outlet_unknown(outlet_id));
        };
        if let Some(answer) = self.submitted.duplicate(Operation::CloseDay, &state.submissions)? {
            return Ok(answer);
        }
        let Some(authority) = state.group.active_authority(outlet.fact.environment) else {
            return Ok(no_authority());
        };
        let authority_id = authority.id.clone();
        let time = state.group.time;
        let Some(manifest) = state.group.manifest_at(time) else {
            return Ok(no_manifest());
        };

        let payload = z_report(
            outlet,
            &ZContext {
                authority_id: &authority_id,
                operator: &self.operator,
                generated_at: time,
                manifest,
            },
        );
        let outlet = state.outlets.get_mut(outlet_id)?.expect("it was there above");
        let draft = Draft::plain(outlet_id, RecordKind::ZClosure, &authority_id, &payload)
            .answering(self.submitted.mark(Operation::CloseDay));
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        outlet.close_period();
        self.submitted.remember(Operation::CloseDay, &mut state.submissions, recorded.position);
        Ok(Outcome::Recorded(recorded))
    }
}
