//! The clients: they sell, repeat, contradict themselves and look, and note what they are answered.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use fiscus_dice::Dice;
use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::{Consistency, JournalRecord, ReadCheckpointRequest, ReadOutletRequest};

use crate::history::{Fate, Look, Sealed, SeenCheckpoint};
use crate::keys;
use crate::operator::{DATA_GROUP, MERCHANT, OUTLETS, TERMINAL, client, submitted};
use crate::world::{Phase, World};

/// One answer is waited for so long, with all its repetitions.
const PATIENCE: Duration = Duration::from_secs(3);
/// In the quiet phase everybody is answered within this time.
const QUIET_PATIENCE: Duration = Duration::from_secs(30);
/// Tills of one client.
const TILLS: u64 = 4;

/// One machine with clients.
pub(crate) async fn run(world: World, nodes: u64, seed: u64, number: u64) {
    let made = client(nodes, seed ^ number);
    let client = match made {
        Ok(client) => client,
        Err(error) => return world.broke(format!("no client: {error:#}")),
    };
    while !world.lock().founded {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut tills = tokio::task::JoinSet::new();
    for till in 0..TILLS {
        let dice = Dice::new(seed, &format!("till {number}/{till}"));
        let (world, client) = (world.clone(), client.clone());
        let name = format!("{number}.{till}");
        tills.spawn(async move { Till { world, client, dice, name, sold: 0 }.run().await });
    }
    while let Some(ended) = tills.join_next().await {
        if let Err(error) = ended {
            world.broke(format!("a till panicked: {error}"));
        }
    }
    world.lock().served += 1;
}

struct Till {
    world: World,
    client: ClusterClient,
    dice: Dice,
    name: String,
    sold: u64,
}

/// Milliseconds of the simulation.
fn now() -> u64 {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl Till {
    async fn run(mut self) {
        while self.world.phase() < Phase::Quiet {
            match self.dice.below(100) {
                0..70 => self.sell().await,
                70..82 => self.repeat().await,
                82..86 => self.contradict().await,
                86..88 => self.borrow_numbers().await,
                88..91 => self.look_at_checkpoint().await,
                _ => self.look().await,
            }
            tokio::time::sleep(Duration::from_millis(self.dice.between(3, 60))).await;
        }
        // Whatever is not known yet is asked for again, and one more sale is made.
        self.settle().await;
    }

    fn outlet(&mut self) -> &'static str {
        // One outlet is busier than the other.
        OUTLETS[usize::from(self.dice.chance(25))]
    }

    fn own_mark(&self, number: u64) -> String {
        format!("{}/{number}", self.name)
    }

    async fn sell(&mut self) {
        let mark = self.own_mark(self.sold);
        self.sold += 1;
        let outlet = self.outlet();
        self.world.lock().history.begin(&mark, outlet, now());
        self.submit(&mark, outlet, PATIENCE).await;
    }

    /// Asks for an earlier sale again, its own or another till's, under the same key.
    async fn repeat(&mut self) {
        let chosen = {
            let shared = self.world.lock();
            let known = shared.history.sales.len() as u64;
            let at = usize::try_from(self.dice.below(known.max(1))).unwrap_or(0);
            shared
                .history
                .sales
                .iter()
                .nth(at)
                .map(|(mark, sale)| (mark.clone(), sale.outlet.clone()))
        };
        let Some((mark, outlet)) = chosen else { return };
        self.submit(&mark, &outlet, PATIENCE).await;
    }

    async fn submit(&self, mark: &str, outlet: &str, patience: Duration) {
        let answer = self.client.submit(DATA_GROUP, sale(outlet, mark, mark), patience).await;
        let mut shared = self.world.lock();
        match answer {
            Ok(Answer::Recorded(record) | Answer::AlreadyRecorded(record)) => {
                shared.history.sealed(mark, now(), sealed(&record));
            }
            Ok(Answer::Refused(refusal)) => shared.history.refused(mark, now(), &refusal.code),
            Ok(other) => {
                shared.history.wrong.push(format!("sale {mark} was answered with {other:?}"));
            }
            Err(_) => shared.history.unknown += 1,
        }
    }

    /// Another invoice under the key of one that was sealed: it must be refused.
    async fn contradict(&mut self) {
        let chosen = {
            let shared = self.world.lock();
            let sealed = |fate: &Fate| matches!(fate, Fate::Sealed(_));
            let mut known = shared.history.sales.iter().filter(|(_, sale)| sealed(&sale.fate));
            let at = usize::try_from(self.dice.below(50)).unwrap_or(0);
            known.nth(at).map(|(mark, sale)| (mark.clone(), sale.outlet.clone()))
        };
        let Some((mark, outlet)) = chosen else { return };
        let command = sale(&outlet, &mark, &format!("other {mark}"));
        match self.client.submit(DATA_GROUP, command, PATIENCE).await {
            Ok(Answer::Refused(_)) | Err(_) => {}
            Ok(other) => {
                let what = format!("another invoice under the key of sale {mark} gave {other:?}");
                self.world.lock().history.wrong.push(what);
            }
        }
    }

    /// Takes a few numbers for offline seals, and never brings them back.
    async fn borrow_numbers(&mut self) {
        let outlet = self.outlet();
        let credential = format!("credential-{}-{}", self.name, self.dice.below(1 << 40));
        let key = SigningKey::from_bytes(&payload_hash(credential.as_bytes()));
        let fingerprint = payload_hash(credential.as_bytes()).to_vec();
        let grant = proto::GrantBlock {
            submitted: Some(submitted(outlet, &credential, fingerprint)),
            credential_id: credential,
            terminal_id: TERMINAL.to_owned(),
            terminal_key: key.verifying_key().to_bytes().to_vec().into(),
            numbers: self.dice.between(1, 5),
            validity_ms: 3_600_000,
        };
        let command = Command { command: Some(command::Command::GrantBlock(grant)) };
        match self.client.submit(DATA_GROUP, command, PATIENCE).await {
            Ok(Answer::Recorded(_) | Answer::AlreadyRecorded(_) | Answer::Refused(_)) | Err(_) => {}
            Ok(other) => {
                let what = format!("a loan of numbers was answered with {other:?}");
                self.world.lock().history.wrong.push(what);
            }
        }
    }

    async fn look(&mut self) {
        let outlet = self.outlet();
        let began = now();
        let request = ReadOutletRequest {
            group: DATA_GROUP,
            outlet_id: outlet.to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        let Ok(read) = self.client.read_outlet(request, PATIENCE).await else { return };
        let row = Outlet::from_stored(&read.row);
        let mut shared = self.world.lock();
        match row {
            Ok(row) => shared.history.looks.push(Look {
                outlet: outlet.to_owned(),
                began,
                ended: now(),
                last_position: row.chain.last_position,
                last_number: row.series.last,
            }),
            Err(error) => shared.history.wrong.push(format!("a row of {outlet}: {error}")),
        }
    }

    async fn look_at_checkpoint(&self) {
        let began = now();
        let consistency = Consistency::Linearizable.into();
        let request = ReadCheckpointRequest { group: DATA_GROUP, consistency };
        let Ok(read) = self.client.read_checkpoint(request, PATIENCE).await else { return };
        let mut shared = self.world.lock();
        let history = &mut shared.history;
        match keys::open_checkpoint(DATA_GROUP, &read.checkpoint) {
            Ok(Some((size, root))) => {
                history.checkpoints.push(SeenCheckpoint { began, ended: now(), size, root });
            }
            // None is decided yet.
            Ok(None) => {}
            Err(error) => history.wrong.push(format!("a checkpoint that was published: {error}")),
        }
    }

    async fn settle(&mut self) {
        let unknown: Vec<(String, String)> = {
            let shared = self.world.lock();
            let own = format!("{}/", self.name);
            let sales = shared.history.sales.iter();
            let open =
                sales.filter(|(mark, sale)| mark.starts_with(&own) && sale.fate == Fate::Unknown);
            open.map(|(mark, sale)| (mark.clone(), sale.outlet.clone())).collect()
        };
        for (mark, outlet) in unknown {
            self.submit(&mark, &outlet, QUIET_PATIENCE).await;
        }
        for outlet in OUTLETS {
            let mark = self.own_mark(self.sold);
            self.sold += 1;
            self.world.lock().history.begin(&mark, outlet, now());
            self.submit(&mark, outlet, QUIET_PATIENCE).await;
        }
        let own = format!("{}/", self.name);
        let mut shared = self.world.lock();
        let mut sales = shared.history.sales.iter();
        let open = sales.find(|(mark, sale)| mark.starts_with(&own) && sale.fate == Fate::Unknown);
        if let Some(mark) = open.map(|(mark, _)| mark.clone()) {
            let what = format!("all is healed, and sale {mark} is not answered");
            shared.history.wrong.push(what);
        }
    }
}

fn sealed(record: &JournalRecord) -> Sealed {
    Sealed {
        leaf: record.leaf,
        record: record.record.to_vec(),
        signature: record.signature.to_vec(),
    }
}

/// A sale under a key, whose invoice carries a mark.
fn sale(outlet: &str, key: &str, mark: &str) -> Command {
    let price = 1_000 + u32::from(payload_hash(mark.as_bytes())[0]);
    let text = format!(
        r#"{{"merchant_nif":"{MERCHANT}","outlet_id":"{outlet}","pos_terminal_id":"{TERMINAL}",
        "invoice_type":"sale","currency":"CDF","client":{{"classification":"individual"}},
        "items":[{{"code":"A","description":"mark:{mark}","quantity":1,"unit_price":"{price}.00",
        "tax_group":"TG01"}}],"payments":[{{"method":"cash","amount":"{price}.00"}}]}}"#
    );
    let when = UnixMs::new(1_795_262_400_000);
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), when).expect("a sale");
    let payload = parsed.invoice.canonical_bytes().to_vec();
    let seal = proto::Seal {
        submitted: Some(submitted(outlet, key, payload_hash(&payload).to_vec())),
        terminal_id: TERMINAL.to_owned(),
        device_id: None,
        payload: payload.into(),
    };
    Command { command: Some(command::Command::Seal(seal)) }
}
