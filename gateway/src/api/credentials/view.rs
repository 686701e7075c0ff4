//! How a credential is answered: what the ledger has of its block.

use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_ledger::base64::{decode_standard, encode_standard, encode_url};
use fiscus_ledger::hash::{Hash32, hex};
use fiscus_ledger::state::block::{Block, CloseReason, Slot};
use fiscus_ledger::state::table::Row;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger::{Consistency, ReadBlockResponse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Outlet;
use crate::http::Problem;

/// Where a credential is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CredentialStatus)]
pub(super) enum Status {
    /// Its terminal may seal under it.
    Active,
    /// Its time has ended; what was sealed in time is still taken.
    Expired,
    /// Every number came back sealed.
    UsedUp,
    /// The terminal gave it back.
    Returned,
    /// It was withdrawn.
    Revoked,
    /// Its time and the grace of 72 hours have ended; what is missing was flagged.
    Lapsed,
}

/// What numbers that have not come are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OutstandingNumbers)]
pub(super) enum Outstanding {
    /// Its block is open: they may be used, or on their way.
    Open,
    /// The terminal has returned them, which says that it has not used them and never will. To the ledger they are
    /// missing, as no number is given away twice; nobody is looked for.
    ReturnedUnused,
    /// They were lent and nobody has said what became of them: flagged for audit.
    Missing,
}

/// So many runs of numbers are told.
const RANGES_MAX: usize = 100;

/// Numbers that are lent to a terminal, and the leave to seal under them alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Credential {
    /// Its id, which its seals name as their authority.
    #[schema(example = "cred-7f2c9e51a0b34d6688c1d2e3f4051627")]
    pub(super) credential_id: String,
    /// The outlet.
    #[schema(example = "outlet-gombe")]
    outlet_id: String,
    /// The terminal.
    #[schema(example = "till-1")]
    pos_terminal_id: String,
    /// The terminal's Ed25519 key, in base64.
    #[schema(example = "ebVWLo/mVPlAeLES6KmLp5AfhTrmlbw7f8Vk0TfzP3w=")]
    public_key: String,
    /// What stands before the sequence in its numbers.
    #[schema(example = "KIN-GOMBE")]
    number_prefix: String,
    /// The first sequence that is lent.
    #[schema(example = 43)]
    first: u64,
    /// The last one.
    #[schema(example = 542)]
    last: u64,
    /// From when on it may be sealed under it.
    #[schema(example = "2026-11-28T10:15:30.123Z")]
    not_before: String,
    /// Until when.
    #[schema(example = "2026-11-28T22:15:30.123Z")]
    not_after: String,
    /// The entry hash of the record that lent the numbers: the first seal links to it.
    #[schema(example = "6f1d0c9e…")]
    block_entry_hash: String,
    /// Who signed it.
    #[schema(example = "demo.7599776c3085e3f9")]
    fiscal_authority_id: String,
    /// Where it is in its life.
    status: Status,
    /// When its block was closed.
    #[schema(example = json!(null))]
    closed_at: Option<String>,
    /// Numbers that are in the journal.
    #[schema(example = 12)]
    sealed: u64,
    /// Seals that wait for those before them.
    #[schema(example = 0)]
    waiting: u64,
    /// Numbers that have not come.
    #[schema(example = 488)]
    outstanding: u64,
    /// First and last of each run of them; the first 100 runs.
    #[schema(example = json!([[55, 542]]))]
    outstanding_numbers: Vec<[u64; 2]>,
    /// What that they have not come means; `null` when all have.
    outstanding_means: Option<Outstanding>,
    /// The signed leave in base64url, as it stands in QR codes; `null` when its authority's key is gone.
    #[schema(example = "AQYAAABjcmVkLTc…")]
    credential: Option<String>,
}

impl Credential {
    /// What a node says; none when the outlet has lent nothing under this id.
    pub(super) fn of(
        outlet: &Outlet,
        credential_id: &str,
        told: &ReadBlockResponse,
    ) -> Result<Option<Self>, Problem> {
        if told.row.is_empty() {
            return Ok(None);
        }
        let block = Block::from_stored(&told.row)
            .map_err(|error| Problem::internal(&format!("a block's row: {error}")))?;
        let now = told.as_of.map_or(0, |as_of| as_of.time_ms);
        let fact = &outlet.entry().fact.value;
        let count = |wanted: fn(&Slot) -> bool| {
            u64::try_from(block.slots.iter().filter(|slot| wanted(slot)).count())
                .unwrap_or(u64::MAX)
        };
        Ok(Some(Self {
            credential_id: credential_id.to_owned(),
            outlet_id: block.outlet_id.to_string(),
            pos_terminal_id: block.terminal_id.to_string(),
            public_key: encode_standard(&block.terminal_key),
            number_prefix: format!("{}-{}", fact.prefix, fact.code),
            first: block.first,
            last: block.last,
            not_before: block.not_before.to_string(),
            not_after: block.not_after.to_string(),
            block_entry_hash: hex(&block.grant_hash),
            fiscal_authority_id: block.authority_id.to_string(),
            status: status(&block, UnixMs::new(now)),
            closed_at: block.closed.map(|(_, at)| at.to_string()),
            sealed: count(|slot| matches!(slot, Slot::Appended { .. })),
            waiting: count(|slot| matches!(slot, Slot::Waiting { .. })),
            outstanding: count(|slot| matches!(slot, Slot::Empty)),
            outstanding_numbers: outstanding(&block),
            outstanding_means: means(&block),
            credential: told.credential.as_deref().map(encode_url),
        }))
    }

    /// Reads it.
    pub(super) async fn read(
        outlet: &Outlet,
        credential_id: &str,
        consistency: Consistency,
    ) -> Result<Self, Problem> {
        let told = outlet.block(credential_id, consistency).await?;
        Self::of(outlet, credential_id, &told)?.ok_or_else(|| {
            let detail = format!("outlet {} has lent nothing under {credential_id:?}", outlet.id());
            Problem::not_found("CREDENTIAL_UNKNOWN", detail)
        })
    }

    /// Whether its terminal's key has signed a hash.
    pub(super) fn is_signed_by_its_terminal(&self, hash: &Hash32, signature: &[u8]) -> bool {
        let key = decode_standard(&self.public_key).and_then(|bytes| bytes.try_into().ok());
        let key = key.and_then(|bytes: [u8; 32]| VerifyingKey::from_bytes(&bytes).ok());
        let signature = Signature::from_slice(signature).ok();
        key.zip(signature)
            .is_some_and(|(key, signature)| key.verify_strict(hash, &signature).is_ok())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed_at.is_some()
    }
}

fn status(block: &Block, now: UnixMs) -> Status {
    match block.closed {
        Some((CloseReason::UsedUp, _)) => Status::UsedUp,
        Some((CloseReason::Returned, _)) => Status::Returned,
        Some((CloseReason::Revoked, _)) => Status::Revoked,
        Some((CloseReason::Expired, _)) => Status::Lapsed,
        None if now > block.not_after => Status::Expired,
        None => Status::Active,
    }
}

fn outstanding(block: &Block) -> Vec<[u64; 2]> {
    let mut ranges: Vec<[u64; 2]> = Vec::new();
    for (number, slot) in (block.first..).zip(&block.slots) {
        if !matches!(slot, Slot::Empty) {
            continue;
        }
        let full = ranges.len() == RANGES_MAX;
        match ranges.last_mut() {
            Some([_, last]) if *last + 1 == number => *last = number,
            _ if full => break,
            _ => ranges.push([number, number]),
        }
    }
    ranges
}

fn means(block: &Block) -> Option<Outstanding> {
    if !block.slots.iter().any(|slot| matches!(slot, Slot::Empty)) {
        return None;
    }
    Some(match block.closed {
        None => Outstanding::Open,
        Some((CloseReason::Returned, _)) => Outstanding::ReturnedUnused,
        Some(_) => Outstanding::Missing,
    })
}
