//! What does not match: one answer, after one time.

use std::time::{Duration, Instant};

use super::{by_number, seal, text, world};

const ROUNDS: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_does_not_match_is_answered_alike() {
    let world = world().await;
    let sealed = seal(&world, "owner", "outlet-gombe", 1_000).await;
    let (number, code) = (text(&sealed, "fiscal_number"), text(&sealed, "auth_code"));
    let wrong = "0000-0000-0000-0000";
    let first = by_number(&world, number, wrong).await.expect(200);
    assert_eq!(first.json()["result"], "not_found");
    let long = "9".repeat(80);
    for (number, code) in [
        ("KIN-GOMBE-999999", code),
        ("KIN-GOMBE-999999", wrong),
        ("KIN-LIMETE-1", code),
        ("NO-SUCH-1", code),
        ("nonsense", code),
        (long.as_str(), code),
        (number, "nonsense"),
        (number, ""),
    ] {
        let found = by_number(&world, number, code).await.expect(200);
        assert_eq!(found.body, first.body, "{number} {code}");
    }
    let missing = world.get(&format!("/api/v1/verify/{number}")).send().await.expect(400);
    assert_eq!(missing.code(), "PARAMETER_INVALID");
}

/// Who measures cannot tell a number that exists from one that does not, nor from one of no outlet. The rounds are
/// interleaved, so that whatever else the machine does meets all alike.
#[tokio::test(flavor = "multi_thread")]
async fn the_clock_does_not_tell_which_numbers_exist() {
    let world = world().await;
    let sealed = seal(&world, "owner", "outlet-gombe", 1_000).await;
    let exists = text(&sealed, "fiscal_number");
    let wrong = "0000-0000-0000-0000";
    by_number(&world, exists, wrong).await.expect(200);
    let numbers = [exists, "KIN-GOMBE-999999", "NO-SUCH-1"];
    let mut took: [Vec<Duration>; 3] = Default::default();
    for round in 0..ROUNDS {
        for place in 0..numbers.len() {
            let place = (place + round) % numbers.len();
            let began = Instant::now();
            by_number(&world, numbers[place], wrong).await.expect(200);
            took[place].push(began.elapsed());
        }
    }
    let medians = took.map(|mut took| {
        took.sort();
        took[took.len() / 2].as_secs_f64()
    });
    for (place, median) in medians.iter().enumerate().skip(1) {
        let ratio = median / medians[0];
        let alike = (0.9..1.1).contains(&ratio);
        assert!(alike, "{}: {ratio:.3} times as long: {medians:?}", numbers[place]);
    }
}
