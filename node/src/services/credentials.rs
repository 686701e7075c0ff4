//! Delegated credentials. One is made anew of what is kept of its block, and signed anew: a key signs the same hash
//! in the same way for ever.

use fiscus_ledger::credential::Credential;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reference::leading_text;
use fiscus_ledger::seal::split_number;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::Block;
use fiscus_ledger::state::table::Row;
use fiscus_proto::ledger as wire;
use fiscus_raft::store::{FoundRecord, Reading};
use tonic::Status;

use super::ledger::{LedgerService, as_of, failed};
use crate::signer::Signable;

impl LedgerService {
    /// What an outlet has lent under a credential.
    pub(super) async fn block_of(
        &self,
        request: wire::ReadBlockRequest,
    ) -> Result<wire::ReadBlockResponse, Status> {
        self.search(request.group, request.consistency, move |service, _, reading| {
            service.block(reading, &Id::from(request.outlet_id), &Id::from(request.credential_id))
        })
        .await
    }

    fn block(
        &self,
        reading: &Reading,
        outlet_id: &Id,
        credential_id: &Id,
    ) -> Result<wire::ReadBlockResponse, Status> {
        let as_of = Some(as_of(reading.as_of()));
        // No identifier is longer, so there is nothing under such a key.
        let known = match credential_id.len() {
            0..=255 => reading.row::<Block>(credential_id).map_err(|error| failed(&error))?,
            _ => None,
        };
        let Some(block) = known.filter(|block| block.outlet_id == *outlet_id) else {
            return Ok(wire::ReadBlockResponse { as_of, ..wire::ReadBlockResponse::default() });
        };
        let outlet = reading.outlet(outlet_id).map_err(|error| failed(&error))?;
        let outlet = outlet.ok_or_else(|| Status::data_loss("a block without its outlet"))?;
        let signed = self.sign_credential(&block, credential_id, &outlet.number_prefix())?;
        let credential = signed.map(|credential| credential.to_bytes().into());
        Ok(wire::ReadBlockResponse { as_of, row: block.stored_row().into(), credential })
    }

    /// The credential under which a terminal sealed this record offline.
    pub(super) fn credential(
        &self,
        reading: &Reading,
        found: &FoundRecord,
    ) -> Result<Option<Credential>, Status> {
        let record = Record::decode(&found.record).map_err(|error| failed(&error))?;
        if !matches!(record.kind, RecordKind::Offline(_)) {
            return Ok(None);
        }
        let id = leading_text(record.payload, "credential_id");
        let id = id.ok_or_else(|| Status::data_loss("an offline record names no credential"))?;
        let block = reading.row::<Block>(&Id::from(&*id)).map_err(|error| failed(&error))?;
        let number = split_number(record.fiscal_number);
        let (Some(block), Some((series, _))) = (block, number) else { return Ok(None) };
        self.sign_credential(&block, &id, series)
    }

    fn sign_credential(
        &self,
        block: &Block,
        credential_id: &str,
        series: &str,
    ) -> Result<Option<Credential>, Status> {
        let Some(key) = self.context.authority_key(&block.authority_id) else { return Ok(None) };
        let terms = block.credential_terms(credential_id, series);
        let hash = Signable::CredentialHash(terms.signed_hash());
        let signature = self.context.signer.sign(&key, &hash);
        let signature = signature.map_err(|error| Status::unavailable(error.to_string()))?;
        Credential::new(terms, signature).map(Some).map_err(|error| failed(&error))
    }
}
