//! Base64 (RFC 4648) in the two spellings that the formats use: standard with padding for notes, and
//! URL-safe without padding for QR payloads.
//!
//! Every byte string has exactly one accepted spelling: no white space, no missing or extra padding,
//! and the unused low bits of the last digit are zero. Signed text could otherwise be re-spelled
//! without breaking its signature.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Standard alphabet, padded with `=`.
#[must_use]
pub fn encode_standard(bytes: &[u8]) -> String {
    let mut text = encode(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Reads what [`encode_standard`] writes, and nothing else.
#[must_use]
pub fn decode_standard(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let bytes = decode(digits, STANDARD)?;
    // A third `=`, or `==` where one belongs, leaves a digit count that does not fit the padding.
    (digits.len().next_multiple_of(4) == text.len()).then_some(bytes)
}

/// URL-safe alphabet, not padded.
#[must_use]
pub fn encode_url(bytes: &[u8]) -> String {
    encode(bytes, URL)
}

/// Reads what [`encode_url`] writes, and nothing else.
#[must_use]
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    decode(text, URL)
}

fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        for (slot, byte) in group[1..].iter_mut().zip(chunk) {
            *slot = *byte;
        }
        let bits = u32::from_be_bytes(group);
        for digit in 0..=chunk.len() {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let position = usize::try_from(value).expect("six bits fit every usize");
            text.push(char::from(alphabet[position]));
        }
    }
    text
}

fn decode(digits: &str, alphabet: &[u8; 64]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let whole = match chunk.len() {
            2..=4 => chunk.len() - 1,
            _ => return None,
        };
        let mut bits: u32 = 0;
        for digit in 0..4 {
            bits = (bits << 6) | chunk.get(digit).map_or(Some(0), |d| digit_value(*d, alphabet))?;
        }
        let group = bits.to_be_bytes();
        let (used, unused) = group[1..].split_at(whole);
        if unused.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(used);
    }
    Some(bytes)
}

fn digit_value(digit: u8, alphabet: &[u8; 64]) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        _ if digit == alphabet[62] => 62,
        _ if digit == alphabet[63] => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4648, section 10, and the two digits in which the alphabets differ.
    #[test]
    fn the_vectors_of_the_rfc() {
        for (bytes, standard, url) in [
            (&b""[..], "", ""),
            (b"f", "Zg==", "Zg"),
            (b"fo", "Zm8=", "Zm8"),
            (b"foo", "Zm9v", "Zm9v"),
            (b"foob", "Zm9vYg==", "Zm9vYg"),
            (b"fooba", "Zm9vYmE=", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy", "Zm9vYmFy"),
            (&[0xfb, 0xff], "+/8=", "-_8"),
        ] {
            assert_eq!(encode_standard(bytes), standard);
            assert_eq!(encode_url(bytes), url);
            assert_eq!(decode_standard(standard).as_deref(), Some(bytes));
            assert_eq!(decode_url(url).as_deref(), Some(bytes));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for standard in [
            "Zg", "Zg=", "Zg===", "Zg====", "Zh==", "Zm9=", "Zm8", "Zm9v====", "Zm9v=", "Z", "=",
            "==", "====", "Zg==Zg==", " Zg==", "Zg==\n", "Zm 9v", "-_8=", "Zm8==", "é===", "Zgé=",
        ] {
            assert_eq!(decode_standard(standard), None, "{standard:?}");
        }
        for url in ["Zg==", "Zh", "Zm9", "Z", "+/8", "Zm8=", "Zm9vY", "Zm\n8", "é"] {
            assert_eq!(decode_url(url), None, "{url:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode_standard(&encode_standard(&bytes)), Some(bytes.clone()));
            prop_assert_eq!(decode_url(&encode_url(&bytes)), Some(bytes));
        }

        #[test]
        fn whatever_decodes_is_the_one_spelling(text in "[A-Za-z0-9+/=_-]{0,12}") {
            if let Some(bytes) = decode_standard(&text) {
                prop_assert_eq!(encode_standard(&bytes), text.clone());
            }
            if let Some(bytes) = decode_url(&text) {
                prop_assert_eq!(encode_url(&bytes), text);
            }
        }
    }
}
