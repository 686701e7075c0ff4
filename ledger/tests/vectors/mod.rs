//! Golden files: compared byte by byte, or written anew with `FISCUS_BLESS=1`.

#![allow(clippy::disallowed_methods, reason = "tests read, and when asked write, golden files")]

use std::path::Path;

/// Compares a golden file of `tests/vectors` at the repository's root.
pub(crate) fn compare(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(file);
    if std::env::var_os("FISCUS_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    let differs = committed.lines().zip(actual.lines()).position(|(old, new)| old != new);
    assert!(committed == actual, "{file} differs, first in line {:?}", differs.map(|at| at + 1));
}
