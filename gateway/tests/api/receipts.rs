//! Receipts: the first is the original, however many gateways are asked at once.

use crate::support::http::Answer;
use crate::support::{Setup, World, sale};
use fiscus_ledger::qr::QrPayload;

async fn sold(world: &World, outlet: &str) -> (String, String) {
    let call = world.post("/api/v1/invoices").by("owner").idempotent("sale-1");
    let sealed = call.json(&sale(outlet, 1_000)).send().await.expect(201).json();
    let text = |name: &str| sealed[name].as_str().expect("text").to_owned();
    (format!("/api/v1/invoices/{}/receipt", text("fiscal_number")), text("qr_payload"))
}

fn copy(answer: &Answer) -> &str {
    answer.header("receipt-copy")
}

#[tokio::test(flavor = "multi_thread")]
async fn reprints_are_counted_and_say_so() {
    let world = World::start().await;
    let (place, qr) = sold(&world, "outlet-gombe").await;
    let get = |query: &str| world.get(&format!("{place}{query}")).by("cashier").send();
    let preview = get("?preview=true").await.expect(200);
    assert_eq!(copy(&preview), "preview");
    assert!(preview.text().contains("APERÇU"), "{}", preview.text());
    let head = world.call("HEAD", &place).by("cashier").send().await.expect(200);
    assert_eq!(copy(&head), "preview", "whoever only asks is given none");
    let svg = get("?format=svg").await.expect(200);
    assert!(svg.text().starts_with("<svg") && copy(&svg).is_empty());
    let png = get("?format=png").await.expect(200);
    assert!(png.body.starts_with(b"\x89PNG"));
    assert!(png.header("cache-control").contains("immutable"));

    let first = get("").await.expect(200);
    assert_eq!(copy(&first), "original");
    assert_eq!(first.header("cache-control"), "no-store");
    assert!(first.header("content-security-policy").starts_with("default-src 'none'"));
    let text = first.text();
    assert!(!text.contains("DUPLICATA") && !text.contains("TEST"), "{text}");
    let payload = QrPayload::parse(&qr).expect("a code");
    let number = payload.fields().fiscal_number.clone();
    assert!(text.contains(&number), "{number}");

    let second = get("?format=pdf&width=80&lang=en").await.expect(200);
    assert!(second.body.starts_with(b"%PDF-"));
    assert_eq!(copy(&second), "duplicate; n=1");
    assert!(second.header("content-disposition").contains(&format!("{number}.pdf")));
    let third = get("?format=escpos&width=58").await.expect(200);
    assert_eq!(copy(&third), "duplicate; n=2");
    let fourth =
        world.get(&place).by("cashier").header("accept", "text/html").send().await.expect(200);
    assert_eq!(copy(&fourth), "duplicate; n=3");
    assert!(fourth.text().contains("DUPLICATA"), "{}", fourth.text());

    assert_eq!(get("?format=escpos&width=a4").await.expect(400).code(), "PARAMETER_INVALID");
    assert_eq!(get("?format=docx").await.expect(400).code(), "PARAMETER_INVALID");
    let foreign = world.get(&place).by("other").send().await.expect(404);
    assert_eq!(foreign.code(), "INVOICE_UNKNOWN");
    let log =
        world.get("/api/v1/audit/actions?action=receipt.duplicate").by("auditor").send().await;
    assert_eq!(log.expect(200).json()["data"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_original_whoever_is_asked() {
    let world = World::start_with(Setup { gateways: 2, ..Setup::default() }).await;
    let (place, _) = sold(&world, "outlet-gombe").await;
    let asked = (0..6).map(|at| world.call_at(at % 2, "GET", &place).by("owner").send());
    let answers = futures_util::future::join_all(asked).await;
    let mut copies: Vec<String> = Vec::new();
    for answer in &answers {
        // One that others got ahead of too often has given nothing out.
        match answer.status {
            200 => copies.push(copy(answer).to_owned()),
            _ => assert_eq!(answer.code(), "CLUSTER_BUSY"),
        }
    }
    copies.sort_unstable();
    let mut wanted: Vec<String> = (1..copies.len()).map(|n| format!("duplicate; n={n}")).collect();
    wanted.push("original".to_owned());
    assert_eq!(copies, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trials_receipt_says_that_it_is_one() {
    let world = World::start().await;
    let (place, _) = sold(&world, "outlet-essai").await;
    let receipt = world.get(&place).by("owner").send().await.expect(200).text();
    assert!(receipt.contains("TEST"), "{receipt}");
}
