//! The catalogue of events: their names, what they mean, an example of each, and schemas that are made of the
//! examples.

mod examples;

use std::collections::BTreeSet;

use serde_json::{Value, json};

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
    /// Invoices of an outlet wait for the tax authority's answer for longer than the grace period that the operator has set.
    InvoiceSyncOverdue = "invoice.sync.overdue",
    /// A report was made, and can be read: a Z closes a day, an X looks at an outlet, a shift or a terminal, an A lists
    /// the lines of a range.
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
    /// A device of an outlet, or its proxy, needs a person: it does not answer, it is not as it is
    /// registered, what it sealed is not taken, or its certificate ends soon.
    DeviceUnhealthy = "device.unhealthy",
    /// No device of an outlet is heard of any more: it sells with numbers that were lent to it before, or not at all.
    OutletOfflineAlert = "outlet.offline_alert",
    /// A block of numbers was closed and some of them never came back.
    BlockMissingNumbers = "block.missing_numbers",
    /// Something of the journal is to be explained: numbers were skipped after a restore, and an auditor will ask for the
    /// evidence; or a node has found what it holds damaged, or another than its peers hold.
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
        self.examples().swap_remove(0)
    }

    /// Examples of its data in all its forms; the first one is the one to show.
    #[must_use]
    pub fn examples(self) -> Vec<Value> {
        let mut examples = examples::of(self);
        if let [only] = &mut *examples
            && only["sequence"] != Value::Null
        {
            // A replay has none.
            let replayed = with(only.clone(), json!({"sequence": null}));
            examples.push(replayed);
        }
        examples
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
                "data": schema_of(&self.examples().iter().collect::<Vec<_>>()),
            },
        })
    }
}

/// A value with some of its fields replaced or added.
pub(super) fn with(mut data: Value, own: Value) -> Value {
    if let (Value::Object(data), Value::Object(own)) = (&mut data, own) {
        data.extend(own);
    }
    data
}

/// The schema that all these values fit: what is `null` in one may be so, and what one lacks need not be there.
fn schema_of(examples: &[&Value]) -> Value {
    let mut types = BTreeSet::new();
    for example in examples {
        types.insert(match example {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        });
    }
    if types.len() == 1 && types.contains("null") {
        types.insert("string");
    }
    let mut schema = match types.len() {
        1 => json!({"type": types.first()}),
        _ => json!({"type": types}),
    };
    if types.contains("array") {
        let items: Vec<&Value> = examples.iter().filter_map(|it| it.as_array()).flatten().collect();
        schema["items"] = if items.is_empty() { json!({}) } else { schema_of(&items) };
    }
    if types.contains("object") {
        let objects: Vec<_> = examples.iter().filter_map(|it| it.as_object()).collect();
        let names: BTreeSet<&String> = objects.iter().flat_map(|it| it.keys()).collect();
        let everywhere = |name: &&&String| objects.iter().all(|it| it.contains_key(**name));
        schema["required"] = names.iter().filter(everywhere).map(|name| json!(name)).collect();
        let properties = names.iter().map(|name| {
            let values: Vec<&Value> = objects.iter().filter_map(|it| it.get(*name)).collect();
            ((*name).clone(), schema_of(&values))
        });
        schema["properties"] = Value::Object(properties.collect());
    }
    schema
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

    #[test]
    fn a_schema_says_what_may_be_missing_and_what_may_be_nothing() {
        let (one, two) = (json!({"a": 1, "b": [], "c": {"d": "x"}}), json!({"a": null, "b": [1]}));
        let expected = json!({
            "type": "object", "required": ["a", "b"], "properties": {
                "a": {"type": ["integer", "null"]},
                "b": {"type": "array", "items": {"type": "integer"}},
                "c": {"type": "object", "required": ["d"], "properties": {"d": {"type": "string"}}},
            },
        });
        assert_eq!(schema_of(&[&one, &two]), expected);
        let report = EventType::ReportGenerated.schema();
        let data = &report["properties"]["data"]["properties"];
        assert_eq!(data["tree_index"]["type"], json!(["integer", "null"]));
        assert_eq!(data["sequence"]["type"], json!(["integer", "null"]));
    }
}
