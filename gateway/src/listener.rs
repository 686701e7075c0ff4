//! Accepts connections, with TLS where there is a certificate, and lets them end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::activity::Activity;
use crate::config::{LimitsSection, ServerTls};

/// A connection that does not shake hands in time is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an error of accept, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the certificate for clients cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the TLS file {path} cannot be used: {detail}")]
pub struct ServerTlsError {
    path: String,
    detail: String,
}

/// Loads certificate and key.
pub(crate) fn acceptor(files: &ServerTls) -> Result<TlsAcceptor, ServerTlsError> {
    let failed =
        |path: &Path, detail: String| ServerTlsError { path: path.display().to_string(), detail };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|error| failed(&files.cert, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| failed(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| failed(&files.cert, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// One listener's doings.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) routes: Router,
    /// How long it still takes connections when it is told to stop, until whoever sends them has heard of it.
    pub(crate) linger: Duration,
    pub(crate) limits: LimitsSection,
}

impl Listener {
    /// Serves until it is told to stop, then lets what is under way come to its end, for a bounded time.
    pub(crate) async fn serve(self, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut connections = JoinSet::new();
        let mut leaving = std::pin::pin!(async {
            // A sender that is gone stops as well.
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(self.linger).await;
        });
        loop {
            // A connection is taken when there is a place for it; until then it waits in the system's queue.
            let accept = async {
                let place = Arc::clone(&places).acquire_owned().await;
                let place = place.expect("the semaphore is never closed");
                self.socket.accept().await.map(|stream| (stream, place))
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                () = &mut leaving => break,
            };
            while let Some(ended) = connections.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection broke off here");
                }
            }
            match accepted {
                Ok((stream, place)) => {
                    connections.spawn(self.connection(stream, place, graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Whoever is in the system's queue was told that there is a connection: it is not reset.
        while let Ok(place) = Arc::clone(&places).try_acquire_owned()
            && let Ok(Ok(stream)) = timeout(Duration::ZERO, self.socket.accept()).await
        {
            connections.spawn(self.connection(stream, place, graceful.watcher()));
        }
        drop(self.socket);
        let drain = Duration::from_millis(self.limits.drain_ms);
        if timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests that were still under way are cut off");
        }
        connections.shutdown().await;
    }

    /// Serves one connection to its end.
    fn connection(
        &self,
        (stream, peer): (TcpStream, SocketAddr),
        place: OwnedSemaphorePermit,
        watcher: Watcher,
    ) -> impl Future<Output = ()> + Send + use<> {
        let connection = Connection {
            tls: self.tls.clone(),
            routes: self.routes.clone(),
            head_timeout: Duration::from_millis(self.limits.head_timeout_ms),
            idle_timeout: Duration::from_millis(self.limits.idle_timeout_ms),
            peer,
        };
        async move {
            connection.serve(stream, watcher).await;
            drop(place);
        }
    }
}

struct Connection {
    tls: Option<TlsAcceptor>,
    routes: Router,
    head_timeout: Duration,
    idle_timeout: Duration,
    peer: SocketAddr,
}

impl Connection {
    async fn serve(self, stream: TcpStream, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection is without TCP_NODELAY");
        }
        match self.tls.clone() {
            None => self.speak(stream, watcher).await,
            Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, peer = %self.peer, "no TLS"),
                Err(_elapsed) => tracing::debug!(peer = %self.peer, "no TLS in time"),
            },
        }
    }

    async fn speak<S>(self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.head_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .keep_alive_interval(Some(Duration::from_secs(20)));
        let (routes, peer) = (self.routes, self.peer);
        let activity = Activity::default();
        let busy = activity.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let exchange = busy.begin();
            let routes = routes.clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                let answered = routes.oneshot(request).await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(answered.map(|body| exchange.until_end_of(body)))
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            served = watcher.watch(connection) => if let Err(error) = served {
                tracing::debug!(%error, %peer, "a connection broke");
            },
            () = activity.silent(self.head_timeout, self.idle_timeout) => {
                tracing::debug!(%peer, "no request in time");
            }
        }
    }
}
