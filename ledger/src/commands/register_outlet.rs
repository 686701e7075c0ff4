//! Registers an outlet in the directory: its group, and a prefix and code that nobody else will ever
//! have.

use super::directory_fact::{append_to_group, outlet_payload};
use super::{Context, no_authority};
use crate::apply::ApplyError;
use crate::facts::{Fact, OutletFact, is_code, is_identifier};
use crate::outcome::{Outcome, RefusalCode};
use crate::record::RecordKind;
use crate::state::outlet::Outlet;
use crate::state::registry::{Document, NumberSpace};
use crate::state::working::Reads;

/// Registers one outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterOutlet {
    /// The registration.
    pub fact: OutletFact,
}

impl RegisterOutlet {
    pub(super) fn read(&self, reads: &mut Reads) {
        reads.documents.insert(("outlet".into(), self.fact.outlet_id.clone()));
        reads.number_spaces.insert((self.fact.prefix.clone(), self.fact.code.clone()));
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let fact = &self.fact;
        for (field, text) in [("outlet_id", &fact.outlet_id), ("merchant_nif", &fact.merchant_nif)]
        {
            if !is_identifier(text) {
                return Ok(super::field_invalid(field, "must have 1 to 64 printable bytes"));
            }
        }
        for (field, text) in [("prefix", &fact.prefix), ("code", &fact.code)] {
            if !is_code(text) {
                return Ok(super::field_invalid(field, "must match [A-Z0-9]{1,12}"));
            }
        }
        if fact.group == cx.state.group.number {
            return Ok(super::field_invalid("group", "must be a data group, not the directory"));
        }
        let key = ("outlet".into(), fact.outlet_id.clone());
        if cx.state.documents.get(&key)?.is_some() {
            let detail = format!("outlet {} is registered already", fact.outlet_id);
            return Ok(Outcome::refused(RefusalCode::OutletExists, detail));
        }
        let space = (fact.prefix.clone(), fact.code.clone());
        if let Some(taken) = cx.state.number_spaces.get(&space)? {
            let detail = format!("{}-{} belongs to outlet {}", space.0, space.1, taken.outlet_id);
            return Ok(Outcome::refused(RefusalCode::NumberSpaceTaken, detail));
        }
        let Some(authority) = cx.state.group.chain_authority() else { return Ok(no_authority()) };
        let authority_id = authority.id.clone();

        let owner = NumberSpace { outlet_id: fact.outlet_id.clone() };
        cx.state.number_spaces.put(space, owner);
        let bytes = Fact::Outlet(fact.clone()).encode();
        cx.state.documents.put(key, Document { version: 1, bytes });
        let payload = outlet_payload(fact, &Outlet::new(fact.clone(), 1), 1);
        Ok(append_to_group(cx, RecordKind::Outlet, &authority_id, &payload))
    }
}
