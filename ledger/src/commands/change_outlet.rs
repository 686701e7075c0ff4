//! Changes what may change of an outlet: its status and its signing mode.

use super::directory_fact::same_identity;
use super::{Context, outlet_unknown};
use crate::apply::ApplyError;
use crate::facts::{Fact, FactKind, OutletFact, OutletStatus};
use crate::outcome::{Outcome, RefusalCode};
use crate::state::registry::Document;
use crate::state::working::Reads;

/// Changes one outlet, from the version that the operator saw. The outlet's own journal records the
/// change when the document reaches its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeOutlet {
    /// The registration as it shall be.
    pub fact: OutletFact,
    /// The version that it replaces.
    pub expected_version: u64,
}

impl ChangeOutlet {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(("outlet".into(), self.fact.outlet_id.clone()));
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let key = ("outlet".into(), self.fact.outlet_id.clone());
        let Some(document) = cx.state.documents.get(&key)? else {
            return Ok(outlet_unknown(&self.fact.outlet_id));
        };
        if document.version != self.expected_version {
            return Ok(version_conflict("outlet", &self.fact.outlet_id, document.version));
        }
        let Ok(Fact::Outlet(known)) = Fact::decode(FactKind::Outlet, &document.bytes) else {
            return Err(ApplyError::DamagedDocument {
                kind: "outlet",
                id: self.fact.outlet_id.clone(),
            });
        };
        if !same_identity(&known, &self.fact) || known.status == OutletStatus::Closed {
            let detail = format!(
                "outlet {}: its identity, and that it is closed, can never change",
                self.fact.outlet_id
            );
            return Ok(Outcome::refused(RefusalCode::OutletIdentityFixed, detail));
        }
        let version = document.version + 1;
        let bytes = Fact::Outlet(self.fact.clone()).encode();
        cx.state.documents.put(key, Document { version, bytes });
        Ok(Outcome::Done)
    }
}

/// The refusal of a change that was made from an older version.
pub(super) fn version_conflict(kind: &str, id: &str, version: u64) -> Outcome {
    let detail =
        format!("{kind} {id} is at version {version}; read it again and repeat the change");
    Outcome::refused(RefusalCode::VersionConflict, detail)
}
