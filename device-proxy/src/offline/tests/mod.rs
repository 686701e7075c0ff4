//! Tills on a disk whose power can be cut, and the real rules of the ledger behind them.

mod chance;
mod days;
mod disk;
mod ledger;
mod manifests;
mod matrix;
mod refused;
mod rules;
mod spools;

use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::outcome::Outcome as Answer;
use fiscus_ledger::time::UnixMs;

use super::clock::Moment;
use super::entry::{Asked, Outcome, SealKey};
use super::settings::OfflineSection;
use super::spool::SpoolError;
use super::till::{SealedHere, Till};
use crate::protocol::Fault;
use crate::protocol::nonce::{Prepared, seal_key};
use chance::Chance;
use disk::SimDisk;
use ledger::Ledger;

const OUTLET: &str = "outlet-gombe";
const NIF: &str = "A1234567B";
const TERMINAL: &str = "till-1";
const START_MS: u64 = 1_795_262_400_000;
const HOUR_MS: u64 = 3_600_000;

/// A shop: a till, its disk, its clocks, and the ledger that it may or may not reach.
struct Shop {
    till: Option<Till<SimDisk>>,
    disk: SimDisk,
    ledger: Ledger,
    settings: OfflineSection,
    /// The seed of the box's key.
    key: u8,
    wall_ms: u64,
    up_ms: u64,
    chance: Chance,
    authored: u64,
}

impl Shop {
    fn new(seed: u64, numbers: u64) -> Self {
        let terminals = vec![TERMINAL.to_owned()];
        let mut settings =
            OfflineSection::minimal(PathBuf::from("/spool"), PathBuf::from("/secret"), terminals);
        settings.numbers = numbers;
        settings.low_numbers = 0;
        settings.low_hours = 0;
        let mut shop = Self {
            till: None,
            disk: SimDisk::new(),
            ledger: Ledger::new(),
            settings,
            key: 6,
            wall_ms: START_MS,
            up_ms: 1_000,
            chance: Chance::new(seed),
            authored: START_MS,
        };
        shop.wall_ms -= HOUR_MS;
        shop.open().expect("a new spool");
        let (heard_ms, now) = (shop.wall_ms, shop.now());
        shop.till().hear(heard_ms, now).expect("it is noted");
        shop.pass(HOUR_MS);
        shop
    }

    fn now(&self) -> Moment {
        Moment { wall_ms: self.wall_ms, up_ms: self.up_ms }
    }

    fn pass(&mut self, ms: u64) {
        self.wall_ms += ms;
        self.up_ms += ms;
    }

    fn till(&mut self) -> &mut Till<SimDisk> {
        self.till.as_mut().expect("it is open")
    }

    fn open(&mut self) -> Result<(), SpoolError> {
        self.till = None;
        let (disk, key) = (self.disk.clone(), SigningKey::from_bytes(&[self.key; 32]));
        let names = ("def-1", "verify.example.cd");
        self.till = Some(Till::open(disk, names, self.settings.clone(), key, self.now())?);
        Ok(())
    }

    /// The power goes and comes back, with the machine's own clock at 0.
    fn cut(&mut self) {
        self.till = None;
        self.disk.cut(&mut self.chance);
        self.up_ms = 1_000;
        self.open().expect("a spool after a power cut");
    }

    /// What an agent does in a round, when the cluster is there.
    fn round(&mut self) -> Result<(), SpoolError> {
        let (wall, now) = (self.wall_ms, self.now());
        self.ledger.at(wall);
        let till = self.till.as_mut().expect("it is open");
        till.hear(self.ledger.now_ms(), now)?;
        till.learn(self.ledger.facts())?;
        till.link(true);
        if let Some(places) = till.to_compare(now) {
            for (id, next) in places {
                till.compare((&id, next), &self.ledger.block(&id.as_str().into()))?;
            }
            till.compared(now);
        }
        let group_ms = self.ledger.now_ms();
        let mut after = None;
        while let Ok(Some((order, sold))) = till.undelivered(after, group_ms) {
            match self.ledger.reconcile(sold.seal.clone()) {
                Answer::Recorded(_) | Answer::AlreadyRecorded { .. } => {
                    till.settle(&sold, Outcome::Appended { position: 1 }, wall)?;
                }
                Answer::Refused(refusal) => {
                    let (code, detail) = (refusal.code().to_owned(), refusal.detail().to_owned());
                    till.settle(&sold, Outcome::Refused { code, detail }, wall)?;
                }
                _ => after = Some(order),
            }
        }
        while let Some((id, reason)) = till.give_back(group_ms)? {
            self.ledger.close(&id, reason);
            till.closed(&id)?;
        }
        while let Some(asked) = till.ask(self.chance.bytes(), group_ms, now)? {
            let credential = self.ledger.lend(&asked, till.public_key());
            assert!(till.lent(&asked, credential, &self.ledger.authority())?, "it is taken");
        }
        till.tidy(now)
    }

    /// The next request for numbers.
    fn ask(&mut self, now: Moment) -> Option<Asked> {
        let (random, group_ms) = (self.chance.bytes(), self.wall_ms);
        self.till().ask(random, group_ms, now).expect("it is noted")
    }

    /// The cluster is away.
    fn away(&mut self) {
        self.till().link(false);
    }

    /// A sale that differs from all others.
    fn sale(&mut self) -> Prepared {
        self.authored = (self.authored + 1).max(self.wall_ms);
        self.sale_of(self.authored, "sale", "")
    }

    fn sale_of(&self, authored_ms: u64, kind: &str, more: &str) -> Prepared {
        let authored = UnixMs::new(authored_ms);
        let text = format!(
            r#"{{"merchant_nif":"{NIF}","outlet_id":"{OUTLET}","pos_terminal_id":"{TERMINAL}",
            "cashier_id":"cashier-7","invoice_type":"{kind}","timestamp":"{authored}","currency":"CDF",{more}
            "client":{{"classification":"individual"}},
            "items":[{{"code":"FAR-1","description":"Farine","quantity":1,"unit_price":"1000.00",
            "tax_group":"TG02","taxable_unit":"sac"}}],
            "payments":[{{"method":"cash","amount":"1160.00"}}]}}"#
        );
        let manifest = Manifest::builtin();
        let parsed = parse_lenient(text.as_bytes(), &manifest, authored).expect("a sale");
        let payload = parsed.invoice.canonical_bytes().to_vec();
        Prepared { payload, terminal_id: TERMINAL.to_owned(), alone: true }
    }

    /// Prepares and commits, alone.
    fn sell(&mut self, sale: &Prepared) -> Result<SealedHere, Fault> {
        let (now, key, blind) = (self.now(), key_of(sale), self.chance.bytes());
        let till = self.till.as_mut().expect("it is open");
        till.check(sale, &key, now)?;
        till.seal(sale, &key, blind, now)
    }

    /// The same, which must come to an answer.
    fn sold(&mut self) -> (Prepared, String) {
        let sale = self.sale();
        match self.sell(&sale) {
            Ok(SealedHere::Sealed(answer)) => (sale, answer),
            other => panic!("{other:?}"),
        }
    }
}

fn key_of(sale: &Prepared) -> SealKey {
    seal_key(&payload_hash(&sale.payload))
}

/// The reason of a fault, or its code.
fn why<T: std::fmt::Debug>(told: Result<T, Fault>) -> String {
    let fault = told.expect_err("it is refused");
    fault.reason.unwrap_or_else(|| fault.code.as_str().to_owned())
}

fn number(answer: &str) -> String {
    let told: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    told["fiscal_number"].as_str().expect("a number").to_owned()
}
