//! The HTTP of a witness: one POST on a connection of its own, with TLS where its address says so, bounded in time and in
//! bytes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Witness;

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
    /// It is not who it should be, or speaks no TLS.
    #[error("{0} is not believed: {1}")]
    Tls(String, #[source] std::io::Error),
    /// Nobody can be certified under its name.
    #[error("{0} is no name that a certificate can have")]
    Name(String),
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
pub(super) async fn post(witness: &Witness, body: String) -> Result<Answer, PostError> {
    let who = witness.address.authority().map(ToString::to_string).unwrap_or_default();
    let connecting = tokio::time::timeout(ANSWER_WAIT, connect(witness, &who, body)).await;
    connecting.unwrap_or_else(|_elapsed| Err(PostError::Late(who)))
}

async fn connect(witness: &Witness, who: &str, body: String) -> Result<Answer, PostError> {
    let Witness { address, trust, .. } = witness;
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = if trust.is_some() { 443 } else { 80 };
    let stream = TcpStream::connect((host, address.port_u16().unwrap_or(port))).await;
    let stream = stream.map_err(|error| PostError::Connect(who.to_owned(), error))?;
    let path = format!("{}/add-checkpoint", address.path().trim_end_matches('/'));
    let Some(trust) = trust else { return exchange(stream, who, path, body).await };
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| PostError::Name(host.to_owned()))?;
    let stream = TlsConnector::from(trust.clone()).connect(name, stream).await;
    let stream = stream.map_err(|error| PostError::Tls(who.to_owned(), error))?;
    exchange(stream, who, path, body).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    who: &str,
    path: String,
    body: String,
) -> Result<Answer, PostError> {
    let http = |error| PostError::Http(who.to_owned(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
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
        // What was read before it ended is still to be taken; when that is not all, it says so itself.
        _ended = connection => asking.await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use fiscus_ledger::base64::encode_standard;
    use fiscus_ledger::cosignature::CosignerKey;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::config::WitnessSection;

    /// An authority: what signs, and the file that says so.
    fn authority(dir: &Path, name: &str) -> (CertifiedIssuer<'static, KeyPair>, PathBuf) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let path = dir.join(name);
        let text = encode_standard(issuer.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        std::fs::write(&path, pem).expect("it is written");
        (issuer, path)
    }

    /// A server on this machine with a certificate for `name`, which answers everything in the same way.
    async fn server(
        issuer: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
        answer: Vec<u8>,
    ) -> SocketAddr {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let chain = vec![params.signed_by(&key, issuer).expect("a certificate").der().clone()];
        let key = key.serialize_der().try_into().expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).await.unwrap_or(0);
                assert!(asked[..read].starts_with(b"POST /w/add-checkpoint HTTP/1.1\r\n"));
                // It hangs up without a word, as many do.
                if stream.write_all(&answer).await.is_ok() {
                    stream.flush().await.unwrap_or_default();
                }
            }
        });
        address
    }

    fn witness(address: &str, ca_file: &Path) -> Witness {
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
        let key = CosignerKey::new("w/1", key.as_bytes()).expect("a key").to_text();
        let (url, ca_file) = (format!("https://{address}/w"), Some(ca_file.to_owned()));
        let section = WitnessSection { key, url, ca_file };
        Witness::all(&[section]).expect("it is usable").pop().expect("one")
    }

    fn said(body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 409 Conflict\r\ncontent-type: text/x.tlog.size\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    #[tokio::test]
    async fn a_witness_is_believed_under_its_name_and_its_authority_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (issuer, ca) = authority(dir.path(), "ca.pem");
        let (_, other) = authority(dir.path(), "other.pem");
        let at = server(&issuer, "127.0.0.1", said("7\n")).await;
        let answer = post(&witness(&at.to_string(), &ca), "old 0\n".to_owned()).await;
        let (status, kind, body) = answer.expect("it answers");
        assert_eq!((status, kind.as_str(), &*body), (409, "text/x.tlog.size", &b"7\n"[..]));
        let refused = post(&witness(&at.to_string(), &other), String::new()).await;
        assert!(matches!(refused, Err(PostError::Tls(..))), "another authority: {refused:?}");
        let named = format!("localhost:{}", at.port());
        let refused = post(&witness(&named, &ca), String::new()).await;
        assert!(matches!(refused, Err(PostError::Tls(..))), "another name: {refused:?}");
    }

    #[tokio::test]
    async fn an_answer_over_tls_is_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let (issuer, ca) = authority(dir.path(), "ca.pem");
        let long = server(&issuer, "127.0.0.1", said(&"x".repeat(ANSWER_BYTES_MAX + 1))).await;
        let refused = post(&witness(&long.to_string(), &ca), String::new()).await;
        assert!(matches!(refused, Err(PostError::Body(_))), "{refused:?}");
        let mut cut = said("7\n");
        cut.pop();
        let cut = server(&issuer, "127.0.0.1", cut).await;
        let refused = post(&witness(&cut.to_string(), &ca), String::new()).await;
        assert!(matches!(refused, Err(PostError::Body(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_witness_that_says_nothing_is_late() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_, ca) = authority(dir.path(), "ca.pem");
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = socket.local_addr().expect("an address");
        let late = post(&witness(&at.to_string(), &ca), String::new()).await;
        assert!(matches!(late, Err(PostError::Late(_))), "{late:?}");
    }

    #[test]
    fn certificates_that_cannot_be_read_stop_the_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").expect("it is written");
        for path in [dir.path().join("none.pem"), empty] {
            let refused = super::super::trust::load(Some(&path)).expect_err("it is no use");
            assert!(refused.to_string().contains(&*path.to_string_lossy()), "{refused}");
        }
    }
}
