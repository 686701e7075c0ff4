//! One version of each crate in the shipped binary, or a reason for the second.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::workspace::Resolved;

/// A crate that the shipped binary holds more than once, with what forces it. A row that is no longer
/// needed is a finding too.
pub(crate) const ALLOWED: &[(&str, &str)] = &[
    ("block-buffer", "openraft's quorum-set hashes with sha2 0.10"),
    ("cpufeatures", "openraft's quorum-set hashes with sha2 0.10"),
    ("crypto-common", "openraft's quorum-set hashes with sha2 0.10"),
    ("digest", "openraft's quorum-set hashes with sha2 0.10"),
    ("getrandom", "ring is at 0.2, and the rand of openraft at 0.4"),
    ("sha2", "openraft's quorum-set hashes with sha2 0.10"),
];

const TABLE: &str = "tools/xtask/src/duplicates.rs";

/// Compares the versions in the closure of the shipped binary with the table of exceptions.
pub(crate) fn check(shipped: &[Resolved], allowed: &[(&str, &str)]) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in shipped {
        let known = versions.entry(&package.name).or_default();
        if !known.contains(&package.version.as_str()) {
            known.push(&package.version);
        }
    }
    let mut findings = Vec::new();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !allowed.iter().any(|(known, _)| known == name) {
            let message = format!(
                "{name} is shipped as {}: align them, or add a row with the reason to {TABLE}",
                versions.join(" and ")
            );
            findings.push(Finding::new("Cargo.lock", 0, "duplicate", message));
        }
    }
    for (name, reason) in allowed {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            let message = format!("{name} is shipped once now: remove its row ({reason})");
            findings.push(Finding::new(TABLE, 0, "duplicate", message));
        }
        if reason.trim().is_empty() {
            let message = format!("say what forces two versions of {name}");
            findings.push(Finding::new(TABLE, 0, "duplicate", message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(packages: &[(&str, &str)]) -> Vec<Resolved> {
        let resolved = |(name, version): &(&str, &str)| Resolved {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            features: Vec::new(),
        };
        packages.iter().map(resolved).collect()
    }

    #[test]
    fn duplicates_need_an_exception_and_exceptions_a_duplicate() {
        let twice = shipped(&[("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")]);
        let once = shipped(&[("a", "1.0.0"), ("a", "1.0.0"), ("b", "1.0.0")]);
        assert_eq!(check(&twice, &[]).len(), 1);
        assert_eq!(check(&twice, &[("a", "b is behind")]), []);
        assert_eq!(check(&twice, &[("a", " ")]).len(), 1);
        assert_eq!(check(&once, &[]), []);
        assert_eq!(check(&once, &[("a", "b is behind")]).len(), 1);
        assert_eq!(check(&once, &[("gone", "b is behind")]).len(), 1);
    }
}
