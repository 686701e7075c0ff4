//! What the directory holds: two tenants with all that they need.

use std::collections::BTreeMap;
use std::time::Duration;

use fiscus_gateway::access::keys::{ID_BYTES, SECRET_BYTES, new_id, new_secret};
use fiscus_gateway::directory::documents::{
    ApiKey, Cashier, KeySecret, Merchant, Organisation, OutletProfile, TerminalProfile, kind,
};
use fiscus_ledger::facts::{Fact, TerminalFact};
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, Command, command};
use serde::Serialize;

use super::LIMIT;

pub const KIVU: &str = "org-kivu";
pub const LUALABA: &str = "org-lualaba";
pub const KIVU_NIF: &str = "A1234567B";
pub const LUALABA_NIF: &str = "B7654321C";
/// In the past of every test.
pub const CREATED_MS: u64 = 1_790_000_000_000;
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Documents that are written at once.
const PUTS_MAX: usize = 16;

/// Id, first two parts of the numbers, region, whether it is real. `outlet-gombe` is there before.
const OUTLETS: [(&str, &str, &str, &str, bool); 6] = [
    ("outlet-gombe", "KIN", "GOMBE", "kinshasa", true),
    ("outlet-limete", "KIN", "LIMETE", "kinshasa", true),
    ("outlet-goma", "GOM", "GOMA", "goma", true),
    ("outlet-essai", "KIN", "ESSAI", "kinshasa", false),
    ("outlet-kenya", "LUB", "KENYA", "lubumbashi", true),
    ("outlet-bac", "LUB", "BAC", "lubumbashi", false),
];

/// Name, tenant, role.
const KEYS: [(&str, &str, &str); 12] = [
    ("owner", KIVU, "owner"),
    ("manager", KIVU, "manager"),
    ("supervisor", KIVU, "supervisor"),
    ("cashier", KIVU, "cashier"),
    ("auditor", KIVU, "auditor"),
    ("goma", KIVU, "manager"),
    ("sealer", KIVU, "integrator"),
    ("growth", KIVU, "owner"),
    ("revoked", KIVU, "owner"),
    ("expired", KIVU, "owner"),
    ("other", LUALABA, "owner"),
    ("platform", "", "platform"),
];

/// Whether an outlet is the second tenant's.
pub fn of_lualaba(outlet_id: &str) -> bool {
    ["outlet-kenya", "outlet-bac"].contains(&outlet_id)
}

/// Writes everything; the texts of the keys by name.
pub async fn fill(client: &ClusterClient, data_groups: u64) -> BTreeMap<&'static str, String> {
    let mut puts = Vec::new();
    for (id, name) in [(KIVU, "Kivu Retail"), (LUALABA, "Lualaba Négoce")] {
        let organisation = Organisation { name: name.to_owned(), created_ms: CREATED_MS };
        puts.push(json(kind::ORGANISATION, id, &organisation));
    }
    puts.push(merchant(KIVU_NIF, KIVU, "Alimentation Gombe SARL"));
    puts.push(merchant(LUALABA_NIF, LUALABA, "Quincaillerie du Katanga SA"));
    for (id, prefix, code, region, live) in OUTLETS {
        puts.extend(outlet_documents(id, region));
        let second = data_groups > 1 && ["outlet-limete", "outlet-kenya"].contains(&id);
        if id != "outlet-gombe" {
            let group = if second { 2 } else { 1 };
            register(client, id, (prefix, code), group, live).await;
        }
    }
    let mut texts = BTreeMap::new();
    for (at, (name, organisation, role)) in KEYS.into_iter().enumerate() {
        let (document, text) = api_key(u8::try_from(at).expect("few"), name, organisation, role);
        puts.push(json(kind::API_KEY, &document.id, &document));
        texts.insert(name, text);
    }
    for puts in puts.chunks(PUTS_MAX) {
        let puts = proto::PutDocuments { puts: puts.to_vec() };
        done(client, command::Command::PutDocuments(puts)).await;
    }
    texts
}

fn merchant(nif: &str, organisation: &str, name: &str) -> proto::PutDocument {
    let merchant = Merchant {
        nif: nif.to_owned(),
        organisation: organisation.to_owned(),
        name: name.to_owned(),
        rccm: "CD/KNG/RCCM/21-B-01234".to_owned(),
        address: "12, avenue du Commerce, Gombe, Kinshasa".to_owned(),
        created_ms: CREATED_MS,
    };
    json(kind::MERCHANT, nif, &merchant)
}

fn outlet_documents(id: &str, region: &str) -> [proto::PutDocument; 4] {
    let profile = OutletProfile {
        outlet_id: id.to_owned(),
        name: format!("Point de vente {id}"),
        region: region.to_owned(),
        address: "12, avenue du Commerce".to_owned(),
        phone: "+243 81 000 00 00".to_owned(),
        created_ms: CREATED_MS,
    };
    let fact = Fact::Terminal(TerminalFact {
        outlet_id: id.into(),
        terminal_id: "till-1".into(),
        blocked: false,
    });
    let terminal = proto::PutDocument {
        kind: kind::TERMINAL.to_owned(),
        id: format!("{id}/till-1"),
        expected_version: 0,
        bytes: fact.encode().into(),
    };
    let terminal_profile = TerminalProfile {
        outlet_id: id.to_owned(),
        terminal_id: "till-1".to_owned(),
        name: "Caisse 1".to_owned(),
        created_ms: CREATED_MS,
    };
    let cashier = Cashier {
        outlet_id: id.to_owned(),
        cashier_id: "cashier-7".to_owned(),
        name: "Béatrice Mukendi".to_owned(),
        active: true,
        created_ms: CREATED_MS,
    };
    [
        json(kind::OUTLET_PROFILE, id, &profile),
        terminal,
        json(kind::TERMINAL_PROFILE, &format!("{id}/till-1"), &terminal_profile),
        json(kind::CASHIER, &format!("{id}/cashier-7"), &cashier),
    ]
}

fn api_key(at: u8, name: &str, organisation: &str, role: &str) -> (ApiKey, String) {
    let id = new_id(&[at; ID_BYTES]);
    let (text, hash) = new_secret(&id, &[at; SECRET_BYTES]);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let secret = KeySecret {
        id: "1".to_owned(),
        hash,
        created_ms: CREATED_MS,
        expires_ms: 0,
        revoked_ms: 0,
    };
    let key = ApiKey {
        id,
        name: name.to_owned(),
        organisation: organisation.to_owned(),
        role: role.to_owned(),
        scopes: if name == "sealer" {
            words(&["invoices:seal", "invoices:read"])
        } else {
            Vec::new()
        },
        outlets: if name == "cashier" { words(&["outlet-gombe"]) } else { Vec::new() },
        regions: if name == "goma" { words(&["goma"]) } else { Vec::new() },
        tier: if name == "growth" { "growth" } else { "enterprise" }.to_owned(),
        secrets: vec![secret],
        revoked_ms: if name == "revoked" { CREATED_MS } else { 0 },
        expires_ms: if name == "expired" { CREATED_MS } else { 0 },
        created_ms: CREATED_MS,
    };
    (key, text)
}

/// A document as JSON that does not exist yet.
pub fn json(kind: &str, id: &str, value: &impl Serialize) -> proto::PutDocument {
    proto::PutDocument {
        kind: kind.to_owned(),
        id: id.to_owned(),
        expected_version: 0,
        bytes: serde_json::to_vec(value).expect("it is JSON").into(),
    }
}

async fn register(
    client: &ClusterClient,
    id: &str,
    (prefix, code): (&str, &str),
    group: u64,
    live: bool,
) {
    let environment = if live { proto::Environment::Live } else { proto::Environment::Sandbox };
    let fact = proto::OutletFact {
        outlet_id: id.to_owned(),
        merchant_nif: if of_lualaba(id) { LUALABA_NIF } else { KIVU_NIF }.to_owned(),
        prefix: prefix.to_owned(),
        code: code.to_owned(),
        group,
        status: proto::OutletStatus::Active.into(),
        environment: environment.into(),
        signing_mode: proto::SigningMode::Cluster.into(),
    };
    let register = proto::RegisterOutlet { fact: Some(fact) };
    done(client, command::Command::RegisterOutlet(register)).await;
    heard_of(client, group, id).await;
}

/// Gives group 0 a command that must be taken.
pub async fn done(client: &ClusterClient, kind: command::Command) {
    let command = Command { command: Some(kind) };
    match client.submit(0, command, LIMIT).await.expect("an answer") {
        Answer::Recorded(_) | Answer::AlreadyRecorded(_) | Answer::Done => {}
        other => panic!("{other:?}"),
    }
}

/// Waits until an outlet's group has heard of it: until then it seals nothing.
async fn heard_of(client: &ClusterClient, group: u64, outlet_id: &str) {
    let empty = proto::CloseShift {
        submitted: Some(proto::Submitted {
            outlet_id: outlet_id.to_owned(),
            key: vec![0; 16].into(),
            fingerprint: vec![0; 32].into(),
        }),
        terminal_id: "till-1".to_owned(),
        shift_id: "nobody-has-opened-it".to_owned(),
        cashier_id: "cashier-7".to_owned(),
    };
    let command = Command { command: Some(command::Command::CloseShift(empty)) };
    let waiting = async {
        loop {
            match client.submit(group, command.clone(), LIMIT).await.expect("an answer") {
                Answer::Refused(refusal) if refusal.code == "OUTLET_UNKNOWN" => {}
                Answer::Refused(_) => return,
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("the group hears of its outlet");
}
