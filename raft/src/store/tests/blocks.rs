//! The list of open blocks that is kept beside the blocks.

use ed25519_dalek::SigningKey;
use fiscus_ledger::commands::{CloseBlock, GrantBlock, GroupCommand, SystemCommand, Tick};
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::{BLOCK_GRACE_MS, CloseReason};
use fiscus_ledger::time::UnixMs;

use super::life::{OPENING, Scribe, opened, submitted};

const HOUR_MS: u64 = 3_600_000;
const GRANTED: u64 = OPENING + HOUR_MS;

fn grant(credential: &str, key: u8, validity_ms: u64) -> GroupCommand {
    GroupCommand::GrantBlock(GrantBlock {
        submitted: submitted("o1", key),
        credential_id: credential.into(),
        terminal_id: "t1".into(),
        terminal_key: SigningKey::from_bytes(&[key; 32]).verifying_key().to_bytes(),
        numbers: 2,
        validity_ms,
    })
}

fn close(credential: &str, reason: CloseReason) -> GroupCommand {
    let (outlet_id, credential_id) = ("o1".into(), credential.into());
    GroupCommand::CloseBlock(CloseBlock { outlet_id, credential_id, reason })
}

fn tick() -> GroupCommand {
    GroupCommand::System(SystemCommand::Tick(Tick {}))
}

fn lapsed(scribe: &Scribe, limit: usize) -> Vec<Id> {
    scribe.replica.read().expect("read").lapsed_blocks(limit).expect("lapsed")
}

#[test]
fn open_blocks_are_named_until_they_are_closed() {
    let mut scribe = opened(1);
    let at = |after_ms| UnixMs::new(GRANTED + after_ms);
    // Their order is that of the ends, not that of the names.
    let grants = [grant("b", 1, HOUR_MS), grant("a", 2, 3 * HOUR_MS), grant("c", 3, 2 * HOUR_MS)];
    scribe.commands_at(at(0), &grants);
    scribe.commands_at(at(HOUR_MS + BLOCK_GRACE_MS), &[tick()]);
    assert!(lapsed(&scribe, 9).is_empty(), "to the end of the grace");
    scribe.commands_at(at(HOUR_MS + BLOCK_GRACE_MS + 1), &[tick()]);
    assert_eq!(lapsed(&scribe, 9), ["b".into()]);
    scribe.commands_at(at(4 * HOUR_MS + BLOCK_GRACE_MS), &[tick()]);
    assert_eq!(lapsed(&scribe, 9), ["b".into(), "c".into(), "a".into()]);
    assert_eq!(lapsed(&scribe, 2), ["b".into(), "c".into()]);
    let now = at(4 * HOUR_MS + BLOCK_GRACE_MS);
    scribe.commands_at(now, &[close("c", CloseReason::Expired)]);
    assert_eq!(lapsed(&scribe, 9), ["b".into(), "a".into()]);
    scribe.commands_at(now, &[close("a", CloseReason::Expired), close("b", CloseReason::Returned)]);
    assert!(lapsed(&scribe, 9).is_empty());
}
