//! Closes a cashier's session; the record carries its totals, as an X report of the shift.

use super::{Context, Submitted, no_authority, outlet_unknown};
use crate::apply::ApplyError;
use crate::journal::Draft;
use crate::outcome::{Outcome, RefusalCode};
use crate::record::RecordKind;
use crate::reports::shift_close;
use crate::state::Id;
use crate::state::rows::Operation;
use crate::state::working::Reads;

/// Closes a shift. It works on a suspended outlet, too: the drawer must be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseShift {
    /// Who submits what, once.
    pub submitted: Submitted,
    /// The terminal.
    pub terminal_id: Id,
    /// The open shift.
    pub shift_id: Id,
    /// Who closes it.
    pub cashier_id: Id,
}

impl CloseShift {
    pub(super) fn read(&self, reads: &mut Reads) {
        self.submitted.read(Operation::CloseShift, reads);
        reads.terminals.insert((self.submitted.outlet_id.clone(), self.terminal_id.clone()));
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if !crate::facts::is_identifier(&self.cashier_id) {
            return Ok(super::field_invalid("cashier_id", "must have 1 to 64 printable bytes"));
        }
        let state = &mut *cx.state;
        let outlet_id = &self.submitted.outlet_id;
        let Some(outlet) = state.outlets.get(outlet_id)? else {
            return Ok(outlet_unknown(outlet_id));
        };
        if let Some(answer) = self.submitted.duplicate(Operation::CloseShift, &state.submissions)? {
            return Ok(answer);
        }
        let key = (outlet_id.clone(), self.terminal_id.clone());
        let open = state.terminals.get(&key)?.and_then(|terminal| terminal.shift.as_ref());
        let Some(shift) = open.filter(|shift| shift.shift_id == self.shift_id) else {
            let detail =
                format!("shift {} is not open at terminal {}", self.shift_id, self.terminal_id);
            return Ok(Outcome::refused(RefusalCode::ShiftNotOpen, detail));
        };
        let Some(authority) = state.group.active_authority(outlet.fact.environment) else {
            return Ok(no_authority());
        };
        let authority_id = authority.id.clone();

        let payload = shift_close(outlet, &self.terminal_id, shift, &self.cashier_id);
        let outlet = state.outlets.get_mut(outlet_id)?.expect("it was there above");
        let draft = Draft::plain(outlet_id, RecordKind::ShiftClose, &authority_id, &payload)
            .answering(self.submitted.mark(Operation::CloseShift));
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        state.terminals.get_mut(&key)?.expect("it was there above").shift = None;
        self.submitted.remember(Operation::CloseShift, &mut state.submissions, recorded.position);
        Ok(Outcome::Recorded(recorded))
    }
}
