//! The directory's rows (group 0): documents with versions, and what must be unique for ever.

use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::Hash32;
use crate::state::table::Row;
use crate::state::{Id, read_id};

/// A document of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Rises by one with each change; a change names the version it saw.
    pub version: u64,
    /// The document; its kind says how it is read.
    pub bytes: Vec<u8>,
}

/// The kind and the id.
pub type DocumentKey = (Id, Id);

impl Row for Document {
    type Key = DocumentKey;
    const TABLE: u8 = 20;
    const NAME: &'static str = "document";

    fn write_key(key: &DocumentKey, out: &mut Writer) {
        out.str(&key.0).str(&key.1);
    }

    fn encode(&self, out: &mut Writer) {
        out.u64(self.version).bytes(&self.bytes);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: from.u64("document version")?,
            bytes: from.bytes("document bytes")?.to_vec(),
        })
    }
}

/// Whose a prefix and code pair is. Never freed: a number must never be issued by two outlets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberSpace {
    /// The outlet.
    pub outlet_id: Id,
}

/// The prefix and the code.
pub type NumberSpaceKey = (Id, Id);

impl Row for NumberSpace {
    type Key = NumberSpaceKey;
    const TABLE: u8 = 21;
    const NAME: &'static str = "number space";

    fn write_key(key: &NumberSpaceKey, out: &mut Writer) {
        out.str(&key.0).str(&key.1);
    }

    fn encode(&self, out: &mut Writer) {
        out.str(&self.outlet_id);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { outlet_id: read_id(from, "number space outlet")? })
    }
}

/// A single-use activation code, by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The device that it activates.
    pub device_id: Id,
    /// Whether it has been used.
    pub used: bool,
}

impl Row for Activation {
    type Key = Hash32;
    const TABLE: u8 = 22;
    const NAME: &'static str = "activation";

    fn write_key(key: &Hash32, out: &mut Writer) {
        out.raw(key);
    }

    fn encode(&self, out: &mut Writer) {
        out.str(&self.device_id).bool(self.used);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            device_id: read_id(from, "activation device")?,
            used: from.bool("activation used")?,
        })
    }
}
