//! The A report as CSV, line by line: it may be longer than memory.

use fiscus_ledger::json::Value;

use super::content::{Content, Section, text};
use super::csv::{Rows, facts};
use super::{RenderError, SignedReport};
use crate::render::Language;

/// What stands before the members of a line.
const COLUMNS: [&str; 4] = ["section", "item", "label", "value"];
const SECTION: &str = "lines";

/// An A report being written. Each call returns the rows that are ready.
#[derive(Debug)]
pub struct ArticleCsv {
    language: Language,
    rows: Rows,
    /// The members of a line; all lines have those of the first.
    columns: Vec<String>,
    started: bool,
}

impl ArticleCsv {
    /// Nothing is written yet: the columns come with the first line.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self { language, rows: Rows::new(COLUMNS), columns: Vec::new(), started: false }
    }

    /// Adds a line, which is one JSON object.
    pub fn line(&mut self, json: &str) -> Result<String, RenderError> {
        let value = Value::parse(json)?;
        self.value(&value)?;
        Ok(std::mem::take(&mut self.rows.out))
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), RenderError> {
        let Value::Object(members) = value else { return Err(RenderError::NotALine) };
        if !self.started {
            self.started = true;
            self.columns = members.iter().map(|(name, _)| name.clone().into_owned()).collect();
            let columns = COLUMNS.into_iter().chain(self.columns.iter().map(String::as_str));
            self.rows = Rows::new(columns);
        }
        let own = self.columns.iter().map(|name| value.member(name).map(text).unwrap_or_default());
        let front = [SECTION, "", "", ""].map(str::to_owned);
        self.rows.push(front.into_iter().chain(own));
        Ok(())
    }

    /// The whole report at once.
    pub(super) fn whole(
        report: &SignedReport<'_>,
        language: Language,
    ) -> Result<String, RenderError> {
        let (mut csv, value) = (Self::new(language), Value::parse(report.json)?);
        if let Some(Value::Array(lines)) = value.member("lines") {
            lines.iter().try_for_each(|line| csv.value(line))?;
        }
        csv.finish(report)
    }

    /// Closes with what the report says of itself and what vouches for it. The report's JSON is the
    /// header, or header and lines, of which the lines are passed over.
    pub fn finish(mut self, report: &SignedReport<'_>) -> Result<String, RenderError> {
        let content = Content::read(report, self.language)?;
        let words = &self.language.words().report;
        facts(&mut self.rows, "report", &content.facts, words);
        for section in &content.sections {
            if let Section::Facts(name, pairs) = section {
                facts(&mut self.rows, name, pairs, words);
            }
        }
        facts(&mut self.rows, "seal", &content.seal, words);
        Ok(self.rows.out)
    }
}
