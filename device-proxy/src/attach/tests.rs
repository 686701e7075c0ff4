//! The mediator against a simulated device, with cuts anywhere: no line, no time, thousands of them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;

use super::mediator::{Line, Lost, Mediator, Outcome};
use crate::def_sim::{DeviceKey, Machine, MachineConfig};
use crate::protocol::nonce::seal_key;
use crate::protocol::{Code, Command, Fault};

const DEVICE: &str = "DEF-GOMBE-1";
const CODE: &str = "DEF-GOMBE-1/7F3K-9QHM-2T5W-XA6E";

/// A device whose power and whose cable are cut by chance.
struct Cut {
    key: PathBuf,
    machine: Machine,
    journal: Vec<String>,
    host: u64,
    open: bool,
    /// An answer that comes too late, and meets the next question.
    late: VecDeque<String>,
    time: Duration,
    random: u64,
    per_mille: u64,
}

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut")
            .field("entries", &self.machine.entries().len())
            .finish_non_exhaustive()
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        device_id: DEVICE.to_owned(),
        verify_host: "verify.example.cd".to_owned(),
        memory_bytes: 1 << 30,
        manifests: vec![Manifest::builtin()],
        dgi_key: None,
    }
}

impl Cut {
    fn new(key: PathBuf, seed: u64) -> Self {
        let device = DeviceKey::open(&key).expect("a key");
        let public_key = device.public_key();
        let machine = Machine::power_on(config(), device, &Vec::new()).expect("an empty journal");
        let mut cut = Self {
            key,
            machine,
            journal: Vec::new(),
            host: 1,
            open: false,
            late: VecDeque::new(),
            time: Duration::from_secs(1),
            random: seed.wrapping_mul(2).wrapping_add(1),
            per_mille: 0,
        };
        let public_key = encode_standard(&public_key);
        let init =
            format!("CFG|INIT {{\"activation_code\":\"{CODE}\",\"public_key\":\"{public_key}\"}}");
        assert!(cut.handle(&init).expect("it is done").starts_with("{\"status\":\"OK\""));
        cut
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn handle(&mut self, body: &str) -> Option<String> {
        let random = self.chance(u64::MAX >> 34).to_le_bytes();
        let clock =
            UnixMs::new(1_795_262_400_000 + u64::try_from(self.time.as_millis()).expect("short"));
        let command = Command::parse(body.as_bytes());
        let handled = self.machine.handle(self.host, command, self.time, clock, random);
        if let Some(stored) = handled.store {
            self.journal.push(stored.0);
        }
        Some(handled.answer)
    }

    /// The device comes back with what its journal holds.
    fn power_cut(&mut self) {
        let key = DeviceKey::open(&self.key).expect("a key");
        self.machine = Machine::power_on(config(), key, &self.journal).expect("its own journal");
        self.cable_cut();
    }

    fn cable_cut(&mut self) {
        self.machine.hung_up(self.host);
        self.host += 1;
        self.open = false;
    }

    fn lost() -> Lost {
        Lost("no answer came in time".to_owned())
    }
}

impl Line for Cut {
    async fn ask(&mut self, body: &str, _limit: Duration) -> Result<String, Lost> {
        let took = self.chance(400);
        self.time += Duration::from_millis(took);
        if !self.open {
            return Err(Self::lost());
        }
        if let Some(late) = self.late.pop_front() {
            // What is asked now is done as well, and its answer is late in turn.
            let answer = self.handle(body).ok_or_else(Self::lost)?;
            self.late.push_back(answer);
            return Ok(late);
        }
        if self.chance(1_000) >= self.per_mille {
            return self.handle(body).ok_or_else(Self::lost);
        }
        match self.chance(7) {
            0 => self.cable_cut(),
            1 => self.power_cut(),
            // It was done and stored.
            2 => {
                self.handle(body);
                self.power_cut();
            }
            // It was done in memory only: nothing is stored.
            3 => {
                let stored = self.journal.len();
                self.handle(body);
                self.journal.truncate(stored);
                self.power_cut();
            }
            4 => {
                self.handle(body);
                self.cable_cut();
            }
            5 => {
                let answer = self.handle(body).ok_or_else(Self::lost)?;
                self.late.push_back(answer);
                self.open = false;
            }
            _ => return Ok(Fault::new(Code::DeviceBusy, "busy").to_json()),
        }
        Err(Self::lost())
    }

    async fn reset(&mut self) -> Result<(), Lost> {
        // Most of what was late is thrown away.
        if self.chance(3) > 0 {
            self.late.clear();
        }
        self.open = true;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.time
    }
}

fn sale(price: u64) -> Vec<u8> {
    let text = format!(
        r#"{{"merchant_nif":"A1234567B","outlet_id":"outlet-gombe","pos_terminal_id":"till-1","cashier_id":"c",
        "invoice_type":"sale","currency":"CDF","client":{{"classification":"individual"}},
        "items":[{{"code":"F","description":"Farine","quantity":1,"unit_price":"{price}.00","tax_group":"TG02",
        "taxable_unit":"sac"}}],"payments":[]}}"#
    );
    let parsed =
        parse_lenient(text.as_bytes(), &Manifest::builtin(), UnixMs::new(1_795_262_400_000));
    parsed.expect("a sale").invoice.canonical_bytes().to_vec()
}

/// One terminal after the other sells, and asks again after whatever is no answer, until it knows.
async fn history(key: PathBuf, seed: u64) {
    let mut mediator = Mediator::new(Cut::new(key, seed), DEVICE);
    mediator.line.per_mille = 150;
    let mut told: BTreeMap<u64, String> = BTreeMap::new();
    let mut in_doubt = Vec::new();
    for price in 1..=8 {
        let (payload, key) =
            (sale(price), seal_key(&fiscus_ledger::hash::payload_hash(&sale(price))));
        // Some are prepared and never committed.
        let outcome = mediator.prepare(&payload, key).await;
        assert!(!matches!(outcome, Outcome::Sealed(_) | Outcome::Told(_)), "{seed}: {outcome:?}");
        if price == 4 {
            continue;
        }
        let tries = mediator.line.chance(4);
        for _ in 0..=tries {
            match mediator.seal(&payload, key).await {
                Outcome::Sealed(entry) => {
                    let answer = entry.answer(DEVICE);
                    let known = told.entry(price).or_insert_with(|| answer.clone());
                    assert_eq!(*known, answer, "{seed}: the same seal, byte for byte");
                }
                Outcome::InDoubt(_) => in_doubt.push(price),
                Outcome::NotNow(_) => {}
                other => panic!("{seed}: {other:?}"),
            }
        }
        if mediator.line.chance(5) == 0 {
            // The proxy is killed, and another one takes its place.
            let mut line = mediator.line;
            line.cable_cut();
            mediator = Mediator::new(line, DEVICE);
        }
    }
    // Then it is quiet, and everything is known.
    mediator.line.per_mille = 0;
    mediator.line.late.clear();
    for _ in 0..4 {
        let _ = mediator.recover().await;
    }
    let entries = mediator.line.machine.entries().len();
    for price in 1..=8 {
        let key = seal_key(&fiscus_ledger::hash::payload_hash(&sale(price)));
        match mediator.find(&key).await {
            Outcome::Sealed(entry) => {
                assert_ne!(price, 4, "{seed}: what was only prepared is no invoice");
                let answer = entry.answer(DEVICE);
                assert_eq!(*told.entry(price).or_insert_with(|| answer.clone()), answer, "{seed}");
            }
            Outcome::NotSealed => {
                assert!(!told.contains_key(&price), "{seed}: {price} was told and is lost");
            }
            other => panic!("{seed}: {other:?}"),
        }
    }
    assert_eq!(told.len(), entries, "{seed}: every entry is one sale, and each sale one entry");
    let texts = mediator.line.machine.entries().iter().zip(1_u64..);
    for (entry, sequence) in texts {
        assert!(entry.text.contains(&format!("\"sequence\":{sequence},")), "{seed}: no gap");
    }
}

#[tokio::test]
async fn thousands_of_cuts_leave_each_sale_absent_or_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for seed in 0..2_000 {
        history(folder.path().join("key"), seed).await;
    }
}

#[tokio::test]
async fn another_device_at_the_line_is_not_taken_for_this_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = Cut::new(folder.path().join("key"), 1);
    let mut mediator = Mediator::new(line, "DEF-GOMBE-2");
    let fault = mediator.recover().await.expect_err("it is another one");
    assert_eq!(fault.code, Code::Unauthorized);
    assert!(!mediator.is_up());
}

#[tokio::test]
async fn a_journal_that_has_become_shorter_is_not_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut mediator = Mediator::new(Cut::new(folder.path().join("key"), 1), DEVICE);
    let payload = sale(5);
    let key = seal_key(&fiscus_ledger::hash::payload_hash(&payload));
    assert!(matches!(mediator.seal(&payload, key).await, Outcome::Sealed(_)));
    mediator.line.journal.truncate(1);
    mediator.line.power_cut();
    assert!(matches!(
        mediator.tell("QRY|LOG 1", Duration::from_secs(1)).await,
        Outcome::InDoubt(_)
    ));
    assert!(
        mediator.recover().await.is_err(),
        "an invoice that was given out is not there any more"
    );
}

#[tokio::test]
async fn what_was_sealed_long_ago_is_never_said_not_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut mediator = Mediator::new(Cut::new(folder.path().join("key"), 1), DEVICE);
    let key = |price| seal_key(&fiscus_ledger::hash::payload_hash(&sale(price)));
    for price in 1..=270 {
        let outcome = mediator.seal(&sale(price), key(price)).await;
        assert!(matches!(outcome, Outcome::Sealed(_)), "{price}: {outcome:?}");
    }
    // This program has seen all of it.
    let Outcome::Sealed(first) = mediator.find(&key(1)).await else { panic!("it is sealed") };
    assert_eq!(first.sequence, 1);
    assert_eq!(mediator.find(&key(999)).await, Outcome::NotSealed);
    // The next one has read the last entries only.
    let mut line = mediator.line;
    line.cable_cut();
    let mut mediator = Mediator::new(line, DEVICE);
    assert!(matches!(mediator.find(&key(270)).await, Outcome::Sealed(_)));
    let Outcome::NotNow(fault) = mediator.find(&key(1)).await else { panic!("nobody knows") };
    assert_eq!(fault.reason.as_deref(), Some("OUTCOME_UNKNOWN"));
    let Outcome::Refused(fault) = mediator.seal(&sale(1), key(1)).await else {
        panic!("the device knows")
    };
    assert_eq!(fault.code, Code::ReplayDetected);
    assert_eq!(mediator.line.machine.entries().len(), 270);
}

#[tokio::test]
async fn an_answer_of_another_command_is_not_passed_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut mediator = Mediator::new(Cut::new(folder.path().join("key"), 1), DEVICE);
    for price in 1..=2 {
        let key = seal_key(&fiscus_ledger::hash::payload_hash(&sale(price)));
        assert!(matches!(mediator.seal(&sale(price), key).await, Outcome::Sealed(_)));
    }
    let limit = Duration::from_secs(10);
    let asked = [
        "QRY|LOG 1",
        "QRY|LOG 2",
        "RPT|X {\"period\":\"day\"}",
        "RPT|A {\"since\":\"2020-01-01\",\"until\":\"9999-01-01\"}",
        "QRY|STATUS",
    ];
    for late in asked {
        for body in &asked[..4] {
            let answer = mediator.line.handle(late).expect("an answer");
            mediator.recover().await.expect("it is there");
            mediator.line.late.push_back(answer);
            let told = mediator.tell(body, limit).await;
            assert_eq!(matches!(told, Outcome::Told(_)), late == *body, "{late}, {body}: {told:?}");
            assert_eq!(mediator.is_up(), late == *body, "the line is lost");
            mediator.line.late.clear();
            mediator.line.open = true;
        }
    }
}

/// A device whose answers are its own, in any order, and changed by chance: it is never taken for saying more than it
/// does.
#[test]
fn a_device_that_says_anything_is_borne() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cut = Cut::new(folder.path().join("key"), 5);
    let invoice = String::from_utf8(sale(1)).expect("text");
    let mut said = Vec::new();
    let prepared = cut.handle(&format!("TXN|PREPARE {invoice}")).expect("an answer");
    let (_, rest) = prepared.split_once("\"nonce\":\"").expect("a nonce");
    let commit = format!("TXN|COMMIT {{\"nonce\":\"{}\"}}", &rest[..48]);
    said.push(cut.handle("QRY|STATUS").expect("an answer"));
    for body in [&*commit, "QRY|STATUS", "QRY|LOG 1", "QRY|LOG 2", "RPT|X {\"period\":\"day\"}"] {
        said.push(cut.handle(body).expect("an answer"));
    }
    said.push(prepared);
    // The order in which it does say them: status, PREPARE, COMMIT, the entry.
    let whole = [0, 6, 1, 3].map(|at: usize| said[at].clone()).to_vec();
    assert_eq!(super::hear(DEVICE, &invoice, &[0, 3], whole), 2, "{said:?}");
    for _ in 0..20_000 {
        let count = 1 + cut.chance(12);
        let answers = (0..count).map(|_| {
            let mut answer = said[usize::try_from(cut.chance(7)).expect("few")].clone();
            if cut.chance(3) == 0 {
                let at = usize::try_from(cut.chance(answer.len() as u64)).expect("short");
                answer.replace_range(at..=at, ["9", "\"", "}", "x"][at % 4]);
            }
            answer
        });
        let answers = answers.collect();
        let asked: Vec<u8> =
            (0..4).map(|_| u8::try_from(cut.chance(24)).expect("a byte")).collect();
        super::hear(DEVICE, &invoice, &asked, answers);
    }
}
