//! The reference: the OpenAPI document as one page that works without scripts and without a network.

use serde_json::Value;

use super::curl::{body_example, curl, parameter_example};
use super::example::resolve;
use super::finish::{is_public, operations};
use super::page::page;
use super::{markdown, schema};
use crate::render::escape;

/// The page.
#[must_use]
pub(super) fn reference(document: &Value) -> String {
    let operations = operations(&document["paths"]);
    let title = document["info"]["title"].as_str().unwrap_or("API");
    let version = document["info"]["version"].as_str().unwrap_or_default();
    let about = document["info"]["description"].as_str().unwrap_or_default();
    let mut contents = String::new();
    let mut chapters = String::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = tag["name"].as_str().unwrap_or_default();
        let own = operations.iter().filter(|(_, _, operation)| operation["tags"][0] == *name);
        let mut links = String::new();
        let mut sections = String::new();
        for (path, method, operation) in own {
            let id = operation["operationId"].as_str().unwrap_or_default();
            links += &format!(
                "<li><a href=\"#{}\"><span class=\"m {method}\">{method}</span>{}</a></li>",
                escape(id),
                escape(operation["summary"].as_str().unwrap_or(path)),
            );
            sections += &section(path, method, operation, document);
        }
        let (name, text) = (escape(name), tag["description"].as_str().unwrap_or_default());
        contents += &format!("<h3><a href=\"#tag-{name}\">{name}</a></h3><ul>{links}</ul>");
        chapters +=
            &format!("<h2 id=\"tag-{name}\">{name}</h2>{}{sections}", markdown::html(text, 3));
    }
    let schemas = document["components"]["schemas"].as_object();
    let schemas = schemas
        .into_iter()
        .flatten()
        .fold(String::new(), |out, (name, one)| out + &schema::section(name, one));
    let body = format!(
        "<header><h1>{} API <small class=\"soft\">{}</small></h1>{}\
         <p><a href=\"/openapi.json\">OpenAPI document</a> · <a href=\"/docs/errors\">Error codes</a> · \
         <a href=\"#schemas\">Schemas</a></p></header>\n\
         <nav aria-label=\"Operations\"><details open><summary>All operations</summary>{contents}</details></nav>\n\
         <main id=\"main\">{chapters}<h2 id=\"schemas\">Schemas</h2>{schemas}</main>",
        escape(title),
        escape(version),
        markdown::html(about, 2),
    );
    page(&format!("{title} API"), &body)
}

fn section(path: &str, method: &str, operation: &Value, document: &Value) -> String {
    let id = escape(operation["operationId"].as_str().unwrap_or_default());
    let summary = markdown::inline(operation["summary"].as_str().unwrap_or_default());
    let about =
        operation["description"].as_str().map(|text| markdown::html(text, 5)).unwrap_or_default();
    format!(
        "<section class=\"op\" id=\"{id}\"><h3><span class=\"m {method}\">{method}</span><code>{}</code>\
         <a class=\"anchor\" href=\"#{id}\" aria-label=\"Link to {method} {}\">#</a></h3>\
         <p><strong>{summary}</strong></p>{about}{}{}{}<h4>Request</h4><pre tabindex=\"0\"><code>{}</code></pre>\
         <h4>Answers</h4>{}{}</section>\n",
        escape(path),
        escape(path),
        who(operation),
        parameters(operation, document),
        body(operation),
        escape(&curl(path, method, operation, document)),
        answers(operation, document),
        codes(operation),
    )
}

/// Who may ask.
fn who(operation: &Value) -> String {
    if is_public(operation) {
        return "<p class=\"soft\">For everybody; no key is needed.</p>".to_owned();
    }
    let security = operation["security"].as_array().into_iter().flatten();
    let scopes =
        security.filter_map(|one| one["api_key"].as_array()).flatten().filter_map(Value::as_str);
    let scopes: Vec<String> =
        scopes.map(|scope| format!("<code>{}</code>", escape(scope))).collect();
    if scopes.is_empty() {
        return "<p class=\"soft\">Needs a key.</p>".to_owned();
    }
    format!("<p class=\"soft\">Needs a key with the scope {}.</p>", scopes.join(" and "))
}

fn parameters(operation: &Value, document: &Value) -> String {
    let mut rows = String::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let parameter = resolve(parameter, document);
        let shape = &parameter["schema"];
        rows += &format!(
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            escape(parameter["name"].as_str().unwrap_or_default()),
            escape(parameter["in"].as_str().unwrap_or_default()),
            schema::words(shape),
            if parameter["required"] == true { "yes" } else { "no" },
            schema::remarks(parameter, shape),
            escape(&parameter_example(parameter, document)),
        );
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<h4>Parameters</h4><div class=\"scroll\" tabindex=\"0\"><table><tr><th scope=\"col\">name</th><th scope=\"col\">in</th>\
         <th scope=\"col\">type</th><th scope=\"col\">required</th><th scope=\"col\">what it is</th><th scope=\"col\">example</th></tr>\
         {rows}</table></div>"
    )
}

fn body(operation: &Value) -> String {
    let body = &operation["requestBody"];
    let mut out = String::new();
    for (kind, media) in body["content"].as_object().into_iter().flatten() {
        out +=
            &format!("<p><code>{}</code>: {}</p>", escape(kind), schema::words(&media["schema"]));
    }
    if out.is_empty() {
        return out;
    }
    let text = body["description"].as_str().map(|text| markdown::html(text, 5)).unwrap_or_default();
    format!("<h4>Body</h4>{text}{out}")
}

fn answers(operation: &Value, document: &Value) -> String {
    let mut out = String::new();
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let response = resolve(response, document);
        let mut inner = String::new();
        for (kind, media) in response["content"].as_object().into_iter().flatten() {
            inner += &format!(
                "<p><code>{}</code>: {}</p>",
                escape(kind),
                schema::words(&media["schema"])
            );
            // A problem is shown once, in its schema, not at every operation.
            if let Some(sample) =
                body_example(media).filter(|_| !kind.starts_with("application/problem"))
            {
                inner += &format!("<pre tabindex=\"0\"><code>{}</code></pre>", escape(&sample));
            }
        }
        let names = response["headers"].as_object().into_iter().flatten();
        let names: Vec<String> =
            names.map(|(name, _)| format!("<code>{}</code>", escape(name))).collect();
        if !names.is_empty() {
            inner += &format!("<p class=\"soft\">Headers: {}</p>", names.join(", "));
        }
        let text = markdown::inline(response["description"].as_str().unwrap_or_default());
        out += &format!(
            "<details><summary><strong>{}</strong> {text}</summary>{inner}</details>",
            escape(status)
        );
    }
    out
}

fn codes(operation: &Value) -> String {
    let codes = operation["x-codes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let items = codes.fold(String::new(), |out, code| {
        let code = escape(code);
        out + &format!("<li><a href=\"/docs/errors/{code}\">{code}</a></li>")
    });
    if items.is_empty() {
        items
    } else {
        format!("<h4>Error codes</h4><ul class=\"codes\">{items}</ul>")
    }
}
