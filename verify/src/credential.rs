//! The leave of a terminal to seal alone: who gave it, for which numbers, from when to when.

use crate::failure::{Failure, Kind};
use crate::hash::{Hash, Tagged};
use crate::keys::Authority;
use crate::note::usable_key;
use crate::qr::split_number;

/// What an authority signed for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) id: String,
    outlet: String,
    series: String,
    first: u64,
    last: u64,
    pub(crate) not_before_ms: u64,
    not_after_ms: u64,
    terminal: [u8; 32],
    grant: Hash,
    pub(crate) authority: String,
    signature: [u8; 64],
}

/// Reads fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(bytes.to_vec()).ok()
    }
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Credential {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.array()? != [1] {
            return None;
        }
        let credential = Self {
            id: fields.text()?,
            outlet: fields.text()?,
            series: fields.text()?,
            first: fields.number()?,
            last: fields.number()?,
            not_before_ms: fields.number()?,
            not_after_ms: fields.number()?,
            terminal: fields.array()?,
            grant: fields.array()?,
            authority: fields.text()?,
            signature: fields.array()?,
        };
        let whole = fields.0.is_empty()
            && is_id(&credential.id)
            && is_id(&credential.authority)
            && (1..=64).contains(&credential.outlet.len())
            && !credential.outlet.chars().any(char::is_control)
            && credential.series.len() <= 43
            && split_number(&format!("{}-1", credential.series)).is_some()
            && credential.first >= 1
            && credential.first <= credential.last
            && credential.not_before_ms <= credential.not_after_ms;
        whole.then_some(credential)
    }

    fn signed_hash(&self) -> Hash {
        Tagged::new("fiscus/credential/v1")
            .text(&self.id)
            .text(&self.outlet)
            .text(&self.series)
            .number(self.first)
            .number(self.last)
            .number(self.not_before_ms)
            .number(self.not_after_ms)
            .bytes(&self.terminal)
            .bytes(&self.grant)
            .text(&self.authority)
            .finish()
    }

    /// Both steps: the authority signed this, and the terminal in it signed the seal, which it covers.
    pub(crate) fn check(&self, authority: &Authority, seal: &SealUnder<'_>) -> Result<(), Failure> {
        let refuse = |detail: &str| Err(Failure::new(Kind::Signature, "credential", detail));
        if !crate::batch::is_signed(&authority.key, &self.signed_hash(), &self.signature) {
            return refuse("the authority's signature does not match");
        }
        let Some(terminal) = usable_key(&self.terminal) else {
            return refuse("its terminal key is no usable Ed25519 key");
        };
        if !crate::batch::is_signed(&terminal, &seal.entry_hash, seal.signature) {
            return refuse("the terminal's signature of the receipt does not match");
        }
        if seal.authority != self.id {
            return refuse("the receipt names another credential");
        }
        let lent = split_number(seal.number).filter(|(series, _)| *series == self.series);
        if !lent.is_some_and(|(_, sequence)| (self.first..=self.last).contains(&sequence)) {
            return refuse("the receipt's number is not one of those that were lent");
        }
        if !(self.not_before_ms..=self.not_after_ms).contains(&seal.time_ms) {
            return refuse("the receipt's time is outside the credential's");
        }
        Ok(())
    }
}

/// A seal that a credential should cover.
pub(crate) struct SealUnder<'a> {
    pub(crate) authority: &'a str,
    pub(crate) number: &'a str,
    pub(crate) time_ms: u64,
    pub(crate) entry_hash: Hash,
    pub(crate) signature: &'a [u8; 64],
}
