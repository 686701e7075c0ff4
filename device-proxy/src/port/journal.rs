//! `QRY|LOG` and `ADM|DUMPLOG`: records of the journal as hosts see them.

use fiscus_ledger::hash::{hex, payload_hash};
use fiscus_ledger::payload::Object;
use fiscus_ledger::record::Record;
use fiscus_proto::ledger::read_record_request::Which;
use fiscus_proto::ledger::{JournalRecord, OutletNumber, ReadRecordRequest, ReadRecordsRequest};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{LINEARIZABLE, Port, Until, faults, number_prefix};
use crate::protocol::answer::ok;
use crate::protocol::{Code, DumpFormat, Fault, Reply};

/// Records of a chunk, and their bytes, though one is told whatever its length.
const CHUNK_RECORDS: u64 = 50;
const CHUNK_BYTES: usize = 256 << 10;

/// What is told of an invoice beside its record.
#[derive(Deserialize)]
struct Invoice<'a> {
    merchant_nif: String,
    client: Client,
    #[serde(borrow)]
    tax_groups: &'a RawValue,
    totals: Totals,
}

#[derive(Deserialize)]
struct Client {
    nif: String,
}

#[derive(Deserialize)]
struct Totals {
    total_vat: String,
}

impl Port {
    pub(super) async fn log(&self, sequence: u64, until: Until) -> Result<Reply, Fault> {
        let outlet = self.outlet(until).await?;
        let number = format!("{}-{sequence}", number_prefix(&outlet));
        let request = ReadRecordRequest {
            group: outlet.group,
            which: Some(Which::Number(OutletNumber {
                outlet_id: outlet.outlet_id.to_string(),
                fiscal_number: number.clone(),
            })),
            consistency: LINEARIZABLE,
        };
        let read = self.shared.cluster.read_record(request, until.left()).await;
        let Some(record) = read.map_err(|error| faults::of_read(&error))?.record else {
            let detail = format!("no invoice is sealed as {number}");
            return Ok(Reply::Refused(Fault::new(Code::NotFound, detail)));
        };
        let entry = self.entry(&record, DumpFormat::Json)?;
        Ok(Reply::Done(ok().json("log_entry", &entry).finish()))
    }

    pub(super) async fn dump(
        &self,
        format: DumpFormat,
        (from, to): (u64, Option<u64>),
        until: Until,
    ) -> Result<Reply, Fault> {
        let outlet = self.outlet(until).await?;
        let to = match to {
            Some(to) => to,
            None => self.read_outlet(&outlet, until).await?.0.chain.last_position,
        };
        let mut records = Vec::new();
        if from > to {
            return Ok(Reply::Chunk { records, next: None, to });
        }
        let last = to.min(from + CHUNK_RECORDS - 1);
        let request = ReadRecordsRequest {
            group: outlet.group,
            outlet_id: outlet.outlet_id.to_string(),
            from_position: from,
            to_position: last,
            consistency: LINEARIZABLE,
        };
        let mut read = Box::pin(self.shared.cluster.read_records(request, until.left()));
        let mut next = from;
        let mut bytes = 0;
        while let Some(record) = read.next().await {
            let record = record.map_err(|error| faults::of_read(&error))?;
            let entry = self.entry(&record, format)?;
            bytes += entry.len();
            records.push(entry);
            next += 1;
            if bytes >= CHUNK_BYTES {
                break;
            }
        }
        if records.is_empty() {
            return Err(faults::strange("a journal without its records"));
        }
        Ok(Reply::Chunk { records, next: (next <= to).then_some(next), to })
    }

    /// A record as JSON.
    fn entry(&self, sealed: &JournalRecord, format: DumpFormat) -> Result<String, Fault> {
        let record = Record::decode(&sealed.record).map_err(|_| faults::strange("a record"))?;
        let printed = self.printed(&record, &sealed.signature);
        let object = Object::new()
            .text("record_type", record.kind.as_str())
            .count("position", record.position);
        let object = match &printed {
            Some(printed) => object.count("sequence", printed.sequence),
            None => object.json("sequence", "null"),
        };
        if format == DumpFormat::Digest {
            return Ok(object.bytes("entry_hash", &record.entry_hash).finish());
        }
        let mut object = object.text("timestamp", &record.timestamp.to_string());
        if record.kind.invoice_type().is_some() {
            object = of_invoice(object, &record).ok_or_else(|| faults::strange("an invoice"))?;
        }
        // A terminal knows its invoice, not what the ledger has put around one that was sealed alone.
        let hashed = record.kind.invoice_in(record.payload).unwrap_or(record.payload);
        object = object
            .bytes("payload_hash", &payload_hash(hashed))
            .bytes("prev_hash", &record.prev_hash)
            .bytes("entry_hash", &record.entry_hash)
            .text("signature", &hex(&sealed.signature));
        if let Some(printed) = printed {
            object = object
                .text("fiscal_number", record.fiscal_number)
                .text("auth_code", &printed.auth_code)
                .text("qr_payload", &printed.qr_payload);
        }
        Ok(object.finish())
    }
}

/// What an invoice says of itself.
fn of_invoice(object: Object, record: &Record<'_>) -> Option<Object> {
    let invoice = record.kind.invoice_in(record.payload)?;
    of_document(object, invoice, record.total, record.currency)
}

/// The same of a canonical invoice.
pub(super) fn of_document(
    object: Object,
    invoice: &[u8],
    total: &str,
    currency: &str,
) -> Option<Object> {
    let invoice: Invoice<'_> = serde_json::from_slice(invoice).ok()?;
    Some(
        object
            .text("merchant_nif", &invoice.merchant_nif)
            .text("client_registration", &invoice.client.nif)
            .text("total", total)
            .text("vat_total", &invoice.totals.total_vat)
            .text("currency", currency)
            .json("tax_breakdown", invoice.tax_groups.get()),
    )
}
