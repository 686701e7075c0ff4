//! Hexadecimal and base64, each with one accepted spelling.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of every byte as a digit; 255 for what is none.
const fn values(alphabet: &[u8]) -> [u8; 256] {
    let mut table = [255; 256];
    let mut at = 0;
    while at < alphabet.len() {
        // There are at most 64 digits.
        table[alphabet[at] as usize] = at.to_le_bytes()[0];
        at += 1;
    }
    table
}

const HEX_VALUES: [u8; 256] = values(b"0123456789abcdef");
const STANDARD_VALUES: [u8; 256] = values(STANDARD);
const URL_VALUES: [u8; 256] = values(URL);

/// Lower-case hexadecimal of exactly `N` bytes.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let mut bad = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (HEX_VALUES[usize::from(pair[0])], HEX_VALUES[usize::from(pair[1])]);
        bad |= high | low;
        *byte = (high << 4) | (low & 15);
    }
    (bad < 16).then_some(bytes)
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Standard base64 with padding.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let padding = text.len() - digits.len();
    (digits.len() % 4 == (4 - padding) % 4).then(|| decode(digits, &STANDARD_VALUES))?
}

/// base64url without padding.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    decode(text, &URL_VALUES)
}

fn decode(digits: &str, values: &[u8; 256]) -> Option<Vec<u8>> {
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held): (u32, u32) = (0, 0);
    for digit in digits.bytes() {
        let value = values[usize::from(digit)];
        if value == 255 {
            return None;
        }
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
            bits &= (1 << held) - 1;
        }
    }
    // Bits that belong to no byte must be zero, or one byte string would have several spellings.
    (bits == 0).then_some(bytes)
}

/// Standard base64 with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(three);
        for place in 0..4 {
            if place <= chunk.len() {
                let digit = (bits >> (18 - 6 * place)) & 63;
                text.push(char::from(STANDARD[usize::from(digit.to_le_bytes()[0])]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_spelling() {
        for length in 0..70_u8 {
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37)).collect();
            let text = to_base64(&bytes);
            assert_eq!(from_base64(&text).as_deref(), Some(&bytes[..]), "{text}");
            assert_eq!(from_base64(&text).map(|back| to_base64(&back)), Some(text));
        }
        for wrong in ["A", "AA", "AAA", "AB==", "AAB=", "AA=A", "====", "A===", "AA==AA==", "A A="]
        {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
        assert_eq!(from_base64url("_-8"), Some(vec![0xff, 0xef]));
        assert_eq!(from_base64url("_-9"), None, "a bit that belongs to no byte");
    }

    #[test]
    fn hexadecimal_is_lower_case_and_whole() {
        assert_eq!(from_hex::<2>("00ff"), Some([0, 255]));
        for wrong in ["00fF", "0ff", "00fg", "00f\u{e9}"] {
            assert_eq!(from_hex::<2>(wrong), None, "{wrong}");
        }
        assert_eq!(to_hex(&[0, 255, 0x1a]), "00ff1a");
    }
}
