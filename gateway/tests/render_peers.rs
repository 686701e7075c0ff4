//! Rendered receipts and reports before programs that other people wrote: `qpdf`, poppler and `zbar`.

mod render_samples;

use std::path::{Path, PathBuf};
use std::process::Command;

use fiscus_gateway::render::{CopyMark, Paper, ReceiptView, Roll, receipt};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::qr::QrPayload;
use render_samples::{
    CREDIT, EMBASSY, ENGLISH, EXPORT, FRENCH, INCLUSIVE, Look, OUTLET, SALE, USD,
    sale_of_thirteen_groups, seal,
};

const PAPERS: [Paper; 3] = [Paper::A4, Paper::Roll(Roll::Mm80), Paper::Roll(Roll::Mm58)];

/// A file of the tests' own; they stay, to be looked at.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn write(name: &str, content: &[u8]) -> PathBuf {
    let path = file(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run tests/setup.sh"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
    out.into_owned()
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `zbar` reads from a picture, as the ledger understands it.
fn scan(picture: &Path) -> QrPayload {
    let options = ["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", path_text(picture)];
    let text = run("zbarimg", &options);
    QrPayload::parse(text.trim_end()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Checks a file, reads its text, and scans its code; the page with the code is the last.
fn check_pdf(name: &str, view: &ReceiptView, paper: Paper) -> String {
    let pdf = write(&format!("{name}.pdf"), &receipt::pdf(view, paper));
    run("qpdf", &["--check", path_text(&pdf)]);
    let text = run("pdftotext", &["-layout", path_text(&pdf), "-"]);
    let info = run("pdfinfo", &[path_text(&pdf)]);
    let pages = info.lines().find_map(|line| line.strip_prefix("Pages:")).unwrap().trim();
    let picture = file(name);
    run(
        "pdftoppm",
        &["-png", "-r", "200", "-f", pages, "-singlefile", path_text(&pdf), path_text(&picture)],
    );
    assert_eq!(&scan(&picture.with_extension("png")), view.qr(), "{name}");
    text
}

#[test]
fn every_sample_is_a_sound_file_whose_code_can_be_scanned() {
    let sandbox =
        fiscus_gateway::render::OutletLabel { environment: Environment::Sandbox, ..OUTLET };
    let test = Look { mark: CopyMark::Duplicate(2), outlet: sandbox, ..FRENCH };
    let thirteen = sale_of_thirteen_groups();
    for (name, text, look) in [
        ("sale", SALE, FRENCH),
        ("inclusive", INCLUSIVE, ENGLISH),
        ("usd", USD, FRENCH),
        ("export", EXPORT, ENGLISH),
        ("embassy", EMBASSY, test),
        ("credit", CREDIT, Look { mark: CopyMark::Preview, ..FRENCH }),
        ("groups", &thirteen, FRENCH),
    ] {
        let view = seal(text).view(look);
        for paper in PAPERS {
            let width = match paper {
                Paper::A4 => "a4",
                Paper::Roll(Roll::Mm80) => "80",
                Paper::Roll(Roll::Mm58) => "58",
            };
            check_pdf(&format!("{name}-{width}"), &view, paper);
        }
        write(&format!("{name}.html"), receipt::html(&view).as_bytes());
    }
}
