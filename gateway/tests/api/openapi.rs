//! The gateway tells what it is: the document, the reference, and the pages of the codes.

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_and_kept_by_clients() {
    let world = World::start().await;
    let document = world.get("/openapi.json").send().await.expect(200);
    assert_eq!(document.json()["openapi"], "3.1.0");
    assert_eq!(document.text(), fiscus_gateway::api::openapi_json(), "every gateway's is the same");
    let tag = document.header("etag").to_owned();
    let again = world.get("/openapi.json").header("if-none-match", &tag).send().await.expect(304);
    assert!(again.body.is_empty());
    let other = world.get("/openapi.json").header("if-none-match", "\"other\"").send().await;
    other.expect(200);

    let page = world.get("/docs").send().await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let text = page.text();
    assert!(!text.contains("<script") && !text.contains("src=\""), "it loads nothing");
    for part in ["id=\"invoices_seal\"", "Idempotency-Key: $(uuidgen)", "/docs/errors/RATE_LIMITED"]
    {
        assert!(text.contains(part), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_a_problem_is_its_page() {
    let world = World::start().await;
    let problems = [
        world.get("/api/v1/nothing").send().await.expect(404),
        world.get("/api/v1/invoices/KIN-GOMBE-1").send().await.expect(401),
        world.get("/api/v1/checkpoints?a=b").by("auditor").send().await.expect(400),
        world.get("/api/v1/checkpoints").by("cashier").send().await.expect(403),
        world.call("PUT", "/openapi.json").send().await.expect(405),
    ];
    for problem in problems {
        let (code, place) = (problem.code(), problem.json()["type"].clone());
        let page = world.get(place.as_str().expect("a place")).send().await.expect(200);
        assert!(page.text().contains(&format!("<h1>{code}</h1>")), "{code}");
    }
    let index = world.get("/docs/errors").send().await.expect(200).text();
    assert!(index.contains("<a href=\"/docs/errors/TOTALS_MISMATCH\">"), "{index}");
    let none = world.get("/docs/errors/NOSUCHCODE").send().await.expect(404);
    assert_eq!(none.code(), "ROUTE_UNKNOWN");
}
