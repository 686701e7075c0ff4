//! Whose word for a witness's certificate is taken: the certificates in a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Where systems keep the certificates of public authorities.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why no certificate of a witness could be believed.
#[derive(Debug, thiserror::Error)]
#[error("the certificates in {path}, which vouch for a witness, cannot be used: {detail}")]
pub struct CaFileError {
    path: PathBuf,
    detail: String,
}

/// How a witness is spoken to whom the certificates in a file vouch for; those of the system without one.
pub(super) fn load(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, CaFileError> {
    let path = ca_file.unwrap_or(Path::new(SYSTEM));
    let failed = |detail: String| CaFileError { path: path.to_owned(), detail };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    // Among those of a system there are some that nobody reads any more; one that is named must be good.
    let (_, unusable) = roots.add_parsable_certificates(certificates);
    if roots.is_empty() || (ca_file.is_some() && unusable > 0) {
        return Err(failed("there must be certificates, and nothing else".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
