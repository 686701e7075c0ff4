//! What receipts and reports say in each output, and what cannot get through.

mod render_samples;

use fiscus_gateway::render::report::{ArticleCsv, RenderError, Signed, csv, pdf};
use fiscus_gateway::render::{
    CopyMark, Language, MerchantLabel, OutletLabel, Paper, ReceiptParts, ReceiptView, Roll,
    ViewError, qr, receipt,
};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::invoice::{GroupCode, InvoiceType, parse_lenient, parse_strict};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::payload::Object;
use fiscus_ledger::qr::QrError;
use fiscus_ledger::record::RecordKind;
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use render_samples::reports::{self, DIGEST, signed};
use render_samples::{
    CREDIT, ENGLISH, FRENCH, HOST, Look, MERCHANT, NOW, OUTLET, SALE, USD, longest, sale_of,
    sale_of_thirteen_groups, seal, seal_offline,
};

const PAPERS: [Paper; 3] = [Paper::A4, Paper::Roll(Roll::Mm80), Paper::Roll(Roll::Mm58)];

/// What a page says, without its marks.
fn html_text(view: &ReceiptView) -> String {
    let html = receipt::html(view);
    let body = &html[html.find("<body>").unwrap()..];
    let mut text = String::new();
    for piece in body.split('<') {
        text.push(' ');
        text.push_str(piece.split_once('>').map_or(piece, |(_, text)| text));
    }
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    let text = entities.into_iter().fold(text, |text, (from, to)| text.replace(from, to));
    text.replace('\u{a0}', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The printed bytes without commands and pictures. Anything that is not one of ours fails.
fn escpos_text(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (*byte, after) {
            (0x1b, [b'@', rest @ ..]) | (0x1c, [b'.', rest @ ..]) => rest,
            (0x1b, [b'R' | b't' | b'a' | b'E', _, rest @ ..]) | (0x1d, [b'!', _, rest @ ..]) => {
                rest
            }
            (0x1d, [b'V', b'B', _, rest @ ..]) => rest,
            (0x1d, [b'v', b'0', 0, xl, xh, yl, yh, rest @ ..]) => {
                let size = |low: &u8, high: &u8| usize::from(u16::from_le_bytes([*low, *high]));
                &rest[size(xl, xh) * size(yl, yh)..]
            }
            (b'\n', rest) => {
                text.push(b'\n');
                rest
            }
            (printed, rest) => {
                assert!(printed >= 0x20 && printed != 0x7f, "a stray byte {printed:#x}");
                text.push(printed);
                rest
            }
        };
    }
    text
}

fn escpos_lines(view: &ReceiptView, roll: Roll) -> String {
    let text = escpos_text(&receipt::escpos(view, roll));
    let columns = match roll {
        Roll::Mm58 => 32,
        Roll::Mm80 => 48,
    };
    for line in text.split(|byte| *byte == b'\n') {
        assert!(line.len() <= columns, "{}", String::from_utf8_lossy(line));
    }
    // The letters of the samples that are not ASCII, in code page 858.
    let decode = |byte: u8| match byte {
        0x82 => 'é',
        0x85 => 'à',
        0x90 => 'É',
        0x9e => '×',
        0x8a => 'è',
        0xf8 => '°',
        0xb7 => 'À',
        0x80 => 'Ç',
        0xfa => '·',
        byte => char::from(byte),
    };
    let text: String = text.into_iter().map(decode).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads RFC 4180.
fn csv_rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quoted) {
            ('"', true) if characters.next_if_eq(&'"').is_some() => cell.push('"'),
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut cell)),
            ('\r', false) => {
                assert_eq!(characters.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            (c, _) => cell.push(c),
        }
    }
    assert!(row.is_empty() && cell.is_empty() && !quoted, "{text}");
    rows
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn every_element_is_on_every_output() {
    let sealed = seal(SALE);
    let view = sealed.view(Look { mark: CopyMark::Duplicate(3), ..FRENCH });
    let code = view.qr().auth_code().to_string();
    let authority = sealed.authority.as_str();
    let elements = [
        "DUPLICATA 3",
        MERCHANT.name,
        MERCHANT.nif,
        MERCHANT.rccm,
        MERCHANT.address,
        OUTLET.name,
        "outlet-gombe",
        "till-1",
        "cashier-7",
        "FACTURE NORMALISÉE",
        "Facture de vente",
        "TG02",
        "16 %",
        "HT",
        "TVA",
        "TTC",
        "Total HT",
        "Total TVA",
        "arrondi",
        "TOTAL TTC",
        "Paiements",
        "CD-GOMBE-1042",
        authority,
        &code,
        "2026-11-20T09:30:01.123Z",
        "https://verify.example.cd/",
        "2026-02-01",
    ];
    assert_eq!(NOW.to_string(), "2026-11-20T09:30:01.123Z");
    assert_says(&html_text(&view), &elements);
    // An address is broken between lines on narrow paper.
    for roll in [Roll::Mm58, Roll::Mm80] {
        assert_says(&escpos_lines(&view, roll), &elements);
    }
    assert!(receipt::html(&view).contains("<svg "));
}

#[test]
fn figures_are_on_the_receipt_as_the_invoice_has_them() {
    let sealed = seal(USD);
    let view = sealed.view(FRENCH);
    let french = [
        "1 200,00",
        "192,00",
        "1 392,00 USD",
        "1 USD = 2 850,5 CDF",
        "547 296,00 CDF",
        "Virement bancaire",
    ];
    assert_says(&html_text(&view), &french);
    assert_says(&escpos_lines(&view, Roll::Mm80), &french);
    let english = ["1,200.00", "1,392.00 USD", "1 USD = 2,850.5 CDF", "Bank transfer", "16%"];
    assert_says(&html_text(&sealed.view(ENGLISH)), &english);
}

#[test]
fn a_credit_note_names_what_it_credits() {
    let view = seal(CREDIT).view(FRENCH);
    let original =
        seal(CREDIT).with_invoice(|note| note.original_fiscal_number().unwrap().to_owned());
    for text in [html_text(&view), escpos_lines(&view, Roll::Mm58)] {
        assert_says(&text, &["Facture d'avoir", &original]);
    }
}

#[test]
fn copies_previews_and_tests_say_what_they_are() {
    let sandbox = OutletLabel { environment: Environment::Sandbox, ..OUTLET };
    for (look, marks, others) in [
        (FRENCH, vec![], vec!["DUPLICATA", "APERÇU", "TEST / SPÉCIMEN"]),
        (Look { mark: CopyMark::Duplicate(1), ..ENGLISH }, vec!["DUPLICATA 1"], vec!["TEST"]),
        (Look { mark: CopyMark::Preview, ..FRENCH }, vec!["APERÇU"], vec!["DUPLICATA"]),
        (Look { mark: CopyMark::Preview, ..ENGLISH }, vec!["PREVIEW"], vec!["DUPLICATA"]),
        (
            Look { mark: CopyMark::Duplicate(2), outlet: sandbox, ..FRENCH },
            vec!["TEST / SPÉCIMEN", "DUPLICATA 2"],
            vec!["APERÇU"],
        ),
    ] {
        let view = seal(SALE).view(look);
        for text in [html_text(&view), escpos_lines(&view, Roll::Mm58)] {
            assert_says(&text, &marks);
            for other in &others {
                assert!(!text.contains(other), "{other}");
            }
        }
    }
}

#[test]
fn all_groups_are_listed_with_their_names() {
    let view = seal(&sale_of_thirteen_groups()).view(FRENCH);
    let manifest = Manifest::builtin();
    let (page, roll) = (html_text(&view), escpos_lines(&view, Roll::Mm58));
    for code in GroupCode::all().filter(|code| code.as_str() != "TG07") {
        assert_says(&page, &[code.as_str(), &manifest.group(code).name_fr]);
        assert_says(&roll, &[code.as_str()]);
    }
    assert_says(&page, &["M-Pesa", "+243810000001", "DGDA-3321-X", "Marché public n° 17/2026"]);
    assert_says(&roll, &["M-Pesa", "DGDA-3321-X", "17/2026"]);
}

#[test]
fn an_invoice_without_payments_says_so() {
    let view = seal(&sale_of(&["\"Pain\""])).view(FRENCH);
    assert_says(&html_text(&view), &["Aucun paiement enregistré"]);
    assert_says(&escpos_lines(&view, Roll::Mm58), &["Aucun paiement enregistré"]);
    assert!(receipt::pdf(&view, Paper::A4).starts_with(b"%PDF-1.7"));
}

#[test]
fn text_of_clients_is_never_markup_and_never_a_command() {
    let evil = [
        r#""<script>alert('x')</script>""#,
        r#""\"><img src=x onerror=alert(1)> & <b>""#,
        r#""drawer \u001bp\u0000\u0019\u00fa cut \u001dVA\u0000 end""#,
        r#""right \u202eto left\u202c \u200b""#,
        r#""two\r\nlines\ttab""#,
    ];
    let label = MerchantLabel { name: "<i>A\u{1b}@</i>", ..MERCHANT };
    let view = seal(&sale_of(&evil)).view(Look { merchant: label, ..FRENCH });
    let html = receipt::html(&view);
    for forbidden in ["<script", "<img", "<b>", "<i>", "\u{1b}", "\u{202e}", "\u{200b}", "\u{1d}"] {
        assert!(!html.contains(forbidden), "{forbidden:?}");
    }
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    for roll in [Roll::Mm58, Roll::Mm80] {
        let text = escpos_lines(&view, roll);
        assert_says(&text, &["drawer ?p??", "cut ?VA? end", "two lines tab", "<i>A?@</i>"]);
    }
}

#[test]
fn a_page_loads_nothing_and_runs_nothing() {
    let html = receipt::html(&seal(SALE).view(FRENCH));
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"fr\">"));
    assert!(html.contains(receipt::STYLE) && !receipt::STYLE.contains("url("));
    for forbidden in ["<script", " src=", " href=", "@import", "javascript:", " on"] {
        assert!(!html.contains(forbidden) || forbidden == " on", "{forbidden}");
    }
    for needed in ["<h1>", "<h2>", "<th scope=\"col\"", "<th scope=\"row\"", "<caption>", "<main>"]
    {
        assert!(html.contains(needed), "{needed}");
    }
}

#[test]
fn two_thousand_lines_are_all_there() {
    let descriptions: Vec<String> = (1..=2_000).map(|at| format!("\"Article-{at}-fin\"")).collect();
    let descriptions: Vec<&str> = descriptions.iter().map(String::as_str).collect();
    let view = seal(&sale_of(&descriptions)).view(FRENCH);
    let (page, roll) = (html_text(&view), escpos_lines(&view, Roll::Mm58));
    for at in 1..=2_000 {
        let needle = format!("Article-{at}-fin");
        assert!(page.contains(&needle) && roll.contains(&needle), "{needle}");
    }
    for paper in PAPERS {
        assert!(receipt::pdf(&view, paper).len() < 1024 * 1024);
    }
}

#[test]
fn the_longest_texts_and_amounts_are_printed_in_full() {
    let view = seal(&longest()).view(FRENCH);
    let squeeze = |text: String| text.replace(' ', "");
    let (page, roll) = (html_text(&view), squeeze(escpos_lines(&view, Roll::Mm58)));
    assert_says(&page, &[&"W".repeat(512), "10 000 000 000 000,00 USD", "3 000 000 000 000,00"]);
    assert_says(&roll, &[&"W".repeat(512), "10000000000000,00USD", "3000000000000,00"]);
    for paper in PAPERS {
        assert!(receipt::pdf(&view, paper).starts_with(b"%PDF-1.7"));
    }
}

#[test]
fn the_same_view_makes_the_same_bytes() {
    let view = || seal(&sale_of_thirteen_groups()).view(FRENCH);
    for paper in PAPERS {
        assert_eq!(receipt::pdf(&view(), paper), receipt::pdf(&view(), paper));
        assert_eq!(qr::png(view().qr(), paper), qr::png(view().qr(), paper));
    }
    assert_eq!(receipt::html(&view()), receipt::html(&view()));
    assert_eq!(receipt::escpos(&view(), Roll::Mm58), receipt::escpos(&view(), Roll::Mm58));
}

#[test]
fn an_offline_sale_carries_the_terminal_s_code_and_names_the_ledger_s() {
    let sealed = seal_offline(SALE, "cred-0001");
    let own = sealed.view(FRENCH);
    let fields = own.qr().fields();
    assert_eq!((fields.authority_id.as_str(), fields.kind.as_str()), ("cred-0001", "sale"));
    assert!(fields.credential.is_some());
    let ledgers = sealed.try_view(FRENCH, None, HOST).unwrap();
    let fields = ledgers.qr().fields();
    assert_eq!((fields.kind.as_str(), &fields.credential), ("offline_sale", &None));
    let (own_code, ledger_code) =
        (own.qr().auth_code().to_string(), ledgers.qr().auth_code().to_string());
    assert_says(&html_text(&own), &[&own_code, &ledger_code, "cred-0001", &NOW.to_string()]);
    assert_says(&html_text(&ledgers), &[&ledger_code, "Scellée hors ligne", &NOW.to_string()]);
}

#[test]
fn what_has_no_receipt_is_refused() {
    let sealed = seal(SALE);
    let bad_host = sealed.try_view(FRENCH, None, "Not A Host").map(|_| ());
    assert_eq!(bad_host, Err(ViewError::Qr(QrError::Host)));
    // The invoice is at hand, but the record is not one, or not what it says.
    let (text, manifest) = (sealed.payload.clone(), Manifest::builtin());
    let invoice = parse_strict(text.as_bytes(), &manifest).unwrap();
    let refusal = |kind| {
        let other = render_samples::Sealed { kind, ..seal(SALE) };
        let parts = ReceiptParts {
            record: &other.record(),
            signature: &[0; 64],
            invoice: &invoice,
            manifest: &manifest,
            credential: None,
            merchant: MERCHANT,
            outlet: OUTLET,
            verify_host: HOST,
            mark: CopyMark::Original,
            language: Language::French,
        };
        ReceiptView::new(&parts).map(|_| ()).unwrap_err()
    };
    assert_eq!(refusal(RecordKind::ZClosure), ViewError::NotAnInvoice("z_closure"));
    let offline = refusal(RecordKind::Offline(InvoiceType::Sale));
    assert!(matches!(offline, ViewError::OfflineSeal(_)), "{offline}");
}

#[test]
fn reports_are_csv_of_one_width_with_every_figure() {
    let manifest = Manifest::builtin();
    let sealed = seal(SALE);
    let record = sealed.record();
    for (json, signed_by) in [
        (reports::z(), Signed::Record(&record)),
        (reports::empty_z(), Signed::Record(&record)),
        (reports::x(), Signed::Digest(&DIGEST)),
        (reports::shift(), Signed::Record(&record)),
        (reports::a(), Signed::Digest(&DIGEST)),
    ] {
        let report = signed(&json, &manifest, signed_by);
        for language in [Language::French, Language::English] {
            let text = csv(&report, language).unwrap();
            assert_says(&text, &["seal,signed_by,", "seal,signature,", reports::AUTHORITY]);
            let rows = csv_rows(&text);
            assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
            assert!(pdf(&report, language).unwrap().starts_with(b"%PDF-1.7"));
        }
    }
    let z = reports::z();
    let text = csv(&signed(&z, &manifest, Signed::Record(&record)), Language::French).unwrap();
    assert_says(
        &text,
        &[
            "report,z_number,Numéro Z,12",
            "report,operator,Opérateur,'=cmd|' /C calc'!A0",
            "series,,Série,",
            "1000–1005, 1042",
            "currencies,TG14,\"Taxe spécifique, services numériques\",,CDF,",
            "currencies,TG07,\"Exportation, taux zéro\",,CDF,",
            "perpetual,TG02,\"TVA standard, biens\",,USD,0.00,0.00,0.00",
            "currencies,cash,Espèces,",
            "seal,entry_hash,",
            "seal,previous_hash,",
        ],
    );
}

#[test]
fn an_article_report_is_written_line_by_line_as_at_once() {
    let manifest = Manifest::builtin();
    let (whole, header) = (reports::a(), reports::a_header());
    let at_once =
        csv(&signed(&whole, &manifest, Signed::Digest(&DIGEST)), Language::English).unwrap();
    let mut streamed = String::new();
    let mut writer = ArticleCsv::new(Language::English);
    for line in reports::article_jsons() {
        streamed.push_str(&writer.line(&line).unwrap());
    }
    let trailer = signed(&header, &manifest, Signed::Digest(&DIGEST));
    streamed.push_str(&writer.finish(&trailer).unwrap());
    assert_eq!(streamed, at_once);
    assert_eq!(ArticleCsv::new(Language::French).line("[]"), Err(RenderError::NotALine));
    let empty = ArticleCsv::new(Language::French).finish(&trailer).unwrap();
    assert!(empty.starts_with("section,item,label,value\r\n"));
}

#[test]
fn what_is_no_report_is_refused() {
    let manifest = Manifest::builtin();
    for (json, expected) in [
        ("[]", RenderError::NotAReport),
        ("{}", RenderError::NotAReport),
        (r#"{"report":"y"}"#, RenderError::NotAReport),
        (r#"{"report":1}"#, RenderError::NotAReport),
    ] {
        let report = signed(json, &manifest, Signed::Digest(&DIGEST));
        assert_eq!(csv(&report, Language::French), Err(expected.clone()));
        assert_eq!(pdf(&report, Language::French), Err(expected));
    }
    let report = signed("{", &manifest, Signed::Digest(&DIGEST));
    assert!(matches!(csv(&report, Language::French), Err(RenderError::Json(_))));
    // What a later version adds is shown, not dropped.
    let later = r#"{"report":"z","new_fact":"=x","new_list":[{"a":"1","b":[[1,2]]},{"c":true}],"new_object":{"k":null}}"#;
    let text = csv(&signed(later, &manifest, Signed::Digest(&DIGEST)), Language::French).unwrap();
    assert_says(&text, &["new_fact,new_fact,'=x", ",a,b,c", "new_object,k"]);
}

/// An invoice with these texts, if the ledger takes it.
fn with_texts(name: &str, description: &str, unit: &str) -> Option<String> {
    let client = Object::new().text("name", name).text("classification", "individual").finish();
    let item = Object::new()
        .text("code", unit)
        .text("description", description)
        .text("quantity", "1.5")
        .text("unit_price", "1000.00")
        .text("tax_group", "TG02")
        .text("taxable_unit", unit)
        .finish();
    let text = Object::new()
        .text("merchant_nif", "A1234567B")
        .text("outlet_id", "outlet-gombe")
        .text("pos_terminal_id", "till-1")
        .text("invoice_type", "sale")
        .json("client", &client)
        .json("items", &format!("[{item}]"))
        .finish();
    let manifest = Manifest::builtin();
    let taken = parse_lenient(text.as_bytes(), &manifest, NOW).is_ok();
    taken.then_some(text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_rendered(
        name in any::<String>(),
        description in "\\PC{1,120}|[\\x00-\\x7f]{1,120}",
        unit in "\\PC{0,15}",
        address in any::<String>(),
        pieces in prop::collection::vec("[=+@,\"\\r\\n\\x1b-]?\\PC{0,8}", 0..8),
    ) {
        let address: &'static str = Box::leak(address.into_boxed_str());
        let merchant = MerchantLabel { address, ..MERCHANT };
        let outlet = OutletLabel { name: address, ..OUTLET };
        if let Some(text) = with_texts(&name, &description, &unit) {
            let view = seal(&text).view(Look { merchant, outlet, ..FRENCH });
            for paper in PAPERS {
                assert!(receipt::pdf(&view, paper).starts_with(b"%PDF-1.7"));
            }
            let html = receipt::html(&view);
            assert!(!html.contains("<script") && html.chars().all(|c| c == '\n' || !c.is_control()));
            escpos_lines(&view, Roll::Mm58);
            escpos_lines(&view, Roll::Mm80);
        }
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let json = Object::new().text("report", "z").text(&name, address).texts("list", pieces).finish();
        let manifest = Manifest::builtin();
        if let Ok(text) = csv(&signed(&json, &manifest, Signed::Digest(&DIGEST)), Language::French) {
            for cell in csv_rows(&text).concat() {
                assert!(!cell.starts_with(['=', '+', '@']), "{cell}");
            }
        }
        let _ = pdf(&signed(&json, &manifest, Signed::Digest(&DIGEST)), Language::French);
    }
}
