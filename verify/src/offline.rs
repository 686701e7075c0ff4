//! What a terminal sealed alone, inside the record that took it in.

use ed25519_dalek::VerifyingKey;

use crate::batch::is_signed;
use crate::encoding::from_hex;
use crate::failure::{Failure, Kind};
use crate::hash::{Hash, Printed, entry_hash, hidden_hash, payload_hash};
use crate::scan::{Scanner, Unreadable};
use crate::time;

/// The inner seal.
#[derive(Debug, Clone)]
pub(crate) struct OfflineSeal {
    pub(crate) credential: String,
    /// From 1.
    pub(crate) place: u64,
    pub(crate) number: String,
    pub(crate) time_ms: u64,
    blind: Hash,
    pub(crate) previous: Hash,
    pub(crate) entry: Hash,
    signature: [u8; 64],
}

impl OfflineSeal {
    /// Reads a payload: the seal, and the text of the invoice in it.
    pub(crate) fn parse(payload: &str) -> Result<(Self, &str), Unreadable> {
        let s = &mut Scanner::new(payload);
        s.literal("{\"credential_id\":")?;
        let credential = s.text(1, 64)?.into_owned();
        s.literal(",\"place\":")?;
        let place = s.count()?;
        s.literal(",\"fiscal_number\":")?;
        let number = s.text(1, 64)?.into_owned();
        s.literal(",\"timestamp\":")?;
        let time_ms = s.parsed("a UTC time", time::parse)?;
        s.literal(",\"blind\":")?;
        let blind = s.parsed("32 bytes", from_hex)?;
        s.literal(",\"prev_hash\":")?;
        let previous = s.parsed("32 bytes", from_hex)?;
        s.literal(",\"entry_hash\":")?;
        let entry = s.parsed("32 bytes", from_hex)?;
        s.literal(",\"signature\":")?;
        let signature = s.parsed("64 bytes", from_hex)?;
        s.literal(",\"invoice\":")?;
        let invoice =
            s.remaining().strip_suffix('}').ok_or_else(|| s.error("the payload does not end"))?;
        Ok((
            Self { credential, place, number, time_ms, blind, previous, entry, signature },
            invoice,
        ))
    }

    /// Whether the inner seal is what its hash says, and is about the same invoice as the record.
    pub(crate) fn check_hash(
        &self,
        outlet: &str,
        number: &str,
        kind: &str,
        (total, currency): (&str, &str),
        invoice: &str,
    ) -> Result<(), Failure> {
        let hidden = hidden_hash(
            outlet,
            self.place,
            &payload_hash(invoice.as_bytes()),
            &self.blind,
            &self.previous,
        );
        let printed = Printed {
            authority: &self.credential,
            number,
            time_ms: self.time_ms,
            kind,
            total,
            currency,
        };
        if number != self.number || entry_hash(&printed, &hidden) != self.entry {
            return Err(Failure::new(Kind::Chain, "offline seal", "it is not what its hash says"));
        }
        Ok(())
    }

    pub(crate) fn is_signed_by(&self, terminal: &VerifyingKey) -> bool {
        is_signed(terminal, &self.entry, &self.signature)
    }
}
