//! Audit exports: a range of an outlet's journal, pinned to a signed checkpoint that covers it.
//!
//! What an export is stands in the directory, so any gateway goes on with it; what it holds comes from the
//! journal, which does not change, so every gateway makes the same chunks.

use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::record::Record;
use fiscus_ledger::reports::{AUDIT_CHUNK_RECORDS_MAX, AuditChunkWriter};
use fiscus_proto::ledger::{Consistency, JournalRecord, ReadRecordsRequest};
use futures_util::stream::{Stream, StreamExt, TryStreamExt, try_unfold};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::checkpoints::SignedCheckpoint;
use super::outlet::Outlet;
use super::range::Range;
use super::registry::{Made, Once};
use super::reports::crowded;
use super::ring::{ATTEMPTS_MAX, slot_id, version_before};
use crate::directory::Stored;
use crate::directory::documents::kind;
use crate::http::Problem;

/// Records that are proved together, and so many are held at once.
const PROVED_TOGETHER: usize = 64;
/// And so many bytes of them at most, or one record.
const HELD_BYTES_MAX: usize = 4 << 20;
/// A chunk is read within this time, or broken off.
const CHUNK_MAX: Duration = Duration::from_secs(10 * 60);
const RECORDS: u64 = AUDIT_CHUNK_RECORDS_MAX as u64;

/// An export as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The outlet.
    pub outlet_id: String,
    /// When it was asked for, by the gateway's clock.
    pub made_ms: u64,
    /// Who asked for it: the key's name.
    pub made_by: String,
    /// The first position.
    pub from_position: u64,
    /// The last position.
    pub to_position: u64,
    /// The size of the tree that the proofs lead to.
    pub tree_size: u64,
    /// The signed note of that tree.
    pub checkpoint: String,
}

/// How far a client is with an export. It is a document of its own, because versions of exports count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Acknowledged {
    /// The export; when its slot has been taken by another one, this says nothing.
    pub export: u64,
    /// Chunks that the client has safe.
    pub chunks: u64,
}

/// How many exports an outlet has had: the version counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ExportCount {}

impl Stored for Export {
    const KIND: &'static str = kind::EXPORT;
}
impl Stored for Acknowledged {
    const KIND: &'static str = "export_ack";
}
impl Stored for ExportCount {
    const KIND: &'static str = "export_count";
}

impl Export {
    /// How many chunks it has.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.records().div_ceil(RECORDS)
    }

    /// How many records it has.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.to_position - self.from_position + 1
    }

    /// The positions of a chunk.
    fn positions(&self, chunk: u64) -> (u64, u64) {
        let from = self.from_position + chunk * RECORDS;
        (from, self.to_position.min(from + RECORDS - 1))
    }
}

impl Caller {
    /// Keeps an export under the next number of its outlet, with the action that made it.
    pub async fn keep_export(
        &self,
        outlet: &Outlet,
        export: &Export,
        once: &Once,
    ) -> Result<Made, Problem> {
        for _ in 0..ATTEMPTS_MAX {
            let number = self.ring_count(kind::EXPORT, outlet).await?;
            let change = self
                .change(self.organisation(), "audit.export", "export", &number.to_string())
                .outlet(outlet.id())
                .detail("from_position", &export.from_position.to_string())
                .detail("to_position", &export.to_position.to_string())
                .once(once)
                .put(outlet.id(), number, &ExportCount {})
                .put(&slot_id(outlet.id(), number), version_before(number), export);
            match change.commit().await {
                Err(problem) if problem.code == "VERSION_CONFLICT" => {}
                done => return done,
            }
        }
        Err(crowded())
    }
}

impl Caller {
    /// What an earlier copy of a request for an export made.
    pub async fn export_made_before(&self, once: &Once) -> Result<Option<u64>, Problem> {
        let made = self.made_before(once).await?;
        Ok(made.and_then(|number| number.parse().ok()))
    }

    /// A kept export and how many of its chunks the client has; none when there never was one, or when a hundred
    /// others came after it.
    pub async fn export(
        &self,
        outlet: &Outlet,
        number: u64,
    ) -> Result<Option<(Export, u64)>, Problem> {
        let Some(export) = self.ring_get(kind::EXPORT, outlet, number).await? else {
            return Ok(None);
        };
        let (_, chunks) = self.acknowledged(outlet, number).await?;
        Ok(Some((export, chunks)))
    }

    /// Notes that the client has a chunk safe. How many it has then.
    pub async fn acknowledge(
        &self,
        outlet: &Outlet,
        number: u64,
        chunk: u64,
    ) -> Result<u64, Problem> {
        for _ in 0..ATTEMPTS_MAX {
            let (version, chunks) = self.acknowledged(outlet, number).await?;
            if chunk < chunks {
                return Ok(chunks);
            }
            if chunk > chunks {
                return Err(not_acknowledged(chunks));
            }
            let acknowledged = Acknowledged { export: number, chunks: chunk + 1 };
            let change = self
                .change(self.organisation(), "audit.acknowledge", "export", &number.to_string())
                .outlet(outlet.id())
                .detail("chunk", &chunk.to_string())
                .put(&slot_id(outlet.id(), number), version, &acknowledged);
            match change.commit().await {
                Ok(_) => return Ok(chunk + 1),
                Err(problem) if problem.code == "VERSION_CONFLICT" => {}
                Err(problem) => return Err(problem),
            }
        }
        Err(crowded())
    }

    /// The version of what is noted for an export's slot, and the chunks that the client has of this export.
    async fn acknowledged(&self, outlet: &Outlet, number: u64) -> Result<(u64, u64), Problem> {
        let document = self.document(Acknowledged::KIND, &slot_id(outlet.id(), number)).await?;
        let Some(document) = document else { return Ok((0, 0)) };
        let read: Acknowledged = serde_json::from_slice(&document.bytes)
            .map_err(|error| Problem::internal(&format!("an acknowledgement: {error}")))?;
        Ok((document.version, if read.export == number { read.chunks } else { 0 }))
    }
}

/// A chunk is given out when the one before it is safe.
pub(crate) fn not_acknowledged(next: u64) -> Problem {
    let detail = format!("chunk {next} is the next one; acknowledge each before you go on");
    Problem::new(StatusCode::CONFLICT, "CHUNK_NOT_ACKNOWLEDGED", detail)
}

impl Outlet {
    /// A chunk of an export, piece by piece. The first piece has records already.
    pub fn chunk(
        &self,
        export: &Export,
        chunk: u64,
    ) -> impl Stream<Item = Result<String, Problem>> + Send + use<> {
        let (from, to) = export.positions(chunk);
        let (writer, open) = AuditChunkWriter::begin(chunk);
        let last = chunk + 1 == export.chunks();
        let state = Chunk {
            outlet: self.clone(),
            records: Box::pin(self.records(from, to)),
            writer,
            open: Some(open),
            next: from,
            to,
            tree_size: export.tree_size,
            checkpoint: last.then(|| export.checkpoint.clone()),
        };
        try_unfold(Some(state), |state| async move {
            let Some(mut state) = state else { return Ok(None) };
            let piece = state.piece().await?;
            if state.next <= state.to {
                return Ok(Some((piece, Some(state))));
            }
            let close = state.writer.finish(state.checkpoint.as_deref());
            Ok(Some((piece + &close, None)))
        })
    }

    /// Records that follow each other, from one position to another.
    pub(super) fn records(
        &self,
        from_position: u64,
        to_position: u64,
    ) -> impl Stream<Item = Result<JournalRecord, Problem>> + Send + use<> {
        let request = ReadRecordsRequest {
            group: self.entry().group(),
            outlet_id: self.id().to_owned(),
            from_position,
            to_position,
            consistency: Consistency::Linearizable.into(),
        };
        self.app().cluster().read_records(request, CHUNK_MAX).map_err(Problem::from)
    }
}

/// A chunk under way.
struct Chunk<S> {
    outlet: Outlet,
    records: std::pin::Pin<Box<S>>,
    writer: AuditChunkWriter,
    open: Option<String>,
    next: u64,
    to: u64,
    tree_size: u64,
    checkpoint: Option<String>,
}

impl<S: Stream<Item = Result<JournalRecord, Problem>>> Chunk<S> {
    /// The next records with their proofs.
    async fn piece(&mut self) -> Result<String, Problem> {
        let (mut held, mut bytes) = (Vec::new(), 0);
        while self.next <= self.to && held.len() < PROVED_TOGETHER && bytes < HELD_BYTES_MAX {
            let record = self.records.next().await.transpose()?;
            let record = record.ok_or_else(|| Problem::internal("a journal ends too early"))?;
            bytes += record.record.len();
            held.push(record);
            self.next += 1;
        }
        let leaves = held.iter().map(|record| record.leaf).collect();
        let proofs = self.outlet.inclusion(leaves, self.tree_size, CHUNK_MAX).await?;
        let mut piece = self.open.take().unwrap_or_default();
        for (sealed, proof) in held.iter().zip(&proofs) {
            let record = Record::decode(&sealed.record)
                .map_err(|error| Problem::internal(&format!("a record: {error}")))?;
            let signature: [u8; 64] = (&*sealed.signature)
                .try_into()
                .map_err(|_| Problem::internal("a signature has not 64 bytes"))?;
            let text = self.writer.record(&record, &signature, proof);
            piece += &text.map_err(|full| Problem::internal(&full.to_string()))?;
        }
        Ok(piece)
    }
}

impl Range {
    /// An export of it under a checkpoint.
    #[must_use]
    pub fn export(&self, outlet: &Outlet, caller: &Caller, pinned: &SignedCheckpoint) -> Export {
        Export {
            outlet_id: outlet.id().to_owned(),
            made_ms: caller.now().get(),
            made_by: caller.key().name.clone(),
            from_position: self.from,
            to_position: self.to,
            tree_size: pinned.checkpoint.size(),
            checkpoint: pinned.note.clone(),
        }
    }
}
