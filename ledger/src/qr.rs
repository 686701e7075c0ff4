//! The QR payload: a URL that carries everything the signature covers, so that paper proves itself.
//!
//! ```text
//! https://{host}/v?fn=…&ts=…&k=…&t=…&c=…&fa=…&h=…&s=…        an online seal
//! https://{host}/v?fn=…&ts=…&k=…&t=…&c=…&fa=…&h=…&s=…&cr=…   an offline seal and its credential
//! ```
//!
//! Invariants: a payload has one spelling, which [`QrPayload::to_url`] writes; the reader accepts that
//! one and, because browsers and messengers decode them, the same with both colons of `ts` raw.
//! A [`QrPayload`] is well formed; only [`verify`] says whether it is genuine.
//!
//! Non-goals: the host is not signed, and nothing here contacts it.

mod verify;

use core::net::Ipv4Addr;
use std::fmt::Write as _;

use crate::base64;
use crate::credential::{Credential, CredentialError, is_authority_id};
use crate::hash::Hash32;
use crate::record::Record;
use crate::seal::{AuthCode, entry_hash, split_number};
use crate::time::UnixMs;

pub use verify::{Verified, VerifyError, verify};

/// Most bytes of a QR payload.
pub const URL_BYTES_MAX: usize = 4096;

/// The kinds of record that have a receipt: the five invoice types.
pub const RECEIPT_KINDS: [&str; 5] = ["sale", "advance", "credit_note", "export", "export_credit"];

const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const TOTAL_BYTES_MAX: usize = 24;
const UNKNOWN_NAME_CHARACTERS_MAX: usize = 32;
const PARAMETERS: [&str; 9] = ["fn", "ts", "k", "t", "c", "fa", "h", "s", "cr"];
/// All but the last stand in every payload.
const PARAMETERS_MIN: usize = 8;

/// The parts of a payload, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QrFields {
    /// Who answers at the address, such as `verify.example.cd` or `127.0.0.1:8443`.
    pub host: String,
    /// The number on the receipt, of any series.
    pub fiscal_number: String,
    /// The trusted time of the seal.
    pub timestamp: UnixMs,
    /// One of [`RECEIPT_KINDS`]; in the ledger's own code of an offline seal with `offline_` before it, of a
    /// device's with `def_`.
    pub kind: String,
    /// The total with two decimals.
    pub total: String,
    /// Three capital letters.
    pub currency: String,
    /// The authority that sealed; for an offline seal the credential's id.
    pub authority_id: String,
    /// The salted commitment to the payload and the chain.
    pub hidden_hash: Hash32,
    /// The Ed25519 signature of the entry hash.
    pub signature: [u8; 64],
    /// The leave under which a terminal sealed offline.
    pub credential: Option<Credential>,
}

impl QrFields {
    /// Those of an online seal's receipt.
    #[must_use]
    pub fn of_online_seal(host: &str, record: &Record<'_>, signature: [u8; 64]) -> Self {
        Self {
            host: host.to_owned(),
            fiscal_number: record.fiscal_number.to_owned(),
            timestamp: record.timestamp,
            kind: record.kind.as_str().to_owned(),
            total: record.total.to_owned(),
            currency: record.currency.to_owned(),
            authority_id: record.authority_id.to_owned(),
            hidden_hash: record.hidden_hash(),
            signature,
            credential: None,
        }
    }
}

/// A well-formed payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QrPayload(QrFields);

/// Why a text is no QR payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    /// Longer than any payload.
    #[error("the text is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Another scheme, or none.
    #[error("the text does not start with https:// in lower case")]
    Scheme,
    /// A user name or password before the host.
    #[error("the address holds a user name or password, which receipts never have")]
    UserInfo,
    /// A host that is no host.
    #[error("the host is not a lower-case DNS name or an IPv4 address with an optional port")]
    Host,
    /// Another path.
    #[error("the path after the host is not /v followed by a question mark")]
    Path,
    /// Something after a `#`.
    #[error("the text holds a # and a fragment, which receipts never have")]
    Fragment,
    /// A parameter is not there.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter is there twice.
    #[error("the parameter {0} stands there twice")]
    Duplicate(&'static str),
    /// A parameter is not in its place.
    #[error("the parameter {0} is not in its place: the order is fn, ts, k, t, c, fa, h, s, cr")]
    OutOfOrder(&'static str),
    /// A parameter that receipts do not have.
    #[error("receipts have no parameter {0:?}")]
    Unknown(String),
    /// A value that is not spelled as receipts spell it.
    #[error("the parameter {field} {spelling}")]
    Spelling {
        /// The parameter.
        field: &'static str,
        /// What is wrong with it.
        spelling: Spelling,
    },
    /// A value outside its grammar.
    #[error("the parameter {field} must be {rule}")]
    Value {
        /// The parameter.
        field: &'static str,
        /// Its grammar.
        rule: &'static str,
    },
    /// The credential is broken.
    #[error("the parameter cr cannot be read: {0}")]
    Credential(#[from] CredentialError),
    /// A second spelling that none of the rules above names.
    #[error("the text is not spelled as receipts are, though its values can be read")]
    NotCanonical,
}

/// What can be wrong with the spelling of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Spelling {
    /// `%` without two hexadecimal digits.
    #[error("has a % that two hexadecimal digits do not follow")]
    BrokenEscape,
    /// `%3a`.
    #[error("has an escape in lower case")]
    LowerCaseEscape,
    /// `%41`.
    #[error("has an escape for a character that needs none")]
    NeedlessEscape,
    /// A raw character that must be escaped.
    #[error("has a character that must be percent-encoded")]
    RawCharacter,
    /// Bytes that are not UTF-8.
    #[error("does not decode to text")]
    NotText,
    /// `=` at the end of base64url.
    #[error("has base64 padding, which receipts leave out")]
    Padding,
    /// One colon raw and one escaped.
    #[error("has one colon raw and one escaped")]
    MixedColons,
}

impl QrError {
    /// The part of the text that is wrong: a parameter's name, `scheme`, `host`, `path`, `fragment`,
    /// `query` or `text`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::TooLong | Self::NotCanonical => "text",
            Self::Scheme => "scheme",
            Self::UserInfo | Self::Host => "host",
            Self::Path => "path",
            Self::Fragment => "fragment",
            Self::Unknown(_) => "query",
            Self::Missing(field) | Self::Duplicate(field) | Self::OutOfOrder(field) => field,
            Self::Spelling { field, .. } | Self::Value { field, .. } => field,
            Self::Credential(_) => "cr",
        }
    }
}

impl QrPayload {
    /// Checks every field against its grammar.
    pub fn new(fields: QrFields) -> Result<Self, QrError> {
        if !is_host(&fields.host) {
            return Err(QrError::Host);
        }
        let rules = [
            (
                split_number(&fields.fiscal_number).is_some(),
                "fn",
                "a fiscal number: capital letters and digits in parts with dashes, then the sequence",
            ),
            (
                is_kind(&fields.kind, fields.credential.is_some()),
                "k",
                "one of sale, advance, credit_note, export, export_credit, or with offline_ or def_ before it",
            ),
            (is_total(&fields.total), "t", "a decimal with two decimals and no needless digit"),
            (is_currency(&fields.currency), "c", "a currency code of three capital letters"),
            (
                is_authority_id(&fields.authority_id),
                "fa",
                "1 to 128 printable characters without spaces",
            ),
        ];
        match rules.into_iter().find(|(holds, _, _)| !holds) {
            Some((_, field, rule)) => Err(QrError::Value { field, rule }),
            None => Ok(Self(fields)),
        }
    }

    /// The checked parts.
    #[must_use]
    pub fn fields(&self) -> &QrFields {
        &self.0
    }

    /// The 32 bytes that the signature is for.
    #[must_use]
    pub fn entry_hash(&self) -> Hash32 {
        let fields = &self.0;
        entry_hash(
            &fields.authority_id,
            &fields.fiscal_number,
            fields.timestamp.get(),
            &fields.kind,
            &fields.total,
            &fields.currency,
            &fields.hidden_hash,
        )
    }

    /// The code printed beside the QR.
    #[must_use]
    pub fn auth_code(&self) -> AuthCode {
        AuthCode::of_signature(&self.0.signature)
    }

    /// The one spelling.
    #[must_use]
    pub fn to_url(&self) -> String {
        let fields = &self.0;
        let timestamp = fields.timestamp.to_string();
        let mut url = String::with_capacity(512);
        let _ = write!(url, "https://{}/v?fn=", fields.host);
        push_encoded(&mut url, &fields.fiscal_number);
        for (name, value) in [
            ("ts", timestamp.as_str()),
            ("k", &fields.kind),
            ("t", &fields.total),
            ("c", &fields.currency),
            ("fa", &fields.authority_id),
            ("h", &base64::encode_url(&fields.hidden_hash)),
            ("s", &base64::encode_url(&fields.signature)),
        ] {
            let _ = write!(url, "&{name}=");
            push_encoded(&mut url, value);
        }
        if let Some(credential) = &fields.credential {
            url.push_str("&cr=");
            url.push_str(&credential.to_compact());
        }
        url
    }

    /// Reads a payload.
    pub fn parse(text: &str) -> Result<Self, QrError> {
        if text.len() > URL_BYTES_MAX {
            return Err(QrError::TooLong);
        }
        let (host, query) = split_address(text)?;
        let ([number, time, kind, total, currency, authority, hidden, signature], credential) =
            split_query(query)?;
        let payload = Self::new(QrFields {
            host: host.to_owned(),
            fiscal_number: decode("fn", number)?,
            timestamp: decode_timestamp(time)?,
            kind: decode("k", kind)?,
            total: decode("t", total)?,
            currency: decode("c", currency)?,
            authority_id: decode("fa", authority)?,
            hidden_hash: decode_bytes("h", hidden, "32 bytes in base64url")?,
            signature: decode_bytes("s", signature, "64 bytes in base64url")?,
            credential: credential.map(decode_credential).transpose()?,
        })?;
        let canonical = payload.to_url();
        // Only `ts` can hold an escaped colon at that place: the number before it has none at all.
        let tolerated = canonical.replacen("%3A", ":", 2);
        if text == canonical || (time.contains(':') && text == tolerated) {
            Ok(payload)
        } else {
            Err(QrError::NotCanonical)
        }
    }
}

/// Splits `https://{host}/v?{query}`.
fn split_address(text: &str) -> Result<(&str, &str), QrError> {
    let rest = text.strip_prefix("https://").ok_or(QrError::Scheme)?;
    if rest.contains('#') {
        return Err(QrError::Fragment);
    }
    let end = rest.find(['/', '?']).ok_or(QrError::Path)?;
    let (host, rest) = rest.split_at(end);
    if host.contains('@') {
        return Err(QrError::UserInfo);
    }
    if !is_host(host) {
        return Err(QrError::Host);
    }
    let query = rest.strip_prefix("/v?").ok_or(QrError::Path)?;
    Ok((host, query))
}

/// Splits the query into its raw values, each in its place; the last is there in offline seals only.
fn split_query(query: &str) -> Result<([&str; PARAMETERS_MIN], Option<&str>), QrError> {
    let mut values = [""; PARAMETERS_MIN];
    let mut credential = None;
    let mut count = 0;
    for (place, piece) in query.split('&').enumerate() {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        if PARAMETERS.get(place) != Some(&name) {
            return Err(misplaced(name, place, query));
        }
        match values.get_mut(place) {
            Some(slot) => *slot = value,
            None => credential = Some(value),
        }
        count = place + 1;
    }
    match PARAMETERS[..PARAMETERS_MIN].get(count) {
        Some(missing) => Err(QrError::Missing(missing)),
        None => Ok((values, credential)),
    }
}

/// Says why `name` may not stand at `place`, where everything before it was in order.
fn misplaced(name: &str, place: usize, query: &str) -> QrError {
    let Some(known) = PARAMETERS.iter().position(|parameter| *parameter == name) else {
        return QrError::Unknown(name.chars().take(UNKNOWN_NAME_CHARACTERS_MAX).collect());
    };
    if known < place {
        return QrError::Duplicate(PARAMETERS[known]);
    }
    let expected = PARAMETERS[place];
    let comes_later =
        query.split('&').skip(place).any(|piece| piece.split('=').next() == Some(expected));
    if comes_later { QrError::OutOfOrder(PARAMETERS[known]) } else { QrError::Missing(expected) }
}

fn decode_timestamp(raw: &str) -> Result<UnixMs, QrError> {
    let field = "ts";
    let text = if raw.contains(':') {
        if raw.contains("%3A") {
            return Err(QrError::Spelling { field, spelling: Spelling::MixedColons });
        }
        decode(field, &raw.replace(':', "%3A"))?
    } else {
        decode(field, raw)?
    };
    let rule = "a UTC time like 2026-02-01T08:30:00.000Z";
    UnixMs::parse_canonical(&text).ok_or(QrError::Value { field, rule })
}

fn decode_bytes<const N: usize>(
    field: &'static str,
    raw: &str,
    rule: &'static str,
) -> Result<[u8; N], QrError> {
    let bytes = base64::decode_url(&decode_base64(field, raw)?);
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(QrError::Value { field, rule })
}

fn decode_credential(raw: &str) -> Result<Credential, QrError> {
    Ok(Credential::from_compact(&decode_base64("cr", raw)?)?)
}

fn decode_base64(field: &'static str, raw: &str) -> Result<String, QrError> {
    if raw.ends_with('=') {
        return Err(QrError::Spelling { field, spelling: Spelling::Padding });
    }
    decode(field, raw)
}

/// Undoes [`push_encoded`], and refuses what it does not write.
fn decode(field: &'static str, raw: &str) -> Result<String, QrError> {
    let refuse = |spelling| Err(QrError::Spelling { field, spelling });
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            if !is_unreserved(*byte) {
                return refuse(Spelling::RawCharacter);
            }
            bytes.push(*byte);
            continue;
        }
        let Some((digits, after)) = rest.split_first_chunk::<2>() else {
            return refuse(Spelling::BrokenEscape);
        };
        rest = after;
        let (Some(high), Some(low)) = (hex_value(digits[0]), hex_value(digits[1])) else {
            return refuse(Spelling::BrokenEscape);
        };
        let escaped = high << 4 | low;
        if digits.iter().any(u8::is_ascii_lowercase) {
            return refuse(Spelling::LowerCaseEscape);
        }
        if is_unreserved(escaped) {
            return refuse(Spelling::NeedlessEscape);
        }
        bytes.push(escaped);
    }
    String::from_utf8(bytes).or_else(|_| refuse(Spelling::NotText))
}

/// Everything but the unreserved characters of RFC 3986 is escaped, in upper case.
fn push_encoded(url: &mut String, value: &str) {
    for byte in value.bytes() {
        if is_unreserved(byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A lower-case DNS name or an IPv4 address, and perhaps a port.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    port.is_none_or(is_port) && is_name_or_address(name)
}

fn is_port(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits && !text.starts_with('0') && text.parse::<u16>().is_ok()
}

fn is_name_or_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse::<Ipv4Addr>().is_ok();
    }
    name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// An offline seal has two codes: the terminal's own, with its credential and the plain kind, and the
/// ledger's, whose kind says `offline_`.
fn is_kind(text: &str, has_credential: bool) -> bool {
    let inner = text.strip_prefix("offline_").or_else(|| text.strip_prefix("def_"));
    let plain = inner.filter(|_| !has_credential).unwrap_or(text);
    RECEIPT_KINDS.contains(&plain)
}

fn is_total(text: &str) -> bool {
    let Some((whole, decimals)) = text.split_once('.') else {
        return false;
    };
    text.len() <= TOTAL_BYTES_MAX
        && decimals.len() == 2
        && !whole.is_empty()
        && (whole == "0" || !whole.starts_with('0'))
        && whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit())
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests;
