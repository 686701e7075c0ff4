//! Releases an outlet that a restore has put on hold: the operator shows its last number, and what the
//! backup had forgotten is skipped and flagged. No number is ever issued twice.

use super::{Context, no_authority, outlet_unknown};
use crate::apply::ApplyError;
use crate::facts::is_identifier;
use crate::journal::Draft;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::working::Reads;

/// Fiscal numbers have at most 12 digits.
pub const SEQUENCE_MAX: u64 = 999_999_999_999;

/// Closes the gap that a restore has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryGap {
    /// The held outlet.
    pub outlet_id: Id,
    /// The last number that it is known to have given away, sealed or lent.
    pub last_issued: u64,
    /// What shows it: a checkpoint, an export, an acknowledgement, a receipt.
    pub evidence: Id,
    /// Who vouches for it.
    pub operator: Id,
}

impl RecoveryGap {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.outlets.insert(self.outlet_id.clone());
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if !is_identifier(&self.operator) {
            return Ok(super::field_invalid("operator", "must have 1 to 64 printable bytes"));
        }
        if self.evidence.is_empty() || self.evidence.len() > 512 {
            return Ok(super::field_invalid("evidence", "must have 1 to 512 bytes"));
        }
        if self.last_issued > SEQUENCE_MAX {
            return Ok(super::field_invalid("last_issued", "must have at most 12 digits"));
        }
        let state = &mut *cx.state;
        let Some(outlet) = state.outlets.get(&self.outlet_id)? else {
            return Ok(outlet_unknown(&self.outlet_id));
        };
        if !outlet.held {
            let detail =
                format!("outlet {} is not held; nothing has to be released", self.outlet_id);
            return Ok(Outcome::refused(RefusalCode::OutletNotHeld, detail));
        }
        if self.last_issued < outlet.series.last {
            let detail = format!(
                "the ledger itself knows number {}, so the evidence for {} is too old",
                outlet.series.last, self.last_issued
            );
            return Ok(Outcome::refused(RefusalCode::EvidenceTooLow, detail));
        }
        let Some(authority) = state.group.active_authority(outlet.fact.environment) else {
            return Ok(no_authority());
        };
        let authority_id = authority.id.clone();

        let outlet = state.outlets.get_mut(&self.outlet_id)?.expect("it was there above");
        let first = outlet.series.last + 1;
        let skipped: &[_] =
            if first <= self.last_issued { &[(first, self.last_issued)] } else { &[] };
        let payload = Object::new()
            .count("last_known", outlet.series.last)
            .count("last_issued", self.last_issued)
            .ranges("skipped", skipped)
            .text("evidence", &self.evidence)
            .text("operator", &self.operator)
            .finish();
        for (first, last) in skipped {
            outlet.series.recovery_gaps.insert_range(*first, *last);
        }
        outlet.series.last = self.last_issued;
        outlet.held = false;
        let draft = Draft::plain(&self.outlet_id, RecordKind::RecoveryGap, &authority_id, &payload);
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        Ok(Outcome::Recorded(recorded))
    }
}
