//! Sends one message to one endpoint: resolve, check, connect to an address that was checked, send, read the
//! answer's head. Redirects are answers like others; of a body only so much is read as keeps a connection usable.
//!
//! Invariants: no name is resolved between the check and the connection; everything together ends by its limit.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::guard::{Closed, Guard};
use super::lookups::Lookups;
use super::target::{Host, Target};

/// Of an answer's body so much is read; with more, the connection is given up.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// An answer has so many header fields at most.
const HEADERS_MAX: usize = 64;
/// An answer's head has so many bytes at most; hyper takes no less.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Connections that are kept for the next message, in all, and for how long.
const IDLE_MAX: usize = 512;
const IDLE: Duration = Duration::from_secs(20);
/// A name has so many addresses that are looked at.
const ADDRESSES_MAX: usize = 32;
/// A connection to one of several addresses is there within this time, or the next one is tried.
const ADDRESS_WAIT: Duration = Duration::from_secs(3);

/// What a resolver answers with.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// Looks one up.
    fn resolve(&self, name: &str) -> Resolving;
}

/// The system's resolver.
#[derive(Debug)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> Resolving {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).take(ADDRESSES_MAX).collect())
        })
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// What it asks for, when it asks to be left alone.
    pub retry_after_ms: Option<u64>,
    /// Some of its header, for whoever looks for what went wrong.
    pub head: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It leads where nothing may be sent.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The name.
    #[error("the name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// No address.
    #[error("the name has no address")]
    NoAddress,
    /// The connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// TLS.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// The answer's body.
    #[error("no whole answer: {0}")]
    Body(String),
    /// Time.
    #[error("no answer within {} ms", .0.as_millis())]
    Time(Duration),
}

/// Why the roots that endpoints are checked with cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificates in {path} cannot be used: {detail}")]
pub struct RootsError {
    path: String,
    detail: String,
}

/// A certificate chain and its private key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

type Sender = SendRequest<Full<Bytes>>;

/// Sends messages.
pub struct Poster {
    guard: Guard,
    resolver: Arc<dyn Resolver>,
    lookups: Lookups,
    tls: TlsConnector,
    has_roots: bool,
    idle: Mutex<Idle>,
    /// The connections; they end with the poster.
    connections: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// Connections that wait for another message to the same place, each to an address that was checked.
#[derive(Default)]
struct Idle {
    by_place: BTreeMap<(bool, String), VecDeque<(Instant, Sender)>>,
    count: usize,
}

/// The system's bundle of certificates, in a PEM file.
pub fn roots(path: &Path) -> Result<RootCertStore, RootsError> {
    let failed = |detail: String| RootsError { path: path.display().to_string(), detail };
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for one in all {
        let one = one.map_err(|error| failed(error.to_string()))?;
        // A bundle may hold what this library does not take; the others are good nevertheless.
        if let Err(error) = roots.add(one) {
            tracing::debug!(%error, "a root certificate is passed over");
        }
    }
    if roots.is_empty() { Err(failed("there is none".to_owned())) } else { Ok(roots) }
}

impl Poster {
    /// Sends as the guard allows, to servers that these roots vouch for.
    ///
    /// # Panics
    /// When the TLS library has no protocol version.
    #[must_use]
    pub fn new(guard: Guard, resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        Self::with_identity(guard, resolver, roots, None).expect("there is no key to be wrong")
    }

    /// The same, with a certificate that says who sends.
    ///
    /// # Panics
    /// When the TLS library has no protocol version.
    pub fn with_identity(
        guard: Guard,
        resolver: Arc<dyn Resolver>,
        roots: RootCertStore,
        identity: Option<Identity>,
    ) -> Result<Self, rustls::Error> {
        let has_roots = !roots.is_empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the default versions are there").with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
        };
        Ok(Self {
            guard,
            resolver,
            lookups: Lookups::new(),
            tls: TlsConnector::from(Arc::new(config)),
            has_roots,
            idle: Mutex::default(),
            connections: Mutex::default(),
        })
    }

    /// The rule that it goes by.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether it can check anybody's certificate.
    pub fn has_roots(&self) -> bool {
        self.has_roots
    }

    /// Sends a message of a tenant's; whatever is answered is an answer.
    pub async fn post(
        &self,
        tenant: &str,
        target: &Target,
        headers: &[(HeaderName, HeaderValue)],
        body: &Bytes,
        limit: Duration,
    ) -> Result<Reply, PostError> {
        let deadline = Instant::now() + limit;
        let place = (target.secure, format!("{}:{}", target.host_text(), target.port));
        let sent = timeout_at(deadline, self.send(tenant, &place, target, headers, body)).await;
        let (sender, response) = sent.unwrap_or(Err(PostError::Time(limit)))?;
        Ok(self.read(place, sender, response, deadline).await)
    }

    /// Sends a message and reads the whole answer, of at most so many bytes; without the body's end there is none.
    pub async fn ask(
        &self,
        target: &Target,
        headers: &[(HeaderName, HeaderValue)],
        body: &Bytes,
        (limit, bytes_max): (Duration, usize),
    ) -> Result<(Reply, Bytes), PostError> {
        let deadline = Instant::now() + limit;
        let place = (target.secure, format!("{}:{}", target.host_text(), target.port));
        let sent = timeout_at(deadline, self.send("uploads", &place, target, headers, body)).await;
        let (sender, response) = sent.unwrap_or(Err(PostError::Time(limit)))?;
        let reply = reply_of(&response);
        let whole = Limited::new(response.into_body(), bytes_max).collect();
        let read = timeout_at(deadline, whole).await.map_err(|_| PostError::Time(limit))?;
        let bytes = read.map_err(|error| PostError::Body(error.to_string()))?.to_bytes();
        self.keep(place, sender);
        Ok((reply, bytes))
    }

    async fn send(
        &self,
        tenant: &str,
        place: &(bool, String),
        target: &Target,
        headers: &[(HeaderName, HeaderValue)],
        body: &Bytes,
    ) -> Result<(Sender, Response<Incoming>), PostError> {
        while let Some(mut sender) = self.idle_sender(place) {
            match sender.try_send_request(request(target, headers, body)).await {
                Ok(response) => return Ok((sender, response)),
                // It was closed meanwhile and nothing was sent: another connection will do.
                Err(error) if error.message().is_some() => {}
                Err(error) => return Err(error.into_error().into()),
            }
        }
        let mut sender = self.connect(tenant, target).await?;
        let response = sender.send_request(request(target, headers, body)).await?;
        Ok((sender, response))
    }

    async fn read(
        &self,
        place: (bool, String),
        sender: Sender,
        response: Response<Incoming>,
        deadline: Instant,
    ) -> Reply {
        let reply = reply_of(&response);
        let mut body = response.into_body();
        let mut read = 0;
        loop {
            // The status says what became of the message; a body that breaks off, or does not end, changes nothing of
            // it. Its connection is of no use any more.
            match timeout_at(deadline, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
                Ok(Some(Err(_))) | Err(_) => return reply,
            }
            if read > BODY_BYTES_MAX {
                return reply;
            }
        }
        self.keep(place, sender);
        reply
    }

    async fn connect(&self, tenant: &str, target: &Target) -> Result<Sender, PostError> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let looked = self.lookups.resolve(tenant, self.resolver.resolve(name)).await;
                looked.map_err(PostError::Resolve)?
            }
        };
        self.guard.check_all(&addresses)?;
        let stream = first_connection(&addresses, target.port).await?;
        // It matters little if the system does not know the option.
        let _ = stream.set_nodelay(true);
        if !target.secure {
            return self.handshake(stream).await;
        }
        let name = match &target.host {
            Host::Address(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|error| PostError::Tls(io::Error::other(error)))?,
        };
        let stream = self.tls.connect(name, stream).await.map_err(PostError::Tls)?;
        self.handshake(stream).await
    }

    async fn handshake<S>(&self, stream: S) -> Result<Sender, PostError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an endpoint ended");
            }
        });
        while connections.try_join_next().is_some() {}
        Ok(sender)
    }

    fn idle_sender(&self, place: &(bool, String)) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (since, sender) = idle.by_place.get_mut(place)?.pop_back()?;
            idle.count -= 1;
            if since.elapsed() < IDLE && sender.is_ready() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, place: (bool, String), sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.count >= IDLE_MAX {
            *idle = Idle::default();
        }
        idle.by_place.entry(place).or_default().push_back((Instant::now(), sender));
        idle.count += 1;
    }

    /// Lets connections go that have not been used for a while.
    pub fn sweep(&self) {
        self.lookups.sweep();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        for senders in idle.by_place.values_mut() {
            senders.retain(|(since, sender)| since.elapsed() < IDLE && !sender.is_closed());
        }
        idle.by_place.retain(|_, senders| !senders.is_empty());
        idle.count = idle.by_place.values().map(VecDeque::len).sum();
    }
}

/// Connects to the first of the addresses that takes a connection: a name may have addresses of a network that this
/// machine is not in, or of a server that is down.
async fn first_connection(addresses: &[IpAddr], port: u16) -> Result<TcpStream, PostError> {
    let (last, others) = addresses.split_last().ok_or(PostError::NoAddress)?;
    for address in others {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        match timeout(ADDRESS_WAIT, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => tracing::debug!(%address, %error, "an address takes no connection"),
            Err(_elapsed) => tracing::debug!(%address, "an address does not answer"),
        }
    }
    TcpStream::connect(SocketAddr::new(*last, port)).await.map_err(PostError::Connect)
}

fn request(
    target: &Target,
    headers: &[(HeaderName, HeaderValue)],
    body: &Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.parse().unwrap_or_default();
    let map = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&target.authority) {
        map.insert(HOST, host);
    }
    headers.iter().for_each(|(name, value)| drop(map.insert(name, value.clone())));
    request
}

fn reply_of(response: &Response<Incoming>) -> Reply {
    let text = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(format!("{name}: {}", value.chars().take(100).collect::<String>()))
    };
    let shown =
        ["content-type", "location", "retry-after", "server"].iter().filter_map(|name| text(name));
    let left_alone = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE]
        .contains(&response.status());
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|text| retry_after_ms(text, SystemTime::now()));
    Reply {
        status: response.status().as_u16(),
        retry_after_ms: asked.filter(|_| left_alone),
        head: shown.collect::<Vec<_>>().join("; "),
    }
}

/// How long somebody wants to be left alone: seconds, or until a date of HTTP.
fn retry_after_ms(text: &str, now: SystemTime) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let wait = until.duration_since(now).unwrap_or_default();
    Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
