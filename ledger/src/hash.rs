//! Tagged BLAKE3 hashes: `H(tag, …) = BLAKE3(str(tag) ‖ …)`.
//!
//! Every hash of the ledger starts with its own tag, and every variable part carries its length, so
//! two different meanings can never produce the same input bytes.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_root};
use blake3::platform::Platform;
use blake3::{CHUNK_LEN, IncrementCounter};

/// 32 raw bytes: a hash, a key or a seed.
pub type Hash32 = [u8; 32];

/// The `prev_hash` of the first record of a chain.
pub const ZERO_HASH: Hash32 = [0; 32];

const INLINE_BYTES: usize = 512;

/// Gathers the parts of a tagged hash. Short inputs, which is nearly all of them, stay on the stack,
/// where they are never moved.
#[derive(Debug)]
pub struct Tagged {
    inline: [u8; INLINE_BYTES],
    used: usize,
    spilled: Option<Vec<u8>>,
}

impl Tagged {
    /// Starts a hash under `tag`.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        let mut hash = Self { inline: [0; INLINE_BYTES], used: 0, spilled: None };
        hash.str(tag);
        hash
    }

    /// Adds `u32 little-endian byte length ‖ bytes`.
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds `u32 little-endian byte length ‖ bytes` of something that is not text.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u32::try_from(bytes.len()).expect("hashed parts are bounded far below 4 GiB");
        self.raw(&length.to_le_bytes()).raw(bytes)
    }

    /// Adds 8 bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Adds 32 raw bytes.
    pub fn h32(&mut self, hash: &Hash32) -> &mut Self {
        self.raw(hash)
    }

    /// Adds bytes as they are. Only for parts of a fixed length, or the last part.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(spilled) = &mut self.spilled {
            spilled.extend_from_slice(bytes);
        } else if let Some(free) = self.inline.get_mut(self.used..self.used + bytes.len()) {
            free.copy_from_slice(bytes);
            self.used += bytes.len();
        } else {
            let mut spilled = Vec::with_capacity(self.used + bytes.len());
            spilled.extend_from_slice(&self.inline[..self.used]);
            spilled.extend_from_slice(bytes);
            self.spilled = Some(spilled);
        }
        self
    }

    /// The hash.
    #[must_use]
    pub fn finish(&self) -> Hash32 {
        let input = self.spilled.as_deref().unwrap_or(&self.inline[..self.used]);
        *blake3::hash(input).as_bytes()
    }
}

/// Plain BLAKE3, for the payload hash only: everything else is tagged.
#[must_use]
pub fn payload_hash(canonical_payload: &[u8]) -> Hash32 {
    *blake3::hash(canonical_payload).as_bytes()
}

/// The payload hashes of many payloads. One hash is a chain of steps that wait for each other, so those of
/// an entry's invoices are made side by side: nearly all of an invoice between one and two KiB is its first
/// chunk, and sixteen of these take as long as one.
#[must_use]
pub fn payload_hashes(payloads: &[&[u8]]) -> Vec<Hash32> {
    let first_chunks = payloads.iter().filter_map(|payload| first_of_two_chunks(payload));
    let chained = chain_first_chunks(&first_chunks.collect::<Vec<_>>());
    let mut chained = chained.chunks_exact(size_of::<Hash32>());
    let hash = |payload: &&[u8]| match first_of_two_chunks(payload) {
        None => payload_hash(payload),
        Some(first) => {
            let left = chained.next().and_then(|bytes| bytes.try_into().ok());
            let left: Hash32 = left.expect("there is one for each first chunk");
            let mut rest = blake3::Hasher::new();
            rest.set_input_offset(CHUNK_LEN as u64).update(&payload[first.len()..]);
            *merge_subtrees_root(&left, &rest.finalize_non_root(), Mode::Hash).as_bytes()
        }
    };
    payloads.iter().map(hash).collect()
}

/// The first chunk of what has two.
fn first_of_two_chunks(payload: &[u8]) -> Option<&[u8; CHUNK_LEN]> {
    let (first, rest) = payload.split_first_chunk()?;
    (1..=CHUNK_LEN).contains(&rest.len()).then_some(first)
}

/// BLAKE3's chaining values of chunks that each begin an input, one after the other. This door of blake3 is
/// open to benchmarks and not part of what it promises; the values are its specification's.
fn chain_first_chunks(chunks: &[&[u8; CHUNK_LEN]]) -> Vec<u8> {
    const IV: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    const CHUNK_START: u8 = 1;
    const CHUNK_END: u8 = 2;
    let mut out = vec![0; chunks.len() * size_of::<Hash32>()];
    let (none, still) = (0, IncrementCounter::No);
    Platform::detect().hash_many(chunks, &IV, 0, still, none, CHUNK_START, CHUNK_END, &mut out);
    out
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads lower-case hexadecimal of exactly `N` bytes.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_inputs_spill_without_changing_the_hash() {
        let long = "x".repeat(INLINE_BYTES * 2);
        let mut expected = Vec::new();
        for part in ["tag", "short", &long, "tail"] {
            expected.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            expected.extend_from_slice(part.as_bytes());
        }
        let hash = Tagged::new("tag").str("short").str(&long).str("tail").finish();
        assert_eq!(hash, payload_hash(&expected));
    }

    #[test]
    fn hashes_made_side_by_side_are_those_made_alone() {
        let bytes: Vec<u8> = (0..4_096_u32).map(|at| (at * 31 % 251) as u8).collect();
        // Every length around the edges of chunks, and more of them than any processor takes at once.
        let mut lengths: Vec<usize> = (0..70).chain(960..1_100).chain(1_980..2_120).collect();
        lengths.extend([1_500; 37]);
        lengths.extend([3_071, 3_072, 3_073, 4_000]);
        let payloads: Vec<&[u8]> = lengths
            .iter()
            .enumerate()
            .map(|(at, length)| &bytes[at % 7..at % 7 + length])
            .collect();
        let alone: Vec<Hash32> = payloads.iter().map(|payload| payload_hash(payload)).collect();
        assert_eq!(payload_hashes(&payloads), alone);
        for count in 0..40 {
            assert_eq!(payload_hashes(&payloads[100..100 + count]), alone[100..100 + count]);
        }
        assert_eq!(payload_hashes(&[]), Vec::<Hash32>::new());
    }

    #[test]
    fn hex_round_trips_and_refuses_upper_case_and_wrong_lengths() {
        assert_eq!(hex(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(from_hex::<3>("00abff"), Some([0, 0xab, 0xff]));
        assert_eq!(from_hex::<3>("00ABFF"), None);
        assert_eq!(from_hex::<3>("00abf"), None);
    }
}
