//! Marks that must not land: unfinished work, debugging, ignored tests, silent exceptions, and names of
//! places outside the repository.
//!
//! The needles are put together from halves so that this file does not hold them.

use crate::finding::Finding;
use crate::source::{Attribute, Source, attributes, lines_with_word};

const MACROS: &[(&str, &str)] =
    &[("todo!", "finish it"), ("unimplemented!", "finish it"), ("dbg!", "remove it")];

const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("yarnpkg", ".com"),
    concat!("rubygems", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("repo.maven.apache", ".org"),
    concat!("repo1.maven", ".org"),
    concat!("nuget", ".org"),
    concat!("anaconda", ".org"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("ftp.debian", ".org"),
];

const OUTSIDE: &[&str] = &[concat!("..", "/shared"), concat!("/wo", "rk/")];

/// Checks one text file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = if path.ends_with(".rs") {
        check_rust(path, text)
    } else {
        check_notes(path, prose(path, text))
    };
    findings.extend(check_places(path, text));
    findings
}

fn check_rust(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::new(text);
    let mut findings = Vec::new();
    for (name, instead) in MACROS {
        for line in lines_with_word(&source.code, name) {
            findings.push(Finding::new(path, line, "unfinished", format!("{name}: {instead}")));
        }
    }
    for attribute in attributes(&source.code) {
        findings.extend(check_attribute(path, &attribute));
    }
    let comments = source.comments.into_iter().map(|comment| (comment.line, comment.text));
    findings.extend(check_notes(path, comments));
    findings
}

fn check_attribute(path: &str, attribute: &Attribute) -> Option<Finding> {
    let words = attribute.words();
    let first = *words.first()?;
    let names = |word: &str| first == word || (first == "cfg_attr" && words.contains(&word));
    if names("ignore") {
        let message = "let the test run, or remove it";
        return Some(Finding::new(path, attribute.line, "unfinished", message));
    }
    let excepts = names("allow") || names("expect");
    (excepts && !words.contains(&"reason")).then(|| {
        Finding::new(path, attribute.line, "reason", "say why: `reason = \"…\"` in the attribute")
    })
}

fn check_notes(path: &str, lines: impl IntoIterator<Item = (usize, String)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in lines {
        for note in NOTES.iter().filter(|note| !lines_with_word(&text, note).is_empty()) {
            let message = format!("{note}: finish it, or open an issue");
            findings.push(Finding::new(path, line, "unfinished", message));
        }
    }
    findings
}

/// The numbered lines of a file that is not Rust. A word in backquotes of a document is a mention.
fn prose(path: &str, text: &str) -> Vec<(usize, String)> {
    let spoken = |line: &str| -> String {
        if path.ends_with(".md") {
            line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
        } else {
            line.to_owned()
        }
    };
    text.lines().enumerate().map(|(index, line)| (index + 1, spoken(line))).collect()
}

fn check_places(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Cargo writes the name of its index into the lock file itself.
        if !path.ends_with("Cargo.lock") {
            for host in HOSTS.iter().filter(|host| line.contains(**host)) {
                let message = format!("do not name {host}: the package tool knows its index");
                findings.push(Finding::new(path, index + 1, "registry-host", message));
            }
        }
        if !path.starts_with(".ci/") {
            for outside in OUTSIDE.iter().filter(|outside| line.contains(**outside)) {
                let message = format!("{outside} is outside the repository: it stands alone");
                findings.push(Finding::new(path, index + 1, "outside", message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(path, text).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn unfinished_code_is_found() {
        let table = [
            ("fn a() { todo!() }".to_owned(), 1),
            ("fn a() { unimplemented!(\"x\") }".to_owned(), 1),
            ("dbg!(x);".to_owned(), 1),
            ("#[test]\n#[ignore]\nfn a() {}".to_owned(), 1),
            ("#[ignore = \"slow\"]\nfn a() {}".to_owned(), 1),
            ("#[cfg_attr(unix, ignore)]\nfn a() {}".to_owned(), 1),
            ("#[cfg(ignore)]\nfn a() {}".to_owned(), 0),
            (format!("// {}: later", NOTES[0]), 1),
            (format!("/// {} and {}", NOTES[1], NOTES[2]), 2),
            (format!("let x = \"{}\";", NOTES[0]), 0),
            ("// printed as XXXX-XXXX, todo! is banned".to_owned(), 0),
        ];
        for (text, count) in table {
            assert_eq!(rules("a.rs", &text), vec!["unfinished"; count], "{text}");
        }
        assert_eq!(rules("a.sh", &format!("# {}: x", NOTES[0])), ["unfinished"]);
        assert_eq!(rules("a.md", &format!("{}: x", NOTES[0])), ["unfinished"]);
        assert_eq!(rules("a.md", &format!("we have no `{}` here", NOTES[0])), [] as [&str; 0]);
    }

    #[test]
    fn exceptions_have_reasons() {
        let table = [
            ("#[allow(dead_code)]", 1),
            ("#![allow(dead_code)]", 1),
            ("#[cfg_attr(test, allow(dead_code))]", 1),
            ("#[expect(dead_code)]", 1),
            ("#[allow(dead_code, reason = \"read by the debugger\")]", 0),
            ("#[expect(\n    dead_code,\n    reason = \"x\"\n)]", 0),
            ("// #[allow(dead_code)]", 0),
            ("#[allow_this]", 0),
        ];
        for (text, count) in table {
            assert_eq!(rules("a.rs", text), vec!["reason"; count], "{text}");
        }
    }

    #[test]
    fn places_outside_are_found() {
        let host = HOSTS[0];
        assert_eq!(rules("a.toml", &format!("x = \"https://{host}\"")), ["registry-host"]);
        assert_eq!(rules("a.rs", &format!("// see {host}")), ["registry-host"]);
        assert_eq!(rules("Cargo.lock", host), [] as [&str; 0]);
        assert_eq!(rules("docs/a.md", OUTSIDE[0]), ["outside"]);
        assert_eq!(rules(".ci/run", OUTSIDE[0]), [] as [&str; 0]);
    }
}
