//! A cluster that sells is moved to a newer program, node by node, and then to newer rules.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fiscus_ledger::json::Value;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, command};
use support::load::Load;
use support::{Demo, fiscus, fresh, history, number, signal, text, until};

const WAIT: Duration = Duration::from_secs(60);

/// Builds the program that knows the next rules, and says where it is.
fn next_program() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_fiscus"));
    let target = built.ancestors().nth(2).expect("target/debug/fiscus");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--profile", "test", "--package", "fiscus-tools"])
        .args(["--features", "next-apply-version", "--bin", "fiscus-next", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "fiscus-next does not build");
    built.with_file_name("fiscus-next")
}

/// Puts a program in the place of another, as a package manager does: those that run keep theirs.
fn put_in_place(program: &Path, place: &Path) {
    let fresh = place.with_extension("new");
    fs::copy(program, &fresh).unwrap();
    fs::rename(&fresh, place).unwrap();
}

/// The newest rules that a node knows, when it answers and has applied what the others have.
fn knows(demo: &Demo, id: u64) -> Option<u64> {
    let status = demo.status();
    let status = Value::parse(&status).ok()?;
    let Some(Value::Array(nodes)) = status.member("nodes") else { return None };
    let node = nodes.iter().find(|node| number(node, "id") == id)?;
    matches!(node.member("reachable"), Some(Value::Bool(true))).then_some(())?;
    let Some(Value::Array(groups)) = status.member("groups") else { return None };
    groups.iter().all(|group| number(group, "lag_max") < 50).then_some(())?;
    Some(number(node, "apply_version_max"))
}

/// Restarts a node; the demonstration starts what stands in the program's place.
async fn restart(demo: &Demo, id: u64) {
    let pid = |demo: &Demo| demo.pids().into_iter().find(|(known, _)| *known == id);
    let (_, before) = pid(demo).unwrap();
    signal("TERM", before);
    until("the node is started again", WAIT, || pid(demo).is_some_and(|(_, now)| now != before))
        .await;
}

fn raise(demo: &Demo) -> (Option<i32>, String) {
    let out = fiscus()
        .args(["admin", "--dir"])
        .arg(&demo.dir)
        .args(["apply-version", "raise", "2", "--yes", "--json"])
        .output()
        .unwrap();
    (out.status.code(), String::from_utf8(out.stdout).unwrap())
}

/// Opens a shift whose id only the second version of the rules takes.
async fn open_long_shift(client: &ClusterClient, terminal: &str) -> Answer {
    let key = blake3::hash(terminal.as_bytes());
    let open = proto::OpenShift {
        submitted: Some(proto::Submitted {
            outlet_id: "outlet-gombe".to_owned(),
            key: key.as_bytes()[..16].to_vec().into(),
            fingerprint: key.as_bytes().to_vec().into(),
        }),
        terminal_id: terminal.to_owned(),
        shift_id: "s".repeat(100),
        cashier_id: "cashier-1".to_owned(),
    };
    let command = proto::Command { command: Some(command::Command::OpenShift(open)) };
    let started = Instant::now();
    loop {
        match client.submit(1, command.clone(), Duration::from_secs(10)).await {
            Ok(answer) => return answer,
            Err(error) => assert!(started.elapsed() < WAIT, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selling_cluster_moves_to_newer_programs_and_then_to_newer_rules() {
    let next = next_program();
    let bin = fresh("cluster-upgrade-bin");
    fs::create_dir_all(&bin).unwrap();
    let program = bin.join("fiscus");
    put_in_place(Path::new(env!("CARGO_BIN_EXE_fiscus")), &program);
    let demo = Demo::start_program(&program, &fresh("cluster-upgrade"), &[]);
    let client = demo.client().await;
    let load = Load::start(&client, 4, "upgrade");
    load.wait_for(50).await;
    let (exit, said) = raise(&demo);
    assert_eq!(exit, Some(1), "{said}");

    put_in_place(&next, &program);
    for id in 1..=3 {
        until("the old program has caught up", WAIT, || knows(&demo, id) == Some(1)).await;
        restart(&demo, id).await;
        until("the new program has caught up", WAIT, || knows(&demo, id) == Some(2)).await;
        load.wait_for(50).await;
        if id < 3 {
            let (exit, said) = raise(&demo);
            assert_eq!(exit, Some(1), "a node with the old program votes: {said}");
        }
    }
    match open_long_shift(&client, "till-8").await {
        Answer::Refused(refusal) => assert_eq!(refusal.code, "FIELD_INVALID"),
        answer => panic!("the old rules hold until they are raised: {answer:?}"),
    }
    let (exit, said) = raise(&demo);
    assert_eq!(exit, Some(0), "{said}");
    load.wait_for(50).await;
    let answer = open_long_shift(&client, "till-9").await;
    assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");

    no_way_back(&demo, &program, &next).await;
    load.wait_for(50).await;
    let sales = load.finish().await;
    history::check(&client, &sales).await;
    until("all replicas are in the same state", WAIT, || agrees(&demo)).await;
    demo.stop();
}

/// The old program does not run on what the new rules have made, says why, and leaves it whole.
async fn no_way_back(demo: &Demo, program: &Path, next: &Path) {
    put_in_place(Path::new(env!("CARGO_BIN_EXE_fiscus")), program);
    restart(demo, 3).await;
    let log = demo.dir.join("n3/log");
    let refuses = || fs::read_to_string(&log).unwrap().contains("version 2");
    until("the old program says that it does not know the rules", WAIT, refuses).await;
    assert_ne!(knows(demo, 3), Some(1), "it must not serve");
    put_in_place(next, program);
    until("the new program runs again", WAIT, || knows(demo, 3) == Some(2)).await;
}

/// Whether every replica of group 1 is at the same state after the same entry.
fn agrees(demo: &Demo) -> bool {
    let status = demo.status();
    let status = Value::parse(&status).unwrap();
    let Some(Value::Array(nodes)) = status.member("nodes") else { return false };
    let mut states = Vec::new();
    for node in nodes {
        let Some(Value::Array(replicas)) = node.member("replicas") else { return false };
        let Some(replica) = replicas.iter().find(|known| number(known, "group") == 1) else {
            return false;
        };
        states.push((number(replica, "state_index"), text(replica, "state_hash")));
    }
    states.len() == 3 && states.windows(2).all(|pair| pair[0] == pair[1])
}
