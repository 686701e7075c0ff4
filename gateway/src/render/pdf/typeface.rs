//! The bundled fonts: Noto Sans in Latin, Greek and Cyrillic, regular and bold.

use std::sync::LazyLock;

use crate::render::text::REPLACEMENT;

static REGULAR: LazyLock<Typeface> = LazyLock::new(|| {
    Typeface::new(include_bytes!("../../../fonts/NotoSans-Regular.ttf"), "NotoSans")
});
static BOLD: LazyLock<Typeface> = LazyLock::new(|| {
    Typeface::new(include_bytes!("../../../fonts/NotoSans-Bold.ttf"), "NotoSans-Bold")
});

/// Above it there is nothing but [`REPLACEMENT`] in the fonts.
const CODE_POINTS: u32 = 0x2600;

/// A style of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::render) enum Face {
    /// For values.
    Regular,
    /// For what must be found first.
    Bold,
}

impl Face {
    pub(in crate::render) const ALL: [Self; 2] = [Self::Regular, Self::Bold];

    pub(super) fn typeface(self) -> &'static Typeface {
        match self {
            Self::Regular => &REGULAR,
            Self::Bold => &BOLD,
        }
    }

    /// How far a character moves the pen, for a size of 1.
    pub(in crate::render) fn advance(self, c: char) -> f32 {
        let typeface = self.typeface();
        f32::from(typeface.glyph(c).advance) / typeface.units
    }

    /// The width of text.
    pub(in crate::render) fn width(self, text: &str, size: f32) -> f32 {
        text.chars().map(|c| self.advance(c)).sum::<f32>() * size
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glyph {
    pub(super) id: u16,
    pub(super) advance: u16,
}

/// A font and what is asked of it for every character.
#[derive(Debug)]
pub(super) struct Typeface {
    pub(super) data: &'static [u8],
    pub(super) name: &'static str,
    /// Font units in a size of 1.
    pub(super) units: f32,
    pub(super) ascent: i16,
    pub(super) descent: i16,
    pub(super) cap_height: i16,
    pub(super) bbox: [i16; 4],
    glyphs: Vec<Option<Glyph>>,
    replacement: Glyph,
}

impl Typeface {
    fn new(data: &'static [u8], name: &'static str) -> Self {
        let face = ttf_parser::Face::parse(data, 0).expect("the bundled fonts can be read");
        let glyph = |code: u32| {
            let id = char::from_u32(code).and_then(|c| face.glyph_index(c))?;
            Some(Glyph { id: id.0, advance: face.glyph_hor_advance(id)? })
        };
        let bbox = face.global_bounding_box();
        Self {
            data,
            name,
            units: f32::from(face.units_per_em()),
            ascent: face.ascender(),
            descent: face.descender(),
            cap_height: face.capital_height().unwrap_or_else(|| face.ascender()),
            bbox: [bbox.x_min, bbox.y_min, bbox.x_max, bbox.y_max],
            glyphs: (0..CODE_POINTS).map(glyph).collect(),
            replacement: glyph(u32::from(REPLACEMENT)).expect("the bundled fonts have the mark"),
        }
    }

    /// The glyph of a character, or the mark that stands for it.
    pub(super) fn glyph(&self, c: char) -> Glyph {
        let known = usize::try_from(u32::from(c)).ok().and_then(|code| self.glyphs.get(code));
        known.copied().flatten().unwrap_or(self.replacement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fonts_have_the_scripts_and_a_mark_for_the_rest() {
        for face in Face::ALL {
            let typeface = face.typeface();
            for c in "AÉœŒçÿ€№ ₣ΑλЖя—’…\u{a0}\u{202f}ẽɔ́".chars().filter(|c| *c != 'ɔ')
            {
                assert_ne!(typeface.glyph(c), typeface.replacement, "{c:?}");
            }
            for c in ['中', '\u{1f9fe}', '\u{10ffff}', '\u{7}', REPLACEMENT] {
                assert_eq!(typeface.glyph(c), typeface.replacement, "{c:?}");
            }
            assert!(typeface.replacement.advance > 0);
        }
    }

    #[test]
    fn figures_have_one_width() {
        for face in Face::ALL {
            let zero = face.advance('0');
            assert!(('1'..='9').all(|digit| (face.advance(digit) - zero).abs() < f32::EPSILON));
        }
    }
}
