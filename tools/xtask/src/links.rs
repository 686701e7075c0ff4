//! Every relative link of a document leads to a file of the repository, and its anchor to a heading.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::File;
use crate::finding::Finding;

/// Checks the links of all Markdown files against the files there are.
pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut places: BTreeSet<String> = BTreeSet::new();
    for file in files {
        let parts: Vec<&str> = file.path.split('/').collect();
        places.extend((1..=parts.len()).map(|count| parts[..count].join("/")));
    }
    let documents = || files.iter().filter(|file| file.path.ends_with(".md"));
    let headings: BTreeMap<&str, BTreeSet<String>> =
        documents().map(|file| (file.path.as_str(), anchors(&file.text))).collect();
    let mut findings = Vec::new();
    for file in documents() {
        for (line, target) in targets(&file.text) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let Some(path) = resolve(&file.path, path) else {
                let message = format!("{target} leads out of the repository");
                findings.push(Finding::new(&file.path, line, "link", message));
                continue;
            };
            let anchored = headings.get(path.as_str()).is_none_or(|known| known.contains(anchor));
            if !path.is_empty() && !places.contains(&path) {
                let message = format!("{target}: there is no {path}");
                findings.push(Finding::new(&file.path, line, "link", message));
            } else if !anchor.is_empty() && !anchored {
                let message = format!("{target}: {path} has no such heading");
                findings.push(Finding::new(&file.path, line, "link", message));
            }
        }
    }
    findings
}

/// The relative link targets of a document with their lines, outside of code.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (line, prose) in prose_lines(text) {
        let visible = prose.split('`').step_by(2).collect::<Vec<_>>().join("");
        let inline = visible.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let reference = visible
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "))
            .map(|(_, target)| target);
        for target in inline.chain(reference) {
            let target = target.split_whitespace().next().unwrap_or_default();
            let target = target.trim_start_matches('<').trim_end_matches('>');
            if !target.contains("://") && !target.starts_with("mailto:") {
                targets.push((line, target.to_owned()));
            }
        }
    }
    targets
}

/// The numbered lines that are not inside a code fence.
fn prose_lines(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((index + 1, line));
        }
    }
    lines
}

/// The anchors of a document's headings, as code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose_lines(text).into_iter().filter(|(_, line)| line.starts_with('#')) {
        let slug: String = line
            .trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let free = (0..).map(|n| if n == 0 { slug.clone() } else { format!("{slug}-{n}") });
        anchors.extend(free.into_iter().find(|candidate| !anchors.contains(candidate)));
    }
    anchors
}

/// A link in `from` as a path from the root; empty for the root itself, `None` above it.
fn resolve(from: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(from.to_owned());
    }
    let folder: Vec<&str> = from.split('/').collect();
    let mut parts: Vec<&str> = match link.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder[..folder.len() - 1].to_vec(),
    };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_resolves_or_is_found() {
        let table = [
            ("[a](docs/A.md)", 0),
            ("[a](docs/B.md)", 1),
            ("[a](docs/)", 0),
            ("[a](docs/A.md#the-seal)", 0),
            ("[a](docs/A.md#the-seal-1)", 0),
            ("[a](docs/A.md#the-seals)", 1),
            ("[a](#top)", 0),
            ("[a](#bottom)", 1),
            ("[a](../x)", 1),
            ("[a](https://example.org/x) [b](mailto:a@b.c)", 0),
            ("[a](docs/A.md \"title\") and [b](no.md)", 1),
            ("[a]: docs/B.md", 1),
            ("`[a](no.md)`", 0),
            ("```\n[a](no.md)\n```", 0),
            ("![image](docs/a.png)", 1),
        ];
        for (text, count) in table {
            let file = |path: &str, text: &str| File {
                path: path.to_owned(),
                bytes: 1,
                text: text.to_owned(),
            };
            let files = [
                file("README.md", &format!("# Top\n{text}\n")),
                file("docs/A.md", "## The seal\n## The `seal`!\n[up](../README.md)\n"),
            ];
            let findings = check(&files);
            assert_eq!(findings.len(), count, "{text}: {findings:?}");
        }
    }
}
