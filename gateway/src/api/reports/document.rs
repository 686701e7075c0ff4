//! A report with all that its documents show of it.

use std::sync::Arc;

use fiscus_ledger::hash::Hash32;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::Record;
use fiscus_proto::ledger::JournalRecord;

use crate::access::{Caller, Outlet};
use crate::api::labels::{merchant_label, outlet_label};
use crate::http::Problem;
use crate::render::Language;
use crate::render::report::{self, ArticleCsv, Signed, SignedReport};

/// What vouches for it.
#[derive(Debug)]
enum Voucher {
    Digest { authority_id: String, digest: Hash32 },
    Record(JournalRecord),
}

/// A report, whole.
#[derive(Debug)]
pub(super) struct Document {
    outlet: Outlet,
    manifest: Arc<Manifest>,
    json: String,
    voucher: Voucher,
    signature: [u8; 64],
}

impl Document {
    /// An X or an A: its digest is signed.
    pub(super) fn digested(
        caller: &Caller,
        outlet: &Outlet,
        json: String,
        authority_id: String,
        digest: Hash32,
        signature: [u8; 64],
    ) -> Result<Self, Problem> {
        let (outlet, manifest) = (outlet.clone(), caller.manifest()?);
        let voucher = Voucher::Digest { authority_id, digest };
        Ok(Self { outlet, manifest, json, voucher, signature })
    }

    /// A Z: its record is signed.
    pub(super) fn recorded(
        caller: &Caller,
        outlet: &Outlet,
        json: String,
        sealed: JournalRecord,
    ) -> Result<Self, Problem> {
        let (outlet, manifest) = (outlet.clone(), caller.manifest()?);
        let signature: [u8; 64] = (&*sealed.signature)
            .try_into()
            .map_err(|_| Problem::internal("a signature has not 64 bytes"))?;
        Ok(Self { outlet, manifest, json, voucher: Voucher::Record(sealed), signature })
    }

    /// Sheets of A4. It takes a while when the report is long, so it is done beside the others' requests.
    pub(super) async fn pdf(self, language: Language) -> Result<Vec<u8>, Problem> {
        let made =
            tokio::task::spawn_blocking(move || self.with(|report| report::pdf(report, language)));
        made.await.map_err(|_| Problem::internal("a report could not be laid out"))?
    }

    /// Comma-separated values.
    pub(super) fn csv(&self, language: Language) -> Result<String, Problem> {
        self.with(|report| report::csv(report, language))
    }

    /// The end of an A report as CSV.
    pub(super) fn finish_csv(&self, csv: ArticleCsv) -> Result<String, Problem> {
        self.with(|report| csv.finish(report))
    }

    fn with<T>(
        &self,
        make: impl FnOnce(&SignedReport<'_>) -> Result<T, report::RenderError>,
    ) -> Result<T, Problem> {
        let record = match &self.voucher {
            Voucher::Digest { .. } => None,
            Voucher::Record(sealed) => Some(
                Record::decode(&sealed.record)
                    .map_err(|error| Problem::internal(&format!("a record: {error}")))?,
            ),
        };
        let (authority_id, signed) = match (&self.voucher, &record) {
            (Voucher::Digest { authority_id, digest }, _) => {
                (authority_id.as_str(), Signed::Digest(digest))
            }
            (Voucher::Record(_), Some(record)) => (record.authority_id, Signed::Record(record)),
            (Voucher::Record(_), None) => return Err(Problem::internal("a record is not there")),
        };
        let report = SignedReport {
            json: &self.json,
            authority_id,
            signed,
            signature: &self.signature,
            manifest: &self.manifest,
            merchant: Some(merchant_label(&self.outlet)),
            outlet: Some(outlet_label(&self.outlet)),
        };
        make(&report).map_err(|error| Problem::internal(&error.to_string()))
    }
}
