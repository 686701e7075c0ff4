//! A witness as C2SP tlog-witness describes it: what it believes, what it answers, in plain text and over TLS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use ed25519_dalek::{Signer, SigningKey};
use fiscus_ledger::base64::{decode_standard, encode_standard};
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::cosignature::{CosignerKey, cosigned_text};
use fiscus_ledger::hash::{Hash32, from_hex};
use fiscus_ledger::note::{KnownKeys, Note, VerifierKey};
use fiscus_ledger::tree::{empty_root, verify_consistency};
use fiscus_node::config::WitnessSection;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A proof is at most so long.
const PROOF_HASHES_MAX: usize = 63;
/// When it cosigns, by its own clock.
const TIME: u64 = 1_795_000_000;

/// A witness, and what it has seen.
pub(crate) struct Witness {
    name: String,
    key: SigningKey,
    /// The logs that it takes checkpoints of.
    logs: Mutex<BTreeMap<String, VerifierKey>>,
    /// What it has cosigned: size and root by the log's name.
    seen: Mutex<BTreeMap<String, (u64, Hash32)>>,
    /// Whether it fails whatever it is asked.
    failing: AtomicBool,
}

type Answer = (StatusCode, HeaderMap, String);

fn plain(status: StatusCode, text: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn answer(status: StatusCode, kind: &str, text: String) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, kind.parse().expect("a type"));
    (status, headers, text)
}

impl Witness {
    /// The one of this number; it knows no log.
    pub(crate) fn new(number: u8) -> Arc<Self> {
        Arc::new(Self {
            name: format!("witness.example/w{number}"),
            key: SigningKey::from_bytes(&[number; 32]),
            logs: Mutex::default(),
            seen: Mutex::default(),
            failing: AtomicBool::new(false),
        })
    }

    pub(crate) fn cosigner(&self) -> CosignerKey {
        CosignerKey::new(&self.name, self.key.verifying_key().as_bytes()).expect("a key")
    }

    /// How a node is told of it.
    pub(crate) fn section(&self, url: &str, ca_file: Option<&Path>) -> WitnessSection {
        let (key, url) = (self.cosigner().to_text(), url.to_owned());
        WitnessSection { key, url, ca_file: ca_file.map(Path::to_owned) }
    }

    /// From now on it takes the checkpoints of a log.
    pub(crate) fn know(&self, log: &str, key: &Hash32) {
        let key = VerifierKey::new(log, key).expect("a key");
        self.logs.lock().expect("no holder panics").insert(log.to_owned(), key);
    }

    /// What it has cosigned of a log.
    pub(crate) fn seen(&self, log: &str) -> Option<(u64, Hash32)> {
        self.seen.lock().expect("no holder panics").get(log).copied()
    }

    /// Has it believe that it has cosigned this.
    pub(crate) fn remember(&self, log: &str, seen: (u64, Hash32)) {
        self.seen.lock().expect("no holder panics").insert(log.to_owned(), seen);
    }

    pub(crate) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// In the order of the specification.
    fn add_checkpoint(&self, body: &str) -> Answer {
        if self.failing.load(Ordering::Relaxed) {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "not now");
        }
        let Some((old, proof, note)) = read(body) else {
            return plain(StatusCode::BAD_REQUEST, "this is no request");
        };
        let Ok(new) = Checkpoint::parse(note.text()) else {
            return plain(StatusCode::BAD_REQUEST, "this is no checkpoint");
        };
        let Some(key) = self.logs.lock().expect("no holder panics").get(new.origin()).cloned()
        else {
            return plain(StatusCode::NOT_FOUND, "this log is not known");
        };
        let known = KnownKeys::new([key]).expect("one key");
        if note.verify(&known).is_err() {
            return plain(StatusCode::FORBIDDEN, "the log has not signed this");
        }
        if old > new.size() {
            return plain(StatusCode::BAD_REQUEST, "the old size is larger");
        }
        let mut seen = self.seen.lock().expect("no holder panics");
        let (size, root) = seen.get(new.origin()).copied().unwrap_or((0, empty_root()));
        if old != size {
            return answer(StatusCode::CONFLICT, "text/x.tlog.size", format!("{size}\n"));
        }
        if old == new.size() && root != *new.root() {
            return plain(StatusCode::CONFLICT, "another root");
        }
        if verify_consistency(old, &root, new.size(), new.root(), &proof).is_err() {
            return plain(StatusCode::UNPROCESSABLE_ENTITY, "the proof does not hold");
        }
        seen.insert(new.origin().to_owned(), (new.size(), *new.root()));
        let signature = self.key.sign(cosigned_text(note.text(), TIME).as_bytes());
        let text = self.cosigner().to_text();
        let id: [u8; 4] = text.split('+').nth(1).and_then(from_hex).expect("an id");
        let bytes = [&id[..], &TIME.to_be_bytes(), &signature.to_bytes()].concat();
        let line = format!("— {} {}\n", self.name, encode_standard(&bytes));
        answer(StatusCode::OK, "text/plain; charset=utf-8", line)
    }

    fn routes(self: &Arc<Self>) -> Router {
        let witness = self.clone();
        let route = post(move |body: String| {
            let witness = witness.clone();
            async move { witness.add_checkpoint(&body) }
        });
        Router::new().route("/w/add-checkpoint", route)
    }

    /// Serves in plain text; its submission prefix.
    pub(crate) async fn serve(self: &Arc<Self>) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let routes = self.routes();
        tokio::spawn(async move { axum::serve(socket, routes).await });
        format!("http://{address}/w")
    }

    /// Serves over TLS with a certificate of an authority; its submission prefix.
    pub(crate) async fn serve_tls(self: &Arc<Self>, authority: &Authority) -> String {
        let acceptor = authority.acceptor("127.0.0.1");
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let routes = self.routes();
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                tokio::spawn(async move {
                    // Whoever does not believe the certificate hangs up.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(routes);
                    let serving = Builder::new(TokioExecutor::new());
                    serving.serve_connection(TokioIo::new(stream), service).await.unwrap_or(());
                });
            }
        });
        format!("https://{address}/w")
    }
}

/// The old size, the proof, and the checkpoint.
fn read(body: &str) -> Option<(u64, Vec<Hash32>, Note)> {
    let (head, note) = body.split_once("\n\n")?;
    let mut lines = head.lines();
    let old = lines.next()?.strip_prefix("old ")?.parse().ok()?;
    let proof = lines.map(|line| decode_standard(line)?.try_into().ok());
    let proof: Vec<Hash32> = proof.collect::<Option<_>>()?;
    (proof.len() <= PROOF_HASHES_MAX).then_some(())?;
    Some((old, proof, Note::parse(note.as_bytes()).ok()?))
}

/// Who vouches for witnesses.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its certificate.
    pub(crate) file: PathBuf,
}

impl Authority {
    pub(crate) fn new(file: PathBuf) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let text = encode_standard(issuer.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        std::fs::write(&file, pem).expect("it is written");
        Self { issuer, file }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = key.serialize_der().try_into().expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)
            });
        TlsAcceptor::from(Arc::new(config.expect("a configuration")))
    }
}
