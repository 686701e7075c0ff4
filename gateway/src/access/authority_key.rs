//! The tax authority's key for devices: a public one, the platform's, which only its operator registers. Devices begin
//! new lives with what this key has signed, and compare times that it has signed.

use fiscus_ledger::base64::encode_standard;
use fiscus_ledger::commands::{
    TAX_AUTHORITY_KEY_ID, TAX_AUTHORITY_KEY_KIND, read_tax_authority_key,
};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::scopes::Scope;
use crate::directory::{Stored, Versioned};
use crate::http::{Precondition, Problem};

/// The platform's own log of actions.
const PLATFORM: &str = "";

/// The document: the key in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct KeyText(String);

impl Stored for KeyText {
    const KIND: &'static str = TAX_AUTHORITY_KEY_KIND;
}

impl Caller {
    /// The key in base64, as the cluster has it; none when none is registered.
    pub async fn tax_authority_key(&self) -> Result<Option<Versioned<String>>, Problem> {
        let found = self.document(TAX_AUTHORITY_KEY_KIND, TAX_AUTHORITY_KEY_ID).await?;
        let Some(found) = found else { return Ok(None) };
        let key = read_tax_authority_key(&found.bytes).ok_or_else(|| {
            Problem::internal("the tax authority's key that is registered is none")
        })?;
        Ok(Some(Versioned { version: found.version, value: encode_standard(key.as_bytes()) }))
    }

    /// Registers a key, in the place of the one before; nothing when the text is none.
    pub async fn register_tax_authority_key(
        &self,
        key: &str,
        precondition: &Precondition,
    ) -> Result<Option<Versioned<String>>, Problem> {
        self.may(Scope::Platform)?;
        let read = read_tax_authority_key(format!("\"{key}\"").as_bytes());
        let Some(read) = read.filter(|key| !key.is_weak()) else { return Ok(None) };
        let text = KeyText(encode_standard(read.as_bytes()));
        let mut attempt = 0;
        loop {
            let known = self.tax_authority_key().await?;
            let seen = known.as_ref().map_or(0, |known| known.version);
            precondition.check(&seen.to_string())?;
            if let Some(known) = known.filter(|known| known.value == text.0) {
                return Ok(Some(known));
            }
            let (action, kind) = ("tax_authority_key.register", TAX_AUTHORITY_KEY_KIND);
            let change = self.change(PLATFORM, action, kind, TAX_AUTHORITY_KEY_ID);
            let change = change.detail("public_key", &text.0);
            attempt += 1;
            match change.put(TAX_AUTHORITY_KEY_ID, seen, &text).commit().await {
                Err(problem) if precondition.lets_retry(&problem, attempt) => {}
                done => {
                    return done.map(|_| Some(Versioned { version: seen + 1, value: text.0 }));
                }
            }
        }
    }
}
