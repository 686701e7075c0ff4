//! A client of one request a connection: it hides nothing that a test may want to see.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::LIMIT;

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Call<'w> {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    keys: &'w BTreeMap<&'static str, String>,
}

impl<'w> Call<'w> {
    pub fn new(
        address: SocketAddr,
        method: &str,
        path: &str,
        keys: &'w BTreeMap<&'static str, String>,
    ) -> Self {
        let method = method.parse().expect("a method");
        let (headers, body) = (Vec::new(), Bytes::new());
        Self { address, method, path: path.to_owned(), headers, body, keys }
    }

    /// With a key of the world's.
    pub fn by(self, key: &str) -> Self {
        let text = self.keys.get(key).unwrap_or_else(|| panic!("there is no key {key}")).clone();
        self.bearer(&text)
    }

    /// With this text as the key.
    pub fn bearer(self, text: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {text}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn idempotent(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// Sends it; whatever is answered is an answer.
    pub async fn send(self) -> Answer {
        let asked = format!("{} {}", self.method, self.path);
        let sent = tokio::time::timeout(LIMIT, self.try_send()).await;
        let sent = sent.unwrap_or_else(|_| panic!("{asked}: no answer within {LIMIT:?}"));
        sent.unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    /// The same, where the connection may break.
    pub async fn try_send(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(HOST, self.address.to_string());
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body))?;
        let asking = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        let mut asking = std::pin::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            // It ends when everything was read; what was read is still to be taken.
            broken = connection => { broken?; asking.await }
        }
    }
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        let read = serde_json::from_slice(&self.body);
        read.unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The code of a problem, which must be one in every respect.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        let code = body["code"].as_str().expect("a code").to_owned();
        assert_eq!(body["type"], format!("/docs/errors/{code}"), "{body}");
        code
    }

    /// The answer, when it has this status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The pointers of a problem's errors.
    pub fn pointers(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().expect("errors");
        errors
            .iter()
            .map(|error| error["pointer"].as_str().expect("a pointer").to_owned())
            .collect()
    }
}
