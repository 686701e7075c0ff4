//! The text of a receipt's QR code. Every character of it has one meaning: what is not spelled as a receipt spells
//! it is refused.

use crate::credential::Credential;
use crate::encoding::from_base64url;
use crate::failure::{Failure, Kind};
use crate::hash::{Hash, Printed, entry_hash};
use crate::time;

/// Longer texts are no receipts.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;
const NAMES: [&str; 9] = ["fn", "ts", "k", "t", "c", "fa", "h", "s", "cr"];
pub(crate) const TYPES: [&str; 5] = ["sale", "advance", "credit_note", "export", "export_credit"];

/// What a receipt says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) number: String,
    pub(crate) timestamp: String,
    pub(crate) time_ms: u64,
    pub(crate) kind: String,
    pub(crate) total: String,
    pub(crate) currency: String,
    pub(crate) authority: String,
    pub(crate) hidden: Hash,
    pub(crate) signature: [u8; 64],
    pub(crate) credential: Option<Credential>,
}

fn wrong(place: &str, detail: &str) -> Failure {
    Failure::new(Kind::Format, place, detail)
}

impl Code {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong("text", "it is longer than 4,096 bytes"));
        }
        let rest =
            text.strip_prefix("https://").ok_or_else(|| wrong("scheme", "it must be https://"))?;
        let (host, query) =
            rest.split_once("/v?").ok_or_else(|| wrong("path", "it must be /v?"))?;
        if !is_host(host) {
            return Err(wrong(
                "host",
                "it must be a DNS name in lower case or an IPv4 address, and perhaps a port",
            ));
        }
        let mut raw = [""; 9];
        let mut count = 0;
        for piece in query.split('&') {
            let name = NAMES
                .get(count)
                .ok_or_else(|| wrong("query", "it has more parameters than a receipt"))?;
            let value = piece.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
            raw[count] =
                value.ok_or_else(|| wrong(name, "this parameter must stand at this place"))?;
            count += 1;
        }
        if count < 8 {
            return Err(wrong(NAMES[count], "this parameter is missing"));
        }
        let credential = (count == 9).then(|| read_credential(raw[8])).transpose()?;
        Self::of_values(&raw, credential)
    }

    fn of_values(raw: &[&str; 9], credential: Option<Credential>) -> Result<Self, Failure> {
        let value = |at: usize| {
            unescape(raw[at]).ok_or_else(|| wrong(NAMES[at], "it is not encoded as receipts are"))
        };
        // A reader that shows an address may decode both colons of the time, and only both.
        let plain_colons = raw[1].matches(':').count() == 2 && !raw[1].contains("%3A");
        let timestamp =
            if plain_colons { unescape(&raw[1].replace(':', "%3A")) } else { unescape(raw[1]) };
        let timestamp =
            timestamp.ok_or_else(|| wrong("ts", "it is not encoded as receipts are"))?;
        let code = Self {
            number: value(0)?,
            time_ms: time::parse(&timestamp)
                .ok_or_else(|| wrong("ts", "it is no UTC time with milliseconds"))?,
            timestamp,
            kind: value(2)?,
            total: value(3)?,
            currency: value(4)?,
            authority: value(5)?,
            hidden: binary(raw[6]).ok_or_else(|| wrong("h", "it must be 32 bytes in base64url"))?,
            signature: binary(raw[7])
                .ok_or_else(|| wrong("s", "it must be 64 bytes in base64url"))?,
            credential,
        };
        code.check_fields()?;
        Ok(code)
    }

    fn check_fields(&self) -> Result<(), Failure> {
        let inner = self.kind.strip_prefix("offline_").or_else(|| self.kind.strip_prefix("def_"));
        let plain = match inner {
            Some(plain) if self.credential.is_none() => plain,
            _ => &self.kind,
        };
        let authority = (1..=128).contains(&self.authority.len())
            && self.authority.bytes().all(|b| b.is_ascii_graphic());
        let currency =
            self.currency.len() == 3 && self.currency.bytes().all(|b| b.is_ascii_uppercase());
        for (name, holds) in [
            ("fn", split_number(&self.number).is_some()),
            ("k", TYPES.contains(&plain)),
            ("t", is_total(&self.total)),
            ("c", currency),
            ("fa", authority),
        ] {
            if !holds {
                return Err(wrong(name, "it is not what this parameter may hold"));
            }
        }
        Ok(())
    }

    /// What was signed.
    pub(crate) fn entry_hash(&self) -> Hash {
        let printed = Printed {
            authority: &self.authority,
            number: &self.number,
            time_ms: self.time_ms,
            kind: &self.kind,
            total: &self.total,
            currency: &self.currency,
        };
        entry_hash(&printed, &self.hidden)
    }
}

fn read_credential(raw: &str) -> Result<Credential, Failure> {
    let bytes = from_base64url(raw).filter(|_| raw.len() <= 1024);
    bytes
        .and_then(|bytes| Credential::parse(&bytes))
        .ok_or_else(|| wrong("cr", "it is no credential"))
}

fn binary<const N: usize>(raw: &str) -> Option<[u8; N]> {
    from_base64url(raw)?.try_into().ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Undoes the percent-encoding; none for any other spelling than the shortest in upper case.
fn unescape(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(Some(byte).filter(|byte| is_unreserved(*byte))?);
            continue;
        }
        let mut digit = || {
            let digit = rest.next().filter(|digit| !digit.is_ascii_lowercase())?;
            char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
        };
        let value = digit()? << 4 | digit()?;
        bytes.push(Some(value).filter(|value| !is_unreserved(*value))?);
    }
    String::from_utf8(bytes).ok()
}

/// A number's series and its place in it: `{prefix}-{code}-{sequence}`, of any series.
pub(crate) fn split_number(number: &str) -> Option<(&str, u64)> {
    let (series, digits) = number.rsplit_once('-')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let is_code = |code: &str| {
        !code.is_empty() && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let valid = plain && number.len() <= 64 && series.split('-').all(is_code);
    valid.then(|| digits.parse().ok()).flatten().map(|sequence| (series, sequence))
}

/// A total with two decimals.
fn is_total(text: &str) -> bool {
    crate::decimal::fixed(text, 2).is_some() || {
        // Sixteen digits and fewer are amounts; the format allows a few more.
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        digits
            && text.len() <= 24
            && fraction.len() == 2
            && !whole.is_empty()
            && !whole.starts_with('0')
    }
}

/// A DNS name in lower case or an IPv4 address, and perhaps a port.
fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let is_port = |port: &str| {
        port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_name = if last.bytes().all(|byte| byte.is_ascii_digit()) {
        name.parse::<std::net::Ipv4Addr>().is_ok()
    } else {
        name.len() <= 253 && name.split('.').all(is_label)
    };
    is_name && port.is_none_or(is_port)
}

fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}
