//! Reports as comma-separated values. Figures keep their canonical form in every language.

use super::content::{Content, Fact, GroupRow, Section, Table, is_decimal};
use crate::render::Language;
use crate::render::text::visible;
use crate::render::words::ReportWords;

/// The columns of everything but tables, which add their own.
const COLUMNS: [&str; 8] =
    ["section", "item", "label", "value", "currency", "base", "tax", "total"];

/// Rows of one width.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) out: String,
    width: usize,
}

impl Rows {
    pub(super) fn new(columns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut rows = Self { out: String::new(), width: 0 };
        let columns: Vec<String> = columns.into_iter().map(|name| name.as_ref().into()).collect();
        rows.width = columns.len();
        rows.push(columns);
        rows
    }

    /// Adds a row; what it lacks at its end is empty.
    pub(super) fn push(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut count = 0;
        for cell in cells {
            if count > 0 {
                self.out.push(',');
            }
            self.cell(cell.as_ref());
            count += 1;
        }
        debug_assert!((1..=self.width).contains(&count), "{count} cells in {} columns", self.width);
        self.out.extend(std::iter::repeat_n(',', self.width.saturating_sub(count)));
        self.out.push_str("\r\n");
    }

    fn cell(&mut self, text: &str) {
        let text = harmless(text);
        let quoted = text.contains([',', '"', '\r', '\n']) || text.trim() != text;
        if !quoted {
            self.out.push_str(&text);
            return;
        }
        self.out.push('"');
        self.out.push_str(&text.replace('"', "\"\""));
        self.out.push('"');
    }
}

/// A spreadsheet runs a cell that begins like a formula; with an apostrophe before it, it does not.
fn harmless(text: &str) -> String {
    let text = visible(text);
    if text.trim_start().starts_with(['=', '+', '-', '@']) && !is_decimal(&text) {
        format!("'{text}")
    } else {
        text
    }
}

pub(super) fn write(content: &Content, language: Language) -> String {
    let words = &language.words().report;
    let tables = content.sections.iter().filter_map(|section| match section {
        Section::Table(table) => Some(table),
        _ => None,
    });
    let mut columns: Vec<&str> = COLUMNS.to_vec();
    for table in tables {
        for name in &table.columns {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
    }
    let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
    let mut rows = Rows::new(&columns);
    facts(&mut rows, "report", &content.facts, words);
    for section in &content.sections {
        match section {
            Section::Facts(name, pairs) => facts(&mut rows, name, pairs, words),
            Section::Table(table) => push_table(&mut rows, &columns, table, words),
            Section::Totals(totals) => {
                let currency = &totals.currency;
                for group in &totals.groups {
                    push_group(&mut rows, &totals.name, currency, group);
                }
                for (name, value) in totals.sums.iter().chain(&totals.payments) {
                    rows.push([&*totals.name, name, words.name(name), value, currency]);
                }
            }
        }
    }
    facts(&mut rows, "seal", &content.seal, words);
    rows.out
}

fn push_group(rows: &mut Rows, section: &str, currency: &str, group: &GroupRow) {
    let GroupRow { code, name, base, tax, total } = group;
    rows.push([section, code, name, "", currency, base, tax, total]);
}

pub(super) fn facts(rows: &mut Rows, section: &str, facts: &[Fact], words: &ReportWords) {
    for (name, value) in facts {
        rows.push([section, name, words.name(name), value]);
    }
}

fn push_table(rows: &mut Rows, columns: &[String], table: &Table, words: &ReportWords) {
    for row in &table.rows {
        let cell = |column: &String| match column.as_str() {
            "section" => table.name.as_str(),
            "label" => words.name(&table.name),
            name => {
                let at = table.columns.iter().position(|known| known == name);
                at.map_or("", |at| row[at].as_str())
            }
        };
        rows.push(columns.iter().map(cell));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_never_formulas() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "two  lines"),
            (" =1", "' =1"),
            ("padded ", "\"padded \""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1+1", "'+1+1"),
            ("-1+1", "'-1+1"),
            ("-12.50", "-12.50"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "' =1"),
            ("\u{1b}x", "\u{fffd}x"),
        ] {
            let mut rows = Rows { out: String::new(), width: 1 };
            rows.push([text]);
            assert_eq!(rows.out, format!("{expected}\r\n"), "{text:?}");
        }
    }
}
