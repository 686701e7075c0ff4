//! The device's own key: made once, kept beside its journal.

use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

/// A P-256 key pair.
#[derive(Debug)]
pub struct DeviceKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("the device's key {path} cannot be read or written: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What is in it.
    #[error("the device's key {path} is none: {detail}")]
    Broken {
        /// Which.
        path: PathBuf,
        /// Why.
        detail: String,
    },
}

impl DeviceKey {
    /// The key in a file, which is made when there is none.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let broken = |detail: String| KeyError::Broken { path: path.to_owned(), detail };
        let random = SystemRandom::new();
        if !path.exists() {
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
            let made = made.map_err(|_| broken("no randomness".to_owned()))?;
            std::fs::write(path, made.as_ref()).map_err(file)?;
        }
        let bytes = std::fs::read(path).map_err(file)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes, &random);
        Ok(Self { pair: pair.map_err(|error| broken(error.to_string()))?, random })
    }

    /// The point, uncompressed.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// ECDSA with SHA-256, r ‖ s.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.pair.sign(&self.random, message).ok()?.as_ref().try_into().ok()
    }
}
