//! What an auditor trusts, in one file of TOML: logs, witnesses and their quorum, authorities, tax manifests.
//!
//! ```toml
//! fiscus_policy = 1
//! logs = ["kinshasa/g/1+1f2e3d4c+AT…"]            # C2SP verifier keys; the name is the log's origin; or
//!                                                 # { origin = "kinshasa/g/1", public_key = "{hexadecimal}" }
//! witnesses = ["witness.example+…+BA…"]           # keys of cosignatures
//! quorum = 1                                      # how many of them must have cosigned a checkpoint
//! fiscal_keys = "fiscal-keys.json"                # authority keys, a file beside this one
//! tax_manifests = ["tax-manifest-2027.json"]      # those after the built-in one
//! tax_authority_keys = ["1Tys…"]                  # whose leave lets devices begin new lives, in base64; any, if absent
//! # digest 5f…                                    # optional, the last line: of all before it and of the files
//! ```
//!
//! It is the root of every check, so nothing in it is guessed: unknown members are refused, and a quorum that can
//! not be reached, or that asks for nobody although witnesses are named, is no policy.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ed25519_dalek::VerifyingKey;
use serde::Deserialize;

use crate::encoding::{from_hex, to_base64, to_hex};
use crate::hash::{Tagged, payload_hash};
use crate::keys::{Authorities, KeyList, ListedAuthority};
use crate::manifest::Manifest;
use crate::note::{KeyUse, NamedKey, Trusted};

/// Policies and the files that they name are far below this.
const FILE_BYTES_MAX: u64 = 1 << 20;
const DIGEST: &str = "# digest ";

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file cannot be read.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// Not TOML, or members that a policy does not have.
    #[error("the policy cannot be read: {0}")]
    Form(String),
    /// A key is none.
    #[error("{text:?} is no verifier key of a {of}")]
    Key {
        /// What stands there.
        text: String,
        /// `log` or `witness`.
        of: &'static str,
    },
    /// A key of the tax authority is none.
    #[error("{text:?} is no key of a tax authority: an Ed25519 public key, 32 bytes in base64")]
    TaxAuthority {
        /// What stands there.
        text: String,
    },
    /// The quorum makes no sense.
    #[error(
        "the quorum is {quorum}, and {witnesses} witnesses are named: it must be at least 1 and at most that many"
    )]
    Quorum {
        /// The number asked for.
        quorum: usize,
        /// Different witnesses.
        witnesses: usize,
    },
    /// A list of authorities or a manifest is wrong.
    #[error("{file}: {detail}")]
    Part {
        /// Where.
        file: String,
        /// What.
        detail: String,
    },
    /// Its last line is not its digest.
    #[error("its last line is a comment and not its digest, which is: {DIGEST}{expected}")]
    Digest {
        /// What it should be.
        expected: String,
    },
    /// Nobody is trusted.
    #[error("the policy names no log and no authority")]
    Empty,
}

/// What an auditor trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<NamedKey>,
    witnesses: Vec<NamedKey>,
    quorum: usize,
    authorities: Authorities,
    manifests: Vec<Manifest>,
    tax_authority_keys: Vec<VerifyingKey>,
    digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    fiscus_policy: u64,
    #[serde(default)]
    logs: Vec<ListedLog>,
    #[serde(default)]
    witnesses: Vec<String>,
    #[serde(default)]
    quorum: usize,
    #[serde(default)]
    fiscal_keys: Option<String>,
    #[serde(default)]
    tax_manifests: Vec<String>,
    #[serde(default)]
    tax_authority_keys: Vec<String>,
    #[serde(default)]
    authorities: Vec<ListedAuthority>,
}

/// A log's key in either of the forms in which operators print it.
#[derive(Deserialize)]
#[serde(untagged)]
enum ListedLog {
    Verifier(String),
    Raw(RawLog),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    origin: String,
    /// 32 bytes in hexadecimal.
    public_key: String,
}

impl ListedLog {
    fn key(&self) -> Result<NamedKey, PolicyError> {
        let (key, text) = match self {
            Self::Verifier(text) => (NamedKey::parse(text), text),
            Self::Raw(log) => {
                let raw = from_hex(&log.public_key);
                (raw.and_then(|raw| NamedKey::of_log(&log.origin, &raw)), &log.public_key)
            }
        };
        let key = key.filter(|key| key.key_use == KeyUse::Log);
        key.ok_or_else(|| PolicyError::Key { text: text.clone(), of: "log" })
    }
}

impl Policy {
    /// Reads a policy and the files that it names, which stand beside it.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = read_file(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, |name| read_file(&folder.join(name)))
    }

    /// Reads a policy; `file` gives the text of a file that it names.
    pub fn parse(
        text: &str,
        file: impl Fn(&str) -> Result<String, PolicyError>,
    ) -> Result<Self, PolicyError> {
        let document: Document =
            toml::from_str(text).map_err(|error| PolicyError::Form(error.to_string()))?;
        if document.fiscus_policy != 1 {
            let detail =
                format!("its version is {}, this program reads version 1", document.fiscus_policy);
            return Err(PolicyError::Form(detail));
        }
        let body = body(text);
        let mut digest = Tagged::new("fiscus/policy/v1");
        digest.bytes(&payload_hash(body.as_bytes()));
        let mut read = |name: &str| {
            let text = file(name)?;
            digest.bytes(&payload_hash(text.as_bytes()));
            Ok(text)
        };
        let mut authorities = Authorities::default();
        if let Some(name) = &document.fiscal_keys {
            let list: KeyList =
                serde_json::from_str(&read(name)?).map_err(|error| part(name, &error))?;
            for listed in &list.keys {
                authorities.add(listed).map_err(|error| part(name, &error))?;
            }
        }
        for listed in &document.authorities {
            authorities.add(listed).map_err(|error| part("authorities", &error))?;
        }
        let mut manifests = vec![Manifest::first()];
        for name in &document.tax_manifests {
            let manifest = Manifest::parse(&read(name)?).map_err(|error| part(name, &error))?;
            if manifests.iter().any(|known| known.version == manifest.version) {
                return Err(part(name, &format!("version {:?} is there twice", manifest.version)));
            }
            manifests.push(manifest);
        }
        manifests.sort_by_key(|manifest| manifest.effective_ms);
        let policy = Self {
            logs: document.logs.iter().map(ListedLog::key).collect::<Result<_, _>>()?,
            witnesses: document
                .witnesses
                .iter()
                .map(|text| witness(text))
                .collect::<Result<_, _>>()?,
            quorum: document.quorum,
            authorities,
            manifests,
            tax_authority_keys: document
                .tax_authority_keys
                .iter()
                .map(|text| tax_authority(text))
                .collect::<Result<_, _>>()?,
            digest: to_hex(&digest.finish()),
        };
        policy.check(body, &text[body.len()..])?;
        Ok(policy)
    }

    fn check(&self, body: &str, last_line: &str) -> Result<(), PolicyError> {
        if self.logs.is_empty() && self.authorities.is_empty() {
            return Err(PolicyError::Empty);
        }
        let mut different: Vec<&[u8; 32]> = self.witnesses.iter().map(NamedKey::raw).collect();
        different.sort_unstable();
        different.dedup();
        let witnesses = different.len();
        if self.quorum > witnesses || (witnesses > 0 && self.quorum == 0) {
            return Err(PolicyError::Quorum { quorum: self.quorum, witnesses });
        }
        // A digest that stands anywhere else would vouch for nothing.
        let elsewhere = body.contains(DIGEST);
        let own = format!("{DIGEST}{}", self.digest);
        if elsewhere || (!last_line.is_empty() && last_line.trim_end_matches('\n') != own) {
            return Err(PolicyError::Digest { expected: self.digest.clone() });
        }
        Ok(())
    }

    /// What the last line of this policy may say, so that a changed byte is noticed.
    #[must_use]
    pub fn digest_line(&self) -> String {
        format!("{DIGEST}{}", self.digest)
    }

    /// The logs that are trusted, as verifier keys.
    pub fn logs(&self) -> impl Iterator<Item = String> {
        self.logs.iter().map(NamedKey::to_text)
    }

    /// The witnesses that are trusted, as verifier keys.
    pub fn witnesses(&self) -> impl Iterator<Item = String> {
        self.witnesses.iter().map(NamedKey::to_text)
    }

    /// How many witnesses must have cosigned a checkpoint.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// The ids of the authorities that are trusted.
    pub fn authority_ids(&self) -> impl Iterator<Item = &str> {
        self.authorities.ids()
    }

    /// The versions of the tax manifests that are known.
    pub fn manifest_versions(&self) -> impl Iterator<Item = &str> {
        self.manifests.iter().map(|manifest| manifest.version.as_str())
    }

    /// The tax authority's keys for devices, in base64.
    pub fn tax_authority_keys(&self) -> impl Iterator<Item = String> {
        self.tax_authority_keys.iter().map(|key| to_base64(key.as_bytes()))
    }

    pub(crate) fn trusted(&self) -> Trusted<'_> {
        Trusted { logs: &self.logs, witnesses: &self.witnesses, quorum: self.quorum }
    }

    pub(crate) fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// Whether the tax authority's leave may be by a key. A policy that names none leaves that to the ledger.
    pub(crate) fn lets_devices_begin(&self, key: &VerifyingKey) -> bool {
        self.tax_authority_keys.is_empty() || self.tax_authority_keys.contains(key)
    }

    /// The currency that taxes are reported in.
    pub(crate) fn reporting_currency(&self, time_ms: u64) -> &str {
        self.manifest_at(time_ms).map_or("CDF", |manifest| manifest.reporting_currency.as_str())
    }

    /// A manifest by its name, if it had come into force by a time.
    pub(crate) fn manifest_named(&self, version: &str, time_ms: u64) -> Option<&Manifest> {
        let named = |manifest: &&Manifest| manifest.version == version;
        self.manifests.iter().filter(named).find(|manifest| manifest.effective_ms <= time_ms)
    }

    /// The manifest in force at a time.
    pub(crate) fn manifest_at(&self, time_ms: u64) -> Option<&Manifest> {
        self.manifests.iter().rev().find(|manifest| manifest.effective_ms <= time_ms)
    }
}

/// Everything before a last line that is a comment.
fn body(text: &str) -> &str {
    let whole = text.strip_suffix('\n').unwrap_or(text);
    let last = whole.rfind('\n').map_or(0, |end| end + 1);
    if text[last..].starts_with('#') { &text[..last] } else { text }
}

fn part(file: &str, detail: &impl ToString) -> PolicyError {
    PolicyError::Part { file: file.to_owned(), detail: detail.to_string() }
}

fn witness(text: &str) -> Result<NamedKey, PolicyError> {
    let key = NamedKey::parse(text).filter(|key| key.key_use == KeyUse::Witness);
    key.ok_or_else(|| PolicyError::Key { text: text.to_owned(), of: "witness" })
}

fn tax_authority(text: &str) -> Result<VerifyingKey, PolicyError> {
    let wrong = || PolicyError::TaxAuthority { text: text.to_owned() };
    crate::leave::key(text).ok_or_else(wrong)
}

fn read_file(path: &Path) -> Result<String, PolicyError> {
    let failed = |source| PolicyError::File { file: path.display().to_string(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1);
    let length = file.read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(part(&path.display().to_string(), &"the file is longer than 1 MiB"));
    }
    Ok(text)
}
