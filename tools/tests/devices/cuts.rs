//! Every kind of cut at every moment of a sale: proxies killed, the leader killed, cables cut, the real device without
//! power. Afterwards each sale is there once or not at all, the log tells which, and its nonce gives the same seal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::host::code;
use super::lane::{Dice, Fate, Lane, MOMENTS, Plan, Tally, Way};
use super::shop::{
    DefProcess, Invoice, ProxyProcess, RealDevice, config, host, noon, recorded, register, sale,
    until_imported,
};
use super::support::{Demo, fresh};
use super::wanted;

const SERVED: (&str, &str) = ("def-cuts", "outlet-limete");
const REAL: (&str, &str) = ("DEF-CUTS", "outlet-gombe");
/// Over TCP and over a line, at each device.
const LANES: usize = 3;
/// A leader is elected, and the killed node is back, within this time.
const LEADER_PAUSE: Duration = Duration::from_secs(7);

type Sold = Vec<(Invoice, Fate)>;

/// Sells until it is told to stop.
async fn work(mut lane: Lane, name: String, outlet: &'static str, stop: Arc<AtomicBool>) -> Sold {
    let mut sold = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let invoice = sale(outlet, &format!("{name}-{}", sold.len()), noon());
        let at = usize::try_from(lane.dice.below(8)).unwrap();
        let plan =
            Plan { cut: (at < MOMENTS.len()).then_some(at), leaves: lane.dice.below(4) == 0 };
        let fate = lane.sell(&invoice, plan).await;
        sold.push((invoice, fate));
    }
    sold
}

/// The registers of one device.
struct Lanes {
    moments: Vec<Arc<AtomicUsize>>,
    working: Vec<JoinHandle<Sold>>,
    killed: watch::Sender<u64>,
}

impl Lanes {
    fn open(
        proxy: &ProxyProcess,
        (id, outlet): (&'static str, &'static str),
        line: &std::path::Path,
        (seed, tally, stop): (u64, &Tally, &Arc<AtomicBool>),
    ) -> Self {
        let (killed, heard) = watch::channel(0);
        let mut lanes = Self { moments: Vec::new(), working: Vec::new(), killed };
        for at in 0..LANES {
            let way = match at {
                0 => Way::Pty(line.to_owned(), line.with_extension("host")),
                _ => Way::Tcp(proxy.address),
            };
            let seed = seed.wrapping_mul(1_000) + u64::try_from(at).unwrap();
            let lane = Lane::new(way, seed, tally.clone(), heard.clone());
            lanes.moments.push(Arc::clone(&lane.moment));
            let name = format!("{id}-{at}");
            lanes.working.push(tokio::spawn(work(lane, name, outlet, Arc::clone(stop))));
        }
        lanes
    }

    /// Something that all of them feel: it falls into the moment that each is in.
    fn count(&self, tally: &Tally, what: &'static str) {
        for moment in &self.moments {
            tally.add(what, moment.load(Ordering::Relaxed));
        }
    }

    fn look(&self) {
        assert!(!self.working.iter().any(JoinHandle::is_finished), "a register gave up");
    }

    fn kill(&self, proxy: &mut ProxyProcess, tally: &Tally, what: &'static str) {
        self.count(tally, what);
        proxy.restart();
        self.killed.send_modify(|count| *count += 1);
    }

    async fn finish(self) -> Sold {
        let mut sold = Vec::new();
        for working in self.working {
            sold.extend(working.await.expect("no register has failed"));
        }
        sold
    }
}

/// What is done to the real device, by turns.
fn strike(real: &mut RealDevice, lanes: &Lanes, tally: &Tally, dice: &mut Dice) -> &'static str {
    let what = match dice.below(6) {
        0 => "def power",
        1 => "def during COMMIT, before it is stored",
        2 => "def during COMMIT, half of it stored",
        3 => "def during COMMIT, after it is stored",
        4 => "def unplugged",
        _ => "def kill -9",
    };
    lanes.count(tally, what);
    let control = match what {
        "def power" => "power-cut 50",
        "def during COMMIT, before it is stored" => "cut-commit before 50",
        "def during COMMIT, half of it stored" => "cut-commit torn 50",
        "def during COMMIT, after it is stored" => "cut-commit after 50",
        "def unplugged" => "unplug",
        _ => {
            real.def.restart();
            return what;
        }
    };
    real.def.control(control);
    if what == "def unplugged" {
        real.def.control("plug");
    }
    what
}

/// Each sale is in the ledger as its register knows it, and the device's log tells it.
async fn check(demo: &Demo, outlet: &str, address: std::net::SocketAddr, sold: &Sold) -> [u64; 3] {
    let known = recorded(&demo.client().await, outlet).await;
    let mut host = host(address).await;
    let mut counts = [0; 3];
    for (invoice, fate) in sold {
        let numbers = known.get(&invoice.mark).map_or(&[][..], Vec::as_slice);
        match fate {
            Fate::Sealed(number) => assert_eq!(numbers, [*number], "{}", invoice.mark),
            Fate::OnlyPrepared => assert_eq!(numbers, [0; 0], "{}", invoice.mark),
            Fate::Unknown => assert!(numbers.len() <= 1, "{}: {numbers:?}", invoice.mark),
        }
        for number in numbers {
            let entry = host.ask(&format!("QRY|LOG {number}")).await;
            assert!(entry.contains(&invoice.hash), "the log tells {number} otherwise: {entry}");
        }
        counts[match fate {
            Fate::Sealed(_) => 0,
            Fate::OnlyPrepared => 1,
            Fate::Unknown => 2,
        }] += 1;
    }
    let mut numbers: Vec<u64> = known.into_values().flatten().collect();
    numbers.sort_unstable();
    let first = numbers[0];
    assert!(numbers.iter().copied().eq(first..first + numbers.len() as u64), "a gap or a double");
    assert_eq!(
        code(&host.ask(&format!("QRY|LOG {}", numbers.last().unwrap() + 1)).await),
        "NOT_FOUND"
    );
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_cut_and_whenever_each_sale_is_there_once_or_not_at_all() {
    let (cuts, seed) = (wanted("FISCUS_CUTS", 400), wanted("FISCUS_SEED", 6));
    let demo = Demo::start(&fresh("device-cuts"));
    let (tally, stop) = (Tally::default(), Arc::new(AtomicBool::new(false)));
    let lines = [SERVED, REAL].map(|(id, _)| demo.dir.join(format!("{id}.line")));

    let mut served = config(&demo.dir, &demo.nodes, SERVED.0);
    served.devices[0].serial = vec![lines[0].clone()];
    let activation_code = register(&demo.dir, SERVED.0, SERVED.1);
    let mut served = ProxyProcess::start(&demo.dir, &served);
    served.activate(&activation_code, &[9; 32]).await;
    let def = DefProcess::start(&demo.dir, REAL.0, &[]);
    let mut real = config(&demo.dir, &demo.nodes, REAL.0);
    real.devices[0].serial = vec![lines[1].clone()];
    let mut real = RealDevice::open(&demo.dir, REAL.0, REAL.1, def, real).await;

    let serve = Lanes::open(&served, SERVED, &lines[0], (seed, &tally, &stop));
    let attach = Lanes::open(&real.proxy, REAL, &lines[1], (seed + 1, &tally, &stop));
    let mut dice = Dice::new(seed);
    let (mut leader_killed, began) = (Instant::now(), Instant::now());
    let total = || tally.rows().values().sum::<u64>();
    while total() < cuts || tally.of("the leader") == 0 {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(500))).await;
        serve.look();
        attach.look();
        if leader_killed.elapsed() > LEADER_PAUSE {
            leader_killed = Instant::now();
            if let Some(leader) = demo.leader(1) {
                serve.count(&tally, "the leader");
                attach.count(&tally, "the leader");
                demo.kill(leader);
            }
            continue;
        }
        match dice.below(4) {
            0 | 1 => serve.kill(&mut served, &tally, "the proxy, serving"),
            2 => attach.kill(&mut real.proxy, &tally, "the proxy, attached"),
            _ => {
                strike(&mut real, &attach, &tally, &mut dice);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (served_sales, real_sales) = (serve.finish().await, attach.finish().await);
    let took = began.elapsed();
    let entries = real.def.control("entries").parse().unwrap();
    until_imported(&demo.client().await, REAL.1, REAL.0, entries).await;
    let serve = check(&demo, SERVED.1, served.address, &served_sales).await;
    let attach = check(&demo, REAL.1, real.proxy.address, &real_sales).await;
    print(&tally, took, [("serving", serve), ("attached", attach)]);
    assert!(serve[0] > 10 && attach[0] > 10, "they hardly sold anything");
    drop((served, real));
    demo.stop();
}

fn print(tally: &Tally, took: Duration, sold: [(&str, [u64; 3]); 2]) {
    let rows = tally.rows();
    println!("{} cuts in {took:?}", rows.values().sum::<u64>());
    let mut by_kind: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for ((what, moment), count) in rows {
        by_kind.entry(what).or_default().insert(moment, count);
    }
    for (what, moments) in by_kind {
        println!("  {what}: {moments:?}");
    }
    for (mode, [sealed, prepared, unknown]) in sold {
        println!("  {mode}: {sealed} sealed, {prepared} only prepared, {unknown} left in doubt");
    }
}
