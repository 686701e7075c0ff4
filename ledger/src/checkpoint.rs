//! Checkpoints, the text format of C2SP `tlog-checkpoint`: what a group's log key signs.
//!
//! ```text
//! {cluster}/g/{n}              the origin, which names the log
//! 20852163                     the number of leaves, decimal
//! CsUYapGGPo4dkMgIAUqo…=       the root, standard base64
//! …                            extension lines, none of them empty
//! ```
//!
//! The text is carried by a signed [`Note`](crate::note::Note). [`open`] is the way in for a reader:
//! it accepts a checkpoint of one origin, signed under the origin's name by a known key.
//!
//! Non-goals: deciding whether a checkpoint may be signed, and witnesses' cosignatures.

use crate::base64::{decode_standard, encode_standard};
use crate::hash::Hash32;
use crate::note::{KnownKeys, Note, NoteParseError, NoteVerifyError, is_key_name};

/// The name of group `group`'s log in `cluster`.
#[must_use]
pub fn origin(cluster: &str, group: u64) -> String {
    format!("{cluster}/g/{group}")
}

/// Why text is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A line is missing, or the last does not end with a newline.
    #[error("a checkpoint has an origin, a size and a root, each on its line")]
    Lines,
    /// The origin is empty, or could not be the name of a key.
    #[error("{0:?} cannot be the origin of a checkpoint")]
    Origin(String),
    /// The size is not a plain decimal number of 64 bits.
    #[error("the size of the checkpoint is not a plain decimal number")]
    Size,
    /// The root is not the base64 of 32 bytes.
    #[error("the root of the checkpoint is not 32 bytes in base64")]
    Root,
    /// An extension line is empty or contains a control character.
    #[error("extension line {0} of the checkpoint is empty or not plain text")]
    Extension(usize),
}

/// Why a signed checkpoint is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not a signed note.
    #[error("the checkpoint is not a signed note: {0}")]
    Note(#[source] NoteParseError),
    /// It is not signed as it must be.
    #[error("the checkpoint is not believed: {0}")]
    Signature(#[source] NoteVerifyError),
    /// The note's text is not a checkpoint.
    #[error("the signed text is not a checkpoint: {0}")]
    Text(#[source] CheckpointError),
    /// It is another log's checkpoint.
    #[error("the checkpoint is of {found:?}, not of {expected:?}")]
    OtherOrigin {
        /// The log that was asked about.
        expected: String,
        /// The log whose checkpoint it is.
        found: String,
    },
    /// Known keys signed it, but none of them is the log's.
    #[error("the checkpoint of {0:?} is not signed by its own log")]
    NotSignedByLog(String),
}

/// The state of a log at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash32,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: &str, size: u64, root: &Hash32) -> Result<Self, CheckpointError> {
        Self::with_extensions(origin, size, root, Vec::new())
    }

    /// A checkpoint with extension lines, written without their newlines.
    pub fn with_extensions(
        origin: &str,
        size: u64,
        root: &Hash32,
        extensions: Vec<String>,
    ) -> Result<Self, CheckpointError> {
        if !is_key_name(origin) {
            return Err(CheckpointError::Origin(origin.to_owned()));
        }
        let broken = |line: &String| line.is_empty() || line.bytes().any(|byte| byte < b' ');
        if let Some(place) = extensions.iter().position(broken) {
            return Err(CheckpointError::Extension(place + 1));
        }
        Ok(Self { origin: origin.to_owned(), size, root: *root, extensions })
    }

    /// The name of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree at that size.
    #[must_use]
    pub fn root(&self) -> &Hash32 {
        &self.root
    }

    /// The extension lines, without their newlines.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The text to sign.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, encode_standard(&self.root));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads what [`Self::to_text`] writes, and nothing else.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError::Lines);
        let (origin, size, root) = (line()?, line()?, line()?);
        let size = parse_size(size).ok_or(CheckpointError::Size)?;
        let root = decode_standard(root).and_then(|root| Hash32::try_from(root).ok());
        let root = root.ok_or(CheckpointError::Root)?;
        Self::with_extensions(origin, size, &root, lines.map(str::to_owned).collect())
    }
}

/// Reads a signed checkpoint of the log `origin`, of which `known` holds the key, under its name.
/// Keys of witnesses may be in `known` too; their signatures do not stand in for the log's.
pub fn open(note: &[u8], origin: &str, known: &KnownKeys) -> Result<Checkpoint, OpenError> {
    let note = Note::parse(note).map_err(OpenError::Note)?;
    let verified = note.verify(known).map_err(OpenError::Signature)?;
    let checkpoint = Checkpoint::parse(verified.text()).map_err(OpenError::Text)?;
    if checkpoint.origin != origin {
        let (expected, found) = (origin.to_owned(), checkpoint.origin);
        return Err(OpenError::OtherOrigin { expected, found });
    }
    if !verified.signers().iter().any(|key| key.name() == origin) {
        return Err(OpenError::NotSignedByLog(origin.to_owned()));
    }
    Ok(checkpoint)
}

/// A number without sign, leading zeros or anything else around it.
fn parse_size(text: &str) -> Option<u64> {
    let size: u64 = text.parse().ok()?;
    (size.to_string() == text).then_some(size)
}

#[cfg(test)]
mod tests;
