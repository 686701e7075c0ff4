//! The authorities whose signatures are believed, and when.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use serde::Deserialize;

use crate::encoding::from_base64;
use crate::failure::{Failure, Kind};
use crate::note::usable_key;
use crate::time;

const KEYS_MAX: usize = 10_000;
/// What stands before the raw key in a DER `SubjectPublicKeyInfo` of Ed25519.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Prepared,
    Active,
    Retired,
    Compromised,
}

/// An authority's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) key: VerifyingKey,
    pub(crate) valid_from_ms: u64,
    pub(crate) valid_until_ms: u64,
    pub(crate) status: Status,
    pub(crate) sandbox: bool,
}

/// The authorities by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Authorities {
    by_id: BTreeMap<String, Authority>,
}

/// An entry of `fiscal-keys.json`, or of the policy itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ListedAuthority {
    fiscal_authority_id: String,
    #[serde(default)]
    algorithm: Option<String>,
    public_key: String,
    #[serde(default)]
    spki: Option<String>,
    valid_from: String,
    #[serde(default)]
    valid_until: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    environment: Option<String>,
}

/// `fiscal-keys.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct KeyList {
    pub(crate) keys: Vec<ListedAuthority>,
}

impl Authorities {
    /// Adds a listed key. One of another algorithm is passed over: what it signed is by nobody known.
    pub(crate) fn add(&mut self, listed: &ListedAuthority) -> Result<(), String> {
        let id = &listed.fiscal_authority_id;
        let wrong = |what: &str| format!("the authority {id:?}: {what}");
        if !(1..=128).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("its id must be 1 to 128 printable characters"));
        }
        if listed.algorithm.as_deref().is_some_and(|name| name != "Ed25519") {
            return Ok(());
        }
        let raw: Option<[u8; 32]> =
            from_base64(&listed.public_key).and_then(|key| key.try_into().ok());
        let raw = raw.ok_or_else(|| wrong("public_key must be 32 bytes in base64"))?;
        let key = usable_key(&raw).ok_or_else(|| wrong("public_key is no usable Ed25519 key"))?;
        if listed.spki.as_ref().is_some_and(|pem| spki_key(pem).as_ref() != Some(&raw)) {
            return Err(wrong("spki holds another key than public_key"));
        }
        let moment = |text: &str| {
            time::parse_published(text)
                .ok_or_else(|| wrong("a time is spelled 2026-02-01T00:00:00.000Z"))
        };
        let valid_from_ms = moment(&listed.valid_from)?;
        let valid_until_ms = listed.valid_until.as_deref().map_or(Ok(u64::MAX), moment)?;
        if valid_until_ms < valid_from_ms {
            return Err(wrong("valid_until is before valid_from"));
        }
        let status = match listed.status.as_deref() {
            None | Some("active") => Status::Active,
            Some("prepared") => Status::Prepared,
            Some("retired") => Status::Retired,
            Some("compromised") => Status::Compromised,
            // What it may mean is not known: nobody is believed under it.
            Some(_) => return Ok(()),
        };
        let sandbox = match listed.environment.as_deref() {
            None | Some("live") => false,
            Some("sandbox") => true,
            Some(_) => return Ok(()),
        };
        if self.by_id.len() >= KEYS_MAX {
            return Err(wrong("there are more than 10,000 keys"));
        }
        let authority = Authority { key, valid_from_ms, valid_until_ms, status, sandbox };
        match self.by_id.insert(id.clone(), authority) {
            Some(_) => Err(wrong("it is listed twice")),
            None => Ok(()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys().map(String::as_str)
    }

    /// The key of an authority that could sign at `time_ms`, or ever. What a key that is reported compromised signed counts
    /// only when witnesses had seen it while the key was good.
    pub(crate) fn in_force(
        &self,
        id: &str,
        time_ms: Option<u64>,
        cosigned_ms: Option<u64>,
    ) -> Result<&Authority, Failure> {
        let refuse = |detail: String| Failure::new(Kind::Signature, "", detail);
        let authority = self
            .by_id
            .get(id)
            .ok_or_else(|| refuse(format!("the policy has no key of authority {id:?}")))?;
        if authority.status == Status::Prepared {
            return Err(refuse(format!("the key of {id:?} is prepared and not yet in force")));
        }
        let validity = authority.valid_from_ms..=authority.valid_until_ms;
        if time_ms.is_some_and(|time_ms| !validity.contains(&time_ms)) {
            return Err(refuse(format!("the key of {id:?} was not valid at that time")));
        }
        let seen = cosigned_ms.is_some_and(|seen| seen <= authority.valid_until_ms);
        if authority.status == Status::Compromised && !seen {
            let detail = format!(
                "the key of {id:?} is reported compromised, and no quorum of witnesses saw this before"
            );
            return Err(refuse(detail));
        }
        Ok(authority)
    }
}

fn spki_key(pem: &str) -> Option<[u8; 32]> {
    let body = pem
        .trim()
        .strip_prefix("-----BEGIN PUBLIC KEY-----")?
        .strip_suffix("-----END PUBLIC KEY-----")?;
    let der = from_base64(&body.split_ascii_whitespace().collect::<String>())?;
    der.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}
