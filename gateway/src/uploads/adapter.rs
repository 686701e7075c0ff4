//! How a destination is spoken with: a batch goes out, and an answer for all of it comes back, or nobody knows.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::config::UploadsSection;
use super::contract::{ANSWER_BYTES_MAX, Answered, Batch, read_answer};
use crate::webhooks::guard::Guard;
use crate::webhooks::post::{Identity, Poster, SystemResolver, roots};
use crate::webhooks::target::{Target, UrlError};

const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const KEY_BYTES_MAX: usize = 4_096;

/// What has become of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It was answered.
    Answered(Answered),
    /// Nobody knows, or it was certainly not taken: it is sent again.
    Unknown {
        /// Why.
        reason: String,
        /// The destination asks to be left alone for so long.
        retry_after_ms: Option<u64>,
    },
}

/// What an attempt comes to.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Sent> + Send + 'a>>;

/// Speaks with one kind of destination.
pub trait Adapter: fmt::Debug + Send + Sync {
    /// Makes one attempt. It ends within the destination's time.
    fn send<'a>(&'a self, batch: &'a Batch) -> Sending<'a>;
}

/// Why a destination cannot be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A file.
    #[error("uploads: {path} cannot be used: {detail}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The URL.
    #[error("uploads.url: {0}")]
    Url(#[from] UrlError),
}

/// The contract of docs/UPLOAD.md over HTTP.
pub struct HttpJson {
    target: Target,
    poster: Poster,
    headers: Vec<(HeaderName, HeaderValue)>,
    limit: Duration,
}

impl fmt::Debug for HttpJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpJson")
            .field("authority", &self.target.authority)
            .finish_non_exhaustive()
    }
}

impl HttpJson {
    /// Reads the key and the certificates.
    pub fn open(section: &UploadsSection) -> Result<Self, AdapterError> {
        let target = Target::parse(&section.url, section.plain_http)?;
        let trusted = match &section.ca_file {
            Some(path) => roots(path).map_err(|error| file(path, &error.to_string()))?,
            None => roots(Path::new(SYSTEM_ROOTS)).unwrap_or_else(|_| RootCertStore::empty()),
        };
        let identity = match (&section.client_cert, &section.client_key) {
            (Some(cert), Some(key)) => Some(identity(cert, key)?),
            _ => None,
        };
        let guard = Guard::new(section.allow.clone());
        let poster = Poster::with_identity(guard, Arc::new(SystemResolver), trusted, identity)
            .map_err(|error| {
                let path = section.client_cert.clone().unwrap_or_default();
                file(&path, &error.to_string())
            })?;
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        if let Some(path) = &section.key_file {
            headers.push((AUTHORIZATION, bearer(path)?));
        }
        let limit = Duration::from_millis(section.timeout_ms);
        Ok(Self { target, poster, headers, limit })
    }

    async fn attempt(&self, batch: &Batch) -> Sent {
        let unknown = |reason: String| Sent::Unknown { reason, retry_after_ms: None };
        let body = match serde_json::to_vec(batch) {
            Ok(body) => Bytes::from(body),
            Err(error) => return unknown(error.to_string()),
        };
        let mut headers = self.headers.clone();
        if let Ok(id) = HeaderValue::from_str(&batch.batch_id) {
            headers.push((HeaderName::from_static("idempotency-key"), id));
        }
        let bounds = (self.limit, ANSWER_BYTES_MAX);
        match self.poster.ask(&self.target, &headers, &body, bounds).await {
            Err(error) => unknown(error.to_string()),
            Ok((reply, body)) if reply.status == StatusCode::OK.as_u16() => {
                match read_answer(batch, &body) {
                    Ok(answered) => Sent::Answered(answered),
                    Err(error) => unknown(error.to_string()),
                }
            }
            Ok((reply, _)) => Sent::Unknown {
                reason: format!("the answer is {}", reply.status),
                retry_after_ms: reply.retry_after_ms,
            },
        }
    }
}

impl Adapter for HttpJson {
    fn send<'a>(&'a self, batch: &'a Batch) -> Sending<'a> {
        Box::pin(self.attempt(batch))
    }
}

fn file(path: &Path, detail: &str) -> AdapterError {
    AdapterError::File { path: path.display().to_string(), detail: detail.to_owned() }
}

fn bearer(path: &Path) -> Result<HeaderValue, AdapterError> {
    let text = std::fs::read_to_string(path).map_err(|error| file(path, &error.to_string()))?;
    let key = text.trim();
    let sound = !key.is_empty()
        && key.len() <= KEY_BYTES_MAX
        && key.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {key}")).ok().filter(|_| sound);
    let mut value =
        value.ok_or_else(|| file(path, "it must hold one key of printable characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, AdapterError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert)
        .map_err(|error| file(cert, &error.to_string()))?
        .collect();
    let chain = chain.map_err(|error| file(cert, &error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, &error.to_string()))?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests;
