//! One table of the working set: the rows that a batch reads, decoded once and encoded once.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::codec::{DecodeError, Reader, Writer};

/// A row read by apply that prefetch did not announce. It is a bug in this crate: the replica stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("apply reads {table} {key}, which prefetch did not announce")]
pub struct NotPrefetched {
    /// The table's name.
    pub table: &'static str,
    /// The key.
    pub key: String,
}

/// What a row is keyed by, and how it is stored.
pub trait Row: Sized {
    /// The key within the table.
    type Key: Ord + Clone + Debug;
    /// First byte of every stored key of the table.
    const TABLE: u8;
    /// The table's name in errors.
    const NAME: &'static str;

    /// Writes the key after the table byte.
    fn write_key(key: &Self::Key, out: &mut Writer);
    /// Writes the row.
    fn encode(&self, out: &mut Writer);
    /// Reads the row.
    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The stored key.
    fn stored_key(key: &Self::Key) -> Vec<u8> {
        let mut out = Writer::with_capacity(96);
        out.u8(Self::TABLE);
        Self::write_key(key, &mut out);
        out.finish()
    }

    /// The stored row.
    fn stored_row(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(512);
        self.encode(&mut out);
        out.finish()
    }

    /// Reads a stored row whole.
    fn from_stored(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let row = Self::decode(&mut from)?;
        from.finish()?;
        Ok(row)
    }
}

/// A large row, which is not to be moved around in its table.
impl<V: Row> Row for Box<V> {
    type Key = V::Key;
    const TABLE: u8 = V::TABLE;
    const NAME: &'static str = V::NAME;

    fn write_key(key: &Self::Key, out: &mut Writer) {
        V::write_key(key, out);
    }

    fn encode(&self, out: &mut Writer) {
        V::encode(self, out);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        V::decode(from).map(Box::new)
    }
}

#[derive(Debug, Clone)]
struct Slot<V> {
    value: Option<V>,
    dirty: bool,
}

/// The loaded rows of one table.
#[derive(Debug, Clone)]
pub struct Table<V: Row> {
    rows: BTreeMap<V::Key, Slot<V>>,
}

impl<V: Row> Default for Table<V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<V: Row> Table<V> {
    /// Puts what the store holds under `key`, once; a row that is already here is newer.
    pub(crate) fn load(&mut self, key: V::Key, value: Option<V>) {
        self.rows.entry(key).or_insert(Slot { value, dirty: false });
    }

    /// Lets all rows go, and what is known not to exist.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = (V::Key, Option<V>)> {
        self.rows.into_iter().map(|(key, slot)| (key, slot.value))
    }

    /// Whether a row, or its absence, is known.
    pub(crate) fn knows(&self, key: &V::Key) -> bool {
        self.rows.contains_key(key)
    }

    /// The row, or that there is none.
    pub(crate) fn get(&self, key: &V::Key) -> Result<Option<&V>, NotPrefetched> {
        match self.rows.get(key) {
            Some(slot) => Ok(slot.value.as_ref()),
            None => Err(unannounced::<V>(key)),
        }
    }

    /// The row to change, or that there is none.
    pub(crate) fn get_mut(&mut self, key: &V::Key) -> Result<Option<&mut V>, NotPrefetched> {
        match self.rows.get_mut(key) {
            Some(slot) => {
                slot.dirty |= slot.value.is_some();
                Ok(slot.value.as_mut())
            }
            None => Err(unannounced::<V>(key)),
        }
    }

    /// The row to change, if there is one that `wanted` accepts; any other stays unchanged.
    pub(crate) fn get_mut_if(
        &mut self,
        key: &V::Key,
        wanted: impl FnOnce(&V) -> bool,
    ) -> Result<Option<&mut V>, NotPrefetched> {
        if self.get(key)?.is_some_and(wanted) { self.get_mut(key) } else { Ok(None) }
    }

    /// Writes a row.
    pub(crate) fn put(&mut self, key: V::Key, value: V) {
        self.rows.insert(key, Slot { value: Some(value), dirty: true });
    }

    /// Deletes a row.
    pub(crate) fn delete(&mut self, key: V::Key) {
        self.rows.insert(key, Slot { value: None, dirty: true });
    }

    /// The rows that were changed, in key order; `None` is a deletion.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&V::Key, Option<&V>)> {
        self.rows
            .iter()
            .filter(|(_, slot)| slot.dirty)
            .map(|(key, slot)| (key, slot.value.as_ref()))
    }

    /// All loaded rows that exist, in key order.
    pub(crate) fn present(&self) -> impl Iterator<Item = (&V::Key, &V)> {
        self.rows.iter().filter_map(|(key, slot)| Some((key, slot.value.as_ref()?)))
    }
}

fn unannounced<V: Row>(key: &V::Key) -> NotPrefetched {
    NotPrefetched { table: V::NAME, key: format!("{key:?}") }
}
