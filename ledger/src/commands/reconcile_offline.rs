//! Takes an offline seal into the journal: in order while its block is open, and late when its number
//! was flagged missing.

use super::{Context, InvoiceSlot, credit_original, no_authority, no_manifest};
use crate::apply::ApplyError;
use crate::hash::Hash32;
use crate::invoice::CanonicalInvoice;
use crate::journal::Draft;
use crate::offline::OfflineSeal;
use crate::outcome::{Event, Outcome, Recorded, Refusal, RefusalCode};
use crate::record::RecordKind;
use crate::state::Id;
use crate::state::block::{Block, CloseReason, Slot, WAITING_BYTES_MAX, WaitingSeal};
use crate::state::outlet::Outlet;
use crate::state::working::Reads;
use ed25519_dalek::{Signature, VerifyingKey};

use super::close_block::finish_block;
use super::seal::{
    count_in_shift, count_invoice, refuse_identity, sealed_invoice, too_many_currencies,
};

/// Submits one offline seal. Its credential and its place are its idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcileOffline {
    /// The outlet.
    pub outlet_id: Id,
    /// The seal.
    pub seal: OfflineSeal,
}

/// A seal whose signature, number, time and invoice are right.
struct Genuine<'e> {
    fiscal_number: Id,
    entry_hash: Hash32,
    invoice: CanonicalInvoice<'e>,
}

impl ReconcileOffline {
    pub(super) fn read(&self, parsed: Option<&InvoiceSlot<'_>>, reads: &mut Reads) {
        reads.outlets.insert(self.outlet_id.clone());
        reads.blocks.insert(self.seal.credential_id.clone());
        reads.reconciled.insert(self.seal.credential_id.clone());
        reads.waiting.insert((self.seal.credential_id.clone(), self.seal.place));
        if let Some(InvoiceSlot(Some(Ok(invoice)))) = parsed
            && let Some(original) = invoice.original_fiscal_number()
        {
            reads.invoices.insert((self.outlet_id.clone(), Id::from(original)));
        }
    }

    pub(super) fn apply(
        &self,
        cx: &mut Context<'_>,
        parsed: Option<InvoiceSlot<'_>>,
    ) -> Result<Outcome, ApplyError> {
        let id = &self.seal.credential_id;
        let block = cx.state.blocks.get(id)?.filter(|block| block.outlet_id == self.outlet_id);
        let Some(block) = block.cloned() else {
            let detail = format!("credential {id} is unknown in outlet {}", self.outlet_id);
            return Ok(alert(
                cx,
                &self.seal,
                &self.outlet_id,
                RefusalCode::CredentialUnknown,
                detail,
            ));
        };
        let Some(slot) = block.slot(self.seal.place) else {
            let detail = format!("place {} is outside the block of {id}", self.seal.place);
            return Ok(self.alert(cx, RefusalCode::OfflineOutOfBlock, detail));
        };
        match slot {
            Slot::Waiting { digest, .. } if *digest == self.seal.digest() => {
                return Ok(Outcome::Waiting);
            }
            Slot::Appended { digest, position, .. } if *digest == self.seal.digest() => {
                return Ok(Outcome::AlreadyRecorded { position: *position });
            }
            _ => {}
        }
        let genuine = match self.check(cx, &block, parsed)? {
            Ok(genuine) => genuine,
            Err(refusal) => return Ok(refusal),
        };
        if *slot != Slot::Empty {
            let detail = format!(
                "number {} was sealed twice by the terminal; both are genuine, which must not be",
                genuine.fiscal_number
            );
            return Ok(self.alert(cx, RefusalCode::OfflineSlotConflict, detail));
        }
        if !links_to_neighbours(&block, &self.seal, &genuine.entry_hash) {
            let detail = format!("seal {} of {id} does not link to its neighbour", self.seal.place);
            return Ok(self.alert(cx, RefusalCode::OfflineLinkBroken, detail));
        }
        if block.closed.is_none() && predecessor(&block, self.seal.place).is_none() {
            return Ok(self.wait(cx, &block, &genuine));
        }
        let recorded = match append(cx, &self.seal, &genuine)? {
            Ok(recorded) => recorded,
            Err(refusal) => return Ok(refusal),
        };
        // Bytes that were thrown out of this slot before are of no use any more.
        let own = (id.clone(), self.seal.place);
        if cx.state.waiting.get(&own)?.is_some() {
            cx.state.waiting.delete(own);
        }
        append_waiting(cx, id, self.seal.place + 1)?;
        let block = cx.state.blocks.get(id)?.expect("it was there above");
        if block.closed.is_none() && block.is_used_up() {
            finish_block(cx, id, CloseReason::UsedUp)?;
        }
        Ok(Outcome::Recorded(recorded))
    }

    /// Signature, time, identity and tax, in this order: nothing a forger writes is looked at further.
    fn check<'e>(
        &self,
        cx: &mut Context<'_>,
        block: &Block,
        parsed: Option<InvoiceSlot<'e>>,
    ) -> Result<Result<Genuine<'e>, Outcome>, ApplyError> {
        let invoice = match parsed {
            Some(InvoiceSlot(Some(Ok(invoice)))) => invoice,
            Some(InvoiceSlot(Some(Err(problem)))) => {
                raise(cx, &self.seal, &self.outlet_id, RefusalCode::DocumentInvalid);
                return Ok(Err(Outcome::Refused(Refusal::Invoice(problem))));
            }
            Some(InvoiceSlot(None)) | None => return Ok(Err(no_manifest())),
        };
        let outlet = cx.state.outlets.get(&self.outlet_id)?.expect("a block's outlet exists");
        let number = block.first + self.seal.place - 1;
        let fiscal_number = Id::from(format!("{}-{number}", outlet.number_prefix()));
        let entry_hash = self.seal.entry_hash(&self.outlet_id, &fiscal_number, &invoice);
        let identity = refuse_identity(outlet, &invoice, &block.terminal_id);
        if !is_signed(&block.terminal_key, &entry_hash, &self.seal.signature) {
            let detail = format!("the terminal's signature does not match number {fiscal_number}");
            return Ok(Err(self.alert(cx, RefusalCode::OfflineSignatureInvalid, detail)));
        }
        let withdrawn = match block.closed {
            Some((CloseReason::Returned | CloseReason::Revoked, at)) => at,
            _ => block.not_after,
        };
        let latest = block.not_after.min(cx.state.group.time).min(withdrawn);
        if self.seal.timestamp < block.not_before || self.seal.timestamp > latest {
            let detail = format!(
                "the seal says {}, but the credential allows {} to {latest}",
                self.seal.timestamp, block.not_before
            );
            return Ok(Err(self.alert(cx, RefusalCode::OfflineOutOfTime, detail)));
        }
        if let Some(refusal) = identity {
            raise(cx, &self.seal, &self.outlet_id, RefusalCode::IdentityMismatch);
            return Ok(Err(refusal));
        }
        Ok(Ok(Genuine { fiscal_number, entry_hash, invoice }))
    }

    fn wait(&self, cx: &mut Context<'_>, block: &Block, genuine: &Genuine<'_>) -> Outcome {
        let seal = self.seal.to_bytes();
        let bytes = u64::try_from(seal.len()).expect("a seal is at most 1 MiB");
        if block.waiting_bytes() + bytes > WAITING_BYTES_MAX {
            let detail = format!(
                "{WAITING_BYTES_MAX} bytes wait in the block of {}; submit the missing seals first",
                self.seal.credential_id
            );
            return Outcome::refused(RefusalCode::OfflineWaitingFull, detail);
        }
        let slot = Slot::Waiting {
            entry_hash: genuine.entry_hash,
            prev_hash: self.seal.prev_hash,
            digest: self.seal.digest(),
            bytes,
            original: genuine.invoice.original_fiscal_number().map(Id::from),
        };
        let id = &self.seal.credential_id;
        let mut block = block.clone();
        block.set_slot(self.seal.place, slot);
        cx.state.blocks.put(id.clone(), block);
        cx.state.waiting.put((id.clone(), self.seal.place), WaitingSeal { seal });
        Outcome::Waiting
    }

    fn alert(&self, cx: &mut Context<'_>, code: RefusalCode, detail: String) -> Outcome {
        alert(cx, &self.seal, &self.outlet_id, code, detail)
    }
}

/// Appends the waiting seals from `place` on that follow each other. One that does not fit is thrown
/// out with an alert; its number stays open.
fn append_waiting(cx: &mut Context<'_>, id: &Id, mut place: u64) -> Result<(), ApplyError> {
    while append_one_waiting(cx, id, place)? {
        place += 1;
    }
    Ok(())
}

/// Appends the seal that waits at `place`; says whether there was one and it fitted.
pub(super) fn append_one_waiting(
    cx: &mut Context<'_>,
    id: &Id,
    place: u64,
) -> Result<bool, ApplyError> {
    let block = cx.state.blocks.get(id)?.expect("the caller holds the block");
    let Some(Slot::Waiting { entry_hash, .. }) = block.slot(place) else { return Ok(false) };
    let (entry_hash, outlet_id, first) = (*entry_hash, block.outlet_id.clone(), block.first);
    let linked = |seal: &OfflineSeal| links_to_neighbours(block, seal, &entry_hash);
    let stored = cx.state.waiting.get(&(id.clone(), place))?.expect("a waiting slot has its seal");
    let seal = OfflineSeal::from_bytes(&stored.seal).map_err(|source| ApplyError::DamagedSeal {
        credential_id: id.clone(),
        place,
        source,
    })?;
    let linked = linked(&seal);
    let refused = match seal.parse(&cx.state.group) {
        _ if !linked => Some(RefusalCode::OfflineLinkBroken),
        InvoiceSlot(Some(Ok(invoice))) => {
            let outlet = cx.state.outlets.get(&outlet_id)?.expect("a block's outlet exists");
            let number = Id::from(format!("{}-{}", outlet.number_prefix(), first + place - 1));
            let genuine = Genuine { fiscal_number: number, entry_hash, invoice };
            match append(cx, &seal, &genuine)? {
                Ok(_) => {
                    cx.state.waiting.delete((id.clone(), place));
                    return Ok(true);
                }
                // It has raised its own alert where there is cause for one.
                Err(_) => None,
            }
        }
        InvoiceSlot(_) => Some(RefusalCode::DocumentInvalid),
    };
    if let Some(code) = refused {
        raise(cx, &seal, &outlet_id, code);
    }
    // Its slot is free for the same seal to come again; its bytes stay as evidence until then.
    cx.state.blocks.get_mut(id)?.expect("it was there above").set_slot(place, Slot::Empty);
    Ok(false)
}

/// Makes the record. Only the credit rules can still refuse it.
fn append(
    cx: &mut Context<'_>,
    seal: &OfflineSeal,
    genuine: &Genuine<'_>,
) -> Result<Result<Recorded, Outcome>, ApplyError> {
    let state = &mut *cx.state;
    let block = state.blocks.get(&seal.credential_id)?.expect("the caller holds the block");
    let (outlet_id, number) = (block.outlet_id.clone(), block.first + seal.place - 1);
    let terminal_key = (outlet_id.clone(), block.terminal_id.clone());
    let environment =
        state.outlets.get(&outlet_id)?.expect("a block's outlet exists").fact.environment;
    let Some(authority) = state.group.active_authority(environment) else {
        return Ok(Err(no_authority()));
    };
    let authority_id = authority.id.clone();
    let Some(payload) = seal.record_payload(&genuine.fiscal_number, &genuine.entry_hash) else {
        let detail = "the offline invoice is not UTF-8";
        return Ok(Err(Outcome::refused(RefusalCode::DocumentInvalid, detail)));
    };
    let outlet = state.outlets.get(&outlet_id)?.expect("a block's outlet exists");
    if outlet.perpetual.is_full_for(&genuine.invoice) {
        return Ok(Err(too_many_currencies(&outlet_id)));
    }
    if let Some(refusal) = credit_original(&outlet_id, &genuine.invoice, &mut state.invoices)? {
        // An original that has not come yet is a matter of order, anything else one of trust.
        if let Outcome::Refused(Refusal::Rule { code, .. }) = &refusal
            && *code != RefusalCode::OriginalNotFound
        {
            raise(cx, seal, &outlet_id, *code);
        }
        return Ok(Err(refusal));
    }

    let totals = genuine.invoice.totals();
    let outlet = state.outlets.get_mut(&outlet_id)?.expect("it was there above");
    let draft = Draft {
        outlet_id: &outlet_id,
        kind: RecordKind::Offline(genuine.invoice.invoice_type()),
        authority_id: &authority_id,
        fiscal_number: genuine.fiscal_number.clone(),
        total: &totals.total.to_string(),
        currency: totals.currency.as_str(),
        payload: payload.as_bytes(),
        payload_hash: None,
        submission: None,
    };
    let recorded = cx.journal.append(&mut state.group.tree, &mut outlet.chain, cx.index, draft);
    count_invoice(outlet, &genuine.invoice, number);
    if settle_number(outlet, number) {
        cx.events.push(Event::MissingNumberCleared {
            outlet_id: outlet_id.clone(),
            fiscal_number: genuine.fiscal_number.clone(),
        });
    }
    count_in_shift(&mut state.terminals, &terminal_key, &genuine.invoice)?;
    let key = (outlet_id, genuine.fiscal_number.clone());
    state.invoices.put(key, sealed_invoice(&genuine.invoice, recorded.position));
    let slot = Slot::Appended {
        entry_hash: genuine.entry_hash,
        prev_hash: seal.prev_hash,
        digest: seal.digest(),
        position: recorded.position,
    };
    let block = state.blocks.get_mut(&seal.credential_id)?.expect("it was there above");
    block.set_slot(seal.place, slot);
    Ok(Ok(recorded))
}

/// Moves a number from reserved, or from missing, to sealed. Says whether it had been missing.
fn settle_number(outlet: &mut Outlet, number: u64) -> bool {
    outlet.series.sealed += 1;
    !outlet.series.reserved.remove(number) && outlet.series.missing.remove(number)
}

/// The hash that the seal at `place` must link to, when it is known.
fn predecessor(block: &Block, place: u64) -> Option<Hash32> {
    if place == 1 {
        return Some(block.grant_hash);
    }
    match block.slot(place - 1) {
        Some(Slot::Appended { entry_hash, .. }) => Some(*entry_hash),
        _ => None,
    }
}

/// Whether a seal links to its predecessor, and its stored successor links to it, as far as they are
/// in the journal.
fn links_to_neighbours(block: &Block, seal: &OfflineSeal, entry_hash: &Hash32) -> bool {
    let before = predecessor(block, seal.place).is_none_or(|hash| hash == seal.prev_hash);
    let after = match block.slot(seal.place + 1) {
        Some(Slot::Appended { prev_hash, .. }) => prev_hash == entry_hash,
        _ => true,
    };
    before && after
}

fn is_signed(key: &Hash32, hash: &Hash32, signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(hash, &Signature::from_bytes(signature)).is_ok())
}

fn raise(cx: &mut Context<'_>, seal: &OfflineSeal, outlet_id: &Id, code: RefusalCode) {
    cx.events.push(Event::SecurityAlert {
        outlet_id: outlet_id.clone(),
        credential_id: seal.credential_id.clone(),
        code,
    });
}

fn alert(
    cx: &mut Context<'_>,
    seal: &OfflineSeal,
    outlet_id: &Id,
    code: RefusalCode,
    detail: String,
) -> Outcome {
    raise(cx, seal, outlet_id, code);
    Outcome::refused(code, detail)
}
