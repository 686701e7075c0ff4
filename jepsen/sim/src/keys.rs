//! The keys of simulated clusters: the same in every run.

use std::sync::{Arc, OnceLock};

use fiscus_ledger::checkpoint::{OpenError, open, origin};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::{Hash32, payload_hash};
use fiscus_ledger::note::{KnownKeys, VerifierKey};
use fiscus_node::signer::{KdfCost, KeyFile, KeyPurpose, KeyToStore, Passphrase, Signer};

use crate::world::CLUSTER;

/// The authority's name.
pub(crate) const AUTHORITY: &str = "kin";

/// The signer that every node has. It is made once a process, from a file, as a node's is.
pub(crate) fn signer() -> Arc<dyn Signer> {
    static SIGNER: OnceLock<Arc<KeyFile>> = OnceLock::new();
    SIGNER.get_or_init(|| Arc::new(made())).clone()
}

/// The size and the root of a group's checkpoint, whose signature is checked; none when there is no checkpoint.
pub(crate) fn open_checkpoint(group: u64, note: &str) -> Result<Option<(u64, Hash32)>, OpenError> {
    if note.is_empty() {
        return Ok(None);
    }
    let key = signer().keys().into_iter().find(|key| key.purpose == KeyPurpose::Log);
    let origin = origin(CLUSTER, group);
    let key = VerifierKey::new(&origin, &key.expect("there is a log key").public_key);
    let known = KnownKeys::new(key.ok()).expect("one key is like no other");
    let checkpoint = open(note.as_bytes(), &origin, &known)?;
    Ok(Some((checkpoint.size(), *checkpoint.root())))
}

fn made() -> KeyFile {
    let live = Some(Environment::Live);
    let keys = vec![
        KeyToStore::from_seed(AUTHORITY, KeyPurpose::Authority, live, None, &payload_hash(b"kin")),
        KeyToStore::from_seed("log", KeyPurpose::Log, None, None, &payload_hash(b"log")),
    ];
    let name = format!("fiscus-sim-{}-keys", std::process::id());
    let path = std::env::temp_dir().join(name);
    let secret = Passphrase::new(b"worth nothing to anybody");
    let made = KeyFile::create_at_cost(&path, &secret, keys, KdfCost::Test);
    let made = made.expect("the directory for temporary files takes one");
    // The keys are in memory; the file was only their way there.
    let _ = std::fs::remove_file(&path);
    made
}
