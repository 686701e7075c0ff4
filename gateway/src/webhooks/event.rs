//! What a record tells the outside: at most one event each.

use fiscus_ledger::hash::hex;
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_ledger::reference::leading_text;
use fiscus_ledger::seal::AuthCode;
use fiscus_proto::ledger::JournalRecord;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::catalogue::EventType;
use crate::delivery::kept::Place;
use crate::directory::OutletEntry;
use crate::place_id::PlaceId;

/// Of a reason so many bytes of JSON are told.
const REASON_BYTES_MAX: usize = 200;
/// The group whose journal tells of devices.
const DIRECTORY: u64 = 0;

/// An event with its record.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where it stands.
    pub place: Place,
    /// When it happened.
    pub time_ms: u64,
    /// What happened.
    pub kind: EventType,
    /// At which outlet.
    pub outlet_id: String,
    /// Events of one outlet have the same.
    pub lane: u32,
    record: JournalRecord,
}

/// Why the data of an event cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be read: {0}")]
pub struct Unreadable(String);

impl Event {
    /// The event of a record, when somebody may want it.
    #[must_use]
    pub fn of(record: JournalRecord) -> Option<Self> {
        let read = Record::decode(&record.record)
            .inspect_err(|error| tracing::error!(group = record.group, leaf = record.leaf, %error, "a record"))
            .ok()?;
        let text = |name: &str| leading_text(read.payload, name);
        let kind = match read.kind {
            RecordKind::Invoice(_) | RecordKind::Offline(_) | RecordKind::Def(_) => {
                EventType::InvoiceSealed
            }
            RecordKind::ZClosure => EventType::ReportGenerated,
            RecordKind::ShiftClose => EventType::ShiftClosed,
            RecordKind::NumbersMissing => EventType::BlockMissingNumbers,
            RecordKind::RecoveryGap => EventType::IntegrityAlert,
            RecordKind::Payment => match &*text("status")? {
                "confirmed" => EventType::PaymentConfirmed,
                "failed" | "reversed" => EventType::PaymentFailed,
                _ => return None,
            },
            RecordKind::Upload => match &*text("state")? {
                "acknowledged" => EventType::InvoiceSyncSuccess,
                "rejected" | "failed" => EventType::InvoiceSyncFailed,
                _ => return None,
            },
            RecordKind::Device if record.group == DIRECTORY => match &*text("state")? {
                // A later life of a device that is active is no activation.
                "active" if text("event").is_none() => EventType::DeviceActivated,
                "revoked" | "replaced" => EventType::DeviceRevoked,
                _ => return None,
            },
            _ => return None,
        };
        let outlet_id = match read.kind {
            RecordKind::Device => text("outlet_id")?.into_owned(),
            _ => read.outlet_id.to_owned(),
        };
        Some(Self {
            place: Place { source: record.group, leaf: record.leaf },
            time_ms: read.timestamp.get(),
            kind,
            lane: lane_of(&outlet_id),
            outlet_id,
            record,
        })
    }

    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.record.record.len() + self.outlet_id.len() + 256
    }

    /// What is told of it: the metadata that books are reconciled by, and what is of interest of its kind.
    pub fn data(&self, outlet: &OutletEntry) -> Result<Map<String, Value>, Unreadable> {
        let record =
            Record::decode(&self.record.record).map_err(|error| Unreadable(error.to_string()))?;
        let mut data = metadata_of(outlet);
        let common = json!({
            "group": self.place.source,
            "tree_index": self.place.leaf,
            "position": record.position,
            "record_kind": record.kind.as_str(),
            "fiscal_authority_id": record.authority_id,
            "record_hash": hex(&record.entry_hash),
            "previous_hash": hex(&record.prev_hash),
        });
        take(&mut data, common);
        let payload = match record.kind.invoice_type() {
            Some(_) => record.kind.invoice_in(record.payload),
            None => Some(record.payload),
        };
        let payload = payload.and_then(|payload| serde_json::from_slice::<Value>(payload).ok());
        let payload = payload.ok_or_else(|| Unreadable("its payload is not JSON".to_owned()))?;
        for field in fields(self.kind) {
            let value = payload.get(field).cloned();
            data.insert((*field).to_owned(), value.unwrap_or(Value::Null));
        }
        if self.kind == EventType::InvoiceSyncFailed {
            data.get_mut("invoices").into_iter().for_each(shorten_reasons);
        }
        if self.kind == EventType::ReportGenerated {
            let id = PlaceId::new('z', &self.outlet_id, record.position).to_string();
            data.insert("report_id".to_owned(), json!(id));
        }
        if self.kind == EventType::IntegrityAlert {
            data.insert("alert".to_owned(), json!("numbers_skipped"));
        }
        if self.kind == EventType::InvoiceSealed {
            let signature: [u8; 64] = (&*self.record.signature)
                .try_into()
                .map_err(|_| Unreadable("its signature has not 64 bytes".to_owned()))?;
            take(
                &mut data,
                json!({
                    "fiscal_number": record.fiscal_number,
                    "device_id": sealed_by(&record)?,
                    "auth_code": AuthCode::of_signature(&signature).to_string(),
                    "signature": hex(&signature),
                }),
            );
        }
        Ok(data)
    }
}

/// What is told with everything that is about an outlet.
pub(crate) fn metadata_of(outlet: &OutletEntry) -> Map<String, Value> {
    let fact = &outlet.fact.value;
    let mut data = Map::new();
    let common = json!({
        "outlet_id": outlet.id(),
        "branch": format!("{}-{}", fact.prefix, fact.code),
        "region": outlet.region(),
        "environment": fact.environment.as_str(),
    });
    take(&mut data, common);
    data
}

/// In JSON a quotation mark takes two bytes: a record with as many refusals as one may have is to fit into a message,
/// whatever the tax authority says of them. The record has the whole of it.
fn shorten_reasons(invoices: &mut Value) {
    for invoice in invoices.as_array_mut().into_iter().flatten() {
        let Some(Value::String(reason)) = invoice.get_mut("reason") else { continue };
        let mut bytes = 0;
        let fits = |(at, character): (usize, char)| {
            bytes += character.len_utf8() + usize::from(matches!(character, '"' | '\\'));
            (bytes > REASON_BYTES_MAX).then_some(at)
        };
        if let Some(end) = reason.char_indices().find_map(fits) {
            reason.truncate(end);
        }
    }
}

/// The real device that sealed an invoice; none when the ledger or a terminal did.
fn sealed_by(record: &Record<'_>) -> Result<Option<String>, Unreadable> {
    #[derive(Deserialize)]
    struct Sealed {
        device_id: String,
    }
    if !matches!(record.kind, RecordKind::Def(_)) {
        return Ok(None);
    }
    let sealed = serde_json::from_slice::<Sealed>(record.payload);
    sealed.map(|sealed| Some(sealed.device_id)).map_err(|error| Unreadable(error.to_string()))
}

fn take(data: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        data.extend(more);
    }
}

/// What is told of a record's payload, by the kind of event.
fn fields(kind: EventType) -> &'static [&'static str] {
    match kind {
        EventType::InvoiceSealed => &[
            "invoice_type",
            "pos_terminal_id",
            "cashier_id",
            "original_fiscal_number",
            "tax_groups",
            "totals",
            "tax_manifest_version",
        ],
        EventType::ReportGenerated => {
            // What a Z does not have is `null`.
            &[
                "report",
                "z_number",
                "generated_at",
                "operator",
                "empty",
                "invoices",
                "digest",
                "scope",
                "pos_terminal_id",
                "from_position",
                "to_position",
            ]
        }
        EventType::ShiftClosed => &[
            "shift_id",
            "pos_terminal_id",
            "opened_by",
            "closed_by",
            "opened_at",
            "invoices",
            "digest",
        ],
        EventType::PaymentConfirmed | EventType::PaymentFailed => {
            &["provider", "reference", "status", "amount", "currency", "fiscal_number"]
        }
        EventType::DeviceActivated | EventType::DeviceRevoked => {
            &["device_id", "state", "replaced_by", "version"]
        }
        EventType::InvoiceSyncSuccess | EventType::InvoiceSyncFailed => {
            &["state", "destination", "batch_id", "receipt", "count", "invoices"]
        }
        EventType::BlockMissingNumbers => &["credential_id", "series", "missing"],
        EventType::IntegrityAlert => &["last_known", "last_issued", "skipped"],
        _ => &[],
    }
}

/// The lane of an outlet.
#[must_use]
pub fn lane_of(outlet_id: &str) -> u32 {
    let hash = blake3::hash(outlet_id.as_bytes());
    u32::from_le_bytes(*hash.as_bytes().first_chunk::<4>().expect("a hash is longer"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fiscus_ledger::codec::Writer;
    use fiscus_ledger::commands::{UPLOAD_ITEMS_MAX, UPLOAD_REFUSED_MAX};
    use fiscus_ledger::facts::{Environment, Fact, OutletFact, OutletStatus, SigningMode};
    use fiscus_ledger::invoice::InvoiceType;
    use fiscus_ledger::manifest::Manifest;
    use fiscus_ledger::time::UnixMs;
    use fiscus_proto::ledger::Document;

    use super::*;
    use crate::directory::Tables;
    use crate::directory::documents::kind;
    use crate::webhooks::message;

    /// An outlet whose names are as long as they may be.
    fn outlet() -> OutletEntry {
        let (mut tables, id, nif) = (Tables::default(), "o".repeat(64), "M".repeat(64));
        let mut put = |kind: &str, id: &str, bytes: Vec<u8>| {
            let (kind, id) = (kind.to_owned(), id.to_owned());
            tables.put(&Document { kind, id, version: 1, bytes: bytes.into() });
        };
        let merchant = json!({"nif": nif, "organisation": "org", "name": "x"});
        put(kind::MERCHANT, &nif, merchant.to_string().into_bytes());
        let profile = json!({"outlet_id": id, "name": "x", "region": "r".repeat(64)});
        put(kind::OUTLET_PROFILE, &id, profile.to_string().into_bytes());
        let fact = Fact::Outlet(OutletFact {
            outlet_id: (*id).into(),
            merchant_nif: (*nif).into(),
            prefix: "P".repeat(12).as_str().into(),
            code: "C".repeat(12).as_str().into(),
            group: 1,
            status: OutletStatus::Active,
            environment: Environment::Sandbox,
            signing_mode: SigningMode::Cluster,
        });
        put(kind::OUTLET, &id, fact.encode());
        tables.outlet(&id).expect("it is there")
    }

    /// The number of an invoice, as long as one may be.
    fn number() -> String {
        format!("{}-{}-{}", "P".repeat(12), "C".repeat(12), u64::MAX)
    }

    /// The body of the message that tells a record.
    fn message_of(record_kind: RecordKind, payload: &str) -> (EventType, Option<Bytes>) {
        let (outlet, number) = (outlet(), number());
        let mut record = Record {
            outlet_id: outlet.id(),
            position: u64::MAX,
            leaf_index: u64::MAX,
            kind: record_kind,
            authority_id: &"a".repeat(64),
            fiscal_number: &number,
            timestamp: UnixMs::new(1_795_860_930_123),
            total: "1.00",
            currency: "CDF",
            payload: payload.as_bytes(),
            blind: [0xff; 32],
            prev_hash: [0xff; 32],
            entry_hash: [0; 32],
            submission: None,
        };
        record.entry_hash = record.recomputed_entry_hash();
        let mut bytes = Writer::new();
        record.encode(&mut bytes);
        let event = Event::of(JournalRecord {
            group: 1,
            leaf: u64::MAX,
            record: bytes.finish().into(),
            signature: vec![0xff; 64].into(),
            ..JournalRecord::default()
        });
        let event = event.expect("somebody may want it");
        let data = event.data(&outlet).expect("it can be read");
        (event.kind, message::body(event.kind, event.time_ms, data, Some(u64::MAX)))
    }

    #[test]
    fn as_many_answers_as_a_record_has_fit_into_a_message_whatever_is_said_of_them() {
        let answers = |state: &str, count: usize, reason: Option<&str>| {
            let mut one = json!({"fiscal_number": number(), "position": u64::MAX});
            if let Some(reason) = reason {
                (one["code"], one["reason"]) = (json!("\"".repeat(64)), json!(reason));
            }
            let rest = json!({
                "destination": "\"".repeat(64), "batch_id": "b".repeat(64), "receipt": "\"".repeat(64), "count": count,
                "invoices": vec![one; count],
            });
            // The state comes first, as in a record.
            format!("{{\"state\":\"{state}\",{}", rest.to_string().trim_start_matches('{'))
        };
        for (reason, kept) in [
            ("\"\\".repeat(100), 100),
            ("é".repeat(100), 200),
            ("x".repeat(200), 200),
            (format!("{}\"", "x".repeat(199)), 199),
        ] {
            let payload = answers("rejected", UPLOAD_REFUSED_MAX, Some(&reason));
            let (kind, body) = message_of(RecordKind::Upload, &payload);
            let body: Value = serde_json::from_slice(&body.expect(&reason)).expect("JSON");
            assert_eq!(kind, EventType::InvoiceSyncFailed);
            let told = body["data"]["invoices"][UPLOAD_REFUSED_MAX - 1]["reason"].as_str();
            assert_eq!(told.map(str::len), Some(kept), "{reason}");
        }
        let payload = answers("acknowledged", UPLOAD_ITEMS_MAX, None);
        let (kind, body) = message_of(RecordKind::Upload, &payload);
        assert_eq!((kind, body.is_some()), (EventType::InvoiceSyncSuccess, true));
    }

    #[test]
    fn an_invoice_fits_into_a_message_whatever_its_tax_groups_are_called() {
        // In JSON a control character takes six bytes, and a manifest's names may have them.
        let text = |bytes: usize| "\u{1}".repeat(bytes);
        let manifest = json!({
            "version": text(64), "jurisdiction": "CD", "effective_from": "2026-02-01T00:00:00.000Z",
            "reporting_currency": "CDF",
            "groups": (1..=14).map(|group| json!({
                "code": format!("TG{group:02}"), "name": text(128), "name_fr": "x", "rate": "0.1600", "requires": [],
            })).collect::<Vec<_>>(),
        });
        let manifest = Manifest::parse(&manifest.to_string()).expect("a manifest").to_json();
        let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
        let amount = "10000000000000.00";
        let groups = manifest["groups"].as_array().expect("groups").iter().map(|group| {
            json!({
                "code": group["code"], "name": group["name"], "rate": "0.1600", "base_amount": amount,
                "tax_amount": amount,
            })
        });
        let payload = json!({
            "invoice_type": "export_credit", "pos_terminal_id": "\"".repeat(64), "cashier_id": text(64),
            "original_fiscal_number": number(), "tax_groups": groups.collect::<Vec<_>>(),
            "totals": {
                "subtotal": amount, "total_vat": amount, "total": amount, "currency": "CDF",
                "rounding_adjustment": format!("-{amount}"),
            },
            "tax_manifest_version": text(64),
        });
        let (_, body) =
            message_of(RecordKind::Invoice(InvoiceType::ExportCredit), &payload.to_string());
        let body = body.expect("it fits");
        assert!(body.len() > 14 * 6 * 128, "{}: names count", body.len());
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        for field in fields(EventType::InvoiceSealed) {
            assert_eq!(payload.get(*field), body["data"].get(*field), "{field}");
        }
    }

    #[test]
    fn the_device_that_sealed_is_told() {
        let record = |kind, payload| Record {
            outlet_id: "outlet-gombe",
            position: 1,
            leaf_index: 0,
            kind,
            authority_id: "KIN-1",
            fiscal_number: "KIN-GOMBE-1",
            timestamp: UnixMs::new(1),
            total: "1.00",
            currency: "CDF",
            payload,
            blind: [0; 32],
            prev_hash: [0; 32],
            entry_hash: [0; 32],
            submission: None,
        };
        let payload = br#"{"device_id":"def-1","entry":{},"entry_hash":"","signature":""}"#;
        let sealed = |kind, payload| sealed_by(&record(kind, payload));
        let sale = InvoiceType::Sale;
        assert_eq!(sealed(RecordKind::Def(sale), payload), Ok(Some("def-1".to_owned())));
        assert_eq!(sealed(RecordKind::Invoice(sale), payload), Ok(None));
        assert!(sealed(RecordKind::Def(sale), b"{}").is_err());
    }
}
