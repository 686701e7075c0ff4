//! Sales through a fiscal device: PREPARE and COMMIT over TCP, a connection a till.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answered, Sealed};
use crate::bench::workload::{Sale, Workload};

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
/// Longer than the device takes for any command.
const WAIT: Duration = Duration::from_secs(12);
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(in crate::bench) struct DeviceTill {
    address: String,
    open: Option<TcpStream>,
    /// The sale that was prepared and not answered yet, and its nonce: the same nonce gives the same seal.
    prepared: Option<(Sale, String)>,
}

impl DeviceTill {
    pub(super) fn new(address: String) -> Self {
        Self { address, open: None, prepared: None }
    }

    pub(super) async fn sell(&mut self, workload: &Workload, sales: &[Sale]) -> Vec<Answered> {
        let mut answers = Vec::with_capacity(sales.len());
        for sale in sales {
            let sold = timeout(WAIT, self.sell_one(workload, sale)).await;
            let sold = sold.unwrap_or_else(|_| bail_late());
            if sold.is_err() {
                self.open = None;
            }
            answers.push(sold.unwrap_or_else(|error| Answered::Unclear(format!("{error:#}"))));
        }
        answers
    }

    async fn sell_one(&mut self, workload: &Workload, sale: &Sale) -> Result<Answered> {
        let known = self.prepared.take().filter(|(prepared, _)| prepared == sale);
        let nonce = match known {
            Some((_, nonce)) => nonce,
            None => {
                let invoice = workload.sheet(sale.outlet).marked(&sale.key)?;
                let answer = self.ask(&format!("TXN|PREPARE {invoice}")).await?;
                match answer.get("nonce").and_then(Value::as_str) {
                    Some(nonce) => nonce.to_owned(),
                    None => return Ok(refused(&answer)),
                }
            }
        };
        self.prepared = Some((*sale, nonce.clone()));
        let answer = self.ask(&format!("TXN|COMMIT {{\"nonce\":\"{nonce}\"}}")).await?;
        let Some(sequence) = answer.get("invoice_seq").and_then(Value::as_u64) else {
            // With a nonce that has died, the next attempt prepares again.
            if code(&answer) == "INVALID_NONCE" {
                self.prepared = None;
            }
            return Ok(refused(&answer));
        };
        self.prepared = None;
        let auth_code = answer.get("auth_code").and_then(Value::as_str).context("no code")?;
        let auth_code = auth_code.parse().context("the code of an answer")?;
        Ok(Answered::Sealed(Sealed { sequence, auth_code }))
    }

    async fn ask(&mut self, command: &str) -> Result<Value> {
        if self.open.is_none() {
            let made = TcpStream::connect(&self.address).await;
            let made = made.with_context(|| self.address.clone())?;
            made.set_nodelay(true)?;
            self.open = Some(made);
        }
        let stream = self.open.as_mut().context("it was made")?;
        let mut frame = vec![STX];
        frame.extend_from_slice(command.as_bytes());
        frame.push(ETX);
        stream.write_all(&frame).await.context("sending")?;
        let mut came = Vec::new();
        while came.last() != Some(&ETX) {
            ensure!(came.len() < ANSWER_BYTES_MAX, "an answer is too long");
            let read = stream.read_buf(&mut came).await.context("receiving")?;
            ensure!(read > 0, "the device closed the connection");
        }
        let text = came.strip_prefix(&[STX]).and_then(|text| text.strip_suffix(&[ETX]));
        serde_json::from_slice(text.context("an answer without its frame")?).context("an answer")
    }
}

fn bail_late() -> Result<Answered> {
    bail!("no answer within {WAIT:?}")
}

fn code(answer: &Value) -> &str {
    answer.get("code").and_then(Value::as_str).unwrap_or_default()
}

fn refused(answer: &Value) -> Answered {
    match code(answer) {
        "DEVICE_BUSY" | "UNAVAILABLE" | "INVALID_NONCE" | "TIMEOUT" => {
            Answered::Unclear(answer.to_string())
        }
        _ => Answered::Refused(answer.to_string()),
    }
}
