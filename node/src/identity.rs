//! Whose directory this is: written once, when it is made, and compared at every start.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fiscus_proto::stored::NodeIdentity;
use prost::Message;
use ring::rand::{SecureRandom, SystemRandom};

/// Why a directory is not this node's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system fails.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is damaged; the node's identity is lost with it: add it under a new id")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The directory is another node's.
    #[error(
        "{path} belongs to node {found_node} of cluster {found_cluster}, not to node {node} of \
         cluster {cluster}"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found_node: u64,
        /// In which cluster.
        found_cluster: String,
        /// Who was expected.
        node: u64,
        /// In which cluster.
        cluster: String,
    },
    /// There is no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}

/// Reads the identity of a directory, or gives it one.
pub fn open(dir: &Path, cluster: &str, node: u64) -> Result<NodeIdentity, IdentityError> {
    let path = dir.join("IDENTITY");
    match std::fs::read(&path) {
        Ok(bytes) => read(&path, &bytes, cluster, node),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(dir, &path, cluster, node),
        Err(source) => Err(IdentityError::Io { doing: "read", path, source }),
    }
}

/// The log's directory names its owner by this number.
#[must_use]
pub fn log_identity(identity: &NodeIdentity) -> u128 {
    let hash = fiscus_ledger::hash::Tagged::new("fiscus/wal-identity/v1")
        .str(&identity.cluster)
        .u64(identity.node)
        .str(&identity.incarnation)
        .finish();
    u128::from_le_bytes(hash[..16].try_into().expect("a hash has 32 bytes"))
}

fn read(
    path: &Path,
    bytes: &[u8],
    cluster: &str,
    node: u64,
) -> Result<NodeIdentity, IdentityError> {
    let damaged = || IdentityError::Damaged { path: path.to_owned() };
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    let found = NodeIdentity::decode(body).map_err(|_| damaged())?;
    if found.cluster != cluster || found.node != node {
        return Err(IdentityError::Foreign {
            path: path.to_owned(),
            found_node: found.node,
            found_cluster: found.cluster,
            node,
            cluster: cluster.to_owned(),
        });
    }
    Ok(found)
}

fn make(dir: &Path, path: &Path, cluster: &str, node: u64) -> Result<NodeIdentity, IdentityError> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| IdentityError::Randomness)?;
    let identity = NodeIdentity {
        cluster: cluster.to_owned(),
        node,
        incarnation: random.iter().map(|byte| format!("{byte:02x}")).collect(),
        data_groups: 0,
    };
    let mut bytes = identity.encode_to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let written = (|| {
        let fresh = dir.join("IDENTITY.new");
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        std::fs::File::open(dir)?.sync_all()
    })();
    written.map_err(|source| IdentityError::Io {
        doing: "write",
        path: path.to_owned(),
        source,
    })?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = open(dir.path(), "kin", 1).expect("it is made");
        assert_eq!(open(dir.path(), "kin", 1).expect("it is read"), made);
        assert!(matches!(open(dir.path(), "kin", 2), Err(IdentityError::Foreign { .. })));
        assert!(matches!(open(dir.path(), "goma", 1), Err(IdentityError::Foreign { .. })));
        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(open(other.path(), "kin", 1).expect("it is made").incarnation, made.incarnation);
        let path = dir.path().join("IDENTITY");
        let mut bytes = std::fs::read(&path).expect("it is there");
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).expect("it is written");
        assert!(matches!(open(dir.path(), "kin", 1), Err(IdentityError::Damaged { .. })));
    }
}
