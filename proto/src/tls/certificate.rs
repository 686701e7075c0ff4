//! What a certificate says about its holder and its time, for people and for warnings.
//!
//! Invariant: any bytes give an answer or an error, never a panic.
//!
//! Non-goals: whether any of it is true. TLS checks signatures; here nothing is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::TlsError;
use super::der::{
    BOOLEAN, Der, DerError, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, SET, UTC_TIME,
};

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALT_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// The context tags of the version, of the extensions, and of a name's kinds.
const VERSION: u8 = 0xa0;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// The time in which a certificate is valid, in seconds since 1970. Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before_s: i64,
    /// Its last second.
    pub not_after_s: i64,
}

/// The fields of a certificate that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The common name of the subject.
    pub common_name: Option<String>,
    /// When it is valid.
    pub validity: Validity,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// The DNS names, roles among them.
    pub dns_names: Vec<String>,
    /// The addresses.
    pub ip_addresses: Vec<IpAddr>,
}

impl CertificateFacts {
    /// Reads a certificate's DER bytes.
    pub fn read(der: &[u8]) -> Result<Self, TlsError> {
        Ok(Self::walk(der)?)
    }

    fn walk(der: &[u8]) -> Result<Self, DerError> {
        let mut tbs = Der::new(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
        tbs.optional(VERSION)?;
        tbs.expect(INTEGER)?;
        let _algorithm = tbs.expect(SEQUENCE)?;
        let _issuer = tbs.expect(SEQUENCE)?;
        let validity = validity(tbs.enter(SEQUENCE)?)?;
        let common_name = common_name(tbs.enter(SEQUENCE)?)?;
        let _public_key = tbs.expect(SEQUENCE)?;
        tbs.optional(ISSUER_ID)?;
        tbs.optional(SUBJECT_ID)?;
        let mut facts = Self {
            common_name,
            validity,
            is_ca: false,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
        };
        if let Some(extensions) = tbs.optional(EXTENSIONS)? {
            facts.extensions(Der::new(extensions).enter(SEQUENCE)?)?;
        }
        Ok(facts)
    }

    fn extensions(&mut self, mut extensions: Der<'_>) -> Result<(), DerError> {
        while !extensions.is_empty() {
            let mut extension = extensions.enter(SEQUENCE)?;
            let id = extension.expect(OID)?;
            extension.optional(BOOLEAN)?;
            let mut value = extension.enter(OCTET_STRING)?;
            match id {
                ALT_NAMES => self.alt_names(value.enter(SEQUENCE)?)?,
                BASIC_CONSTRAINTS => {
                    let ca = value.enter(SEQUENCE)?.optional(BOOLEAN)?;
                    self.is_ca = ca.is_some_and(|ca| ca == [0xff]);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn alt_names(&mut self, mut names: Der<'_>) -> Result<(), DerError> {
        while !names.is_empty() {
            let (tag, content) = names.any()?;
            match tag {
                DNS_NAME => self.dns_names.push(String::from_utf8_lossy(content).into_owned()),
                IP_ADDRESS => self.ip_addresses.extend(ip_address(content)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The last second of a certificate, since 1970: the node warns when it is near.
pub fn not_after(der: &[u8]) -> Result<i64, TlsError> {
    CertificateFacts::read(der).map(|facts| facts.validity.not_after_s)
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    <[u8; 16]>::try_from(octets).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

fn common_name(mut names: Der<'_>) -> Result<Option<String>, DerError> {
    while !names.is_empty() {
        let mut attribute = names.enter(SET)?.enter(SEQUENCE)?;
        let id = attribute.expect(OID)?;
        let (_kind, value) = attribute.any()?;
        if id == COMMON_NAME {
            return Ok(Some(String::from_utf8_lossy(value).into_owned()));
        }
    }
    Ok(None)
}

fn validity(mut times: Der<'_>) -> Result<Validity, DerError> {
    let not_before_s = seconds(times.any()?)?;
    let not_after_s = seconds(times.any()?)?;
    Ok(Validity { not_before_s, not_after_s })
}

/// `YYMMDDhhmmssZ`, years from 1950, or `YYYYMMDDhhmmssZ`.
fn seconds((tag, text): (u8, &[u8])) -> Result<i64, DerError> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (short, rest) = digits(text, 2)?;
            (if short < 50 { 2000 + short } else { 1900 + short }, rest)
        }
        GENERALIZED_TIME => digits(text, 4)?,
        found => return Err(DerError::Tag { expected: UTC_TIME, found }),
    };
    let (month, rest) = digits(rest, 2)?;
    let (day, rest) = digits(rest, 2)?;
    let (hour, rest) = digits(rest, 2)?;
    let (minute, rest) = digits(rest, 2)?;
    let (second, rest) = digits(rest, 2)?;
    let real = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && rest == b"Z";
    if !real {
        return Err(DerError::Time);
    }
    Ok(((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn digits(text: &[u8], count: usize) -> Result<(i64, &[u8]), DerError> {
    let (number, rest) = text.split_at_checked(count).ok_or(DerError::Time)?;
    if !number.iter().all(u8::is_ascii_digit) {
        return Err(DerError::Time);
    }
    Ok((number.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')), rest))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Leap days before the year, counted from the year 0 of the proleptic calendar.
    let leaps = |year: i64| {
        (year - 1).div_euclid(4) - (year - 1).div_euclid(100) + (year - 1).div_euclid(400)
    };
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    (year - 1970) * 365 + leaps(year) - leaps(1970) + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_spellings() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Ok(0)),
            (UTC_TIME, "491231235959Z", Ok(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Ok(-631_152_000)),
            (UTC_TIME, "240229120000Z", Ok(1_709_208_000)),
            (GENERALIZED_TIME, "20260201000000Z", Ok(1_769_904_000)),
            (GENERALIZED_TIME, "40960101000000Z", Ok(67_090_118_400)),
            (GENERALIZED_TIME, "00000101000000Z", Ok(-62_167_219_200)),
            (UTC_TIME, "230229120000Z", Err(DerError::Time)),
            (GENERALIZED_TIME, "21000229000000Z", Err(DerError::Time)),
            (UTC_TIME, "240230120000Z", Err(DerError::Time)),
            (UTC_TIME, "241301000000Z", Err(DerError::Time)),
            (UTC_TIME, "240101240000Z", Err(DerError::Time)),
            (UTC_TIME, "240101000000", Err(DerError::Time)),
            (UTC_TIME, "240101000000+0100", Err(DerError::Time)),
            (UTC_TIME, "24010100000", Err(DerError::Time)),
            (UTC_TIME, "2401010000é", Err(DerError::Time)),
            (SEQUENCE, "", Err(DerError::Tag { expected: UTC_TIME, found: SEQUENCE })),
        ] {
            assert_eq!(seconds((tag, text.as_bytes())), expected, "{text}");
        }
    }
}
