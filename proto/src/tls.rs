//! Mutual TLS between nodes, gateways, proxies and operators: loading the files, and reading who the
//! other side is.
//!
//! ```text
//! ca.pem, x.pem, x.key ──► TlsFiles::load ──► client_config, server_config ──► tonic
//! certificate of the peer ──► roles_of ──► what it may ask
//! ```
//!
//! Invariants: a server accepts no connection without a client certificate of its CA; a private key
//! that others on the machine can read is refused; a role is only what the CA wrote into the
//! certificate, as the DNS name `{role}.fiscus.internal`, and which node a node is stands there as
//! `{id}.node.fiscus.internal`. A client accepts as a server only what carries the role of a node, and
//! where it knows which node it means, that node's name.
//! [`TlsMaterial`] never prints its key.
//!
//! Non-goals: revocation lists (a CA for a cluster is small and its certificates are short-lived), and
//! what a role may do, which the services decide.

mod certificate;
mod der;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use webpki::EndEntityCert;

pub use certificate::{CertificateFacts, Validity, not_after};
pub use der::DerError;

/// The domain below which roles are spelled in certificates.
pub const ROLE_DOMAIN: &str = "fiscus.internal";

/// The name that a client expects in the certificate of a node.
pub const NODE_NAME: &str = "node.fiscus.internal";

/// The DNS name that says in a node's certificate which node it is.
#[must_use]
pub fn node_dns_name(id: u64) -> String {
    format!("{id}.{NODE_NAME}")
}

fn node_of_dns_name(name: &str) -> Option<u64> {
    let id = name.strip_suffix(NODE_NAME)?.strip_suffix('.')?.parse().ok()?;
    // A number has one spelling.
    (id > 0 && node_dns_name(id) == name).then_some(id)
}

/// Most bytes of a certificate file or a key file.
pub const TLS_FILE_BYTES_MAX: u64 = 1 << 20;

/// What the holder of a certificate is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A replica.
    Node,
    /// A gateway.
    Gateway,
    /// A device proxy.
    Proxy,
    /// An operator.
    Admin,
    /// An auditor, who only reads.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Node, Self::Gateway, Self::Proxy, Self::Admin, Self::Auditor];

    /// The word in certificates and commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Gateway => "gateway",
            Self::Proxy => "proxy",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// The DNS name that gives the role to a certificate.
    #[must_use]
    pub fn dns_name(self) -> String {
        format!("{}.{ROLE_DOMAIN}", self.as_str())
    }

    fn of_dns_name(name: &str) -> Option<Self> {
        name.strip_suffix(ROLE_DOMAIN)?.strip_suffix('.').and_then(Self::parse)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Which of the three files is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// The certificate of the CA.
    Ca,
    /// The own certificate.
    Certificate,
    /// The own private key.
    Key,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ca => "CA certificate",
            Self::Certificate => "certificate",
            Self::Key => "private key",
        })
    }
}

/// Why TLS files cannot be used, or a peer's certificate not be read.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no such file.
    #[error("the {what} {} does not exist; make one with `fiscus admin pki`", path.display())]
    Missing {
        /// Which file.
        what: TlsFile,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("the {what} {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        what: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// More bytes than any such file.
    #[error("the {what} {} is larger than {TLS_FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Which file.
        what: TlsFile,
        /// Where it is.
        path: PathBuf,
    },
    /// The file does not hold what it should, in PEM.
    #[error("the {what} {} holds no {what} in PEM", path.display())]
    NotPem {
        /// Which file.
        what: TlsFile,
        /// Where it is.
        path: PathBuf,
    },
    /// Others on the machine can read the private key.
    #[error(
        "the private key {} can be read by others (mode {mode:o}); run `chmod 600` on it, and \
         replace it if anybody may have copied it",
        path.display()
    )]
    KeyExposed {
        /// Where it is.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The bytes are no X.509 certificate.
    #[error("the bytes are no usable X.509 certificate: {0}")]
    Certificate(webpki::Error),
    /// The fields of a certificate cannot be walked.
    #[error("a field of the certificate cannot be read: {0}")]
    Field(#[from] DerError),
    /// The connection has no client certificate.
    #[error("the peer showed no certificate; connect with mutual TLS")]
    NoPeerCertificate,
}

/// Where a process has its CA, its certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the CA, in PEM.
    pub ca: PathBuf,
    /// The own certificate, and after it those that lead to the CA, in PEM.
    pub cert: PathBuf,
    /// The private key, in PEM, readable by its owner only.
    pub key: PathBuf,
}

/// What the files held.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsMaterial {
    /// The certificate of the CA.
    pub ca_pem: Vec<u8>,
    /// The own certificate.
    pub cert_pem: Vec<u8>,
    /// The private key.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsMaterial")
            .field("ca_pem", &self.ca_pem.len())
            .field("cert_pem", &self.cert_pem.len())
            .field("key_pem", &"secret")
            .finish()
    }
}

impl TlsFiles {
    /// Reads the three files and checks that each holds what it should.
    pub fn load(&self) -> Result<TlsMaterial, TlsError> {
        let ca_pem = read(TlsFile::Ca, &self.ca)?;
        certificate_in(TlsFile::Ca, &self.ca, &ca_pem)?;
        let cert_pem = read(TlsFile::Certificate, &self.cert)?;
        certificate_in(TlsFile::Certificate, &self.cert, &cert_pem)?;
        let key_pem = read(TlsFile::Key, &self.key)?;
        if PrivateKeyDer::from_pem_slice(&key_pem).is_err() {
            return Err(TlsError::NotPem { what: TlsFile::Key, path: self.key.clone() });
        }
        Ok(TlsMaterial { ca_pem, cert_pem, key_pem })
    }
}

impl TlsMaterial {
    /// The own certificate's DER bytes, to ask for its roles and its expiry.
    pub fn certificate(&self) -> Result<Vec<u8>, TlsError> {
        certificate_in(TlsFile::Certificate, Path::new("in memory"), &self.cert_pem)
    }
}

fn read(what: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => TlsError::Missing { what, path: path.to_owned() },
        _ => TlsError::Unreadable { what, path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if what == TlsFile::Key && mode & 0o077 != 0 {
        return Err(TlsError::KeyExposed { path: path.to_owned(), mode });
    }
    // One byte more than allowed, so that a longer file shows.
    let mut bytes = Vec::new();
    file.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size > TLS_FILE_BYTES_MAX) {
        return Err(TlsError::TooLarge { what, path: path.to_owned() });
    }
    Ok(bytes)
}

/// The first certificate of a PEM file.
fn certificate_in(what: TlsFile, path: &Path, pem: &[u8]) -> Result<Vec<u8>, TlsError> {
    let der = CertificateDer::from_pem_slice(pem)
        .map_err(|_| TlsError::NotPem { what, path: path.to_owned() })?;
    EndEntityCert::try_from(&der).map_err(TlsError::Certificate)?;
    Ok(der.to_vec())
}

/// What a client of any node uses. Tonic's own `Debug` of it shows the private key: never log it.
#[must_use]
pub fn client_config(material: &TlsMaterial) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&material.ca_pem))
        .identity(Identity::from_pem(&material.cert_pem, &material.key_pem))
        .domain_name(NODE_NAME)
}

/// Narrows what a client uses to one node: no other one is taken for it.
#[must_use]
pub fn only_node(config: ClientTlsConfig, id: u64) -> ClientTlsConfig {
    config.domain_name(node_dns_name(id))
}

/// What a node serves with: clients must show a certificate of the same CA.
/// Tonic's own `Debug` of it shows the private key: never log it.
#[must_use]
pub fn server_config(material: &TlsMaterial) -> ServerTlsConfig {
    ServerTlsConfig::new()
        .identity(Identity::from_pem(&material.cert_pem, &material.key_pem))
        .client_ca_root(Certificate::from_pem(&material.ca_pem))
        .client_auth_optional(false)
}

/// The roles in a certificate, ascending. That the certificate is genuine is for TLS to check first.
pub fn roles_of(der: &[u8]) -> Result<Vec<Role>, TlsError> {
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).map_err(TlsError::Certificate)?;
    let mut roles: Vec<Role> =
        certificate.valid_dns_names().filter_map(Role::of_dns_name).collect();
    roles.sort_unstable();
    roles.dedup();
    Ok(roles)
}

/// The nodes that a certificate names, ascending; one in the certificate of a node, none in others. That
/// the certificate is genuine is for TLS to check first.
pub fn node_ids_of(der: &[u8]) -> Result<Vec<u64>, TlsError> {
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).map_err(TlsError::Certificate)?;
    let mut ids: Vec<u64> = certificate.valid_dns_names().filter_map(node_of_dns_name).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The roles of whoever sent a request.
pub fn peer_roles<T>(request: &tonic::Request<T>) -> Result<Vec<Role>, TlsError> {
    of_peer(request, roles_of)
}

/// The nodes that the certificate of whoever sent a request names.
pub fn peer_node_ids<T>(request: &tonic::Request<T>) -> Result<Vec<u64>, TlsError> {
    of_peer(request, node_ids_of)
}

fn of_peer<T, R>(
    request: &tonic::Request<T>,
    read: impl FnOnce(&[u8]) -> Result<R, TlsError>,
) -> Result<R, TlsError> {
    let certificates = request.peer_certs().ok_or(TlsError::NoPeerCertificate)?;
    read(certificates.first().ok_or(TlsError::NoPeerCertificate)?)
}

#[cfg(test)]
pub(crate) mod tests;
