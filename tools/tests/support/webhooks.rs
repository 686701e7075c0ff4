//! Endpoints of some tenants behind three gateways, and a receiver that says when what came to which of them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fiscus_gateway::access::keys::{ID_BYTES, SECRET_BYTES, new_id, new_secret};
use fiscus_gateway::directory::documents::{
    ApiKey, KeySecret, Merchant, Organisation, OutletProfile, kind,
};
use fiscus_ledger::facts::{Fact, TerminalFact};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::gateway::{Beside, LIMIT, call};
use super::load::sell_in;
use super::{Demo, fresh};

/// An organisation has at most so many endpoints.
const ENDPOINTS_OF_ONE: usize = 50;
const CREATED_MS: u64 = 1_790_000_000_000;
/// Everything has come to everybody who is well within this time after the last sale.
const ALL_WAIT: Duration = Duration::from_secs(300);

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 500 million")
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Came {
    pub id: String,
    pub number: String,
    /// Between the record's time and this moment.
    pub took_ms: u64,
}

type Inbox = Arc<Mutex<BTreeMap<String, Vec<Came>>>>;

/// `/ok/…` answers 204, `/fail/…` 503, `/hang/…` nothing.
pub struct Receiver {
    pub address: SocketAddr,
    came: Inbox,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let came = Inbox::default();
        let serving = Arc::clone(&came);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let came = Arc::clone(&serving);
                connections.spawn(async move {
                    let service = service_fn(|request| take(Arc::clone(&came), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    // Gateways are killed while they send.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, came, _tasks: tasks }
    }

    pub fn came(&self, path: &str) -> Vec<Came> {
        self.came.lock().expect("whole").get(path).cloned().unwrap_or_default()
    }

    fn count(&self, path: &str) -> usize {
        let came = self.came.lock().expect("whole");
        let numbers = came.get(path).map(|all| all.iter().map(|one| &one.number).collect());
        numbers.map_or(0, |numbers: BTreeSet<_>| numbers.len())
    }

    /// How long what came since a moment took, sorted; `from` says how much had come to each before.
    pub fn took(&self, from: &BTreeMap<String, usize>) -> Vec<u64> {
        let came = self.came.lock().expect("whole");
        let new = came.iter().filter(|(path, _)| path.starts_with("/ok/"));
        let new = new.flat_map(|(path, all)| &all[from.get(path).copied().unwrap_or(0)..]);
        let mut took: Vec<u64> = new.map(|one| one.took_ms).collect();
        took.sort_unstable();
        took
    }

    pub fn counts(&self) -> BTreeMap<String, usize> {
        let came = self.came.lock().expect("whole");
        came.iter().map(|(path, all)| (path.clone(), all.len())).collect()
    }
}

async fn take(
    came: Inbox,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let mut response = Response::new(Full::default());
    let Ok(body) = body.collect().await else { return Ok(response) };
    let at_ms = now_ms();
    let body: Value = serde_json::from_slice(&body.to_bytes()).expect("a message is JSON");
    let sealed = UnixMs::parse_canonical(body["timestamp"].as_str().expect("a time"));
    let one = Came {
        id: id.to_owned(),
        number: body["data"]["fiscal_number"].as_str().unwrap_or_default().to_owned(),
        took_ms: at_ms.saturating_sub(sealed.expect("a time").get()),
    };
    came.lock().expect("whole").entry(path.clone()).or_default().push(one);
    if path.starts_with("/hang/") {
        std::future::pending::<()>().await;
    }
    *response.status_mut() = if path.starts_with("/fail/") {
        hyper::StatusCode::SERVICE_UNAVAILABLE
    } else {
        hyper::StatusCode::NO_CONTENT
    };
    Ok(response)
}

/// One of several organisations, with one outlet.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub outlet: String,
    pub nif: String,
    pub key: String,
}

/// Makes tenants that sell.
// long: the documents of a tenant, one after the other
pub async fn tenants(client: &ClusterClient, count: usize) -> Vec<Tenant> {
    let mut made = Vec::new();
    for at in 0..count {
        let at_byte = u8::try_from(at + 1).expect("few");
        let id = new_id(&[0xA0 + at_byte; ID_BYTES]);
        let (key, hash) = new_secret(&id, &[0xA0 + at_byte; SECRET_BYTES]);
        let (organisation, outlet) = (format!("org-trial-{at}"), format!("outlet-trial-{at}"));
        let nif = format!("T{:07}A", at + 1);
        let document = ApiKey {
            id: id.clone(),
            name: "trial".to_owned(),
            organisation: organisation.clone(),
            role: "owner".to_owned(),
            scopes: Vec::new(),
            outlets: Vec::new(),
            regions: Vec::new(),
            tier: "enterprise".to_owned(),
            secrets: vec![KeySecret {
                id: "1".to_owned(),
                hash,
                created_ms: CREATED_MS,
                expires_ms: 0,
                revoked_ms: 0,
            }],
            revoked_ms: 0,
            expires_ms: 0,
            created_ms: CREATED_MS,
        };
        let merchant = Merchant {
            nif: nif.clone(),
            organisation: organisation.clone(),
            name: format!("Essai {at}"),
            rccm: String::new(),
            address: String::new(),
            created_ms: CREATED_MS,
        };
        let profile = OutletProfile {
            outlet_id: outlet.clone(),
            name: format!("Essai {at}"),
            region: String::new(),
            address: String::new(),
            phone: String::new(),
            created_ms: CREATED_MS,
        };
        let terminal = Fact::Terminal(TerminalFact {
            outlet_id: (*outlet).into(),
            terminal_id: "till-1".into(),
            blocked: false,
        });
        let name = Organisation { name: format!("Essai {at}"), created_ms: CREATED_MS };
        let put = |kind: &str, id: &str, bytes: Vec<u8>| proto::PutDocument {
            kind: kind.to_owned(),
            id: id.to_owned(),
            expected_version: 0,
            bytes: bytes.into(),
        };
        let text = |value: Value| value.to_string().into_bytes();
        let puts = vec![
            put(kind::ORGANISATION, &organisation, text(json!(name))),
            put(kind::MERCHANT, &nif, text(json!(merchant))),
            put(kind::OUTLET_PROFILE, &outlet, text(json!(profile))),
            put(kind::TERMINAL, &format!("{outlet}/till-1"), terminal.encode()),
            put(kind::API_KEY, &id, text(json!(document))),
        ];
        done(client, command::Command::PutDocuments(proto::PutDocuments { puts })).await;
        let fact = proto::OutletFact {
            outlet_id: outlet.clone(),
            merchant_nif: nif.clone(),
            prefix: "TRY".to_owned(),
            code: format!("T{at}"),
            group: 1,
            status: proto::OutletStatus::Active.into(),
            environment: proto::Environment::Live.into(),
            signing_mode: proto::SigningMode::Cluster.into(),
        };
        let register = proto::RegisterOutlet { fact: Some(fact) };
        done(client, command::Command::RegisterOutlet(register)).await;
        made.push(Tenant { outlet, nif, key });
    }
    made
}

async fn done(client: &ClusterClient, kind: command::Command) {
    let command = Command { command: Some(kind) };
    match client.submit(0, command, LIMIT).await.expect("an answer") {
        Answer::Recorded(_) | Answer::AlreadyRecorded(_) | Answer::Done => {}
        other => panic!("{other:?}"),
    }
}

/// What is made, and for how long it is tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    pub endpoints: usize,
    /// Each of its three parts.
    pub part: Duration,
    /// Between two sales of a tenant.
    pub pause: Duration,
    /// Between two blows.
    pub blow: Duration,
}

/// What it came to.
#[derive(Debug)]
pub struct Seen {
    pub sales: usize,
    pub messages: usize,
    pub repeated: usize,
    pub blows: usize,
    /// Milliseconds, of those that are well, while the others are paused, and while they hang and fail.
    pub median_alone_ms: u64,
    pub median_beside_ms: u64,
    pub p99_beside_ms: u64,
    pub longest_beside_ms: u64,
    /// And while gateways and leaders are killed, until a sale that waits for a leader has come.
    pub longest_in_trouble_ms: u64,
    /// Of the gateways together: before, and after those that hang and fail had their part, and at the end.
    pub rss_before_kib: u64,
    pub rss_after_kib: u64,
    pub rss_at_end_kib: u64,
}

fn path(at: usize) -> String {
    match at % 10 {
        0 => format!("/hang/{at}"),
        1 => format!("/fail/{at}"),
        _ => format!("/ok/{at}"),
    }
}

/// Memory of a process that runs, in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).expect("a figure").parse().expect("a figure")
}

struct World {
    demo: Demo,
    beside: [Beside; 2],
    tenants: Vec<Tenant>,
    client: ClusterClient,
    receiver: Receiver,
    endpoints: Vec<(usize, String)>,
    numbers: usize,
}

impl World {
    async fn start(trial: &Trial, name: &str) -> Self {
        let demo = Demo::start(&fresh(name));
        let beside = [Beside::start(&demo.dir).await, Beside::start(&demo.dir).await];
        let client = demo.client().await;
        let tenants = tenants(&client, trial.endpoints.div_ceil(ENDPOINTS_OF_ONE)).await;
        let receiver = Receiver::start().await;
        let endpoints = Vec::new();
        let mut world = Self { demo, beside, tenants, client, receiver, endpoints, numbers: 0 };
        for at in 0..trial.endpoints {
            let made = world.make(at).await;
            world.endpoints.push((at, made));
        }
        world
    }

    fn tenant(&self, at: usize) -> &Tenant {
        &self.tenants[at / ENDPOINTS_OF_ONE]
    }

    async fn make(&self, at: usize) -> String {
        let mode = ["parallel", "per_outlet", "ordered"][at % 3];
        let url = format!("http://{}{}", self.receiver.address, path(at));
        let body =
            json!({"url": url, "mode": mode, "events": ["invoice.sealed"], "per_second": 500});
        let made = call(self.demo.gateway_address(), "POST", "/api/v1/webhooks")
            .bearer(&self.tenant(at).key)
            .idempotent(&format!("endpoint-{at}"))
            .json(&body);
        let made = made.send().await.expect(201).json();
        made["endpoint_id"].as_str().expect("an id").to_owned()
    }

    /// Pauses or resumes those that hang and fail.
    async fn others(&self, verb: &str) {
        for (at, id) in self.endpoints.iter().filter(|(at, _)| at % 10 < 2) {
            let path = format!("/api/v1/webhooks/{id}/{verb}");
            let call = call(self.demo.gateway_address(), "POST", &path);
            call.bearer(&self.tenant(*at).key).send().await.expect(200);
        }
    }

    /// Every tenant sells for a while.
    async fn sell(&mut self, trial: &Trial) {
        let until = Instant::now() + trial.part;
        while Instant::now() < until {
            let began = Instant::now();
            let number = self.numbers;
            let client = &self.client;
            let sales = self.tenants.iter().map(|tenant| async move {
                let key = format!("{}-{number}", tenant.outlet);
                sell_in(client, &tenant.outlet, &tenant.nif, &key).await;
            });
            futures_util::future::join_all(sales).await;
            self.numbers += 1;
            tokio::time::sleep(trial.pause.saturating_sub(began.elapsed())).await;
        }
    }

    fn rss_kib(&self) -> u64 {
        let beside = self.beside.iter().filter_map(Beside::pid);
        beside.chain(self.demo.gateway_pid()).map(rss_kib).sum()
    }

    /// Waits until whoever is well has everything; how many messages came, and how many of them again.
    async fn settle(&self, trial: &Trial) -> (usize, usize) {
        let well = || self.endpoints.iter().filter(|(at, _)| at % 10 > 1);
        let began = Instant::now();
        loop {
            let late = well().filter(|(at, _)| self.receiver.count(&path(*at)) < self.numbers);
            let late = late.count();
            if late == 0 {
                break;
            }
            assert!(began.elapsed() < ALL_WAIT, "{late} of {} lack something", trial.endpoints);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let (mut messages, mut repeated) = (0, 0);
        for (at, endpoint_id) in well() {
            let came = self.receiver.came(&path(*at));
            messages += came.len();
            let mut ids = BTreeMap::new();
            let mut firsts = Vec::new();
            for one in &came {
                assert!(one.id.starts_with(&format!("msg_{endpoint_id}_")), "{}", one.id);
                match ids.insert(one.id.clone(), one.number.clone()) {
                    None => firsts.push(one.number.clone()),
                    Some(before) => {
                        assert_eq!(before, one.number, "an id is one event's");
                        repeated += 1;
                    }
                }
            }
            assert_eq!(firsts.len(), self.numbers, "{at}: each event once, but for its id");
            if at % 3 != 0 {
                let sequence = |number: &String| {
                    number.rsplit('-').next().and_then(|it| it.parse::<u64>().ok())
                };
                assert!(firsts.iter().map(sequence).is_sorted(), "{at}: in their order");
            }
        }
        (messages, repeated)
    }

    /// A process is killed, another one each time.
    fn strike(&mut self, blow: usize) {
        match blow % 5 {
            0 => self.beside[0].restart(),
            1 => self.demo.kill_gateway(),
            2 => self.demo.leader(0).into_iter().for_each(|leader| self.demo.kill(leader)),
            3 => self.beside[1].restart(),
            _ => self.demo.leader(1).into_iter().for_each(|leader| self.demo.kill(leader)),
        }
    }
}

/// Runs it: everybody alone, then beside those that hang and fail, then while everything is killed.
pub async fn run(trial: Trial, name: &str) -> Seen {
    let mut world = World::start(&trial, name).await;
    world.others("pause").await;
    // The first messages make connections and caches.
    world.sell(&Trial { part: Duration::from_secs(2), ..trial }).await;
    world.settle(&trial).await;
    let before = world.receiver.counts();
    world.sell(&trial).await;
    world.settle(&trial).await;
    let alone = world.receiver.took(&before);
    let rss_before_kib = world.rss_kib();
    world.others("resume").await;
    let before = world.receiver.counts();
    world.sell(&trial).await;
    world.settle(&trial).await;
    let beside = world.receiver.took(&before);
    let rss_after_kib = world.rss_kib();
    let before = world.receiver.counts();
    let mut blows = 0;
    let until = Instant::now() + trial.part;
    while Instant::now() < until {
        world.strike(blows);
        blows += 1;
        world.sell(&Trial { part: trial.blow, ..trial }).await;
    }
    let (messages, repeated) = world.settle(&trial).await;
    let (in_trouble, rss_at_end_kib) = (world.receiver.took(&before), world.rss_kib());
    let hung = world.endpoints.iter().filter(|(at, _)| at % 10 == 0);
    let tried = hung.filter(|(at, _)| !world.receiver.came(&path(*at)).is_empty()).count();
    assert!(tried * 10 >= trial.endpoints, "those that hang were tried: {tried}");
    let quantile = |sorted: &[u64], of_100: usize| sorted[(sorted.len() - 1) * of_100 / 100];
    let seen = Seen {
        sales: world.numbers * world.tenants.len(),
        messages,
        repeated,
        blows,
        median_alone_ms: quantile(&alone, 50),
        median_beside_ms: quantile(&beside, 50),
        p99_beside_ms: quantile(&beside, 99),
        longest_beside_ms: quantile(&beside, 100),
        longest_in_trouble_ms: quantile(&in_trouble, 100),
        rss_before_kib,
        rss_after_kib,
        rss_at_end_kib,
    };
    world.beside.iter_mut().for_each(Beside::kill);
    world.demo.stop();
    seen
}
