//! Finishes the document that the handlers make: what all operations have in common is said once, here.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::example::{example, resolve};
use super::tags::TAGS;
use crate::http::problems::{REFUSED, UNAVAILABLE};
use crate::webhooks::catalogue::EventType;

/// The words that OpenAPI has for methods.
pub(super) const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];
const PROBLEM_JSON: &str = "application/problem+json";

/// The document that is served: ids that are unique, examples everywhere, and what goes for all operations.
#[must_use]
pub(super) fn finish(openapi: &OpenApi) -> Value {
    let mut document = serde_json::to_value(openapi).expect("a description is JSON");
    document["servers"] = json!([{"url": "/", "description": "This gateway"}]);
    document["security"] = json!([{"api_key": []}]);
    let components = object(&mut document["components"]);
    components.insert("securitySchemes".to_owned(), security_schemes());
    components.insert("headers".to_owned(), headers());
    components.insert("responses".to_owned(), problem_responses());
    let mut paths = document["paths"].take();
    for (_, item) in object(&mut paths) {
        for (method, operation) in object(item) {
            if METHODS.contains(&method.as_str()) {
                dress(method, operation, &document);
            }
        }
    }
    let used = |tag: &str| {
        let operations = operations(&paths);
        operations.iter().any(|(_, _, operation)| {
            operation["tags"].as_array().is_some_and(|tags| tags.contains(&json!(tag)))
        })
    };
    let tags = TAGS.iter().filter(|(name, _)| used(name));
    document["tags"] =
        tags.map(|(name, text)| json!({"name": name, "description": text})).collect();
    document["paths"] = paths;
    document["webhooks"] =
        EventType::ALL.iter().map(|it| (it.as_str().to_owned(), told(*it))).collect();
    document
}

/// An event as OpenAPI describes it: a request that a receiver of somebody's answers.
fn told(event: EventType) -> Value {
    let mut schema = event.schema();
    // It is a part of this document, whose dialect is the same.
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
    }
    let example = json!({
        "type": event.as_str(), "timestamp": "2026-11-28T10:15:30.123Z", "data": event.example(),
    });
    json!({"post": {
        "summary": event.as_str(),
        "description": event.description(),
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": schema, "example": example}},
        },
        "responses": {"2XX": {"description": "It was taken. Anything else is a failure, and tried again"}},
    }})
}

/// All operations: path, method, and what is said of them.
pub(super) fn operations(paths: &Value) -> Vec<(&str, &str, &Value)> {
    let items = paths.as_object().into_iter().flatten();
    let all = items.flat_map(|(path, item)| {
        let known = item.as_object().into_iter().flatten();
        let known = known.filter(|(method, _)| METHODS.contains(&method.as_str()));
        known.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.collect()
}

/// Whether an operation is for everybody.
pub(super) fn is_public(operation: &Value) -> bool {
    operation["security"].as_array().is_some_and(|all| all.iter().any(|one| *one == json!({})))
}

/// A value that is known to be an object, or becomes one.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it is one now")
}

fn dress(method: &str, operation: &mut Value, document: &Value) {
    let tag = operation["tags"][0].as_str().unwrap_or("api").replace('-', "_");
    let name = operation["operationId"].as_str().unwrap_or(method);
    operation["operationId"] = json!(format!("{tag}_{name}"));
    operation["x-codes"] = json!(codes(method, operation));
    if let Some(body) = operation.get_mut("requestBody") {
        give_examples(body, document);
    }
    let public = is_public(operation);
    for (status, response) in object(&mut operation["responses"]) {
        if response.get("$ref").is_some() {
            continue;
        }
        give_examples(response, document);
        let headers = object(&mut response["headers"]);
        let mut name = |name: &str| {
            let place = format!("#/components/headers/{name}");
            headers.entry(name).or_insert_with(|| json!({"$ref": place}));
        };
        name("X-Request-Id");
        if status.starts_with('2') && !public {
            for header in ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"] {
                name(header);
            }
        }
    }
}

/// The codes that an operation's form brings with it, and its own.
fn codes(method: &str, operation: &Value) -> Vec<String> {
    let mut codes: Vec<&str> =
        vec!["RATE_LIMITED", "OVERLOADED", "CLUSTER_UNAVAILABLE", "INTERNAL_ERROR"];
    if !is_public(operation) {
        codes.extend(["UNAUTHENTICATED", "SCOPE_MISSING"]);
    }
    if !["get", "head"].contains(&method) {
        codes.extend(["OUTCOME_UNKNOWN", "CLUSTER_BUSY"]);
    }
    if operation.get("requestBody").is_some() {
        codes.extend([
            "BODY_TOO_LARGE",
            "CONTENT_TYPE_UNSUPPORTED",
            "JSON_INVALID",
            "JSON_DUPLICATE_KEY",
            "UTF8_INVALID",
        ]);
        codes.extend(["FIELD_UNKNOWN", "FIELD_MISSING", "FIELD_INVALID"]);
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" {
            codes.extend(["PARAMETER_UNKNOWN", "PARAMETER_INVALID"]);
        }
        if parameter["in"] == "path" {
            codes.push("PARAMETER_INVALID");
        }
        if parameter["name"] == "Idempotency-Key" {
            codes.extend(["IDEMPOTENCY_KEY_INVALID", "IDEMPOTENCY_CONFLICT"]);
            if parameter["required"] == true {
                codes.push("IDEMPOTENCY_KEY_REQUIRED");
            }
        }
        if parameter["name"] == "cursor" {
            codes.push("CURSOR_INVALID");
        }
    }
    let own = operation["x-codes"].as_array().into_iter().flatten();
    codes.extend(own.filter_map(Value::as_str));
    codes.sort_unstable();
    codes.dedup();
    codes.into_iter().map(str::to_owned).collect()
}

/// JSON without an example gets the one that its schema makes.
fn give_examples(holder: &mut Value, document: &Value) {
    let Some(content) = holder.get_mut("content") else { return };
    for (kind, media) in object(content) {
        let json = kind == "application/json" || kind.ends_with("+json");
        let has = media.get("example").is_some() || media.get("examples").is_some();
        if let (true, false, Some(schema)) = (json, has, media.get("schema")) {
            let made = example(resolve(schema, document), document);
            media["example"] = made;
        }
    }
}

fn security_schemes() -> Value {
    json!({"api_key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "fsk_{id}_{secret}",
        "description": "An API key. What it may do is the scopes of its role; each operation names the one that it needs.",
    }})
}

fn headers() -> Value {
    let text = |description: &str, example: &str| json!({"description": description, "schema": {"type": "string"}, "example": example});
    let count = |description: &str, example: u32| json!({"description": description, "schema": {"type": "integer"}, "example": example});
    json!({
        "X-Request-Id": text("The request, as the operator's log names it; send one to choose it", "7d0c5f0a9b3e4c21f6a8d2e1"),
        "RateLimit-Limit": count("Requests in a window", 300),
        "RateLimit-Remaining": count("What is left of it", 299),
        "RateLimit-Reset": count("Seconds until it is whole again", 1),
        "Retry-After": count("Seconds to wait before the request is sent again", 1),
    })
}

fn problem_responses() -> Value {
    let problem = |status: u16, title: &str, code: &str, detail: &str| {
        let errors = json!([]);
        json!({"value": {
            "type": format!("/docs/errors/{code}"), "title": title, "status": status, "code": code, "detail": detail,
            "instance": "/api/v1/invoices", "errors": errors, "request_id": "7d0c5f0a9b3e4c21f6a8d2e1",
        }})
    };
    let mut parameter = problem(400, "Bad Request", "PARAMETER_INVALID", "limit must be 1 to 500");
    parameter["value"]["errors"] = json!([{"pointer": "limit", "code": "PARAMETER_INVALID", "detail": "limit must be 1 to 500"}]);
    let refused = json!({
        "PARAMETER_INVALID": parameter,
        "UNAUTHENTICATED": problem(401, "Unauthorized", "UNAUTHENTICATED", "send a valid API key as `Authorization: Bearer <key>`; this one is missing, unknown, expired or revoked"),
        "RATE_LIMITED": problem(429, "Too Many Requests", "RATE_LIMITED", "this key may ask 60 times a window and has; wait as Retry-After says"),
    });
    let unavailable = json!({
        "CLUSTER_UNAVAILABLE": problem(503, "Service Unavailable", "CLUSTER_UNAVAILABLE", "the ledger cannot be reached now; nothing was done; send the request again"),
        "OUTCOME_UNKNOWN": problem(503, "Service Unavailable", "OUTCOME_UNKNOWN", "it is not known whether this was done; send the same request with the same Idempotency-Key until there is an answer"),
    });
    let response = |description: &str, examples: Value| {
        json!({
            "description": description,
            "headers": {
                "X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"},
                "Retry-After": {"$ref": "#/components/headers/Retry-After"},
            },
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
        })
    };
    json!({
        REFUSED: response("Refused: nothing was changed. `code` says why, and its page what to do", refused),
        UNAVAILABLE: response("No answer now: send it again, a change with the same Idempotency-Key", unavailable),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operation_is_like_says_which_codes_it_may_answer() {
        let operation = json!({
            "security": [{}],
            "parameters": [{"name": "cursor", "in": "query"}],
            "x-codes": ["INVOICE_UNKNOWN"],
        });
        let codes = codes("get", &operation);
        for code in ["CURSOR_INVALID", "INVOICE_UNKNOWN", "PARAMETER_UNKNOWN", "RATE_LIMITED"] {
            assert!(codes.iter().any(|known| known == code), "{code}");
        }
        for code in ["UNAUTHENTICATED", "OUTCOME_UNKNOWN", "BODY_TOO_LARGE"] {
            assert!(!codes.iter().any(|known| known == code), "{code}");
        }
    }
}
