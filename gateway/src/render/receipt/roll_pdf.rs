//! A receipt as a PDF of a paper roll: as narrow as the paper, and as long as it needs to be.

use super::roll::{Row, rows};
use crate::render::pdf::{Document, Face, Ink, mm};
use crate::render::qr::Symbol;
use crate::render::text::wrap;
use crate::render::view::ReceiptView;
use crate::render::{Paper, Roll};

/// The longest page that every reader shows; a longer receipt goes on on another.
const LENGTH_MAX: f32 = 14_000.0;
const MARGIN: f32 = mm(4.0);
const INDENT: f32 = 8.0;

/// Something at its place, measured from the top of the whole strip.
enum Mark {
    Text { x: f32, style: (Face, f32, Ink), text: String },
    Rule,
    Frame { height: f32 },
    Code { x: f32, side: f32, symbol: Symbol },
}

struct Strip {
    /// Printable.
    width: f32,
    y: f32,
    marks: Vec<(f32, Mark)>,
}

pub(super) fn pdf(view: &ReceiptView, roll: Roll) -> Vec<u8> {
    // Eight dots a millimetre, and margins where the printer cannot reach.
    let width = mm(u16::try_from(roll.dots() / 8).map_or(48.0, f32::from));
    let mut strip = Strip { width, y: 0.0, marks: Vec::new() };
    for row in rows(view) {
        strip.row(row, view, roll);
    }
    let title = format!("{} {}", view.invoice_type, view.number);
    strip.draw().finish(&title, view.language)
}

fn sizes(roll: Roll) -> (f32, f32) {
    match roll {
        Roll::Mm58 => (7.0, 6.2),
        Roll::Mm80 => (8.0, 7.0),
    }
}

impl Strip {
    fn row(&mut self, row: Row<'_>, view: &ReceiptView, roll: Roll) {
        let (text, small) = sizes(roll);
        match row {
            Row::Banner(banner) => self.banner(banner),
            Row::Title(title) => self.centered(title, (Face::Bold, text * 1.4, Ink::Black)),
            Row::Center(line) => self.centered(&line, (Face::Regular, small, Ink::Black)),
            Row::Strong(line) => self.left(&line, 0.0, (Face::Bold, text, Ink::Black)),
            Row::Text(line) => self.left(&line, 0.0, (Face::Regular, text, Ink::Black)),
            Row::Detail(line) => self.left(&line, INDENT, (Face::Regular, small, Ink::Gray)),
            Row::Pair(label, value) => {
                let indent = if label.starts_with(' ') { INDENT } else { 0.0 };
                self.pair(&label, &value, indent, (Face::Regular, text, Ink::Black));
            }
            Row::StrongPair(label, value) => {
                self.pair(&label, &value, 0.0, (Face::Bold, text, Ink::Black));
            }
            Row::Rule => {
                self.y += 2.5;
                self.marks.push((self.y, Mark::Rule));
                self.y += 3.0;
            }
            Row::Code => self.code(view, roll),
        }
    }

    fn put(&mut self, x: f32, style: (Face, f32, Ink), text: String) {
        self.marks.push((self.y + style.1, Mark::Text { x, style, text }));
    }

    fn fold(text: &str, width: f32, (face, size, _): (Face, f32, Ink)) -> Vec<String> {
        wrap(text, width / size, |c| face.advance(c))
    }

    fn banner(&mut self, banner: &str) {
        let style = (Face::Bold, 13.0, Ink::Black);
        let lines = Self::fold(banner, self.width - 8.0, style);
        let height = lines.iter().map(|_| 17.0).sum::<f32>() + 4.0;
        self.y += 2.0;
        self.marks.push((self.y, Mark::Frame { height }));
        self.y += 2.0;
        for line in lines {
            let x = (self.width - Face::Bold.width(&line, 13.0)) / 2.0;
            self.put(x, style, line);
            self.y += 17.0;
        }
        self.y += 6.0;
    }

    fn centered(&mut self, text: &str, style: (Face, f32, Ink)) {
        for line in Self::fold(text, self.width, style) {
            let x = (self.width - style.0.width(&line, style.1)) / 2.0;
            self.put(x, style, line);
            self.y += style.1 * 1.3;
        }
    }

    fn left(&mut self, text: &str, indent: f32, style: (Face, f32, Ink)) {
        for line in Self::fold(text, self.width - indent, style) {
            self.put(indent, style, line);
            self.y += style.1 * 1.3;
        }
    }

    fn pair(&mut self, label: &str, value: &str, indent: f32, style: (Face, f32, Ink)) {
        let (face, size, _) = style;
        let label = label.trim_start();
        let (left, right) = (face.width(label, size), face.width(value, size));
        if indent + left + right + 6.0 <= self.width {
            self.put(indent, style, label.to_owned());
            self.put(self.width - right, style, value.to_owned());
            self.y += size * 1.3;
            return;
        }
        self.left(label, indent, style);
        for line in Self::fold(value, self.width, style) {
            self.put(self.width - face.width(&line, size), style, line);
            self.y += size * 1.3;
        }
    }

    fn code(&mut self, view: &ReceiptView, roll: Roll) {
        let symbol = Symbol::new(&view.payload, Paper::Roll(roll));
        let dots = symbol.side() * symbol.module_dots;
        let side = mm(u16::try_from(dots).map_or(f32::from(u16::MAX), f32::from) / 8.0);
        self.y += 4.0;
        self.marks.push((self.y, Mark::Code { x: (self.width - side) / 2.0, side, symbol }));
        self.y += side + 4.0;
    }

    /// Cuts the strip into pages, between rows.
    fn draw(self) -> Document {
        let mut document = Document::new();
        let page_width = self.width + 2.0 * MARGIN;
        let mut marks = self.marks.into_iter().peekable();
        let mut start = 0.0;
        while let Some((first, _)) = marks.peek() {
            // A page that is not the first starts a line above its first mark.
            start = if document.page_count() == 0 { start } else { first - 12.0 };
            let end = start + LENGTH_MAX - 2.0 * MARGIN;
            let fits = |place: f32, mark: &Mark| {
                let below = match mark {
                    Mark::Code { side, .. } => *side,
                    Mark::Frame { height } => *height,
                    _ => 0.0,
                };
                place + below <= end
            };
            let mut here = Vec::new();
            while let Some(mark) = marks.next_if(|(place, mark)| fits(*place, mark)) {
                here.push(mark);
            }
            let last = marks.peek().map_or(self.y, |(next, _)| next - 12.0);
            document.add_page(page_width, (last.min(end) - start) + 2.0 * MARGIN);
            for (place, mark) in here {
                draw_mark(&mut document, place - start + MARGIN, self.width, mark);
            }
        }
        document
    }
}

fn draw_mark(document: &mut Document, y: f32, width: f32, mark: Mark) {
    match mark {
        Mark::Text { x, style, text } => document.text((MARGIN + x, y), style, &text),
        Mark::Rule => document.rule((MARGIN, y), width, 0.6, Ink::Black),
        Mark::Frame { height } => document.frame((MARGIN, y), (width, height), (1.4, Ink::Black)),
        Mark::Code { x, side, symbol } => document.code((MARGIN + x, y), side, &symbol),
    }
}
