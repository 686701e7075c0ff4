//! Pages and what is drawn on them, measured from the top left corner in points.

use std::collections::BTreeMap;

use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};
use subsetter::GlyphRemapper;

use super::deflate;
use super::typeface::{Face, Typeface};
use crate::render::Language;
use crate::render::qr::Symbol;

const SYSTEM: SystemInfo<'static> =
    SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
/// The tag that a subset's name starts with; one file has one subset of each font.
const SUBSET_TAG: &str = "FISCUS";

/// What is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::render) enum Ink {
    /// Values.
    Black,
    /// Labels; dark enough to be read.
    Gray,
    /// Lines between rows.
    Pale,
    /// Marks.
    Red,
}

impl Ink {
    fn rgb(self) -> [f32; 3] {
        match self {
            Self::Black => [0.08, 0.09, 0.11],
            Self::Gray => [0.32, 0.35, 0.39],
            Self::Pale => [0.82, 0.84, 0.86],
            Self::Red => [0.64, 0.0, 0.06],
        }
    }
}

/// A document being drawn.
pub(in crate::render) struct Document {
    pages: Vec<Page>,
    fonts: [FontUse; 2],
}

struct Page {
    content: Content,
    width: f32,
    height: f32,
}

impl Document {
    pub(in crate::render) fn new() -> Self {
        Self { pages: Vec::new(), fonts: Face::ALL.map(FontUse::new) }
    }

    /// Opens a page; what follows is drawn on it.
    pub(in crate::render) fn add_page(&mut self, width: f32, height: f32) {
        self.pages.push(Page { content: Content::with_capacity(16 * 1024), width, height });
    }

    pub(in crate::render) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Writes on the last page, from `x`, on the baseline `y`.
    pub(in crate::render) fn text(
        &mut self,
        (x, y): (f32, f32),
        (face, size, ink): (Face, f32, Ink),
        text: &str,
    ) {
        let last = self.pages.len() - 1;
        self.text_on(last, (x, y), (face, size, ink), text);
    }

    /// Writes on any page.
    pub(in crate::render) fn text_on(
        &mut self,
        page: usize,
        (x, y): (f32, f32),
        (face, size, ink): (Face, f32, Ink),
        text: &str,
    ) {
        let font = &mut self.fonts[face as usize];
        let codes: Vec<u8> = text.chars().flat_map(|c| font.code(c).to_be_bytes()).collect();
        let page = &mut self.pages[page];
        let [r, g, b] = ink.rgb();
        page.content.set_fill_rgb(r, g, b);
        page.content.begin_text().set_font(Name(face_name(face)), size);
        page.content.next_line(round(x), round(page.height - y)).show(Str(&codes)).end_text();
    }

    /// Writes so that it ends at `x`.
    pub(in crate::render) fn text_right(
        &mut self,
        (x, y): (f32, f32),
        (face, size, ink): (Face, f32, Ink),
        text: &str,
    ) {
        self.text((x - face.width(text, size), y), (face, size, ink), text);
    }

    /// A horizontal line.
    pub(in crate::render) fn rule(
        &mut self,
        (x, y): (f32, f32),
        length: f32,
        width: f32,
        ink: Ink,
    ) {
        let page = self.pages.last_mut().expect("a page is open");
        let [r, g, b] = ink.rgb();
        let y = round(page.height - y);
        page.content.set_stroke_rgb(r, g, b).set_line_width(width);
        page.content.move_to(round(x), y).line_to(round(x + length), y).stroke();
    }

    /// The outline of a box whose top left corner is at `x`, `y`.
    pub(in crate::render) fn frame(
        &mut self,
        (x, y): (f32, f32),
        (width, height): (f32, f32),
        (line, ink): (f32, Ink),
    ) {
        let page = self.pages.last_mut().expect("a page is open");
        let [r, g, b] = ink.rgb();
        let bottom = round(page.height - y - height);
        page.content.set_stroke_rgb(r, g, b).set_line_width(line);
        page.content.rect(round(x), bottom, round(width), round(height)).stroke();
    }

    /// A QR code whose top left corner is at `x`, `y`: black rectangles in units of modules.
    pub(in crate::render) fn code(&mut self, (x, y): (f32, f32), side: f32, symbol: &Symbol) {
        let page = self.pages.last_mut().expect("a page is open");
        let module = side / small(symbol.side());
        let content = &mut page.content;
        content.save_state().transform([
            module,
            0.0,
            0.0,
            -module,
            round(x),
            round(page.height - y),
        ]);
        content.set_fill_gray(0.0);
        for (x, y, length) in symbol.runs() {
            content.rect(small(x), small(y), small(length), 1.0);
        }
        content.fill_nonzero().restore_state();
    }

    /// The file.
    pub(in crate::render) fn finish(self, title: &str, language: Language) -> Vec<u8> {
        let mut ids = (1..).map(Ref::new);
        let mut next = || ids.next().expect("a document has far fewer than 2³¹ objects");
        let mut pdf = Pdf::with_capacity(64 * 1024);
        let (catalog, tree, info) = (next(), next(), next());
        let fonts: Vec<(Face, Ref)> = Face::ALL
            .into_iter()
            .filter(|face| self.fonts[*face as usize].is_used())
            .map(|face| (face, next()))
            .collect();
        for (face, id) in &fonts {
            self.fonts[*face as usize].write(&mut pdf, *id, &mut next);
        }
        let mut kids = Vec::with_capacity(self.pages.len());
        for page in self.pages {
            let (id, content) = (next(), next());
            kids.push(id);
            let mut writer = pdf.page(id);
            writer.parent(tree).contents(content);
            writer.media_box(Rect::new(0.0, 0.0, round(page.width), round(page.height)));
            let mut resources = writer.resources();
            let mut named = resources.fonts();
            for (face, font) in &fonts {
                named.pair(Name(face_name(*face)), *font);
            }
            named.finish();
            resources.finish();
            writer.finish();
            let data = deflate(page.content.finish().as_slice());
            pdf.stream(content, &data).filter(Filter::FlateDecode);
        }
        let count = i32::try_from(kids.len()).unwrap_or(i32::MAX);
        pdf.pages(tree).kids(kids).count(count);
        let mut writer = pdf.catalog(catalog);
        writer.pages(tree).lang(TextStr(language.tag()));
        writer.viewer_preferences().display_doc_title(true);
        writer.finish();
        pdf.document_info(info).title(TextStr(title)).producer(TextStr("Fiscus"));
        pdf.finish()
    }
}

/// The characters of one font that a document uses. Each has a code of its own, also when two look the
/// same, so that a reader gets back the character that was written.
struct FontUse {
    typeface: &'static Typeface,
    codes: BTreeMap<char, u16>,
    /// By code, from 1.
    characters: Vec<char>,
}

impl FontUse {
    fn new(face: Face) -> Self {
        Self { typeface: face.typeface(), codes: BTreeMap::new(), characters: Vec::new() }
    }

    fn is_used(&self) -> bool {
        !self.characters.is_empty()
    }

    fn code(&mut self, c: char) -> u16 {
        // A space that does not break is copied as the plain one that people type.
        let c = if matches!(c, '\u{a0}' | '\u{202f}') { ' ' } else { c };
        if let Some(code) = self.codes.get(&c) {
            return *code;
        }
        // Code 0 shows the font's mark for nothing; it takes 65,535 different characters to get there.
        let Ok(code) = u16::try_from(self.characters.len() + 1) else { return 0 };
        self.codes.insert(c, code);
        self.characters.push(c);
        code
    }

    fn write(&self, pdf: &mut Pdf, id: Ref, next: &mut impl FnMut() -> Ref) {
        let (cid, descriptor, file, unicode, map) = (next(), next(), next(), next(), next());
        let typeface = self.typeface;
        let name = format!("{SUBSET_TAG}+{}", typeface.name);
        let scale = |value: i16| f32::from(value) * 1_000.0 / typeface.units;

        let mut remapper = GlyphRemapper::new();
        let mut glyphs = vec![0_u8; 2];
        let mut widths = Vec::with_capacity(self.characters.len());
        let mut cmap = UnicodeCmap::new(Name(b"FiscusToUnicode"), SYSTEM);
        for (c, code) in self.characters.iter().zip(1_u16..) {
            let glyph = typeface.glyph(*c);
            glyphs.extend(remapper.remap(glyph.id).to_be_bytes());
            widths.push(f32::from(glyph.advance) * 1_000.0 / typeface.units);
            cmap.pair(code, *c);
        }
        let subset = subsetter::subset(typeface.data, 0, &remapper)
            .expect("the bundled fonts can be cut to any of their glyphs");

        pdf.type0_font(id)
            .base_font(Name(name.as_bytes()))
            .encoding_predefined(Name(b"Identity-H"))
            .descendant_font(cid)
            .to_unicode(unicode);
        let mut font = pdf.cid_font(cid);
        font.subtype(CidFontType::Type2).base_font(Name(name.as_bytes())).system_info(SYSTEM);
        font.font_descriptor(descriptor).default_width(0.0).cid_to_gid_map_stream(map);
        font.widths().consecutive(1, widths);
        font.finish();
        let [left, bottom, right, top] = typeface.bbox.map(scale);
        pdf.font_descriptor(descriptor)
            .name(Name(name.as_bytes()))
            .flags(FontFlags::SYMBOLIC)
            .bbox(Rect::new(left, bottom, right, top))
            .italic_angle(0.0)
            .ascent(scale(typeface.ascent))
            .descent(scale(typeface.descent))
            .cap_height(scale(typeface.cap_height))
            .stem_v(80.0)
            .font_file2(file);
        pdf.stream(file, &deflate(&subset))
            .filter(Filter::FlateDecode)
            .pair(Name(b"Length1"), i32::try_from(subset.len()).unwrap_or(i32::MAX));
        pdf.stream(unicode, &deflate(cmap.finish().as_slice())).filter(Filter::FlateDecode);
        pdf.stream(map, &deflate(&glyphs)).filter(Filter::FlateDecode);
    }
}

const fn face_name(face: Face) -> &'static [u8] {
    match face {
        Face::Regular => b"R",
        Face::Bold => b"B",
    }
}

/// Hundredths of a point are enough, and short.
fn round(value: f32) -> f32 {
    (value * 100.0).round() / 100.0
}

/// Counts of modules are small.
fn small(count: usize) -> f32 {
    u16::try_from(count).map_or(f32::from(u16::MAX), f32::from)
}
