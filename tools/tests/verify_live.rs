//! `fiscus verify` on what a running cluster answers: what it gives out passes, and what somebody changed on the way is
//! refused with the exit code of its kind.

mod support;

#[path = "../../verify/tests/support/random.rs"]
mod random;

use std::collections::BTreeMap;

use random::Random;
use serde_json::{Value, json};
use support::auditor::{trust, verify};
use support::{Demo, fresh};

const SALE: &str = include_str!("../../docs/samples/sale.json");
const OUTLETS: [(&str, &str, &str); 4] = [
    ("outlet-gombe", "A1234567B", "KIN-GOMBE"),
    ("outlet-limete", "A1234567B", "KIN-LIMETE"),
    ("outlet-matete", "B7654321C", "KIN-MATETE"),
    ("outlet-ngaliema", "B7654321C", "KIN-NGALIEMA"),
];
/// Of each outlet so many ranges are asked for.
const RANGES: usize = 6;
/// Exit codes.
const SIGNATURE: i32 = 10;
const INCLUSION: i32 = 11;
const CHAIN: i32 = 13;
const GAP: i32 = 14;
const DUPLICATE: i32 = 15;
const FORMAT: i32 = 19;

/// Sells so many at an outlet.
async fn sell(demo: &Demo, (outlet, nif, _): (&str, &str, &str), count: usize) {
    let sale = SALE.replace("outlet-gombe", outlet).replace("A1234567B", nif);
    let sale: Value = serde_json::from_str(&sale).expect("the sample is JSON");
    let items: Vec<Value> = (0..count)
        .map(|at| json!({ "idempotency_key": format!("{outlet}-{at}"), "invoice": sale }))
        .collect();
    let sold = demo.ask("POST", "/api/v1/invoices/batch").json(&json!({ "invoices": items }));
    let sold = sold.send().await.expect(200);
    assert!(!sold.text().contains("\"problem\""), "{}", sold.text());
}

/// A bundle as it was answered: its first line, and a line for each record.
#[derive(Clone)]
struct Bundle {
    head: String,
    records: Vec<String>,
}

impl Bundle {
    fn read(text: &str) -> Self {
        let mut lines = text.lines().map(str::to_owned);
        let head = lines.next().expect("a first line");
        Self { head, records: lines.collect() }
    }

    /// The numbers of its invoices.
    fn numbers(&self, series: &str) -> Vec<u64> {
        let named = format!("\"fiscal_number\":\"{series}-");
        let of = |record: &String| record.split_once(&named)?.1.split_once('"')?.0.parse().ok();
        self.records.iter().filter_map(of).collect()
    }

    /// As a file, whose first line counts the records that there are.
    fn text(&self, said: usize) -> String {
        let (said, count) = (format!("\"records\":{said}}}"), self.records.len());
        assert!(self.head.ends_with(&said), "{}", self.head);
        let head = self.head.replace(&said, &format!("\"records\":{count}}}"));
        let lines = std::iter::once(&head).chain(&self.records);
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// Writes a bundle and asks about the whole of it, or about a part.
fn check(demo: &Demo, outlet: &str, text: &str, asked: &[&str]) -> (i32, Value) {
    std::fs::write(demo.dir.join("bundle"), text).unwrap();
    let arguments = [&["range", "--outlet", outlet], asked, &["bundle"]].concat();
    verify(&demo.dir, &arguments)
}

/// What somebody may do to a bundle, and the exit code that it has to end with.
fn attacks(good: &Bundle, other: &str, random: &mut Random) -> Vec<(&'static str, Bundle, i32)> {
    let count = good.records.len();
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut bundle = good.clone();
        change(&mut bundle.records);
        bundle
    };
    let (at, last) = (random.below(count), count - 1);
    let pair = random.below(count - 1);
    let mut all = vec![
        ("dropped", changed(&|records| drop(records.remove(at))), GAP),
        ("the last one dropped", changed(&|records| drop(records.pop())), GAP),
        ("the first one dropped", changed(&|records| drop(records.remove(0))), GAP),
        ("told twice", changed(&|records| records.insert(at, records[at].clone())), DUPLICATE),
        ("one more at the end", changed(&|records| records.push(records[last].clone())), DUPLICATE),
        ("two swapped", changed(&|records| records.swap(pair, pair + 1)), GAP),
        ("another outlet's added", changed(&|records| records.insert(at, other.to_owned())), CHAIN),
    ];
    // Not every record is an invoice.
    let invoices = (0..count).filter(|at| good.records[*at].contains("\"fiscal_number\":\"KIN-"));
    let invoices: Vec<usize> = invoices.collect();
    if !invoices.is_empty() {
        let at = invoices[random.below(invoices.len())];
        let renumbered = |records: &mut Vec<String>| {
            let (before, rest) = records[at].split_once("\"fiscal_number\":\"").expect("a number");
            let (number, after) = rest.split_once('"').expect("its end");
            let (series, digits) = number.rsplit_once('-').expect("a sequence");
            let next = digits.parse::<u64>().expect("a number") + 1;
            records[at] = format!("{before}\"fiscal_number\":\"{series}-{next}\"{after}");
        };
        all.push(("renumbered", changed(&renumbered), CHAIN));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_a_running_cluster_are_exactly_what_they_say() {
    let demo = Demo::start_with(&fresh("verify-live"), &["--nodes", "1"]);
    let mut random = Random(20_261_128);
    for outlet in OUTLETS {
        sell(&demo, outlet, 12 + random.below(20)).await;
    }
    trust(&demo).await;
    let mut tried: BTreeMap<&str, u32> = BTreeMap::new();
    let mut other = String::new();
    for (outlet, _, series) in OUTLETS {
        let whole = demo.ask("GET", &format!("/api/v1/audit/proofs/range?outlet_id={outlet}"));
        let whole = Bundle::read(&whole.send().await.expect(200).text());
        let (exit, said) = check(&demo, outlet, &whole.text(whole.records.len()), &[]);
        assert_eq!((exit, &said["from_the_start"]), (0, &json!(true)), "{said}");
        let count = whole.records.len();
        if other.is_empty() {
            other.clone_from(&whole.records[0]);
            continue;
        }
        for round in 0..RANGES {
            let first = 1 + random.below(count - 3);
            let last = (first + 1 + random.below(count - first)).min(count);
            let query = format!("outlet_id={outlet}&from_position={first}&to_position={last}");
            let path = format!("/api/v1/audit/proofs/range?{query}");
            let bundle = Bundle::read(&demo.ask("GET", &path).send().await.expect(200).text());
            let said = bundle.records.len();
            assert!(said > last - first, "{path}: {said} records");
            // Asked about by positions, and by the numbers that lie between them.
            let numbers = bundle.numbers(series);
            let by_number = numbers.first().zip(numbers.last()).filter(|_| round % 2 == 1);
            let (from, to) = match by_number {
                Some((from, to)) => (format!("{series}-{from}"), format!("{series}-{to}")),
                None => (first.to_string(), last.to_string()),
            };
            let (exit, told) =
                check(&demo, outlet, &bundle.text(said), &["--from", &from, "--to", &to]);
            assert_eq!(exit, 0, "{path}: {told}");
            for (name, attacked, code) in attacks(&bundle, &other, &mut random) {
                let (exit, told) = check(&demo, outlet, &attacked.text(said), &[]);
                assert_eq!(exit, code, "{name}: {path}: {told}");
                *tried.entry(name).or_default() += 1;
            }
            // A bundle does not answer for what is not in it, nor for another outlet.
            let beyond = match by_number {
                Some((_, to)) => format!("{series}-{}", to + 1_000),
                None => (last + 1_000).to_string(),
            };
            let asked = ["--from", &from, "--to", &beyond];
            assert_eq!(check(&demo, outlet, &bundle.text(said), &asked).0, GAP, "{path}");
            let (exit, told) = check(&demo, "outlet-gombe", &bundle.text(said), &[]);
            assert_eq!(exit, INCLUSION, "{path}: {told}");
        }
    }
    assert!(tried.len() == 8 && tried.values().all(|times| *times > 3), "{tried:?}");
    absent(&demo).await;
    proved_by_lists(&demo).await;
    demo.stop();
}

/// What does not exist is proved so; what exists is not.
async fn absent(demo: &Demo) {
    let path = |outlet: &str| format!("/api/v1/audit/proofs/absence?group=1&outlet_id={outlet}");
    for outlet in ["outlet-nowhere", "outlet-gomb", "outlet-gombe-2"] {
        let bundle = demo.ask("GET", &path(outlet)).send().await.expect(200).text();
        let (exit, said) = check(demo, outlet, &bundle, &[]);
        assert_eq!((exit, &said["absent"]), (0, &json!(true)), "{said}");
        let renamed = bundle.replace(outlet, "outlet-gombe");
        assert_eq!(check(demo, "outlet-gombe", &renamed, &[]).0, INCLUSION, "{outlet}");
        let elsewhere = bundle.replacen("\"group\":1", "\"group\":0", 1);
        assert_eq!(check(demo, outlet, &elsewhere, &[]).0, FORMAT, "{outlet}");
    }
    demo.ask("GET", &path("outlet-gombe")).send().await.expect(409);
}

/// The proof that stands beside an invoice in a list is one that `fiscus verify receipt` takes, for that invoice alone.
async fn proved_by_lists(demo: &Demo) {
    let page = demo.ask("GET", "/api/v1/invoices?outlet_id=outlet-limete&proof=true&limit=3");
    let page = page.send().await.expect(200).json();
    let items = page["data"].as_array().expect("data").clone();
    assert_eq!(items.len(), 3);
    for (at, item) in items.iter().enumerate() {
        let number = item["fiscal_number"].as_str().expect("a number");
        let sealed = demo.ask("GET", &format!("/api/v1/invoices/{number}")).send().await;
        let sealed = sealed.expect(200).json();
        let code = sealed["qr_payload"].as_str().expect("a code");
        std::fs::write(demo.dir.join("proof"), item["proof"].as_str().expect("a proof")).unwrap();
        let (exit, said) = verify(&demo.dir, &["receipt", "--proof", "proof", code]);
        assert_eq!((exit, &said["entry_hash"]), (0, &item["proved_hash"]), "{said}");
        let other = items[(at + 1) % 3]["proof"].as_str().expect("a proof");
        std::fs::write(demo.dir.join("proof"), other).unwrap();
        assert_eq!(verify(&demo.dir, &["receipt", "--proof", "proof", code]).0, INCLUSION);
    }
    pictured(demo).await;
}

/// The picture of a receipt's code is as good as its text.
async fn pictured(demo: &Demo) {
    let picture = |number: &str| {
        demo.ask("GET", &format!("/api/v1/invoices/{number}/receipt?format=png")).send()
    };
    let png = picture("KIN-LIMETE-2").await.expect(200).body;
    std::fs::write(demo.dir.join("receipt.png"), &png).unwrap();
    let (exit, said) = verify(&demo.dir, &["receipt", "receipt.png"]);
    assert_eq!((exit, &said["fiscal_number"]), (0, &json!("KIN-LIMETE-2")), "{said}");
    std::fs::write(demo.dir.join("cut.png"), &png[..png.len() / 2]).unwrap();
    let (exit, said) = verify(&demo.dir, &["receipt", "cut.png"]);
    assert_eq!((exit, &said["kind"]), (2, &json!("usage")), "{said}");
    let sealed = demo.ask("GET", "/api/v1/invoices/KIN-LIMETE-2").send().await.expect(200).json();
    let code = sealed["qr_payload"].as_str().expect("a code");
    std::fs::write(demo.dir.join("code.txt"), format!("{code}\n")).unwrap();
    assert_eq!(verify(&demo.dir, &["receipt", "code.txt"]).0, 0, "a file with the text");
    let forged = code.replace("KIN-LIMETE-2", "KIN-LIMETE-3");
    std::fs::write(demo.dir.join("code.txt"), forged).unwrap();
    assert_eq!(verify(&demo.dir, &["receipt", "code.txt"]).0, SIGNATURE);
    assert_eq!(verify(&demo.dir, &["receipt", "no-such-file.png"]).0, 2, "it cannot be read");
}
