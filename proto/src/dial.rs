//! Another way to make connections than the system's sockets.
//!
//! A program that runs a cluster inside itself gives one to clients and nodes; without one, addresses are
//! reached over TCP. Non-goal: what goes over a connection, TLS included.

use std::fmt::{self, Debug};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

/// A connection, whatever carries it.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;
type Dialed = Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Wire>>>> + Send>>;

/// Makes connections to addresses, `host:port`. Copies share what it knows.
#[derive(Clone)]
pub struct Dialer {
    dial: Arc<dyn Fn(String) -> Dialing + Send + Sync>,
}

impl Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Dialer {
    /// One that connects as `dial` does.
    pub fn new<F, W>(dial: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<W>> + Send + 'static,
        W: Wire + 'static,
    {
        let dial = move |address| -> Dialing {
            let dialing = dial(address);
            Box::pin(async move { Ok(Box::new(dialing.await?) as Box<dyn Wire>) })
        };
        Self { dial: Arc::new(dial) }
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Box<dyn Wire>>;
    type Error = io::Error;
    type Future = Dialed;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Dialed {
        let address = to.authority().map(ToString::to_string);
        let dial = self.dial.clone();
        Box::pin(async move {
            let address = address.ok_or(io::ErrorKind::InvalidInput)?;
            dial(address).await.map(TokioIo::new)
        })
    }
}

/// A channel that connects when it is used, and again after a failure: over TCP, or as the dialer does.
#[must_use]
pub fn connect_lazy(endpoint: &Endpoint, dialer: Option<&Dialer>) -> Channel {
    match dialer {
        Some(dialer) => endpoint.connect_with_connector_lazy(dialer.clone()),
        None => endpoint.connect_lazy(),
    }
}
