//! Opens a cashier's session at a terminal.

use super::{
    Context, Submitted, closed_for_sale, field_invalid, no_authority, outlet_unknown,
    terminal_blocked,
};
use crate::apply::ApplyError;
use crate::facts::{IDENTIFIER_BYTES_MAX, is_name};
use crate::journal::Draft;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::rows::{OpenShift as ShiftRow, Operation, Terminal};
use crate::state::tally::Tally;
use crate::state::working::Reads;

/// From version 2 of the rules on, a shift's id may be as long as two others joined.
const SHIFT_ID_BYTES_MAX: usize = 128;

/// Opens a shift. A terminal has at most one open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenShift {
    /// Who submits what, once.
    pub submitted: Submitted,
    /// The terminal.
    pub terminal_id: Id,
    /// The new shift.
    pub shift_id: Id,
    /// Who opens it.
    pub cashier_id: Id,
}

impl OpenShift {
    pub(super) fn read(&self, reads: &mut Reads) {
        self.submitted.read(Operation::OpenShift, reads);
        reads.terminals.insert((self.submitted.outlet_id.clone(), self.terminal_id.clone()));
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let version = cx.state.group.apply_version;
        let shift_id_max = if version < 2 { IDENTIFIER_BYTES_MAX } else { SHIFT_ID_BYTES_MAX };
        let named = [
            ("terminal_id", &self.terminal_id, IDENTIFIER_BYTES_MAX),
            ("shift_id", &self.shift_id, shift_id_max),
            ("cashier_id", &self.cashier_id, IDENTIFIER_BYTES_MAX),
        ];
        for (field, text, bytes_max) in named {
            if !is_name(text, bytes_max) {
                let rule = format!("must have 1 to {bytes_max} printable bytes");
                return Ok(field_invalid(field, &rule));
            }
        }
        let state = &mut *cx.state;
        let outlet_id = &self.submitted.outlet_id;
        let Some(outlet) = state.outlets.get(outlet_id)? else {
            return Ok(outlet_unknown(outlet_id));
        };
        if let Some(answer) = self.submitted.duplicate(Operation::OpenShift, &state.submissions)? {
            return Ok(answer);
        }
        if let Some(refusal) = closed_for_sale(outlet) {
            return Ok(refusal);
        }
        let key = (outlet_id.clone(), self.terminal_id.clone());
        let terminal = state.terminals.get(&key)?.cloned().unwrap_or_default();
        if terminal.blocked {
            return Ok(terminal_blocked(&self.terminal_id));
        }
        if let Some(shift) = &terminal.shift {
            let detail = format!(
                "shift {} is open at terminal {}; close it first",
                shift.shift_id, self.terminal_id
            );
            return Ok(Outcome::refused(RefusalCode::ShiftOpen, detail));
        }
        let Some(authority) = state.group.active_authority(outlet.fact.environment) else {
            return Ok(no_authority());
        };
        let authority_id = authority.id.clone();

        let payload = Object::new()
            .text("shift_id", &self.shift_id)
            .text("pos_terminal_id", &self.terminal_id)
            .text("cashier_id", &self.cashier_id)
            .finish();
        let outlet = state.outlets.get_mut(outlet_id)?.expect("it was there above");
        let draft = Draft::plain(outlet_id, RecordKind::ShiftOpen, &authority_id, &payload)
            .answering(self.submitted.mark(Operation::OpenShift));
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        let shift = ShiftRow {
            shift_id: self.shift_id.clone(),
            cashier_id: self.cashier_id.clone(),
            opened_at: recorded.position,
            opening_head: outlet.chain.head,
            opened: recorded.timestamp,
            tally: Tally::default(),
        };
        state.terminals.put(key, Terminal { shift: Some(shift), ..terminal });
        self.submitted.remember(Operation::OpenShift, &mut state.submissions, recorded.position);
        Ok(Outcome::Recorded(recorded))
    }
}
