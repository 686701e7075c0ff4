//! The device's memory: a file of lines, each with its checksum, synced before anything is answered.
//!
//! ```text
//! line = eight hexadecimal digits of CRC-32 over the text ‖ space ‖ text ‖ LF
//! ```
//!
//! A power cut leaves a prefix of it, and perhaps a torn line at its end, which is cut off when it is opened.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::protocol::crc32;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

/// Why the memory is of no use.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file.
    #[error("the device's journal {path} cannot be read or written: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line before the last is wrong: no power cut does that.
    #[error("line {line} of the device's journal {path} is damaged")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

impl Journal {
    /// Opens or makes a journal; the texts in it.
    pub fn open(path: &Path) -> Result<(Self, Vec<String>), JournalError> {
        let failed = |source| JournalError::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut texts = Vec::new();
        let mut whole = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match text_of(line) {
                Some(text) => texts.push(text.to_owned()),
                None if whole + line.len() == bytes.len() => break,
                None => {
                    let line = texts.len() + 1;
                    return Err(JournalError::Damaged { path: path.to_owned(), line });
                }
            }
            whole += line.len();
        }
        let whole = u64::try_from(whole).unwrap_or(u64::MAX);
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok((Self { file, path: path.to_owned() }, texts))
    }

    /// Appends a text; it is durable when this returns.
    pub fn append(&mut self, text: &str) -> Result<(), JournalError> {
        self.append_torn(text, usize::MAX)?;
        let synced = self.file.sync_data();
        synced.map_err(|source| JournalError::File { path: self.path.clone(), source })
    }

    /// Writes only the beginning of a line, as a power cut does.
    pub fn append_torn(&mut self, text: &str, bytes: usize) -> Result<(), JournalError> {
        let line = format!("{:08x} {text}\n", crc32(text.as_bytes()));
        let written = self.file.write_all(&line.as_bytes()[..bytes.min(line.len())]);
        written.map_err(|source| JournalError::File { path: self.path.clone(), source })
    }
}

fn text_of(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (sum, text) = line.split_once(' ')?;
    (sum == format!("{:08x}", crc32(text.as_bytes()))).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_cut_and_a_damaged_one_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let (mut journal, texts) = Journal::open(&path).expect("it is made");
        assert!(texts.is_empty());
        journal.append("one").expect("it is written");
        journal.append("two").expect("it is written");
        journal.append_torn("three", 9).expect("it is written");
        drop(journal);
        let (mut journal, texts) = Journal::open(&path).expect("it opens");
        assert_eq!(texts, ["one", "two"]);
        journal.append("three").expect("it is written");
        let mut bytes = std::fs::read(&path).expect("it is there");
        assert_eq!(Journal::open(&path).expect("it opens").1, ["one", "two", "three"]);
        bytes[10] ^= 1;
        std::fs::write(&path, bytes).expect("it is written");
        assert!(matches!(Journal::open(&path), Err(JournalError::Damaged { line: 1, .. })));
    }
}
