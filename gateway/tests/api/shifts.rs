//! Shifts: open, sell, close with the X of it; and found again.

use crate::support::{World, sale};
use serde_json::{Value, json};

const OUTLET: &str = "outlet-limete";

fn shift(terminal: &str, shift: &str) -> Value {
    json!({ "outlet_id": OUTLET, "pos_terminal_id": terminal, "cashier_id": "cashier-7", "shift_id": shift })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_is_opened_and_closed_with_its_report() {
    let world = World::start().await;
    let open = |key: &str, body: &Value| {
        world.post("/api/v1/shifts").by("supervisor").idempotent(key).json(body).send()
    };
    let first = open("o1", &shift("till-1", "matin")).await.expect(201);
    assert_eq!(first.json()["status"], "open");
    assert_eq!(open("o1", &shift("till-1", "matin")).await.expect(200).body, first.body);
    assert_eq!(
        open("o1", &shift("till-1", "soir")).await.expect(409).code(),
        "IDEMPOTENCY_CONFLICT"
    );
    assert_eq!(open("o2", &shift("till-1", "soir")).await.expect(409).code(), "SHIFT_OPEN");

    let call = world.post("/api/v1/invoices").by("owner").idempotent("sale");
    call.json(&sale(OUTLET, 700)).send().await.expect(201);
    let path = format!("/api/v1/shifts/matin?outlet_id={OUTLET}");
    let now = world.get(&path).by("cashier").send().await;
    assert_eq!(now.expect(404).code(), "OUTLET_UNKNOWN", "the cashier is of another outlet");
    let now = world.get(&path).by("supervisor").send().await.expect(200).json();
    assert_eq!((&now["status"], &now["report"]["report"]), (&json!("open"), &json!("x")));
    assert_eq!(now["report"]["invoices"], 1);

    let close = |key: &str, id: &str| {
        let body =
            json!({ "outlet_id": OUTLET, "pos_terminal_id": "till-1", "cashier_id": "cashier-7" });
        let path = format!("/api/v1/shifts/{id}/close");
        world.post(&path).by("supervisor").idempotent(key).json(&body).send()
    };
    assert_eq!(close("c0", "soir").await.expect(409).code(), "SHIFT_NOT_OPEN");
    let long = close("c2", &"x".repeat(65)).await.expect(422);
    assert_eq!(long.code(), "FIELD_INVALID");
    let closed = close("c1", "matin").await.expect(200);
    assert_eq!(closed.json()["report"]["drawers"][0]["payments"]["cash"], "700.00");
    assert_eq!(close("c1", "matin").await.expect(200).body, closed.body);
    let read = world.get(&path).by("supervisor").send().await.expect(200);
    assert_eq!(read.json(), closed.json());
    let gone =
        world.get(&format!("/api/v1/shifts/soir?outlet_id={OUTLET}")).by("owner").send().await;
    assert_eq!(gone.expect(404).code(), "SHIFT_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_and_closed_shifts_are_listed_page_by_page() {
    let world = World::start().await;
    for round in 0..3 {
        for till in 1..=2 {
            let (terminal, id) = (format!("till-{till}"), format!("s-{till}-{round}"));
            let call = world.post("/api/v1/shifts").by("owner").idempotent(&format!("o-{id}"));
            call.json(&shift(&terminal, &id)).send().await.expect(201);
            if round < 2 || till == 1 {
                let call = world.post(&format!("/api/v1/shifts/{id}/close"));
                let body =
                    json!({ "outlet_id": OUTLET, "pos_terminal_id": terminal, "cashier_id": "c" });
                call.by("owner")
                    .idempotent(&format!("c-{id}"))
                    .json(&body)
                    .send()
                    .await
                    .expect(200);
            }
        }
    }
    for (query, wanted) in [("", 6), ("&status=open", 1), ("&status=closed", 5)] {
        for limit in [1, 2, 50] {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            loop {
                let path =
                    format!("/api/v1/shifts?outlet_id={OUTLET}{query}&limit={limit}{cursor}");
                let page = world.get(&path).by("owner").send().await.expect(200).json();
                let data = page["data"].as_array().expect("data");
                assert!(data.len() <= limit);
                found.extend(data.iter().map(|shift| shift["shift_id"].clone()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            let mut unique = found.clone();
            unique.sort_by_key(Value::to_string);
            unique.dedup();
            assert_eq!((found.len(), unique.len()), (wanted, wanted), "{query} {limit}: {found:?}");
        }
    }
    let first = world.get(&format!("/api/v1/shifts?outlet_id={OUTLET}&limit=1")).by("owner");
    let cursor =
        first.send().await.expect(200).json()["next_cursor"].as_str().expect("more").to_owned();
    let path = format!("/api/v1/shifts?outlet_id=outlet-gombe&cursor={cursor}");
    assert_eq!(world.get(&path).by("owner").send().await.expect(400).code(), "CURSOR_INVALID");
}
