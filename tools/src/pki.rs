//! A certificate authority for a start: one key, one file, and certificates that carry roles.
//!
//! Invariants: every issued certificate was checked against its CA, as the other side of a connection
//! will check it; the names of a role and of a node come only from the role and the id asked for, never
//! from a host name; every node's certificate names its id. Keys are ECDSA P-256. Time is an argument.
//!
//! Non-goals: revocation, intermediate CAs, and CAs that other programs made.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fiscus_ledger::base64::encode_standard;
use fiscus_proto::tls::{CertificateFacts, ROLE_DOMAIN, Role, node_dns_name};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

const ORGANISATION: &str = "Fiscus";
/// What X.509 allows for a common name.
const COMMON_NAME_BYTES_MAX: usize = 64;
/// Clocks differ: a certificate is valid from an hour before it was made.
const BACKDATED_S: u64 = 3_600;
const DAY_S: u64 = 86_400;
/// Longer than any certificate should live, and far from the end of the calendar.
const DAYS_MAX: u32 = 36_500;

/// A certificate and its private key, both in PEM.
pub(crate) struct Issued {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: Zeroizing<String>,
}

/// What to write into a certificate.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) role: Role,
    /// A node's id; nobody else has one.
    pub(crate) node: Option<u64>,
    pub(crate) name: &'a str,
    pub(crate) hosts: &'a [String],
    pub(crate) days: u32,
}

/// Makes the CA of a cluster.
pub(crate) fn make_ca(cluster: &str, days: u32, now_s: u64) -> Result<Issued> {
    ensure!(is_name(cluster), "a cluster's name matches [A-Za-z0-9._-]{{1,48}}, not {cluster:?}");
    let mut params = params(&format!("{cluster} CA"), days, now_s)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("making the CA's key")?;
    let certificate = params.self_signed(&key).context("signing the CA's certificate")?;
    Ok(issued(certificate.der(), &key))
}

/// Makes a certificate and its key, and checks that the CA vouches for it.
pub(crate) fn issue(ca: &Issued, subject: &Subject<'_>, now_s: u64) -> Result<Issued> {
    ensure!(
        is_name(subject.name),
        "a name matches [A-Za-z0-9._-]{{1,48}} and does not begin with a dot, not {:?}",
        subject.name
    );
    let ca_der = certificate(&ca.cert_pem).context("the CA's certificate")?;
    let ca_facts = CertificateFacts::read(&ca_der).context("the CA's certificate")?;
    ensure!(ca_facts.is_ca, "the CA's certificate is no CA's");
    let issuer = issuer(&ca_facts, &ca.key_pem)?;

    let mut params = params(subject.name, subject.days, now_s)?;
    params.subject_alt_names = alt_names(subject)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if subject.role == Role::Node || !subject.hosts.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().context("making a key")?;
    let signed = params.signed_by(&key, &issuer).context("signing the certificate")?;
    check(&ca_der, &ca_facts, signed.der(), now_s)?;
    Ok(issued(signed.der(), &key))
}

/// The first certificate of a PEM text.
pub(crate) fn certificate(pem: &str) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().context("there is no certificate in PEM")
}

fn is_name(name: &str) -> bool {
    (1..=48).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn params(common_name: &str, days: u32, now_s: u64) -> Result<CertificateParams> {
    ensure!((1..=DAYS_MAX).contains(&days), "a certificate is valid for 1 to {DAYS_MAX} days");
    let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(common_name);
    params.not_before = at(now_s.saturating_sub(BACKDATED_S));
    params.not_after = at(now_s + u64::from(days) * DAY_S);
    Ok(params)
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    debug_assert!(common_name.len() <= COMMON_NAME_BYTES_MAX, "is_name bounds what is named");
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANISATION);
    name.push(DnType::CommonName, common_name);
    name
}

/// The CA as a signer. Its name is made again as [`make_ca`] made it; [`check`] finds when it was not.
fn issuer(facts: &CertificateFacts, key_pem: &str) -> Result<Issuer<'static, KeyPair>> {
    let common_name = facts.common_name.as_deref().context("the CA has no common name")?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .ok()
        .context("the CA's key is no private key in PEM")?;
    let key = KeyPair::try_from(&key).context("the CA's key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(common_name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(Issuer::new(params, key))
}

fn alt_names(subject: &Subject<'_>) -> Result<Vec<SanType>> {
    let dns = |name: &str| Ok::<_, rcgen::Error>(SanType::DnsName(name.try_into()?));
    let mut names = vec![dns(&subject.role.dns_name()).context("the role's name")?];
    match (subject.role, subject.node) {
        (Role::Node, Some(id)) if id > 0 => {
            names.push(dns(&node_dns_name(id)).context("the node's name")?);
        }
        (Role::Node, _) => {
            bail!(
                "the certificate of a node says which node it is: give its id, from 1, as --node-id"
            )
        }
        (_, None) => {}
        (role, Some(_)) => bail!("only nodes have ids; leave --node-id away for the role {role}"),
    }
    for host in subject.hosts {
        if let Ok(address) = IpAddr::from_str(host) {
            names.push(SanType::IpAddress(address));
            continue;
        }
        ensure!(is_host(host), "{host:?} is neither an IP address nor a host name");
        let lower = host.to_ascii_lowercase();
        if lower == ROLE_DOMAIN || lower.ends_with(&format!(".{ROLE_DOMAIN}")) {
            bail!(
                "{host:?} would be a role or a node: names below {ROLE_DOMAIN} are given by --role and \
                 --node-id only"
            );
        }
        names.push(dns(host).context("a host's name")?);
    }
    Ok(names)
}

fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Checks a new certificate as the other side of a connection will.
fn check(
    ca: &CertificateDer<'_>,
    ca_facts: &CertificateFacts,
    made: &CertificateDer<'_>,
    now_s: u64,
) -> Result<()> {
    let made_facts = CertificateFacts::read(made).context("the new certificate")?;
    ensure!(
        made_facts.validity.not_after_s <= ca_facts.validity.not_after_s,
        "the CA ends before the certificate would; take fewer --days, or make a new CA"
    );
    let anchor = anchor_from_trusted_cert(ca).context("the CA's certificate")?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
    EndEntityCert::try_from(made)
        .and_then(|certificate| {
            let usage = KeyUsage::client_auth();
            let anchors = [anchor];
            certificate
                .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], now, usage, None, None)
                .map(|_| ())
        })
        .context(
            "the CA does not vouch for what its key signed: ca.pem and ca.key do not belong together, \
             or another program made them",
        )
}

fn issued(certificate: &[u8], key: &KeyPair) -> Issued {
    let key = Zeroizing::new(key.serialize_der());
    Issued {
        cert_pem: pem("CERTIFICATE", certificate),
        key_pem: Zeroizing::new(pem("PRIVATE KEY", &key)),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let digits = Zeroizing::new(encode_standard(der));
    let framing = 2 * (label.len() + 20) + digits.len() / 64 + 2;
    // Room for all from the start: a text that grows would leave copies of a key behind.
    let mut text = String::with_capacity(digits.len() + framing);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in digits.as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests;
