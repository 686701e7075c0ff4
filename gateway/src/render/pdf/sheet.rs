//! Sheets of A4 that fill from top to bottom: sections, pairs, and tables that go on on the next page
//! under their headings.

use super::document::{Document, Ink};
use super::mm;
use super::typeface::Face;
use crate::render::Language;
use crate::render::text::wrap;

const WIDTH: f32 = mm(210.0);
const HEIGHT: f32 = mm(297.0);
const MARGIN: f32 = mm(15.0);
const BOTTOM: f32 = HEIGHT - mm(18.0);
const FOOT: f32 = HEIGHT - mm(10.0);

const TEXT: f32 = 8.5;
const SMALL: f32 = 7.0;
const LINE: f32 = 11.0;
const PADDING: f32 = 3.0;
/// What is too wide is written smaller before it is broken; a figure, much smaller.
const SHRINK_MIN: f32 = 0.7;
const SHRINK_FIGURE_MIN: f32 = 0.4;
/// A row of more lines may be broken between pages.
const ROW_KEPT_LINES: usize = 11;

/// A column of a table.
#[derive(Debug, Clone)]
pub(in crate::render) struct Column {
    pub(in crate::render) heading: String,
    /// Its share of the sheet's width; shares of a table need not sum up to anything.
    pub(in crate::render) share: f32,
    pub(in crate::render) right: bool,
}

/// A cell: its text, and what stands below in small.
#[derive(Debug, Clone, Default)]
pub(in crate::render) struct Cell {
    pub(in crate::render) text: String,
    pub(in crate::render) details: Vec<String>,
    pub(in crate::render) bold: bool,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

/// A styled line, ready to be written.
struct Written {
    text: String,
    face: Face,
    size: f32,
    ink: Ink,
}

/// Sheets being filled.
pub(in crate::render) struct Sheet {
    document: Document,
    y: f32,
    /// Above every page.
    banners: Vec<String>,
    /// At the top of every page but the first.
    running: String,
}

impl Sheet {
    pub(in crate::render) fn new(banners: &[String], running: &str) -> Self {
        let mut sheet = Self {
            document: Document::new(),
            y: 0.0,
            banners: banners.to_vec(),
            running: running.to_owned(),
        };
        sheet.open_page();
        sheet
    }

    /// The usable width.
    pub(in crate::render) const fn width() -> f32 {
        WIDTH - 2.0 * MARGIN
    }

    pub(in crate::render) fn y(&self) -> f32 {
        self.y
    }

    pub(in crate::render) fn set_y(&mut self, y: f32) {
        self.y = y;
    }

    pub(in crate::render) fn page(&self) -> usize {
        self.document.page_count()
    }

    /// Goes to a place for drawing by hand; `x` counts from the left margin.
    pub(in crate::render) fn document(&mut self) -> (&mut Document, f32) {
        (&mut self.document, MARGIN)
    }

    fn open_page(&mut self) {
        self.document.add_page(WIDTH, HEIGHT);
        self.y = MARGIN;
        if self.document.page_count() > 1 {
            let lines = wrap(&self.running, Self::width() / SMALL, |c| Face::Regular.advance(c));
            for line in lines.iter().take(2) {
                let style = (Face::Regular, SMALL, Ink::Gray);
                self.document.text((MARGIN, self.y + SMALL), style, line);
                self.y += LINE;
            }
        }
        for banner in self.banners.clone() {
            self.document.frame((MARGIN, self.y), (Self::width(), 24.0), (1.8, Ink::Red));
            let x = MARGIN + (Self::width() - Face::Bold.width(&banner, 14.0)) / 2.0;
            self.document.text((x, self.y + 17.0), (Face::Bold, 14.0, Ink::Red), &banner);
            self.y += 30.0;
        }
        self.y += 4.0;
    }

    /// Makes sure that so much fits below.
    pub(in crate::render) fn need(&mut self, height: f32) {
        if self.y + height > BOTTOM {
            self.open_page();
        }
    }

    pub(in crate::render) fn skip(&mut self, height: f32) {
        self.y += height;
    }

    /// The heading of a section, which stays with what follows.
    pub(in crate::render) fn section(&mut self, heading: &str) {
        self.need(60.0);
        self.section_at(0.0, Self::width(), heading);
    }

    fn section_at(&mut self, x: f32, width: f32, heading: &str) {
        self.y += 16.0;
        let style = (Face::Bold, TEXT, Ink::Gray);
        self.document.text((MARGIN + x, self.y), style, &heading.to_uppercase());
        self.y += 4.0;
        self.document.rule((MARGIN + x, self.y), width, 0.6, Ink::Gray);
        self.y += 3.0;
    }

    /// A paragraph.
    pub(in crate::render) fn paragraph(
        &mut self,
        (x, width): (f32, f32),
        (face, size, ink): (Face, f32, Ink),
        text: &str,
    ) {
        for line in wrap(text, width / size, |c| face.advance(c)) {
            self.need(size * 1.3);
            self.document.text((MARGIN + x, self.y + size), (face, size, ink), &line);
            self.y += size * 1.3;
        }
    }

    /// Labels at the left and their values after them.
    pub(in crate::render) fn pairs(&mut self, (x, width): (f32, f32), pairs: &[(String, String)]) {
        let label_width = label_width(pairs, width);
        for (label, value) in pairs {
            let labels = wrap(label, label_width / SMALL, |c| Face::Regular.advance(c));
            let values =
                wrap(value, (width - label_width - 6.0) / TEXT, |c| Face::Regular.advance(c));
            for at in 0..labels.len().max(values.len()) {
                self.need(LINE);
                if let Some(text) = labels.get(at) {
                    let style = (Face::Regular, SMALL, Ink::Gray);
                    self.document.text((MARGIN + x, self.y + TEXT), style, text);
                }
                if let Some(text) = values.get(at) {
                    let place = (MARGIN + x + label_width + 6.0, self.y + TEXT);
                    self.document.text(place, (Face::Regular, TEXT, Ink::Black), text);
                }
                self.y += LINE;
            }
        }
    }

    /// Labels at the left, figures at the right edge.
    pub(in crate::render) fn sums(
        &mut self,
        (x, width): (f32, f32),
        (face, size): (Face, f32),
        pairs: &[(String, String)],
    ) {
        for (label, value) in pairs {
            let figure = face.width(value, size).min(width);
            // A figure that leaves no room for its label takes the line below.
            let beside = figure < width * 0.6;
            let room = if beside { width - figure - 8.0 } else { width };
            let lines = wrap(label, room / size, |c| face.advance(c));
            let step = size * 1.3;
            for (at, line) in lines.iter().enumerate() {
                self.need(step);
                self.document.text((MARGIN + x, self.y + size), (face, size, Ink::Black), line);
                if beside && at == 0 {
                    let place = (MARGIN + x + width, self.y + size);
                    self.document.text_right(place, (face, size, Ink::Black), value);
                }
                self.y += step;
            }
            if !beside {
                self.need(step);
                let fitted = size * (width / face.width(value, size)).min(1.0);
                let place = (MARGIN + x + width, self.y + size);
                self.document.text_right(place, (face, fitted, Ink::Black), value);
                self.y += step;
            }
        }
    }

    /// Two sections beside each other, or below each other when they are too long for one page.
    pub(in crate::render) fn side_by_side(&mut self, sections: [(&str, &[(String, String)]); 2]) {
        let gap = 24.0;
        let width = (Self::width() - gap) / 2.0;
        let tallest = sections.iter().map(|(_, pairs)| pairs_height(pairs, width));
        let tallest = tallest.fold(0.0, f32::max) + 24.0;
        if tallest > HEIGHT / 2.0 {
            for (heading, pairs) in sections {
                self.section(heading);
                self.pairs((0.0, Self::width()), pairs);
            }
            return;
        }
        self.need(tallest);
        let (top, mut end) = (self.y, self.y);
        for ((heading, pairs), x) in sections.into_iter().zip([0.0, width + gap]) {
            self.y = top;
            self.section_at(x, width, heading);
            self.pairs((x, width), pairs);
            end = end.max(self.y);
        }
        self.y = end;
    }

    /// A table. A page that it continues on repeats its headings.
    pub(in crate::render) fn table(&mut self, columns: &[Column], rows: &[Vec<Cell>]) {
        let total: f32 = columns.iter().map(|column| column.share).sum();
        let widths: Vec<f32> =
            columns.iter().map(|column| column.share / total * Self::width()).collect();
        self.need(3.0 * LINE);
        self.table_head(columns, &widths);
        for row in rows {
            self.table_row(columns, &widths, row);
        }
        self.y += 2.0;
    }

    fn table_head(&mut self, columns: &[Column], widths: &[f32]) {
        self.y += 2.0;
        let mut x = MARGIN;
        for (column, width) in columns.iter().zip(widths) {
            let inner = width - 2.0 * PADDING;
            let natural = Face::Bold.width(&column.heading, SMALL);
            let size = SMALL * (inner / natural).min(1.0);
            let style = (Face::Bold, size, Ink::Gray);
            if column.right {
                let place = (x + width - PADDING, self.y + SMALL);
                self.document.text_right(place, style, &column.heading);
            } else {
                self.document.text((x + PADDING, self.y + SMALL), style, &column.heading);
            }
            x += width;
        }
        self.y += LINE;
        self.document.rule((MARGIN, self.y), Self::width(), 0.8, Ink::Black);
        self.y += 2.0;
    }

    fn table_row(&mut self, columns: &[Column], widths: &[f32], row: &[Cell]) {
        let cells: Vec<Vec<Written>> = row
            .iter()
            .zip(widths)
            .zip(columns)
            .map(|((cell, width), column)| written(cell, width - 2.0 * PADDING, column.right))
            .collect();
        let lines = cells.iter().map(Vec::len).max().unwrap_or_default();
        if lines <= ROW_KEPT_LINES && (0..lines).fold(self.y, |y, _| y + LINE) > BOTTOM {
            self.open_page();
            self.table_head(columns, widths);
        }
        for at in 0..lines {
            if self.y + LINE > BOTTOM {
                self.open_page();
                self.table_head(columns, widths);
            }
            let mut x = MARGIN;
            for ((cell, width), column) in cells.iter().zip(widths).zip(columns) {
                if let Some(line) = cell.get(at) {
                    let style = (line.face, line.size, line.ink);
                    let y = self.y + TEXT;
                    if column.right {
                        self.document.text_right((x + width - PADDING, y), style, &line.text);
                    } else {
                        self.document.text((x + PADDING, y), style, &line.text);
                    }
                }
                x += width;
            }
            self.y += LINE;
        }
        self.y += 1.5;
        self.document.rule((MARGIN, self.y), Self::width(), 0.4, Ink::Pale);
        self.y += 1.5;
    }

    /// Numbers the pages and closes the document.
    pub(in crate::render) fn finish(
        mut self,
        title: &str,
        foot: &str,
        language: Language,
    ) -> Vec<u8> {
        let count = self.document.page_count();
        let style = (Face::Regular, SMALL, Ink::Gray);
        for page in 0..count {
            let number = format!("{} {} / {count}", language.words().page, page + 1);
            let x = MARGIN + Self::width() - Face::Regular.width(&number, SMALL);
            self.document.text_on(page, (x, FOOT), style, &number);
            let line = wrap(foot, (x - MARGIN - 12.0) / SMALL, |c| Face::Regular.advance(c));
            self.document.text_on(page, (MARGIN, FOOT), style, &line[0]);
        }
        self.document.finish(title, language)
    }
}

/// Labels take what they need, up to two fifths.
fn label_width(pairs: &[(String, String)], width: f32) -> f32 {
    let widest = pairs.iter().map(|(label, _)| Face::Regular.width(label, SMALL));
    widest.fold(0.0, f32::max).min(width * 0.4) + 0.1
}

fn pairs_height(pairs: &[(String, String)], width: f32) -> f32 {
    let label_width = label_width(pairs, width);
    let lines = pairs.iter().map(|(label, value)| {
        let labels = wrap(label, label_width / SMALL, |c| Face::Regular.advance(c)).len();
        let room = (width - label_width - 6.0) / TEXT;
        labels.max(wrap(value, room, |c| Face::Regular.advance(c)).len())
    });
    lines.map(|count| (0..count).map(|_| LINE).sum::<f32>()).sum()
}

/// The lines of a cell.
fn written(cell: &Cell, width: f32, right: bool) -> Vec<Written> {
    let face = if cell.bold { Face::Bold } else { Face::Regular };
    let natural = face.width(&cell.text, TEXT);
    let fit = if natural > width { width / natural } else { 1.0 };
    let shrunk = right && fit < 1.0;
    let least = if cell.text.contains(' ') { SHRINK_MIN } else { SHRINK_FIGURE_MIN };
    let size = if shrunk { TEXT * fit.max(least) } else { TEXT };
    // Rounding must not break a figure that was made to fit.
    let room = (width + 0.01) / size;
    let main = wrap(&cell.text, room, |c| face.advance(c)).into_iter();
    let mut lines: Vec<Written> =
        main.map(|text| Written { text, face, size, ink: Ink::Black }).collect();
    for detail in &cell.details {
        let folded = wrap(detail, width / SMALL, |c| Face::Regular.advance(c)).into_iter();
        lines.extend(folded.map(|text| Written {
            text,
            face: Face::Regular,
            size: SMALL,
            ink: Ink::Gray,
        }));
    }
    lines
}
