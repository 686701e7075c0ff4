//! One receipt: is this paper genuine?

use crate::batch::is_signed;
use crate::credential::SealUnder;
use crate::encoding::to_hex;
use crate::failure::{Failure, Kind};
use crate::hash::Tagged;
use crate::log::verify_leaf;
use crate::note::Checkpoint;
use crate::policy::Policy;
use crate::qr::Code;

/// A genuine receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptSummary {
    /// Its number.
    pub fiscal_number: String,
    /// When it was sealed.
    pub timestamp: String,
    /// The type of the invoice.
    pub kind: String,
    /// Its total.
    pub total: String,
    /// In what currency.
    pub currency: String,
    /// Who vouches for it.
    pub authority: String,
    /// The credential of the terminal that sealed alone.
    pub credential: Option<String>,
    /// What was signed, in hexadecimal: the leaf's data in the log.
    pub entry_hash: String,
    /// What must be printed beside the code.
    pub auth_code: String,
    /// A trial: no sale was made.
    pub sandbox: bool,
    /// The state of the log that it is in, when a proof came with it.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes read.
    pub bytes: u64,
}

/// Checks the text of a receipt's QR code and, when there is one, the proof that its record is in the log.
pub fn verify_receipt(
    text: &str,
    proof: Option<&str>,
    policy: &Policy,
) -> Result<ReceiptSummary, Failure> {
    let code = Code::parse(text)?;
    let entry_hash = code.entry_hash();
    let included = proof.map(|proof| verify_leaf(proof, &entry_hash, &code.number, policy));
    let cosigned_ms = included.as_ref().and_then(|leaf| leaf.as_ref().ok()?.cosigned_ms);
    let signer =
        code.credential.as_ref().map_or(&code.authority, |credential| &credential.authority);
    let signed_ms =
        code.credential.as_ref().map_or(code.time_ms, |credential| credential.not_before_ms);
    let authority = policy
        .authorities()
        .in_force(signer, Some(signed_ms), cosigned_ms)
        .map_err(|failure| failure.within("authority"))?;
    match &code.credential {
        Some(credential) => {
            let seal = SealUnder {
                authority: &code.authority,
                number: &code.number,
                time_ms: code.time_ms,
                entry_hash,
                signature: &code.signature,
            };
            credential.check(authority, &seal)?;
        }
        None if !is_signed(&authority.key, &entry_hash, &code.signature) => {
            let detail = "it does not match: something on this receipt is not what was sealed";
            return Err(Failure::new(Kind::Signature, "signature", detail));
        }
        None => {}
    }
    let read = text.len() + proof.map_or(0, str::len);
    Ok(ReceiptSummary {
        checkpoint: included.transpose()?,
        auth_code: auth_code(&code.signature),
        authority: signer.clone(),
        credential: code.credential.as_ref().map(|credential| credential.id.clone()),
        entry_hash: to_hex(&entry_hash),
        sandbox: authority.sandbox,
        bytes: u64::try_from(read).unwrap_or(u64::MAX),
        fiscal_number: code.number,
        timestamp: code.timestamp,
        kind: code.kind,
        total: code.total,
        currency: code.currency,
    })
}

/// 80 bits of a hash of the signature, in Crockford's base32.
fn auth_code(signature: &[u8; 64]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let hash = Tagged::new("fiscus/auth/v1").bytes(signature).finish();
    let mut bits = [0; 16];
    bits[6..].copy_from_slice(&hash[..10]);
    let bits = u128::from_be_bytes(bits);
    let mut text = String::with_capacity(19);
    for place in 0..16_usize {
        if place > 0 && place % 4 == 0 {
            text.push('-');
        }
        let digit = (bits >> (75 - 5 * place)) & 31;
        text.push(char::from(DIGITS[usize::from(digit.to_le_bytes()[0])]));
    }
    text
}
