//! A receiver of webhooks: it remembers what came, and answers as its paths say.
//!
//! | path | answer |
//! |---|---|
//! | `/ok/…` | 204 |
//! | `/status/NNN` | that status |
//! | `/redirect` | 302 to `/ok/redirected` |
//! | `/hang` | none |
//! | `/switch/…` | 204, or 500 while [`Receiver::fail`] says so |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What came.
#[derive(Debug, Clone)]
pub struct Came {
    pub path: String,
    pub id: String,
    pub timestamp: u64,
    pub signatures: String,
    pub body: Bytes,
    pub at: Instant,
}

impl Came {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a message is JSON")
    }
}

#[derive(Debug, Default)]
struct Shared {
    came: Mutex<Vec<Came>>,
    fails: AtomicBool,
}

/// The receiver; it ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&shared), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    // Whoever sends may hang up.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to a path, in the order in which it came.
    pub fn came(&self, path: &str) -> Vec<Came> {
        let came = self.shared.came.lock().expect("whole");
        came.iter().filter(|one| one.path == path).cloned().collect()
    }

    /// The ids of what came to a path, each once, in the order in which they came first.
    pub fn ids(&self, path: &str) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for one in self.came(path) {
            if !ids.contains(&one.id) {
                ids.push(one.id);
            }
        }
        ids
    }

    pub fn fail(&self, fails: bool) {
        self.shared.fails.store(fails, Ordering::SeqCst);
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let text = |name: &str| {
        head.headers.get(name).map_or("", |value| value.to_str().expect("text")).to_owned()
    };
    let path = head.uri.path().to_owned();
    let (id, signatures) = (text("webhook-id"), text("webhook-signature"));
    let timestamp = text("webhook-timestamp").parse().unwrap_or(0);
    let Ok(body) = body.collect().await else { return Ok(Response::new(Full::default())) };
    let came = Came {
        path: path.clone(),
        id,
        timestamp,
        signatures,
        body: body.to_bytes(),
        at: Instant::now(),
    };
    shared.came.lock().expect("whole").push(came);
    let status = match path.split('/').nth(1) {
        Some("status") => {
            path.rsplit('/').next().and_then(|status| status.parse().ok()).expect("a status")
        }
        Some("redirect") => 302,
        Some("switch") if shared.fails.load(Ordering::SeqCst) => 500,
        Some("hang") => {
            std::future::pending::<()>().await;
            500
        }
        _ => 204_u16,
    };
    let mut response = Response::builder().status(status);
    if status == 302 {
        response = response.header("location", "/ok/redirected");
    }
    Ok(response.body(Full::default()).expect("an answer"))
}
