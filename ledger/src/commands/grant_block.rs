//! Lends the next numbers of an outlet to a terminal for offline sealing.

use super::recovery_gap::SEQUENCE_MAX;
use super::{
    Context, Submitted, closed_for_sale, field_invalid, no_authority, outlet_unknown,
    terminal_blocked,
};
use crate::apply::ApplyError;
use crate::facts::is_identifier;
use crate::hash::Hash32;
use crate::journal::Draft;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::Object;
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::block::{
    BLOCK_NUMBERS_MAX, Block, CREDENTIAL_VALIDITY_MS_MAX, OPEN_RANGES_MAX, Slot,
};
use crate::state::rows::Operation;
use crate::state::working::Reads;
use crate::time::UnixMs;
use ed25519_dalek::VerifyingKey;

/// Reserves a block and makes the credential that the signer signs afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantBlock {
    /// Who submits what, once.
    pub submitted: Submitted,
    /// The new credential's id, unique in the group.
    pub credential_id: Id,
    /// The terminal.
    pub terminal_id: Id,
    /// Its Ed25519 public key.
    pub terminal_key: Hash32,
    /// How many numbers.
    pub numbers: u64,
    /// For how long, from the group time of the grant.
    pub validity_ms: u64,
}

impl GrantBlock {
    pub(super) fn read(&self, reads: &mut Reads) {
        self.submitted.read(Operation::GrantBlock, reads);
        reads.terminals.insert((self.submitted.outlet_id.clone(), self.terminal_id.clone()));
        reads.blocks.insert(self.credential_id.clone());
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        if let Some(refusal) = self.refuse_fields() {
            return Ok(refusal);
        }
        let state = &mut *cx.state;
        let outlet_id = &self.submitted.outlet_id;
        let Some(outlet) = state.outlets.get(outlet_id)? else {
            return Ok(outlet_unknown(outlet_id));
        };
        if let Some(answer) = self.submitted.duplicate(Operation::GrantBlock, &state.submissions)? {
            return Ok(answer);
        }
        if let Some(refusal) = closed_for_sale(outlet) {
            return Ok(refusal);
        }
        let key = (outlet_id.clone(), self.terminal_id.clone());
        if state.terminals.get(&key)?.is_some_and(|terminal| terminal.blocked) {
            return Ok(terminal_blocked(&self.terminal_id));
        }
        if state.blocks.get(&self.credential_id)?.is_some() {
            let detail = format!("credential {} exists; choose a new id", self.credential_id);
            return Ok(Outcome::refused(RefusalCode::CredentialExists, detail));
        }
        if outlet.series.reserved.ranges().len() >= OPEN_RANGES_MAX {
            let detail =
                format!("too many numbers of outlet {outlet_id} are lent; return some first");
            return Ok(Outcome::refused(RefusalCode::BlockLimit, detail));
        }
        if outlet.series.last + self.numbers > SEQUENCE_MAX {
            let detail = format!("outlet {outlet_id} has too few fiscal numbers left");
            return Ok(Outcome::refused(RefusalCode::SeriesExhausted, detail));
        }
        let Some(authority) = state.group.active_authority(outlet.fact.environment) else {
            return Ok(no_authority());
        };

        let mut block = Block {
            outlet_id: outlet_id.clone(),
            terminal_id: self.terminal_id.clone(),
            terminal_key: self.terminal_key,
            first: outlet.series.last + 1,
            last: outlet.series.last + self.numbers,
            not_before: state.group.time,
            not_after: UnixMs::new(state.group.time.get() + self.validity_ms),
            grant_hash: crate::hash::ZERO_HASH,
            authority_id: authority.id.clone(),
            closed: None,
            slots: (0..self.numbers).map(|_| Slot::Empty).collect(),
        };
        let payload = self.payload(&block);
        let outlet = state.outlets.get_mut(outlet_id)?.expect("it was there above");
        let draft = Draft::plain(outlet_id, RecordKind::BlockGrant, &block.authority_id, &payload)
            .answering(self.submitted.mark(Operation::GrantBlock));
        let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
        block.grant_hash = outlet.chain.head;
        outlet.series.last = block.last;
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_planted(crate::planted::Bug::BlockReused) {
            outlet.series.last = block.first - 1;
        }
        outlet.series.reserved.insert_range(block.first, block.last);
        state.blocks.put(self.credential_id.clone(), block);
        self.submitted.remember(Operation::GrantBlock, &mut state.submissions, recorded.position);
        Ok(Outcome::Recorded(recorded))
    }

    fn refuse_fields(&self) -> Option<Outcome> {
        for (field, text) in
            [("credential_id", &self.credential_id), ("terminal_id", &self.terminal_id)]
        {
            if !is_identifier(text) {
                return Some(field_invalid(field, "must have 1 to 64 printable bytes"));
            }
        }
        if VerifyingKey::from_bytes(&self.terminal_key).map_or(true, |key| key.is_weak()) {
            return Some(field_invalid("terminal_key", "must be a valid Ed25519 public key"));
        }
        if !(1..=BLOCK_NUMBERS_MAX).contains(&self.numbers) {
            let detail = format!("a block holds 1 to {BLOCK_NUMBERS_MAX} numbers");
            return Some(Outcome::refused(RefusalCode::BlockLimit, detail));
        }
        if !(1..=CREDENTIAL_VALIDITY_MS_MAX).contains(&self.validity_ms) {
            let hours = CREDENTIAL_VALIDITY_MS_MAX / 3_600_000;
            let detail = format!("a credential is valid for at most {hours} hours");
            return Some(Outcome::refused(RefusalCode::BlockLimit, detail));
        }
        None
    }

    fn payload(&self, block: &Block) -> String {
        Object::new()
            .text("credential_id", &self.credential_id)
            .text("pos_terminal_id", &self.terminal_id)
            .bytes("terminal_key", &self.terminal_key)
            .count("first", block.first)
            .count("last", block.last)
            .text("not_before", &block.not_before.to_string())
            .text("not_after", &block.not_after.to_string())
            .finish()
    }
}
