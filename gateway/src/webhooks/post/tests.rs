//! Names that lead elsewhere the second time, answers of all kinds, and TLS, over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// Answers with each list in turn, and with the last one for ever.
#[derive(Debug)]
struct Scripted {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Resolver for Scripted {
    fn resolve(&self, _name: &str) -> Resolving {
        let at = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let addresses =
            self.answers[at].iter().map(|text| text.parse().expect("an address")).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

fn poster(allowed: &[&str], answers: &[&[&'static str]]) -> (Poster, Arc<Scripted>) {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    let scripted = Arc::new(Scripted { answers, asked: AtomicUsize::new(0) });
    let guard = Guard::new(allowed.iter().map(|text| text.parse().expect("a network")).collect());
    let resolver: Arc<dyn Resolver> = Arc::<Scripted>::clone(&scripted);
    (Poster::new(guard, resolver, RootCertStore::empty()), scripted)
}

fn target(url: &str) -> Target {
    Target::parse(url, true).expect("a URL")
}

/// A server that answers each request with the same bytes; its port, and how many connections it took.
async fn server(answer: String) -> (u16, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            connections.spawn(async move {
                let mut bytes = [0; 4_096];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, taken, tasks)
}

async fn send(poster: &Poster, url: &str) -> Result<Reply, PostError> {
    poster.post("org", &target(url), &[], &Bytes::from_static(b"{}"), LIMIT).await
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed_there() {
    let (port, taken, _server) = server("HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
    for answers in [
        &["127.0.0.1"][..],
        &["8.8.8.8", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["::1"],
        &["64:ff9b::7f00:1"],
        &["0.0.0.0"],
        &["::"],
        &["2002:7f00:1::"],
        &["2001:0:7f00:1::"],
        &["169.254.169.254"],
    ] {
        let (poster, _) = poster(&[], &[answers]);
        let refused = send(&poster, &format!("http://inside.example.cd:{port}/")).await;
        assert!(matches!(refused, Err(PostError::Closed(_))), "{answers:?}: {refused:?}");
    }
    for host in ["127.0.0.1", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]"] {
        let (poster, scripted) = poster(&[], &[&["8.8.8.8"]]);
        let refused = send(&poster, &format!("http://{host}:{port}/")).await;
        assert!(matches!(refused, Err(PostError::Closed(_))), "{host}: {refused:?}");
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 0, "an address is not resolved");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 0, "nothing was connected to");
}

/// The name is good when it is checked and bad a moment later.
#[tokio::test]
async fn a_name_is_resolved_once_and_the_checked_address_is_the_one_that_is_reached() {
    let (port, taken, _server) =
        server("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned()).await;
    let (poster, scripted) = poster(&["127.0.0.1/32"], &[&["127.0.0.1"], &["127.0.0.2"]]);
    let url = format!("http://rebinding.example.cd:{port}/");
    assert_eq!(send(&poster, &url).await.expect("an answer").status, 204);
    assert_eq!((scripted.asked.load(Ordering::SeqCst), taken.load(Ordering::SeqCst)), (1, 1));
    let refused = send(&poster, &url).await;
    assert!(matches!(refused, Err(PostError::Closed(_))), "{refused:?}");
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_of_several_addresses_that_takes_a_connection_is_enough_and_each_must_be_open() {
    let (port, taken, _server) = server("HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
    // The server is at 127.0.0.1 only.
    let allowed = &["127.0.0.1/32", "127.0.0.9/32"];
    let url = format!("http://a.example.cd:{port}/");
    for addresses in [&["127.0.0.9", "127.0.0.1"][..], &["127.0.0.1", "127.0.0.9"]] {
        let (poster, _) = poster(allowed, &[addresses]);
        assert_eq!(send(&poster, &url).await.expect("an answer").status, 204, "{addresses:?}");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 2);
    let (none, _) = poster(allowed, &[&["127.0.0.9", "127.0.0.9"]]);
    let refused = send(&none, &url).await;
    assert!(matches!(refused, Err(PostError::Connect(_))), "{refused:?}");
    let (inside, _) = poster(allowed, &[&["127.0.0.9", "127.0.0.2", "127.0.0.1"]]);
    let refused = send(&inside, &url).await;
    assert!(matches!(refused, Err(PostError::Closed(_))), "{refused:?}");
    let (nowhere, _) = poster(allowed, &[&[]]);
    let refused = send(&nowhere, &url).await;
    assert!(matches!(refused, Err(PostError::NoAddress)), "{refused:?}");
    assert_eq!(taken.load(Ordering::SeqCst), 2, "nothing else was connected to");
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_redirect_is_an_answer() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
    let (port, taken, _server) = server(moved.to_owned()).await;
    let (poster, _) = poster(&["127.0.0.0/8"], &[&["127.0.0.1"]]);
    for _ in 0..5 {
        let reply =
            send(&poster, &format!("http://a.example.cd:{port}/")).await.expect("an answer");
        assert_eq!((reply.status, &*reply.head), (302, "location: http://127.0.0.1/"));
    }
    assert!(taken.load(Ordering::SeqCst) < 5, "connections are kept");
}

#[tokio::test]
async fn retry_after_is_read_where_it_means_something_and_bodies_are_cut() {
    let endless = format!("content-length: {}\r\n\r\n{}", 1 << 30, "x".repeat(BODY_BYTES_MAX * 2));
    for (answer, status, wait_ms) in [
        (
            "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".to_owned(),
            429,
            Some(7_000),
        ),
        (
            "HTTP/1.1 503 Not now\r\nretry-after: soon\r\ncontent-length: 0\r\n\r\n".to_owned(),
            503,
            None,
        ),
        ("HTTP/1.1 200 OK\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".to_owned(), 200, None),
        (format!("HTTP/1.1 500 Broken\r\n{endless}"), 500, None),
    ] {
        let (port, _, _server) = server(answer).await;
        let (poster, _) = poster(&["127.0.0.0/8"], &[&["127.0.0.1"]]);
        let reply =
            send(&poster, &format!("http://a.example.cd:{port}/")).await.expect("an answer");
        assert_eq!((reply.status, reply.retry_after_ms), (status, wait_ms));
    }
}

/// A dot at the end leads to the same machine.
#[tokio::test]
async fn this_machines_own_name_is_not_reached() {
    let (port, taken, _server) = server("HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
    for name in ["localhost", "localhost.", "LOCALHOST"] {
        let poster =
            Poster::new(Guard::default(), Arc::new(SystemResolver), RootCertStore::empty());
        let refused = send(&poster, &format!("http://{name}:{port}/")).await;
        assert!(
            matches!(refused, Err(PostError::Closed(_) | PostError::Resolve(_))),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_to_this_machine_is_not_followed() {
    let (inside, reached, _inside) = server("HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
    for status in [301, 302, 303, 307, 308] {
        let moved = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: http://127.0.0.1:{inside}/\r\ncontent-length: 0\r\n\r\n"
        );
        let (port, _, _server) = server(moved).await;
        let (poster, _) = poster(&["127.0.0.0/8"], &[&["127.0.0.1"]]);
        let reply =
            send(&poster, &format!("http://a.example.cd:{port}/")).await.expect("an answer");
        assert_eq!(reply.status, status);
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0, "nothing was connected to");
}

#[test]
fn whoever_wants_to_be_left_alone_says_for_how_long_or_until_when() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 90);
    for (text, wait_ms) in [
        ("7", Some(7_000)),
        (" 7 ", Some(7_000)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90_000)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(90_000)),
        ("Sun Nov  6 08:49:37 1994", Some(90_000)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("-1", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(retry_after_ms(text, now), wait_ms, "{text:?}");
    }
}

#[tokio::test]
async fn everything_ends_by_the_limit() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (poster, _) = poster(&["127.0.0.0/8"], &[&["127.0.0.1"]]);
    let target = target(&format!("http://a.example.cd:{port}/"));
    let limit = Duration::from_millis(200);
    let hung = poster.post("org", &target, &[], &Bytes::new(), limit).await;
    assert!(matches!(hung, Err(PostError::Time(_))), "{hung:?}");
}

#[tokio::test]
async fn an_answer_whose_body_does_not_end_is_one_and_its_connection_is_not_used_again() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_owned();
    let (port, taken, _server) = server(answer).await;
    let (poster, _) = poster(&["127.0.0.0/8"], &[&["127.0.0.1"]]);
    let target = target(&format!("http://a.example.cd:{port}/"));
    for connections in 1..3 {
        let limit = Duration::from_millis(400);
        let reply =
            poster.post("org", &target, &[], &Bytes::new(), limit).await.expect("an answer");
        assert_eq!((reply.status, taken.load(Ordering::SeqCst)), (200, connections));
    }
}

#[tokio::test]
async fn a_certificate_must_be_vouched_for_and_of_the_name() {
    let pair = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["a.example.cd".to_owned()];
    let cert = rcgen::CertificateParams::new(names)
        .expect("a name")
        .self_signed(&pair)
        .expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![cert.der().clone()], key).expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut bytes = [0; 4_096];
            if stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                // Whoever sends may have hung up.
                let _ =
                    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                let _ = stream.flush().await;
            }
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    for (roots, host, well) in [
        (roots.clone(), "a.example.cd", true),
        (roots, "b.example.cd", false),
        (RootCertStore::empty(), "a.example.cd", false),
    ] {
        let scripted = Scripted { answers: vec![vec!["127.0.0.1"]], asked: AtomicUsize::new(0) };
        let guard = Guard::new(vec!["127.0.0.0/8".parse().expect("a network")]);
        let poster = Poster::new(guard, Arc::new(scripted), roots);
        let sent = send(&poster, &format!("https://{host}:{port}/")).await;
        match sent {
            Ok(reply) => assert_eq!((well, reply.status), (true, 204)),
            Err(error) => assert!(!well && matches!(error, PostError::Tls(_)), "{host}: {error}"),
        }
    }
}
