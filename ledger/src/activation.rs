//! Codes with which a device is bound to its outlet, once: `{device id}/XXXX-XXXX-XXXX-XXXX`.
//!
//! A code names its device, so that a proxy that is another device uses nobody's code up. The ledger knows
//! only its hash.

use crate::hash::Hash32;
use crate::seal::AuthCode;

/// Random bytes of a code.
pub const RANDOM_BYTES: usize = 10;

/// A device's code; the random bytes are the caller's.
#[must_use]
pub fn activation_code(device_id: &str, random: [u8; RANDOM_BYTES]) -> String {
    format!("{device_id}/{}", AuthCode::of_bytes(random))
}

/// The device that a code names.
#[must_use]
pub fn device_of(code: &str) -> Option<&str> {
    code.rsplit_once('/').map(|(device_id, _)| device_id)
}

/// What the ledger keeps of a code. What a person typed in another case, or with the letter O for a zero, is
/// the same code.
#[must_use]
pub fn activation_hash(code: &str) -> Hash32 {
    let spelled = code.rsplit_once('/').and_then(|(device_id, secret)| {
        let secret: AuthCode = secret.parse().ok()?;
        Some(format!("{device_id}/{secret}"))
    });
    *blake3::hash(spelled.as_deref().unwrap_or(code).as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_however_it_is_typed() {
        let code = activation_code("def-1/b", [0x1f; RANDOM_BYTES]);
        assert_eq!(device_of(&code), Some("def-1/b"));
        let (_, secret) = code.rsplit_once('/').expect("a slash");
        let typed = format!("def-1/b/{}", secret.to_lowercase().replace('-', ""));
        assert_eq!(activation_hash(&typed), activation_hash(&code));
        assert_ne!(activation_hash(&code.replace("def", "dfe")), activation_hash(&code));
        assert_eq!(device_of("no slash"), None);
    }
}
