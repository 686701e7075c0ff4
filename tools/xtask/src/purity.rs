//! The ledger core is pure: what it reaches and what it says.
//!
//! Clippy bans the names (`ledger/clippy.toml`); this rule adds what clippy does not see: the crates and
//! features of the closure, floats whose type is inferred, and names that an `#[allow]` would let pass.

use crate::finding::Finding;
use crate::source::{Source, closing, is_word, line_at, lines_with_word};
use crate::workspace::Resolved;

/// All that the core may reach. A new crate is read first: no clock, no IO, no randomness, no hash order,
/// no threads. A row that nothing needs any more is a finding too.
const CRATES: &[&str] = &[
    "arrayvec",
    "base16ct",
    "blake3",
    "block-buffer",
    "cfg-if",
    "cmov",
    "const-oid",
    "constant_time_eq",
    "cpubits",
    "cpufeatures",
    "crypto-bigint",
    "crypto-common",
    "ctutils",
    "curve25519-dalek",
    "der",
    "digest",
    "ecdsa",
    "ed25519",
    "ed25519-dalek",
    "elliptic-curve",
    "ff",
    "fiat-crypto",
    "fiscus-ledger",
    "group",
    "hmac",
    "hybrid-array",
    // On ARM cpufeatures asks it which instructions there are.
    "libc",
    "num-traits",
    "p256",
    "primefield",
    "primeorder",
    // Traits only: without features it has no source of randomness.
    "rand_core",
    "rfc6979",
    "sec1",
    "sha2",
    "signature",
    "subtle",
    "thiserror",
    "tinyvec",
    "typenum",
    "unicode-normalization",
    "wnaf",
    "zeroize",
];

/// Features by which an otherwise pure crate gets a clock, IO, randomness or threads.
const FEATURES: &[&str] =
    &["async", "getrandom", "mmap", "os_rng", "rand", "rayon", "sys_rng", "tokio"];

const WORDS: &[(&str, &str)] = &[
    ("SystemTime", "time is an argument"),
    ("Instant::", "time is an argument"),
    ("HashMap", "use BTreeMap: its order is the same on every replica"),
    ("HashSet", "use BTreeSet: its order is the same on every replica"),
    ("RandomState", "randomness is an argument"),
    ("rand::", "randomness is an argument"),
    ("f32", "use fixed point"),
    ("f64", "use fixed point"),
    (".unwrap()", "return an error, or say with `expect` why it cannot happen"),
    ("async fn", "the core never waits"),
    ("async move", "the core never waits"),
    ("thread_local!", "state is an argument"),
    ("println!", "return it: the core does no IO"),
    ("eprintln!", "return it: the core does no IO"),
    ("print!", "return it: the core does no IO"),
    ("eprint!", "return it: the core does no IO"),
];

/// Modules of the standard library that the core does without, as `std::x` or inside `std::{…}`. What is
/// pure in them (addresses, durations) is in `core` under the same name.
const MODULES: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread", "time"];

/// Checks the core's normal dependency closure, with the features that the core alone asks for.
pub(crate) fn check_closure(closure: &[Resolved]) -> Vec<Finding> {
    let table = "tools/xtask/src/purity.rs";
    let mut findings = Vec::new();
    for package in closure {
        if !CRATES.contains(&package.name.as_str()) {
            let message = format!(
                "the core reaches {}: do without it, or show that it is pure and add it to {table}",
                package.name
            );
            findings.push(Finding::new("ledger/Cargo.toml", 0, "core-closure", message));
        }
        for feature in package.features.iter().filter(|f| FEATURES.contains(&f.as_str())) {
            let message = format!("turn off the feature {feature} of {}", package.name);
            findings.push(Finding::new("ledger/Cargo.toml", 0, "core-closure", message));
        }
    }
    for known in CRATES.iter().filter(|known| !closure.iter().any(|p| p.name == **known)) {
        let message = format!("the core no longer reaches {known}: remove its row");
        findings.push(Finding::new(table, 0, "core-closure", message));
    }
    findings
}

/// Whether a path is source of the core that ends up in the product.
pub(crate) fn is_core_source(path: &str) -> bool {
    path.starts_with("ledger/src/")
        && path.ends_with(".rs")
        && !path.ends_with("/tests.rs")
        && !path.contains("/tests/")
}

/// Checks one file of the core, without its tests.
pub(crate) fn check_source(path: &str, text: &str) -> Vec<Finding> {
    let code = Source::new(text).code_outside_tests();
    let mut findings = Vec::new();
    for (word, instead) in WORDS {
        for line in lines_with_word(&code, word) {
            findings.push(Finding::new(path, line, "core-source", format!("{word}: {instead}")));
        }
    }
    for module in MODULES {
        for line in lines_with_word(&code, &format!("std::{module}")) {
            let message = format!("std::{module}: the core has no IO; what is pure is in `core`");
            findings.push(Finding::new(path, line, "core-source", message));
        }
    }
    let chars: Vec<char> = code.chars().collect();
    for (line, module) in grouped_modules(&chars) {
        let message = format!("std::{{{module}}}: the core has no IO; what is pure is in `core`");
        findings.push(Finding::new(path, line, "core-source", message));
    }
    for line in float_literals(&chars) {
        findings.push(Finding::new(path, line, "core-source", "a float literal: use fixed point"));
    }
    findings
}

/// The banned modules in `std::{a, b::{c}}`, with their lines.
fn grouped_modules(code: &[char]) -> Vec<(usize, String)> {
    let opening: Vec<char> = "std::{".chars().collect();
    let mut found = Vec::new();
    for start in (0..code.len()).filter(|start| code[*start..].starts_with(&opening)) {
        let open = start + opening.len() - 1;
        let end = closing(code, open);
        let mut at = open + 1;
        while at < end {
            let word: String = code[at..end].iter().take_while(|c| is_word(**c)).collect();
            if MODULES.contains(&word.as_str()) {
                found.push((line_at(code, at), word));
            }
            // To the next member of this group, past the groups inside it.
            while at < end && code[at] != ',' {
                at = if code[at] == '{' { closing(code, at) } else { at + 1 };
            }
            at += 1;
            while at < end && code[at].is_whitespace() {
                at += 1;
            }
        }
    }
    found
}

/// The lines with a literal such as `1.5`, `2e9` or `2e-9`. `x.0.1` and `0x1e3` are none.
fn float_literals(code: &[char]) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let after = at.checked_sub(1).map(|before| code[before]);
        let starts_number =
            code[at].is_ascii_digit() && !after.is_some_and(|c| is_word(c) || c == '.');
        let length = code[at..].iter().take_while(|c| is_word(**c)).count();
        if starts_number {
            let digits: String = code[at..at + length].iter().collect();
            let fraction = matches!(code[at + length..], ['.', c, ..] if c.is_ascii_digit());
            let tail = digits.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
            let exponent = tail.strip_prefix(['e', 'E']).is_some_and(|power| {
                power.is_empty() || power.starts_with(|c: char| c.is_ascii_digit() || c == '_')
            });
            if fraction || exponent {
                lines.push(line_at(code, at));
            }
        }
        at += length.max(1);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, features: &[&str]) -> Resolved {
        Resolved {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            features: features.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn the_closure_is_the_known_one() {
        let known = || CRATES.iter().map(|name| resolved(name, &["alloc"]));
        assert_eq!(check_closure(&known().collect::<Vec<_>>()), []);
        for stranger in ["tokio", "rand", "getrandom", "serde_json", "time", "log", "hashbrown"] {
            let closure: Vec<_> = known().chain([resolved(stranger, &[])]).collect();
            assert_eq!(check_closure(&closure).len(), 1, "{stranger}");
        }
        let impure: Vec<_> =
            known().map(|p| Resolved { features: vec!["mmap".into()], ..p }).collect();
        assert_eq!(check_closure(&impure).len(), CRATES.len());
        assert_eq!(check_closure(&known().skip(1).collect::<Vec<_>>()).len(), 1);
    }

    #[test]
    fn each_banned_word_is_found_in_code_only() {
        let table = [
            ("let t = SystemTime::now();", 1),
            ("use std::time::Duration;", 1),
            ("use core::time::Duration; use core::net::Ipv4Addr;", 0),
            ("use std::collections::{HashMap, HashSet};", 2),
            ("use std::{collections::BTreeMap, time::Duration, fmt::{self, Write}, fs};", 2),
            ("use std::{collections::BTreeMap, fmt::{self, time}};", 0),
            ("let x: f64 = y;", 1),
            ("let x = 1.5;", 1),
            ("let x = 2e9;", 1),
            ("let x = 2e-9;", 1),
            ("let x = 1_000.0;", 1),
            ("let x = t.0.1 + 0x1e3 + 3usize + 0b1;", 0),
            ("for i in 0..10 {}", 0),
            ("let x = y.unwrap();", 1),
            ("let x = y.unwrap_or_default();", 0),
            ("pub async fn a() {}", 1),
            ("println!(\"x\");", 1),
            ("eprintln!(\"x\");", 1),
            ("let key = rand::random();", 1),
            ("std::env::var(\"A\");", 1),
            ("std::fs::read(p);", 1),
            ("// HashMap, f64, std::time and 1.5 are banned", 0),
            ("/// An f64 would lose centimes.", 0),
            ("let x = \"f64 1.5 HashMap\";", 0),
            ("#[cfg(test)]\nmod tests { fn a() { b.unwrap(); let x: f64 = 1.5; } }", 0),
            ("/// Instant of sealing\nstruct InstantMs;", 0),
        ];
        for (text, count) in table {
            let findings = check_source("ledger/src/x.rs", text);
            assert_eq!(findings.len(), count, "{text}: {findings:?}");
        }
    }

    #[test]
    fn tests_of_the_core_are_not_its_source() {
        let table = [
            ("ledger/src/money.rs", true),
            ("ledger/src/commands/seal.rs", true),
            ("ledger/src/commands/tests.rs", false),
            ("ledger/src/state/tests/model.rs", false),
            ("ledger/tests/model.rs", false),
            ("gateway/src/lib.rs", false),
            ("ledger/src/data.json", false),
        ];
        for (path, is_core) in table {
            assert_eq!(is_core_source(path), is_core, "{path}");
        }
    }
}
