//! Moves the group's clock when nothing else does. The entry's stamp has done so already.

use crate::outcome::Outcome;

/// An empty command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick;

impl Tick {
    #[expect(clippy::unused_self, reason = "commands are applied alike")]
    pub(super) fn apply(&self) -> Outcome {
        Outcome::Done
    }
}
