//! How a gateway serves: it stops without breaking anything, has a bound on everything, and says what it is told
//! by whom.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fiscus_gateway::Gateway;
use fiscus_gateway::config::ServerTls;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use support::http::{Answer, Call};
use support::{LIMIT, Setup, World, sale, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the metrics tell of what went well.
const CREATED: &str = "fiscus_gateway_answers_total{class=\"2xx\"}";
/// Longer than a test lasts: what is to wait, waits.
const FOR_EVER_MS: u64 = 120_000;

/// A request whose body is still to come: it has a place until then.
async fn half_a_request(world: &World, body_bytes: usize, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.gateways[0].address()).await.expect("a connection");
    let head = format!(
        "POST /api/v1/invoices HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\
         idempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {body_bytes}\r\n\
         connection: close\r\nexpect: 100-continue\r\n\r\n",
        world.keys["owner"]
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    // The handler has asked for the body, so the request has its place.
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.expect("it is asked for");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await;
    read.expect("it ends").expect("it is not reset");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_gateway_is_not_ready_and_breaks_nothing() {
    let setup = Setup { configure: |config| config.limits.linger_ms = 1_500, ..Setup::default() };
    let mut world = World::start_with(setup).await;
    assert_eq!(world.admin(0, "/readyz").send().await.status, 200);
    let body = sale("outlet-gombe", 1_000).to_string();
    let mut slow = half_a_request(&world, body.len(), "slow").await;

    let (public, admin) = (world.gateways[0].address(), world.gateways[0].admin_address());
    let keys = world.keys.clone();
    let gateway = world.gateways.remove(0);
    let stopping = tokio::spawn(gateway.stop());
    let ready = || Call::new(admin, "GET", "/readyz", &keys).send();
    let refused = ready().await;
    assert_eq!((refused.status, &*refused.text()), (503, "the gateway is stopping\n"));
    // Whoever has not heard of it yet is still served.
    let late = Call::new(public, "GET", "/nothing", &keys).send().await;
    assert_eq!(late.code(), "ROUTE_UNKNOWN");
    let refuses = async {
        while TcpStream::connect(public).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, refuses).await.expect("it takes nothing new in the end");
    assert_eq!(ready().await.status, 503, "it says so until the last request has come to its end");
    slow.write_all(body.as_bytes()).await.expect("the request goes on");
    let answer = rest(slow).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    tokio::time::timeout(LIMIT, stopping).await.expect("it ends").expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_off_after_the_drain() {
    let setup = Setup { configure: |config| config.limits.drain_ms = 200, ..Setup::default() };
    let mut world = World::start_with(setup).await;
    let slow = half_a_request(&world, 10, "slow").await;
    tokio::time::timeout(LIMIT, world.gateways.remove(0).stop()).await.expect("it ends");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_bound_are_turned_away_at_once() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.requests_max = 2;
        config.limits.request_timeout_ms = FOR_EVER_MS;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let body = sale("outlet-gombe", 1_000).to_string();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(half_a_request(&world, body.len(), "slow").await);
    }
    for _ in 0..20 {
        let began = Instant::now();
        let refused = world.get("/api/v1/invoices/KIN-GOMBE-1").by("owner").send().await;
        assert_eq!((refused.status, &*refused.code()), (503, "OVERLOADED"));
        assert_eq!(refused.header("retry-after"), "1");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    assert_eq!(world.admin(0, "/healthz").send().await.status, 200, "health is not in the queue");
    // Those who were admitted are served as if nobody else were there.
    let mut first = held.remove(0);
    first.write_all(body.as_bytes()).await.expect("it is sent");
    assert!(rest(first).await.starts_with("HTTP/1.1 201"));
    let admitted = world.get("/nothing").send().await;
    assert_eq!(admitted.code(), "ROUTE_UNKNOWN", "its place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_told_as_such_and_not_as_doubt() {
    let setup =
        Setup { configure: |config| config.limits.request_timeout_ms = 600, ..Setup::default() };
    let world = World::start_with(setup).await;
    let answer = rest(half_a_request(&world, 10, "slow").await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"BODY_INCOMPLETE\""), "{answer}");
}

/// A batch of lines that goes on: its first item is answered, and another one may come.
async fn half_a_batch(world: &World, key: &str, outlet: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.gateways[0].address()).await.expect("a connection");
    let item = serde_json::json!({ "idempotency_key": "first", "invoice": sale(outlet, 100) });
    let item = format!("{item}\n");
    let head = format!(
        "POST /api/v1/invoices/batch HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\naccept: application/x-ndjson\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{item}\r\n",
        world.keys[key],
        item.len()
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut told = String::new();
    let reading = async {
        while !told.contains("\"status\":201") {
            let mut piece = [0; 4_096];
            let read = stream.read(&mut piece).await.expect("an answer");
            assert_ne!(read, 0, "{told}");
            told.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("the first item is answered");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_goes_on_has_its_places_until_its_end() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.requests_max = 2;
        config.limits.requests_per_organisation_max = 1;
        config.limits.batches_per_organisation_max = 1;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let kivu = half_a_batch(&world, "owner", "outlet-gombe").await;
    let ask = |by: &'static str| world.get("/api/v1/merchants").by(by).send();
    assert_eq!(ask("manager").await.expect(503).code(), "OVERLOADED", "its organisation's place");
    ask("other").await.expect(200);
    let lualaba = half_a_batch(&world, "other", "outlet-kenya").await;
    let all_taken = world.get("/nothing").send().await.expect(503);
    assert_eq!(all_taken.code(), "OVERLOADED", "the gateway's places");
    for mut batch in [kivu, lualaba] {
        batch.write_all(b"0\r\n\r\n").await.expect("there are no more items");
        rest(batch).await;
    }
    ask("manager").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organisations_batches_leave_places_for_the_others() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.batches_max = 2;
        config.limits.batches_per_organisation_max = 1;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let slow = half_a_batch(&world, "owner", "outlet-gombe").await;
    let item =
        |outlet: &str| serde_json::json!({ "idempotency_key": "k", "invoice": sale(outlet, 100) });
    let batch = |by: &'static str, outlet: &str| {
        let body = serde_json::json!({ "invoices": [item(outlet)] });
        world.post("/api/v1/invoices/batch").by(by).json(&body).send()
    };
    let refused = batch("manager", "outlet-limete").await.expect(503);
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("OVERLOADED", "1"));
    batch("other", "outlet-kenya").await.expect(200);
    drop(slow);
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Asks on and on until it is told to stop: how long it took each time that it was turned away.
async fn ask_on(
    address: SocketAddr,
    keys: Arc<Keys>,
    stopped: tokio::sync::watch::Receiver<bool>,
    count: Arc<AtomicUsize>,
) -> Vec<Duration> {
    let mut times = Vec::new();
    while !*stopped.borrow() {
        let began = Instant::now();
        let answer = Call::new(address, "GET", "/nothing", &keys).send().await;
        // When an admitted one has been answered, its place is free.
        if answer.status != 404 {
            assert_eq!((answer.status, answer.code().as_str()), (503, "OVERLOADED"));
            assert_eq!(answer.header("retry-after"), "1");
            times.push(began.elapsed());
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    times
}

/// How long an admitted request takes while others are turned away, against how long it takes when there are none;
/// in turns, so that whatever else the machine does is in both.
#[tokio::test(flavor = "multi_thread")]
async fn admitted_requests_do_not_wait_for_those_that_are_turned_away() {
    const ROUNDS: u32 = 15;
    const ASKING: usize = 4;
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.requests_max = 2;
        config.limits.request_timeout_ms = FOR_EVER_MS;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let (address, keys) = (world.gateways[0].address(), Arc::new(world.keys.clone()));
    let (mut quiet, mut crowded, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        let body = sale("outlet-gombe", 1_000 + round).to_string();
        let mut admitted = half_a_request(&world, body.len(), &round.to_string()).await;
        let other = half_a_request(&world, body.len(), "held").await;
        // Every place is taken: all that ask now are turned away.
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let count = Arc::new(AtomicUsize::new(0));
        let asking = if round % 2 == 0 { 0 } else { ASKING };
        let crowd: Vec<_> = (0..asking)
            .map(|_| tokio::spawn(ask_on(address, keys.clone(), stopped.clone(), count.clone())))
            .collect();
        let turned_away = || count.load(Ordering::Relaxed);
        until("others are turned away", || turned_away() >= 5 * asking).await;
        let began = Instant::now();
        admitted.write_all(body.as_bytes()).await.expect("it is sent");
        let answer = rest(admitted).await;
        let took = began.elapsed();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        stop.send_replace(true);
        for times in crowd {
            refused.extend(times.await.expect("no panic"));
        }
        let times = if asking == 0 { &mut quiet } else { &mut crowded };
        times.push(took);
        drop(other);
        let app = world.gateways[0].app();
        until("both places are free", || {
            let places = [app.admit(), app.admit()];
            places.iter().all(Option::is_some)
        })
        .await;
    }
    let turned_away = refused.len();
    let (quiet, crowded, refused) =
        (median(&mut quiet), median(&mut crowded), median(&mut refused));
    let ratio = |time: Duration| time.as_secs_f64() / quiet.as_secs_f64();
    println!(
        "an admitted sale takes {quiet:?} alone and {crowded:?} ({:.2} times) while {ASKING} ask on and on; {turned_away} \
         were turned away, each within {refused:?} ({:.2} times)",
        ratio(crowded),
        ratio(refused),
    );
    assert!(ratio(crowded) < 10.0, "it waits for nobody");
    assert!(ratio(refused) < 10.0, "and they are told at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.connections_max = 1;
        config.limits.head_timeout_ms = FOR_EVER_MS;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let held = half_a_request(&world, 10, "slow").await;
    let waiting = tokio::spawn({
        let keys = world.keys.clone();
        let address = world.gateways[0].address();
        async move { Call::new(address, "GET", "/nothing", &keys).send().await }
    });
    let metrics = world.admin(0, "/metrics").send().await;
    assert_eq!(metrics.status, 200, "the admin listener has places of its own");
    assert!(!waiting.is_finished());
    drop(held);
    let served = tokio::time::timeout(LIMIT, waiting).await.expect("its turn comes");
    assert_eq!(served.expect("no panic").code(), "ROUTE_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let setup =
        Setup { configure: |config| config.limits.head_timeout_ms = 300, ..Setup::default() };
    let world = World::start_with(setup).await;
    for begun in ["", "GET /api/v1/inv", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let address = world.gateways[0].address();
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(begun.as_bytes()).await.expect("it is sent");
        let mut sink = Vec::new();
        let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut sink)).await;
        assert!(ended.is_ok(), "it is closed: {begun:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_goes_on_is_let_go() {
    let configure = |config: &mut fiscus_gateway::config::GatewayConfig| {
        config.limits.head_timeout_ms = FOR_EVER_MS;
        config.limits.idle_timeout_ms = 300;
    };
    let world = World::start_with(Setup { configure, ..Setup::default() }).await;
    let mut batch = half_a_batch(&world, "owner", "outlet-gombe").await;
    let mut idle = TcpStream::connect(world.gateways[0].address()).await.expect("a connection");
    idle.write_all(b"GET /nothing HTTP/1.1\r\nhost: gateway\r\n\r\n").await.expect("it is sent");
    let answer = rest(idle).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "it is closed after its answer: {answer}");
    // The batch has been silent for longer, and is still answered.
    batch.write_all(b"0\r\n\r\n").await.expect("there are no more items");
    assert!(rest(batch).await.ends_with("0\r\n\r\n"), "it comes to its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_spoken_to_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["gateway.test".to_owned()];
    let cert = rcgen::CertificateParams::new(names).expect("a name").self_signed(&key);
    let cert = cert.expect("a certificate").der().clone();
    let files =
        ServerTls { cert: dir.path().join("gateway.pem"), key: dir.path().join("gateway.key") };
    std::fs::write(&files.cert, pem("CERTIFICATE", &cert)).expect("it is written");
    std::fs::write(&files.key, pem("PRIVATE KEY", &key.serialize_der())).expect("it is written");
    let mut world = World::start().await;
    let mut config = world.config();
    config.tls = Some(files);
    let gateway = Gateway::start(config).await.expect("it starts");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).expect("it is one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(gateway.address()).await.expect("a connection");
    let name = ServerName::try_from("gateway.test").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = connector.connect(name, stream).await.expect("it proves who it is");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = hyper::Request::get("/nothing").header("host", "gateway.test");
    let request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 404);
    answer.into_body().collect().await.expect("a body");

    let plain = Call::new(gateway.address(), "GET", "/nothing", &world.keys).try_send().await;
    assert!(plain.is_err(), "nothing is said in the clear: {plain:?}");
    world.gateways.push(gateway);
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = fiscus_ledger::base64::encode_standard(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_as_prometheus_reads_them() {
    let world = World::start().await;
    world.get("/nothing").send().await.expect(404);
    let told = world.admin(0, "/metrics").send().await.expect(200);
    assert_eq!(told.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = told.text();
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if let ["#", "TYPE", name, kind] = words[..] {
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(described.insert(name), "{name} is described twice");
        } else if let ["#", "HELP", _, help] = words[..] {
            assert!(help.ends_with('.'), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = sample.split('{').next().expect("a name");
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = described.contains(name) || stem.is_some_and(|s| described.contains(s));
            assert!(known, "{line} stands before its description");
            let whose = ["fiscus_gateway_", "fiscus_delivery_"];
            assert!(whose.iter().any(|prefix| name.starts_with(prefix)), "{line}");
        }
    }
    assert!(text.contains("fiscus_gateway_answers_total{class=\"4xx\"} 1"), "{text}");
    assert!(text.contains("fiscus_gateway_problems_total{code=\"OVERLOADED\"} 0"), "{text}");
    assert!(text.contains("fiscus_gateway_places_taken 0"), "{text}");
    promtool(&text);
}

/// What Prometheus itself says.
fn promtool(text: &str) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut command = Command::new("promtool");
    let started = command.args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
    let mut child = started.expect("promtool is there: tests/setup.sh installs it");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

/// Seals under one new key after another until one has no clear answer: that key, its price, and the problem.
async fn seal_until_in_doubt(till: u32, address: SocketAddr, keys: Keys) -> (u32, Answer) {
    for price in (1_000 * till..).take(1_000) {
        let answer = seal(address, &keys, price).await;
        match answer.status {
            201 => {}
            503 => return (price, answer),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    panic!("the cluster goes on");
}

type Keys = std::collections::BTreeMap<&'static str, String>;

/// Seals an invoice whose price is its key.
async fn seal(address: SocketAddr, keys: &Keys, price: u32) -> Answer {
    let call = Call::new(address, "POST", "/api/v1/invoices", keys).by("owner");
    call.idempotent(&price.to_string()).json(&sale("outlet-gombe", price)).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_gone_is_told_within_the_time_limit() {
    let setup = Setup {
        nodes: 3,
        configure: |config| config.limits.request_timeout_ms = 4_000,
        ..Setup::default()
    };
    let mut world = World::start_with(setup).await;
    let (address, keys) = (world.gateways[0].address(), world.keys.clone());
    seal(address, &keys, 1).await.expect(201);
    let tills: Vec<_> = (1..=4)
        .map(|till| tokio::spawn(seal_until_in_doubt(till, address, keys.clone())))
        .collect();
    // The leader stays, and holds what it cannot commit.
    let leader = world.cluster.leader(1).await;
    for id in (1..=3).filter(|id| *id != leader) {
        world.cluster.kill_node(id).await;
    }
    let mut doubtful = Vec::new();
    for till in tills {
        let (price, answer) = till.await.expect("no panic");
        let code = answer.code();
        let known = ["OUTCOME_UNKNOWN", "CLUSTER_UNAVAILABLE", "CLUSTER_BUSY"];
        assert!(known.contains(&&*code), "{code}");
        assert_ne!(answer.header("retry-after"), "");
        doubtful.push((price, code));
    }
    assert!(doubtful.iter().any(|(_, code)| code == "OUTCOME_UNKNOWN"), "{doubtful:?}");
    let began = Instant::now();
    let read = world.get("/api/v1/invoices/KIN-GOMBE-1").by("owner").send().await;
    assert_eq!((read.status, &*read.code()), (503, "CLUSTER_UNAVAILABLE"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    world.cluster.kill_node(leader).await;
    let surely_not = seal(address, &keys, 7).await;
    assert_eq!((surely_not.status, &*surely_not.code()), (503, "CLUSTER_UNAVAILABLE"));

    for id in 1..=3 {
        world.cluster.start_node(id).await;
    }
    for (price, code) in doubtful {
        let waiting = async {
            loop {
                let answer = seal(address, &keys, price).await;
                if answer.status != 503 {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let clear = tokio::time::timeout(LIMIT, waiting).await.expect("it is clear in the end");
        assert!([200, 201].contains(&clear.status), "{code}: {}", clear.text());
        let again = seal(address, &keys, price).await.expect(200);
        assert_eq!(again.body, clear.body, "it was sealed once");
    }
}

/// So often a leader is cut off, until something was on its way to its followers.
const ROUNDS_MAX: u32 = 5;

/// Registers one merchant after another until one has no clear answer: its number, and the problem's code.
async fn register_until_in_doubt(
    desk: String,
    address: SocketAddr,
    keys: Keys,
) -> (String, String) {
    for number in 0..10_000 {
        let nif = format!("{desk}-{number}");
        let answer = register(address, &keys, &nif).await;
        match answer.status {
            201 => {}
            503 => return (nif, answer.code()),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    panic!("the cluster goes on");
}

/// Registers a merchant whose number is its key.
async fn register(address: SocketAddr, keys: &Keys, nif: &str) -> Answer {
    let call = Call::new(address, "POST", "/api/v1/merchants", keys).by("owner").idempotent(nif);
    call.json(&serde_json::json!({ "nif": nif, "name": "Douteux SARL" })).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_registry_in_doubt_is_told_so_and_made_once() {
    let setup = Setup {
        nodes: 3,
        configure: |config| config.limits.request_timeout_ms = 4_000,
        ..Setup::default()
    };
    let mut world = World::start_with(setup).await;
    // A request that the leader had not yet taken when it was cut off was surely not done: then once more.
    for round in 0..ROUNDS_MAX {
        let doubtful = cut_off_while_desks_register(&mut world, round).await;
        registered_once(&world, &doubtful).await;
        if doubtful.iter().any(|(_, code)| code == "OUTCOME_UNKNOWN") {
            return;
        }
    }
    panic!("nothing was on its way in {ROUNDS_MAX} rounds");
}

/// Takes the leader of the directory its majority while eight desks register: what each was in doubt of, and its
/// problem's code. The majority is back then.
async fn cut_off_while_desks_register(world: &mut World, round: u32) -> Vec<(String, String)> {
    let (address, keys) = (world.gateways[0].address(), world.keys.clone());
    let app = world.gateways[0].app();
    let created = || -> u64 {
        let known = app.metrics().exposition();
        let answered = known.lines().find_map(|line| line.strip_prefix(CREATED));
        answered.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    let before = created();
    let desks: Vec<_> = (0..8)
        .map(|desk| format!("D{round}{desk}"))
        .map(|desk| tokio::spawn(register_until_in_doubt(desk, address, keys.clone())))
        .collect();
    until("each desk registers", || created() >= before + 16).await;
    // The leader stays, and holds what it cannot commit.
    let leader = world.cluster.leader(0).await;
    for id in (1..=3).filter(|id| *id != leader) {
        world.cluster.kill_node(id).await;
    }
    let mut doubtful = Vec::new();
    for desk in desks {
        doubtful.push(desk.await.expect("no panic"));
    }
    let codes = ["OUTCOME_UNKNOWN", "CLUSTER_UNAVAILABLE", "CLUSTER_BUSY"];
    assert!(doubtful.iter().all(|(_, code)| codes.contains(&code.as_str())), "{doubtful:?}");
    for id in (1..=3).filter(|id| *id != leader) {
        world.cluster.start_node(id).await;
    }
    doubtful
}

/// Asked again, each is registered once, with one line in the log of actions.
async fn registered_once(world: &World, doubtful: &[(String, String)]) {
    let (address, keys) = (world.gateways[0].address(), &world.keys);
    for (nif, code) in doubtful {
        let waiting = async {
            loop {
                let answer = register(address, keys, nif).await;
                if answer.status != 503 {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let clear = tokio::time::timeout(LIMIT, waiting).await.expect("it is clear in the end");
        assert!([200, 201].contains(&clear.status), "{nif} {code}: {}", clear.text());
        let again = register(address, keys, nif).await.expect(200);
        assert_eq!(again.body, clear.body, "{nif} is registered once");
        let path = format!("/api/v1/audit/actions?action=merchant.create&object_id={nif}");
        let log = world.get(&path).by("auditor").send().await.expect(200).json();
        assert_eq!(log["data"].as_array().expect("lines").len(), 1, "{nif} has one line: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_before_its_cluster() {
    let mut world = World::start_with(Setup { gateways: 0, ..Setup::default() }).await;
    world.cluster.stop_node(1).await;
    let mut config = world.config();
    config.limits.request_timeout_ms = 2_000;
    let gateway = Gateway::start(config).await.expect("it starts though nobody answers");
    world.gateways.push(gateway);
    let early = world.admin(0, "/readyz").send().await;
    assert_eq!((early.status, &*early.text()), (503, "the directory is not known yet\n"));
    let told = world.get("/api/v1/invoices/KIN-GOMBE-1").by("owner").send().await;
    assert_eq!((told.status, &*told.code()), (503, "CLUSTER_UNAVAILABLE"));
    world.cluster.start_node(1).await;
    let app = world.gateways[0].app();
    until("the directory is known", || app.directory_state().0).await;
    assert_eq!(world.admin(0, "/readyz").send().await.status, 200);
    let sealed = world.post("/api/v1/invoices").by("owner").idempotent("first");
    sealed.json(&sale("outlet-gombe", 1_000)).send().await.expect(201);
}
