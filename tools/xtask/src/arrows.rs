//! The arrows between the crates, and what every manifest of the workspace must say.

use crate::finding::Finding;
use crate::workspace::{Member, Workspace};

/// Which folders a crate's normal and build dependencies may name. Development dependencies are free,
/// except that nothing at all may depend on a `Leaf`.
const ARROWS: &[(&str, Reach)] = &[
    ("proto", Reach::Only(&[])),
    ("ledger", Reach::Only(&["proto"])),
    ("raft", Reach::Only(&["ledger", "proto"])),
    ("node", Reach::Only(&["raft", "ledger", "proto"])),
    ("gateway", Reach::Only(&["ledger", "proto"])),
    ("device-proxy", Reach::Only(&["ledger", "proto"])),
    ("verify", Reach::Only(&[])),
    ("tools", Reach::Anything),
    ("tools/xtask", Reach::Leaf(&[])),
    ("jepsen", Reach::LeafOfAll),
    ("jepsen/model", Reach::LeafOfAll),
    ("jepsen/check", Reach::For(&["jepsen/nemesis"])),
    ("jepsen/dice", Reach::For(&["jepsen/nemesis", "jepsen/sim"])),
    ("jepsen/nemesis", Reach::LeafOfAll),
    ("jepsen/sim", Reach::LeafOfAll),
    ("jepsen/stand-in", Reach::For(&["jepsen/sim"])),
    ("tests", Reach::LeafOfAll),
    ("benches", Reach::LeafOfAll),
];

#[derive(Debug, Clone, Copy)]
enum Reach {
    Only(&'static [&'static str]),
    Anything,
    /// May reach these, and nothing may reach it.
    Leaf(&'static [&'static str]),
    /// May reach everything, and nothing may reach it.
    LeafOfAll,
    /// Reaches nothing, and only these may reach it.
    For(&'static [&'static str]),
}

/// Manifests with lints of their own, each with its reason.
const OWN_LINTS: &[(&str, &str)] = &[(
    "jepsen/stand-in/Cargo.toml",
    "it gives two symbols of the C library, which cannot be done without unsafe code",
)];

/// Checks names and edges of every member.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &workspace.members {
        let manifest = format!("{}/Cargo.toml", member.folder);
        let Some(reach) = reach(&member.folder) else {
            let message =
                format!("{} is new: give it a row in tools/xtask/src/arrows.rs", member.folder);
            findings.push(Finding::new(&manifest, 0, "arrow", message));
            continue;
        };
        let expected = package_name(&member.folder);
        if member.name != expected {
            let message = format!("name the package {expected}, not {}", member.name);
            findings.push(Finding::new(&manifest, 0, "crate-name", message));
        }
        findings.extend(check_edges(member, reach, &workspace.members, &manifest));
    }
    findings
}

fn check_edges(member: &Member, from: Reach, all: &[Member], manifest: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for dependency in &member.dependencies {
        let Some(target) = all.iter().find(|m| m.name == dependency.name) else {
            let message = format!("{} is a path outside the workspace", dependency.name);
            findings.push(Finding::new(manifest, dependency.line, "arrow", message));
            continue;
        };
        let is_leaf = matches!(reach(&target.folder), Some(Reach::Leaf(_) | Reach::LeafOfAll));
        let only_for = match reach(&target.folder) {
            Some(Reach::For(users)) => Some(users),
            _ => None,
        };
        let forbidden = match from {
            _ if is_leaf => true,
            _ if only_for.is_some_and(|users| !users.contains(&&*member.folder)) => true,
            _ if only_for.is_some() => false,
            _ if dependency.dev => false,
            Reach::Anything | Reach::LeafOfAll => false,
            Reach::For(_) => true,
            Reach::Only(allowed) | Reach::Leaf(allowed) => {
                !allowed.contains(&target.folder.as_str())
            }
        };
        if forbidden {
            let message = format!(
                "{} may not depend on {}: move what is shared towards ledger or proto",
                member.folder, target.folder
            );
            findings.push(Finding::new(manifest, dependency.line, "arrow", message));
        }
    }
    findings
}

fn reach(folder: &str) -> Option<Reach> {
    ARROWS.iter().find(|(known, _)| *known == folder).map(|(_, reach)| *reach)
}

/// Folder name and crate name agree, the last part of it; the task runner keeps the name that everybody gives it.
fn package_name(folder: &str) -> String {
    match folder {
        "tools/xtask" => "xtask".to_owned(),
        folder => format!("fiscus-{}", folder.rsplit('/').next().unwrap_or(folder)),
    }
}

/// A package manifest that does not inherit the lints escapes all of them.
pub(crate) fn check_lints_inherited(path: &str, manifest: &str) -> Option<Finding> {
    let sections = || manifest.lines().map(str::trim);
    let has_own = OWN_LINTS.iter().any(|(known, _)| *known == path);
    if has_own || !sections().any(|line| line == "[package]") {
        return None;
    }
    let inherits = sections()
        .skip_while(|line| *line != "[lints]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .any(|line| line.replace(' ', "") == "workspace=true");
    let message = "add `[lints]` with `workspace = true`";
    (!inherits).then(|| Finding::new(path, 0, "lints-inherited", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn workspace(edges: &[(&str, &str, bool)]) -> Workspace {
        let members = ARROWS.iter().map(|(folder, _)| Member {
            name: package_name(folder),
            folder: (*folder).to_owned(),
            dependencies: edges
                .iter()
                .filter(|(from, _, _)| from == folder)
                .map(|(_, to, dev)| Dependency { name: package_name(to), dev: *dev, line: 4 })
                .collect(),
        });
        Workspace { members: members.collect(), third_party: Vec::new() }
    }

    #[test]
    fn each_edge_is_allowed_or_refused() {
        let table = [
            ("ledger", "proto", false, true),
            ("ledger", "raft", false, false),
            ("ledger", "raft", true, true),
            ("proto", "ledger", false, false),
            ("raft", "ledger", false, true),
            ("raft", "node", false, false),
            ("node", "raft", false, true),
            ("node", "gateway", false, false),
            ("gateway", "ledger", false, true),
            ("gateway", "raft", false, false),
            ("gateway", "node", false, false),
            ("device-proxy", "proto", false, true),
            ("device-proxy", "gateway", false, false),
            ("tools", "node", false, true),
            ("tools", "jepsen", false, false),
            ("tools", "tests", true, false),
            ("tools", "tools/xtask", false, false),
            ("tools/xtask", "ledger", false, false),
            ("jepsen", "tools", false, true),
            ("jepsen", "tests", true, false),
            ("benches", "node", false, true),
            ("jepsen/sim", "node", false, true),
            ("jepsen/sim", "jepsen/stand-in", false, true),
            ("node", "jepsen/stand-in", true, false),
            ("tools", "jepsen/stand-in", false, false),
            ("jepsen/stand-in", "ledger", false, false),
            ("jepsen/nemesis", "jepsen/dice", false, true),
            ("jepsen/check", "jepsen/dice", false, false),
            ("tools", "jepsen/sim", true, false),
            ("ledger", "benches", true, false),
        ];
        for (from, to, dev, allowed) in table {
            let findings = check(&workspace(&[(from, to, dev)]));
            assert_eq!(findings.is_empty(), allowed, "{from} → {to}, dev {dev}: {findings:?}");
        }
        let findings = check(&workspace(&[("ledger", "raft", false)]));
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("ledger/Cargo.toml", 4));
    }

    #[test]
    fn names_and_folders_agree() {
        let mut workspace = workspace(&[]);
        workspace.members[0].name = "proto".to_owned();
        assert_eq!(check(&workspace)[0].rule, "crate-name");
        workspace.members[0].folder = "elsewhere".to_owned();
        assert_eq!(check(&workspace)[0].rule, "arrow");
    }

    #[test]
    fn a_manifest_inherits_the_lints() {
        let table = [
            ("[package]\n[lints]\nworkspace = true\n", true),
            ("[package]\nname = \"x\"\n", false),
            ("[package]\n[lints]\n[x]\nworkspace = true\n", false),
            ("[workspace]\n", true),
        ];
        for (manifest, inherits) in table {
            let finding = check_lints_inherited("x/Cargo.toml", manifest);
            assert_eq!(finding.is_none(), inherits, "{manifest}");
        }
    }
}
