//! As much of HTTP/1.1 as the contract takes: requests with a content-length, answers of JSON.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

use super::service::Service;

/// A batch is about a megabyte, escaped twice that.
const BODY_BYTES_MAX: usize = 8 << 20;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const WAIT: Duration = Duration::from_secs(60);

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    body: Vec<u8>,
    /// 0 for none.
    pub(crate) retry_after_s: u64,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self { status: 200, body: value.to_string().into_bytes(), retry_after_s: 0 }
    }

    pub(crate) fn error(status: u16, detail: &str) -> Self {
        Self { status, ..Self::json(&json!({"detail": detail})) }
    }
}

/// The requests of one connection, one after the other.
pub(crate) async fn serve(mut stream: TcpStream, service: &Service) -> Result<()> {
    let mut rest = Vec::new();
    while let Some(request) = timeout(WAIT, read(&mut stream, &mut rest)).await?? {
        if request.target.starts_with("/v1/") {
            sleep(service.slowness()).await;
        }
        let Some(reply) = service.answer(&request) else { return Ok(()) };
        let retry_after = match reply.retry_after_s {
            0 => String::new(),
            seconds => format!("retry-after: {seconds}\r\n"),
        };
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry_after}\r\n",
            reply.status,
            if reply.status < 300 { "OK" } else { "Error" },
            reply.body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&reply.body).await?;
    }
    Ok(())
}

/// Reads one request; none at the end.
async fn read(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Result<Option<Request>> {
    let end = loop {
        if let Some(at) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if rest.len() > HEAD_BYTES_MAX {
            bail!("the head is too long");
        }
        if stream.read_buf(rest).await? == 0 {
            return if rest.is_empty() { Ok(None) } else { bail!("it broke off") };
        }
    };
    let text = String::from_utf8_lossy(&rest[..end]).into_owned();
    rest.drain(..end + 4);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or("").split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length: usize = match request.header("content-length") {
        "" => 0,
        length => length.parse()?,
    };
    if length > BODY_BYTES_MAX {
        bail!("the body is too long");
    }
    while rest.len() < length {
        if stream.read_buf(rest).await? == 0 {
            bail!("the body broke off");
        }
    }
    request.body = rest.drain(..length).collect();
    Ok(Some(request))
}
