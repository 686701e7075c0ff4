//! The files of the repository, as git sees them, and the rules about the files as such.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::finding::Finding;

const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Names under which anything and therefore nothing can be found.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "misc", "stuff", "util", "utils", "utilities"];

/// A file that git tracks, or would track after `git add`.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Empty when the file is too large or not text.
    pub(crate) text: String,
}

/// Reads every file that is tracked or new and not ignored.
pub(crate) fn read(root: &Path) -> Result<Vec<File>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
        .current_dir(root)
        .output()
        .context("starting git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in names.split('\0').filter(|name| !name.is_empty()) {
        let full = root.join(path);
        // Deleted but not yet staged, a link, or a module of its own: not a file of this repository.
        let Ok(metadata) = full.symlink_metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let bytes = metadata.len();
        let text = if bytes <= FILE_BYTES_MAX {
            let raw = std::fs::read(&full).with_context(|| format!("reading {path}"))?;
            String::from_utf8(raw).unwrap_or_default()
        } else {
            String::new()
        };
        files.push(File { path: path.to_owned(), bytes, text });
    }
    Ok(files)
}

/// Checks the names and sizes.
pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for File { path, bytes, .. } in files {
        if *bytes > FILE_BYTES_MAX {
            let message = format!("{bytes} bytes: generate it, or keep a smaller one");
            findings.push(Finding::new(path, 0, "large-file", message));
        }
        let stem = |part: &str| part.split('.').next().unwrap_or_default().to_ascii_lowercase();
        if let Some(part) = path.split('/').find(|part| EMPTY_NAMES.contains(&stem(part).as_str()))
        {
            let message = format!("name {part} after what it does");
            findings.push(Finding::new(path, 0, "file-name", message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_checked() {
        let table = [
            ("ledger/src/money.rs", 10, None),
            ("ledger/src/utils.rs", 10, Some("file-name")),
            ("tests/common/mod.rs", 10, Some("file-name")),
            ("web/src/Helpers.test.ts", 10, Some("file-name")),
            ("web/src/commonwealth.ts", 10, None),
            ("data/a.bin", FILE_BYTES_MAX, None),
            ("data/a.bin", FILE_BYTES_MAX + 1, Some("large-file")),
        ];
        for (path, bytes, rule) in table {
            let findings = check(&[File { path: path.to_owned(), bytes, text: String::new() }]);
            assert_eq!(findings.first().map(|finding| finding.rule), rule, "{path}");
        }
    }
}
