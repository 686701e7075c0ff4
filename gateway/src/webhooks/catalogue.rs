//! The catalogue of events: their names, what they mean, an example of each, and schemas that are made of the
//! examples.

use serde_json::{Map, Value, json};

/// The version of the catalogue: it rises when an event loses or changes a field, never when one is added.
pub const VERSION: u32 = 1;

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// What can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum EventType { $($(#[doc = $doc])+ $variant,)+ }

        impl EventType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in payloads.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads a name.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }

            /// What it means.
            #[must_use]
            pub fn description(self) -> String {
                let text: &[&str] = match self { $(Self::$variant => &[$($doc),+],)+ };
                text.concat().trim().to_owned()
            }
        }
    };
}

events! {
    /// An invoice was sealed: it has its number and its signature.
    InvoiceSealed = "invoice.sealed",
    /// The tax authority has acknowledged invoices of an outlet, up to 100 at once.
    InvoiceSyncSuccess = "invoice.sync.success",
    /// The tax authority has refused invoices of an outlet, or could not take them again and again; each with its reason.
    InvoiceSyncFailed = "invoice.sync.failed",
    /// A day was closed: its Z report can be read.
    ReportGenerated = "report.generated",
    /// A provider has confirmed a payment.
    PaymentConfirmed = "payment.confirmed",
    /// A payment has failed or was reversed.
    PaymentFailed = "payment.failed",
    /// A shift was closed.
    ShiftClosed = "shift.closed",
    /// A fiscal device was activated.
    DeviceActivated = "device.activated",
    /// A fiscal device was revoked or replaced, for ever.
    DeviceRevoked = "device.revoked",
    /// A block of numbers was closed and some of them never came back.
    BlockMissingNumbers = "block.missing_numbers",
    /// Numbers were skipped after a restore; an auditor will ask for the evidence.
    IntegrityAlert = "integrity.alert",
    /// Somebody wants to see whether an endpoint is reached.
    EndpointTest = "endpoint.test",
    /// Another endpoint of the organisation was disabled, because it failed for too long or said that it is gone.
    EndpointDisabled = "endpoint.disabled",
}

impl EventType {
    /// An example of its data.
    #[must_use]
    pub fn example(self) -> Value {
        let mut data = match self {
            Self::EndpointTest => {
                return json!({"endpoint_id": "5b2c7f0a91d34e6688aa1020", "sequence": null});
            }
            Self::EndpointDisabled => {
                return json!({
                    "endpoint_id": "5b2c7f0a91d34e6688aa1020", "url": "https://erp.example.cd:443",
                    "reason": "failing", "sequence": 7,
                });
            }
            _ => common_example(),
        };
        let own = match self {
            Self::InvoiceSealed => json!({
                "fiscal_number": "KIN-GOMBE-42", "invoice_type": "sale", "pos_terminal_id": "till-1",
                "cashier_id": "cashier-7", "device_id": null, "original_fiscal_number": null,
                "tax_groups": [{
                    "code": "TG02", "name": "Standard VAT, goods", "rate": "0.1600", "base_amount": "1000.00",
                    "tax_amount": "160.00",
                }],
                "totals": {
                    "subtotal": "1000.00", "total_vat": "160.00", "total": "1160.00", "currency": "CDF",
                    "rounding_adjustment": "0.00",
                },
                "tax_manifest_version": "2026-02-01", "auth_code": "7Q4X-1M8K-ZC0D-3J5W", "signature": "9f1c…",
            }),
            Self::InvoiceSyncSuccess => json!({
                "state": "acknowledged", "destination": "dgi", "batch_id": "bat_1f0c…", "receipt": null, "count": 1,
                "invoices": [{"fiscal_number": "KIN-GOMBE-42", "position": 57}], "record_kind": "upload_event",
            }),
            Self::InvoiceSyncFailed => json!({
                "state": "rejected", "destination": "dgi", "batch_id": "bat_1f0c…", "receipt": null, "count": 1,
                "invoices": [{
                    "fiscal_number": "KIN-GOMBE-42", "position": 57, "code": "NIF_UNKNOWN",
                    "reason": "the buyer is not registered",
                }],
                "record_kind": "upload_event",
            }),
            Self::ReportGenerated => json!({
                "report": "z", "z_number": 12, "generated_at": "2026-11-28T20:00:00.000Z", "operator": "cashier-7",
                "empty": false, "invoices": 42, "digest": "5d41…", "record_kind": "z_closure",
            }),
            Self::PaymentConfirmed | Self::PaymentFailed => json!({
                "provider": "mpesa", "reference": "MP-7781",
                "status": if self == Self::PaymentConfirmed { "confirmed" } else { "failed" },
                "amount": "1160.00", "currency": "CDF", "fiscal_number": "KIN-GOMBE-42",
                "record_kind": "payment_event",
            }),
            Self::ShiftClosed => json!({
                "shift_id": "shift-9", "pos_terminal_id": "till-1", "opened_by": "cashier-7",
                "closed_by": "cashier-7", "opened_at": "2026-11-28T07:00:00.000Z", "invoices": 42, "digest": "5d41…",
                "record_kind": "shift_close",
            }),
            Self::DeviceActivated | Self::DeviceRevoked => json!({
                "device_id": "def-gombe-1",
                "state": if self == Self::DeviceActivated { "active" } else { "revoked" },
                "replaced_by": null, "version": 2, "record_kind": "device_event",
            }),
            Self::BlockMissingNumbers => json!({
                "credential_id": "cred-7f2c", "series": "KIN-GOMBE", "missing": [[17, 18]],
                "record_kind": "numbers_missing",
            }),
            _ => json!({
                "last_known": 40, "last_issued": 42, "skipped": [[41, 42]], "record_kind": "recovery_gap",
            }),
        };
        if let (Value::Object(data), Value::Object(own)) = (&mut data, own) {
            data.extend(own);
        }
        data
    }

    /// The schema of its messages.
    #[must_use]
    pub fn schema(self) -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": format!("urn:fiscus:webhook:v{VERSION}:{}", self.as_str()),
            "title": self.as_str(),
            "description": self.description(),
            "type": "object",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"const": self.as_str()},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": schema_of(&self.example()),
            },
        })
    }
}

fn common_example() -> Value {
    json!({
        "outlet_id": "outlet-gombe", "branch": "KIN-GOMBE", "region": "kinshasa", "environment": "live",
        "group": 1, "tree_index": 4711, "position": 99, "record_kind": "sale",
        "fiscal_authority_id": "demo.29d1c0ffee15900d", "record_hash": "3b8f…", "previous_hash": "77c0…",
        "sequence": 1287,
    })
}

/// The schema of a value like this one: what is `null` here may be a text, and a sequence may be missing.
fn schema_of(example: &Value) -> Value {
    match example {
        Value::Null => json!({"type": ["string", "null"]}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::String(_) => json!({"type": "string"}),
        Value::Array(items) => {
            json!({"type": "array", "items": items.first().map_or(json!({}), schema_of)})
        }
        Value::Object(fields) => {
            let required: Vec<&String> = fields.keys().collect();
            let properties = fields.iter().map(|(name, value)| {
                let nullable = ["sequence", "fiscal_number"].contains(&name.as_str());
                let schema = match (name.as_str(), value) {
                    ("sequence", _) => json!({"type": ["integer", "null"]}),
                    (_, Value::String(_)) if nullable => json!({"type": ["string", "null"]}),
                    _ => schema_of(value),
                };
                (name.clone(), schema)
            });
            json!({"type": "object", "required": required, "properties": properties.collect::<Map<_, _>>()})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_name_a_sentence_and_a_schema_of_its_example() {
        for event in EventType::ALL {
            assert_eq!(EventType::parse(event.as_str()), Some(*event));
            assert!(event.description().ends_with('.'), "{event:?}");
            let schema = event.schema();
            assert_eq!(schema["properties"]["type"]["const"], event.as_str());
            assert!(
                schema["properties"]["data"]["properties"]["sequence"].is_object(),
                "{event:?}"
            );
        }
    }
}
