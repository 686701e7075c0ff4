//! The adapter before a real TLS server that demands a certificate of whoever calls.

use fiscus_ledger::base64::encode_standard;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::uploads::contract::{Item, Said};

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", encode_standard(der))
}

/// A certificate authority of the test.
fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate and its key, in PEM and DER.
struct Leaf {
    cert_pem: String,
    key_pem: String,
    cert: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn leaf(of: &CertifiedIssuer<'_, KeyPair>, name: &str) -> Leaf {
    let pair = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let cert = params.signed_by(&pair, of).expect("a certificate");
    Leaf {
        cert_pem: pem("CERTIFICATE", cert.der()),
        key_pem: pem("PRIVATE KEY", &pair.serialize_der()),
        cert: cert.der().clone(),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der())),
    }
}

/// Takes batches of whoever has a certificate of this authority.
async fn module(of: &CertifiedIssuer<'_, KeyPair>) -> (u16, JoinSet<()>) {
    let Leaf { cert, key, .. } = leaf(of, "127.0.0.1");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut trusted = RootCertStore::empty();
    trusted.add(of.der().clone()).expect("a root");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), Arc::clone(&provider));
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![cert], key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever has no certificate ends here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut came = Vec::new();
            let body = loop {
                let mut bytes = [0; 4_096];
                let Ok(read @ 1..) = stream.read(&mut bytes).await else { break None };
                came.extend_from_slice(&bytes[..read]);
                let text = String::from_utf8_lossy(&came);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                let whole = body.and_then(|body| serde_json::from_str::<Value>(&body).ok());
                if whole.is_some() {
                    break whole;
                }
            };
            let Some(batch) = body else { continue };
            let sent = &batch["invoices"][0];
            let result = json!({"id": sent["id"], "record_hash": sent["record_hash"], "status": "acknowledged"});
            let answer = json!({"batch_id": batch["batch_id"], "receipt": "MCF-1", "results": [result]});
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
            // Whoever sends may have hung up.
            let _ = stream.write_all((head + &answer).as_bytes()).await;
            let _ = stream.flush().await;
        }
    });
    (port, serving)
}

fn batch() -> Batch {
    let item = Item {
        id: "inv_1".to_owned(),
        fiscal_number: "KIN-GOMBE-1".to_owned(),
        position: 1,
        kind: "sale".to_owned(),
        timestamp: "2026-11-28T10:15:30.123Z".to_owned(),
        record_hash: "ab".repeat(32),
        fiscal_authority_id: "demo.29d1c0ffee15900d".to_owned(),
        signature: "cd".repeat(64),
        invoice: "{}".to_owned(),
    };
    Batch {
        batch_id: "bat_1".to_owned(),
        outlet_id: "outlet-gombe".to_owned(),
        merchant_nif: "A1234567B".to_owned(),
        invoices: vec![item],
    }
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_takes_ours_and_nobody_elses() {
    let (own, other) = (issuer(), issuer());
    let (port, _serving) = module(&own).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let ca_file = file("ca.pem", &pem("CERTIFICATE", own.der()));
    let key_file = file("key", "an-api-key\n");
    let pair = |name: &str, of: &CertifiedIssuer<'_, KeyPair>| {
        let Leaf { cert_pem, key_pem, .. } = leaf(of, "gateway.example.cd");
        (file(&format!("{name}.pem"), &cert_pem), file(&format!("{name}.key"), &key_pem))
    };
    let (known, foreign) = (pair("known", &own), pair("foreign", &other));
    for (who, identity) in [("known", Some(known)), ("foreign", Some(foreign)), ("nobody", None)] {
        let (client_cert, client_key) = identity.unzip();
        let section = UploadsSection {
            ca_file: Some(ca_file.clone()),
            key_file: client_cert.is_none().then(|| key_file.clone()),
            client_cert,
            client_key,
            allow: vec!["127.0.0.0/8".parse().expect("a network")],
            timeout_ms: 5_000,
            ..UploadsSection::new(format!("https://127.0.0.1:{port}/v1/batches"))
        };
        section.check(true).expect("it is sound");
        let adapter = HttpJson::open(&section).expect("its files are there");
        match adapter.send(&batch()).await {
            Sent::Answered(answered) => {
                assert_eq!((who, answered.said), ("known", vec![Said::Acknowledged]));
            }
            // It is sent again for as long as it takes: what was refused is known to nobody.
            Sent::Unknown { reason, .. } => assert_ne!(who, "known", "{reason}"),
        }
    }
}

#[test]
fn a_key_without_its_certificate_and_another_ones_key_are_refused_at_the_start() {
    let own = issuer();
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (leaf(&own, "a.example.cd"), leaf(&own, "b.example.cd"));
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, one.cert_pem).expect("a file");
    std::fs::write(&key, two.key_pem).expect("a file");
    let section = UploadsSection {
        client_cert: Some(cert),
        client_key: Some(key),
        ..UploadsSection::new("https://mcf.example.cd/v1/batches".to_owned())
    };
    let error = HttpJson::open(&section).expect_err("they do not belong together");
    assert!(matches!(error, AdapterError::File { .. }), "{error}");
}
