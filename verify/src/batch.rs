//! Many Ed25519 signatures at once: one equation over all of them, several times faster than one by one, because
//! an export is signed by few keys and each of them enters the equation once.
//!
//! ```text
//! (Σ zᵢ sᵢ) B  =  Σ zᵢ Rᵢ  +  Σ over keys A of (Σ zᵢ kᵢ) A        kᵢ = SHA-512(Rᵢ ‖ A ‖ message)
//! ```
//!
//! The weights `zᵢ` are 128 bits each, from a hash of everything that enters the equation, so nobody can choose
//! signatures that cancel each other out. When the equation does not hold, or an encoding is not the only one of
//! its value, each signature is checked alone by the strict rules, which also says which one it is.

use std::collections::BTreeMap;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};

use crate::hash::Hash;

/// A signature of a hash, and whose it should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'k> {
    pub(crate) key: &'k VerifyingKey,
    pub(crate) message: Hash,
    pub(crate) signature: [u8; 64],
}

/// One signature by the strict rules.
pub(crate) fn is_signed(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

/// The place of the first signature that is wrong.
pub(crate) fn first_wrong(all: &[Signed<'_>]) -> Option<usize> {
    if all.is_empty() || holds_together(all) == Some(true) {
        return None;
    }
    all.iter().position(|one| !is_signed(one.key, &one.message, &one.signature))
}

/// Whether the equation holds; none when something in it cannot be decoded.
fn holds_together(all: &[Signed<'_>]) -> Option<bool> {
    let mut seed = blake3::Hasher::new();
    let mut parts = Vec::with_capacity(all.len());
    for one in all {
        let (r, s) = one.signature.split_first_chunk::<32>()?;
        let s: [u8; 32] = s.try_into().ok()?;
        let hram: [u8; 64] = Sha512::new()
            .chain_update(r)
            .chain_update(one.key.as_bytes())
            .chain_update(one.message)
            .finalize()
            .into();
        seed.update(&hram);
        seed.update(&s);
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s))?;
        let r = CompressedEdwardsY(*r);
        parts.push((r, s, Scalar::from_bytes_mod_order_wide(&hram)));
    }
    let mut weights = seed.finalize_xof();
    let mut base = Scalar::ZERO;
    let mut scalars = Vec::with_capacity(all.len() + 4);
    let mut points = Vec::with_capacity(all.len() + 4);
    let mut keys: BTreeMap<&[u8; 32], (Scalar, EdwardsPoint)> = BTreeMap::new();
    for (one, (r, s, k)) in all.iter().zip(parts) {
        let mut weight = [0; 16];
        weights.fill(&mut weight);
        let z = Scalar::from(u128::from_le_bytes(weight));
        base += z * s;
        let point = r.decompress()?;
        // A second encoding of the same point, or a point of small order, is for the strict check to refuse.
        if point.compress() != r || point.is_small_order() {
            return None;
        }
        scalars.push(z);
        points.push(point);
        let key = keys.entry(one.key.as_bytes()).or_insert((Scalar::ZERO, one.key.to_edwards()));
        key.0 += z * k;
    }
    scalars.push(-base);
    points.push(ED25519_BASEPOINT_POINT);
    for (scalar, point) in keys.into_values() {
        scalars.push(scalar);
        points.push(point);
    }
    Some(EdwardsPoint::vartime_multiscalar_mul(scalars, points).is_identity())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    /// Whose it is, what is signed, and the signature.
    type Sample = (usize, Hash, [u8; 64]);

    fn sample(count: u8) -> (Vec<VerifyingKey>, Vec<Sample>) {
        let keys: Vec<SigningKey> =
            (1..=3).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        let signed = (0..count)
            .map(|at| {
                let by = usize::from(at % 3);
                (by, [at; 32], keys[by].sign(&[at; 32]).to_bytes())
            })
            .collect();
        (keys.iter().map(SigningKey::verifying_key).collect(), signed)
    }

    fn check(keys: &[VerifyingKey], signed: &[Sample]) -> Option<usize> {
        let all: Vec<Signed<'_>> = signed
            .iter()
            .map(|(by, message, signature)| Signed {
                key: &keys[*by],
                message: *message,
                signature: *signature,
            })
            .collect();
        first_wrong(&all)
    }

    #[test]
    fn all_good_ones_pass_together() {
        for count in [0, 1, 2, 3, 64] {
            let (keys, signed) = sample(count);
            assert_eq!(check(&keys, &signed), None);
        }
    }

    #[test]
    fn any_flipped_bit_is_found_in_its_place() {
        let (keys, signed) = sample(7);
        for bit in 0..512 {
            let mut changed = signed.clone();
            changed[4].2[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&keys, &changed), Some(4), "bit {bit} of a signature");
        }
        for bit in 0..256 {
            let mut changed = signed.clone();
            changed[6].1[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&keys, &changed), Some(6), "bit {bit} of a message");
        }
        let mut swapped = signed.clone();
        swapped[2].0 = 0;
        assert_eq!(check(&keys, &swapped), Some(2), "another key");
    }

    #[test]
    fn two_wrongs_do_not_cancel_out() {
        let (keys, mut signed) = sample(4);
        let (first, second) = (signed[0].2, signed[3].2);
        signed[0].2[32..].copy_from_slice(&second[32..]);
        signed[3].2[32..].copy_from_slice(&first[32..]);
        assert_eq!(check(&keys, &signed), Some(0));
    }
}
