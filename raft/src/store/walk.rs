//! Compares a file of the journal with its own checksums while it is read from its first byte on.
//!
//! Invariant: what passes is a row of whole entries, each with the checksum that it was written with.
//! Non-goals: whose file it is, and whether its entries follow those of the file before it; the check of
//! a snapshot asks that.

use crate::store::journal::{
    FRAME_BYTES, LEAF_BYTES, LeafEntry, NODE_BYTES, SIGNATURE_BYTES, TREE_NAMES, open_frame,
    open_numbered,
};
use crate::store::series::{HEADER_BYTES, is_header};

/// What one entry looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Record,
    Leaf,
    Node,
    Signature,
}

impl Form {
    /// Its bytes, when they are always as many.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::Record => None,
            Self::Leaf => Some(LEAF_BYTES),
            Self::Node => Some(NODE_BYTES),
            Self::Signature => Some(SIGNATURE_BYTES),
        }
    }
}

/// The first byte of the first entry that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) byte: u64,
}

/// A file of a run on its way through the check.
#[derive(Debug)]
pub(crate) struct PieceWalk {
    form: Form,
    start: u64,
    /// The byte of the file at which `waiting` begins.
    at: u64,
    /// What was read of an entry that is not complete yet.
    waiting: Vec<u8>,
    entries: u64,
}

impl PieceWalk {
    /// For the file of this name; `None` when it is none of a journal.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (run, start) = name.split_once('/')?;
        let form = match run {
            "journal" => Form::Record,
            "leaves" => Form::Leaf,
            "signatures" => Form::Signature,
            run if TREE_NAMES.contains(&run) => Form::Node,
            _ => return None,
        };
        let start = u64::from_str_radix(start, 16).ok()?;
        Some(Self { form, start, at: 0, waiting: Vec::new(), entries: 0 })
    }

    /// Whole entries so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, part: &[u8]) -> Result<(), Flaw> {
        self.waiting.extend_from_slice(part);
        let mut used = 0;
        while let Some(bytes) = self.next_bytes(used) {
            let Some(entry) = self.waiting.get(used..used + bytes) else { break };
            let byte = self.at + used as u64;
            if !self.is_sound(entry, byte) {
                return Err(Flaw { byte });
            }
            self.entries += u64::from(byte >= HEADER_BYTES);
            used += bytes;
        }
        self.waiting.drain(..used);
        self.at += used as u64;
        Ok(())
    }

    /// Nothing may be left behind the last entry.
    pub(crate) fn finish(&self) -> Result<(), Flaw> {
        if self.waiting.is_empty() { Ok(()) } else { Err(Flaw { byte: self.at }) }
    }

    /// How long the next entry is; `None` when that has not been read yet.
    fn next_bytes(&self, used: usize) -> Option<usize> {
        if self.at + (used as u64) < HEADER_BYTES {
            return usize::try_from(HEADER_BYTES).ok();
        }
        match self.form.bytes() {
            Some(bytes) => usize::try_from(bytes).ok(),
            None => {
                let head = self.waiting.get(used..used + 4)?;
                let body = u32::from_le_bytes(head.try_into().expect("4 bytes were taken"));
                usize::try_from(body).ok()?.checked_add(FRAME_BYTES)
            }
        }
    }

    fn is_sound(&self, entry: &[u8], byte: u64) -> bool {
        if byte < HEADER_BYTES {
            return is_header(entry, self.start);
        }
        let number = self.form.bytes().map_or(0, |bytes| self.start / bytes) + self.entries;
        match self.form {
            Form::Record => {
                let leaf = entry[8..FRAME_BYTES].try_into().map(u64::from_le_bytes);
                leaf.is_ok_and(|leaf| open_frame(entry, leaf).is_some())
            }
            Form::Leaf => LeafEntry::decode(entry).is_some(),
            Form::Node => open_numbered::<32>(entry, number).is_some(),
            Form::Signature => open_numbered::<64>(entry, number).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::SimulatedDisk;
    use crate::store::tests::life::{log, open, options, replay};
    use crate::store::tests::picture::files_of;

    /// Every file of a real journal, under its name.
    fn files() -> Vec<(String, Vec<u8>)> {
        let disk = SimulatedDisk::new();
        let replica = open(&disk, options()).expect("open");
        replay(&replica, &log(), u64::MAX).expect("apply");
        files_of(&disk, "state-1")
    }

    fn walked(name: &str, content: &[u8], part: usize) -> Result<u64, Flaw> {
        let mut walk = PieceWalk::of(name).expect("a file of a journal");
        for part in content.chunks(part) {
            walk.feed(part)?;
        }
        walk.finish()?;
        Ok(walk.entries())
    }

    #[test]
    fn a_sound_file_passes_in_parts_of_any_length() {
        let files = files();
        assert!(files.iter().any(|(name, _)| name.starts_with("tree-08/")), "all forms are there");
        for (name, content) in files {
            let whole = walked(&name, &content, content.len()).expect("it is sound");
            assert!(whole > 0, "{name}");
            for part in [1, 63, 64, 65, 1_000] {
                assert_eq!(walked(&name, &content, part), Ok(whole), "{name} in parts of {part}");
            }
        }
    }

    #[test]
    fn what_is_no_file_of_a_journal_is_not_walked() {
        for name in ["rows/000000", "journal", "journal/x", "MANIFEST", "index.redb"] {
            assert!(PieceWalk::of(name).is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_flipped_bit_and_every_cut_is_noticed(
            which in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            static FILES: std::sync::LazyLock<Vec<(String, Vec<u8>)>> =
                std::sync::LazyLock::new(files);
            let (name, content) = which.get(&FILES);
            let mut flipped = content.clone();
            let byte = at.index(content.len());
            // Zeros behind the header's fields are covered by its checksum as well.
            flipped[byte] ^= 1 << bit;
            prop_assert!(walked(name, &flipped, 4_096).is_err(), "{} byte {}", name, byte);
            let before = walked(name, &content[..byte], 4_096);
            let after = walked(name, content, 4_096).expect("it is sound");
            prop_assert!(before.is_err() || before.is_ok_and(|n| n < after), "{} cut at {}", name, byte);
        }
    }
}
