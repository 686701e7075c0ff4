//! Connections as the cluster makes them, with certificates as an operator makes them.

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fiscus_proto::ledger::TopologyRequest;
use fiscus_proto::ledger::ledger_client::LedgerClient;
use fiscus_proto::tls::{
    Role, TlsFiles, TlsMaterial, client_config, only_node, peer_roles, server_config,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Server};
use tonic::{Code, Request, Status};

fn fiscus(arguments: &[&str]) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fiscus")).args(arguments).output().expect("fiscus runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// A CA with one certificate for each role.
struct Pki {
    dir: TempDir,
}

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        fiscus(&["admin", "pki", "init", "--out", folder]);
        for role in Role::ALL {
            let role = role.as_str();
            let issue = ["admin", "pki", "issue", "--ca", folder, "--out", folder];
            let id: &[&str] = if role == "node" { &["--node-id", "1"] } else { &[] };
            fiscus(&[&issue[..], &["--role", role, "--name", role], id].concat());
        }
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn material(&self, role: Role) -> TlsMaterial {
        let at = |ending: &str| self.path().join(format!("{role}.{ending}"));
        let files = TlsFiles { ca: self.path().join("ca.pem"), cert: at("pem"), key: at("key") };
        files.load().unwrap()
    }
}

/// Gateways may ask; everybody else is told what they are.
fn gateways_only(request: Request<()>) -> Result<Request<()>, Status> {
    let roles = peer_roles(&request).map_err(|error| Status::unauthenticated(error.to_string()))?;
    if roles == [Role::Gateway] {
        return Ok(request);
    }
    Err(Status::permission_denied(format!("{roles:?}")))
}

/// Serves until the test ends, and gives the port. Behind the door there is no service, which tonic
/// answers with `Unimplemented`.
async fn serving<F: Future<Output = ()>>(material: &TlsMaterial, test: impl FnOnce(u16) -> F) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder()
        .tls_config(server_config(material))
        .unwrap()
        .layer(InterceptorLayer::new(gateways_only))
        .add_routes(Routes::default())
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = stopped.await;
        });
    let server = tokio::spawn(server);
    test(port).await;
    stop.send(()).unwrap();
    timeout(Duration::from_secs(30), server).await.unwrap().unwrap().unwrap();
}

/// What a call ends with; a connection that does not come about is `None`.
async fn call(port: u16, tls: Option<ClientTlsConfig>) -> Option<Status> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://127.0.0.1:{port}"))
        .unwrap()
        .connect_timeout(Duration::from_secs(20))
        .timeout(Duration::from_secs(20));
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).unwrap();
    }
    let channel = endpoint.connect().await.ok()?;
    LedgerClient::new(channel).topology(TopologyRequest::default()).await.err()
}

/// With TLS 1.3 a client learns that it was refused only with the first answer: the connection may
/// seem to come about.
fn assert_refused(answer: Option<Status>, who: &str) {
    if let Some(status) = answer {
        let never_served = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
        assert!(never_served.contains(&status.code()), "{who}: {status:?}");
    }
}

#[tokio::test]
async fn the_right_role_is_let_in_and_others_are_known_by_theirs() {
    let pki = Pki::new();
    serving(&pki.material(Role::Node), async |port| {
        for role in Role::ALL {
            let answer = call(port, Some(client_config(&pki.material(role)))).await.unwrap();
            if role == Role::Gateway {
                assert_eq!(answer.code(), Code::Unimplemented, "{answer:?}");
            } else {
                assert_eq!(answer.code(), Code::PermissionDenied, "{answer:?}");
                assert_eq!(answer.message(), format!("{:?}", [role]));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    let node = pki.material(Role::Node);
    let ca = || Certificate::from_pem(&node.ca_pem);
    let name = fiscus_proto::tls::NODE_NAME;
    serving(&node, async |port| {
        let foreign = other.material(Role::Gateway);
        let foreign = TlsMaterial { ca_pem: node.ca_pem.clone(), ..foreign };
        assert_refused(call(port, Some(client_config(&foreign))).await, "another CA's client");

        let anonymous = ClientTlsConfig::new().ca_certificate(ca()).domain_name(name);
        assert_refused(call(port, Some(anonymous)).await, "a client without a certificate");

        assert_refused(call(port, None).await, "a client without TLS");

        // The same server lets the right one in: it was not simply broken.
        let right = call(port, Some(client_config(&pki.material(Role::Gateway)))).await.unwrap();
        assert_eq!(right.code(), Code::Unimplemented, "{right:?}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_means_one_node_accepts_no_other() {
    let pki = Pki::new();
    let gateway = client_config(&pki.material(Role::Gateway));
    serving(&pki.material(Role::Node), async |port| {
        let itself = call(port, Some(only_node(gateway.clone(), 1))).await.unwrap();
        assert_eq!(itself.code(), Code::Unimplemented, "{itself:?}");
        assert!(call(port, Some(only_node(gateway, 2))).await.is_none(), "node 1 is not node 2");
    })
    .await;
}

#[tokio::test]
async fn a_client_accepts_nodes_of_its_own_ca_only() {
    let (pki, other) = (Pki::new(), Pki::new());
    let client = client_config(&pki.material(Role::Gateway));
    for (server, who) in [
        (pki.material(Role::Gateway), "a gateway that plays a node"),
        (
            TlsMaterial { ca_pem: pki.material(Role::Node).ca_pem, ..other.material(Role::Node) },
            "a node of another CA",
        ),
    ] {
        let client = client.clone();
        serving(&server, async |port| {
            assert!(call(port, Some(client)).await.is_none(), "{who}");
        })
        .await;
    }
}
