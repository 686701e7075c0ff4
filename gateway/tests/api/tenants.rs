//! Tenants are apart: every route of the description is walked with another tenant's ids in path, query and body,
//! and answers as if they did not exist. A new route is walked as soon as it is described.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::http::Answer;
use crate::support::{LIMIT, World, sale};
use fiscus_gateway::access::{Role, Scope};
use fiscus_gateway::api::openapi_json;
use serde_json::{Value, json};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One operation of the description.
struct Operation {
    method: String,
    path: String,
    /// Where each stands, its name, and a sample of one that is no id but must be there.
    parameters: Vec<(String, String, Option<String>)>,
    body: Option<Value>,
    /// Any of them will do.
    scopes: Vec<String>,
    public: bool,
}

fn resolve<'d>(value: &'d Value, document: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(place) => document.pointer(&place[1..]).expect("what is referred to is there"),
        None => value,
    }
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&openapi_json()).expect("it is JSON");
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if !METHODS.contains(&method.as_str()) {
                continue;
            }
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.map(|parameter| {
                let parameter = resolve(parameter, &document);
                let text = |name: &str| parameter[name].as_str().expect("text").to_owned();
                let sample = parameter.get("example").or(parameter["schema"].get("example"));
                let sample = sample.map(|sample| sample.to_string().trim_matches('"').to_owned());
                let number = parameter["schema"]["type"] == "integer";
                let sample = sample.or(number.then(|| "1".to_owned()));
                let needed = parameter["required"] == true && (number || text("in") == "query");
                (text("in"), text("name"), sample.filter(|_| needed))
            });
            let security = operation["security"].as_array().into_iter().flatten();
            let security: Vec<&Value> = security.collect();
            let scopes = security.iter().filter_map(|one| one["api_key"].as_array()).flatten();
            let media = operation.pointer("/requestBody/content").and_then(Value::as_object);
            let media = media.and_then(|media| media.get("application/json"));
            let named = media.and_then(|media| media["examples"].as_object()?.values().next());
            let body = media.and_then(|media| media.get("example").or_else(|| named?.get("value")));
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                parameters: parameters.collect(),
                body: body.cloned(),
                scopes: scopes.map(|scope| scope.as_str().expect("a scope").to_owned()).collect(),
                public: security.iter().any(|one| **one == json!({})),
            });
        }
    }
    assert!(all.len() > 25, "the routes are found");
    all
}

type Ids = BTreeMap<&'static str, String>;

/// Where an id may stand under another name.
fn kind(name: &str) -> Option<&'static str> {
    Some(match name {
        "outlet_id" | "outlet" | "outlets" | "outlet_ids" => "outlet_id",
        "nif" | "merchant_nif" => "nif",
        "organization_id" => "organization_id",
        "region_id" | "regions" => "region_id",
        "key_id" => "key_id",
        "fiscal_number" | "original_fiscal_number" | "fiscal_numbers" => "fiscal_number",
        "terminal_id" | "pos_terminal_id" => "terminal_id",
        "cashier_id" => "cashier_id",
        "secret_id" => "secret_id",
        "device_id" => "device_id",
        "endpoint_id" => "endpoint_id",
        _ => return None,
    })
}

/// A body with the ids in the place of its own.
fn with_ids(body: &Value, name: &str, ids: &Ids) -> Value {
    match body {
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| (name.clone(), with_ids(value, name, ids));
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(|item| with_ids(item, name, ids)).collect(),
        other => match kind(name) {
            Some(kind) => json!(ids[kind]),
            None => other.clone(),
        },
    }
}

impl Operation {
    /// The request with ids everywhere that one may stand; `turn` makes what must be new so.
    async fn ask(&self, world: &World, by: &str, ids: &Ids, turn: &str) -> Answer {
        let mut path = self.path.clone();
        let mut query = Vec::new();
        for (place, name, sample) in &self.parameters {
            let id = kind(name).map(|kind| ids[kind].clone()).or_else(|| sample.clone());
            match (place.as_str(), id) {
                ("path", id) => {
                    let id = id.unwrap_or_else(|| format!("{}-{name}", ids["other"]));
                    path = path.replace(&format!("{{{name}}}"), &id);
                }
                ("query", Some(id)) => query.push(format!("{name}={id}")),
                _ => {}
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let key = format!("walk-{turn}-{}-{}", self.method, self.path);
        let call = world.call(&self.method, &path).by(by).idempotent(&key);
        match &self.body {
            Some(body) => call.json(&with_ids(body, "", ids)).send().await,
            None => call.send().await,
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What makes something whose id the client chooses: it says that the id is taken, or makes the caller's own.
const CHOOSES_AN_ID: [&str; 2] = ["POST /api/v1/merchants", "POST /api/v1/regions"];

/// What differs between any two requests: the ledger grows meanwhile.
fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in [
                "request_id",
                "as_of",
                "instance",
                "tree_size",
                "root",
                "checkpoint",
                "checkpoints",
            ] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

/// An answer without what differs between any two requests, and without the ids that were asked for.
fn shape(answer: &Answer, ids: &Ids) -> String {
    let mut text = answer.text();
    if let Ok(mut body) = serde_json::from_str::<Value>(&text) {
        forget(&mut body);
        text = body.to_string();
    }
    // What is very short stands in other words, too.
    let mut longest: Vec<&String> = ids.values().filter(|id| id.len() > 3).collect();
    longest.sort_by_key(|id| std::cmp::Reverse(id.len()));
    for id in longest {
        text = text.replace(id.as_str(), "ID");
    }
    format!("{} {} {text}", answer.status, answer.header("content-type"))
}

async fn ids_of_lualaba(world: &World) -> Ids {
    let region = json!({"region_id": "secret-region", "name": "Katanga"});
    let call = world.post("/api/v1/regions").by("other").idempotent("r").json(&region);
    call.send().await.expect(201);
    let call = world.post("/api/v1/invoices").by("other").idempotent("i");
    let sealed = call.json(&sale("outlet-kenya", 500)).send().await.expect(201).json();
    let device = json!({"device_id": "def-kenya-1", "outlet_id": "outlet-kenya", "name": "Caisse"});
    let call = world.post("/api/v1/devices").by("other").idempotent("d").json(&device);
    call.send().await.expect(201);
    let webhook = json!({"url": "https://secret.example.cd/in"});
    let call = world.post("/api/v1/webhooks").by("other").idempotent("w").json(&webhook);
    let webhook = call.send().await.expect(201).json();
    let keys = world.get("/api/v1/api-keys").by("other").send().await.expect(200).json();
    let key = &keys["data"][0];
    let text = |value: &Value| value.as_str().expect("an id").to_owned();
    BTreeMap::from([
        ("outlet_id", "outlet-kenya".to_owned()),
        ("nif", "B7654321C".to_owned()),
        ("organization_id", "org-lualaba".to_owned()),
        ("region_id", "secret-region".to_owned()),
        ("key_id", text(&key["key_id"])),
        ("secret_id", text(&key["secrets"][0]["secret_id"])),
        ("fiscal_number", text(&sealed["fiscal_number"])),
        ("terminal_id", "till-1".to_owned()),
        ("cashier_id", "cashier-7".to_owned()),
        ("device_id", "def-kenya-1".to_owned()),
        ("endpoint_id", text(&webhook["endpoint_id"])),
        ("other", "outlet-kenya".to_owned()),
    ])
}

/// What proves that there is no such outlet anywhere cannot hide that there is one.
fn proves_absence(operation: &Operation) -> bool {
    operation.path == "/api/v1/audit/proofs/absence"
}

/// Before a log has signed anything, whoever may ask for proofs is told to ask again.
async fn signed(world: &World) {
    let until = Instant::now() + LIMIT;
    for group in [0, 1] {
        while world.get(&format!("/log/{group}/checkpoint")).send().await.status != 200 {
            assert!(Instant::now() < until, "group {group} signs nothing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Ids of the same form that nobody has.
fn ids_of_nobody() -> Ids {
    BTreeMap::from([
        ("outlet_id", "outlet-nihil".to_owned()),
        ("nif", "B0000000C".to_owned()),
        ("organization_id", "org-nowhere".to_owned()),
        ("region_id", "nobody-region".to_owned()),
        ("key_id", "ffffffffffffffffff".to_owned()),
        ("secret_id", "no-such-secret".to_owned()),
        ("fiscal_number", "LUB-NIHIL-1".to_owned()),
        ("terminal_id", "till-1".to_owned()),
        ("cashier_id", "cashier-7".to_owned()),
        ("device_id", "def-nihil-1".to_owned()),
        ("endpoint_id", "ffffffffffffffffffffffff".to_owned()),
        ("other", "outlet-nihil".to_owned()),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_things_are_answered_as_those_that_do_not_exist() {
    let world = World::start().await;
    let (theirs, nobodys) = (ids_of_lualaba(&world).await, ids_of_nobody());
    signed(&world).await;
    let operations = operations();
    let chooses = |operation: &&Operation| CHOOSES_AN_ID.contains(&&*operation.name());
    let walked = operations.iter().filter(|operation| !operation.public && !chooses(operation));
    let walked = walked.filter(|operation| !proves_absence(operation));
    for operation in walked {
        let name = operation.name();
        let takes_ids = operation.parameters.iter().any(|(_, name, _)| kind(name).is_some());
        for by in ["owner", "manager", "goma", "auditor", "growth"] {
            if by == "growth" && operation.method != "GET" {
                continue;
            }
            let foreign = operation.ask(&world, by, &theirs, &format!("{by}-theirs")).await;
            let unknown = operation.ask(&world, by, &nobodys, &format!("{by}-nobodys")).await;
            if by == "growth" && (foreign.status == 429 || unknown.status == 429) {
                continue;
            }
            let both = format!("{by} {name}:\n{}\n{}", foreign.text(), unknown.text());
            assert_eq!(shape(&foreign, &theirs), shape(&unknown, &nobodys), "{both}");
            assert!(foreign.status < 500, "{both}");
            if operation.path.contains('{') && takes_ids {
                assert!((400..500).contains(&foreign.status), "{both}");
            }
            for secret in ["lualaba", "Lualaba", "Quincaillerie", "Katanga du", "outlet-bac"] {
                let asked = theirs.values().any(|id| id.contains(secret));
                assert!(asked || !foreign.text().contains(secret), "{both}");
            }
        }
        let bare =
            world.call(&operation.method, &operation.path.replace(['{', '}'], "x")).send().await;
        assert_eq!(
            (bare.status, bare.code()),
            (401, "UNAUTHENTICATED".to_owned()),
            "{name} without a key"
        );
    }
    for operation in operations.iter().filter(chooses) {
        let answer = operation.ask(&world, "owner", &theirs, "chosen").await;
        assert!([201, 409].contains(&answer.status), "{}", answer.text());
        assert!(!answer.text().contains("Quincaillerie"), "{}", answer.text());
    }
    // Nothing of the other tenant's has changed by any of it.
    let outlet = world.get("/api/v1/outlets/outlet-kenya").by("other").send().await.expect(200);
    assert_eq!(outlet.header("etag"), "\"1-1\"");
    assert_eq!(outlet.json()["status"], "active");
    let log = world.get("/api/v1/audit/actions").by("other").send().await.expect(200).json();
    assert_eq!(
        log["data"].as_array().expect("data").len(),
        3,
        "its region, device and endpoint: {log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_things_take_as_long_as_those_that_do_not_exist() {
    const ROUNDS_MIN: usize = 25;
    const ROUNDS_MAX: usize = 250;
    let world = World::start().await;
    let (theirs, nobodys) = (ids_of_lualaba(&world).await, ids_of_nobody());
    let names_one = |operation: &&Operation| {
        operation.parameters.iter().any(|(_, name, _)| kind(name).is_some())
    };
    let asked = operations();
    let asked = asked.iter().filter(|o| !o.public && o.method == "GET").filter(names_one);
    let asked = asked.filter(|operation| !proves_absence(operation));
    for operation in asked {
        let mut took = [Vec::new(), Vec::new()];
        // A question to the cluster that only one of them asks would show in every round; what else the machine does
        // shows in most, but not in the fastest, if need be of more.
        let is_even = |took: &[Vec<Duration>; 2]| {
            let [foreign, unknown] = [0, 1].map(|at| took[at].iter().min().copied());
            let both = foreign.zip(unknown);
            both.is_some_and(|(a, b)| a.abs_diff(b) < Duration::from_millis(2) + a.min(b))
        };
        for turn in 0..ROUNDS_MAX {
            // Each goes first in every other round: what follows another at once may have to wait for it.
            for which in [turn % 2, 1 - turn % 2] {
                let began = Instant::now();
                operation.ask(&world, "owner", [&theirs, &nobodys][which], &turn.to_string()).await;
                took[which].push(began.elapsed());
            }
            if turn >= ROUNDS_MIN && is_even(&took) {
                break;
            }
        }
        assert!(is_even(&took), "{}: {took:?}", operation.name());
    }
}

/// What each role may do, beside the code, so that a change of it is seen.
const MATRIX: [(&str, &[&str]); 7] = [
    ("cashier", &["invoices:seal", "invoices:read", "payments:write", "registry:read"]),
    (
        "supervisor",
        &[
            "invoices:seal",
            "invoices:read",
            "invoices:credit",
            "payments:write",
            "shifts:write",
            "reports:read",
            "reports:close",
            "registry:read",
        ],
    ),
    (
        "manager",
        &[
            "invoices:seal",
            "invoices:read",
            "invoices:credit",
            "payments:write",
            "shifts:write",
            "reports:read",
            "reports:close",
            "audit:read",
            "registry:read",
            "registry:write",
            "keys:write",
            "webhooks:write",
        ],
    ),
    (
        "owner",
        &[
            "invoices:seal",
            "invoices:read",
            "invoices:credit",
            "payments:write",
            "shifts:write",
            "reports:read",
            "reports:close",
            "audit:read",
            "registry:read",
            "registry:write",
            "keys:write",
            "webhooks:write",
        ],
    ),
    ("auditor", &["invoices:read", "reports:read", "audit:read", "registry:read"]),
    ("sealer", &["invoices:seal", "invoices:read"]),
    ("platform", &["platform", "registry:read", "registry:write", "keys:write", "audit:read"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_role_meets_every_route() {
    let world = World::start().await;
    let nobodys = ids_of_nobody();
    let operations = operations();
    for (by, may) in MATRIX {
        let may: BTreeSet<&str> = may.iter().copied().collect();
        if let Some(role) = Role::parse(by) {
            let known: BTreeSet<&str> = role.scopes().iter().map(|scope| scope.as_str()).collect();
            assert_eq!(known, may, "{by}");
        }
        for operation in operations.iter().filter(|operation| !operation.public) {
            let answer = operation.ask(&world, by, &nobodys, by).await;
            let refused = answer.status == 403 && answer.code() == "SCOPE_MISSING";
            let name = operation.name();
            let scopes = &operation.scopes;
            assert!(scopes.iter().all(|scope| Scope::parse(scope).is_some()), "{name}");
            let allowed = scopes.iter().any(|scope| may.contains(scope.as_str()));
            // The operator has no tenant of its own, and an organisation is its owner's to rename.
            if allowed
                && (by == "platform" || name == "PATCH /api/v1/organizations/{organization_id}")
            {
                continue;
            }
            assert_eq!(
                refused,
                !allowed,
                "{by} {name} {scopes:?}: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
}
