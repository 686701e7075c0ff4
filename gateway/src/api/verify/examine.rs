//! What a QR text alone says, with the published keys: no look-up, so no number can be tried out with it.

use ed25519_dalek::Signature;
use fiscus_ledger::facts::Environment;
use fiscus_ledger::keys::{KeySet, ListedKey};
use fiscus_ledger::qr::{QrPayload, VerifyError, verify};
use fiscus_ledger::seal::entry_hash;

use super::answer::Evidence;

/// Keys that are tried on a receipt whose authority is not known.
const KEYS_TRIED_MAX: usize = 64;

/// What the text alone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Examined {
    /// Every signature holds under a key that was in force.
    Genuine(Environment),
    /// The signatures hold, but the key's word is not enough: only the ledger can tell.
    ForTheLedger,
    /// It carries evidence that a genuine receipt was changed.
    Tampered(Evidence),
    /// Nobody that is known here signed it.
    Foreign,
}

/// Checks a receipt in one step, or, when a terminal sealed it offline, in two.
pub(super) fn examine(
    payload: &QrPayload,
    keys: &KeySet,
    is_verify_host: impl Fn(&str) -> bool,
) -> Examined {
    let found = match verify(payload, keys) {
        Ok(verified) => Examined::Genuine(verified.environment),
        Err(VerifyError::SignatureInvalid) => Examined::Tampered(Evidence::Signature),
        Err(
            VerifyError::CredentialSignature
            | VerifyError::TerminalKey
            | VerifyError::NotCovered(_),
        ) => Examined::Tampered(Evidence::Credential),
        Err(
            VerifyError::KeyCompromised(_)
            | VerifyError::KeyPrepared(_)
            | VerifyError::KeyNotValidAtTime(_),
        ) => Examined::ForTheLedger,
        Err(VerifyError::AuthorityUnknown(_)) if signed_by_another(payload, keys) => {
            Examined::Tampered(Evidence::Authority)
        }
        Err(VerifyError::AuthorityUnknown(_) | VerifyError::KeyUnusable { .. }) => {
            Examined::Foreign
        }
    };
    // The host is not signed; a genuine receipt that leads elsewhere was changed all the same.
    let signed = matches!(found, Examined::Genuine(_) | Examined::ForTheLedger);
    if signed && !is_verify_host(&payload.fields().host) {
        return Examined::Tampered(Evidence::Address);
    }
    found
}

/// Whether one of our authorities signed all that it says, with its own name in place of the one that it names.
fn signed_by_another(payload: &QrPayload, keys: &KeySet) -> bool {
    let fields = payload.fields();
    let signature = Signature::from_bytes(&fields.signature);
    keys.iter().take(KEYS_TRIED_MAX).any(|(id, key)| {
        let ListedKey::Usable(key) = key else { return false };
        let hash = entry_hash(
            id,
            &fields.fiscal_number,
            fields.timestamp.get(),
            &fields.kind,
            &fields.total,
            &fields.currency,
            &fields.hidden_hash,
        );
        key.public_key.verify_strict(&hash, &signature).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use fiscus_ledger::qr::QrError;

    use super::*;

    const HOST: &str = "verify.example.cd";

    fn vectors(file: &str) -> String {
        let path = format!("{}/../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("the golden values")
    }

    fn keys() -> KeySet {
        KeySet::parse(&vectors("fiscal-keys.json")).expect("a list of keys")
    }

    /// Two online receipts and an offline one.
    fn texts() -> Vec<String> {
        let text = vectors("seal.json");
        let quoted = text.split("\"qr_url\": \"").skip(1);
        quoted.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
    }

    fn read(text: &str) -> Result<Examined, QrError> {
        let host = texts()[0].split('/').nth(2).expect("a host").to_owned();
        let payload = QrPayload::parse(text)?;
        Ok(examine(&payload, &keys(), |known| known == host))
    }

    #[test]
    fn the_golden_receipts_are_genuine() {
        let texts = texts();
        assert!(texts.iter().any(|text| text.contains("&cr=")), "one was sealed offline");
        for text in texts {
            assert_eq!(read(&text), Ok(Examined::Genuine(Environment::Live)), "{text}");
        }
    }

    /// One character anywhere, in each of several ways, and the receipt is refused.
    #[test]
    fn one_changed_character_anywhere_is_refused() {
        let mut tampered = 0;
        for text in texts() {
            for place in 0..text.len() {
                for other in ["0", "1", "7", "A", "a", "B", "z", "-", "_", "%", "&", "=", "/", " "]
                {
                    if &text[place..=place] == other {
                        continue;
                    }
                    let changed = format!("{}{other}{}", &text[..place], &text[place + 1..]);
                    match read(&changed) {
                        Err(_) | Ok(Examined::Foreign) => {}
                        Ok(Examined::Tampered(_)) => tampered += 1,
                        Ok(found) => panic!("{found:?} at {place}: {changed}"),
                    }
                }
                let cut = format!("{}{}", &text[..place], &text[place + 1..]);
                let refused = !matches!(read(&cut), Ok(Examined::Genuine(_)));
                assert!(refused, "without the character at {place}: {cut}");
            }
        }
        assert!(tampered > 1_000, "most changes are told as such");
    }

    #[test]
    fn each_change_is_told_by_its_evidence() {
        let texts = texts();
        let offline = texts.iter().find(|text| text.contains("&cr=")).expect("one");
        for (text, from, to, evidence) in [
            (&texts[0], "t=1160.00", "t=1160.01", Evidence::Signature),
            (&texts[0], HOST, "verify.example.com", Evidence::Address),
            (&texts[0], "fa=demo.1", "fa=demo.2", Evidence::Authority),
            (offline, "&t=", "&t=9", Evidence::Signature),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(&changed, text, "{from}");
            assert_eq!(read(&changed), Ok(Examined::Tampered(evidence)), "{changed}");
        }
        let foreign = texts[0].replacen("fa=demo.1", "fa=other.1", 1).replacen("t=1", "t=2", 1);
        assert_eq!(read(&foreign), Ok(Examined::Foreign), "nobody here signed that");
    }
}
