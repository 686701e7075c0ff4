//! `fiscus bench` against a demonstration: each way in, what it checks, and what it refuses.

mod support;

use serde_json::Value;
use support::operator::until;
use support::{Demo, fiscus, fresh, leader_of, replica_number};

/// A load that is under way has sealed more.
const SOME_SALES: u64 = 100;

fn bench(demo: &Demo, arguments: &str) -> std::process::Command {
    let mut command = fiscus();
    command.args(["bench", "--dir"]).arg(&demo.dir).args(["--warm-up", "0", "--json"]);
    command.args(arguments.split_whitespace());
    command
}

fn told(out: &std::process::Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn each_way_in_is_measured_and_read_back() {
    let demo = Demo::start(&fresh("bench"));
    let chart = demo.dir.join("load.svg");
    let drawn = format!(
        "--outlets 20 --skew 1 --clients 1,8 --length 1 --verify --chart {}",
        chart.display()
    );
    let ways = [
        (drawn.as_str(), "grpc", 2),
        ("--batch 50 --outlets 20 --clients 2 --length 1 --verify", "grpc", 1),
        ("--via rest --outlets 20 --rate 20,60 --clients 16 --length 1 --verify", "rest", 2),
        ("--via rest --batch 20 --outlets 20 --clients 2 --length 1 --verify", "rest", 1),
        ("--via device --clients 3 --length 1 --verify", "device", 1),
    ];
    for (arguments, via, steps) in ways {
        let told = told(&bench(&demo, arguments).output().unwrap());
        assert_eq!(told["via"], via);
        let measured = told["steps"].as_array().unwrap();
        assert_eq!(measured.len(), steps, "{told}");
        for step in measured {
            assert!(step["sealed"].as_u64().unwrap() > 0, "{told}");
            assert!(step["milliseconds"]["p50"].as_f64().unwrap() > 0.0, "{told}");
            assert_eq!(step["refused"], 0, "{told}");
        }
        assert_eq!(told["checked"]["ok"], true, "{told}");
        // Everything that was answered is compared, with what came while it warmed up or after the end.
        let sealed: u64 = measured.iter().map(|step| step["sealed"].as_u64().unwrap()).sum();
        assert!(told["checked"]["answered"].as_u64().unwrap() >= sealed, "{told}");
    }
    let chart = std::fs::read_to_string(chart).unwrap();
    assert!(chart.starts_with("<svg ") && chart.contains("20 outlets"), "{chart}");
    demo.stop();
}

#[test]
fn a_leader_that_dies_under_load_loses_and_doubles_nothing() {
    let demo = Demo::start(&fresh("bench-kill"));
    let load = bench(&demo, "--outlets 10 --clients 16 --length 6 --verify")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let leader = leader_of(&demo.dir, 1).await;
        let applied = || replica_number(&demo.dir, leader, 1, "applied");
        let before = applied();
        until("it sells", async || applied() > before + SOME_SALES).await;
        demo.kill(leader);
    });
    let told = told(&load.wait_with_output().unwrap());
    assert_eq!(told["checked"]["ok"], true, "{told}");
    demo.stop();
}

#[test]
fn wrong_wishes_are_refused_in_words() {
    for (arguments, word) in [
        ("--dir /nonexistent", "admin.toml"),
        ("--batch 0", "--batch"),
        ("--batch 1001", "--batch"),
        ("--clients 0", "--clients"),
        ("--rate 0", "--rate"),
        ("--skew 9", "--skew"),
        ("--via device --batch 2", "--batch"),
        ("--node-address 127.0.0.1:1 --insecure", "127.0.0.1:1"),
    ] {
        let out = fiscus().arg("bench").args(arguments.split_whitespace()).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments}");
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.contains(word), "{arguments}: {said}");
        assert!(out.stdout.is_empty());
    }
}
