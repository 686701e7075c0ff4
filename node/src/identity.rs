//! Whose directory this is, and whether it has had a log: compared at every start.
//!
//! ```text
//! IDENTITY made ─► log made ─► `log_created` noted ─► groups
//! ```
//!
//! Invariant: a node whose log is gone does not start. What it voted and acknowledged stood there; without
//! it the node would promise the opposite under the same id. A crash between the log and the note is no
//! loss: the log is there, and the note is made at the next start.

use std::io;
use std::path::{Path, PathBuf};

use fiscus_proto::stored::NodeIdentity;
use fiscus_raft::disk::{Disk, OpenHow};
use prost::Message;

use crate::surroundings::Randomness;

/// Both slots of the votes' file; whatever the log has written begins before.
const FIRST_BYTES: u64 = 128 << 10;
/// Names and numbers of a node, far less than this.
const IDENTITY_BYTES_MAX: u64 = 64 << 10;

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
    /// The log is gone.
    #[error(
        "the log of node {node} in {path} is gone, and with it what the node has promised the others: \
         it must not take part again under this id. Remove node {node} from the cluster and add it \
         under a new id with an empty data_dir (`fiscus admin nodes remove {node}`, see the operations \
         manual, \"Replacing a replica that was wiped or is corrupt\"); or put the log back, if it only \
         lies elsewhere"
    )]
    LogLost {
        /// The node.
        node: u64,
        /// Where the log was.
        path: PathBuf,
    },
    /// There is no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}

/// Reads the identity of a directory, or gives it one.
pub fn open(
    disk: &dyn Disk,
    random: &Randomness,
    dir: &Path,
    cluster: &str,
    node: u64,
) -> Result<NodeIdentity, IdentityError> {
    let path = dir.join("IDENTITY");
    match read_start(disk, &path, IDENTITY_BYTES_MAX) {
        Ok(bytes) => read(&path, &bytes, cluster, node),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(disk, random, dir, cluster, node)
        }
        Err(source) => Err(IdentityError::Io { doing: "read", path, source }),
    }
}

/// Refuses a directory that has had a log and has none any more. One whose groups are there has had one,
/// whatever its identity says: groups are made after the log.
pub fn check_log(
    disk: &dyn Disk,
    dir: &Path,
    identity: &NodeIdentity,
) -> Result<(), IdentityError> {
    let path = dir.join("wal");
    let groups = dir.join("groups");
    let mut had_one = identity.log_created;
    for name in names(disk, &groups)? {
        had_one |= name.parse::<u64>().is_ok();
    }
    if had_one && !has_log(disk, &path)? {
        return Err(IdentityError::LogLost { node: identity.node, path });
    }
    Ok(())
}

/// Notes that the log is there, once.
pub fn note_log(disk: &dyn Disk, dir: &Path, identity: &NodeIdentity) -> Result<(), IdentityError> {
    if identity.log_created {
        return Ok(());
    }
    write(disk, dir, &NodeIdentity { log_created: true, ..identity.clone() })
}

fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, IdentityError> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(IdentityError::Io { doing: "list", path: dir.to_owned(), source }),
    }
}

/// Whether a log's directory has a segment, or a vote: zeros are neither.
fn has_log(disk: &dyn Disk, dir: &Path) -> Result<bool, IdentityError> {
    for name in names(disk, dir)? {
        let path = dir.join(name);
        // Segments begin with their magic; of the two slots of the votes' file, one of 64 KiB each, at least
        // one begins with its own.
        let start = match read_start(disk, &path, FIRST_BYTES) {
            Ok(start) => start,
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => continue,
            Err(source) => return Err(IdentityError::Io { doing: "read", path, source }),
        };
        if start.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first bytes of a file, at most so many.
fn read_start(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenHow::Read)?;
    let length = file.size()?.min(bytes_max);
    let mut start = vec![0; usize::try_from(length).expect("a bound that fits in memory")];
    file.read_exact_at(&mut start, 0)?;
    Ok(start)
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

fn make(
    disk: &dyn Disk,
    random: &Randomness,
    dir: &Path,
    cluster: &str,
    node: u64,
) -> Result<NodeIdentity, IdentityError> {
    let mut number = [0; 16];
    random.fill(&mut number).map_err(|_| IdentityError::Randomness)?;
    let identity = NodeIdentity {
        cluster: cluster.to_owned(),
        node,
        incarnation: number.iter().map(|byte| format!("{byte:02x}")).collect(),
        data_groups: 0,
        log_created: false,
    };
    write(disk, dir, &identity)?;
    Ok(identity)
}

fn write(disk: &dyn Disk, dir: &Path, identity: &NodeIdentity) -> Result<(), IdentityError> {
    let path = dir.join("IDENTITY");
    let mut bytes = identity.encode_to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let written = (|| {
        let fresh = dir.join("IDENTITY.new");
        if disk.exists(&fresh)? {
            disk.remove_file(&fresh)?;
        }
        let file = disk.open(&fresh, OpenHow::Create)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        disk.rename(&fresh, &path)?;
        disk.sync_dir(dir)
    })();
    written.map_err(|source| IdentityError::Io { doing: "write", path, source })
}

#[cfg(test)]
mod tests {
    use fiscus_raft::disk::RealDisk;

    use super::*;

    fn open(dir: &Path, cluster: &str, node: u64) -> Result<NodeIdentity, IdentityError> {
        super::open(&RealDisk, &Randomness::system(), dir, cluster, node)
    }

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
    /// What a directory holds, in the order in which it comes to be, and what is lost of it.
    #[test]
    fn a_log_that_was_there_must_be_there() {
        let zeros = vec![0; 128 << 10];
        let mut second_slot = zeros.clone();
        second_slot[64 << 10] = b'F';
        type Case<'a> = (&'a str, bool, Vec<(&'a str, &'a [u8])>, bool);
        let rows: [Case<'_>; 9] = [
            ("nothing was made yet", false, vec![], true),
            ("a crash while the log was made", false, vec![("wal/votes", &zeros)], true),
            ("a crash before the note", false, vec![("wal/wal-0000000001.seg", b"F")], true),
            ("as it should be", true, vec![("wal/wal-0000000001.seg", b"F")], true),
            ("only votes are left, the log tells", true, vec![("wal/votes", &second_slot)], true),
            ("all of it is gone", true, vec![], false),
            ("only zeros are left", true, vec![("wal/votes", &zeros), ("wal/x", b"")], false),
            ("an older version made no note", false, vec![("groups/1/CURRENT", b"state-1")], false),
            (
                "an older version, sound",
                false,
                vec![("groups/1/CURRENT", b"state-1"), ("wal/wal-0000000001.seg", b"F")],
                true,
            ),
        ];
        for (what, noted, files, starts) in rows {
            let dir = tempfile::tempdir().expect("a directory");
            let mut identity = open(dir.path(), "kin", 7).expect("it is made");
            if noted {
                note_log(&RealDisk, dir.path(), &identity).expect("it is noted");
                identity = open(dir.path(), "kin", 7).expect("it is read");
                assert!(identity.log_created);
            }
            for (name, content) in files {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
                std::fs::write(path, content).expect("it is written");
            }
            let checked = check_log(&RealDisk, dir.path(), &identity);
            assert_eq!(checked.is_ok(), starts, "{what}: {checked:?}");
            if let Err(error) = checked {
                let told = error.to_string();
                assert!(told.contains("node 7") && told.contains("new id"), "{told}");
            }
        }
    }
}
