//! The HTTP of a witness: one POST on a connection of its own, bounded in time and in bytes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A witness answers within this time, or is asked again later.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// An answer is at most so long: some lines.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// It cannot be reached.
    #[error("{0} cannot be reached: {1}")]
    Connect(String, #[source] std::io::Error),
    /// It hangs up, or speaks something else.
    #[error("the exchange with {0} broke off: {1}")]
    Http(String, #[source] hyper::Error),
    /// Its answer is no answer.
    #[error("the answer of {0} is longer than {ANSWER_BYTES_MAX} bytes, or broke off")]
    Body(String),
    /// It takes too long.
    #[error("{0} does not answer within {ANSWER_WAIT:?}")]
    Late(String),
}

/// An answer: its status, its content type, its body.
pub(super) type Answer = (u16, String, Bytes);

/// Sends a body to `add-checkpoint` below a witness's address.
pub(super) async fn post(address: &Uri, body: String) -> Result<Answer, PostError> {
    let who = address.authority().map(ToString::to_string).unwrap_or_default();
    let exchange = tokio::time::timeout(ANSWER_WAIT, exchange(address, &who, body)).await;
    exchange.unwrap_or_else(|_elapsed| Err(PostError::Late(who)))
}

async fn exchange(address: &Uri, who: &str, body: String) -> Result<Answer, PostError> {
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, address.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|error| PostError::Connect(who.to_owned(), error))?;
    let http = |error| PostError::Http(who.to_owned(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let path = format!("{}/add-checkpoint", address.path().trim_end_matches('/'));
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, who)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(body)))
        .expect("a checked address makes a request");
    let asking = async {
        let (head, body) = sender.send_request(request).await.map_err(http)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| PostError::Body(who.to_owned()))?.to_bytes();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        Ok((head.status.as_u16(), kind.unwrap_or_default().to_owned(), body))
    };
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        // It ends when everything was read; what was read is still to be taken.
        broken = connection => {
            broken.map_err(http)?;
            asking.await
        }
    }
}
