//! Twenty terminals seal on one outlet through two gateways while gateways and the leader are killed: the numbers
//! are 1 to n, and whoever repeats a request gets his own seal.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::gateway::http::Answer;
use support::gateway::{Beside, call};
use support::{Demo, fresh, history};

const SALE: &str = include_str!("../../docs/samples/sale.json");
const OUTLET: &str = "outlet-limete";
const TERMINALS: usize = 20;
const TROUBLE: Duration = Duration::from_secs(40);
/// Between two blows.
const PAUSE: Duration = Duration::from_secs(4);
/// A sale without a clear answer after so long is a failure of the whole.
const PATIENCE: Duration = Duration::from_secs(120);

/// A till with two gateways to choose from.
struct Till {
    name: String,
    key: String,
    gateways: [SocketAddr; 2],
    turn: usize,
    /// Requests that ended without a clear answer.
    doubts: u32,
}

impl Till {
    /// Sends a sale until its answer is clear.
    async fn sell(&mut self, number: u32) -> Answer {
        let sale = SALE
            .replace("outlet-gombe", OUTLET)
            .replace("till-1", &self.name)
            .replace("RIZ-25", &format!("R-{}-{number}", self.name));
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "{} waits for sale {number}", self.name);
            let asked = call(self.gateways[self.turn % 2], "POST", "/api/v1/invoices")
                .bearer(&self.key)
                .idempotent(&format!("{}-{number}", self.name))
                .body("application/json", sale.clone())
                .try_send()
                .await;
            match asked {
                Ok(answer) if [200, 201].contains(&answer.status) => return answer,
                Ok(answer) if answer.status == 503 => {
                    let code = answer.code();
                    let known =
                        ["OUTCOME_UNKNOWN", "CLUSTER_UNAVAILABLE", "CLUSTER_BUSY", "OVERLOADED"];
                    assert!(known.contains(&&*code), "{code}");
                    assert_ne!(answer.header("retry-after"), "", "{code}");
                }
                Ok(answer) => panic!("{}: {} {}", self.name, answer.status, answer.text()),
                // The gateway is gone: the other one has what there is to know.
                Err(_) => {}
            }
            self.doubts += 1;
            self.turn += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sells until it is told to stop, and asks again for every third; what it sold, by number.
    async fn work(mut self, stop: Arc<AtomicBool>) -> (BTreeMap<u64, Answer>, u32) {
        let mut sold = BTreeMap::new();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            self.turn += 1;
            let answer = self.sell(number).await;
            let sequence = answer.json()["sequence"].as_u64().unwrap();
            if number.is_multiple_of(3) {
                self.turn += 1;
                let again = self.sell(number).await;
                assert_eq!(again.status, 200);
                assert_eq!(again.body, answer.body, "a repetition gets its own seal");
            }
            let before = sold.insert(sequence, answer);
            assert!(before.is_none(), "{} has the number {sequence} twice", self.name);
            number += 1;
        }
        (sold, self.doubts)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_keep_their_numbers_while_gateways_and_leaders_die() {
    let demo = Demo::start(&fresh("gateway-chaos"));
    let mut beside = Beside::start(&demo.dir).await;
    let stop = Arc::new(AtomicBool::new(false));
    let gateways = [demo.gateway_address(), beside.address];
    let tills: Vec<_> = (0..TERMINALS)
        .map(|at| {
            let (name, key) = (format!("till-{at}"), demo.api_key.clone());
            let till = Till { name, key, gateways, turn: at, doubts: 0 };
            tokio::spawn(till.work(Arc::clone(&stop)))
        })
        .collect();
    let began = Instant::now();
    let mut blows = 0;
    while began.elapsed() < TROUBLE {
        tokio::time::sleep(PAUSE).await;
        assert!(!tills.iter().any(tokio::task::JoinHandle::is_finished), "a till gave up");
        match blows % 4 {
            0 => demo.kill_gateway(),
            1 => beside.restart(),
            2 => demo.leader(1).into_iter().for_each(|leader| demo.kill(leader)),
            // Both at once: for a moment there is no gateway at all.
            _ => {
                demo.kill_gateway();
                beside.restart();
            }
        }
        blows += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut all, mut doubts) = (BTreeMap::new(), 0);
    for till in tills {
        let (sold, doubted) = till.await.unwrap();
        doubts += doubted;
        for (sequence, answer) in sold {
            let twice = all.insert(sequence, answer);
            assert!(twice.is_none(), "two tills have the number {sequence}");
        }
    }
    assert!(blows >= 4 && doubts > 0, "{blows} blows led to {doubts} doubts: that was no trial");
    assert!(all.len() > TERMINALS, "they hardly sold anything: {}", all.len());

    // What the samples left is before them; from there on no number is missing.
    let first = *all.keys().next().unwrap();
    let numbers: Vec<u64> = all.keys().copied().collect();
    let dense: Vec<u64> = (first..first + numbers.len() as u64).collect();
    assert_eq!(numbers, dense);
    let journal = history::check(&demo.client().await, &[]).await;
    let of_outlet = journal.iter().filter_map(|stored| {
        let record = fiscus_ledger::record::Record::decode(&stored.record).unwrap();
        let number = record.fiscal_number.strip_prefix("KIN-LIMETE-")?;
        Some((number.parse::<u64>().unwrap(), fiscus_ledger::hash::hex(&record.entry_hash)))
    });
    let recorded: BTreeMap<u64, String> = of_outlet.filter(|(n, _)| *n >= first).collect();
    assert_eq!(recorded.len(), all.len(), "nothing was sealed that no till knows of");
    for (sequence, answer) in &all {
        assert_eq!(answer.json()["entry_hash"], recorded[sequence], "{sequence}");
    }
    println!("{} sales, {doubts} doubts, {blows} blows", all.len());
    beside.kill();
    demo.stop();
}
