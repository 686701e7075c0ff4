//! The machines against hosts that behave, that do not, and that send anything at all.

use std::time::Duration;

use proptest::prelude::*;

use super::frame::{
    ETX, FRAME_BYTES_MAX, Frame, FrameError, FrameParser, OPEN_FRAME_MAX, STX, framed,
};
use super::nonce::{DOUBT_LIFE, NONCE_LIFE};
use super::{Call, Code, Command, Fault, Nonce, Reply, Session, SessionLimits, Standing, Step};

const START: Duration = Duration::from_secs(1_000);
const RANDOM: [u8; 8] = *b"8 bytes.";

fn frames(parser: &mut FrameParser, bytes: &[u8], now: Duration) -> Vec<Result<Frame, FrameError>> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while let Some(next) = parser.next(&mut rest, now) {
        found.push(next);
    }
    found
}

fn frame(body: &str) -> Result<Frame, FrameError> {
    Ok(Frame { body: body.into(), checked: false })
}

#[test]
fn frames_are_found_between_other_bytes() {
    let mut parser = FrameParser::default();
    let found = frames(&mut parser, b"noise\x03\x02QRY|STATUS\x03\r\n\x02ADM|ACK 1\x03tail", START);
    assert_eq!(found, [frame("QRY|STATUS"), frame("ADM|ACK 1")]);
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let mut parser = FrameParser::default();
    let found: Vec<_> =
        b"\x02QRY|LOG 7\x03".iter().flat_map(|byte| frames(&mut parser, &[*byte], START)).collect();
    assert_eq!(found, [frame("QRY|LOG 7")]);
}

#[test]
fn a_checksum_is_checked_and_taken_off() {
    // The check value that every description of CRC-32 gives.
    let mut parser = FrameParser::default();
    let right = Ok(Frame { body: b"123456789".to_vec(), checked: true });
    assert_eq!(frames(&mut parser, b"\x02123456789*cbf43926\x03", START), [right]);
    let wrong = frames(&mut parser, b"\x02123456789*CBF43927\x03", START);
    assert_eq!(wrong, [Err(FrameError::Checksum)]);
    // Neither a sign nor seven digits are a checksum.
    assert_eq!(frames(&mut parser, b"\x02a*+BF43926\x03", START), [frame("a*+BF43926")]);
    assert_eq!(frames(&mut parser, b"\x02a*BF43926\x03", START), [frame("a*BF43926")]);
}

#[test]
fn a_frame_that_another_one_cuts_is_told_and_the_other_is_read() {
    let found = frames(&mut FrameParser::default(), b"\x02TXN|PRE\x02QRY|STATUS\x03", START);
    assert_eq!(found, [Err(FrameError::Cut), frame("QRY|STATUS")]);
}

#[test]
fn a_frame_that_is_open_too_long_is_dropped() {
    let mut parser = FrameParser::default();
    assert_eq!(frames(&mut parser, b"\x02TXN|", START), []);
    let late = START + OPEN_FRAME_MAX;
    assert_eq!(parser.expire(late - Duration::from_millis(1)), None);
    let found = frames(&mut parser, b"COMMIT\x03\x02QRY|STATUS\x03", late);
    assert_eq!(found, [Err(FrameError::TimedOut), frame("QRY|STATUS")]);
    assert_eq!(parser.deadline(), None);
}

#[test]
fn a_frame_that_is_too_long_is_dropped_and_its_bytes_with_it() {
    let mut parser = FrameParser::default();
    let mut bytes = vec![STX];
    bytes.resize(FRAME_BYTES_MAX + 1, b'x');
    bytes.push(ETX);
    assert_eq!(frames(&mut parser, &bytes, START).len(), 1, "the longest frame is one");
    bytes.insert(1, b'x');
    let found = frames(&mut parser, &bytes, START);
    assert_eq!(found, [Err(FrameError::TooLong)]);
    assert!(parser.held_bytes() < 1_024);
    assert_eq!(frames(&mut parser, b"yy\x03\x02QRY|STATUS\x03", START), [frame("QRY|STATUS")]);
}

/// What a body is read as, in few words.
fn told(body: &str) -> String {
    match Command::parse(body.as_bytes()) {
        Ok(command) => format!("{command:?}"),
        Err(fault) => fault.code.as_str().to_owned(),
    }
}

#[test]
fn commands_and_what_is_none() {
    let rows = [
        ("QRY|STATUS", "Status"),
        ("\r\nQRY|STATUS\r\n", "Status"),
        ("QRY|STATUS {}", "SCHEMA_INVALID"),
        ("QRY|LOG 12", "Log { sequence: 12 }"),
        ("QRY|LOG", "SCHEMA_INVALID"),
        ("QRY|LOG +1", "SCHEMA_INVALID"),
        ("QRY|LOG 1 2", "SCHEMA_INVALID"),
        ("QRY|LOG 99999999999999999999", "SCHEMA_INVALID"),
        ("ADM|ACK 0", "Acknowledge { chunk: 0 }"),
        ("RPT|X {\"period\":\"day\"}", "Snapshot"),
        ("RPT|X {\"period\":\"year\"}", "SCHEMA_INVALID"),
        ("RPT|Z\r\n{\"date\":\"2026-11-28\"}", "CloseDay { date: \"2026-11-28\" }"),
        ("RPT|Z {\"date\":\"2026-11-31\"}", "SCHEMA_INVALID"),
        ("RPT|A {\"since\":\"2026-11-28\",\"until\":\"2026-11-28\"}", "SCHEMA_INVALID"),
        ("ADM|DUMPLOG {\"format\":\"digest\"}", "DumpLog { format: Digest }"),
        ("ADM|DUMPLOG {\"format\":\"digest\",\"format\":\"json\"}", "SCHEMA_INVALID"),
        ("ADM|RESET {\"dgi_authorization\":\"\"}", "UNAUTHORIZED"),
        ("ADM|RESET {}", "SCHEMA_INVALID"),
        ("TXN|COMMIT {\"nonce\":\"x\"}", "INVALID_NONCE"),
        ("TXN|COMMIT {\"nonce\":1}", "SCHEMA_INVALID"),
        ("TXN|COMMIT {\"nonce\":\"a\u{1}\"}", "SCHEMA_INVALID"),
        ("TXN|PREPARE", "SCHEMA_INVALID"),
        ("TXN|PREPARE {\"pos_terminal_id\":1}", "SCHEMA_INVALID"),
        ("CFG|TIME {\"timestamp\":\"2026-11-28T00:00:00Z\",\"signature\":\"\"}", "SCHEMA_INVALID"),
        ("CFG|INIT {\"activation_code\":\"c\",\"public_key\":\"?\"}", "SCHEMA_INVALID"),
        ("", "UNKNOWN_COMMAND"),
        ("TXN|VOID {}", "UNKNOWN_COMMAND"),
        ("qry|status", "UNKNOWN_COMMAND"),
        ("é", "UNKNOWN_COMMAND"),
    ];
    for (body, expected) in rows {
        assert_eq!(told(body), expected, "{body:?}");
    }
}

/// A host and its session, with a clock that the test sets.
struct Host {
    session: Session,
    now: Duration,
    standing: Standing,
}

impl Host {
    fn new() -> Self {
        let session = Session::new(SessionLimits::default());
        Self { session, now: START, standing: Standing::Active }
    }

    fn send(&mut self, body: &str) {
        self.session.receive(&framed(body, false), self.now);
    }

    fn step(&mut self) -> Step {
        self.session.step(self.standing, self.now)
    }

    fn call(&mut self) -> Call {
        match self.step() {
            Step::Call(call, until) => {
                assert!(until > self.now);
                call
            }
            other => panic!("{other:?}"),
        }
    }

    fn reply(&mut self, reply: Reply) -> String {
        self.session.replied(reply, RANDOM, self.now);
        self.answer()
    }

    fn answer(&mut self) -> String {
        match self.step() {
            Step::Answer(bytes, _) => {
                let text = String::from_utf8(bytes).expect("answers are text");
                text.trim_matches(['\u{2}', '\u{3}']).to_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    fn prepare(&mut self, payload: &str) -> String {
        self.send(&format!("TXN|PREPARE {payload}"));
        assert!(matches!(self.call(), Call::Rehearse(_)));
        let answer = self.reply(Reply::Fits);
        let (_, rest) = answer.split_once("\"nonce\":\"").expect("a nonce");
        rest.split_once('"').expect("its end").0.to_owned()
    }

    fn commit(&mut self, nonce: &str) {
        self.send(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"));
    }
}

const INVOICE: &str = "{\"pos_terminal_id\":\"till-1\"}";

#[test]
fn what_is_prepared_is_what_is_committed() {
    let mut host = Host::new();
    let nonce = host.prepare(INVOICE);
    host.commit(&nonce);
    let Call::Seal(prepared, key) = host.call() else { panic!("no seal") };
    assert_eq!(
        (prepared.payload.as_slice(), &*prepared.terminal_id),
        (INVOICE.as_bytes(), "till-1")
    );
    assert_eq!(key, Nonce::parse(&nonce).expect("a nonce").key());
    assert_eq!(host.reply(Reply::Sealed("{\"seal\":1}".into())), "{\"seal\":1}");
    // The answer was lost: the same again, without the cluster and long after the nonce has died.
    host.now += Duration::from_secs(3_600);
    host.commit(&nonce);
    assert_eq!(host.answer(), "{\"seal\":1}");
}

#[test]
fn one_payload_has_one_key_under_all_its_nonces() {
    let (first, second) = (Nonce::new([1; 8], b"x"), Nonce::new([2; 8], b"x"));
    assert_ne!(first, second);
    assert_eq!(first.key(), second.key());
    assert_ne!(first.key(), Nonce::new([1; 8], b"y").key());
    assert_eq!(Nonce::parse(&first.to_string()), Some(first));
    assert_eq!(Nonce::parse(&first.to_string().to_uppercase()), None, "one spelling");
}

#[test]
fn a_nonce_dies_after_seven_seconds() {
    let mut host = Host::new();
    let nonce = host.prepare(INVOICE);
    host.now += NONCE_LIFE;
    host.commit(&nonce);
    assert!(host.answer().contains("NONCE_EXPIRED"));
}

#[test]
fn a_nonce_of_nobody_is_looked_for_in_the_ledger() {
    let mut host = Host::new();
    let nonce = Nonce::new(RANDOM, INVOICE.as_bytes());
    for (reply, expected) in
        [(Reply::NotSealed, "INVALID_NONCE"), (Reply::Sealed("{\"seal\":1}".into()), "seal")]
    {
        host.commit(&nonce.to_string());
        assert_eq!(host.call(), Call::FindSeal(nonce.key()));
        assert!(host.reply(reply).contains(expected));
    }
}

#[test]
fn what_is_in_doubt_is_asked_for_again_and_never_called_failed() {
    let mut host = Host::new();
    let nonce = host.prepare(INVOICE);
    host.commit(&nonce);
    let sealing = host.call();
    let answer = host.reply(Reply::InDoubt("no answer came in time".into()));
    assert!(answer.contains("UNAVAILABLE") && answer.contains("OUTCOME_UNKNOWN"), "{answer}");
    // Also when the nonce would have died long ago.
    host.now += NONCE_LIFE * 2;
    host.commit(&nonce);
    assert_eq!(host.call(), sealing, "the same command under the same key");
    host.reply(Reply::InDoubt("again".into()));
    host.now += DOUBT_LIFE;
    host.commit(&nonce);
    assert!(matches!(host.call(), Call::FindSeal(_)));
    assert!(host.reply(Reply::NotSealed).contains("NONCE_EXPIRED"));
}

#[test]
fn what_was_surely_not_taken_may_be_committed_again() {
    let mut host = Host::new();
    let nonce = host.prepare(INVOICE);
    host.commit(&nonce);
    host.call();
    assert!(
        host.reply(Reply::NotNow(Fault::new(Code::DeviceBusy, "full"))).contains("DEVICE_BUSY")
    );
    host.commit(&nonce);
    assert!(matches!(host.call(), Call::Seal(..)));
    host.reply(Reply::Refused(Fault::schema("no")));
    host.commit(&nonce);
    assert!(matches!(host.call(), Call::FindSeal(_)), "what was refused is used up");
}

#[test]
fn a_terminal_holds_so_many_nonces() {
    let mut host = Host::new();
    for at in 0..SessionLimits::default().nonces_max {
        host.prepare(&format!("{{\"pos_terminal_id\":\"till-{at}\"}}"));
    }
    host.send(&format!("TXN|PREPARE {INVOICE}"));
    assert!(host.answer().contains("DEVICE_BUSY"));
    host.send("QRY|STATUS");
    assert_eq!(host.call(), Call::Status { nonce_pool: 0 });
    host.reply(Reply::Done("{}".into()));
    host.now += NONCE_LIFE;
    host.prepare(INVOICE);
}

#[test]
fn what_waits_too_long_is_told_so_in_time() {
    let mut host = Host::new();
    host.send("QRY|LOG 1");
    host.send("QRY|STATUS");
    host.call();
    host.now += Duration::from_millis(1_450);
    host.reply(Reply::Done("{}".into()));
    assert!(host.answer().contains("DEVICE_BUSY"));
}

#[test]
fn a_host_that_sends_more_than_it_may_is_made_to_wait() {
    let mut host = Host::new();
    let limits = SessionLimits::default();
    for _ in 0..=limits.queue_max {
        host.send("QRY|LOG 1");
    }
    assert!(!host.session.wants_input());
    for _ in 0..=limits.queue_max {
        host.call();
        host.reply(Reply::Done("{}".into()));
    }
    assert!(host.session.wants_input() && host.session.is_idle());
}

/// The rest of a frame waits with the host while the queue is full: that is not the host's fault.
#[test]
fn a_frame_whose_rest_was_not_taken_is_not_too_late() {
    let mut host = Host::new();
    host.send("QRY|LOG 1");
    host.call();
    for _ in 1..SessionLimits::default().queue_max {
        host.send("QRY|LOG 2");
    }
    host.session.receive(b"\x02QRY|LOG 2\x03\x02QRY|", host.now);
    assert!(!host.session.wants_input());
    // The cluster takes longer than a frame may be open.
    host.now += OPEN_FRAME_MAX + Duration::from_secs(1);
    host.reply(Reply::Done("{}".into()));
    host.call();
    host.session.receive(b"STATUS\x03", host.now);
    host.now += Duration::from_secs(1);
    for _ in 1..SessionLimits::default().queue_max {
        host.reply(Reply::Done("{}".into()));
        host.call();
    }
    host.reply(Reply::Done("{}".into()));
    assert!(matches!(host.call(), Call::Status { .. }));
}

#[test]
fn standing_decides_before_anything_else() {
    let rows = [
        (Standing::Unheard, "UNAVAILABLE"),
        (Standing::Unregistered, "UNAUTHORIZED"),
        (Standing::Registered, "UNAUTHORIZED"),
        (Standing::Revoked, "DEVICE_REVOKED"),
    ];
    for (standing, code) in rows {
        let mut host = Host::new();
        host.standing = standing;
        host.send("QRY|LOG 1");
        assert!(host.answer().contains(code), "{standing:?}");
    }
    let mut host = Host::new();
    host.standing = Standing::Registered;
    host.send("QRY|STATUS");
    assert!(matches!(host.call(), Call::Status { .. }));
}

#[test]
fn a_dump_goes_on_chunk_by_chunk() {
    let mut host = Host::new();
    host.send("ADM|ACK 0");
    assert!(host.answer().contains("SCHEMA_INVALID"));
    host.send("ADM|DUMPLOG {\"format\":\"digest\"}");
    host.call();
    let chunk = Reply::Chunk { records: vec!["1".into()], next: Some(2), to: 2 };
    assert_eq!(
        host.reply(chunk),
        "{\"status\":\"OK\",\"chunk_index\":0,\"records\":[1],\"last\":false}"
    );
    host.send("ADM|ACK 1");
    assert!(host.answer().contains("chunk 0 is to be acknowledged"));
    host.send("ADM|ACK 0");
    let format = super::DumpFormat::Digest;
    assert_eq!(host.call(), Call::Dump { format, from: 2, to: Some(2) });
    let answer = host.reply(Reply::Chunk { records: vec!["2".into()], next: None, to: 2 });
    assert!(answer.contains("\"chunk_index\":1") && answer.contains("\"last\":true"));
}

#[test]
fn an_answer_carries_a_checksum_when_its_frame_did() {
    let mut host = Host::new();
    let wrong = [framed("QRY|STATUS", false), b"\x02QRY|STATUS*00000000\x03".to_vec()].concat();
    host.session.receive(&wrong, host.now);
    host.call();
    assert!(!host.reply(Reply::Done("{}".into())).contains('*'));
    let answer = host.answer();
    assert!(answer.contains("CHECKSUM_INVALID") && answer.contains("}*"), "{answer}");
}

/// Bytes that are often frames, whole, broken or cut.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        Just(vec![STX]),
        Just(vec![ETX]),
        "(QRY\\|STATUS|QRY\\|LOG [0-9]{1,3}|ADM\\|ACK 0|X\\|Y)"
            .prop_map(|body| framed(&body, true)),
        Just(framed(&format!("TXN|PREPARE {INVOICE}"), false)),
        Just(b"\x02QRY|STATUS*00000000\x03".to_vec()),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn cutting_a_stream_elsewhere_changes_nothing(bytes in stream(), cuts in any::<Vec<prop::sample::Index>>()) {
        let whole = frames(&mut FrameParser::default(), &bytes, START);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut parser = FrameParser::default();
        let pieces = at.windows(2).flat_map(|ends| frames(&mut parser, &bytes[ends[0]..ends[1]], START));
        prop_assert_eq!(pieces.collect::<Vec<_>>(), whole);
    }

    /// Every STX begins a frame, and every frame has one answer.
    #[test]
    fn every_frame_is_answered_once_and_in_order(bytes in stream()) {
        let mut host = Host::new();
        let expected = frames(&mut FrameParser::default(), &bytes, START).len();
        let (mut rest, mut answers) = (bytes.as_slice(), 0);
        loop {
            if host.session.wants_input() && !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(64));
                host.session.receive(now, host.now);
                rest = later;
            }
            match host.step() {
                Step::Answer(..) => answers += 1,
                Step::Call(_, until) => {
                    prop_assert!(until > host.now);
                    host.session.replied(Reply::Done("{}".into()), RANDOM, host.now);
                }
                Step::Wait(_) if rest.is_empty() => break,
                Step::Wait(_) => {}
            }
        }
        prop_assert_eq!(answers, expected);
        prop_assert!(host.session.is_idle());
    }
}

/// 100 MB of anything leave a session that works and holds nothing.
#[test]
fn noise_leaves_a_working_device_and_flat_memory() {
    let mut host = Host::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0_u8; 64 << 10];
    for _ in 0..1_600 {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        host.session.receive(&chunk, host.now);
        while !matches!(host.step(), Step::Wait(_)) {}
        assert!(host.session.held_bytes() < 2 * FRAME_BYTES_MAX);
    }
    host.now += OPEN_FRAME_MAX;
    while !matches!(host.step(), Step::Wait(_)) {}
    host.send("QRY|STATUS");
    assert!(matches!(host.call(), Call::Status { .. }));
}
