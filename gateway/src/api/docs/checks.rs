//! What every operation must say of itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::errors::code_page;
use super::example::resolve;
use super::finish::{finish, is_public, operations};
use super::reference::reference;
use crate::access::Scope;

fn document() -> Value {
    finish(&crate::api::described().into_openapi())
}

fn has_example(operation: &Value, document: &Value) -> bool {
    let bodies = operation.pointer("/requestBody/content").into_iter();
    let answers = operation["responses"].as_object().into_iter().flatten();
    let contents = bodies
        .chain(answers.filter_map(|(_, response)| resolve(response, document).get("content")));
    let mut medias = contents.filter_map(Value::as_object).flat_map(|content| content.values());
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let mut holders = medias.by_ref().chain(parameters);
    holders.any(|holder| holder.get("example").is_some() || holder.get("examples").is_some())
}

#[test]
fn every_operation_is_described_in_full() {
    let document = document();
    let mut ids = BTreeSet::new();
    let all = operations(&document["paths"]);
    assert!(all.len() >= 6, "the operations are found");
    for (path, method, operation) in all {
        let at = format!("{method} {path}");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty(), "{at}: a summary");
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id.to_owned()), "{at}: the id {id} is not the only one");
        let tags = operation["tags"].as_array().expect("tags");
        let known = document["tags"].as_array().expect("tags");
        assert!(
            tags.len() == 1 && known.iter().any(|tag| tag["name"] == tags[0]),
            "{at}: the tag {tags:?} is one of api/docs/tags.rs"
        );
        assert!(has_example(operation, &document), "{at}: an example");
        for status in ["4XX", "5XX"] {
            assert!(operation["responses"].get(status).is_some(), "{at}: {status}");
        }
        for code in operation["x-codes"].as_array().expect("codes") {
            let code = code.as_str().expect("a code");
            assert!(code_page(code).is_some(), "{at}: {code} has a page in docs/errors");
        }
    }
}

#[test]
fn every_operation_is_public_or_names_its_scope() {
    let document = document();
    for (path, method, operation) in operations(&document["paths"]) {
        let scopes = operation["security"].as_array().into_iter().flatten();
        let scopes: Vec<&Value> =
            scopes.filter_map(|one| one["api_key"].as_array()).flatten().collect();
        let known = scopes.iter().all(|scope| scope.as_str().and_then(Scope::parse).is_some());
        assert!(known, "{method} {path}: {scopes:?} are scopes");
        assert!(
            is_public(operation) || !scopes.is_empty(),
            "{method} {path}: security((\"api_key\" = [\"a:scope\"])) or security(())"
        );
    }
}

/// Everything that is referred to is there.
#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        if let Some(place) = value["$ref"].as_str() {
            assert!(document.pointer(&place[1..]).is_some(), "{place}");
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|field| walk(field, document)),
            Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
}

#[test]
fn the_reference_shows_every_operation_and_schema() {
    let document = document();
    let page = reference(&document);
    assert!(!page.contains("<script"), "it needs no script");
    for (_, _, operation) in operations(&document["paths"]) {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
    }
    for link in page.split("href=\"#").skip(1) {
        let target = link.split('"').next().expect("the end of a link");
        assert!(page.contains(&format!("id=\"{target}\"")), "#{target} leads somewhere");
    }
}

/// The name under which a type is described, of a line that declares one.
fn described_name(line: &str, renamed: Option<&str>) -> Option<String> {
    let mut words = line.split_whitespace().filter(|_| !line.starts_with("//"));
    let declared = words.find(|word| ["struct", "enum"].contains(word)).and(words.next())?;
    let end = |c: char| !c.is_ascii_alphanumeric();
    Some(renamed.unwrap_or(declared).split(end).next().unwrap_or_default().to_owned())
}

/// Every type with a schema, by the name that the document gives it.
fn described_types(folder: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            described_types(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        let (mut described, mut renamed) = (false, None);
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[derive(") {
                (described, renamed) = (line.contains("ToSchema"), None);
            } else if let Some((_, name)) = line.split_once("schema(as = ") {
                renamed = Some(name);
            } else if let Some(name) = described_name(line, renamed).filter(|_| described) {
                found.push(name);
                (described, renamed) = (false, None);
            }
        }
    }
}

/// Of two schemas with one name the document would hold one, and describe both with it.
#[test]
fn no_two_types_share_the_name_of_a_schema() {
    let mut found = Vec::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    described_types(&folder, &mut found);
    found.sort();
    assert!(found.len() > 50, "the types are found");
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for shared in found.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]) {
        let named = schemas.keys().find(|name| name.split('_').any(|part| part == shared));
        assert_eq!(
            named, None,
            "two types are called {shared}: give one another name, or inline both"
        );
    }
}

/// A value is of one type: parts of different types together allow nothing.
#[test]
fn no_schema_asks_for_two_types_at_once() {
    fn walk(value: &Value, at: &str) {
        let parts = value["allOf"].as_array().into_iter().flatten();
        let kinds: BTreeSet<String> =
            parts.filter_map(|part| part.get("type")).map(Value::to_string).collect();
        assert!(kinds.len() < 2, "{at}: {kinds:?}");
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, field)| walk(field, &format!("{at}/{name}")));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, at)),
            _ => {}
        }
    }
    walk(&document(), "");
}
