//! Thousands of sales while the power, the cable and the cluster go at any moment: every one is sealed once or never,
//! its answer is always the same, and what was answered is in the ledger in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::outcome::Outcome as Answer;

use super::super::till::{Begun, SealedHere};
use super::{Shop, key_of, number};
use crate::protocol::nonce::Prepared;
use crate::protocol::{Call, Code, Fault, Reply, Session, SessionLimits, Standing, Step};

const WORLDS: u64 = 60;
const SALES: u64 = 40;
/// A register that is told nothing clear parks the sale after so many attempts.
const ATTEMPTS_MAX: usize = 6;

/// A shop with its line to the host and to the cluster.
struct World {
    shop: Shop,
    session: Session,
    up: bool,
    /// Submissions that are on their way and may still be taken.
    on_their_way: Vec<Prepared>,
    /// What each nonce was answered.
    answered: BTreeMap<String, String>,
    /// The number that each sale was answered with.
    sold: BTreeMap<Vec<u8>, String>,
}

/// What a register knows after it has tried.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    Sold,
    /// It tries again later, the same.
    Parked,
}

fn away() -> Fault {
    Fault::new(Code::Unavailable, "the cluster does not answer")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut shop = Shop::new(seed, 500);
        shop.pass(1_000);
        shop.round().expect("numbers");
        Self {
            shop,
            session: Session::new(SessionLimits::default()),
            up: true,
            on_their_way: Vec::new(),
            answered: BTreeMap::new(),
            sold: BTreeMap::new(),
        }
    }

    fn chance(&mut self, most: u64) -> u64 {
        self.shop.chance.below(most)
    }

    /// What becomes of things between two steps of anybody.
    fn weather(&mut self) {
        self.shop.pass(50);
        match self.chance(40) {
            0 => self.up = !self.up,
            // The agent finds the cluster.
            1 | 2 if self.up => drop(self.shop.round()),
            3 => {
                let steps = self.chance(12);
                self.shop.disk.fuse(Some(steps));
            }
            4 => self.power_cut(),
            5 => {
                self.shop.disk.fuse(None);
                self.shop.open().expect("the proxy is killed and starts again");
                self.hang_up();
            }
            6 => self.hang_up(),
            7 if !self.on_their_way.is_empty() => {
                let at = self.chance(self.on_their_way.len() as u64);
                let late = self.on_their_way.swap_remove(at as usize);
                self.shop.ledger.seal(&late);
            }
            _ => {}
        }
    }

    fn power_cut(&mut self) {
        self.shop.cut();
        self.hang_up();
    }

    fn hang_up(&mut self) {
        self.session = Session::new(SessionLimits::default());
    }

    fn call(&mut self, call: Call) -> Reply {
        let now = self.shop.now();
        match call {
            Call::Rehearse(prepared) => self.prepare(&prepared),
            Call::Seal(prepared, key) if prepared.alone => {
                let blind = self.shop.chance.bytes();
                match self.shop.till().seal(&prepared, &key, blind, now) {
                    Ok(SealedHere::Sealed(answer)) => Reply::Sealed(answer),
                    Ok(SealedHere::InDoubt(detail)) => Reply::InDoubt(detail),
                    Err(fault) => Reply::NotNow(fault),
                }
            }
            Call::Seal(prepared, key) => self.submit(prepared, key),
            Call::FindSeal(key) => match self.shop.till().find(&key) {
                Ok(Some(Begun::Sealed(answer))) => Reply::Sealed(answer),
                Ok(None) if self.up && self.shop.till().is_linked() => self.find(key),
                Ok(_) => Reply::NotNow(away()),
                Err(fault) => Reply::NotNow(fault),
            },
            other => panic!("{other:?}"),
        }
    }

    fn prepare(&mut self, prepared: &Prepared) -> Reply {
        let (key, now) = (key_of(prepared), self.shop.now());
        if let Some(fault) = self.shop.till().replayed(&key) {
            return Reply::Refused(fault);
        }
        if self.shop.till().is_linked() {
            if self.up {
                let hash = payload_hash(&prepared.payload);
                let known = self.shop.ledger.invoices.values().any(|sealed| *sealed == hash);
                let replayed = || Fault::new(Code::ReplayDetected, "sealed already");
                return if known { Reply::Refused(replayed()) } else { Reply::Fits };
            }
            self.shop.away();
        }
        match self.shop.till().check(prepared, &key, now) {
            Ok(()) => Reply::FitsAlone,
            Err(fault) => Reply::NotNow(fault),
        }
    }

    /// As the cluster answers, or does not.
    fn submit(&mut self, prepared: Prepared, key: [u8; 16]) -> Reply {
        match self.shop.till().begin(&prepared.payload, &key) {
            Ok(Begun::Submit) => {}
            Ok(Begun::Sealed(answer)) => return Reply::Sealed(answer),
            Ok(Begun::InLedger(number)) => panic!("{number} is kept"),
            Err(fault) => return Reply::NotNow(fault),
        }
        let told = match (self.up, self.chance(4)) {
            (true, 0) => {
                // The leader dies with the answer, or with the entry.
                match self.chance(2) {
                    0 => drop(self.shop.ledger.seal(&prepared)),
                    _ => self.on_their_way.push(prepared),
                }
                Reply::InDoubt("no answer".to_owned())
            }
            (true, _) => {
                let sealed = self.shop.ledger.seal(&prepared);
                assert!(matches!(sealed, Answer::Recorded(_) | Answer::AlreadyRecorded { .. }));
                Reply::Sealed(self.online_answer(&payload_hash(&prepared.payload)))
            }
            (false, 0) => Reply::InDoubt("no answer".to_owned()),
            (false, _) => Reply::NotNow(away()),
        };
        let surely_not = matches!(told, Reply::NotNow(_));
        self.shop.till().landed(&key, surely_not);
        if !matches!(told, Reply::Sealed(_)) {
            self.shop.away();
        }
        told
    }

    fn find(&self, key: [u8; 16]) -> Reply {
        let hashes = self.shop.ledger.invoices.values();
        let mut of_key = hashes.filter(|hash| crate::protocol::nonce::seal_key(hash) == key);
        of_key.next().map_or(Reply::NotSealed, |hash| Reply::Sealed(self.online_answer(hash)))
    }

    fn online_answer(&self, hash: &[u8; 32]) -> String {
        let mut sealed = self.shop.ledger.invoices.iter();
        let (number, _) = sealed.find(|(_, sealed)| *sealed == hash).expect("it is sealed");
        format!(r#"{{"status":"OK","fiscal_number":"{number}"}}"#)
    }

    /// Sends a command, unless the line goes before its answer.
    fn ask(&mut self, body: &str) -> Option<String> {
        let now = Duration::from_millis(self.shop.wall_ms - super::START_MS);
        self.session.receive(&crate::protocol::frame::framed(body, false), now);
        loop {
            match self.session.step(Standing::Active, now) {
                Step::Call(call, _) => {
                    let reply = self.call(call);
                    let random = self.shop.chance.bytes();
                    self.session.replied(reply, random, now);
                }
                Step::Answer(bytes, _) => {
                    let answer =
                        String::from_utf8(bytes[1..bytes.len() - 1].to_vec()).expect("text");
                    if self.chance(12) == 0 {
                        self.hang_up();
                        return None;
                    }
                    return Some(answer);
                }
                Step::Wait(_) => panic!("a command without an answer"),
            }
        }
    }

    /// A register sells: it prepares, commits, and asks the same again until it is told something clear.
    fn sell(&mut self, sale: &Prepared) -> Tried {
        let document = String::from_utf8(sale.payload.clone()).expect("text");
        for _ in 0..ATTEMPTS_MAX {
            self.weather();
            let Some(told) = self.ask(&format!("TXN|PREPARE {document}")) else { continue };
            let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
            let Some(nonce) = told["nonce"].as_str() else {
                if told["code"] == "REPLAY_DETECTED" {
                    return Tried::Sold;
                }
                continue;
            };
            for _ in 0..2 {
                self.weather();
                let Some(answer) = self.ask(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}"))
                else {
                    continue;
                };
                if answer.starts_with("{\"status\":\"OK\"") {
                    let first = self.answered.entry(nonce.to_owned()).or_insert(answer.clone());
                    assert_eq!(*first, answer, "the same nonce, the same seal");
                    let told = number(&answer);
                    let first = self.sold.entry(sale.payload.clone()).or_insert(told.clone());
                    assert_eq!(*first, told, "the same sale, the same number");
                    if self.chance(2) == 0 {
                        return Tried::Sold;
                    }
                }
            }
        }
        Tried::Parked
    }
}

#[test]
fn every_sale_is_sealed_once_or_never_whatever_goes_when() {
    let (mut alone, mut with_the_cluster, mut cuts_in_between) = (0, 0, 0);
    for seed in 1..=WORLDS {
        let mut world = World::new(seed);
        let mut parked = Vec::new();
        let mut sales = BTreeSet::new();
        for _ in 0..SALES {
            let sale = world.shop.sale();
            sales.insert(payload_hash(&sale.payload));
            if world.sell(&sale) == Tried::Parked {
                parked.push(sale);
            }
        }
        // The storm is over.
        world.power_cut();
        world.up = true;
        for late in std::mem::take(&mut world.on_their_way) {
            world.shop.ledger.seal(&late);
        }
        world.shop.pass(60_000);
        world.shop.round().expect("delivered");
        cuts_in_between += parked.len();
        for sale in parked {
            let key = key_of(&sale);
            if matches!(world.prepare(&sale), Reply::Fits) {
                world.submit(sale, key);
            }
        }
        let shop = &mut world.shop;
        assert_eq!(shop.ledger.alerts(), [""; 0], "{seed}");
        assert!(shop.till().book.damages.is_empty(), "{seed}: a cut is no damage");
        let mut payloads = BTreeSet::new();
        for hash in shop.ledger.invoices.values() {
            assert!(payloads.insert(*hash), "{seed}: a sale is sealed twice");
        }
        assert!(payloads.is_subset(&sales));
        for (payload, number) in &world.sold {
            let sealed = shop.ledger.invoices.get(number);
            assert_eq!(sealed, Some(&payload_hash(payload)), "{seed}: {number} was answered");
        }
        assert!(shop.ledger.outlet().series.is_accounted_for());
        let here = shop.till().book.sealed.len();
        alone += here;
        with_the_cluster += shop.ledger.invoices.len() - here;
    }
    assert!(alone > 200 && with_the_cluster > 200, "both ways: {alone}, {with_the_cluster}");
    assert!(cuts_in_between > 20, "some are told nothing clear: {cuts_in_between}");
}
