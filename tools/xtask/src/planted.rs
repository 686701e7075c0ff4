//! Planted bugs exist for the simulation alone: no product can be built with one.
//!
//! A feature that plants is found by its name, which begins with `planted-`. Non-goal: what the bugs are.

use crate::finding::Finding;
use crate::workspace::Resolved;

/// The manifests that may have such a feature; all but the last only hand it on.
const MANIFESTS: &[&str] =
    &["ledger/Cargo.toml", "raft/Cargo.toml", "node/Cargo.toml", "jepsen/sim/Cargo.toml"];

/// Whether the shipped binary has such a feature as it is built.
pub(crate) fn check_shipped(shipped: &[Resolved]) -> Vec<Finding> {
    let planted = shipped
        .iter()
        .filter(|package| package.features.iter().any(|feature| feature.starts_with("planted-")));
    let finding = |package: &Resolved| {
        let message =
            format!("{} is shipped with a planted bug: turn the feature off", package.name);
        Finding::new("tools/Cargo.toml", 0, "planted", message)
    };
    planted.map(finding).collect()
}

/// Whether a manifest that is no business of the simulation's names such a feature, or one is on by default.
pub(crate) fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let code = |line: &&str| !line.trim_start().starts_with('#');
    let lines = (1..).zip(text.lines()).filter(|(_, line)| code(line) && line.contains("planted-"));
    let wrong = lines.filter(|(_, line)| {
        let own = line.starts_with("planted-") && MANIFESTS.contains(&path);
        !own || line.starts_with("default")
    });
    let message = "only the simulation may plant bugs, and no feature may that is on by default";
    wrong.map(|(line, _)| Finding::new(path, line, "planted", message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(features: &[&str]) -> Vec<Resolved> {
        let features = features.iter().map(|name| (*name).to_owned()).collect();
        vec![Resolved { name: "fiscus-raft".to_owned(), version: "0.1.0".to_owned(), features }]
    }

    #[test]
    fn a_shipped_bug_is_found() {
        assert!(check_shipped(&shipped(&["default", "sled"])).is_empty());
        assert_eq!(check_shipped(&shipped(&["planted-bugs"])).len(), 1);
    }

    #[test]
    fn only_the_simulation_plants() {
        let own =
            "[features]\n# planted-bugs for tests\nplanted-bugs = [\"fiscus-raft/planted-bugs\"]\n";
        let rows = [
            ("raft/Cargo.toml", own, 0),
            ("tools/Cargo.toml", own, 1),
            ("gateway/Cargo.toml", "f = { workspace = true, features = [\"planted-bugs\"] }\n", 1),
            ("node/Cargo.toml", "default = [\"planted-bugs\"]\n", 1),
            ("node/Cargo.toml", "default = [\"pkcs11\"]\n", 0),
            ("Cargo.toml", "fiscus-raft = { path = \"raft\", features = [\"planted-bugs\"] }\n", 1),
        ];
        for (path, text, found) in rows {
            assert_eq!(check_manifest(path, text).len(), found, "{path}: {text}");
        }
    }
}
