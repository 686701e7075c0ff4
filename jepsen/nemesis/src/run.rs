//! A run from its beginning to its report.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fiscus_check::line::{End, Line, Outcome};
use fiscus_check::{Finding, History, Kind, check, edn, exit_code};
use fiscus_proto::client::{ClientConfig, ClientLimits, ClusterClient};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cluster::{Cluster, GROUP, Make, tls_files};
use crate::faults::{Faults, Nemesis};
use crate::figures::Figures;
use crate::journal;
use crate::operator::Operator;
use crate::options::Options;
use crate::record::{Recorder, Seen};
use crate::sales::{Submission, seal};
use crate::till::{Floor, Till, Told};
use crate::watch::{self, addresses};
use crate::workloads::{self, Pair, Roster, Shop, Workload};

/// An unoptimised node needs seconds to open its keys.
const START_WAIT: Duration = Duration::from_secs(120);
/// Everything is equal again within this time.
const CONVERGE_WAIT: Duration = Duration::from_secs(180);
/// And within this time when a node could neither come nor go, which is a finding already.
const UNFINISHED_WAIT: Duration = Duration::from_secs(30);
/// In the end everybody is answered within this time.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Not longer is anybody waited for when it is known that the cluster does not come back.
const HOPELESS_WAIT: Duration = Duration::from_secs(1);
/// And not more is asked for.
const HOPELESS_MOST: usize = 500;
/// Operations under way end within this time after the load stopped.
const LOAD_END: Duration = Duration::from_secs(60);
/// Client connections, each to all nodes.
const CLIENTS: usize = 6;
/// A sound clock's error, half a round trip of a busy machine, and what a leader's batch may wait.
const CLOCK_ERROR_MS: u64 = 1_500;
const AT_ONCE: usize = 32;
/// The journal is read, and replicas are asked, so often until they are equal to it.
const TURNS: u32 = 50;
const TURN: Duration = Duration::from_millis(200);

/// Runs, checks, and writes the report; the exit code.
pub async fn run(options: &Options) -> Result<u8> {
    options.check()?;
    let dir = options.fresh_dir()?;
    eprintln!("{}: {}", options.name(), dir.display());
    let path = dir.join("history.jsonl");
    let (recorder, writer) = Recorder::start(&path, &options.name(), CLOCK_ERROR_MS)?;
    let ran = Stage::build(options, &dir, &recorder).await?.play(options).await?;
    let seen = std::mem::take(&mut *recorder.seen());
    drop(recorder);
    writer.finish()?;
    let (history, mut findings) = judge(&path, &dir.join("history.edn"))?;
    findings.extend(ran.findings);
    findings.extend(seen.found());
    findings.extend(nothing_done(options, &seen, ran.measured.load));
    let figures = Figures::new(options, &seen, &history, &ran.measured, &findings);
    figures.write(&dir, &seen)?;
    println!("{}", figures.line());
    Ok(exit_code(&findings))
}

/// Reads a history back from its file, as anybody can, and checks it.
fn judge(path: &Path, edn_path: &Path) -> Result<(History, Vec<Finding>)> {
    let file = std::fs::File::open(path).context("the history")?;
    let history = History::read(std::io::BufReader::with_capacity(1 << 20, file))?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(edn_path)?);
    edn::write(&history, &mut out)?;
    std::io::Write::flush(&mut out)?;
    let findings = check(&history);
    Ok((history, findings))
}

/// A run in which clients could do nothing proves nothing.
fn nothing_done(options: &Options, seen: &Seen, (began, ended): (u64, u64)) -> Option<Finding> {
    let writes = |workload: &Workload| !matches!(workload, Workload::Reads | Workload::Audit);
    let must_write = options.workload.iter().any(writes);
    let done = seen.points.iter().any(|point| {
        let within = point.start >= began && point.end <= ended;
        within && point.outcome == Outcome::Ok && (point.writes || !must_write)
    });
    let detail = "nothing was acknowledged while there was load".to_owned();
    (!done).then_some(Finding { kind: Kind::Convergence, detail })
}

/// What is measured of a run as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    /// When the load began and ended, in nanoseconds.
    pub(crate) load: (u64, u64),
    /// From the last fault until all replicas were equal.
    pub(crate) converged: Duration,
}

/// How a run came out.
struct Ran {
    measured: Measured,
    findings: Vec<Finding>,
}

/// Everything of a run that is there while it lasts.
struct Stage {
    cluster: Arc<Mutex<Cluster>>,
    shop: Shop,
    operator: Operator,
    recorder: Recorder,
    /// Ends with the run.
    _gateways: Option<Pair>,
}

impl Stage {
    async fn build(options: &Options, dir: &Path, recorder: &Recorder) -> Result<Self> {
        let program = options.program()?;
        let make = Make {
            dir: dir.to_owned(),
            program: program.clone(),
            previous: options.previous.clone().map(std::path::absolute).transpose()?,
            planted: options.planted.clone(),
            nodes: options.nodes,
            disks: options.nemesis.iter().any(|nemesis| nemesis.needs_disks()),
            clocks: options.nemesis.iter().any(|nemesis| nemesis.needs_clocks()),
            snapshot_bytes: options.snapshot_bytes,
        };
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(make)).await??;
        let operator = Operator::new(dir, &program)?;
        found(&cluster, &operator).await?;
        let gateways = match options.workload.contains(&Workload::Gateways) {
            true => Some(Pair::start(&cluster, &operator).await?),
            false => None,
        };
        let seeds: Vec<String> = cluster.ids().into_iter().map(|id| cluster.address(id)).collect();
        let clients = (0..CLIENTS).map(|at| client(dir, "gw", &seeds, at as u64));
        let shop = Shop {
            clients: clients.collect::<Result<_>>()?,
            operator: client(dir, "ops", &seeds, 99)?,
            recorder: recorder.clone(),
            floor: Floor::new(options.seed),
            roster: Arc::new(Roster::new(options.cold)),
            seed: options.seed,
            tills: options.clients,
            rate: options.rate,
            gateways: gateways.as_ref().map(|pair| pair.gateways.clone()),
        };
        workloads::open(&shop).await?;
        let (cluster, recorder) = (Arc::new(Mutex::new(cluster)), recorder.clone());
        Ok(Self { cluster, shop, operator, recorder, _gateways: gateways })
    }

    async fn play(self, options: &Options) -> Result<Ran> {
        let mut beside = JoinSet::new();
        let until = Instant::now() + Duration::from_secs(options.seconds);
        let (cluster, operator) = (self.cluster.clone(), self.operator.clone());
        let mut faults = Faults::new(
            cluster.clone(),
            operator.clone(),
            self.recorder.clone(),
            options.seed,
            until,
        );
        (faults.gap_ms_max, faults.fault_ms_max) = (options.gap_ms, options.fault_ms);
        beside.spawn(watch::run(cluster, operator, self.recorder.clone()));
        beside.spawn(faults.clone().supervise());
        let began = self.recorder.now();
        let mut load = workloads::start(&self.shop, &options.workload);
        let mut lanes = faults.start(&options.nemesis);
        // A client or a lane that gives up ends the run.
        tokio::select! {
            () = sleep_until(until) => {}
            Some(ended) = load.join_next() => broke(ended, "a client")?,
            Some(ended) = beside.join_next() => broke(ended, "a watcher")?,
        }
        while let Some(ended) = lanes.join_next().await {
            ended.context("a lane of faults")??;
        }
        let last = Instant::now();
        faults.heal()?;
        self.shop.floor.stop();
        let ended = self.recorder.now();
        let all = async {
            while let Some(ended) = load.join_next().await {
                ended.context("a client")??;
            }
            anyhow::Ok(())
        };
        timeout(LOAD_END, all).await.context("clients do not come to an end")??;
        let mut measured = Measured { load: (began, ended), converged: Duration::ZERO };
        let findings = self.end(&faults, options, &mut measured, last).await?;
        beside.shutdown().await;
        faults.stop_measuring();
        Ok(Ran { measured, findings })
    }

    /// All is healed: everything becomes equal, everybody is answered, and what there is is written down.
    async fn end(
        &self,
        faults: &Faults,
        options: &Options,
        measured: &mut Measured,
        last: Instant,
    ) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let stuck = |error: &anyhow::Error| Finding {
            kind: Kind::Convergence,
            detail: format!("{error:#}"),
        };
        let finished = faults.finish_members().await;
        let patience = if finished { CONVERGE_WAIT } else { UNFINISHED_WAIT };
        if let Err(error) = faults.converged(patience).await {
            findings.push(stuck(&error));
        }
        measured.converged = last.elapsed();
        if options.nemesis.contains(&Nemesis::Corrupt)
            && let Err(error) = faults.scrub().await
        {
            findings.push(stuck(&error));
        }
        self.recorder.line(&Line::Healed { at: self.recorder.now() })?;
        // A cluster that does not come back, and of which nothing can be read, is a finding and no failure of the run.
        let patience = if findings.is_empty() { ANSWER_WAIT } else { HOPELESS_WAIT };
        if let Err(error) = self.write_down(patience).await {
            if findings.is_empty() && self.recorder.seen().findings.is_empty() {
                return Err(error);
            }
            findings.push(stuck(&error));
        }
        faults.find_panics(options.nemesis.contains(&Nemesis::Corrupt))?;
        Ok(findings)
    }

    /// Everything is asked for again, and audited, and the journal and all replicas are noted.
    async fn write_down(&self, patience: Duration) -> Result<()> {
        self.ask_again(patience).await?;
        workloads::must_audit(&self.shop, patience).await?;
        let client = &self.shop.clients[0];
        let mut written = 0;
        for _ in 0..TURNS {
            written = journal::write(client, &self.recorder, written).await?;
            if let Some(ends) = self.ends(written).await {
                ends.into_iter().try_for_each(|end| self.recorder.line(&Line::End(end)))?;
                return journal::write_totals(client, &self.recorder).await;
            }
            sleep(TURN).await;
        }
        let what = format!(
            "all is healed, and after {TURNS} looks not every replica is at the journal's {written} leaves"
        );
        self.recorder.finding(Kind::Convergence, what);
        for (id, address) in addresses(&self.cluster) {
            if let Some(replica) = self.operator.replica(&address, GROUP).await {
                let (leaves, applied) = (replica.leaves, replica.applied);
                self.recorder.line(&Line::End(End { group: GROUP, node: id, leaves, applied }))?;
            }
        }
        journal::write_totals(client, &self.recorder).await
    }

    /// All replicas, when they are as long as what is written of the journal.
    async fn ends(&self, leaves: u64) -> Option<Vec<End>> {
        let mut ends = Vec::new();
        for (node, address) in addresses(&self.cluster) {
            let replica = self.operator.replica(&address, GROUP).await?;
            let (leaves, applied) = (replica.leaves, replica.applied);
            ends.push(End { group: GROUP, node, leaves, applied });
        }
        let first = ends.first()?.clone();
        let equal = |end: &End| end.leaves == leaves && end.applied == first.applied;
        ends.iter().all(equal).then_some(ends)
    }

    /// What was not answered is answered now, what was is answered alike, every outlet sells and is read.
    async fn ask_again(&self, patience: Duration) -> Result<()> {
        let (kept, open) = self.shop.floor.to_ask_again();
        let tills: Vec<Till> = (0..AT_ONCE).map(|at| self.shop.till(at as u64)).collect();
        let mut sales = Vec::new();
        for (outlet, _) in self.shop.roster.all() {
            let key = format!("last {outlet}");
            sales.push(seal(outlet, &key, &key, None)?);
        }
        // What was not answered may be refused, what was acknowledged and what is sold anew may not.
        let open = open.iter().map(|submission| (submission, None));
        let kept = kept.iter().map(|submission| (submission, Some(Kind::Altered)));
        let sales = sales.iter().map(|submission| (submission, Some(Kind::Convergence)));
        let most = if patience == HOPELESS_WAIT { HOPELESS_MOST } else { usize::MAX };
        stream::iter(open.chain(kept).chain(sales).take(most).enumerate())
            .map(|(at, (submission, never_refused))| {
                // Whoever is free does it: each has one operation at a time.
                let till = tills[at % AT_ONCE].other();
                async move {
                    let told = till.submit(submission, patience).await?;
                    match (told, never_refused) {
                        (Told::NotNow, _) => till.note_unanswered(submission)?,
                        (Told::Refused(code), Some(kind)) => {
                            let Submission { outlet, f, key, .. } = submission;
                            let what = format!("{outlet}: {f} {key} is refused with {code}");
                            self.recorder.finding(kind, format!("all is healed, and in {what}"));
                        }
                        _ => {}
                    }
                    anyhow::Ok(())
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        for (outlet, _) in self.shop.roster.all() {
            tills[0].must_look(outlet, patience).await?;
        }
        Ok(())
    }
}

fn broke(ended: Result<Result<()>, tokio::task::JoinError>, who: &str) -> Result<()> {
    match ended {
        Ok(Ok(())) => bail!("{who} ended before the run"),
        Ok(Err(error)) => Err(error.context(format!("{who} gave up"))),
        Err(error) => Err(error).context(format!("{who} panicked")),
    }
}

fn client(dir: &Path, role: &str, seeds: &[String], jitter: u64) -> Result<ClusterClient> {
    let tls = tls_files(dir, role).load()?;
    let limits = ClientLimits {
        connect_timeout: Duration::from_secs(1),
        attempt_timeout: Duration::from_millis(1_500),
        ..ClientLimits::default()
    };
    let config = ClientConfig {
        limits,
        jitter_seed: Some(jitter),
        ..ClientConfig::new(seeds.to_vec(), Some(tls))
    };
    Ok(ClusterClient::new(config)?)
}

/// Waits until all nodes answer, and makes a cluster of them.
async fn found(cluster: &Cluster, operator: &Operator) -> Result<()> {
    let until = Instant::now() + START_WAIT;
    for id in cluster.ids() {
        while operator.status(&cluster.address(id)).await.is_none() {
            if Instant::now() > until {
                bail!("node {id} does not answer; see n{id}.log in {}", cluster.make.dir.display());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    let nodes: Vec<String> = cluster.ids().into_iter().map(|id| cluster.address(id)).collect();
    let init = format!("init --nodes {} --data-groups {GROUP} --yes", nodes.join(","));
    operator.run(&init, START_WAIT).await?;
    Ok(())
}
