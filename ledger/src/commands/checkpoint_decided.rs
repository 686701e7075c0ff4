//! States which cut a majority of the voters agrees on. Only that one is ever signed.

use super::Context;
use crate::outcome::{Event, Outcome};
use crate::state::group::CheckpointTuple;

/// The decided cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointDecided {
    /// What the majority has.
    pub tuple: CheckpointTuple,
}

impl CheckpointDecided {
    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Outcome {
        let group = &mut cx.state.group;
        let own = group.cuts.iter().position(|cut| cut.log_index == self.tuple.log_index);
        // A cut that is decided already, or forgotten, is none of this replica's any more.
        let Some(own) = own else { return Outcome::Unchanged };
        if group.cuts[own] != self.tuple {
            cx.events.push(Event::ReplicaDiverged {
                decided: self.tuple.clone(),
                own: group.cuts[own].clone(),
            });
            return Outcome::Unchanged;
        }
        group.cuts.drain(..=own);
        group.decided = Some(self.tuple.clone());
        cx.events.push(Event::CheckpointDecided(self.tuple.clone()));
        Outcome::Done
    }
}
