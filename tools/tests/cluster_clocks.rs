//! A minority of wrong clocks changes nothing: one node of three runs five minutes ahead, five minutes
//! behind, and too fast, while it leads; sealing goes on, and every record has a time of the others.

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fiscus_ledger::record::Record;
use fiscus_ledger::time::UnixMs;
use fiscus_node::config::{ClockSection, NodeConfig};
use fiscus_proto::ledger::JournalRecord;
use support::load::{Load, Sale};
use support::processes::{Processes, with_fake_time};
use support::{Demo, admin, alerts, client, fresh, history, leader, until};

/// The node whose clock goes wrong.
const WRONG: u64 = 2;
const GROUPS: [u64; 2] = [0, 1];
/// A clock that is wrong is noticed, and its node has stopped leading, within this time.
const NOTICED: Duration = Duration::from_secs(60);
/// How much too fast the drifting clock is.
const DRIFT: f64 = 0.05;
/// The library keeps a rate until it is given another one.
const RIGHT: &str = "+0 x1.0";

/// The test's own clock, which stays right: wall time carried by the monotonic clock.
struct TrueTime {
    wall: Duration,
    at: Instant,
}

impl TrueTime {
    fn now() -> Self {
        Self { wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), at: Instant::now() }
    }

    fn of(&self, moment: Instant) -> Duration {
        self.wall + moment.duration_since(self.at)
    }
}

/// A process's clock as libfaketime reads it from a file.
struct FakeClock {
    file: PathBuf,
    since: Instant,
}

impl FakeClock {
    /// Right, from the process's start on.
    fn of_a_process_that_starts_now(file: PathBuf) -> Self {
        let clock = Self { file, since: Instant::now() };
        clock.says(RIGHT);
        clock
    }

    /// Replaces the file at once, so that it is never read half written.
    fn says(&self, setting: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{setting}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    /// Right at this moment, and too fast from now on. The library counts from the process's start.
    fn drifts(&self) {
        let so_far = self.since.elapsed().as_secs_f64() * DRIFT;
        self.says(&format!("-{so_far:.3} x{:.3}", 1.0 + DRIFT));
    }
}

fn start(nodes: &mut Processes) -> FakeClock {
    for id in nodes.ids().into_iter().filter(|id| *id != WRONG) {
        nodes.start(id);
    }
    let clock = FakeClock::of_a_process_that_starts_now(nodes.dir.join("faketime"));
    let mut program = with_fake_time();
    program.env("FAKETIME_TIMESTAMP_FILE", &clock.file).env("FAKETIME_NO_CACHE", "1");
    nodes.start_as(WRONG, program);
    clock
}

/// The node leads everything, as an operator asks for.
async fn lead_everything(dir: &Path) {
    for group in GROUPS {
        let transfer = format!("groups transfer {group} --to {WRONG} --yes");
        until("the node leads", NOTICED, || admin(dir, &transfer).0).await;
    }
}

fn alert_about_the_clock(dir: &Path) -> Option<String> {
    let own = format!("node {WRONG}: its clock is ");
    alerts(dir).into_iter().find(|alert| alert.starts_with(&own))
}

/// While its clock is wrong: it is named, it gives its groups away, takes none, and sales go on.
async fn is_left_out(dir: &Path, load: &Load, kind: &str) {
    let began = Instant::now();
    until("an alert names the node", NOTICED, || alert_about_the_clock(dir).is_some()).await;
    let named = began.elapsed();
    let gone = || GROUPS.iter().all(|group| leader(dir, *group).is_some_and(|id| id != WRONG));
    until("the node leads nothing", NOTICED, gone).await;
    println!("{kind}: named after {named:?}, led nothing after {:?}", began.elapsed());
    for _ in 0..3 {
        load.wait_for(60).await;
        for group in GROUPS {
            assert_ne!(leader(dir, group), Some(WRONG), "{kind}: it leads group {group} again");
        }
    }
    // A node that a busy machine has kept from asking the others says for a moment that it does not know.
    let own = format!("node {WRONG}: ");
    let it_alone = || {
        let told: Vec<String> = alerts(dir)
            .into_iter()
            .filter(|alert| alert.contains("the time") || alert.contains("clock"))
            .collect();
        !told.is_empty() && told.iter().all(|alert| alert.starts_with(&own))
    };
    until("it alone is wrong", NOTICED, it_alone).await;
}

async fn is_forgiven(dir: &Path, load: &Load) {
    until("the alert ends", NOTICED, || alert_about_the_clock(dir).is_none()).await;
    lead_everything(dir).await;
    load.wait_for(60).await;
}

/// How far a stamp may be from the true time: the error of a sound clock, and half the longest round
/// trip that a sample may have taken.
fn tolerance(nodes: &Processes) -> Duration {
    let rules: ClockSection = NodeConfig::load(&nodes.config_path(WRONG)).unwrap().clock;
    Duration::from_millis(rules.error_max_ms + rules.sample_interval_ms)
}

/// Every sale is dated between its beginning and its end.
fn check_times(sales: &[Sale], truth: &TrueTime, tolerance: Duration) {
    let mut furthest = Duration::ZERO;
    for sale in sales {
        let record = Record::decode(&sale.record.record).unwrap();
        let time = Duration::from_millis(record.timestamp.get());
        let (began, ended) = (truth.of(sale.began), truth.of(sale.ended));
        let off = began.saturating_sub(time).max(time.saturating_sub(ended));
        furthest = furthest.max(off);
        assert!(off <= tolerance, "{} is dated {off:?} off", record.fiscal_number);
    }
    println!("{} sales, dated at most {furthest:?} off", sales.len());
}

/// The order of the tree is an order in time.
fn check_order(journal: &[JournalRecord]) {
    let mut last = UnixMs::new(0);
    for stored in journal {
        let record = Record::decode(&stored.record).unwrap();
        assert!(record.timestamp >= last, "{} goes back in time", record.fiscal_number);
        last = record.timestamp;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_changes_nothing() {
    let mut nodes = Processes::of(Demo::start(&fresh("cluster-clocks")));
    let clock = start(&mut nodes);
    nodes.listening().await;
    let dir = nodes.dir.clone();
    let client = client(&dir, &nodes.nodes).await;
    let truth = TrueTime::now();
    let load = Load::start(&client, 2, "clocks");
    load.wait_for(20).await;
    lead_everything(&dir).await;
    for setting in ["+300s", "-300s"] {
        clock.says(setting);
        is_left_out(&dir, &load, setting).await;
        clock.says(RIGHT);
        is_forgiven(&dir, &load).await;
    }
    clock.drifts();
    is_left_out(&dir, &load, "drifting").await;
    clock.says(RIGHT);
    is_forgiven(&dir, &load).await;
    let sales = load.finish().await;
    let doubtful = sales.iter().filter(|sale| sale.doubts > 0).count();
    println!("{doubtful} sales had attempts in doubt");
    check_times(&sales, &truth, tolerance(&nodes));
    check_order(&history::check(&client, &sales).await);
    nodes.stop_all().await;
}
