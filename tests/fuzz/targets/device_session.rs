//! Whatever a host sends, whenever it sends it and whatever the cluster says: one answer a frame, each a
//! frame of JSON, and never more held than the limits allow.
#![no_main]

use std::time::Duration;

use fiscus_device_proxy::protocol::frame::FRAME_BYTES_MAX;
use fiscus_device_proxy::protocol::{
    Call, Code, Fault, Reply, Session, SessionLimits, Standing, Step,
};
use libfuzzer_sys::fuzz_target;

/// The first bytes decide what the cluster says and how time goes; the rest is the host's.
const CHOICES: usize = 16;

fuzz_target!(|data: &[u8]| {
    let Some((choices, mut bytes)) = data.split_at_checked(CHOICES) else { return };
    let limits = SessionLimits { queue_max: 4, nonces_max: 2, prepared_bytes_max: 4_096 };
    let mut session = Session::new(limits);
    let mut turn = 0;
    let mut choice = || {
        turn += 1;
        choices[turn % CHOICES]
    };
    let mut now = Duration::ZERO;
    loop {
        if session.wants_input() && !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(choice()).max(1)));
            session.receive(piece, now);
            bytes = rest;
        }
        now += Duration::from_millis(u64::from(choice()) * 8);
        let standing = if choice() == 0 { Standing::Revoked } else { Standing::Active };
        match session.step(standing, now) {
            Step::Answer(answer, _) => {
                let text = std::str::from_utf8(&answer).expect("answers are text");
                let body = text.strip_prefix('\u{2}').and_then(|text| text.strip_suffix('\u{3}'));
                assert!(body.expect("a frame").starts_with("{\"status\":"));
            }
            Step::Call(call, until) => {
                assert!(until > now, "nothing is begun too late");
                session.replied(reply(&call, choice()), [7; 8], now);
            }
            Step::Wait(_) if bytes.is_empty() => break,
            Step::Wait(_) => {}
        }
        assert!(session.held_bytes() <= 8 * FRAME_BYTES_MAX);
    }
    assert!(session.is_idle());
});

fn reply(call: &Call, choice: u8) -> Reply {
    let fault = Fault::new(Code::Unavailable, "as the fuzzer says");
    match (call, choice % 4) {
        (_, 0) => Reply::Refused(fault),
        (_, 1) => Reply::NotNow(fault),
        (Call::Rehearse(_), _) => Reply::Fits,
        (Call::Seal(..), 2) => Reply::InDoubt("as the fuzzer says".to_owned()),
        (Call::FindSeal(_), 2) => Reply::NotSealed,
        (Call::Seal(..) | Call::FindSeal(_), _) => Reply::Sealed("{\"status\":\"OK\"}".to_owned()),
        (Call::Dump { from, .. }, _) => {
            Reply::Chunk { records: Vec::new(), next: Some(from + 1), to: u64::MAX }
        }
        _ => Reply::Done("{\"status\":\"OK\"}".to_owned()),
    }
}
