//! Embeds the pages of the error codes, so that a gateway explains its own answers wherever it runs.
//!
//! The pages are copied beside what is generated: clones that share a target directory must not read each other's.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

const PAGES: &str = "../docs/errors";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={PAGES}");
    // What the fuzzer is compiled with.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    let out = Path::new(&out);
    let mut names = Vec::new();
    for entry in fs::read_dir(PAGES)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            fs::copy(&path, out.join(format!("{name}.md")))?;
            names.push(name);
        }
    }
    names.sort();
    let mut source = String::from("[\n");
    for name in names {
        let page = format!("{name}.md");
        writeln!(source, "({name:?}, include_str!({page:?})),").map_err(io::Error::other)?;
    }
    source.push_str("]\n");
    fs::write(out.join("error_pages.rs"), source)
}
