//! The arithmetic of a seal: what is hashed, what is signed, and how the result is named on paper.
//!
//! ```text
//! payload_hash ─┐
//! blind ────────┼─► hidden_hash ─┐
//! prev_hash ────┘                ├─► entry_hash ─► signature ─► auth code
//! number, time, kind, total … ───┘
//! ```
//!
//! Invariants: everything that the signature covers, except the payload behind `hidden_hash`, is
//! printed on the receipt; nobody can test a guess of the payload without `blind`.
//!
//! Non-goals: no key lives here and nothing is signed here; the signer signs `entry_hash` after the
//! record is committed, and verification is in [`crate::qr`].

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::hash::{Hash32, Tagged, hex};

/// Most bytes of a prefix, an outlet code or a series code.
pub const CODE_BYTES_MAX: usize = 12;

/// Most bytes of a printed number of any series.
pub const NUMBER_BYTES_MAX: usize = 64;

/// Characters of an authentication code without its dashes.
pub const AUTH_CODE_CHARACTERS: usize = 16;

const AUTH_CODE_BYTES: usize = 10;
const AUTH_CODE_GROUP: usize = 4;

/// The salt of one record: unguessable for who does not know the seed of its log entry.
#[must_use]
pub fn blind(seed: &Hash32, index: u64) -> Hash32 {
    Tagged::new("fiscus/blind/v1").h32(seed).u64(index).finish()
}

/// The salted link of the outlet's chain: it commits to the payload, the place and all that came before.
#[must_use]
pub fn hidden_hash(
    outlet_id: &str,
    position: u64,
    payload_hash: &Hash32,
    blind: &Hash32,
    prev_hash: &Hash32,
) -> Hash32 {
    Tagged::new("fiscus/hidden/v1")
        .str(outlet_id)
        .u64(position)
        .h32(payload_hash)
        .h32(blind)
        .h32(prev_hash)
        .finish()
}

/// What the authority signs: every fact a receipt prints, and the hidden rest.
///
/// Records that are not invoices have an empty number, total and currency.
#[must_use]
pub fn entry_hash(
    authority_id: &str,
    fiscal_number: &str,
    timestamp_ms: u64,
    kind: &str,
    total: &str,
    currency: &str,
    hidden_hash: &Hash32,
) -> Hash32 {
    Tagged::new("fiscus/entry/v1")
        .str(authority_id)
        .str(fiscal_number)
        .u64(timestamp_ms)
        .str(kind)
        .str(total)
        .str(currency)
        .h32(hidden_hash)
        .finish()
}

/// The id of an authority: its name and the start of its key's SHA-256, so that a swapped key shows.
#[must_use]
pub fn authority_id(name: &str, public_key: &[u8; 32]) -> String {
    let digest = Sha256::digest(public_key);
    format!("{name}.{}", hex(&digest[..8]))
}

/// The short code that a person can compare or dictate: 80 bits of a hash of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthCode([u8; AUTH_CODE_BYTES]);

/// Why a text is no authentication code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthCodeError {
    /// A character outside the alphabet and its look-alikes.
    #[error("the authentication code holds {0:?}, which is no digit or letter that codes use")]
    Character(char),
    /// Too few or too many characters.
    #[error("an authentication code has 16 digits and letters, this one has {0}")]
    Length(usize),
    /// A dash in the middle of a group.
    #[error("dashes of an authentication code stand after each fourth character only")]
    Dash,
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl AuthCode {
    /// The code of a signature.
    #[must_use]
    pub fn of_signature(signature: &[u8; 64]) -> Self {
        let hash = Tagged::new("fiscus/auth/v1").raw(signature).finish();
        let mut bytes = [0; AUTH_CODE_BYTES];
        bytes.copy_from_slice(&hash[..AUTH_CODE_BYTES]);
        Self(bytes)
    }

    /// The same spelling for other ten bytes, as those of an activation code.
    pub(crate) fn of_bytes(bytes: [u8; AUTH_CODE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 16 characters, most significant bits first.
    fn characters(self) -> impl Iterator<Item = char> {
        (0..AUTH_CODE_CHARACTERS).map(move |index| {
            let mut value = 0_u8;
            for bit in index * 5..index * 5 + 5 {
                value = (value << 1) | ((self.0[bit / 8] >> (7 - bit % 8)) & 1);
            }
            char::from(CROCKFORD[usize::from(value)])
        })
    }
}

impl fmt::Display for AuthCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, character) in self.characters().enumerate() {
            if index > 0 && index % AUTH_CODE_GROUP == 0 {
                formatter.write_str("-")?;
            }
            write!(formatter, "{character}")?;
        }
        Ok(())
    }
}

impl FromStr for AuthCode {
    type Err = AuthCodeError;

    /// Reads what a person types: any case, dashes or none, O for 0, I and L for 1.
    fn from_str(text: &str) -> Result<Self, AuthCodeError> {
        let mut bytes = [0_u8; AUTH_CODE_BYTES];
        let mut count = 0_usize;
        let mut after_dash = false;
        for character in text.chars() {
            if character == '-' {
                let between_groups = count > 0
                    && count < AUTH_CODE_CHARACTERS
                    && count.is_multiple_of(AUTH_CODE_GROUP);
                if after_dash || !between_groups {
                    return Err(AuthCodeError::Dash);
                }
                after_dash = true;
                continue;
            }
            after_dash = false;
            let value = crockford_value(character).ok_or(AuthCodeError::Character(character))?;
            if count < AUTH_CODE_CHARACTERS {
                for offset in 0..5 {
                    let bit = count * 5 + offset;
                    bytes[bit / 8] |= ((value >> (4 - offset)) & 1) << (7 - bit % 8);
                }
            }
            count = count.saturating_add(1);
        }
        if count == AUTH_CODE_CHARACTERS {
            Ok(Self(bytes))
        } else {
            Err(AuthCodeError::Length(count))
        }
    }
}

fn crockford_value(character: char) -> Option<u8> {
    let canonical = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let place = CROCKFORD.iter().position(|digit| char::from(*digit) == canonical)?;
    u8::try_from(place).ok()
}

/// A number of an outlet's main series: `{prefix}-{outlet code}-{sequence}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiscalNumber {
    prefix: String,
    outlet_code: String,
    sequence: u64,
}

/// Why a text or its parts are no fiscal number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FiscalNumberError {
    /// Not three parts.
    #[error(
        "a fiscal number has three parts with a dash between them: prefix, outlet code, sequence"
    )]
    Parts,
    /// The prefix breaks its grammar.
    #[error("the prefix of a fiscal number is 1 to 12 capital letters and digits")]
    Prefix,
    /// The outlet code breaks its grammar.
    #[error("the outlet code of a fiscal number is 1 to 12 capital letters and digits")]
    OutletCode,
    /// The sequence breaks its grammar.
    #[error("the sequence of a fiscal number is a decimal from 1 on, without leading zeros")]
    Sequence,
}

impl FiscalNumber {
    /// Puts a number together.
    pub fn new(prefix: &str, outlet_code: &str, sequence: u64) -> Result<Self, FiscalNumberError> {
        if !is_code(prefix) {
            return Err(FiscalNumberError::Prefix);
        }
        if !is_code(outlet_code) {
            return Err(FiscalNumberError::OutletCode);
        }
        if sequence == 0 {
            return Err(FiscalNumberError::Sequence);
        }
        Ok(Self { prefix: prefix.to_owned(), outlet_code: outlet_code.to_owned(), sequence })
    }

    /// The organisation's part.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The outlet's part.
    #[must_use]
    pub fn outlet_code(&self) -> &str {
        &self.outlet_code
    }

    /// The place in the series, from 1.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl fmt::Display for FiscalNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.prefix, self.outlet_code, self.sequence)
    }
}

impl FromStr for FiscalNumber {
    type Err = FiscalNumberError;

    fn from_str(text: &str) -> Result<Self, FiscalNumberError> {
        let mut parts = text.split('-');
        let (Some(prefix), Some(outlet_code), Some(sequence), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FiscalNumberError::Parts);
        };
        let sequence = parse_sequence(sequence).ok_or(FiscalNumberError::Sequence)?;
        Self::new(prefix, outlet_code, sequence)
    }
}

/// Whether `text` may be a prefix, an outlet code or a series code.
#[must_use]
pub fn is_code(text: &str) -> bool {
    (1..=CODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_code_byte)
}

/// Whether `text` may stand before the sequence in a number of any series: codes joined by dashes.
#[must_use]
pub fn is_series_prefix(text: &str) -> bool {
    text.len() < NUMBER_BYTES_MAX
        && text.split('-').all(|part| !part.is_empty() && part.bytes().all(is_code_byte))
}

/// Splits a number of any series, main or a device's, into what stands before the sequence and the
/// sequence; `None` when it is no such number.
#[must_use]
pub fn split_number(text: &str) -> Option<(&str, u64)> {
    if text.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let (prefix, sequence) = text.rsplit_once('-')?;
    let sequence = parse_sequence(sequence)?;
    is_series_prefix(prefix).then_some((prefix, sequence))
}

fn is_code_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

/// Decimal, at least 1, one spelling: no sign, no leading zero.
fn parse_sequence(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_part_changes_the_hidden_hash() {
        let base = hidden_hash("outlet", 1, &[1; 32], &[2; 32], &[3; 32]);
        for (changed, hash) in [
            ("outlet", hidden_hash("outleT", 1, &[1; 32], &[2; 32], &[3; 32])),
            ("position", hidden_hash("outlet", 2, &[1; 32], &[2; 32], &[3; 32])),
            ("payload", hidden_hash("outlet", 1, &[9; 32], &[2; 32], &[3; 32])),
            ("blind", hidden_hash("outlet", 1, &[1; 32], &[9; 32], &[3; 32])),
            ("previous", hidden_hash("outlet", 1, &[1; 32], &[2; 32], &[9; 32])),
        ] {
            assert_ne!(hash, base, "{changed}");
        }
    }

    #[test]
    fn every_part_changes_the_entry_hash() {
        let base = entry_hash("a", "F-O-1", 1, "sale", "1.00", "CDF", &[1; 32]);
        for (changed, hash) in [
            ("authority", entry_hash("b", "F-O-1", 1, "sale", "1.00", "CDF", &[1; 32])),
            ("number", entry_hash("a", "F-O-2", 1, "sale", "1.00", "CDF", &[1; 32])),
            ("time", entry_hash("a", "F-O-1", 2, "sale", "1.00", "CDF", &[1; 32])),
            ("kind", entry_hash("a", "F-O-1", 1, "export", "1.00", "CDF", &[1; 32])),
            ("total", entry_hash("a", "F-O-1", 1, "sale", "1.01", "CDF", &[1; 32])),
            ("currency", entry_hash("a", "F-O-1", 1, "sale", "1.00", "USD", &[1; 32])),
            ("hidden", entry_hash("a", "F-O-1", 1, "sale", "1.00", "CDF", &[2; 32])),
            ("border", entry_hash("aF", "-O-1", 1, "sale", "1.00", "CDF", &[1; 32])),
        ] {
            assert_ne!(hash, base, "{changed}");
        }
    }

    #[test]
    fn blinds_differ_by_seed_and_by_index() {
        assert_ne!(blind(&[1; 32], 0), blind(&[1; 32], 1));
        assert_ne!(blind(&[1; 32], 0), blind(&[2; 32], 0));
    }

    #[test]
    fn authority_ids_end_in_the_start_of_the_keys_sha256() {
        // SHA-256 of 32 zero bytes is 66687aadf862bd77…
        assert_eq!(authority_id("demo", &[0; 32]), "demo.66687aadf862bd77");
    }

    #[test]
    fn auth_codes_are_shown_in_crockford_base32() {
        assert_eq!(AuthCode([0; 10]).to_string(), "0000-0000-0000-0000");
        assert_eq!(AuthCode([0xff; 10]).to_string(), "ZZZZ-ZZZZ-ZZZZ-ZZZZ");
        let counting = AuthCode([0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf]);
        assert_eq!(counting.to_string(), "0123-4567-89AB-CDEF");
    }

    #[test]
    fn auth_codes_are_read_as_people_type_them() {
        let code = AuthCode([0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf]);
        for text in [
            "0123-4567-89AB-CDEF",
            "0123456789ABCDEF",
            "0123-4567-89ab-cdef",
            "O123456789abcdef",
            "oi23-4567-89AB-CDEF",
            "OL23-456789ABCDEF",
        ] {
            assert_eq!(text.parse(), Ok(code), "{text}");
        }
    }

    #[test]
    fn what_is_no_auth_code_is_refused() {
        for (text, error) in [
            ("", AuthCodeError::Length(0)),
            ("0123-4567-89AB-CDE", AuthCodeError::Length(15)),
            ("0123-4567-89AB-CDEF0", AuthCodeError::Length(17)),
            ("U123-4567-89AB-CDEF", AuthCodeError::Character('U')),
            ("0123 4567 89AB CDEF", AuthCodeError::Character(' ')),
            ("0123-4567-89AB-CDÉF", AuthCodeError::Character('É')),
            ("-0123456789ABCDEF", AuthCodeError::Dash),
            ("01234-567-89AB-CDEF", AuthCodeError::Dash),
            ("0123--4567-89AB-CDEF", AuthCodeError::Dash),
            ("0123-4567-89AB-CDEF-", AuthCodeError::Dash),
        ] {
            assert_eq!(text.parse::<AuthCode>(), Err(error), "{text}");
        }
    }

    #[test]
    fn fiscal_numbers_are_read_and_written_in_one_spelling() {
        for text in ["CD-KIN01-1", "A-B-18446744073709551615", "ABCDEFGHIJKL-012345678901-10"] {
            assert_eq!(text.parse::<FiscalNumber>().unwrap().to_string(), text);
        }
        for (text, error) in [
            ("", FiscalNumberError::Parts),
            ("CD-KIN01", FiscalNumberError::Parts),
            ("CD-KIN01-1-1", FiscalNumberError::Parts),
            ("cd-KIN01-1", FiscalNumberError::Prefix),
            ("-KIN01-1", FiscalNumberError::Prefix),
            ("ABCDEFGHIJKLM-KIN01-1", FiscalNumberError::Prefix),
            ("CD-KIN 01-1", FiscalNumberError::OutletCode),
            ("CD--1", FiscalNumberError::OutletCode),
            ("CD-KIN01-", FiscalNumberError::Sequence),
            ("CD-KIN01-0", FiscalNumberError::Sequence),
            ("CD-KIN01-01", FiscalNumberError::Sequence),
            ("CD-KIN01-+1", FiscalNumberError::Sequence),
            ("CD-KIN01-1 ", FiscalNumberError::Sequence),
            ("CD-KIN01-18446744073709551616", FiscalNumberError::Sequence),
        ] {
            assert_eq!(text.parse::<FiscalNumber>(), Err(error), "{text}");
        }
        assert_eq!(FiscalNumber::new("CD", "KIN01", 0), Err(FiscalNumberError::Sequence));
    }

    #[test]
    fn numbers_of_any_series_split_before_the_sequence() {
        let long = format!("{}-1", "A".repeat(63));
        for (text, split) in [
            ("CD-KIN01-7", Some(("CD-KIN01", 7))),
            ("DEF0001234567-1", Some(("DEF0001234567", 1))),
            ("A-B-C-D-2", Some(("A-B-C-D", 2))),
            ("7", None),
            ("-7", None),
            ("A--7", None),
            ("A-07", None),
            ("a-7", None),
            ("A-7-", None),
            (long.as_str(), None),
        ] {
            assert_eq!(split_number(text), split, "{text}");
        }
        assert!(split_number(&long[1..]).is_some());
    }

    proptest! {
        #[test]
        fn auth_codes_round_trip(bytes: [u8; 10]) {
            let code = AuthCode(bytes);
            let text = code.to_string();
            prop_assert_eq!(text.parse(), Ok(code));
            prop_assert_eq!(text.replace('-', "").to_lowercase().parse(), Ok(code));
        }

        #[test]
        fn fiscal_numbers_round_trip(prefix in "[A-Z0-9]{1,12}", code in "[A-Z0-9]{1,12}", sequence in 1_u64..) {
            let number = FiscalNumber::new(&prefix, &code, sequence).unwrap();
            let text = number.to_string();
            let series = format!("{prefix}-{code}");
            prop_assert_eq!(split_number(&text), Some((series.as_str(), sequence)));
            prop_assert_eq!(text.parse(), Ok(number));
        }

        #[test]
        fn random_text_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<AuthCode>();
            let _ = text.parse::<FiscalNumber>();
            let _ = split_number(&text);
        }
    }
}
