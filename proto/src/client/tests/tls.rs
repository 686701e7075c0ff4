//! Over TLS, a client only talks to nodes of its own cluster, and they only to it.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::time::Instant;

use super::{Fake, GROUP, LONG, seal, topology};
use crate::client::{Answer, ClientConfig, ClusterClient};
use crate::tls::tests::pem;
use crate::tls::{TlsMaterial, server_config};

struct Authority {
    pem: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = pem("CERTIFICATE", certificate.der()).into_bytes();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate of this authority, for one who trusts `trusted`.
    fn material(&self, names: &[&str], trusted: &Self) -> TlsMaterial {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsMaterial {
            ca_pem: trusted.pem.clone(),
            cert_pem: pem("CERTIFICATE", certificate.der()).into_bytes(),
            key_pem: pem("PRIVATE KEY", &key.serialize_der()).into_bytes(),
        }
    }
}

#[tokio::test]
async fn only_nodes_and_clients_of_one_authority_talk() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let node = &["node.fiscus.internal", "1.node.fiscus.internal"];
    let gateway = &["gateway.fiscus.internal"];
    let cases = [
        ("all is right", ours.material(node, &ours), ours.material(gateway, &ours), true),
        ("not a node", ours.material(gateway, &ours), ours.material(gateway, &ours), false),
        ("a strange node", theirs.material(node, &ours), ours.material(gateway, &ours), false),
        ("a strange client", ours.material(node, &ours), theirs.material(gateway, &ours), false),
    ];
    for (name, server, client, talks) in cases {
        let nodes = [Fake::start_with(Some(server_config(&server)))];
        nodes[0].script.lock().unwrap().topology = topology(&nodes, 1, 1);
        let seeds = vec![nodes[0].address.to_string()];
        match ClusterClient::connect(ClientConfig::new(seeds, Some(client))).await {
            Ok(client) => {
                assert!(talks, "{name}");
                assert_eq!(client.submit(GROUP, seal(), LONG).await, Ok(Answer::Done));
            }
            Err(error) => {
                assert_eq!((talks, error.code()), (false, "CLIENT_NO_NODE_ANSWERS"), "{name}");
            }
        }
    }
}

/// A node that answers at the address of another one is asked who the nodes are, and no more.
#[tokio::test]
async fn no_node_is_taken_for_another() {
    let ours = Authority::new();
    let node = |id: &str| {
        let material = ours.material(&["node.fiscus.internal", id], &ours);
        Fake::start_with(Some(server_config(&material)))
    };
    for (named, right) in [("1.node.fiscus.internal", true), ("2.node.fiscus.internal", false)] {
        let nodes = [node(named)];
        nodes[0].script.lock().unwrap().topology = topology(&nodes, 1, 1);
        let seeds = vec![nodes[0].address.to_string()];
        let gateway = ours.material(&["gateway.fiscus.internal"], &ours);
        let client = ClusterClient::connect(ClientConfig::new(seeds, Some(gateway))).await.unwrap();
        let wait = if right { LONG } else { Duration::from_millis(500) };
        let answer = client.submit(GROUP, seal(), wait).await;
        assert_eq!(answer.is_ok(), right, "{named}: {answer:?}");
        assert_eq!(nodes[0].seen().len(), usize::from(right), "{named}: what has come to it");
        assert!(client.refresh(u64::MAX - 1, Instant::now() + LONG).await.is_ok(), "{named}");
    }
}
