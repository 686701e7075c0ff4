//! What is written at once.
//!
//! Invariant: the order of calls is kept, so the last word on a key wins. Non-goal: a bound; whoever
//! collects a batch has one, and [`Batch::len_bytes`] to hold it.

use bytes::Bytes;

/// Puts and deletes that take effect together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
    len_bytes: usize,
}

/// One change; without a value it is a delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

impl Change {
    /// Bytes of its key and its value.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl Batch {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing yet, with room for this many changes.
    #[must_use]
    pub fn with_capacity(changes: usize) -> Self {
        Self { changes: Vec::with_capacity(changes), len_bytes: 0 }
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.change(Bytes::from(key.into()), Some(Bytes::from(value.into())))
    }

    /// Removes a key, which need not be there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.change(Bytes::from(key.into()), None)
    }

    /// Sets the value of a key, or removes it, with bytes that are shared and not copied.
    pub fn change(&mut self, key: Bytes, value: Option<Bytes>) -> &mut Self {
        let change = Change { key, value };
        self.len_bytes += change.bytes();
        self.changes.push(change);
        self
    }

    /// How many changes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of all its keys and values.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Forgets its changes and keeps their room.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.len_bytes = 0;
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }
}
