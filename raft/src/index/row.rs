//! A stored value carries a checksum over its key and itself.
//!
//! Stored bytes: `value ‖ u32 LE crc32c(u32 LE key length ‖ key ‖ value)`. The pages below have a checksum of
//! their own; this one also finds a row that ended up under another key, and it travels with the row
//! through the backend's caches.

/// Bytes that a checksum adds to a value.
pub(super) const SUM_BYTES: usize = 4;

/// The value as it is stored, in `buffer`.
pub(super) fn seal<'a>(key: &[u8], value: &[u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(&sum(key, value).to_le_bytes());
    buffer
}

/// The value, if what is stored is what was written under this key.
pub(super) fn unseal<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (value, wanted) = stored.split_last_chunk::<SUM_BYTES>()?;
    (sum(key, value) == u32::from_le_bytes(*wanted)).then_some(value)
}

fn sum(key: &[u8], value: &[u8]) -> u32 {
    // A key has fewer than 4 GiB; were it longer, the sum would still be the same both times.
    let sum = crc32c::crc32c(&(key.len() as u64).to_le_bytes()[..4]);
    crc32c::crc32c_append(crc32c::crc32c_append(sum, key), value)
}
