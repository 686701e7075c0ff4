//! What may be asked twice, and how long to wait before.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::config::ClientLimits;
use crate::command::Command;
use crate::command::command::Command as Kind;

/// What a second copy of a command does when the first was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repetition {
    /// It gets the answer of the first, or one that means the same.
    Answered,
    /// It is refused and changes nothing; the refusal does not tell whose doing the state is.
    Refused,
    /// It may do something again.
    DoneAgain,
}

pub(super) fn repetition(command: &Command) -> Repetition {
    let Some(kind) = &command.command else { return Repetition::DoneAgain };
    match kind {
        // They carry an idempotency key, under which the first one's record is found.
        Kind::Seal(_)
        | Kind::OpenShift(_)
        | Kind::CloseShift(_)
        | Kind::CloseDay(_)
        | Kind::GrantBlock(_)
        // The provider's reference and the status are a payment's key.
        | Kind::RecordPayment(_)
        // The credential and the place are an offline seal's key.
        | Kind::ReconcileOffline(_)
        // The device and the number are an imported seal's key.
        | Kind::ImportDeviceSeal(_)
        // A version that is not newer changes nothing.
        | Kind::DirectoryFact(_)
        // It only moves the clock.
        | Kind::Tick(_)
        // A cut that is decided, or signatures that are attached, are so only once.
        | Kind::CheckpointDecided(_)
        | Kind::AttachSignatures(_) => Repetition::Answered,
        // A block closes once, an outlet is released once.
        Kind::CloseBlock(_)
        | Kind::RecoveryGap(_)
        // It names up to where everything was settled before.
        | Kind::RecordUpload(_)
        // They name the version or the state that they change.
        | Kind::RaiseApplyVersion(_)
        | Kind::ChangeOutlet(_)
        | Kind::PutDocument(_)
        | Kind::PutDocuments(_)
        | Kind::ActivateAuthority(_)
        | Kind::ReplaceDevice(_)
        | Kind::RevokeDevice(_)
        // Its leave is for one life.
        | Kind::ReopenDevice(_)
        | Kind::RecordCheckpoint(_)
        // What they make has an id or a code that is taken only once.
        | Kind::PrepareAuthority(_)
        | Kind::RegisterOutlet(_)
        | Kind::PublishManifest(_)
        | Kind::RegisterDevice(_)
        | Kind::ActivateDevice(_) => Repetition::Refused,
        // A second cut is another cut.
        Kind::CheckpointCut(_) => Repetition::DoneAgain,
    }
}

/// Whether a command may be sent again while it is unknown what became of its first copy.
#[must_use]
pub fn retry_safe(command: &Command) -> bool {
    repetition(command) != Repetition::DoneAgain
}

/// Waits that double up to a limit, each shortened by chance to between its half and its whole, so
/// that clients who failed together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
    chance: u64,
}

impl Backoff {
    pub(super) fn new(limits: &ClientLimits, seed: u64) -> Self {
        // Xorshift never leaves zero.
        Self { next: limits.backoff_first, max: limits.backoff_max, chance: seed | 1 }
    }

    pub(super) fn wait(&mut self) -> Duration {
        let whole = self.next.min(self.max);
        self.next = whole.saturating_mul(2).min(self.max);
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let sixteenths = u32::try_from(self.chance >> 60).expect("four bits are left");
        whole / 2 + whole / 32 * sixteenths
    }
}

/// A seed that differs between processes.
pub(super) fn process_seed() -> u64 {
    RandomState::new().hash_one("fiscus client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_their_limit_and_vary_by_half() {
        let limits = ClientLimits {
            backoff_first: Duration::from_millis(64),
            backoff_max: Duration::from_millis(256),
            ..ClientLimits::default()
        };
        let mut backoff = Backoff::new(&limits, 7);
        for whole in [64, 128, 256, 256, 256] {
            let wait = backoff.wait();
            let whole = Duration::from_millis(whole);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        let waits = |seed| {
            let mut backoff = Backoff::new(&limits, seed);
            std::array::from_fn::<_, 8, _>(|_| backoff.wait())
        };
        assert_eq!(waits(1234), waits(1234));
        assert_ne!(waits(1 << 40), waits(77 << 33));
    }

    #[test]
    fn only_what_cannot_happen_twice_is_safe() {
        let cases = [
            (Some(Kind::Seal(crate::command::Seal::default())), true),
            (Some(Kind::RecordPayment(crate::command::RecordPayment::default())), true),
            (Some(Kind::PutDocument(crate::command::PutDocument::default())), true),
            (Some(Kind::PutDocuments(crate::command::PutDocuments::default())), true),
            (Some(Kind::CheckpointCut(crate::command::CheckpointCut::default())), false),
            (None, false),
        ];
        for (command, safe) in cases {
            let command = Command { command };
            assert_eq!(retry_safe(&command), safe, "{command:?}");
        }
    }
}
