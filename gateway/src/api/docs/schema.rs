//! Schemas as HTML: what a value is in a few words, and the fields of an object as a table.

use serde_json::Value;

use super::curl::body_example;
use super::example::kind;
use super::markdown;
use crate::render::escape;

/// What a value is, with a link to its schema where it has a name.
#[must_use]
pub(super) fn words(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[key].as_array() {
            let joint = if key == "allOf" { " and " } else { " or " };
            return choices.iter().map(words).collect::<Vec<_>>().join(joint);
        }
    }
    if let Some(allowed) = schema["enum"].as_array() {
        let allowed = allowed.iter().map(|one| format!("<code>{}</code>", escape(&plain(one))));
        return allowed.collect::<Vec<_>>().join(", ");
    }
    let nullable =
        schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"));
    let word = match kind(schema) {
        "array" => format!("list of {}", words(&schema["items"])),
        "object" => match schema.get("additionalProperties").filter(|more| more.is_object()) {
            Some(more) => format!("object of {}", words(more)),
            None => "object".to_owned(),
        },
        "" if schema["type"] == "null" => "null".to_owned(),
        "" => "any JSON".to_owned(),
        other => escape(other),
    };
    if nullable { format!("{word} or null") } else { word }
}

/// The bounds of a value, where it states some.
fn bounds(schema: &Value) -> String {
    let known = [
        ("minLength", "at least", "characters"),
        ("maxLength", "at most", "characters"),
        ("minimum", "from", ""),
        ("maximum", "to", ""),
        ("minItems", "at least", "items"),
        ("maxItems", "at most", "items"),
        ("pattern", "matches", ""),
    ];
    let told = known.iter().filter_map(|(key, before, after)| {
        let value = schema.get(*key).filter(|value| **value != 0)?;
        Some(
            format!("{before} <code>{}</code> {after}", escape(&plain(value)))
                .trim_end()
                .to_owned(),
        )
    });
    told.collect::<Vec<_>>().join(", ")
}

/// What is said of a value: its description, its bounds, its default.
#[must_use]
pub(super) fn remarks(value: &Value, schema: &Value) -> String {
    let text = value["description"].as_str().or_else(|| schema["description"].as_str());
    let mut parts = vec![text.map(markdown::inline).unwrap_or_default(), bounds(schema)];
    if let Some(default) = schema.get("default") {
        parts.push(format!("default <code>{}</code>", escape(&plain(default))));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// A named schema.
#[must_use]
pub(super) fn section(name: &str, schema: &Value) -> String {
    let name = escape(name);
    let description =
        schema["description"].as_str().map(|text| markdown::html(text, 4)).unwrap_or_default();
    let body = match fields(schema) {
        Some(table) => table,
        None => format!("<p>{}</p>", words(schema)),
    };
    format!(
        "<section class=\"schema\" id=\"schema-{name}\"><h3>{name}<a class=\"anchor\" href=\"#schema-{name}\" \
         aria-label=\"Link to {name}\">#</a></h3>{description}{body}</section>\n"
    )
}

/// The fields of an object; none when it has no names for them.
fn fields(schema: &Value) -> Option<String> {
    let fields = schema["properties"].as_object()?;
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let mut rows = String::new();
    for (name, field) in fields {
        let sample = body_example(field).map(|text| format!("<code>{}</code>", escape(&text)));
        rows += &format!(
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            words(field),
            if is_required(name) { "yes" } else { "no" },
            remarks(field, field),
            sample.unwrap_or_default(),
        );
    }
    Some(format!(
        "<div class=\"scroll\" tabindex=\"0\"><table><tr><th scope=\"col\">field</th><th scope=\"col\">type</th>\
         <th scope=\"col\">always there</th><th scope=\"col\">what it is</th><th scope=\"col\">example</th></tr>{rows}</table></div>"
    ))
}

/// A value without the quotes of a text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
