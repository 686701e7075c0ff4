//! The QR code of a receipt.
//!
//! The level of error correction is the highest of H, Q and M whose modules are still at least
//! [`MODULE_DOTS_MIN`] wide on the paper; the longest payloads take M with the widest modules that fit.

use std::fmt::Write as _;

use fast_qr::{ECL, QRBuilder, QRCode};
use fiscus_ledger::qr::QrPayload;

use super::Paper;

/// 0.375 mm at 8 dots per millimetre; a module narrower than 0.33 mm is hard to read from paper.
const MODULE_DOTS_MIN: usize = 3;
/// Wider modules make a code larger and no easier to read.
const MODULE_DOTS_MAX: usize = 4;
/// The light border that readers need, in modules.
pub(super) const QUIET_MODULES: usize = 4;
/// The width that a sheet gives to a code: 60 mm.
const SHEET_DOTS: usize = 480;
/// Pixels of a module in a picture,
const PICTURE_PIXELS: usize = 6;
/// and in a drawing, unless whoever shows it makes it smaller. A whole number, so that no module is wider than
/// another.
const DRAWING_PIXELS: usize = 3;

/// A code as modules.
#[derive(Debug, Clone)]
pub(super) struct Symbol {
    modules: usize,
    dark: Vec<bool>,
    /// Dots of a module on its paper.
    pub(super) module_dots: usize,
    #[cfg(test)]
    level: ECL,
}

impl Symbol {
    pub(super) fn new(payload: &QrPayload, paper: Paper) -> Self {
        let dots = match paper {
            Paper::A4 => SHEET_DOTS,
            Paper::Roll(roll) => roll.dots(),
        };
        let url = payload.to_url();
        let code = [ECL::H, ECL::Q].into_iter().find_map(|level| {
            let code = encode(&url, level)?;
            ((code.size + 2 * QUIET_MODULES) * MODULE_DOTS_MIN <= dots).then_some(code)
        });
        let code = code.or_else(|| encode(&url, ECL::M));
        let code =
            code.expect("the longest parts of a payload make 2,000 bytes, and M holds 2,331");
        let modules = code.size;
        let dark = code.data[..modules * modules].iter().map(|module| module.value()).collect();
        Self {
            modules,
            dark,
            module_dots: (dots / (modules + 2 * QUIET_MODULES)).clamp(1, MODULE_DOTS_MAX),
            #[cfg(test)]
            level: code.ecl.expect("the level was asked for"),
        }
    }

    /// Modules of a side with its quiet zone.
    pub(super) fn side(&self) -> usize {
        self.modules + 2 * QUIET_MODULES
    }

    /// Whether a module is dark, counted with the quiet zone.
    pub(super) fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET_MODULES).filter(|at| *at < self.modules);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.dark[y * self.modules + x],
            _ => false,
        }
    }

    /// Dark stretches as (x, y, length), row by row.
    pub(super) fn runs(&self) -> Vec<(usize, usize, usize)> {
        let mut runs = Vec::new();
        for y in 0..self.side() {
            let mut x = 0;
            while x < self.side() {
                let length = (x..self.side()).take_while(|x| self.is_dark(*x, y)).count();
                if length > 0 {
                    runs.push((x, y, length));
                }
                x += length + 1;
            }
        }
        runs
    }

    /// One bit a pixel, 1 for dark, rows padded to bytes; centred in `width` pixels when that is more.
    pub(super) fn raster(&self, scale: usize, width: usize) -> Raster {
        let drawn = self.side() * scale;
        let width = width.max(drawn);
        let (left, row_bytes) = ((width - drawn) / 2, width.div_ceil(8));
        let mut bits = Vec::with_capacity(row_bytes * drawn);
        for y in 0..self.side() {
            let mut row = vec![0_u8; row_bytes];
            for x in (0..drawn).filter(|x| self.is_dark(x / scale, y)) {
                row[(left + x) / 8] |= 0x80 >> ((left + x) % 8);
            }
            for _ in 0..scale {
                bits.extend_from_slice(&row);
            }
        }
        Raster { width, row_bytes, height: drawn, bits }
    }
}

/// `None` when the text is too long for the level.
fn encode(text: &str, level: ECL) -> Option<QRCode> {
    QRBuilder::new(text).ecl(level).build().ok()
}

/// A picture of one bit a pixel.
#[derive(Debug)]
pub(super) struct Raster {
    pub(super) width: usize,
    pub(super) row_bytes: usize,
    pub(super) height: usize,
    pub(super) bits: Vec<u8>,
}

/// The code as a scalable drawing, labelled for those who cannot see it.
#[must_use]
pub fn svg(payload: &QrPayload, paper: Paper, label: &str) -> String {
    let symbol = Symbol::new(payload, paper);
    let side = symbol.side();
    let pixels = side * DRAWING_PIXELS;
    let label = super::escape(label);
    let mut out = String::with_capacity(32 * 1024);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{pixels}\" height=\"{pixels}\" \
         viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"{label}\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 \
         0h{side}v{side}H0z\"/><path fill=\"#000\" d=\"",
    );
    for (x, y, length) in symbol.runs() {
        let _ = write!(out, "M{x} {y}h{length}v1h-{length}z");
    }
    out.push_str("\"/></svg>");
    out
}

/// The code as a picture.
#[must_use]
pub fn png(payload: &QrPayload, paper: Paper) -> Vec<u8> {
    let symbol = Symbol::new(payload, paper);
    let scale = match paper {
        Paper::A4 => PICTURE_PIXELS,
        Paper::Roll(_) => symbol.module_dots,
    };
    let raster = symbol.raster(scale, 0);
    let mut rows = Vec::with_capacity(raster.bits.len() + raster.height);
    for row in raster.bits.chunks(raster.row_bytes) {
        // No filter; in grey of one bit 1 is light.
        rows.push(0);
        rows.extend(row.iter().map(|bits| !bits));
    }
    let side = |pixels: usize| u32::try_from(pixels).expect("a symbol has under 2,000 pixels");
    let mut header = Vec::with_capacity(13);
    header.extend_from_slice(&side(raster.width).to_be_bytes());
    header.extend_from_slice(&side(raster.height).to_be_bytes());
    // One bit of grey, the only compression and filters there are, not interlaced.
    header.extend_from_slice(&[1, 0, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    push_chunk(&mut out, *b"IHDR", &header);
    push_chunk(&mut out, *b"IDAT", &super::pdf::deflate(&rows));
    push_chunk(&mut out, *b"IEND", &[]);
    out
}

fn push_chunk(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    let length = u32::try_from(data.len()).expect("a symbol is far under 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    let start = out.len();
    out.extend_from_slice(&name);
    out.extend_from_slice(data);
    let sum = crc32(&out[start..]);
    out.extend_from_slice(&sum.to_be_bytes());
}

/// The checksum of PNG, bit by bit: pictures are a few kilobytes.
fn crc32(data: &[u8]) -> u32 {
    let sum = data.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 }
        })
    });
    !sum
}

#[cfg(test)]
mod tests {
    use fiscus_ledger::credential::{Credential, CredentialTerms};
    use fiscus_ledger::qr::QrFields;
    use fiscus_ledger::time::UnixMs;

    use super::*;
    use crate::render::Roll;

    const PAPERS: [Paper; 3] = [Paper::A4, Paper::Roll(Roll::Mm80), Paper::Roll(Roll::Mm58)];

    /// An everyday payload; with a credential and identifiers as long as they may be, the longest.
    fn payload(longest: bool) -> QrPayload {
        let id = |short: &str| if longest { "%".repeat(128) } else { short.to_owned() };
        let label = "a".repeat(63);
        let host = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        let terms = CredentialTerms {
            id: id("cred-1"),
            outlet_id: "o".repeat(64),
            prefix: format!("{0}-{0}-{0}", "ABCDEFGHJKLM"),
            first: 1,
            last: u64::MAX,
            not_before_ms: 0,
            not_after_ms: u64::MAX,
            terminal_key: [7; 32],
            block_entry_hash: [8; 32],
            authority_id: id("dgi"),
        };
        let credential = longest.then(|| Credential::new(terms, [9; 64]).unwrap());
        QrPayload::new(QrFields {
            host: if longest { format!("{host}:65535") } else { "verify.example.cd".to_owned() },
            fiscal_number: "CD-GOMBE-1042".to_owned(),
            timestamp: UnixMs::new(1_795_167_001_123),
            kind: "export_credit".to_owned(),
            total: "10000000000000.00".to_owned(),
            currency: "CDF".to_owned(),
            authority_id: id("dgi-cd-live-1.0123456789abcdef"),
            hidden_hash: [0xAB; 32],
            signature: [0xCD; 64],
            credential,
        })
        .unwrap()
    }

    #[test]
    fn the_level_is_the_highest_whose_modules_are_wide_enough() {
        for paper in PAPERS {
            let everyday = Symbol::new(&payload(false), paper);
            assert!(matches!(everyday.level, ECL::H) && everyday.module_dots >= MODULE_DOTS_MIN);
        }
        let levels = PAPERS.map(|paper| Symbol::new(&payload(true), paper).level);
        assert!(matches!(levels, [ECL::M, ECL::Q, ECL::M]));
    }

    #[test]
    fn every_code_is_as_wide_as_its_paper_or_less() {
        for (paper, roll) in [(PAPERS[1], Roll::Mm80), (PAPERS[2], Roll::Mm58)] {
            for longest in [false, true] {
                let symbol = Symbol::new(&payload(longest), paper);
                let raster = symbol.raster(symbol.module_dots, roll.dots());
                assert_eq!((raster.width, raster.row_bytes), (roll.dots(), roll.dots() / 8));
                assert_eq!(raster.bits.len(), raster.row_bytes * raster.height);
            }
        }
    }

    #[test]
    fn runs_and_raster_show_the_same_modules_inside_a_quiet_zone() {
        let symbol = Symbol::new(&payload(false), Paper::A4);
        let dark = symbol.runs().iter().map(|(_, _, length)| length).sum::<usize>();
        let raster = symbol.raster(1, 0);
        let bits: u32 = raster.bits.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(u32::try_from(dark), Ok(bits));
        for at in 0..symbol.side() {
            for border in (0..QUIET_MODULES).chain(symbol.side() - QUIET_MODULES..symbol.side()) {
                assert!(!symbol.is_dark(at, border) && !symbol.is_dark(border, at));
            }
        }
        assert!(symbol.is_dark(QUIET_MODULES, QUIET_MODULES));
    }

    #[test]
    fn the_checksum_is_that_of_png() {
        assert_eq!(crc32(b"IEND"), 0xAE42_6082);
    }
}
