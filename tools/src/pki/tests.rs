use fiscus_proto::tls::{node_ids_of, roles_of};

use super::*;

const NOW_S: u64 = 1_770_000_000;

fn ca() -> Issued {
    make_ca("demo", 3_650, NOW_S).unwrap()
}

fn subject<'a>(role: Role, hosts: &'a [String]) -> Subject<'a> {
    let node = (role == Role::Node).then_some(7);
    Subject { role, node, name: "n-1", hosts, days: 365 }
}

fn hosts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn certificates_carry_role_hosts_and_time() {
    let ca = ca();
    let hosts = hosts(&["n1.example", "10.0.0.1", "::1"]);
    for role in Role::ALL {
        let made = issue(&ca, &subject(role, &hosts), NOW_S).unwrap();
        let der = certificate(&made.cert_pem).unwrap();
        let facts = CertificateFacts::read(&der).unwrap();
        assert_eq!(roles_of(&der).unwrap(), [role]);
        assert_eq!(facts.common_name.as_deref(), Some("n-1"));
        let ids = node_ids_of(&der).unwrap();
        let mut names = vec![role.dns_name(), "n1.example".to_owned()];
        if role == Role::Node {
            names.insert(1, "7.node.fiscus.internal".to_owned());
            assert_eq!(ids, [7]);
        } else {
            assert!(ids.is_empty(), "{role}");
        }
        assert_eq!(facts.dns_names, names);
        assert_eq!(facts.ip_addresses.len(), 2);
        assert_eq!(facts.validity.not_before_s, 1_769_996_400);
        assert_eq!(facts.validity.not_after_s, 1_770_000_000 + 365 * 86_400);
        assert!(!facts.is_ca);
    }
    let facts = CertificateFacts::read(&certificate(&ca.cert_pem).unwrap()).unwrap();
    assert_eq!((facts.common_name.as_deref(), facts.is_ca), (Some("demo CA"), true));
}

#[test]
fn only_nodes_and_hosts_can_be_servers() {
    let ca = ca();
    let serves = |role, hosts: &[String]| {
        let made = issue(&ca, &subject(role, hosts), NOW_S).unwrap();
        let made = certificate(&made.cert_pem).unwrap();
        let ca = certificate(&ca.cert_pem).unwrap();
        let anchors = [anchor_from_trusted_cert(&ca).unwrap()];
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW_S));
        let usage = KeyUsage::server_auth();
        EndEntityCert::try_from(&made)
            .unwrap()
            .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], now, usage, None, None)
            .is_ok()
    };
    assert!(serves(Role::Node, &[]));
    assert!(!serves(Role::Gateway, &[]));
    assert!(serves(Role::Gateway, &hosts(&["shop.example"])));
}

#[test]
fn nodes_and_nobody_else_have_ids() {
    let ca = ca();
    for (role, node) in [(Role::Node, None), (Role::Node, Some(0)), (Role::Admin, Some(1))] {
        let subject = Subject { node, ..subject(role, &[]) };
        let refusal = format!("{:#}", issue(&ca, &subject, NOW_S).err().unwrap());
        assert!(refusal.contains("--node-id"), "{refusal}");
    }
}

#[test]
fn a_host_cannot_smuggle_a_role_in() {
    let ca = ca();
    for host in [
        "node.fiscus.internal",
        "NODE.Fiscus.Internal",
        "fiscus.internal",
        "a.node.fiscus.internal",
        "2.node.fiscus.internal",
        "*.fiscus.internal",
        "a b",
        "",
        "-a.example",
        "a..example",
        "a.example.",
        "é.example",
    ] {
        let hosts = hosts(&[host]);
        assert!(issue(&ca, &subject(Role::Auditor, &hosts), NOW_S).is_err(), "{host}");
    }
}

#[test]
fn names_and_days_are_bounded() {
    let ca = ca();
    let long = "x".repeat(49);
    for name in ["", ".hidden", "a/b", "../a", "a b", "é", &long] {
        let subject = Subject { name, ..subject(Role::Node, &[]) };
        assert!(issue(&ca, &subject, NOW_S).is_err(), "{name}");
        assert!(make_ca(name, 10, NOW_S).is_err(), "{name}");
    }
    for days in [0, DAYS_MAX + 1] {
        assert!(make_ca("demo", days, NOW_S).is_err());
        assert!(issue(&ca, &Subject { days, ..subject(Role::Node, &[]) }, NOW_S).is_err());
    }
    let after_ca = Subject { days: 3_651, ..subject(Role::Node, &[]) };
    let refusal = format!("{:#}", issue(&ca, &after_ca, NOW_S).err().unwrap());
    assert!(refusal.contains("the CA ends before"), "{refusal}");
}

#[test]
fn files_that_are_not_one_ca_are_refused() {
    let (one, other) = (ca(), ca());
    let issue = |ca: &Issued| issue(ca, &subject(Role::Node, &[]), NOW_S).err().unwrap();
    let mixed = Issued { cert_pem: one.cert_pem.clone(), key_pem: other.key_pem.clone() };
    let refusal = format!("{:#}", issue(&mixed));
    assert!(refusal.contains("do not belong together"), "{refusal}");
    let leaf = super::issue(&one, &subject(Role::Node, &[]), NOW_S).unwrap();
    assert!(format!("{:#}", issue(&leaf)).contains("no CA"));
    for (cert_pem, key_pem) in [("", one.key_pem.as_str()), (one.cert_pem.as_str(), "")] {
        let (cert_pem, key_pem) = (cert_pem.to_owned(), Zeroizing::new(key_pem.to_owned()));
        issue(&Issued { cert_pem, key_pem });
    }
}

#[test]
fn an_expired_ca_issues_nothing() {
    let ca = make_ca("demo", 1, NOW_S).unwrap();
    let later = NOW_S + 2 * 86_400;
    assert!(issue(&ca, &Subject { days: 1, ..subject(Role::Node, &[]) }, later).is_err());
}
