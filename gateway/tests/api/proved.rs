//! What a journal query answers with `proof=true` is checked with the checkpoint in each proof alone.

use std::collections::BTreeSet;

use crate::support::{Setup, World, sale};
use fiscus_ledger::base64::decode_standard;
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::hash::{Hash32, from_hex};
use fiscus_ledger::tree::verify_inclusion;
use serde_json::{Value, json};

/// The leaf that a C2SP tlog-proof proves to hold a hash, and the checkpoint that it leads to.
pub(crate) fn proved_leaf(proof: &str, entry: &Hash32) -> (u64, Checkpoint) {
    let (head, note) = proof.split_once("\n\n").expect("a blank line");
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    let leaf = lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok());
    let leaf: u64 = leaf.expect("an index");
    let way = lines.map(|line| decode_standard(line).expect("base64"));
    let way: Vec<Hash32> = way.map(|hash| hash.try_into().expect("32 bytes")).collect();
    let end = note.rfind("\n\n").expect("a note has a blank line");
    let pinned = Checkpoint::parse(&note[..=end]).expect("a checkpoint");
    verify_inclusion(entry, leaf, pinned.size(), &way, pinned.root()).expect("it is in the log");
    (leaf, pinned)
}

/// Checks an item; the log, its size, and the leaf.
fn proved(item: &Value) -> (String, u64, u64) {
    let field = |name: &str| item[name].as_str().unwrap_or_else(|| panic!("{name} of {item}"));
    let entry: Hash32 = from_hex(field("proved_hash")).expect("a hash");
    let (leaf, pinned) = proved_leaf(field("proof"), &entry);
    (pinned.origin().to_owned(), pinned.size(), leaf)
}

fn is_bare(item: &Value) -> bool {
    item.get("proof").is_none() && item.get("proved_hash").is_none()
}

/// Checks all items of an answer; each log and how large it was.
fn all_proved(page: &Value, items: usize) -> BTreeSet<(String, u64)> {
    let data = page["data"].as_array().expect("data");
    assert_eq!(data.len(), items, "{page}");
    let places: Vec<_> = data.iter().map(proved).collect();
    let leaves: BTreeSet<_> = places.iter().map(|(log, _, leaf)| (log, leaf)).collect();
    assert_eq!(leaves.len(), items, "each has a leaf of its own");
    places.into_iter().map(|(log, size, _)| (log, size)).collect()
}

async fn read(world: &World, path: &str) -> Value {
    world.get(path).by("owner").send().await.expect(200).json()
}

async fn sell(world: &World, outlet: &str, price: u32) -> Value {
    let call = world.post("/api/v1/invoices").by("owner");
    let call = call.idempotent(&format!("{outlet}-{price}")).json(&sale(outlet, price));
    call.send().await.expect(201).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invoice_of_a_page_is_proved_under_one_checkpoint_of_its_log() {
    let world = World::start_with(Setup { data_groups: 2, ..Setup::default() }).await;
    for price in 1..=4 {
        sell(&world, "outlet-gombe", price).await;
        sell(&world, "outlet-limete", price).await;
    }
    let page = read(&world, "/api/v1/invoices?proof=true&limit=5").await;
    let logs = all_proved(&page, 5);
    assert_eq!(logs.len(), 2, "one checkpoint for each of the two logs: {logs:?}");
    // The proofs are no filter: a cursor goes on with or without them.
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = read(&world, &format!("/api/v1/invoices?limit=5&cursor={cursor}")).await;
    let rest = rest["data"].as_array().expect("data");
    assert!(rest.len() == 3 && rest.iter().all(is_bare), "{rest:?}");

    let path = "/api/v1/invoices?outlet_id=outlet-gombe&sort=number&proof=true";
    let page = read(&world, path).await;
    assert_eq!(all_proved(&page, 4).len(), 1);
    let first = read(&world, "/api/v1/invoices/KIN-GOMBE-1?proof=true").await;
    assert_eq!(page["data"][0]["proved_hash"], first["entry_hash"], "it is the invoice's own leaf");

    for (query, name) in [("limit=101&proof=true", "limit"), ("proof=maybe", "proof")] {
        let refused = world.get(&format!("/api/v1/invoices?{query}")).by("owner").send().await;
        let refused = refused.expect(400);
        assert_eq!(
            (refused.code(), refused.pointers()),
            ("PARAMETER_INVALID".to_owned(), vec![name.to_owned()])
        );
    }
    world.get("/api/v1/invoices?limit=101").by("owner").send().await.expect(200);
    world.get("/api/v1/invoices?limit=100&proof=true").by("owner").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_proved_by_the_record_that_says_what_is_known() {
    let world = World::start().await;
    let number = sell(&world, "outlet-gombe", 1_000).await;
    let number = number["fiscal_number"].as_str().expect("a number");
    let path = format!("/api/v1/invoices/{number}/payments");
    for (reference, status) in [("MP-1", "pending"), ("MP-1", "confirmed"), ("MP-2", "failed")] {
        let said = json!({ "provider": "mpesa", "reference": reference, "status": status, "amount": "1000" });
        world.post(&path).by("cashier").json(&said).send().await.expect(201);
    }
    let page = read(&world, &format!("{path}?proof=true")).await;
    assert_eq!(all_proved(&page, 2).len(), 1);
    let data = page["data"].as_array().expect("data");
    let invoice = read(&world, &format!("/api/v1/invoices/{number}?proof=true")).await;
    let place = |name: &str| invoice[name].as_u64().expect("a place");
    // Each event is a record after the invoice's; the second and the third say what is known.
    let positions: Vec<&Value> = data.iter().map(|item| &item["position"]).collect();
    assert_eq!(positions, [&json!(place("position") + 2), &json!(place("position") + 3)]);
    let leaves: Vec<u64> = data.iter().map(|item| proved(item).2).collect();
    assert!(leaves[0] >= place("leaf_index") + 2 && leaves[1] > leaves[0], "{leaves:?}");
    let bare = read(&world, &path).await;
    assert!(bare["data"].as_array().expect("data").iter().all(is_bare));
}

#[tokio::test(flavor = "multi_thread")]
async fn shifts_are_proved_by_their_opening_until_they_end() {
    let world = World::start().await;
    let shift = json!({ "outlet_id": "outlet-limete", "pos_terminal_id": "till-1", "cashier_id": "cashier-7", "shift_id": "matin" });
    let call = world.post("/api/v1/shifts").by("owner").idempotent("open");
    let opened = call.json(&shift).send().await.expect(201).json();
    assert!(is_bare(&opened));
    let path = "/api/v1/shifts/matin?outlet_id=outlet-limete&proof=true";
    let open = read(&world, path).await;
    let (log, _, leaf) = proved(&open);
    let close = json!({ "outlet_id": "outlet-limete", "pos_terminal_id": "till-1", "cashier_id": "cashier-7" });
    let call = world.post("/api/v1/shifts/matin/close").by("owner").idempotent("close");
    call.json(&close).send().await.expect(200);
    let closed = read(&world, path).await;
    let (same, _, last) = proved(&closed);
    assert!(log == same && last > leaf, "the record of its end comes later: {leaf} {last}");
    let page = read(&world, "/api/v1/shifts?outlet_id=outlet-limete&proof=true").await;
    all_proved(&page, 1);
    assert_eq!(page["data"][0]["proved_hash"], closed["proved_hash"]);
    let long = "/api/v1/shifts?outlet_id=outlet-limete&proof=true&limit=101";
    let long = world.get(long).by("owner").send().await.expect(400);
    assert_eq!(long.code(), "PARAMETER_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_z_is_proved_and_an_x_is_no_record() {
    let world = World::start().await;
    sell(&world, "outlet-gombe", 1_000).await;
    let mut places = Vec::new();
    for (key, kind) in [("x-1", "x"), ("z-1", "z")] {
        let body = json!({ "type": kind, "outlet_id": "outlet-gombe", "operator": "cashier-7" });
        let body =
            if kind == "x" { json!({ "type": "x", "outlet_id": "outlet-gombe" }) } else { body };
        let call = world.post("/api/v1/reports").by("supervisor").idempotent(key).json(&body);
        let made = call.send().await.expect(201).json();
        assert!(is_bare(&made));
        places.push(format!("/api/v1/reports/{}", made["report_id"].as_str().expect("an id")));
    }
    assert!(is_bare(&read(&world, &format!("{}?proof=true", places[0])).await));
    let z = read(&world, &format!("{}?proof=true", places[1])).await;
    let (_, _, leaf) = proved(&z);
    assert_eq!(
        (&z["proved_hash"], &z["record"]["leaf_index"]),
        (&z["record"]["entry_hash"], &json!(leaf))
    );
    let page = read(&world, "/api/v1/reports?outlet_id=outlet-gombe&proof=true").await;
    let (zs, others): (Vec<_>, Vec<_>) =
        page["data"].as_array().expect("data").iter().partition(|report| report["type"] == "z");
    assert_eq!((zs.len(), others.len()), (1, 1));
    assert!(is_bare(others[0]));
    assert_eq!(proved(zs[0]).2, leaf);
    let csv = world.get(&format!("{}?format=csv&proof=true", places[1])).by("owner").send().await;
    csv.expect(200);
}
