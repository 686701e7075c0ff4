//! Makes an example of a schema from the examples of its fields.

use serde_json::{Map, Value, json};

/// Schemas nest less deep; one that contains itself ends here.
const DEPTH_MAX: usize = 12;

/// An example of a schema; `document` holds what it refers to.
#[must_use]
pub(super) fn example(schema: &Value, document: &Value) -> Value {
    of(schema, document, 0)
}

/// What a reference within the document leads to, or the value itself.
pub(super) fn resolve<'d>(value: &'d Value, document: &'d Value) -> &'d Value {
    let reference = value.get("$ref").and_then(Value::as_str);
    let target = reference.and_then(|to| document.pointer(to.strip_prefix('#')?));
    target.unwrap_or(value)
}

fn of(schema: &Value, document: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    for key in ["example", "const", "default"] {
        if let Some(value) = schema.get(key) {
            return value.clone();
        }
    }
    for key in ["examples", "enum"] {
        if let Some(value) = schema.get(key).and_then(|list| list.get(0)) {
            return value.clone();
        }
    }
    if schema.get("$ref").is_some() {
        return of(resolve(schema, document), document, depth + 1);
    }
    for key in ["oneOf", "anyOf"] {
        let choices = schema.get(key).and_then(Value::as_array);
        let solid = |choice: &&Value| choice.get("type") != Some(&json!("null"));
        if let Some(first) = choices.and_then(|list| list.iter().find(solid)) {
            return of(first, document, depth + 1);
        }
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let parts = parts.iter().map(|part| of(part, document, depth + 1));
        let fields = parts.filter_map(|part| part.as_object().cloned()).flatten();
        return Value::Object(fields.collect());
    }
    typed(schema, document, depth)
}

fn typed(schema: &Value, document: &Value, depth: usize) -> Value {
    match kind(schema) {
        "object" => {
            let mut fields = Map::new();
            for (name, field) in
                schema.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                fields.insert(name.clone(), of(field, document, depth + 1));
            }
            Value::Object(fields)
        }
        "array" => match schema.get("items") {
            Some(items) if items.is_object() => json!([of(items, document, depth + 1)]),
            _ => json!([]),
        },
        "string" => match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => json!("2026-11-28T10:15:30.123Z"),
            Some("date") => json!("2026-11-28"),
            _ => json!("text"),
        },
        "integer" | "number" => {
            schema.get("minimum").filter(|least| **least != json!(0)).cloned().unwrap_or(json!(1))
        }
        "boolean" => json!(false),
        _ => json!({}),
    }
}

/// A schema's type; of several, the one that is not null.
pub(super) fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("")
        }
        _ if schema.get("properties").is_some() => "object",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_made_of_its_fields_examples() {
        let document =
            json!({"components": {"schemas": {"Money": {"type": "string", "example": "10.00"}}}});
        let schema = json!({
            "type": "object",
            "properties": {
                "total": {"$ref": "#/components/schemas/Money"},
                "note": {"type": ["string", "null"]},
                "state": {"type": "string", "enum": ["open", "closed"]},
                "either": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Money"}]},
                "list": {"type": "array", "items": {"type": "integer", "minimum": 3}},
            },
        });
        let made = example(&schema, &document);
        let wanted = json!({"total": "10.00", "note": "text", "state": "open", "either": "10.00", "list": [3]});
        assert_eq!(made, wanted);
    }

    #[test]
    fn a_schema_within_itself_ends() {
        let document = json!({"components": {"schemas": {"Tree": {
            "type": "object", "properties": {"left": {"$ref": "#/components/schemas/Tree"}},
        }}}});
        let made = example(&json!({"$ref": "#/components/schemas/Tree"}), &document);
        assert!(made.pointer("/left/left/left").is_some());
    }
}
