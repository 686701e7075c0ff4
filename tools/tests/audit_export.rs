//! An audit export whose client breaks off again and again while leaders and gateways are killed: it goes
//! on where it was, at whichever gateway there is, and what it wrote down holds.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::auditor::{trust, verify};
use support::gateway::{Beside, call};
use support::{Demo, fresh};

const SALE: &str = include_str!("../../docs/samples/sale.json");
const OUTLET: &str = "outlet-limete";
/// More than two chunks of the export.
const BATCHES: usize = 3;
const BATCH: usize = 750;
/// Between two tries of what a dead gateway or a missing leader did not answer.
const AGAIN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);

fn sale(key: &str) -> Value {
    let text = SALE.replace("outlet-gombe", OUTLET).replace("RIZ-25", key);
    serde_json::from_str(&text).expect("the sample is JSON")
}

/// What a client needs to find its way on.
struct Auditor {
    key: String,
    gateways: [SocketAddr; 2],
    turn: usize,
    doubts: u32,
}

impl Auditor {
    fn gateway(&self) -> SocketAddr {
        self.gateways[self.turn % 2]
    }

    /// Asks until there is an answer.
    async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "{method} {path}: no answer");
            let mut asked = call(self.gateway(), method, path).bearer(&self.key);
            if let Some(body) = body {
                asked = asked.idempotent("export-under-fire").json(body);
            } else if method == "POST" {
                asked = asked.idempotent(path.rsplit('/').nth(1).expect("a path with a chunk"));
            }
            match asked.try_send().await {
                Ok(answer) if answer.status < 300 => return (answer.status, answer.text()),
                Ok(answer) => assert_eq!(answer.status, 503, "{path}: {}", answer.text()),
                Err(_) => {}
            }
            self.doubts += 1;
            self.turn += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Asks for a chunk, reads the beginning of it, and is gone.
    fn break_off(&self, path: &str) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.gateway(),
            self.key
        );
        let Ok(mut stream) = TcpStream::connect(self.gateway()) else { return };
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket has a limit");
        let mut beginning = [0; 4096];
        // A gateway that was just killed does not answer; then there is nothing to break off.
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut beginning));
    }
}

/// Sells a batch through a gateway that nobody kills.
async fn sell(gateway: SocketAddr, key: &str, batch: usize) {
    let names = (0..BATCH).map(|at| format!("B{batch}-{at}"));
    let items: Vec<Value> =
        names.map(|name| json!({"idempotency_key": name, "invoice": sale(&name)})).collect();
    let sold = call(gateway, "POST", "/api/v1/invoices/batch").bearer(key);
    let sold = sold.json(&json!({"invoices": items})).send().await;
    assert_eq!(sold.status, 200, "{}", sold.text());
}

fn verify_export(dir: &Path, file: &str) -> (i32, Value) {
    verify(dir, &["export", file])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_while_leaders_and_gateways_die() {
    let demo = Demo::start(&fresh("audit-export"));
    trust(&demo).await;
    let mut beside = Beside::start(&demo.dir).await;
    for batch in 0..BATCHES {
        sell(demo.gateway_address(), &demo.api_key, batch).await;
    }
    let gateways = [demo.gateway_address(), beside.address];
    let mut auditor = Auditor { key: demo.api_key.clone(), gateways, turn: 0, doubts: 0 };
    let asked = json!({"outlet_id": OUTLET});
    let (_, begun) = auditor.ask("POST", "/api/v1/audit/export", Some(&asked)).await;
    let begun: Value = serde_json::from_str(&begun).expect("an export");
    let (id, chunks) = (begun["export_id"].as_str().expect("an id"), begun["chunks"].as_u64());
    assert!(chunks >= Some(3), "{begun}");

    let (mut file, mut written, mut blows) = (String::new(), 0, 0_u32);
    loop {
        // It remembers nothing but the id: where it goes on is asked for.
        let state = format!("/api/v1/audit/export/{id}");
        let (_, state) = auditor.ask("GET", &state, None).await;
        let state: Value = serde_json::from_str(&state).expect("an export");
        let Some(next) = state["next_chunk"].as_u64() else { break };
        assert_eq!(next, written, "what was acknowledged was written");
        let path = format!("/api/v1/audit/export/{id}/chunks/{next}");
        auditor.break_off(&path);
        match blows % 3 {
            0 => demo.leader(1).into_iter().for_each(|leader| demo.kill(leader)),
            1 => demo.kill_gateway(),
            _ => beside.restart(),
        }
        blows += 1;
        auditor.break_off(&path);
        let (_, chunk) = auditor.ask("GET", &path, None).await;
        let (_, again) = auditor.ask("GET", &path, None).await;
        assert!(chunk == again, "chunk {next} has other bytes the second time");
        file.push_str(&chunk);
        file.push('\n');
        written += 1;
        auditor.ask("POST", &format!("{path}/ack"), None).await;
    }
    assert_eq!(Some(written), chunks);
    assert!(
        blows >= 3 && auditor.doubts > 0,
        "{blows} blows, {} doubts: that was no trial",
        auditor.doubts
    );

    std::fs::write(demo.dir.join("export.ndjson"), &file).expect("room on the disk");
    let (exit, said) = verify_export(&demo.dir, "export.ndjson");
    assert_eq!(exit, 0, "{said}");
    assert_eq!(
        (&said["records"], &said["from_the_start"]),
        (&begun["records"], &json!(true)),
        "{said}"
    );
    assert!(said["invoices"].as_u64() >= Some((BATCHES * BATCH) as u64), "{said}");

    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    std::fs::write(demo.dir.join("without.ndjson"), [&lines[..1], &lines[2..]].concat().concat())
        .expect("room on the disk");
    assert_eq!(
        verify_export(&demo.dir, "without.ndjson").0,
        14,
        "a chunk that was lost on the way is missed"
    );
    println!("{} records, {blows} blows, {} doubts", said["records"], auditor.doubts);
    beside.kill();
    demo.stop();
}
