//! Every code has a page, every page a code: what a client reads in an answer can be looked up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fiscus_device_proxy::protocol::Code as DeviceCode;
use fiscus_gateway::standing::WarningCode;
use fiscus_ledger::outcome::RefusalCode;
use fiscus_ledger::problem::Code;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files with an ending below a folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

/// Codes of the gateway that a look at its source cannot tell from other words in capitals.
const ONE_WORD: [&str; 5] = ["BLOCKED", "DRIFT", "OVERLOADED", "SILENT", "UNAUTHENTICATED"];

/// Words in capitals of the source that are no codes of ours: of cargo, of serde, of the tax authority.
const OF_OTHERS: [&str; 4] =
    ["CARGO_MANIFEST_DIR", "NIF_UNKNOWN", "OUT_DIR", "SCREAMING_SNAKE_CASE"];

/// Whether a quoted text of the source is a code: words in capitals, joined by underscores.
fn is_code(text: &str) -> bool {
    text.contains('_')
        && text.split('_').all(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
}

fn codes() -> BTreeSet<String> {
    let invoice = Code::ALL.iter().map(|code| code.as_str().to_owned());
    let ledger = RefusalCode::ALL.iter().map(|code| code.as_str().to_owned());
    let device = DeviceCode::ALL.iter().map(|code| code.as_str().to_owned());
    let mut codes: BTreeSet<String> = invoice.chain(ledger).chain(device).collect();
    let own = files(&folder("src"), "rs").into_iter();
    let gateway = files(&folder("../gateway/src"), "rs");
    // Why a device does not seal while the cluster is away.
    let till = folder("../device-proxy/src/offline/till.rs");
    for path in own.chain(gateway).chain([till]) {
        let source = fs::read_to_string(path).unwrap();
        codes.extend(source.split('"').filter(|text| is_code(text)).map(str::to_owned));
    }
    for other in OF_OTHERS {
        codes.remove(other);
    }
    let warnings = WarningCode::ALL.map(|code| serde_json::to_value(code).unwrap());
    codes.extend(warnings.iter().map(|code| code.as_str().unwrap().to_owned()));
    codes.extend(ONE_WORD.map(str::to_owned));
    codes
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = files(&folder("../docs/errors"), "md")
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "README")
        .collect();
    let codes = codes();
    assert!(codes.contains("SIGNATURE_INVALID"), "the command line's own codes are found");
    let without_page: Vec<_> = codes.difference(&pages).collect();
    let without_code: Vec<_> = pages.difference(&codes).collect();
    assert!(without_page.is_empty(), "codes without a page in docs/errors: {without_page:?}");
    assert!(without_code.is_empty(), "pages in docs/errors without a code: {without_code:?}");
}

#[test]
fn every_page_is_titled_listed_and_complete() {
    let index = fs::read_to_string(folder("../docs/errors/README.md")).unwrap();
    for code in codes() {
        let page = fs::read_to_string(folder("../docs/errors").join(format!("{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {code}\n")), "{code}");
        for part in ["**Who says it.**", "**Example.**", "**What to do.**"] {
            assert!(page.contains(part), "{code}: {part}");
        }
        assert!(index.contains(&format!("| [{code}]({code}.md) |")), "{code} is not in the index");
    }
}
