//! A receipt in ESC/POS, the language of thermal printers, with the few commands that all of them know.
//!
//! Text is encoded to bytes of at least 0x20, so nothing that a client wrote can be a command. The QR
//! code is a picture: printers that draw codes themselves do not agree on how.

use super::code_page::{encode, printable};
use super::roll::{Row, rows};
use crate::render::qr::Symbol;
use crate::render::text::wrap;
use crate::render::view::ReceiptView;
use crate::render::{Paper, Roll};

/// Start anew; leave the mode of double-byte characters; American set; code page 858.
const BEGIN: &[u8] = b"\x1b@\x1c.\x1bR\x00\x1bt\x13";
const LEFT: &[u8] = b"\x1ba\x00";
const CENTER: &[u8] = b"\x1ba\x01";
const STRONG: &[u8] = b"\x1bE\x01";
const PLAIN: &[u8] = b"\x1bE\x00";
const TALL: &[u8] = b"\x1d!\x01";
const LARGE: &[u8] = b"\x1d!\x11";
const NORMAL: &[u8] = b"\x1d!\x00";
const RASTER: &[u8] = b"\x1dv0\x00";
/// Feed to the cutter, cut and leave a point of paper.
const CUT: &[u8] = b"\x1dVB\x03";

pub(super) fn print(view: &ReceiptView, roll: Roll) -> Vec<u8> {
    let mut printer = Printer { out: BEGIN.to_vec(), columns: roll.columns() };
    for row in rows(view) {
        match row {
            Row::Banner(text) => printer.centered(text, LARGE, 2),
            Row::Title(text) => printer.centered(text, TALL, 1),
            Row::Center(text) => {
                printer.out.extend_from_slice(CENTER);
                printer.wrapped(&text, 0, 1);
                printer.out.extend_from_slice(LEFT);
            }
            Row::Strong(text) => {
                printer.out.extend_from_slice(STRONG);
                printer.wrapped(&text, 0, 1);
                printer.out.extend_from_slice(PLAIN);
            }
            Row::Text(text) => printer.wrapped(&text, 0, 1),
            Row::Detail(text) => printer.wrapped(&text, 2, 1),
            Row::Pair(label, value) => printer.pair(&label, &value),
            Row::StrongPair(label, value) => {
                printer.out.extend_from_slice(STRONG);
                printer.pair(&label, &value);
                printer.out.extend_from_slice(PLAIN);
            }
            Row::Rule => printer.line(&"-".repeat(roll.columns())),
            Row::Code => printer.code(view, roll),
        }
    }
    printer.out.extend_from_slice(CUT);
    printer.out
}

struct Printer {
    out: Vec<u8>,
    columns: usize,
}

impl Printer {
    fn line(&mut self, printable: &str) {
        encode(printable, &mut self.out);
        self.out.push(b'\n');
    }

    fn wrapped(&mut self, text: &str, indent: usize, scale: usize) {
        for line in self.fold(text, self.columns / scale - indent) {
            let line = format!("{}{line}", " ".repeat(indent));
            self.line(&line);
        }
    }

    fn centered(&mut self, text: &str, size: &[u8], scale: usize) {
        self.out.extend_from_slice(CENTER);
        self.out.extend_from_slice(STRONG);
        self.out.extend_from_slice(size);
        self.wrapped(text, 0, scale);
        self.out.extend_from_slice(NORMAL);
        self.out.extend_from_slice(PLAIN);
        self.out.extend_from_slice(LEFT);
    }

    /// Label and value on one line where they fit; else the value at the right of lines of its own.
    fn pair(&mut self, label: &str, value: &str) {
        let (label, value) = (printable(label), printable(value));
        let (left, right) = (label.chars().count(), value.chars().count());
        if left + right < self.columns {
            let gap = " ".repeat(self.columns - left - right);
            self.line(&format!("{label}{gap}{value}"));
            return;
        }
        let indent = label.len() - label.trim_start().len();
        self.wrapped(&label, indent, 1);
        for line in self.fold(&value, self.columns) {
            let gap = " ".repeat(self.columns - line.chars().count());
            self.line(&format!("{gap}{line}"));
        }
    }

    fn fold(&self, text: &str, columns: usize) -> Vec<String> {
        let width = u16::try_from(columns).map_or(f32::from(u16::MAX), f32::from);
        wrap(&printable(text), width, |_| 1.0)
    }

    /// The picture is as wide as the paper, so that no printer's idea of the middle matters.
    fn code(&mut self, view: &ReceiptView, roll: Roll) {
        let symbol = Symbol::new(&view.payload, Paper::Roll(roll));
        let raster = symbol.raster(symbol.module_dots, roll.dots());
        let size = |dots: usize| u16::try_from(dots).expect("a picture is at most 1,000 dots high");
        self.out.extend_from_slice(RASTER);
        self.out.extend_from_slice(&size(raster.row_bytes).to_le_bytes());
        self.out.extend_from_slice(&size(raster.height).to_le_bytes());
        self.out.extend_from_slice(&raster.bits);
    }
}
