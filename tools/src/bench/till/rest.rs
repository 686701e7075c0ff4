//! Sales over REST: one connection a till, which stays.
//!
//! The client is as small as it can be, because it shares the machine with what it measures: it knows the answers of
//! one gateway, not HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fiscus_ledger::hash::hex;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answered, Sealed};
use crate::bench::outlets::{BenchOutlet, PREFIX, Roster, TOGETHER};
use crate::bench::workload::{Sale, Workload};

const WAIT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CREATED_TRIES: u32 = 20;

/// Where the gateway is, and the key to it.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Gateway {
    address: String,
    key: String,
}

impl Gateway {
    pub(super) fn new(url: &str, key: &str) -> Result<Self> {
        let Some(address) = url.trim_end_matches('/').strip_prefix("http://") else {
            bail!("{url}: give a gateway's plain address, http://HOST:PORT, on this machine");
        };
        ensure!(
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()),
            "the key to the API is not one"
        );
        Ok(Self { address: address.to_owned(), key: key.to_owned() })
    }

    fn head(&self, path: &str, idempotency_key: &str, length: usize) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nidempotency-key: {idempotency_key}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            self.address, self.key
        )
    }

    /// Makes the outlets; one that is there already stays.
    pub(super) async fn open_outlets(&self, roster: &Roster) -> Result<()> {
        stream::iter(roster.outlets())
            .map(|outlet| self.open_outlet(outlet))
            .buffer_unordered(TOGETHER)
            .try_collect()
            .await
    }

    async fn open_outlet(&self, outlet: &BenchOutlet) -> Result<()> {
        let body = json!({
            "outlet_id": outlet.id, "merchant_nif": outlet.merchant_nif, "prefix": PREFIX,
            "code": outlet.code, "environment": "live", "name": outlet.id,
        })
        .to_string();
        let mut connection = Connection::default();
        for attempt in 1.. {
            let key = format!("bench-open-{}", outlet.id);
            let asked = connection.ask(self, "/api/v1/outlets", &key, body.as_bytes()).await;
            match asked {
                Ok((200 | 201, _)) => return Ok(()),
                // It is there, as an earlier run has made it.
                Ok((409, text)) if String::from_utf8_lossy(&text).contains("EXISTS") => {
                    return Ok(());
                }
                Ok((status, text)) if attempt == CREATED_TRIES || (400..429).contains(&status) => {
                    bail!("{} was not made: {status} {}", outlet.id, String::from_utf8_lossy(&text))
                }
                Err(error) if attempt == CREATED_TRIES => {
                    return Err(error.context(outlet.id.clone()));
                }
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(in crate::bench) struct RestTill {
    gateway: Gateway,
    connection: Connection,
}

#[derive(Debug, Deserialize)]
struct SealedAnswer {
    sequence: u64,
    auth_code: String,
}

#[derive(Debug, Deserialize)]
struct BatchAnswer {
    data: Vec<ItemAnswer>,
}

#[derive(Debug, Deserialize)]
struct ItemAnswer {
    status: u16,
    invoice: Option<SealedAnswer>,
    problem: Option<serde_json::Value>,
}

impl RestTill {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway, connection: Connection::default() }
    }

    pub(super) async fn sell(&mut self, workload: &Workload, sales: &[Sale]) -> Vec<Answered> {
        if let [sale] = sales {
            return vec![self.sell_one(workload, sale).await];
        }
        let asked = self.sell_many(workload, sales).await;
        asked.unwrap_or_else(|error| {
            sales.iter().map(|_| Answered::Unclear(format!("{error:#}"))).collect()
        })
    }

    async fn sell_one(&mut self, workload: &Workload, sale: &Sale) -> Answered {
        let body = &workload.sheet(sale.outlet).text;
        let key = hex(&sale.key);
        let asked = self.connection.ask(&self.gateway, "/api/v1/invoices", &key, body);
        match asked.await {
            Ok((status, text)) => answered(status, &text, || serde_json::from_slice(&text)),
            Err(error) => Answered::Unclear(format!("{error:#}")),
        }
    }

    async fn sell_many(&mut self, workload: &Workload, sales: &[Sale]) -> Result<Vec<Answered>> {
        let mut body = b"{\"invoices\":[".to_vec();
        for (at, sale) in sales.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let key = hex(&sale.key);
            body.extend_from_slice(
                format!("{comma}{{\"idempotency_key\":\"{key}\",\"invoice\":").as_bytes(),
            );
            body.extend_from_slice(&workload.sheet(sale.outlet).text);
            body.push(b'}');
        }
        body.extend_from_slice(b"]}");
        let key = hex(&sales[0].key);
        let asked = self.connection.ask(&self.gateway, "/api/v1/invoices/batch", &key, &body).await;
        let (status, text) = asked?;
        ensure!(status == 200, "{status} {}", String::from_utf8_lossy(&text));
        let answer: BatchAnswer = serde_json::from_slice(&text).context("the batch's answer")?;
        ensure!(
            answer.data.len() == sales.len(),
            "{} answers for {}",
            answer.data.len(),
            sales.len()
        );
        Ok(answer.data.into_iter().map(ItemAnswer::answered).collect())
    }
}

impl ItemAnswer {
    fn answered(self) -> Answered {
        let problem = self.problem.unwrap_or_default().to_string();
        answered(self.status, problem.as_bytes(), || {
            self.invoice.ok_or_else(|| serde::de::Error::custom("an item without an invoice"))
        })
    }
}

fn answered(
    status: u16,
    text: &[u8],
    seal: impl FnOnce() -> serde_json::Result<SealedAnswer>,
) -> Answered {
    let said = || format!("{status} {}", String::from_utf8_lossy(text));
    match status {
        200 | 201 => match seal().map_err(anyhow::Error::from).and_then(SealedAnswer::read) {
            Ok(sealed) => Answered::Sealed(sealed),
            Err(error) => Answered::Refused(format!("{error:#}")),
        },
        // An outlet that was made just now takes a moment to be known everywhere.
        404 | 408 | 425 | 429 | 500.. => Answered::Unclear(said()),
        _ => Answered::Refused(said()),
    }
}

impl SealedAnswer {
    fn read(self) -> Result<Sealed> {
        let auth_code = self.auth_code.parse().context("the code of an answer")?;
        Ok(Sealed { sequence: self.sequence, auth_code })
    }
}

/// A connection that is made when it is needed, and again after it broke.
#[derive(Debug, Default)]
struct Connection {
    open: Option<TcpStream>,
    /// What came and was not read yet.
    came: Vec<u8>,
}

impl Connection {
    async fn ask(
        &mut self,
        gateway: &Gateway,
        path: &str,
        key: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>)> {
        let asked = timeout(WAIT, self.exchange(gateway, path, key, body)).await;
        let asked = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {WAIT:?}")));
        if asked.is_err() {
            self.open = None;
            self.came.clear();
        }
        asked
    }

    async fn exchange(
        &mut self,
        gateway: &Gateway,
        path: &str,
        key: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>)> {
        if self.open.is_none() {
            let made = TcpStream::connect(&gateway.address).await;
            let made = made.with_context(|| gateway.address.clone())?;
            made.set_nodelay(true)?;
            self.open = Some(made);
        }
        let stream = self.open.as_mut().context("it was made")?;
        let mut request = gateway.head(path, key, body.len()).into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).await.context("sending")?;
        let (head, whole) = loop {
            if let Some(found) = whole_head(&self.came)? {
                break found;
            }
            read_more(stream, &mut self.came).await?;
        };
        while self.came.len() < whole {
            read_more(stream, &mut self.came).await?;
        }
        let rest = self.came.split_off(whole);
        let mut answer = std::mem::replace(&mut self.came, rest);
        let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok()).context("no status")?;
        Ok((status, answer.split_off(head)))
    }
}

async fn read_more(stream: &mut TcpStream, came: &mut Vec<u8>) -> Result<()> {
    ensure!(came.len() < ANSWER_BYTES_MAX, "an answer is longer than {ANSWER_BYTES_MAX} bytes");
    let read = stream.read_buf(came).await.context("receiving")?;
    ensure!(read > 0, "the gateway closed the connection");
    Ok(())
}

/// How long the head and the whole answer are, once the head is there.
fn whole_head(came: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&came[..end]).context("the head of an answer")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.context("an answer without a length")?;
    ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
    Ok(Some((end + 4, end + 4 + length)))
}
