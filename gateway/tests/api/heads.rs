//! That nothing is missing from a range, and that an outlet does not exist, is checked with the signed checkpoint alone.

use crate::proved::proved_leaf;
use crate::support::{World, sale};
use fiscus_ledger::checkpoint::Checkpoint;
use fiscus_ledger::hash::{Hash32, ZERO_HASH, from_hex, payload_hash};
use fiscus_ledger::heads::{HeadsProof, HeadsVerdict, heads_leaf};
use fiscus_ledger::seal;
use fiscus_ledger::time::UnixMs;
use fiscus_ledger::tree::verify_inclusion;
use serde_json::Value;

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn hash(value: &Value, name: &str) -> Hash32 {
    from_hex(text(value, name)).unwrap_or_else(|| panic!("{name} of {value}"))
}

fn hashes(value: &Value) -> Vec<Hash32> {
    let list = value.as_array().expect("a list").iter();
    list.map(|hash| from_hex(hash.as_str().expect("text")).expect("a hash")).collect()
}

fn checkpoint(bundle: &Value) -> Checkpoint {
    let note = text(bundle, "checkpoint");
    let end = note.rfind("\n\n").expect("a note has a blank line");
    let checkpoint = Checkpoint::parse(&note[..=end]).expect("a checkpoint");
    assert_eq!(checkpoint.size(), number(bundle, "tree_size"));
    let origin = format!("{}/g/{}", text(bundle, "cluster"), number(bundle, "group"));
    assert_eq!(checkpoint.origin(), origin);
    checkpoint
}

/// The last position and the chain's head that a heads proof gives, when the outlet is there.
fn proven(bundle: &Value, heads: &Value) -> Option<(u64, Hash32)> {
    let pinned = checkpoint(bundle);
    let (leaf, root) = (number(heads, "leaf_index"), hash(heads, "root"));
    let data = heads_leaf(text(bundle, "cluster"), number(bundle, "group"), leaf, &root);
    let way = hashes(&heads["inclusion"]);
    verify_inclusion(&data, leaf, pinned.size(), &way, pinned.root()).expect("it is in the log");
    let proof = text(heads, "proof");
    let bytes = (0..proof.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&proof[at..at + 2], 16).expect("hexadecimal"));
    let proof = HeadsProof::decode(&bytes.collect::<Vec<_>>()).expect("a proof");
    match proof.verify(&root, text(bundle, "outlet_id")).expect("it holds") {
        HeadsVerdict::Present(entry) => Some((entry.last_position(), *entry.chain_head())),
        HeadsVerdict::Absent => None,
    }
}

/// Checks a whole bundle; the positions that it proves to be all.
fn complete(bundle: &str) -> (u64, u64) {
    let mut lines = bundle.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let head: Value = lines.next().expect("the first line");
    assert_eq!(text(&head, "format"), "fiscus/range-proof/v1");
    let start = if head["start"].is_null() { None } else { proven(&head, &head["start"]) };
    let (before, mut last) = start.unwrap_or((0, ZERO_HASH));
    let (after, end) = proven(&head, &head["end"]).expect("the outlet is there");
    let mut position = before;
    for record in lines {
        position += 1;
        assert_eq!(number(&record, "position"), position);
        assert_eq!(hash(&record, "previous_hash"), last);
        assert!(record.get("inclusion").is_none());
        let hidden = seal::hidden_hash(
            text(&record, "outlet_id"),
            position,
            &payload_hash(text(&record, "payload").as_bytes()),
            &hash(&record, "blind"),
            &last,
        );
        let time = UnixMs::parse_canonical(text(&record, "timestamp")).expect("a time");
        last = seal::entry_hash(
            text(&record, "fiscal_authority_id"),
            text(&record, "fiscal_number"),
            time.get(),
            text(&record, "kind"),
            text(&record, "total"),
            text(&record, "currency"),
            &hidden,
        );
        assert_eq!(hash(&record, "entry_hash"), last);
    }
    assert_eq!((position, last), (after, end), "no more and no fewer");
    assert_eq!(number(&head, "records"), after - before);
    (before + 1, after)
}

async fn sell(world: &World, from: u32, to: u32) {
    for price in from..to {
        let call = world.post("/api/v1/invoices").by("owner");
        let sale = sale("outlet-gombe", price);
        call.idempotent(&format!("sale-{price}")).json(&sale).send().await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_complete_between_two_heads() {
    let world = World::start().await;
    sell(&world, 1, 12).await;
    let range = |query: &str| {
        let path = format!("/api/v1/audit/proofs/range?outlet_id=outlet-gombe{query}");
        world.get(&path).by("auditor").send()
    };
    let whole = range("").await.expect(200);
    assert_eq!(whole.header("content-type"), "application/x-ndjson");
    let (first, last) = complete(&whole.text());
    assert_eq!(first, 1, "without a bound it begins with the journal");
    sell(&world, 12, 20).await;
    let later = range(&format!("&from_position={}", last + 3)).await.expect(200).text();
    assert_eq!(complete(&later), (last + 1, last + 8), "it begins where heads were kept");
    let early = range("&to_position=3").await.expect(200).text();
    let (first, to) = complete(&early);
    assert!(first == 1 && (3..=last).contains(&to), "{first} to {to}");

    // A record that is left out breaks the chain.
    let lines: Vec<&str> = whole.text().leak().lines().collect();
    let without = |gap: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != gap).map(|(_, line)| *line);
        kept.collect::<Vec<_>>().join("\n")
    };
    for gap in [1, 4, lines.len() - 1] {
        let cut = without(gap);
        assert!(std::panic::catch_unwind(|| complete(&cut)).is_err(), "without line {gap}");
    }
    for (query, status, code) in [
        ("&from_position=4000", 422, "RANGE_EMPTY"),
        ("&from=2026-01-01&to_position=4", 422, "RANGE_INVALID"),
        ("&surprise=1", 400, "PARAMETER_UNKNOWN"),
    ] {
        assert_eq!(range(query).await.expect(status).code(), code, "{query}");
    }
    let path = "/api/v1/audit/proofs/range?outlet_id=outlet-kenya";
    assert_eq!(world.get(path).by("auditor").send().await.expect(404).code(), "OUTLET_UNKNOWN");
    let by = world.get("/api/v1/audit/proofs/range?outlet_id=outlet-gombe").by("cashier");
    assert_eq!(by.send().await.expect(403).code(), "SCOPE_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outlet_that_does_not_exist_is_proved_to_be_absent() {
    let world = World::start().await;
    sell(&world, 1, 3).await;
    let absence = |outlet: &str, group: u64| {
        let path = format!("/api/v1/audit/proofs/absence?group={group}&outlet_id={outlet}");
        world.get(&path).by("auditor").send()
    };
    let bundle = absence("outlet-nowhere", 1).await.expect(200).json();
    assert_eq!(text(&bundle, "format"), "fiscus/absence-proof/v1");
    assert_eq!(proven(&bundle, &bundle["heads"]), None);
    assert_eq!(absence("outlet-gombe", 1).await.expect(409).code(), "OUTLET_EXISTS");
    assert_eq!(absence("outlet-nowhere", 9).await.expect(404).code(), "GROUP_UNKNOWN");
    assert_eq!(absence("outlet-nowhere", 0).await.expect(404).code(), "GROUP_UNKNOWN");
    assert_eq!(absence("", 1).await.expect(400).code(), "PARAMETER_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_carries_its_proof_and_checkpoints_are_listed() {
    let world = World::start().await;
    sell(&world, 1, 4).await;
    let path = "/api/v1/invoices/KIN-GOMBE-2?proof=true";
    let invoice = world.get(path).by("auditor").send().await.expect(200).json();
    let proof = text(&invoice, "proof");
    let (leaf, pinned) = proved_leaf(proof, &hash(&invoice, "entry_hash"));
    assert_eq!(leaf, number(&invoice, "leaf_index"));
    let without = world.get("/api/v1/invoices/KIN-GOMBE-2").by("auditor").send().await;
    assert!(without.expect(200).json().get("proof").is_none());

    let page =
        |query: String| world.get(&format!("/api/v1/checkpoints/1?{query}")).by("auditor").send();
    let sizes = |page: &Value| -> Vec<u64> {
        let data = page["data"].as_array().expect("data");
        data.iter().map(|one| number(one, "tree_size")).collect()
    };
    let all = || async { sizes(&page(String::new()).await.expect(200).json()) };
    let mut known = all().await;
    // One cut may have covered all of them.
    for more in 4..50 {
        if known.len() > 1 {
            break;
        }
        sell(&world, more, more + 1).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        known = all().await;
    }
    assert!(known.len() > 1, "{known:?}");
    assert!(known.contains(&pinned.size()), "{known:?}");
    assert!(known.windows(2).all(|pair| pair[0] > pair[1]), "{known:?}");
    let first = page("limit=1".to_owned()).await.expect(200).json();
    let next = page(format!("limit=1&cursor={}", text(&first, "next_cursor"))).await;
    let pages = [sizes(&first)[0], sizes(&next.expect(200).json())[0]];
    // Others may have been decided since.
    let later = all().await;
    assert!(later.windows(2).any(|pair| pair == pages), "{pages:?} in {later:?}");
    let foreign = world.get("/api/v1/checkpoints/9").by("auditor").send().await.expect(404);
    assert_eq!(foreign.code(), "GROUP_UNKNOWN");
}
