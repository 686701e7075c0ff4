//! Closes a block: what waits in it is appended, and what is missing is flagged.

use super::reconcile_offline::append_one_waiting;
use super::{Context, no_authority};
use crate::apply::ApplyError;
use crate::journal::Draft;
use crate::outcome::{Event, Outcome, Recorded, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::block::{CloseReason, Slot};
use crate::state::ranges::RangeSet;
use crate::state::working::Reads;

/// Closes the block of a credential. One that is used up closes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseBlock {
    /// The outlet.
    pub outlet_id: Id,
    /// The credential.
    pub credential_id: Id,
    /// Why. `Expired` is checked against the group's clock.
    pub reason: CloseReason,
}

impl CloseBlock {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.outlets.insert(self.outlet_id.clone());
        reads.blocks.insert(self.credential_id.clone());
        reads.reconciled.insert(self.credential_id.clone());
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let id = &self.credential_id;
        let block = cx.state.blocks.get(id)?.filter(|block| block.outlet_id == self.outlet_id);
        let Some(block) = block else {
            let detail = format!("credential {id} is unknown in outlet {}", self.outlet_id);
            return Ok(Outcome::refused(RefusalCode::CredentialUnknown, detail));
        };
        if let Some((reason, at)) = block.closed {
            let detail = format!("the block of {id} was closed at {at} ({})", reason.as_str());
            return Ok(Outcome::refused(RefusalCode::BlockClosed, detail));
        }
        let too_early = match self.reason {
            CloseReason::Expired => cx.state.group.time <= block.grace_end(),
            CloseReason::UsedUp => true,
            CloseReason::Returned | CloseReason::Revoked => false,
        };
        if too_early {
            let detail = format!("the block of {id} is neither used up nor past its grace");
            return Ok(Outcome::refused(RefusalCode::BlockNotExpired, detail));
        }
        let outlet = cx.state.outlets.get(&self.outlet_id)?.expect("a block's outlet exists");
        if cx.state.group.active_authority(outlet.fact.environment).is_none() {
            return Ok(no_authority());
        }
        finish_block(cx, id, self.reason).map(Outcome::Recorded)
    }
}

/// Appends what waits, flags what is missing and writes the records. The caller has checked that the
/// block is open and that an authority is active.
pub(super) fn finish_block(
    cx: &mut Context<'_>,
    id: &Id,
    reason: CloseReason,
) -> Result<Recorded, ApplyError> {
    let block = cx.state.blocks.get(id)?.expect("the caller holds the block");
    let places: Vec<u64> = block.waiting().collect();
    for place in places {
        append_one_waiting(cx, id, place)?;
    }
    let state = &mut *cx.state;
    let time = state.group.time;
    let block = state.blocks.get_mut(id)?.expect("it was there above");
    block.closed = Some((reason, time));
    let mut missing = RangeSet::default();
    for (number, slot) in (block.first..).zip(&block.slots) {
        if *slot == Slot::Empty {
            missing.insert(number);
        }
    }
    let outlet_id = block.outlet_id.clone();
    let outlet = state.outlets.get_mut(&outlet_id)?.expect("a block's outlet exists");
    let authority = state.group.active_authority(outlet.fact.environment);
    let authority_id = authority.expect("the caller has checked it").id.clone();
    for (first, last) in missing.ranges() {
        for number in *first..=*last {
            outlet.series.reserved.remove(number);
        }
        outlet.series.missing.insert_range(*first, *last);
    }
    let payload = Object::new().text("credential_id", id).text("reason", reason.as_str()).finish();
    let draft = Draft::plain(&outlet_id, RecordKind::BlockClose, &authority_id, &payload);
    let tree = &mut state.group.tree;
    let closed = cx.journal.append(tree, &mut outlet.chain, cx.index, draft);
    if missing.count() > 0 {
        let payload = Object::new()
            .text("credential_id", id)
            .text("series", &outlet.number_prefix())
            .ranges("missing", missing.ranges())
            .finish();
        let draft = Draft::plain(&outlet_id, RecordKind::NumbersMissing, &authority_id, &payload);
        cx.journal.append(tree, &mut outlet.chain, cx.index, draft);
        cx.events.push(Event::NumbersMissing { outlet_id, ranges: missing.ranges().to_vec() });
    }
    Ok(closed)
}
