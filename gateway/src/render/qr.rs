//! The QR code of a receipt.
//!
//! The level of error correction is the highest of H, Q and M whose modules are still at least
//! [`MODULE_DOTS_MIN`] wide on the paper; the longest payloads take M with the widest modules that fit.

use std::fmt::Write as _;

use fiscus_ledger::qr::QrPayload;
use qrcode::bits::encode_auto;
use qrcode::{EcLevel, QrCode};

use super::Paper;

/// 0.375 mm at 8 dots per millimetre; a module narrower than 0.33 mm is hard to read from paper.
const MODULE_DOTS_MIN: usize = 3;
/// Wider modules make a code larger and no easier to read.
const MODULE_DOTS_MAX: usize = 4;
/// The light border that readers need, in modules.
pub(super) const QUIET_MODULES: usize = 4;
/// The width that a sheet gives to a code: 60 mm.
const SHEET_DOTS: usize = 480;
/// Pixels of a module on a screen.
const SCREEN_PIXELS: usize = 6;

/// A code as modules.
#[derive(Debug, Clone)]
pub(super) struct Symbol {
    modules: usize,
    dark: Vec<bool>,
    /// Dots of a module on its paper.
    pub(super) module_dots: usize,
    #[cfg(test)]
    level: EcLevel,
}

impl Symbol {
    pub(super) fn new(payload: &QrPayload, paper: Paper) -> Self {
        let dots = match paper {
            Paper::A4 => SHEET_DOTS,
            Paper::Roll(roll) => roll.dots(),
        };
        let url = payload.to_url();
        let comfortable = [EcLevel::H, EcLevel::Q].into_iter().find_map(|level| {
            let bits = encode_auto(url.as_bytes(), level).ok()?;
            let modules = usize::try_from(bits.version().width()).ok()? + 2 * QUIET_MODULES;
            (modules * MODULE_DOTS_MIN <= dots)
                .then(|| QrCode::with_bits(bits, level).ok())
                .flatten()
        });
        let code = comfortable.unwrap_or_else(|| {
            QrCode::with_error_correction_level(url.as_bytes(), EcLevel::M)
                .expect("the longest parts of a payload make 2,000 bytes, and a symbol holds 2,331")
        });
        let modules = code.width();
        Self {
            modules,
            module_dots: (dots / (modules + 2 * QUIET_MODULES)).clamp(1, MODULE_DOTS_MAX),
            #[cfg(test)]
            level: code.error_correction_level(),
            dark: code.into_colors().iter().map(|color| *color == qrcode::Color::Dark).collect(),
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
    let label = super::receipt::escape(label);
    let mut out = String::with_capacity(32 * 1024);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" \
         aria-label=\"{label}\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 \
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
        Paper::A4 => SCREEN_PIXELS,
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
