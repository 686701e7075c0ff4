//! The members of a group as they were known last, beside the state: whom to ask when the state itself
//! cannot be read any more.
//!
//! ```text
//! groups/{g}/MEMBERS      membership and its entry, as in an applied state; u32 CRC-32C last
//! ```
//!
//! Invariant: nobody counts votes by it. It is a hint that may be old; the truth is what a leader
//! confirms. Non-goal: being there at all: without it, a snapshot's manifest says the same.

use std::io;
use std::path::Path;

use fiscus_proto::{peer, stored};
use prost::Message;

use crate::disk::Disk;
use crate::store::note as file;
use crate::store::replica::StoreError;
use crate::store::snapshot::{SnapshotDir, read_manifest};

pub(crate) const FILE: &str = "MEMBERS";
/// Far more than the members of a group take.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Notes the members of an applied state, unless newer ones are noted already.
pub(crate) fn note(
    disk: &dyn Disk,
    dir: &Path,
    applied: &stored::AppliedState,
) -> Result<(), StoreError> {
    let known = read(disk, dir)?;
    let index =
        |state: &stored::AppliedState| state.membership_log_id.map(|id| (id.index, id.term));
    if applied.membership.is_none() || known.as_ref().and_then(index) >= index(applied) {
        return Ok(());
    }
    let noted = stored::AppliedState {
        membership_log_id: applied.membership_log_id,
        membership: applied.membership.clone(),
        ..stored::AppliedState::default()
    };
    let mut bytes = noted.encode_to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    file::write(disk, dir, FILE, &bytes)
}

/// What the file says; a damaged one says nothing.
fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<stored::AppliedState>, StoreError> {
    let Some(bytes) = file::read(disk, dir, FILE, FILE_BYTES_MAX)? else { return Ok(None) };
    let noted = bytes.split_last_chunk::<4>().and_then(|(body, crc)| {
        let sound = crc32c::crc32c(body) == u32::from_le_bytes(*crc);
        sound.then(|| stored::AppliedState::decode(body).ok())?
    });
    if noted.is_none() {
        tracing::warn!(dir = %dir.display(), "the note of the members is damaged; it is made anew");
    }
    Ok(noted)
}

/// The members as far as anything beside the state says; the newest of what is noted and what the
/// snapshots' manifests name.
pub(crate) fn known(disk: &dyn Disk, dir: &Path) -> Result<Option<peer::Membership>, StoreError> {
    let mut newest = read(disk, dir)?.and_then(|noted| {
        Some((noted.membership_log_id.map_or(0, |id| id.index), noted.membership?))
    });
    let paths = SnapshotDir::paths(disk, dir).map_err(|error| StoreError::Io {
        doing: "look for snapshots in",
        path: dir.to_owned(),
        source: io::Error::other(error),
    })?;
    for path in paths {
        // A manifest that cannot be read names nobody.
        let Ok(manifest) = read_manifest(disk, &path) else { continue };
        let index = manifest.membership_log_id.map_or(0, |id| id.index);
        if let Some(membership) = manifest.membership
            && newest.as_ref().is_none_or(|(known, _)| *known < index)
        {
            newest = Some((index, membership));
        }
    }
    Ok(newest.map(|(_, membership)| membership))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn state(index: u64, voters: &[u64]) -> stored::AppliedState {
        stored::AppliedState {
            applied: Some(peer::LogId { term: 9, index: 99 }),
            membership_log_id: Some(peer::LogId { term: 1, index }),
            membership: Some(peer::Membership {
                configs: vec![peer::VoterSet { voters: voters.to_vec() }],
                nodes: Vec::new(),
            }),
            ..stored::AppliedState::default()
        }
    }

    fn voters(dir: &Path) -> Option<Vec<u64>> {
        let known = known(&RealDisk::new(), dir).expect("it is read")?;
        Some(known.configs[0].voters.clone())
    }

    #[test]
    fn the_newest_members_are_known_and_damage_says_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (dir, disk) = (dir.path(), RealDisk::new());
        assert_eq!(voters(dir), None);
        note(&disk, dir, &stored::AppliedState::default()).expect("nothing to note");
        assert_eq!(voters(dir), None);
        note(&disk, dir, &state(5, &[1, 2, 3])).expect("it is written");
        note(&disk, dir, &state(4, &[1])).expect("the newer one stays");
        assert_eq!(voters(dir), Some(vec![1, 2, 3]));
        note(&disk, dir, &state(6, &[1, 2])).expect("it is written");
        assert_eq!(voters(dir), Some(vec![1, 2]));
        let bytes = std::fs::read(dir.join(FILE)).expect("it is there");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(dir.join(FILE), flipped).expect("it is written");
            assert_eq!(voters(dir), None, "byte {at}");
        }
        note(&disk, dir, &state(6, &[7])).expect("a damaged one is replaced");
        assert_eq!(voters(dir), Some(vec![7]));
    }
}
