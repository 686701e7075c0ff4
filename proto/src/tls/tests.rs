use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};

use super::*;

/// A self-signed certificate with these names, valid from 2026-01-01 for a day.
fn certificate(names: &[&str], is_ca: bool) -> (Vec<u8>, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "shop-7");
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 1) + Duration::from_secs(86_399);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().der().to_vec(), key.serialize_der())
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----");
    for (index, chunk) in der.chunks(3).enumerate() {
        if index % 16 == 0 {
            text.push('\n');
        }
        let bits = (0..3)
            .fold(0_u32, |bits, at| (bits << 8) | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let place = usize::try_from((bits >> (18 - 6 * digit)) & 63).unwrap();
            text.push(if digit <= chunk.len() { char::from(DIGITS[place]) } else { '=' });
        }
    }
    text + &format!("\n-----END {label}-----\n")
}

#[test]
fn a_node_has_one_spelling() {
    for (names, expected) in [
        (&["node.fiscus.internal", "12.node.fiscus.internal"] as &[&str], vec![12]),
        (&["3.node.fiscus.internal", "2.node.fiscus.internal"], vec![2, 3]),
        (&["node.fiscus.internal", "n1.example"], vec![]),
        (&["0.node.fiscus.internal", "01.node.fiscus.internal"], vec![]),
        (&["x.node.fiscus.internal", "1.2.node.fiscus.internal"], vec![]),
        (&["1.node.fiscus.internal.example", "1node.fiscus.internal"], vec![]),
        (&["99999999999999999999.node.fiscus.internal"], vec![]),
    ] {
        let (der, _) = certificate(names, false);
        assert_eq!(node_ids_of(&der).unwrap(), expected, "{names:?}");
    }
    let (der, _) = certificate(&[&node_dns_name(u64::MAX)], false);
    assert_eq!(node_ids_of(&der).unwrap(), [u64::MAX]);
}

#[test]
fn roles_are_exactly_the_names_below_the_domain() {
    for (names, expected) in [
        (&["node.fiscus.internal"] as &[&str], vec![Role::Node]),
        (
            &["auditor.fiscus.internal", "gateway.fiscus.internal", "shop.example"],
            vec![Role::Gateway, Role::Auditor],
        ),
        (&["proxy.fiscus.internal", "proxy.fiscus.internal"], vec![Role::Proxy]),
        (&["admin.fiscus.internal", "127.0.0.1"], vec![Role::Admin]),
        (&[], vec![]),
        (&["*.fiscus.internal", "fiscus.internal", ".fiscus.internal"], vec![]),
        (&["nodefiscus.internal", "root.fiscus.internal", "x.node.fiscus.internal"], vec![]),
        (&["node.fiscus.internal.example", "node"], vec![]),
    ] {
        let (der, _) = certificate(names, false);
        assert_eq!(roles_of(&der).unwrap(), expected, "{names:?}");
    }
    for role in Role::ALL {
        assert_eq!(Role::parse(role.as_str()), Some(role));
    }
    assert_eq!(Role::Node.dns_name(), NODE_NAME);
    assert_eq!(Role::parse("Node"), None);
}

#[test]
fn the_facts_of_a_certificate_are_read() {
    let names = ["node.fiscus.internal", "10.1.2.3", "::1", "n1.example"];
    let (der, _) = certificate(&names, false);
    let facts = CertificateFacts::read(&der).unwrap();
    let addresses: Vec<IpAddr> = vec!["10.1.2.3".parse().unwrap(), "::1".parse().unwrap()];
    let validity = Validity { not_before_s: 1_767_225_600, not_after_s: 1_767_311_999 };
    assert_eq!(facts.common_name.as_deref(), Some("shop-7"));
    assert_eq!(facts.validity, validity);
    assert_eq!(facts.dns_names, ["node.fiscus.internal", "n1.example"]);
    assert_eq!(facts.ip_addresses, addresses);
    assert!(!facts.is_ca);
    assert_eq!(not_after(&der).unwrap(), 1_767_311_999);
    assert!(CertificateFacts::read(&certificate(&[], true).0).unwrap().is_ca);
}

#[test]
fn a_request_without_a_certificate_has_no_roles() {
    let refused = peer_roles(&tonic::Request::new(()));
    assert!(matches!(refused, Err(TlsError::NoPeerCertificate)));
    assert!(matches!(roles_of(b"no certificate"), Err(TlsError::Certificate(_))));
}

/// A folder with the three files in good order.
struct Folder {
    dir: tempfile::TempDir,
    files: TlsFiles,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let files = TlsFiles { ca: at("ca.pem"), cert: at("n.pem"), key: at("n.key") };
        let (der, key) = certificate(&["node.fiscus.internal"], true);
        fs::write(&files.ca, pem("CERTIFICATE", &der)).unwrap();
        fs::write(&files.cert, pem("CERTIFICATE", &der)).unwrap();
        fs::write(&files.key, pem("PRIVATE KEY", &key)).unwrap();
        fs::set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
        Self { dir, files }
    }
}

#[test]
fn files_in_good_order_are_loaded_and_the_key_is_never_printed() {
    let folder = Folder::new();
    let material = folder.files.load().unwrap();
    assert_eq!(roles_of(&material.certificate().unwrap()).unwrap(), [Role::Node]);
    let shown = format!("{material:?}");
    assert!(shown.contains("secret"), "{shown}");
    // Neither as text nor as a list of numbers.
    assert!(!shown.contains("PRIVATE") && !shown.contains("80, 82, 73, 86"), "{shown}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    for mode in [0o604, 0o640, 0o644, 0o660, 0o601] {
        let folder = Folder::new();
        fs::set_permissions(&folder.files.key, Permissions::from_mode(mode)).unwrap();
        match folder.files.load() {
            Err(TlsError::KeyExposed { mode: shown, .. }) => assert_eq!(shown, mode),
            other => panic!("{mode:o}: {other:?}"),
        }
    }
    let folder = Folder::new();
    fs::set_permissions(&folder.files.key, Permissions::from_mode(0o400)).unwrap();
    folder.files.load().unwrap();
}

#[test]
fn each_missing_unreadable_or_wrong_file_is_named() {
    let all = [TlsFile::Ca, TlsFile::Certificate, TlsFile::Key];
    for (index, expected) in all.into_iter().enumerate() {
        let path = |files: &TlsFiles| [&files.ca, &files.cert, &files.key][index].clone();
        let folder = Folder::new();
        fs::remove_file(path(&folder.files)).unwrap();
        match folder.files.load() {
            Err(TlsError::Missing { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
        fs::create_dir(path(&folder.files)).unwrap();
        fs::set_permissions(path(&folder.files), Permissions::from_mode(0o700)).unwrap();
        match folder.files.load() {
            Err(TlsError::Unreadable { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
        let folder = Folder::new();
        fs::write(path(&folder.files), "no PEM at all").unwrap();
        match folder.files.load() {
            Err(TlsError::NotPem { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
        fs::write(path(&folder.files), vec![b'x'; (1 << 20) + 1]).unwrap();
        match folder.files.load() {
            Err(TlsError::TooLarge { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert!(folder.dir.path().exists());
    }
    let folder = Folder::new();
    fs::write(&folder.files.cert, pem("CERTIFICATE", b"\x30\x00")).unwrap();
    assert!(matches!(folder.files.load(), Err(TlsError::Certificate(_))));
}

proptest! {
    #[test]
    fn damaged_certificates_never_panic(
            place in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
        ) {
        static GOOD: LazyLock<Vec<u8>> =
            LazyLock::new(|| certificate(&["node.fiscus.internal", "10.0.0.1"], true).0);
        let mut der = GOOD.clone();
        let place = place.index(der.len());
        der[place] = byte;
        let _ = CertificateFacts::read(&der);
        let _ = roles_of(&der);
        der.truncate(cut.index(der.len()));
        prop_assert!(roles_of(&der).is_err());
        let _ = CertificateFacts::read(&der);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = CertificateFacts::read(&bytes);
        prop_assert!(roles_of(&bytes).is_err());
    }
}
