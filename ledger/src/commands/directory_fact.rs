//! Copies a directory document into the group, so that sealing needs no other group.

use super::{Context, no_authority, outlet_unknown};
use crate::apply::ApplyError;
use crate::facts::{
    DeviceFact, DeviceState, Fact, FactKind, OutletFact, OutletStatus, SigningMode, TerminalFact,
};
use crate::journal::Draft;
use crate::manifest::Manifest;
use crate::outcome::{Outcome, RefusalCode};
use crate::payload::{Object, array};
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::outlet::Outlet;
use crate::state::rows::Device;
use crate::state::working::Reads;

/// One version of one document. A version that is not newer than what the group has changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryFact {
    /// What kind of document it is.
    pub kind: FactKind,
    /// Its id in the directory.
    pub id: Id,
    /// Its version there.
    pub version: u64,
    /// The document.
    pub bytes: Vec<u8>,
}

impl DirectoryFact {
    pub(super) fn read(&self, reads: &mut Reads) {
        match Fact::decode(self.kind, &self.bytes) {
            Ok(Fact::Outlet(fact)) => {
                reads.outlets.insert(fact.outlet_id);
            }
            Ok(Fact::Terminal(fact)) => {
                reads.outlets.insert(fact.outlet_id.clone());
                reads.terminals.insert((fact.outlet_id, fact.terminal_id));
            }
            Ok(Fact::Device(fact)) => {
                reads.outlets.insert(fact.outlet_id);
                reads.devices.insert(fact.device_id);
            }
            Ok(Fact::Manifest(_)) | Err(_) => {}
        }
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let fact = match Fact::decode(self.kind, &self.bytes) {
            Ok(fact) if fact.id() == self.id => fact,
            Ok(fact) => {
                let detail =
                    format!("the document says {}, but it is filed as {}", fact.id(), self.id);
                return Ok(Outcome::refused(RefusalCode::DocumentInvalid, detail));
            }
            Err(error) => {
                let detail = format!("the {} document {}: {error}", self.kind.as_str(), self.id);
                return Ok(Outcome::refused(RefusalCode::DocumentInvalid, detail));
            }
        };
        match fact {
            Fact::Outlet(fact) => self.apply_outlet(cx, fact),
            Fact::Terminal(fact) => self.apply_terminal(cx, &fact),
            Fact::Device(fact) => self.apply_device(cx, fact),
            Fact::Manifest(manifest) => Ok(apply_manifest(cx, manifest)),
        }
    }

    fn apply_outlet(&self, cx: &mut Context<'_>, fact: OutletFact) -> Result<Outcome, ApplyError> {
        if fact.group != cx.state.group.number {
            let detail = format!("outlet {} lives in group {}", fact.outlet_id, fact.group);
            return Ok(Outcome::refused(RefusalCode::DocumentInvalid, detail));
        }
        let known = cx.state.outlets.get(&fact.outlet_id)?;
        if let Some(known) = known {
            if self.version <= known.fact_version {
                return Ok(Outcome::Unchanged);
            }
            if !same_identity(&known.fact, &fact) {
                let detail = format!("what identifies outlet {} can never change", fact.outlet_id);
                return Ok(Outcome::refused(RefusalCode::OutletIdentityFixed, detail));
            }
        }
        if cx.state.group.active_authority(fact.environment).is_none() {
            return Ok(no_authority());
        }
        let new = || {
            let mut outlet = Outlet::new(fact.clone(), self.version);
            outlet.held = cx.state.group.restored;
            Box::new(outlet)
        };
        let mut outlet = known.cloned().unwrap_or_else(new);
        let payload = outlet_payload(&fact, &outlet, self.version);
        let id = fact.outlet_id.clone();
        outlet.fact = fact;
        outlet.fact_version = self.version;
        cx.state.outlets.put(id.clone(), outlet);
        append_to_outlet(cx, &id, RecordKind::Outlet, &payload)
    }

    fn apply_terminal(
        &self,
        cx: &mut Context<'_>,
        fact: &TerminalFact,
    ) -> Result<Outcome, ApplyError> {
        if let Some(refusal) = refuse_outlet(cx, &fact.outlet_id)? {
            return Ok(refusal);
        }
        let key = (fact.outlet_id.clone(), fact.terminal_id.clone());
        let mut terminal = cx.state.terminals.get(&key)?.cloned().unwrap_or_default();
        if self.version <= terminal.fact_version {
            return Ok(Outcome::Unchanged);
        }
        terminal.fact_version = self.version;
        terminal.blocked = fact.blocked;
        cx.state.terminals.put(key, terminal);
        let payload = Object::new()
            .text("pos_terminal_id", &fact.terminal_id)
            .flag("blocked", fact.blocked)
            .count("version", self.version)
            .finish();
        append_to_outlet(cx, &fact.outlet_id, RecordKind::Terminal, &payload)
    }

    fn apply_device(&self, cx: &mut Context<'_>, fact: DeviceFact) -> Result<Outcome, ApplyError> {
        if let Some(refusal) = refuse_outlet(cx, &fact.outlet_id)? {
            return Ok(refusal);
        }
        if let Some(known) = cx.state.devices.get(&fact.device_id)? {
            if self.version <= known.fact_version {
                return Ok(Outcome::Unchanged);
            }
            if known.fact.outlet_id != fact.outlet_id {
                let detail = format!("device {} is bound to another outlet", fact.device_id);
                return Ok(Outcome::refused(RefusalCode::DeviceUnknown, detail));
            }
        }
        let payload = device_payload(&fact, self.version);
        let (device_id, outlet_id) = (fact.device_id.clone(), fact.outlet_id.clone());
        cx.state.devices.put(device_id, Device { fact_version: self.version, fact });
        append_to_outlet(cx, &outlet_id, RecordKind::Device, &payload)
    }
}

/// A manifest is active once its date has come; late copies are filed all the same.
pub(super) fn apply_manifest(cx: &mut Context<'_>, manifest: Manifest) -> Outcome {
    let Some(authority) = cx.state.group.chain_authority() else { return no_authority() };
    let authority_id = authority.id.clone();
    let payload = manifest.to_json();
    if !cx.state.group.publish(manifest) {
        return Outcome::Unchanged;
    }
    append_to_group(cx, RecordKind::Manifest, &authority_id, &payload)
}

/// Whether nothing that identifies the outlet differs.
pub(super) fn same_identity(known: &OutletFact, new: &OutletFact) -> bool {
    let identity = |fact: &OutletFact| {
        (
            fact.outlet_id.clone(),
            fact.merchant_nif.clone(),
            fact.prefix.clone(),
            fact.code.clone(),
            fact.group,
            fact.environment,
        )
    };
    identity(known) == identity(new)
}

/// Appends a record to the group's own chain.
pub(super) fn append_to_group(
    cx: &mut Context<'_>,
    kind: RecordKind,
    authority_id: &str,
    payload: &str,
) -> Outcome {
    let group = &mut cx.state.group;
    let chain_id = group.chain_id();
    let draft = Draft::plain(&chain_id, kind, authority_id, payload);
    Outcome::Recorded(cx.journal.append(&mut group.tree, &mut group.chain, cx.index, draft))
}

/// The payload of a device's record.
pub(super) fn device_payload(fact: &DeviceFact, version: u64) -> String {
    device_object(fact, None, version).finish()
}

/// The same, of what happened to it if that is no change of its state, and to which more may be added.
pub(super) fn device_object(fact: &DeviceFact, event: Option<&str>, version: u64) -> Object {
    let replaced_by = match &fact.state {
        DeviceState::Replaced { by } => Some(&**by),
        _ => None,
    };
    Object::new()
        .text("device_id", &fact.device_id)
        .text("outlet_id", &fact.outlet_id)
        .text("state", fact.state.as_str())
        .optional("replaced_by", replaced_by)
        .bytes("public_key", &fact.public_key)
        .optional("event", event)
        .count("version", version)
}

/// The payload of an outlet's record. A change of signing mode states the last number of each series.
pub(super) fn outlet_payload(fact: &OutletFact, outlet: &Outlet, version: u64) -> String {
    let status = match fact.status {
        OutletStatus::Active => "active",
        OutletStatus::Suspended => "suspended",
        OutletStatus::Closed => "closed",
    };
    let mode = match fact.signing_mode {
        SigningMode::Cluster => "cluster",
        SigningMode::Def => "def",
    };
    let object = Object::new()
        .text("outlet_id", &fact.outlet_id)
        .text("merchant_nif", &fact.merchant_nif)
        .text("prefix", &fact.prefix)
        .text("code", &fact.code)
        .count("group", fact.group)
        .text("status", status)
        .text("environment", fact.environment.as_str())
        .text("signing_mode", mode)
        .text("series", &outlet.number_prefix())
        .count("series_last", outlet.series.last);
    let devices = outlet
        .device_series
        .iter()
        .map(|(id, series)| Object::new().text("series", id).count("last", series.last).finish());
    let object = match outlet.device_series.len() {
        0 => object,
        _ => object.json("device_series", &array(devices)),
    };
    object.count("version", version).finish()
}

fn refuse_outlet(cx: &Context<'_>, outlet_id: &Id) -> Result<Option<Outcome>, ApplyError> {
    Ok(match cx.state.outlets.get(outlet_id)? {
        None => Some(outlet_unknown(outlet_id)),
        Some(outlet) => {
            let authority = cx.state.group.active_authority(outlet.fact.environment);
            authority.is_none().then(no_authority)
        }
    })
}

/// The caller has checked that the outlet exists and that its authority is active.
fn append_to_outlet(
    cx: &mut Context<'_>,
    outlet_id: &Id,
    kind: RecordKind,
    payload: &str,
) -> Result<Outcome, ApplyError> {
    let state = &mut *cx.state;
    let outlet = state.outlets.get_mut(outlet_id)?.expect("the caller has checked it");
    let authority = state.group.active_authority(outlet.fact.environment);
    let authority_id = authority.expect("the caller has checked it").id.clone();
    let draft = Draft::plain(outlet_id, kind, &authority_id, payload);
    Ok(Outcome::Recorded(cx.journal.append(
        &mut state.group.tree,
        &mut outlet.chain,
        cx.index,
        draft,
    )))
}
