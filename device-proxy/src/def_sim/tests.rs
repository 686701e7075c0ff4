//! The simulated device by itself.

use std::time::Duration;

use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::device_seal::{device_key, is_signed, journal_origin};
use fiscus_ledger::hash::hex;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;

use super::{DeviceKey, Handled, Machine, MachineConfig};
use crate::protocol::{Command, FRAME_BYTES_MAX, FrameParser};

const CODE: &str = "DEF-1/7F3K-9QHM-2T5W-XA6E";

struct Bench {
    machine: Machine,
    _folder: tempfile::TempDir,
    now: Duration,
}

impl Bench {
    fn new(memory_bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = DeviceKey::open(&folder.path().join("key")).expect("a key");
        let config = MachineConfig {
            device_id: "DEF-1".to_owned(),
            verify_host: "verify.example.cd".to_owned(),
            memory_bytes,
            manifests: vec![Manifest::builtin()],
            dgi_key: None,
        };
        let machine = Machine::power_on(config, key, &Vec::new()).expect("it is new");
        Self { machine, _folder: folder, now: Duration::ZERO }
    }

    fn ask(&mut self, host: u64, body: &str) -> Handled {
        let command = Command::parse(body.as_bytes());
        self.machine.handle(host, command, self.now, UnixMs::new(1_795_262_400_000), [7; 8])
    }

    fn init(&mut self) {
        let key = encode_standard(&self.machine.public_key());
        let init = format!("CFG|INIT {{\"activation_code\":\"{CODE}\",\"public_key\":\"{key}\"}}");
        let done = self.ask(1, &init);
        assert!(done.store.is_some(), "{}", done.answer);
    }

    fn nonce(&mut self, price: u64) -> String {
        let answer = self.ask(1, &format!("TXN|PREPARE {}", sale(price))).answer;
        let (_, rest) = answer.split_once("\"nonce\":\"").unwrap_or_else(|| panic!("{answer}"));
        rest[..48].to_owned()
    }

    fn commit(&mut self, host: u64, nonce: &str) -> Handled {
        self.ask(host, &format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"))
    }
}

fn sale(price: u64) -> String {
    let text = format!(
        r#"{{"merchant_nif":"A1","outlet_id":"o","pos_terminal_id":"t","cashier_id":"","invoice_type":"sale",
        "currency":"CDF","client":{{"classification":"individual"}},"items":[{{"code":"F","description":"F",
        "quantity":1,"unit_price":"{price}.00","tax_group":"TG02","taxable_unit":"u"}}],"payments":[]}}"#
    );
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), UnixMs::new(0));
    parsed.expect("a sale").invoice.canonical_text().to_owned()
}

fn says(handled: &Handled, code: &str) -> bool {
    handled.answer.contains(&format!("\"code\":\"{code}\"")) && handled.store.is_none()
}

#[test]
fn it_seals_nothing_before_it_is_activated_and_everything_in_a_chain_after() {
    let mut bench = Bench::new(1 << 20);
    let refused = bench.ask(1, &format!("TXN|PREPARE {}", sale(1)));
    assert!(says(&refused, "UNAUTHORIZED"), "{refused:?}");
    bench.init();
    let mut previous = hex(&journal_origin("DEF-1"));
    let key = device_key(&bench.machine.public_key()).expect("a point");
    for price in 1..=3 {
        let nonce = bench.nonce(price);
        let done = bench.commit(1, &nonce);
        assert!(done.store.is_some(), "{done:?}");
        assert_eq!(bench.commit(1, &nonce).answer, done.answer, "the same seal again");
        let entry = bench.machine.entries().last().expect("it is there").clone();
        assert!(entry.text.contains(&format!("\"prev_hash\":\"{previous}\"")));
        assert!(is_signed(&key, &entry.text, &entry.signature));
        previous = hex(&fiscus_ledger::device_seal::entry_hash(&entry.text));
    }
    assert!(says(&bench.ask(1, &format!("TXN|PREPARE {}", sale(2))), "REPLAY_DETECTED"));
    assert!(says(&bench.ask(1, "QRY|LOG 4"), "NOT_FOUND"));
}

#[test]
fn a_nonce_is_of_one_connection_and_dies() {
    let mut bench = Bench::new(1 << 20);
    bench.init();
    let nonce = bench.nonce(1);
    assert!(says(&bench.commit(2, &nonce), "INVALID_NONCE"));
    bench.now += Duration::from_secs(7);
    assert!(says(&bench.commit(1, &nonce), "NONCE_EXPIRED"));
    assert!(says(&bench.commit(1, &nonce), "INVALID_NONCE"));
    let nonce = bench.nonce(1);
    bench.machine.hung_up(1);
    assert!(says(&bench.commit(1, &nonce), "INVALID_NONCE"));
}

#[test]
fn a_full_memory_says_so_and_the_reports_add_up() {
    let mut bench = Bench::new(6_000);
    bench.init();
    for price in 1..=3 {
        let nonce = bench.nonce(price * 100);
        assert!(bench.commit(1, &nonce).store.is_some());
    }
    assert!(says(&bench.ask(1, &format!("TXN|PREPARE {}", sale(9))), "STORAGE_FULL"));
    let closed = bench.ask(1, "RPT|Z {\"date\":\"2026-11-28\"}");
    assert!(closed.answer.contains(r#""sequence_start":1,"sequence_end":3,"transaction_count":3"#));
    assert!(closed.answer.contains(r#""base":"600.00","tax":"96.00""#), "{}", closed.answer);
    let snapshot = bench.ask(1, "RPT|X {\"period\":\"day\"}").answer;
    assert!(snapshot.contains("\"transaction_count\":0"), "{snapshot}");
}

/// 100 MB of noise, with its frames begun and ended by chance: nothing grows and nothing is done.
#[test]
fn noise_leaves_a_working_device_and_flat_memory() {
    let mut bench = Bench::new(1 << 20);
    bench.init();
    let mut parser = FrameParser::default();
    let mut state = 9_u64;
    let mut block = vec![0_u8; 1 << 16];
    let (mut frames, mut now) = (0, Duration::ZERO);
    for _ in 0..1_600 {
        for byte in &mut block {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56).to_le_bytes()[0];
        }
        let mut rest = block.as_slice();
        now += Duration::from_millis(1);
        while let Some(next) = parser.next(&mut rest, now) {
            frames += 1;
            if let Ok(frame) = next {
                let handled = bench.machine.handle(
                    1,
                    Command::parse(&frame.body),
                    now,
                    UnixMs::new(0),
                    [1; 8],
                );
                assert!(handled.store.is_none() && handled.answer.contains("ERR"));
            }
        }
        assert!(parser.held_bytes() <= FRAME_BYTES_MAX);
    }
    assert!(frames > 100_000, "{frames}");
    let nonce = bench.nonce(1);
    assert!(bench.commit(1, &nonce).store.is_some());
}
