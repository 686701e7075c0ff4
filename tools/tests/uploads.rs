//! Uploads while gateways, the leader and the tax authority's control module die, and the module loses answers and
//! gives wrong ones: afterwards it holds every invoice exactly once, in order per outlet, and both sides agree.
//!
//! `FISCUS_UPLOAD_SECONDS=300` makes the trouble longer, `FISCUS_SEED=7` another one.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fiscus_gateway::directory::documents::kind;
use fiscus_proto::ledger::{Consistency, ReadDocumentRequest};
use serde_json::{Value, json};
use support::gateway::{Beside, call, ready};
use support::webhooks::rss_kib;
use support::{Demo, UPLOADS, fresh, signal, until};

const SALE: &str = include_str!("../../docs/samples/sale.json");
const OUTLETS: [&str; 2] = ["outlet-gombe", "outlet-limete"];
const TILLS: usize = 4;
/// Everything is settled within this time after the trouble.
const SETTLED: Duration = Duration::from_secs(90);

#[allow(clippy::disallowed_methods, reason = "a failure is repeated by naming its seed")]
fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

struct World {
    demo: Demo,
    mcf: SocketAddr,
}

impl World {
    fn start(name: &str) -> Self {
        let demo = Demo::start_with(&fresh(name), &[UPLOADS]);
        let url = std::fs::read_to_string(demo.dir.join("mcf/url")).expect("where it is");
        let mcf = url.trim().strip_prefix("http://").expect("a URL").parse().expect("an address");
        Self { demo, mcf }
    }

    async fn fail(&self, faults: Value) {
        let asked = async {
            loop {
                let said = call(self.mcf, "POST", "/admin/faults")
                    .body("application/json", faults.to_string())
                    .try_send()
                    .await;
                if said.is_ok_and(|said| said.status == 200) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(SETTLED, asked).await.expect("the control module answers");
    }

    /// What the control module holds, by outlet, in the order of arrival: number, position, id.
    async fn held(&self) -> BTreeMap<String, Vec<(String, u64, String)>> {
        let said = call(self.mcf, "GET", "/admin/held").send().await.json();
        let outlets = said["outlets"].as_object().expect("outlets").clone();
        let text = |held: &Value, name: &str| held[name].as_str().expect("a text").to_owned();
        let one = |held: &Value| {
            (
                text(held, "fiscal_number"),
                held["position"].as_u64().expect("a position"),
                text(held, "id"),
            )
        };
        let all = outlets.into_iter().map(|(outlet, held)| {
            (outlet, held.as_array().expect("a list").iter().map(one).collect())
        });
        all.collect()
    }

    /// Every invoice of an outlet: its number and how far it is.
    async fn statuses(&self, outlet: &str) -> BTreeMap<String, String> {
        let (mut all, mut cursor) = (BTreeMap::new(), String::new());
        loop {
            let path = format!("/api/v1/invoices?outlet_id={outlet}&limit=500&sort=time{cursor}");
            let page = self.demo.ask("GET", &path).send().await.json();
            for invoice in page["data"].as_array().expect("a page") {
                let text = |name: &str| invoice[name].as_str().expect("a text").to_owned();
                all.insert(text("fiscal_number"), text("dgi_status"));
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    async fn queue(&self, outlet: &str) -> u64 {
        let path = format!("/api/v1/outlets/{outlet}/status");
        let said = self.demo.ask("GET", &path).try_send().await;
        let known = said.ok().filter(|said| said.status == 200);
        known.map_or(u64::MAX, |said| said.json()["upload"]["queued"].as_u64().unwrap_or(u64::MAX))
    }

    async fn settle(&self) {
        let began = Instant::now();
        for outlet in OUTLETS {
            while self.queue(outlet).await > 0 {
                let queue = self.queue(outlet).await;
                assert!(began.elapsed() < SETTLED, "{queue} invoices of {outlet} wait still");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    async fn sell(&self, outlet: &str, key: &str) -> Value {
        let sale = SALE.replace("outlet-gombe", outlet);
        let asked = self.demo.ask("POST", "/api/v1/invoices").idempotent(key);
        let answer = asked.body("application/json", sale).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    async fn status(&self, number: &str) -> Value {
        self.demo.ask("GET", &format!("/api/v1/invoices/{number}")).send().await.json()
    }

    async fn comes_to(&self, number: &str, status: &str) -> Value {
        let began = Instant::now();
        loop {
            let invoice = self.status(number).await;
            if invoice["dgi_status"] == status {
                return invoice;
            }
            assert!(began.elapsed() < SETTLED, "{number} is {}", invoice["dgi_status"]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Sells until it is told to stop, through whichever gateway answers.
async fn trade(
    gateways: [SocketAddr; 3],
    key: String,
    till: usize,
    stop: Arc<AtomicBool>,
    sold: Arc<AtomicUsize>,
) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let sale = SALE.replace("outlet-gombe", OUTLETS[till % OUTLETS.len()]);
        for turn in 0.. {
            let asked = call(gateways[(till + turn) % 3], "POST", "/api/v1/invoices")
                .bearer(&key)
                .idempotent(&format!("till-{till}-{number}"))
                .body("application/json", sale.clone())
                .try_send()
                .await;
            if asked.is_ok_and(|said| [200, 201].contains(&said.status)) {
                break;
            }
            if turn > 3 && stop.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        sold.fetch_add(1, Ordering::Relaxed);
        number += 1;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tax_authority_has_every_invoice_once_and_in_order_whatever_dies() {
    let world = World::start("uploads-chaos");
    let mut first = Beside::start(&world.demo.dir).await;
    let mut second = Beside::start(&world.demo.dir).await;
    let seed = number_from("FISCUS_SEED", 1);
    world
        .fail(json!({
            "lose_answer": 15, "wrong_id": 3, "wrong_hash": 3, "missing": 3, "extra": 3,
            "status": 503, "status_percent": 8, "retry_percent": 1, "slow_ms": 20, "seed": seed,
        }))
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let sold = Arc::new(AtomicUsize::new(0));
    let gateways = [world.demo.gateway_address(), first.address, second.address];
    let tills: Vec<_> = (0..TILLS)
        .map(|till| {
            let key = world.demo.api_key.clone();
            tokio::spawn(trade(gateways, key, till, Arc::clone(&stop), Arc::clone(&sold)))
        })
        .collect();
    let trouble = Duration::from_secs(number_from("FISCUS_UPLOAD_SECONDS", 16));
    let (began, mut blows) = (Instant::now(), seed);
    while began.elapsed() < trouble {
        tokio::time::sleep(Duration::from_millis(1_600)).await;
        match blows % 5 {
            0 => world.demo.kill_gateway(),
            1 => first.restart(),
            2 => world.demo.leader(1).into_iter().for_each(|leader| world.demo.kill(leader)),
            // It loses its memory, not what it has synced.
            3 => world.demo.mcf_pid().into_iter().for_each(|pid| signal("KILL", pid)),
            _ => second.restart(),
        }
        blows += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for till in tills {
        till.await.expect("a till does not break");
    }
    world.fail(json!({})).await;
    world.settle().await;
    let sold = sold.load(Ordering::Relaxed);
    assert!(sold > 50, "only {sold} were sold");

    let held = world.held().await;
    let mut ids = BTreeSet::new();
    for outlet in OUTLETS {
        let statuses = world.statuses(outlet).await;
        let held = held.get(outlet).cloned().unwrap_or_default();
        assert!(held.iter().all(|(_, _, id)| ids.insert(id.clone())), "an id is held twice");
        let places: Vec<u64> = held.iter().map(|(_, position, _)| *position).collect();
        assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{outlet}: {places:?}");
        let numbers: BTreeSet<&String> = held.iter().map(|(number, _, _)| number).collect();
        assert_eq!(numbers, statuses.keys().collect(), "{outlet}");
        assert!(statuses.values().all(|status| status == "acknowledged"), "{statuses:?}");
    }
    println!("{sold} sold in {trouble:?}, {} held, seed {seed}", ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_invoice_says_why_and_is_sent_again_when_somebody_asks() {
    let world = World::start("uploads-refused");
    let outlet = OUTLETS[0];
    let number = |invoice: &Value| invoice["fiscal_number"].as_str().expect("a number").to_owned();
    let before = number(&world.sell(outlet, "one").await);
    world.comes_to(&before, "acknowledged").await;
    let (series, sequence) = before.rsplit_once('-').expect("a series");
    let next = sequence.parse::<u64>().expect("a sequence") + 1;
    let expected = format!("{series}-{next}");
    world.fail(json!({"reject_suffix": expected, "reject_code": "NIF_UNKNOWN"})).await;
    let refused = number(&world.sell(outlet, "two").await);
    assert_eq!(refused, expected);
    let invoice = world.comes_to(&refused, "rejected").await;
    assert_eq!(invoice["dgi_refusal"]["code"], "NIF_UNKNOWN");
    let after = number(&world.sell(outlet, "three").await);
    world.comes_to(&after, "acknowledged").await;
    let listed = world.demo.ask("GET", "/api/v1/invoices?dgi_status=rejected").send().await.json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");

    world.fail(json!({})).await;
    let (done, said) = support::admin(
        &world.demo.dir,
        &format!("uploads retry --outlet {outlet} --invoice {refused} --yes --json"),
    );
    assert!(done, "{said}");
    world.comes_to(&refused, "acknowledged").await;
    let (done, said) = support::admin(&world.demo.dir, "uploads status --json");
    assert!(done && said.contains("\"queued\":0"), "{said}");
    let held = world.held().await;
    assert_eq!(held[outlet].iter().filter(|(number, _, _)| *number == refused).count(), 1);

    // And so is what a whole region was refused.
    let next = format!("{series}-{}", next + 2);
    world.fail(json!({"reject_suffix": next, "reject_code": "NIF_UNKNOWN"})).await;
    assert_eq!(number(&world.sell(outlet, "four").await), next);
    world.comes_to(&next, "rejected").await;
    world.fail(json!({})).await;
    let region = world.demo.ask("GET", &format!("/api/v1/outlets/{outlet}")).send().await.json();
    let region = region["region_id"].as_str().or(region["region"].as_str()).expect("a region");
    let retried = world.demo.ask("POST", &format!("/api/v1/regions/{region}/upload"));
    assert_eq!(retried.send().await.json()["invoices"], 1);
    world.comes_to(&next, "acknowledged").await;
    let none = world.demo.ask("POST", "/api/v1/regions/nowhere/upload").send().await;
    assert_eq!((none.status, &none.json()["code"]), (404, &json!("REGION_UNKNOWN")));

    let next = format!("{series}-{}", sequence.parse::<u64>().expect("a sequence") + 4);
    retried_by_operators(&world, &next, region).await;
}

/// The operator's way is for all organisations. `next` is the number of the next sale.
async fn retried_by_operators(world: &World, next: &str, region: &str) {
    let outlet = OUTLETS[0];
    world.fail(json!({"reject_suffix": next, "reject_code": "NIF_UNKNOWN"})).await;
    assert_eq!(world.sell(outlet, "five").await["fiscal_number"], next);
    world.comes_to(next, "rejected").await;
    world.fail(json!({})).await;
    let retry = |what: &str| {
        let (done, said) = support::admin(&world.demo.dir, &format!("uploads retry {what} --json"));
        let line = said.lines().find(|line| line.starts_with('{')).unwrap_or("null").to_owned();
        (done, serde_json::from_str::<Value>(&line).expect(&said))
    };
    let (done, said) = retry(&format!("--region {region}"));
    assert!(!done && said["code"] == "NOT_CONFIRMED", "{said}");
    assert_eq!(world.status(next).await["dgi_status"], "rejected", "nobody has agreed");
    for again in [1, 0] {
        let (done, said) = retry(&format!("--region {region} --yes"));
        assert!(done && said["invoices"] == again, "{said}");
        let outlets = said["outlets"].as_array().expect("outlets");
        assert_eq!(outlets.first().map(|it| &it["outlet"]), (again > 0).then_some(&json!(outlet)));
    }
    world.comes_to(next, "acknowledged").await;
    let (done, said) = retry("--region nowhere --yes");
    assert!(!done && said["code"] == "REGION_UNKNOWN", "{said}");
    for wrong in [
        "--yes",
        "--region kinshasa --outlet outlet-gombe --yes",
        "--region kinshasa --invoice KIN-GOMBE-1 --yes",
    ] {
        let (done, said) = support::admin(&world.demo.dir, &format!("uploads retry {wrong}"));
        assert!(!done && said.contains("Usage:"), "{wrong}: {said}");
    }
}

/// `fiscus webhook listen`, as an integrator has it.
struct Listener {
    child: Child,
    told: Arc<std::sync::Mutex<Vec<Value>>>,
}

impl Listener {
    fn start(port: u16, secret: &str) -> Self {
        let listen = format!("127.0.0.1:{port}");
        let mut child = support::fiscus()
            .args(["webhook", "listen", "--secret", secret, "--listen", &listen])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (lines, telling) = (child.stdout.take().expect("its output"), Arc::clone(&told));
        // It ends with the listener.
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of JSON");
                telling.lock().expect("whole").push(line);
            }
        });
        Self { child, told }
    }

    /// What has come, each message once.
    fn told(&self) -> Vec<Value> {
        let mut ids = BTreeSet::new();
        let told = self.told.lock().expect("whole").clone();
        let new = |one: &Value| ids.insert(one["webhook_id"].to_string());
        told.into_iter().filter(new).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has the gateway take a second for the grace period, and two for what lasts.
async fn alarm_soon(demo: &Demo) {
    let config = demo.dir.join("gateway/gateway.toml");
    let text = std::fs::read_to_string(&config).expect("its configuration");
    let mut quick = text.clone();
    for (name, long, short) in
        [("grace_ms", "86400000", "1000"), ("alert_after_ms", "75000", "2000")]
    {
        let (long, short) = (format!("{name} = {long}\n"), format!("{name} = {short}\n"));
        assert!(text.contains(&long), "{long} is not in {text}");
        quick = quick.replace(&long, &short);
    }
    std::fs::write(&config, quick).expect("it is written");
    demo.kill_gateway();
    ready(demo.gateway_admin()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invoices_that_wait_for_longer_than_the_grace_period_are_told_once_and_again_when_it_comes_back()
 {
    let world = World::start("uploads-overdue");
    alarm_soon(&world.demo).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let url = format!("http://127.0.0.1:{port}/in");
    let body = json!({"url": url, "events": ["invoice.sync.overdue"]});
    let made = world.demo.ask("POST", "/api/v1/webhooks").idempotent("one").json(&body);
    let made = made.send().await.expect(201).json();
    let listener = Listener::start(port, made["secret"].as_str().expect("a secret"));
    // The demonstration has sold, too.
    let done = "\"ok\":true,\"queued\":0,";
    let all_done = || support::admin(&world.demo.dir, "uploads status --json").1.contains(done);
    until("nothing waits", SETTLED, all_done).await;
    let told = |wanted: usize| {
        let what = format!("{wanted} are told");
        let listener = &listener;
        async move { until(&what, SETTLED, || listener.told().len() >= wanted).await }
    };

    world.fail(json!({"down_ms": 3_600_000_u64})).await;
    let first = world.sell(OUTLETS[0], "one").await;
    world.sell(OUTLETS[0], "two").await;
    told(1).await;
    // Whichever gateway looks next, and however many wait, it was told.
    world.demo.kill_gateway();
    ready(world.demo.gateway_admin()).await;
    let other = world.sell(OUTLETS[1], "three").await;
    told(2).await;
    world.fail(json!({})).await;
    world.settle().await;
    // That it is over must have lasted as well, before it is told anew.
    let client = world.demo.client().await;
    let begun = Instant::now();
    loop {
        let request = ReadDocumentRequest {
            kind: kind::DELIVERY_ALERTS.to_owned(),
            id: "org-kivu-retail".to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        let known = client.read_document(request, SETTLED).await.expect("an answer").document;
        let known: Value = serde_json::from_slice(&known.expect("alerts").bytes).expect("JSON");
        if known["open"] == json!({}) {
            break;
        }
        assert!(begun.elapsed() < SETTLED, "{known}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.fail(json!({"down_ms": 3_600_000_u64})).await;
    let again = world.sell(OUTLETS[0], "four").await;
    told(3).await;

    let all = listener.told();
    assert_eq!(all.len(), 3, "{all:?}");
    for (one, (outlet, sealed)) in
        all.iter().zip([(OUTLETS[0], &first), (OUTLETS[1], &other), (OUTLETS[0], &again)])
    {
        assert_eq!((&one["verified"], &one["answered"]), (&json!(true), &json!(204)));
        let message = &one["message"];
        assert_eq!(message["type"], "invoice.sync.overdue");
        let (data, number) = (&message["data"], sealed["fiscal_number"].as_str());
        assert_eq!((&data["outlet_id"], &data["since"]), (&json!(outlet), &sealed["timestamp"]));
        let branch = number.and_then(|number| number.rsplit_once('-')).map(|(branch, _)| branch);
        assert_eq!(data["branch"].as_str(), branch);
    }
}

/// `FISCUS_UPLOAD_QUEUE=100000 cargo test -p fiscus-tools --test uploads a_long_queue -- --nocapture` measures a larger one.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_is_sent_within_the_limit_when_the_outage_is_over() {
    let world = World::start("uploads-queue");
    let wanted = number_from("FISCUS_UPLOAD_QUEUE", 600);
    world.fail(json!({"down_ms": 3_600_000_u64})).await;
    let began = Instant::now();
    let mut sealed = 0;
    while sealed < wanted {
        let count = (wanted - sealed).min(500);
        let invoices: Vec<Value> = (0..count)
            .map(|at| {
                let outlet = OUTLETS[usize::try_from(at).expect("small") % OUTLETS.len()];
                let sale = SALE.replace("outlet-gombe", outlet);
                let invoice: Value = serde_json::from_str(&sale).expect("a sale");
                json!({"invoice": invoice})
            })
            .collect();
        let answer = world
            .demo
            .ask("POST", "/api/v1/invoices/batch")
            .idempotent(&format!("queue-{sealed}"))
            .body("application/json", json!({"invoices": invoices}).to_string())
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        sealed += count;
    }
    let (took, before) =
        (began.elapsed(), world.held().await.values().map(Vec::len).sum::<usize>());
    let memory = || world.demo.gateway_pid().map_or(0, rss_kib);
    let memory_before = memory();
    world.fail(json!({})).await;
    let began = Instant::now();
    let limit = Duration::from_secs(120 + wanted / 50);
    let (mut apart, mut memory_most) = (0, 0);
    loop {
        let (first, second) = (world.queue(OUTLETS[0]).await, world.queue(OUTLETS[1]).await);
        if first == 0 && second == 0 {
            break;
        }
        if first < u64::MAX && second < u64::MAX {
            apart = apart.max(first.abs_diff(second));
        }
        memory_most = memory_most.max(memory());
        assert!(began.elapsed() < limit, "{first} and {second} wait still");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let drained = began.elapsed();
    let of_outlets = world.held().await;
    for (outlet, held) in &of_outlets {
        let places: Vec<u64> = held.iter().map(|(_, position, _)| *position).collect();
        assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{outlet}: in their order, once");
    }
    let held: usize = of_outlets.values().map(Vec::len).sum();
    assert!(
        held as u64 >= wanted && held - before >= usize::try_from(wanted).expect("it fits") / 2
    );
    // They have as many and take turns, a batch of a hundred each, while two questions are asked.
    assert!(apart <= 400, "one outlet is {apart} invoices ahead of the other");
    assert!(memory_most <= memory_before + 64 * 1024, "{memory_before} to {memory_most} KiB");
    // 200 a second and what a second allows at once, whatever waits.
    let least = (held - before).saturating_sub(300) as u64 * 1_000 / 200;
    assert!(drained.as_millis() as u64 >= least, "{} in {drained:?}", held - before);
    println!(
        "{wanted} sealed in {took:.1?}, {} uploaded in {drained:.1?}, {:.1} a second; at most {apart} apart; the gateway \
         has {memory_before} KiB before and at most {memory_most} KiB",
        held - before,
        (held - before) as f64 / drained.as_secs_f64()
    );
}
