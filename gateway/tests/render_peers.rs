//! Rendered receipts and reports before programs that other people wrote: `qpdf`, poppler and `zbar`.

mod render_samples;

use std::path::{Path, PathBuf};
use std::process::Command;

use fiscus_gateway::render::report::{self, Signed};
use fiscus_gateway::render::{
    CopyMark, Language, OutletLabel, Paper, ReceiptView, Roll, qr, receipt,
};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::hex;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::qr::QrPayload;
use render_samples::reports::{self, AUTHORITY, DIGEST, signed};
use render_samples::{
    CREDIT, EMBASSY, ENGLISH, EXPORT, FRENCH, INCLUSIVE, Look, OUTLET, SALE, USD, longest, sale_of,
    sale_of_thirteen_groups, seal, seal_offline,
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
    let size = run("pdfinfo", &["-f", pages, "-l", pages, path_text(&pdf)]);
    let size = size.lines().find(|line| line.contains("size:") && line.contains(" x ")).unwrap();
    let height: f64 = size.split(" x ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    // The end of the page, as a camera would look at it.
    let top = (height - 842.0).max(0.0) * 200.0 / 72.0;
    let (top, picture) = (format!("{top:.0}"), file(name));
    let options = ["-png", "-gray", "-r", "200", "-f", pages, "-singlefile", "-y", &top];
    run("pdftoppm", &[&options[..], &[path_text(&pdf), path_text(&picture)]].concat());
    assert_eq!(&scan(&picture.with_extension("png")), view.qr(), "{name}");
    text
}

/// The picture of one bit a pixel in a printer's bytes, as a bitmap file with room around it. Each dot
/// becomes some pixels, as a camera sees it.
fn printed_picture(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.windows(4).position(|window| window == b"\x1dv0\x00").unwrap() + 4;
    let size = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (row_bytes, height) = (size(start), size(start + 2));
    let dots = &bytes[start + 4..start + 4 + row_bytes * height];
    let mut text = format!("P1\n{} {}\n", row_bytes * 8 * DOT, height * DOT);
    for row in dots.chunks(row_bytes) {
        let bits = row.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1));
        let line: String = bits.map(|bit| if bit == 1 { "1" } else { "0" }.repeat(DOT)).collect();
        for _ in 0..DOT {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.into_bytes()
}

const DOT: usize = 3;

fn assert_says(text: &str, parts: &[&str]) {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = squeeze(text);
    for part in parts {
        assert!(text.contains(&squeeze(part)), "{part:?} is missing in: {text}");
    }
}

fn width_name(paper: Paper) -> &'static str {
    match paper {
        Paper::A4 => "a4",
        Paper::Roll(Roll::Mm80) => "80",
        Paper::Roll(Roll::Mm58) => "58",
    }
}

#[test]
fn every_sample_is_a_sound_file_whose_code_can_be_scanned() {
    let sandbox = OutletLabel { environment: Environment::Sandbox, ..OUTLET };
    let test = Look { mark: CopyMark::Duplicate(2), outlet: sandbox, ..FRENCH };
    let preview = Look { mark: CopyMark::Preview, ..FRENCH };
    let thirteen = sale_of_thirteen_groups();
    for (name, text, look, says) in [
        ("sale", SALE, FRENCH, vec!["Facture de vente", "TVA standard, biens", "16 %"]),
        ("inclusive", INCLUSIVE, ENGLISH, vec!["FISCAL INVOICE", "Unit prices include tax"]),
        ("usd", USD, FRENCH, vec!["1 USD = 2 850,5 CDF", "547 296,00 CDF", "1 392,00 USD"]),
        ("export", EXPORT, ENGLISH, vec!["Export invoice", "TG07", "Export, zero rate"]),
        ("embassy", EMBASSY, test, vec!["TEST / SPÉCIMEN", "DUPLICATA 2", "Ambassade"]),
        ("credit", CREDIT, preview, vec!["APERÇU", "Facture d'avoir", "Facture d'origine"]),
        ("groups", &thirteen, FRENCH, vec!["TG01", "TG14", "M-Pesa", "+243810000001", "-10,00"]),
    ] {
        let view = seal(text).view(look);
        let code = view.qr().auth_code().to_string();
        let elements = [
            "Alimentation Gombe SARL",
            "A1234567B",
            "CD/KIN/RCCM/14-B-01234",
            "avenue de l'Équateur",
            "Supermarché de la Gombe",
            "till-1",
            "cashier-7",
            "CD-GOMBE-1042",
            &view.qr().fields().authority_id,
            &code,
            "2026-11-20T09:30:01.123Z",
            "https://verify.example.cd/",
        ];
        for paper in PAPERS {
            let text = check_pdf(&format!("{name}-{}", width_name(paper)), &view, paper);
            assert_says(&text, &elements);
            assert_says(&text, &says);
        }
        write(&format!("{name}.html"), receipt::html(&view).as_bytes());
    }
}

#[test]
fn codes_can_be_scanned_from_every_picture() {
    let long_id = "credential-".repeat(11);
    for (name, sealed) in [("online", seal(SALE)), ("offline", seal_offline(SALE, &long_id))] {
        let view = sealed.view(FRENCH);
        for paper in PAPERS {
            let picture =
                write(&format!("{name}-{}.png", width_name(paper)), &qr::png(view.qr(), paper));
            assert_eq!(&scan(&picture), view.qr(), "{name}");
            check_pdf(&format!("{name}-receipt-{}", width_name(paper)), &view, paper);
        }
        for roll in [Roll::Mm58, Roll::Mm80] {
            let printed = receipt::escpos(&view, roll);
            let picture = write(
                &format!("{name}-printed-{}.pbm", width_name(Paper::Roll(roll))),
                &printed_picture(&printed),
            );
            assert_eq!(&scan(&picture), view.qr(), "{name}");
        }
    }
}

#[test]
fn codes_of_every_size_can_be_scanned() {
    let sealed = seal_offline(SALE, "c");
    for length in (1..=61).step_by(6) {
        let host = [1, 2, 3].map(|_| "h".repeat(length)).join(".");
        for credential in [None, sealed.credential.as_ref()] {
            let view = sealed.try_view(FRENCH, credential, &host).unwrap();
            let name = format!("size-{length}-{}.png", credential.is_some());
            let picture = write(&name, &qr::png(view.qr(), Paper::A4));
            assert_eq!(&scan(&picture), view.qr(), "{name}");
        }
    }
}

#[test]
fn a_long_invoice_goes_on_with_headings_and_page_numbers() {
    let descriptions: Vec<String> = (1..=2_000).map(|at| format!("\"Article-{at}-fin\"")).collect();
    let descriptions: Vec<&str> = descriptions.iter().map(String::as_str).collect();
    let view = seal(&sale_of(&descriptions)).view(FRENCH);
    for paper in PAPERS {
        let text = check_pdf(&format!("long-{}", width_name(paper)), &view, paper);
        for at in 1..=2_000 {
            assert!(text.contains(&format!("Article-{at}-fin")), "{at}");
        }
        let pages: Vec<&str> = text.split('\u{c}').filter(|page| !page.trim().is_empty()).collect();
        if paper == Paper::A4 {
            for (at, page) in pages.iter().enumerate() {
                assert_says(
                    page,
                    &[&format!("Page {} / {}", at + 1, pages.len()), "CD-GOMBE-1042"],
                );
            }
            assert_says(pages[1], &["Désignation", "Alimentation Gombe SARL"]);
        }
    }
}

#[test]
fn the_longest_texts_and_amounts_are_on_paper_in_full() {
    let view = seal(&longest()).view(FRENCH);
    for paper in PAPERS {
        let text = check_pdf(&format!("longest-{}", width_name(paper)), &view, paper);
        // A broken line is one word: figures and names are whole without the spaces.
        let squeezed: String = text.split_whitespace().collect();
        assert_says(&squeezed, &["10000000000000,00", "longuedésignation"]);
        if paper != Paper::A4 {
            assert_says(&squeezed, &[&"W".repeat(512)]);
        }
    }
}

#[test]
fn every_character_can_be_copied_from_a_file() {
    let view = seal(&sale_of(&["\"Œuvre Çà №7 € Αθήνα Жизнь 中文 🧾 µ μ Ω\""])).view(FRENCH);
    for paper in PAPERS {
        let text = check_pdf(&format!("letters-{}", width_name(paper)), &view, paper);
        for word in ["Œuvre", "Çà", "№7", "€", "Αθήνα", "Жизнь", "中文", "🧾", "µ", "μ", "Ω"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn reports_are_sound_files_that_say_everything() {
    let manifest = Manifest::builtin();
    let sealed = seal(SALE);
    let record = sealed.record();
    let (digest, entry) = (hex(&DIGEST), hex(&record.entry_hash));
    for (name, json, by, language, says) in [
        (
            "z",
            reports::z(),
            Signed::Record(&record),
            Language::French,
            vec!["Rapport Z N° 12", &entry],
        ),
        (
            "z-empty",
            reports::empty_z(),
            Signed::Record(&record),
            Language::French,
            vec!["Aucune facture dans la période", "TEST / SPÉCIMEN"],
        ),
        (
            "x",
            reports::x(),
            Signed::Digest(&DIGEST),
            Language::English,
            vec!["X report", "the disk is nearly full", "def-2", &digest],
        ),
        (
            "shift",
            reports::shift(),
            Signed::Record(&record),
            Language::French,
            vec!["Clôture de caisse", "supervisor-2"],
        ),
        ("a", reports::a(), Signed::Digest(&DIGEST), Language::English, vec!["A report", &digest]),
    ] {
        let report = signed(&json, &manifest, by);
        let file = write(&format!("report-{name}.pdf"), &report::pdf(&report, language).unwrap());
        run("qpdf", &["--check", path_text(&file)]);
        let text = run("pdftotext", &["-layout", path_text(&file), "-"]);
        assert_says(&text, &says);
        assert_says(&text, &["outlet-gombe", AUTHORITY, "Alimentation Gombe SARL"]);
        if name == "z" {
            let codes: Vec<String> = (1..=14).map(|group| format!("TG{group:02}")).collect();
            assert_says(&text, &codes.iter().map(String::as_str).collect::<Vec<_>>());
            assert_says(&text, &["CDF", "USD", "TOTAUX PERPÉTUELS", "1 392,00"]);
        }
        let csv = write(
            &format!("report-{name}.csv"),
            report::csv(&report, language).unwrap().as_bytes(),
        );
        let script = "import csv,sys\nrows=list(csv.reader(open(sys.argv[1],newline='',encoding='utf-8'),strict=True))\nassert len({len(row) for row in rows})==1\nprint(len(rows))";
        let rows: usize = run("python3", &["-c", script, path_text(&csv)]).trim().parse().unwrap();
        assert!(rows > 10, "{name}: {rows}");
    }
}
