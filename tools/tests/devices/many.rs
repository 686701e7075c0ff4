//! Ten terminals at one device for a while, with faults: in the mode in which the proxy is the device, and before a
//! real one, whose memory is full now and then until its keeper gives it more. Each has its share, no number is missing, and
//! none is given twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::lane::{Fate, Lane, Plan, Tally, Way};
use super::shop::{
    DefProcess, Invoice, ProxyProcess, RealDevice, config, noon, recorded, register, sale,
    until_imported,
};
use super::support::{Demo, fresh};
use super::wanted;

const TERMINALS: u64 = 10;
const SERVED: (&str, &str) = ("def-many", "outlet-limete");
const REAL: (&str, &str) = ("DEF-MANY", "outlet-gombe");
const LEADER_PAUSE: Duration = Duration::from_secs(25);
/// The real device's memory is full after about so many bytes of sales, and gets as much again and again.
const MEMORY_BYTES: u64 = 192 << 10;

type Sold = Vec<(Invoice, Fate)>;

/// The terminals of one device.
struct Terminals {
    selling: Vec<JoinHandle<Sold>>,
    /// How often each was told that there is no room.
    no_room: Vec<Arc<AtomicU64>>,
}

impl Terminals {
    fn open(
        proxy: &ProxyProcess,
        (id, outlet): (&'static str, &'static str),
        stop: &Arc<AtomicBool>,
    ) -> Self {
        let (_never, killed) = watch::channel(0);
        let mut terminals = Self { selling: Vec::new(), no_room: Vec::new() };
        for at in 0..TERMINALS {
            let way = Way::Tcp(proxy.address);
            let mut lane = Lane::new(way, at, Tally::default(), killed.clone());
            let stop = Arc::clone(stop);
            terminals.no_room.push(Arc::clone(&lane.no_room));
            terminals.selling.push(tokio::spawn(async move {
                let mut sold = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let mark = format!("{id}-{at}-{}", sold.len());
                    let invoice = sale(outlet, &mark, noon());
                    let fate = lane.sell(&invoice, Plan::default()).await;
                    sold.push((invoice, fate));
                }
                sold
            }));
        }
        terminals
    }

    fn look(&self) {
        assert!(!self.selling.iter().any(JoinHandle::is_finished), "a terminal gave up");
    }

    fn no_room(&self) -> u64 {
        self.no_room.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    async fn finish(self) -> Vec<Sold> {
        let mut sold = Vec::new();
        for selling in self.selling {
            sold.push(selling.await.expect("no terminal has failed"));
        }
        sold
    }
}

/// Whoever looks after a real device: it gets more memory when it has said that it is full.
struct Keeper {
    memory_bytes: u64,
    heard: u64,
    times: u64,
}

impl Keeper {
    fn look(&mut self, def: &mut DefProcess, terminals: &Terminals) {
        let told = terminals.no_room();
        if told > self.heard {
            self.heard = told;
            self.times += 1;
            self.memory_bytes *= 2;
            def.control(&format!("memory {}", self.memory_bytes));
        }
    }
}

/// Every sale is there once under the number that was told, and each terminal had its share.
async fn check(demo: &Demo, mode: &str, outlet: &str, sold: Vec<Sold>) {
    let shares: Vec<usize> = sold.iter().map(Vec::len).collect();
    let sold: Sold = sold.into_iter().flatten().collect();
    let known = recorded(&demo.client().await, outlet).await;
    for (invoice, fate) in &sold {
        let Fate::Sealed(number) = fate else { panic!("{fate:?}") };
        assert_eq!(known[&invoice.mark], [*number], "{}", invoice.mark);
    }
    let mut numbers: Vec<u64> = known.into_values().flatten().collect();
    numbers.sort_unstable();
    let first = numbers[0];
    assert!(numbers.iter().copied().eq(first..first + sold.len() as u64), "a gap or a double");
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    println!("{mode}: {} sales, {least} to {most} of a terminal: {shares:?}", sold.len());
    assert!(*most <= 2 * *least, "a fair share for each: {shares:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_terminals_share_one_device_whatever_goes_wrong() {
    let time = Duration::from_secs(wanted("FISCUS_DEVICE_SECONDS", 14));
    let demo = Demo::start(&fresh("device-many"));
    let activation_code = register(&demo.dir, SERVED.0, SERVED.1);
    let mut served = ProxyProcess::start(&demo.dir, &config(&demo.dir, &demo.nodes, SERVED.0));
    served.activate(&activation_code, &[9; 32]).await;
    let faults = ["--faults", "split,garbage,busy,late", "--fault-per-mille", "10", "--seed", "11"];
    let memory = MEMORY_BYTES.to_string();
    let arguments = [&faults[..], &["--memory", &memory]].concat();
    let def = DefProcess::start(&demo.dir, REAL.0, &arguments);
    let real = config(&demo.dir, &demo.nodes, REAL.0);
    let mut real = RealDevice::open(&demo.dir, REAL.0, REAL.1, def, real).await;

    let stop = Arc::new(AtomicBool::new(false));
    let serving = Terminals::open(&served, SERVED, &stop);
    let attached = Terminals::open(&real.proxy, REAL, &stop);
    let mut keeper = Keeper { memory_bytes: MEMORY_BYTES, heard: 0, times: 0 };
    let (began, mut leader_killed, mut turn) = (Instant::now(), Instant::now(), 0);
    while began.elapsed() < time || keeper.times == 0 {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        serving.look();
        attached.look();
        keeper.look(&mut real.def, &attached);
        match turn % 6 {
            0 => drop(real.def.control("power-cut 200")),
            1 => served.restart(),
            2 => drop(real.def.control("cut-commit after 200")),
            3 => drop(real.def.control("unplug")),
            4 => real.proxy.restart(),
            _ => drop(real.def.control("busy 300")),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        real.def.control("plug");
        if leader_killed.elapsed() > LEADER_PAUSE {
            leader_killed = Instant::now();
            demo.leader(1).into_iter().for_each(|leader| demo.kill(leader));
        }
        turn += 1;
    }
    stop.store(true, Ordering::Relaxed);
    // The last sales find room, too.
    real.def.control(&format!("memory {}", 4 * keeper.memory_bytes));
    let no_room = [serving.no_room(), attached.no_room()];
    let (serving, attached) = (serving.finish().await, attached.finish().await);
    println!(
        "told that there is no room: {no_room:?} times, and given more {} times",
        keeper.times
    );
    check(&demo, "serving", SERVED.1, serving).await;
    let entries = real.def.control("entries").parse().unwrap();
    until_imported(&demo.client().await, REAL.1, REAL.0, entries).await;
    check(&demo, "attached", REAL.1, attached).await;
    drop((served, real));
    demo.stop();
}
