//! What a rule says about one place, and the list of all rules.

use std::fmt;

use serde_json::{Value, json};

/// One broken rule at one place. Findings sort by place, so that output is stable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from 1; 0 when the finding is about the file as a whole.
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    /// What is wrong and what to do about it.
    pub(crate) message: String,
}

/// Every rule that a finding may carry, with the sentence that `--help` prints.
pub(crate) const RULES: &[(&str, &str)] = &[
    ("arrow", "crates of the workspace depend on each other only along the allowed arrows"),
    ("crate-name", "the package in folder F is named fiscus-F"),
    ("lints-inherited", "every crate takes the lints of the workspace"),
    ("core-closure", "the ledger reaches only crates known to be pure, without impure features"),
    ("core-source", "the ledger's source has no clock, IO, float, hash order or unwrap"),
    ("licence", "every third-party crate may be used under an allowed licence"),
    ("duplicate", "the shipped binary holds one version of each crate"),
    ("planted", "no product can be built with a planted bug"),
    ("unfinished", "nothing unfinished, ignored or left from debugging"),
    ("reason", "every allowed lint says why"),
    ("long-function", "a function of more than 70 lines says why: // long: reason"),
    ("long-file", "a file of more than 700 lines says why: // long file: reason"),
    ("file-name", "a file is named after what it does"),
    ("large-file", "no file over 1 MiB"),
    ("registry-host", "no package index is named"),
    ("outside", "nothing points outside the repository"),
    ("link", "every relative link of a document resolves"),
];

impl Finding {
    pub(crate) fn new(
        path: &str,
        line: usize,
        rule: &'static str,
        message: impl Into<String>,
    ) -> Self {
        debug_assert!(RULES.iter().any(|(known, _)| *known == rule), "rule {rule} is not listed");
        Self { path: path.to_owned(), line, rule, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// The whole answer of `check --json`, on one line.
pub(crate) fn to_json(findings: &[Finding], files: usize) -> Value {
    let rows: Vec<Value> = findings
        .iter()
        .map(|f| json!({"path": f.path, "line": f.line, "rule": f.rule, "message": f.message}))
        .collect();
    json!({"ok": findings.is_empty(), "files": files, "findings": rows})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_as_one_clickable_line() {
        let finding = Finding::new("a/b.rs", 7, "arrow", "turn it round");
        assert_eq!(finding.to_string(), "a/b.rs:7: arrow: turn it round");
        assert_eq!(
            to_json(&[finding], 3).to_string(),
            r#"{"files":3,"findings":[{"line":7,"message":"turn it round","path":"a/b.rs","rule":"arrow"}],"ok":false}"#
        );
    }
}
