//! Portable documents: text in embedded fonts, lines, and codes as vectors.
//!
//! Text is written with a subset of a bundled font, and every character, also one that the font draws
//! as a mark only, can be searched and copied. Nothing in a file depends on the moment it is made.

mod document;
mod sheet;
mod typeface;

pub(super) use document::{Document, Ink};
pub(super) use sheet::{Cell, Column, Sheet};
pub(super) use typeface::Face;

/// Compresses for PDF and PNG.
pub(super) fn deflate(data: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(data, DEFLATE_LEVEL)
}

/// Higher levels take longer and save little on documents of a few kilobytes.
const DEFLATE_LEVEL: u8 = 3;

/// Points in so many millimetres.
pub(super) const fn mm(millimetres: f32) -> f32 {
    millimetres * 72.0 / 25.4
}
