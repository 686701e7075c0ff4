//! A short run with real faults, and what a planted violation does to its history.

use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fiscus_check::{History, Kind, check, exit_code};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for some of each fault.
const SECONDS: &str = "14";

/// The program that FISCUS names, or that the workspace's tests have built beside this one; alone, it is built now.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("FISCUS") {
        return named.into();
    }
    let own = std::env::current_exe().expect("where this test is");
    let target = own.ancestors().nth(3).expect("target/debug/deps/run");
    let program = target.join("debug/fiscus");
    if !program.exists() {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--package", "fiscus-tools", "--bin", "fiscus"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.expect("cargo runs").success(), "fiscus does not build");
    }
    program
}

fn judged(history: &str) -> Vec<Kind> {
    let history = History::read(Cursor::new(history)).expect("a history");
    check(&history).into_iter().map(|finding| finding.kind).collect()
}

/// Without root or namespaces this fails and says so: nothing is left out silently.
#[test]
fn killed_and_parted_nodes_lose_nothing_and_a_planted_violation_is_found() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jepsen-short");
    let out = Command::new(env!("CARGO_BIN_EXE_fiscus-jepsen"))
        .args(["--nemesis", "kill,partition", "--seconds", SECONDS, "--seed", "5"])
        .args([
            "--rate",
            "100",
            "--clients",
            "8",
            "--cold",
            "5",
            "--gap-ms",
            "2500",
            "--fault-ms",
            "2500",
        ])
        .arg("--program")
        .arg(program())
        .arg("--dir")
        .arg(&dir)
        .output()
        .expect("it runs");
    let (said, told) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{said}\n{told}");
    println!("{said}");

    let summary = std::fs::read_to_string(dir.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    for fault in ["kill", "partition"] {
        assert!(summary["faults"][fault].as_u64().unwrap_or(0) >= 1, "no {fault}: {summary}");
    }
    assert!(summary["acknowledged"].as_u64().unwrap() >= 300, "{summary}");
    assert!(summary["restart_caught_up"]["count"].as_u64().unwrap() >= 1, "{summary}");
    let page = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("</svg>") && page.contains(">sound</b>"), "{page}");
    assert!(dir.join("timeline.svg").exists() && dir.join("history.edn").exists());

    let history = std::fs::read_to_string(dir.join("history.jsonl")).unwrap();
    planted(&history);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// The run's own history, with one thing changed.
fn planted(history: &str) {
    assert_eq!(judged(history), []);
    let lines: Vec<&str> = history.lines().collect();
    // An acknowledged sale is not in the journal: its record goes, as if its outlet had never had it.
    let last_sale =
        |line: &&str| line.starts_with("{\"record\"") && line.contains("\"kind\":\"sale\"");
    let at = lines.iter().rposition(last_sale).expect("a sale");
    let without = spoilt(&lines, at, |_| None);
    assert!(judged(&without).contains(&Kind::Lost));
    // It was answered with another number.
    let answered = |line: &&str| {
        line.starts_with("{\"op\"")
            && line.contains("\"f\":\"seal\"")
            && line.contains("\"number\":")
    };
    let at = lines.iter().rposition(answered).expect("an answer");
    let altered = spoilt(&lines, at, |line| Some(line.replace("\"number\":", "\"number\":9")));
    let found = judged(&altered);
    assert!(found.contains(&Kind::Altered), "{found:?}");
    // A replica says that it is in another state than the others.
    let state = lines.iter().find(|line| line.starts_with("{\"state\"")).expect("a state");
    let (before, _) = state.rsplit_once("\"hash\":\"").expect("its hash");
    let other = format!("{history}{before}\"hash\":\"{}\"}}}}\n", "00".repeat(32));
    let spoilt = check(&History::read(BufReader::new(other.as_bytes())).unwrap());
    assert_eq!(exit_code(&spoilt), Kind::States.exit_code(), "{spoilt:?}");
}

fn spoilt(lines: &[&str], at: usize, change: impl Fn(&str) -> Option<String>) -> String {
    let changed = lines.iter().enumerate().filter_map(|(place, line)| match place == at {
        true => change(line),
        false => Some((*line).to_owned()),
    });
    changed.map(|line| line + "\n").collect()
}

/// The mounts of a run.
fn mounts(dir: &Path) -> usize {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("Linux");
    mounts.lines().filter(|line| line.contains(&*dir.to_string_lossy())).count()
}

/// The processes that name a run's directory.
fn processes(dir: &Path) -> usize {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    let told = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    told.filter(|told| String::from_utf8_lossy(told).contains(&*dir.to_string_lossy())).count()
}

/// The bridge of a run, and its number, which no other has.
fn bridge(dir: &Path) -> (String, String) {
    let config = std::fs::read_to_string(dir.join("n1.toml")).expect("a node's configuration");
    let address = config.lines().find_map(|line| line.strip_prefix("rpc_listen = ")).unwrap();
    let bridge = format!("fj{}", address.split('.').nth(2).expect("four numbers"));
    let number = number_of(&bridge).expect("the run's network");
    (bridge, number)
}

fn number_of(bridge: &str) -> Option<String> {
    std::fs::read_to_string(format!("/sys/class/net/{bridge}/ifindex")).ok()
}

#[test]
fn an_upgrade_without_an_older_program_is_refused_at_once() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jepsen-upgrade");
    let out = Command::new(env!("CARGO_BIN_EXE_fiscus-jepsen"))
        .args(["--nemesis", "kill,upgrade", "--dir"])
        .arg(&dir)
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{told}");
    assert!(told.contains("--previous FILE") && !dir.exists(), "{told}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a file of another process is looked at again")]
fn a_run_that_is_stopped_leaves_no_process_network_or_mount() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jepsen-stopped");
    // An earlier run's, which failed.
    let _ = std::fs::remove_dir_all(&dir);
    let mut run = Command::new(env!("CARGO_BIN_EXE_fiscus-jepsen"))
        .args(["--nemesis", "power", "--seconds", "150", "--seed", "6", "--clients", "4"])
        // No fault comes within two minutes.
        .args(["--rate", "20", "--cold", "2", "--gap-ms", "600000"])
        .arg("--program")
        .arg(program())
        .arg("--dir")
        .arg(&dir)
        .spawn()
        .expect("it runs");
    let history = dir.join("history.jsonl");
    let began = Instant::now();
    while std::fs::read_to_string(&history).unwrap_or_default().lines().count() < 20 {
        assert!(began.elapsed() < Duration::from_secs(120), "nothing is sold");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (bridge, number) = bridge(&dir);
    assert_eq!(mounts(&dir), 3, "each node has a disk");
    assert!(processes(&dir) > 3, "the run, and its nodes");
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    assert_eq!(run.wait().expect("it ends").code(), Some(130));
    assert_eq!((mounts(&dir), processes(&dir)), (0, 0));
    assert_ne!(number_of(&bridge), Some(number), "its network is still there");
    std::fs::remove_dir_all(&dir).unwrap();
}
