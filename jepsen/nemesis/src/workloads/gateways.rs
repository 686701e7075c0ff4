//! Sales over HTTP through two gateways: the same key at once through both, and beside them without either.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fiscus_check::line::{Digest, Op, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{PATIENCE, Shop};
use crate::cluster::{Cluster, GROUP};
use crate::operator::Operator;
use crate::sales::{MERCHANT, PREFIX, Submission, key_name, seal};
use crate::till::split;

const WAIT: Duration = Duration::from_secs(12);
const START_WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Outlets that are sold in over HTTP.
const OUTLETS: u64 = 3;

/// Two gateways; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    children: Vec<Child>,
    pub(crate) gateways: Gateways,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended of itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How they are reached.
#[derive(Debug, Clone)]
pub(crate) struct Gateways {
    addresses: Vec<String>,
    key: String,
}

/// One of them.
#[derive(Debug, Clone)]
struct Rest {
    address: String,
    key: String,
}

impl Pair {
    /// Starts both, and makes a tenant with a merchant and outlets.
    pub(crate) async fn start(cluster: &Cluster, operator: &Operator) -> Result<Self> {
        let dir = &cluster.make.dir;
        let nodes: Vec<String> = cluster.ids().into_iter().map(|id| cluster.address(id)).collect();
        let (mut children, mut addresses) = (Vec::new(), Vec::new());
        for name in ["gw1", "gw2"] {
            let ports = free_ports()?;
            let config = dir.join(format!("{name}.toml"));
            fs::write(&config, configuration(dir, &nodes, ports))?;
            let log = fs::File::create(dir.join(format!("{name}.log")))?;
            let child = Command::new(&cluster.make.program)
                .args(["gateway", "--stop-with-stdin", "--config"])
                .arg(config)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            children.push(child);
            addresses.push(format!("127.0.0.1:{}", ports.0));
        }
        let wait = START_WAIT;
        operator.run("organisations create jepsen --name Jepsen --yes", wait).await?;
        let made = "api-keys create --organisation jepsen --role owner --name load --tier enterprise --yes --json";
        let made: serde_json::Value = serde_json::from_str(&operator.run(made, wait).await?)?;
        let key = made["key"].as_str().context("a key to the API")?.to_owned();
        let pair = Self { children, gateways: Gateways { addresses, key } };
        let first = pair.gateways.rest(0);
        let merchant = serde_json::json!({ "nif": MERCHANT, "name": "Jepsen" }).to_string();
        first.make("/api/v1/merchants", "merchant", &merchant).await?;
        for at in 0..OUTLETS {
            let (id, code) = outlet(at);
            let made = serde_json::json!({ "outlet_id": id, "merchant_nif": MERCHANT, "prefix": PREFIX,
                "code": code, "environment": "live", "name": id });
            first.make("/api/v1/outlets", &format!("open {id}"), &made.to_string()).await?;
        }
        Ok(pair)
    }
}

impl Gateways {
    fn rest(&self, at: usize) -> Rest {
        let address = self.addresses[at % self.addresses.len()].clone();
        Rest { address, key: self.key.clone() }
    }
}

fn outlet(at: u64) -> (String, String) {
    (format!("web-{at}"), format!("W{at}"))
}

fn free_ports() -> Result<(u16, u16)> {
    let held = [0; 2].map(|_| std::net::TcpListener::bind("127.0.0.1:0"));
    let [public, admin] = held;
    Ok((public?.local_addr()?.port(), admin?.local_addr()?.port()))
}

fn configuration(dir: &Path, nodes: &[String], (public, admin): (u16, u16)) -> String {
    let dir = dir.display();
    format!(
        "listen = \"127.0.0.1:{public}\"\nadmin_listen = \"127.0.0.1:{admin}\"\nverify_host = \"verify.example.cd\"\n\
         [cluster]\nnodes = {nodes:?}\nca = \"{dir}/pki/ca.pem\"\ncert = \"{dir}/pki/gw.pem\"\nkey = \"{dir}/pki/gw.key\"\n\
         [limits]\nlinger_ms = 0\n[rates]\nenterprise = {{ per_minute = 10000000, per_day = 0 }}\n"
    )
}

impl Rest {
    /// Makes something, once.
    async fn make(&self, path: &str, key: &str, body: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            match self.post(path, key, body).await {
                Ok((200 | 201, _)) => return Ok(()),
                Ok((status @ 400..=428, text)) if status != 404 && status != 401 => {
                    bail!("{path}: {status} {}", String::from_utf8_lossy(&text))
                }
                other if began.elapsed() > START_WAIT => bail!("{path}: {other:?}"),
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// A request on a connection of its own: the status and the body.
    async fn post(&self, path: &str, key: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        let asked = timeout(WAIT, async {
            let mut stream = TcpStream::connect(&self.address).await?;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nidempotency-key: {key}\r\n\
                 content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                self.address,
                self.key,
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
            anyhow::Ok(answer)
        });
        let answer = asked.await.context("no answer in time")??;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no head")?;
        let head = std::str::from_utf8(&answer[..end])?;
        let status = head.get(9..12).context("no status")?.parse()?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let body = &answer[end + 4..];
        ensure!(length == Some(body.len()), "an answer that was cut");
        Ok((status, body.to_vec()))
    }
}

/// One attempt over HTTP, noted; whether it is clear.
async fn attempt(shop: &Shop, rest: &Rest, process: u64, sale: &Submission) -> Result<bool> {
    let start = shop.recorder.now();
    let told = rest.post("/api/v1/invoices", &sale.key, &sale.text).await;
    let now = matches!(told, Ok((201, _)));
    let mut op = Op {
        end: Some(shop.recorder.now()),
        key: Some(key_name(&sale.key).into()),
        payload: sale.payload,
        ..Op::begun(process, sale.f, GROUP, sale.outlet.clone(), start)
    };
    match told {
        Ok((200 | 201, text)) => {
            let invoice: serde_json::Value = serde_json::from_slice(&text).context("an invoice")?;
            let number = invoice["fiscal_number"].as_str().context("an invoice's number")?;
            let (series, number) = split(number)?;
            op.outcome = Outcome::Ok;
            (op.series, op.number) = (Some(series.into()), Some(number));
            op.position = invoice["position"].as_u64();
            op.text = Some(Digest(blake3::hash(&text).into()));
        }
        // The outlet has not come everywhere yet, or too much is asked at once: not taken.
        Ok((status @ (404 | 429), _)) => {
            (op.outcome, op.error) = (Outcome::Fail, Some(status.to_string().into()));
            shop.recorder.op(op)?;
            return Ok(false);
        }
        Ok((status @ 400..=428, _)) => {
            (op.outcome, op.error) = (Outcome::Fail, Some(status.to_string().into()));
        }
        Ok((status, _)) => op.error = Some(status.to_string().into()),
        Err(error) => op.error = Some(format!("{error:#}").into()),
    }
    let clear = op.outcome != Outcome::Unknown;
    shop.recorder.op_of(op, now)?;
    Ok(clear)
}

async fn submit(shop: &Shop, rest: &Rest, process: u64, sale: &Submission) -> Result<()> {
    while !attempt(shop, rest, process, sale).await? && !shop.floor.stopped() {
        sleep(PAUSE).await;
    }
    Ok(())
}

pub(super) fn start(shop: &Shop, running: &mut JoinSet<Result<()>>) {
    let Some(gateways) = &shop.gateways else { return };
    for at in 0..4 {
        running.spawn(sell(shop.clone(), gateways.clone(), at));
    }
}

async fn sell(shop: Shop, gateways: Gateways, at: u64) -> Result<()> {
    let (one, other) = (gateways.rest(0), gateways.rest(1));
    let (process, second, till) = (shop.recorder.process(), shop.recorder.process(), shop.till(at));
    let mut dice = shop.dice(&format!("gateways {at}"));
    let mut sold = 0;
    while !shop.floor.stopped() {
        let (outlet, _) = outlet(dice.below(OUTLETS));
        let key = format!("web-{at}-{sold}");
        let sale = seal(&outlet, &key, &key, None)?;
        match dice.below(3) {
            0 => submit(&shop, &one, process, &sale).await?,
            1 => {
                let both = submit(&shop, &other, second, &sale);
                tokio::try_join!(submit(&shop, &one, process, &sale), both)?;
            }
            _ => {
                let beside = till.submit(&sale, PATIENCE);
                tokio::try_join!(submit(&shop, &other, second, &sale), beside)?;
            }
        }
        sold += 1;
        sleep(Duration::from_millis(dice.between(5, 50))).await;
    }
    Ok(())
}
