//! Embeds the pages of the error codes, so that a gateway explains its own answers wherever it runs.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

const PAGES: &str = "../docs/errors";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={PAGES}");
    // What the fuzzer is compiled with.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    let folder = fs::canonicalize(PAGES)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let mut source = String::from("[\n");
    for name in names {
        let path = folder.join(format!("{name}.md"));
        writeln!(source, "({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    source.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    fs::write(Path::new(&out).join("error_pages.rs"), source)
}
