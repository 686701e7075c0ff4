//! Reports on sheets of A4.

use super::content::{Content, Fact, Section, Table, Totals, is_amount, is_decimal};
use fiscus_ledger::invoice::InvoiceType;

use crate::render::Language;
use crate::render::pdf::{Cell, Column, Face, Ink, Sheet};
use crate::render::words::ReportWords;

const GAP: f32 = 24.0;
/// The columns of an A report's table; what else a line holds stands below its description.
const ARTICLE_COLUMNS: [(&str, f32); 9] = [
    ("fiscal_number", 100.0),
    ("line", 26.0),
    ("description", 124.0),
    ("tax_group", 36.0),
    ("quantity", 42.0),
    ("unit_price", 56.0),
    ("base", 58.0),
    ("tax", 48.0),
    ("currency", 36.0),
];
const BELOW_NUMBER: [&str; 2] = ["timestamp", "kind"];

pub(super) fn pdf(content: &Content, language: Language) -> Vec<u8> {
    let words = &language.words().report;
    let banners: Vec<String> =
        content.is_sandbox.then(|| language.words().test.to_owned()).into_iter().collect();
    let named = |name: &str| content.facts.iter().find(|(known, _)| known == name);
    let mut title = content.title.to_owned();
    if let Some((_, number)) = named("z_number") {
        title = format!("{title} {} {number}", language.words().number);
    }
    let outlet = named("outlet_id").map_or("", |(_, outlet)| outlet.as_str());
    let running = format!("{title} · {outlet}");
    let mut sheet = Sheet::new(&banners, &running);
    let whole = (0.0, Sheet::width());
    sheet.paragraph(whole, (Face::Bold, 16.0, Ink::Black), &title);
    for (at, line) in content.head.iter().enumerate() {
        let face = if at == 0 { Face::Bold } else { Face::Regular };
        sheet.paragraph(whole, (face, 8.5, Ink::Black), line);
    }
    sheet.skip(6.0);
    sheet.pairs(whole, &shown(&content.facts, words, language));
    if content.is_empty {
        sheet.skip(6.0);
        sheet.paragraph(whole, (Face::Bold, 10.0, Ink::Black), words.empty);
    }
    for section in &content.sections {
        match section {
            Section::Facts(name, pairs) => {
                sheet.section(words.name(name));
                sheet.sums(
                    (0.0, Sheet::width() / 2.0),
                    (Face::Regular, 8.5),
                    &shown(pairs, words, language),
                );
            }
            Section::Table(lines) if content.is_articles && lines.name == "lines" => {
                articles(&mut sheet, lines, words, language);
            }
            Section::Table(rows) => table(&mut sheet, rows, words, language),
            Section::Totals(sums) => totals(&mut sheet, sums, words, language),
        }
    }
    sheet.section(language.words().security);
    sheet.pairs(whole, &shown(&content.seal, words, language));
    sheet.finish(&running, &running, language)
}

/// Names and values for people.
fn shown(facts: &[Fact], words: &ReportWords, language: Language) -> Vec<(String, String)> {
    let pair = |(name, value): &Fact| {
        (words.name(name).to_owned(), value_shown(name, value, words, language))
    };
    facts.iter().map(pair).collect()
}

fn value_shown(name: &str, value: &str, words: &ReportWords, language: Language) -> String {
    match value {
        "" => words.none.to_owned(),
        "true" => words.yes.to_owned(),
        "false" => words.no.to_owned(),
        amount if is_amount(amount) => language.figure(amount),
        // These words are the ledger's own; what people named stays as it is.
        word if matches!(name, "environment" | "scope" | "state") => words.name(word).to_owned(),
        text => text.to_owned(),
    }
}

fn column(heading: &str, share: f32, right: bool) -> Column {
    Column { heading: heading.to_owned(), share, right }
}

fn table(sheet: &mut Sheet, table: &Table, words: &ReportWords, language: Language) {
    let numeric = |at: usize| table.rows.iter().all(|row| is_decimal(&row[at]));
    let columns: Vec<Column> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, name)| column(words.name(name), 1.0, numeric(at)))
        .collect();
    let cells = |row: &Vec<String>| {
        let named = table.columns.iter().zip(row);
        named.map(|(name, text)| Cell::from(&value_shown(name, text, words, language))).collect()
    };
    let rows: Vec<Vec<Cell>> = table.rows.iter().map(cells).collect();
    sheet.section(words.name(&table.name));
    sheet.table(&columns, &rows);
}

fn totals(sheet: &mut Sheet, totals: &Totals, words: &ReportWords, language: Language) {
    let figure = |text: &String| {
        if is_amount(text) { language.figure(text) } else { text.clone() }
    };
    sheet.section(&format!("{} ({})", words.name(&totals.name), totals.currency));
    if !totals.groups.is_empty() {
        let names = language.words();
        let columns = [
            column(names.group, 38.0, false),
            column(names.group_name, 232.0, false),
            column(names.net, 84.0, true),
            column(names.tax, 72.0, true),
            column(names.gross, 84.0, true),
        ];
        let row = |group: &super::content::GroupRow| {
            let sums = [&group.base, &group.tax, &group.total];
            let front = [Cell::from(&group.code), Cell::from(&group.name)];
            front.into_iter().chain(sums.map(|sum| Cell::from(&figure(sum)))).collect()
        };
        let rows: Vec<Vec<Cell>> = totals.groups.iter().map(row).collect();
        sheet.table(&columns, &rows);
    }
    let half = (Sheet::width() - GAP) / 2.0;
    sheet.need(12.0 * 11.0);
    sheet.skip(4.0);
    let top = sheet.y();
    sheet.sums((0.0, half), (Face::Regular, 8.5), &shown(&totals.payments, words, language));
    let end = sheet.y();
    sheet.set_y(top);
    sheet.sums((half + GAP, half), (Face::Bold, 8.5), &shown(&totals.sums, words, language));
    sheet.set_y(sheet.y().max(end));
}

/// The type of an invoice, wherever it was sealed.
fn kind_shown(kind: &str, language: Language) -> String {
    let inner = kind.strip_prefix("offline_").or_else(|| kind.strip_prefix("def_"));
    let plain = inner.unwrap_or(kind);
    let at = InvoiceType::ALL.iter().position(|known| known.as_str() == plain);
    at.map_or_else(|| kind.to_owned(), |at| language.words().invoice_types[at].to_owned())
}

/// The lines of invoices, as a ledger shows them.
fn articles(sheet: &mut Sheet, lines: &Table, words: &ReportWords, language: Language) {
    let at = |name: &str| lines.columns.iter().position(|known| known == name);
    let columns: Vec<Column> = ARTICLE_COLUMNS
        .iter()
        .map(|(name, share)| {
            let text = matches!(*name, "fiscal_number" | "description" | "tax_group" | "currency");
            column(words.name(name), *share, !text)
        })
        .collect();
    let known = |name: &str| {
        ARTICLE_COLUMNS.iter().any(|(column, _)| *column == name) || BELOW_NUMBER.contains(&name)
    };
    let figure = |text: &str| {
        if is_amount(text) { language.figure(text) } else { text.to_owned() }
    };
    let row = |row: &Vec<String>| {
        let value = |name: &str| at(name).map_or("", |at| row[at].as_str());
        let cell = |(name, _): &(&str, f32)| {
            let text = figure(value(name));
            let details = match *name {
                "fiscal_number" => {
                    vec![value("timestamp").to_owned(), kind_shown(value("kind"), language)]
                }
                "description" => {
                    let rest = lines.columns.iter().zip(row);
                    let rest = rest.filter(|(name, value)| !known(name) && !value.is_empty());
                    let rest: Vec<String> = rest
                        .map(|(name, value)| language.labelled(words.name(name), &figure(value)))
                        .collect();
                    vec![rest.join(" · ")]
                }
                _ => Vec::new(),
            };
            Cell { text, details, bold: false }
        };
        ARTICLE_COLUMNS.iter().map(cell).collect()
    };
    let rows: Vec<Vec<Cell>> = lines.rows.iter().map(row).collect();
    sheet.section(words.name(&lines.name));
    sheet.table(&columns, &rows);
}
