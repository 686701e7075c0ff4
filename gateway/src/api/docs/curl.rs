//! A command that sends an operation's example, to be copied.

use serde_json::Value;

use super::example::{example, resolve};
use super::finish::is_public;

/// The command; `$FISCUS` is the gateway, `$FISCUS_KEY` a key.
#[must_use]
pub(super) fn curl(path: &str, method: &str, operation: &Value, document: &Value) -> String {
    let mut url = path.to_owned();
    let mut query = Vec::new();
    let mut words = vec!["curl".to_owned()];
    if method != "get" {
        words.push(format!("-X {}", method.to_uppercase()));
    }
    let mut headers = Vec::new();
    if !is_public(operation) {
        headers.push("-H \"Authorization: Bearer $FISCUS_KEY\"".to_owned());
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let parameter = resolve(parameter, document);
        let name = parameter["name"].as_str().unwrap_or_default();
        let value = parameter_example(parameter, document);
        match (parameter["in"].as_str(), parameter["required"] == true) {
            (Some("path"), _) => url = url.replace(&format!("{{{name}}}"), &percent(&value)),
            (Some("query"), true) => query.push(format!("{name}={}", percent(&value))),
            (Some("header"), true) if name == "Idempotency-Key" => {
                headers.push("-H \"Idempotency-Key: $(uuidgen)\"".to_owned());
            }
            (Some("header"), true) => {
                headers.push(format!("-H {}", quoted(&format!("{name}: {value}"))));
            }
            _ => {}
        }
    }
    if !query.is_empty() {
        url = format!("{url}?{}", query.join("&"));
    }
    let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
    let media = content.and_then(|content| {
        content.get_key_value("application/json").or_else(|| content.iter().next())
    });
    if let Some((kind, media)) = media {
        headers.push(format!("-H {}", quoted(&format!("Content-Type: {kind}"))));
        let sample = body_example(media);
        headers.push(match sample {
            Some(sample) => format!("-d {}", quoted(&sample)),
            None => "--data-binary @file".to_owned(),
        });
    }
    words.push(format!("\"$FISCUS{url}\""));
    let mut lines = vec![words.join(" ")];
    lines.extend(headers);
    lines.join(" \\\n  ")
}

/// The example of a body, as text.
pub(super) fn body_example(media: &Value) -> Option<String> {
    let named = media["examples"].as_object().and_then(|all| all.values().next());
    let found = media.get("example").or_else(|| named?.get("value"))?;
    Some(match found {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).expect("an example is JSON"),
    })
}

/// The example of a parameter, as text.
pub(super) fn parameter_example(parameter: &Value, document: &Value) -> String {
    let own = parameter.get("example").cloned();
    let found = own.unwrap_or_else(|| example(&parameter["schema"], document));
    match found {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A word that the shell takes as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What stands in a URL, within double quotes of a shell.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_has_all_that_is_required() {
        let operation = json!({
            "parameters": [
                {"name": "fiscal_number", "in": "path", "required": true, "example": "KIN-GOMBE-1"},
                {"name": "Idempotency-Key", "in": "header", "required": true},
                {"name": "limit", "in": "query", "required": false},
            ],
            "requestBody": {"content": {"application/json": {"example": {"reason": "it's wrong"}}}},
        });
        let made = curl("/api/v1/invoices/{fiscal_number}/void", "post", &operation, &json!({}));
        let wanted = "curl -X POST \"$FISCUS/api/v1/invoices/KIN-GOMBE-1/void\" \\\n  \
                      -H \"Authorization: Bearer $FISCUS_KEY\" \\\n  \
                      -H \"Idempotency-Key: $(uuidgen)\" \\\n  \
                      -H 'Content-Type: application/json' \\\n  \
                      -d '{\n  \"reason\": \"it'\\''s wrong\"\n}'";
        assert_eq!(made, wanted);
    }
}
