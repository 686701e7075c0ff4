//! The published list of authority keys, `fiscal-keys.json`: what an offline check trusts.
//!
//! Invariants: ids are unique in a list; a [`AuthorityKey`] holds a real Ed25519 key that is not weak,
//! and its `spki`, when the list gives one, held the same key.
//!
//! The reader ignores members that it does not know, and remembers keys that it cannot use (another
//! algorithm, an unknown status), so that one new kind of key does not make a whole list unreadable.
//!
//! Non-goals: where the list comes from and why it is trusted. Trust comes from the file: an id need
//! not match its key, but [`AuthorityKey::id_matches_key`] tells.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use ed25519_dalek::VerifyingKey;

use crate::base64;
use crate::credential::is_authority_id;
use crate::facts::Environment;
use crate::json::{JsonError, Value, write_string};
use crate::seal::authority_id;
use crate::time::UnixMs;

/// Most bytes of a list.
pub const KEYS_BYTES_MAX: usize = 1 << 20;

/// Most keys in a list.
pub const KEYS_MAX: usize = 10_000;

/// What stands before the 32 raw bytes of an Ed25519 key in a DER `SubjectPublicKeyInfo`.
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// Announced, not yet in force.
    Prepared,
    /// In force.
    Active,
    /// No longer used; what it signed stays genuine.
    Retired,
    /// Somebody else may hold it; what it signed needs a proof of inclusion.
    Compromised,
}

impl KeyStatus {
    /// The word in the list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Prepared, Self::Active, Self::Retired, Self::Compromised]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A key that receipts can be checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityKey {
    /// The authority's id, as receipts name it.
    pub id: String,
    /// The key.
    pub public_key: VerifyingKey,
    /// The first millisecond of its validity.
    pub valid_from: UnixMs,
    /// The last millisecond of its validity; none while no end is known.
    pub valid_until: Option<UnixMs>,
    /// Where it is in its life.
    pub status: KeyStatus,
    /// Whether what it signs is real.
    pub environment: Environment,
}

impl AuthorityKey {
    /// Whether the key's validity covers a time. Both ends belong to it: what was sealed in the very
    /// millisecond of a rotation is genuine.
    #[must_use]
    pub fn covers(&self, time_ms: u64) -> bool {
        self.valid_from.get() <= time_ms && self.valid_until.is_none_or(|end| time_ms <= end.get())
    }

    /// Whether the id ends in the hash of this key, as the ids that this product makes do.
    #[must_use]
    pub fn id_matches_key(&self) -> bool {
        self.id
            .rsplit_once('.')
            .is_some_and(|(name, _)| authority_id(name, self.public_key.as_bytes()) == self.id)
    }

    /// The key as a PEM `SubjectPublicKeyInfo`, which standard tools read.
    #[must_use]
    pub fn spki_pem(&self) -> String {
        let der = [SPKI_PREFIX.as_slice(), self.public_key.as_bytes()].concat();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", base64::encode_standard(&der))
    }
}

/// Why a listed key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// Another algorithm.
    #[error("its algorithm is {0:?}, and this program checks Ed25519 only")]
    Algorithm(String),
    /// A status that may mean anything.
    #[error("its status is {0:?}, which is none of prepared, active, retired, compromised")]
    Status(String),
    /// An environment that may mean anything.
    #[error("its environment is {0:?}, which is neither live nor sandbox")]
    Environment(String),
}

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKey {
    /// Receipts can be checked with it.
    Usable(Box<AuthorityKey>),
    /// It is only remembered.
    Unusable(UnusableKey),
}

/// Why a text is no list of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// More bytes than any list.
    #[error("the list of keys is larger than {KEYS_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON.
    #[error("the list of keys is not JSON: {0}")]
    Json(#[from] JsonError),
    /// Not an object with an array `keys`.
    #[error("the list of keys is not an object with an array \"keys\"")]
    Shape,
    /// More keys than any list.
    #[error("the list holds more than {KEYS_MAX} keys")]
    TooMany,
    /// An id stands there twice.
    #[error("the authority {0} is listed twice")]
    Duplicate(String),
    /// A member of a key is missing or wrong.
    #[error("key {place} of the list: {field} must be {rule}")]
    Field {
        /// The key's place in the list, from 1.
        place: usize,
        /// The member.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

/// The keys by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: BTreeMap<String, ListedKey>,
}

impl KeySet {
    /// A list of these keys.
    pub fn new(keys: impl IntoIterator<Item = AuthorityKey>) -> Result<Self, KeysError> {
        let mut set = Self::default();
        for key in keys {
            set.insert(key.id.clone(), ListedKey::Usable(Box::new(key)))?;
        }
        Ok(set)
    }

    /// Reads `fiscal-keys.json`.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        if text.len() > KEYS_BYTES_MAX {
            return Err(KeysError::TooLarge);
        }
        let document = Value::parse(text)?;
        let Some(Value::Array(listed)) = document.member("keys") else {
            return Err(KeysError::Shape);
        };
        let mut set = Self::default();
        for (index, value) in listed.iter().enumerate() {
            let (id, key) = KeyReader { value, place: index + 1 }.read()?;
            set.insert(id, key)?;
        }
        Ok(set)
    }

    /// The key of an authority.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&ListedKey> {
        self.keys.get(id)
    }

    /// All keys in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ListedKey)> {
        self.keys.iter().map(|(id, key)| (id.as_str(), key))
    }

    /// Writes `fiscal-keys.json` with the usable keys.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = String::from("{\"keys\":[");
        let usable = self.keys.values().filter_map(|key| match key {
            ListedKey::Usable(key) => Some(key.as_ref()),
            ListedKey::Unusable(_) => None,
        });
        for (index, key) in usable.enumerate() {
            text.push_str(if index == 0 { "\n" } else { ",\n" });
            push_key(&mut text, key);
        }
        text.push_str("\n]}\n");
        text
    }

    fn insert(&mut self, id: String, key: ListedKey) -> Result<(), KeysError> {
        if self.keys.contains_key(&id) {
            return Err(KeysError::Duplicate(id));
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        self.keys.insert(id, key);
        Ok(())
    }
}

fn push_key(text: &mut String, key: &AuthorityKey) {
    text.push_str("{\"fiscal_authority_id\":");
    write_string(text, &key.id);
    text.push_str(",\"algorithm\":\"Ed25519\",\"public_key\":");
    write_string(text, &base64::encode_standard(key.public_key.as_bytes()));
    text.push_str(",\"spki\":");
    write_string(text, &key.spki_pem());
    let _ = write!(text, ",\"valid_from\":\"{}\",\"valid_until\":", key.valid_from);
    match key.valid_until {
        Some(end) => {
            let _ = write!(text, "\"{end}\"");
        }
        None => text.push_str("null"),
    }
    let _ = write!(text, ",\"status\":\"{}\"", key.status);
    // A key without the member is live.
    if key.environment == Environment::Sandbox {
        text.push_str(",\"environment\":\"sandbox\"");
    }
    text.push('}');
}

/// Reads one entry of the list.
struct KeyReader<'a> {
    value: &'a Value<'a>,
    place: usize,
}

impl KeyReader<'_> {
    fn read(&self) -> Result<(String, ListedKey), KeysError> {
        let id = self.required_text("fiscal_authority_id")?;
        if !is_authority_id(id) {
            let rule = "1 to 128 printable characters without spaces";
            return Err(self.refuse("fiscal_authority_id", rule));
        }
        let algorithm = self.required_text("algorithm")?;
        if algorithm != "Ed25519" {
            let reason = UnusableKey::Algorithm(algorithm.to_owned());
            return Ok((id.to_owned(), ListedKey::Unusable(reason)));
        }
        let public_key = self.public_key()?;
        let valid_from = self.time("valid_from", self.required_text("valid_from")?)?;
        let valid_until = match self.optional_text("valid_until")? {
            Some(text) => Some(self.time("valid_until", text)?),
            None => None,
        };
        let status = self.optional_text("status")?.unwrap_or("active");
        let environment = self.optional_text("environment")?.unwrap_or("live");
        let key = match (KeyStatus::parse(status), Environment::parse(environment)) {
            (Some(status), Some(environment)) => ListedKey::Usable(Box::new(AuthorityKey {
                id: id.to_owned(),
                public_key,
                valid_from,
                valid_until,
                status,
                environment,
            })),
            (None, _) => ListedKey::Unusable(UnusableKey::Status(status.to_owned())),
            (_, None) => ListedKey::Unusable(UnusableKey::Environment(environment.to_owned())),
        };
        Ok((id.to_owned(), key))
    }

    fn public_key(&self) -> Result<VerifyingKey, KeysError> {
        let raw = base64::decode_standard(self.required_text("public_key")?)
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| self.refuse("public_key", "32 bytes in base64"))?;
        let key = VerifyingKey::from_bytes(&raw)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or_else(|| self.refuse("public_key", "an Ed25519 public key"))?;
        match self.optional_text("spki")? {
            Some(pem) if spki_key(pem) != Some(raw) => {
                Err(self.refuse("spki", "the same key as a PEM public key"))
            }
            _ => Ok(key),
        }
    }

    fn required_text(&self, field: &'static str) -> Result<&str, KeysError> {
        self.optional_text(field)?.ok_or_else(|| self.refuse(field, "given"))
    }

    /// The text of a member; none when it is absent or null.
    fn optional_text(&self, field: &'static str) -> Result<Option<&str>, KeysError> {
        match self.value.member(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.refuse(field, "a string")),
        }
    }

    fn time(&self, field: &'static str, text: &str) -> Result<UnixMs, KeysError> {
        UnixMs::parse_lenient(text)
            .ok_or_else(|| self.refuse(field, "an ISO 8601 time such as 2026-02-01T00:00:00Z"))
    }

    fn refuse(&self, field: &'static str, rule: &'static str) -> KeysError {
        KeysError::Field { place: self.place, field, rule }
    }
}

/// The raw key of a PEM `SubjectPublicKeyInfo`, wherever its lines break.
fn spki_key(pem: &str) -> Option<[u8; 32]> {
    let body = pem.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = base64::decode_standard(&body)?;
    der.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;

    fn signing_key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn key(seed: u8) -> AuthorityKey {
        let public_key = signing_key(seed).verifying_key();
        AuthorityKey {
            id: authority_id("demo", public_key.as_bytes()),
            public_key,
            valid_from: UnixMs::new(1_000),
            valid_until: None,
            status: KeyStatus::Active,
            environment: Environment::Live,
        }
    }

    /// A list with one key whose members are `members`.
    fn list(members: &str) -> String {
        format!("{{\"keys\":[{{{members}}}]}}")
    }

    fn base64_key(seed: u8) -> String {
        base64::encode_standard(signing_key(seed).verifying_key().as_bytes())
    }

    fn minimal() -> String {
        format!(
            "\"fiscal_authority_id\":\"a\",\"algorithm\":\"Ed25519\",\"public_key\":\"{}\",\
             \"valid_from\":\"2026-02-01T00:00:00Z\"",
            base64_key(1)
        )
    }

    fn only_key(text: &str) -> ListedKey {
        let set = KeySet::parse(text).unwrap();
        let mut keys = set.iter();
        let (_, key) = keys.next().unwrap();
        assert!(keys.next().is_none());
        key.clone()
    }

    #[test]
    fn lists_round_trip() {
        let mut quoted = key(3);
        quoted.id = "a\"b\\c".to_owned();
        quoted.valid_until = Some(UnixMs::new(2_000));
        let mut keys = vec![key(1), key(2), quoted];
        for (key, status) in
            keys.iter_mut().zip([KeyStatus::Prepared, KeyStatus::Retired, KeyStatus::Compromised])
        {
            key.status = status;
        }
        keys[1].environment = Environment::Sandbox;
        let set = KeySet::new(keys).unwrap();
        assert_eq!(KeySet::parse(&set.to_json()), Ok(set));
        assert_eq!(KeySet::parse(&KeySet::default().to_json()), Ok(KeySet::default()));
    }

    #[test]
    fn members_may_be_absent_null_unknown_and_in_any_order() {
        let ListedKey::Usable(plain) = only_key(&list(&minimal())) else { panic!() };
        assert_eq!(plain.status, KeyStatus::Active);
        assert_eq!(plain.valid_until, None);
        assert_eq!(plain.environment, Environment::Live);
        let text = minimal();
        let reversed: Vec<&str> = text.rsplit(',').collect();
        for members in [
            format!("{},\"spki\":null,\"valid_until\":null,\"status\":null", minimal()),
            format!("\"x\":[1,{{\"keys\":true}}],{}", minimal()),
            reversed.join(" ,\n\t"),
        ] {
            assert_eq!(only_key(&list(&members)), ListedKey::Usable(plain.clone()), "{members}");
        }
        let wrapped = format!("{{\"version\":2,\"keys\":[{{{}}}],\"more\":[]}}", minimal());
        assert_eq!(only_key(&wrapped), ListedKey::Usable(plain));
    }

    #[test]
    fn unusable_keys_are_remembered_and_leave_the_others_usable() {
        let other = "\"fiscal_authority_id\":\"b\",\"algorithm\":\"ECDSA-P256\",\"public_key\":7";
        let text = format!("{{\"keys\":[{{{other}}},{{{}}}]}}", minimal());
        let set = KeySet::parse(&text).unwrap();
        assert!(matches!(set.get("a"), Some(ListedKey::Usable(_))));
        let algorithm = UnusableKey::Algorithm("ECDSA-P256".to_owned());
        assert_eq!(set.get("b"), Some(&ListedKey::Unusable(algorithm)));
        let odd = format!("{},\"status\":\"asleep\"", minimal());
        let status = UnusableKey::Status("asleep".to_owned());
        assert_eq!(only_key(&list(&odd)), ListedKey::Unusable(status));
        let odd = format!("{},\"environment\":\"moon\"", minimal());
        let environment = UnusableKey::Environment("moon".to_owned());
        assert_eq!(only_key(&list(&odd)), ListedKey::Unusable(environment));
    }

    #[test]
    fn the_spki_must_hold_the_same_key_however_its_lines_break() {
        let pem = key(1).spki_pem();
        let with = |pem: &str| {
            let pem = pem.replace('\n', "\\n");
            KeySet::parse(&list(&format!("{},\"spki\":\"{pem}\"", minimal())))
        };
        let wrapped = format!("{}\n{}", &pem[..40], &pem[40..]);
        for good in [pem.as_str(), pem.trim(), &wrapped] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            &key(2).spki_pem(),
            &pem.replace("PUBLIC", "PRIVATE"),
            &pem.replace("MCow", "MCox"),
            &pem.replace('=', ""),
            &format!("{pem}{pem}"),
        ] {
            let refusal = with(bad).unwrap_err();
            assert!(matches!(refusal, KeysError::Field { field: "spki", .. }), "{bad}: {refusal}");
        }
    }

    #[test]
    fn wrong_members_are_refused_by_name() {
        let weak = base64::encode_standard(&[0; 32]);
        for (from, to, expected) in [
            ("\"a\"", "\"\"", "fiscal_authority_id"),
            ("\"a\"", "\"a b\"", "fiscal_authority_id"),
            ("\"a\"", "7", "fiscal_authority_id"),
            ("\"a\"", "null", "fiscal_authority_id"),
            ("algorithm", "algorithms", "algorithm"),
            ("\"public_key\":\"", "\"public_key\":\"A", "public_key"),
            (&base64_key(1), "", "public_key"),
            (&base64_key(1), &weak, "public_key"),
            ("valid_from", "from", "valid_from"),
            ("2026-02-01", "2026-02-31", "valid_from"),
        ] {
            let text = list(&minimal().replacen(from, to, 1));
            match KeySet::parse(&text).unwrap_err() {
                KeysError::Field { place: 1, field, .. } => assert_eq!(field, expected, "{to}"),
                other => panic!("{from} → {to}: {other}"),
            }
        }
        for member in ["valid_until", "spki", "status", "environment"] {
            let text = list(&format!("{},\"{member}\":7", minimal()));
            let refusal = KeySet::parse(&text).unwrap_err();
            assert!(matches!(refusal, KeysError::Field { field, .. } if field == member));
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["{}", "[]", "null", "{\"keys\":{}}", "{\"keys\":null}"] {
            assert_eq!(KeySet::parse(text), Err(KeysError::Shape), "{text}");
        }
        for text in ["", "{", "{\"keys\":[}", "{\"keys\":[]}x"] {
            assert!(matches!(KeySet::parse(text), Err(KeysError::Json(_))), "{text}");
        }
        let twice = format!("{{\"keys\":[{{{0}}},{{{0}}}]}}", minimal());
        assert_eq!(KeySet::parse(&twice), Err(KeysError::Duplicate("a".to_owned())));
        let spaces = " ".repeat(KEYS_BYTES_MAX + 1);
        assert_eq!(KeySet::parse(&spaces), Err(KeysError::TooLarge));
        let many: Vec<String> = (0..=KEYS_MAX)
            .map(|n| format!("{{\"fiscal_authority_id\":\"{n}\",\"algorithm\":\"x\"}}"))
            .collect();
        let fits = format!("{{\"keys\":[{}]}}", many[1..].join(","));
        assert!(KeySet::parse(&fits).is_ok());
        let over = format!("{{\"keys\":[{}]}}", many.join(","));
        assert_eq!(KeySet::parse(&over), Err(KeysError::TooMany));
    }

    #[test]
    fn ids_tell_whether_they_were_made_from_their_key() {
        assert!(key(1).id_matches_key());
        let swapped = AuthorityKey { public_key: signing_key(2).verifying_key(), ..key(1) };
        assert!(!swapped.id_matches_key());
        let free = AuthorityKey { id: "ministry".to_owned(), ..key(1) };
        assert!(!free.id_matches_key());
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "\\PC{0,200}") {
            let _ = KeySet::parse(&text);
            let _ = KeySet::parse(&list(&text));
        }

        #[test]
        fn damaged_lists_never_panic(place in 0_usize..400, other in " -~") {
            let text = list(&format!("{},\"status\":\"active\"", minimal()));
            let place = place % text.len();
            let _ = KeySet::parse(&format!("{}{other}{}", &text[..place], &text[place + 1..]));
        }
    }
}
