//! What an auditor has beside a demonstration: a policy, and `fiscus verify`.

use std::path::Path;

use serde_json::Value;

use super::gateway::call;
use super::{Demo, admin, fiscus};

/// Writes what the cluster's operator hands over into the demonstration's directory: the published keys, and a policy
/// with the keys of the logs.
pub async fn trust(demo: &Demo) {
    let keys = call(demo.gateway_address(), "GET", "/.well-known/fiscal-keys.json").send().await;
    std::fs::write(demo.dir.join("fiscal-keys.json"), &keys.expect(200).body).unwrap();
    let (listed, said) = admin(&demo.dir, "keys list --json");
    assert!(listed, "{said}");
    let listed: Value = serde_json::from_str(&said).expect("a line of JSON");
    let keys = listed["keys"].as_array().expect("keys").iter();
    let logs = keys.filter(|key| key["purpose"] == "log").map(|key| {
        let origin = format!("demo.fiscus.example/g/{}", key["group"]);
        format!("{{ origin = \"{origin}\", public_key = {} }}", key["public_key"])
    });
    let logs: Vec<String> = logs.collect();
    let policy = format!(
        "fiscus_policy = 1\nlogs = [{}]\nfiscal_keys = \"fiscal-keys.json\"\n",
        logs.join(", ")
    );
    std::fs::write(demo.dir.join("policy.toml"), policy).unwrap();
}

/// Runs `fiscus verify` with that policy: the exit code and the line of JSON.
pub fn verify(dir: &Path, arguments: &[&str]) -> (i32, Value) {
    let mut command = fiscus();
    command.arg("verify").args(arguments).args(["--json", "--policy", "policy.toml"]);
    let out = command.current_dir(dir).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let read = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (out.status.code().expect("an exit code"), read)
}
