//! Without a majority, and without anybody.

use super::{by_number, by_qr, page_of, seal, text, unlimited};
use crate::support::{Setup, World};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_up_is_never_called_unknown() {
    let configure = |config: &mut _| {
        unlimited(config);
        config.limits.request_timeout_ms = 6_000;
    };
    let setup = Setup { nodes: 3, configure, ..Setup::default() };
    let mut world = World::start_with(setup).await;
    let sealed = seal(&world, "owner", "outlet-gombe", 100).await;
    let (number, code) = (text(&sealed, "fiscal_number"), text(&sealed, "auth_code"));
    let fresh = by_number(&world, number, code).await.expect(200).json();
    assert!(fresh.get("as_of").is_none(), "{fresh}");
    // Every replica has it before the majority goes.
    world.cluster.wait_equal(1).await;

    let leader = world.cluster.leader(1).await;
    let other = leader % 3 + 1;
    world.cluster.kill_node(leader).await;
    world.cluster.kill_node(other).await;
    let found = by_number(&world, number, code).await.expect(200).json();
    assert_eq!(found["result"], "verified", "a replica is enough to find it");
    assert_eq!(found["as_of"]["group"], 1, "and says as of when: {found}");
    let found = by_qr(&world, text(&sealed, "qr_payload")).await.expect(200).json();
    assert_eq!((&found["result"], &found["as_of"]["group"]), (&"verified".into(), &1.into()));
    let found = by_number(&world, "KIN-GOMBE-999", code).await.expect(200).json();
    assert_eq!((&found["result"], &found["as_of"]["group"]), (&"not_found".into(), &1.into()));
    assert!(text(&found, "detail").contains("ask again later"), "{found}");
    let typed = format!("/v?fn=KIN-GOMBE-999&auth_code={code}");
    let page = world.get(&typed).header("accept-language", "fr").send().await.expect(200).text();
    assert!(page.contains("S’il est récent, cela ne dit rien"), "{page}");
    assert!(!page.contains("pas authentique"), "{page}");

    let last = (1..=3).find(|id| ![leader, other].contains(id)).expect("a third");
    world.cluster.kill_node(last).await;
    for (number, code) in [(number, code), ("KIN-GOMBE-999", code), ("NO-SUCH-1", code)] {
        let refused = by_number(&world, number, code).await.expect(503);
        assert_eq!(refused.code(), "CLUSTER_UNAVAILABLE", "{number}");
        assert!(!refused.header("retry-after").is_empty());
    }
    by_qr(&world, text(&sealed, "qr_payload")).await.expect(503);
    let page = page_of(text(&sealed, "qr_payload"));
    for (language, words) in [("fr", "Registre inaccessible"), ("en", "Ledger not reachable")] {
        let answer = world.get(&page).header("accept-language", language).send().await.expect(503);
        assert!(answer.text().contains(words), "{}", answer.text());
        assert!(!answer.header("retry-after").is_empty());
    }
}
