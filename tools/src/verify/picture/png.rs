//! A reader of PNG that gives how light each pixel is, and nothing else of the picture.
//!
//! ```text
//! signature · IHDR · … PLTE … · IDAT … · IEND      IDAT together: zlib of rows, each with the filter it went through
//! ```
//!
//! What is transparent is paper. Checksums of chunks are not compared: a text that comes of damage has no signature.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// A picture has at most so many pixels: a sheet of A4 at 600 dots per inch has fewer.
const PIXELS_MAX: usize = 16_000_000;
/// Where the rows of an interlaced picture begin, and how far apart they are: x, y, each x, each y.
const PASSES: [[usize; 4]; 7] = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
];

/// Why a file is no picture.
#[derive(Debug, thiserror::Error)]
pub(in crate::verify) enum PngError {
    /// Another kind of file.
    #[error("this is no PNG picture")]
    Other,
    /// It ends, or says what no picture says.
    #[error("the PNG picture is damaged: {0}")]
    Damaged(&'static str),
    /// It is larger than a receipt on a sheet.
    #[error("the picture has more than {PIXELS_MAX} pixels; cut out the code")]
    Large,
}

/// How light each pixel is, row by row.
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) luma: Vec<u8>,
}

impl Picture {
    pub(super) fn height(&self) -> usize {
        self.luma.len() / self.width
    }
}

/// Whether a file begins as a PNG does.
pub(in crate::verify) fn is_png(file: &[u8]) -> bool {
    file.starts_with(SIGNATURE)
}

/// What the header says.
#[derive(Debug, Clone, Copy)]
struct Header {
    width: usize,
    height: usize,
    depth: usize,
    colour: Colour,
    interlaced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    Grey,
    Rgb,
    Indexed,
    GreyAlpha,
    Rgba,
}

impl Colour {
    fn channels(self) -> usize {
        match self {
            Self::Grey | Self::Indexed => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

impl Header {
    fn read(chunk: &[u8]) -> Result<Self, PngError> {
        let damaged = |what| Err(PngError::Damaged(what));
        let [a, b, c, d, e, f, g, h, depth, colour, 0, 0, interlace] = *chunk else {
            return damaged("its header");
        };
        let side = |bytes| usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
        let (width, height) = (side([a, b, c, d]), side([e, f, g, h]));
        let colour = match (colour, depth) {
            (0, 1 | 2 | 4 | 8 | 16) => Colour::Grey,
            (2, 8 | 16) => Colour::Rgb,
            (3, 1 | 2 | 4 | 8) => Colour::Indexed,
            (4, 8 | 16) => Colour::GreyAlpha,
            (6, 8 | 16) => Colour::Rgba,
            _ => return damaged("its colours"),
        };
        if width == 0 || height == 0 || interlace > 1 {
            return damaged("its size");
        }
        if width.checked_mul(height).is_none_or(|pixels| pixels > PIXELS_MAX) {
            return Err(PngError::Large);
        }
        let interlaced = interlace == 1;
        Ok(Self { width, height, depth: usize::from(depth), colour, interlaced })
    }

    fn pixel_bits(self) -> usize {
        self.depth * self.colour.channels()
    }

    fn row_bytes(self, width: usize) -> usize {
        (width * self.pixel_bits()).div_ceil(8)
    }

    /// The sub-pictures that come one after another: where they lie, and how large they are.
    fn passes(self) -> Vec<([usize; 4], usize, usize)> {
        if !self.interlaced {
            return vec![([0, 0, 1, 1], self.width, self.height)];
        }
        let sized = PASSES.map(|pass| {
            let [x, y, each_x, each_y] = pass;
            let width = self.width.saturating_sub(x).div_ceil(each_x);
            (pass, width, self.height.saturating_sub(y).div_ceil(each_y))
        });
        sized.into_iter().filter(|(_, width, height)| *width > 0 && *height > 0).collect()
    }
}

/// Reads a whole file.
pub(super) fn read(file: &[u8]) -> Result<Picture, PngError> {
    let mut rest = file.strip_prefix(SIGNATURE).ok_or(PngError::Other)?;
    let (mut header, mut data) = (None, Vec::new());
    let (mut palette, mut alphas): (&[u8], &[u8]) = (&[], &[]);
    loop {
        let Some((kind, chunk, after)) = next_chunk(rest) else {
            return Err(PngError::Damaged("it ends too early"));
        };
        rest = after;
        match kind {
            b"IHDR" => header = Some(Header::read(chunk)?),
            b"PLTE" => palette = chunk,
            b"tRNS" => alphas = chunk,
            b"IDAT" => data.extend_from_slice(chunk),
            b"IEND" => break,
            _ => {}
        }
    }
    let header = header.ok_or(PngError::Damaged("it has no header"))?;
    let passes = header.passes();
    let length: usize =
        passes.iter().map(|(_, width, height)| (header.row_bytes(*width) + 1) * height).sum();
    let rows = decompress_to_vec_zlib_with_limit(&data, length)
        .map_err(|_| PngError::Damaged("its rows"))?;
    if rows.len() != length {
        return Err(PngError::Damaged("rows are missing"));
    }
    let tables = Tables { palette, alphas };
    let mut luma = vec![u8::MAX; header.width * header.height];
    let mut at = 0;
    for ([left, top, each_x, each_y], width, height) in passes {
        let bytes = header.row_bytes(width);
        let mut above = vec![0; bytes];
        for y in 0..height {
            let (filter, row) = (rows[at], &rows[at + 1..][..bytes]);
            at += 1 + bytes;
            let row = unfiltered(filter, row, &above, header.pixel_bits().div_ceil(8))?;
            let start = (top + y * each_y) * header.width + left;
            for x in 0..width {
                luma[start + x * each_x] = tables.luma(header, &row, x)?;
            }
            above = row;
        }
    }
    Ok(Picture { width: header.width, luma })
}

/// The kind of the first chunk, what is in it, and what comes after it.
fn next_chunk(rest: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (chunk, rest) = rest.split_at_checked(length)?;
    let (_checksum, rest) = rest.split_first_chunk::<4>()?;
    Some((kind, chunk, rest))
}

/// A row as it was before it was filtered; `step` bytes lie between a byte and the same of the pixel before.
fn unfiltered(filter: u8, row: &[u8], above: &[u8], step: usize) -> Result<Vec<u8>, PngError> {
    let mut out: Vec<u8> = Vec::with_capacity(row.len());
    for (at, byte) in row.iter().enumerate() {
        let before = at.checked_sub(step);
        let left = before.map_or(0, |at| out[at]);
        let up = above[at];
        let corner = before.map_or(0, |at| above[at]);
        let guess = match filter {
            0 => 0,
            1 => left,
            2 => up,
            3 => u8::midpoint(left, up),
            4 => paeth(left, up, corner),
            _ => return Err(PngError::Damaged("a row's filter")),
        };
        out.push(byte.wrapping_add(guess));
    }
    Ok(out)
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(up) - i16::from(corner);
    let far = |known: u8| (estimate - i16::from(known)).abs();
    if far(left) <= far(up) && far(left) <= far(corner) {
        left
    } else if far(up) <= far(corner) {
        up
    } else {
        corner
    }
}

/// What indexes mean.
struct Tables<'f> {
    palette: &'f [u8],
    alphas: &'f [u8],
}

impl Tables<'_> {
    /// How light a pixel of a row is, on white paper.
    fn luma(&self, header: Header, row: &[u8], x: usize) -> Result<u8, PngError> {
        let channels = header.colour.channels();
        let sample = |channel: usize| sample(row, header.depth, x * channels + channel);
        let scaled = |channel: usize| {
            let most = if header.depth < 8 { (1 << header.depth) - 1 } else { u16::from(u8::MAX) };
            u8::try_from(u16::from(sample(channel)) * 255 / most).unwrap_or(u8::MAX)
        };
        let (rgb, alpha) = match header.colour {
            Colour::Grey => ([scaled(0); 3], u8::MAX),
            Colour::GreyAlpha => ([scaled(0); 3], scaled(1)),
            Colour::Rgb => ([scaled(0), scaled(1), scaled(2)], u8::MAX),
            Colour::Rgba => ([scaled(0), scaled(1), scaled(2)], scaled(3)),
            Colour::Indexed => {
                let index = usize::from(sample(0));
                let colour = self.palette.chunks_exact(3).nth(index);
                let colour = colour.and_then(|colour| <[u8; 3]>::try_from(colour).ok());
                let colour = colour.ok_or(PngError::Damaged("a colour that it does not have"))?;
                (colour, self.alphas.get(index).copied().unwrap_or(u8::MAX))
            }
        };
        let [red, green, blue] = rgb.map(u32::from);
        let light = (red * 299 + green * 587 + blue * 114) / 1_000;
        let paper = (light * u32::from(alpha) + 255 * (255 - u32::from(alpha))) / 255;
        Ok(u8::try_from(paper).unwrap_or(u8::MAX))
    }
}

/// One number of a row; of 16 bits the upper half.
fn sample(row: &[u8], depth: usize, at: usize) -> u8 {
    match depth {
        8 => row[at],
        16 => row[2 * at],
        _ => {
            let (byte, bit) = (row[at * depth / 8], at * depth % 8);
            (byte >> (8 - depth - bit)) & ((1 << depth) - 1)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use miniz_oxide::deflate::compress_to_vec_zlib;

    use super::*;

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).expect("it is short").to_be_bytes();
        [&length[..], kind, data, &[0; 4]].concat()
    }

    /// A file of rows that are filtered already.
    fn png(
        width: usize,
        height: usize,
        [depth, colour, interlace]: [u8; 3],
        rows: &[u8],
    ) -> Vec<u8> {
        let side = |side: usize| u32::try_from(side).expect("it is small").to_be_bytes();
        let (width, height) = (side(width), side(height));
        let header = [&width[..], &height, &[depth, colour, 0, 0, interlace]].concat();
        let data = compress_to_vec_zlib(rows, 6);
        let (first, second) = data.split_at(data.len() / 2);
        let palette = [255, 255, 255, 0, 0, 0, 200, 0, 0];
        let chunks = [
            chunk(b"IHDR", &header),
            chunk(b"gAMA", &[0; 4]),
            chunk(b"PLTE", &palette),
            chunk(b"tRNS", &[255, 255, 0]),
            chunk(b"IDAT", first),
            chunk(b"IDAT", second),
            chunk(b"IEND", &[]),
        ];
        [SIGNATURE.to_vec(), chunks.concat()].concat()
    }

    /// A grey picture of 8 bits, whose rows went through every filter in turn.
    pub(in crate::verify::picture) fn grey_png(
        width: usize,
        height: usize,
        luma: impl Fn(usize, usize) -> u8,
    ) -> Vec<u8> {
        let mut rows = Vec::new();
        for y in 0..height {
            let filter = u8::try_from(y % 5).expect("one of five");
            rows.push(filter);
            for x in 0..width {
                let left = if x > 0 { luma(x - 1, y) } else { 0 };
                let up = if y > 0 { luma(x, y - 1) } else { 0 };
                let corner = if x > 0 && y > 0 { luma(x - 1, y - 1) } else { 0 };
                let guess = match filter {
                    0 => 0,
                    1 => left,
                    2 => up,
                    3 => u8::midpoint(left, up),
                    _ => paeth(left, up, corner),
                };
                rows.push(luma(x, y).wrapping_sub(guess));
            }
        }
        png(width, height, [8, 0, 0], &rows)
    }

    fn luma(file: &[u8]) -> Vec<u8> {
        read(file).unwrap_or_else(|error| panic!("{error}")).luma
    }

    #[test]
    fn rows_come_back_from_every_filter() {
        let wanted = |x: usize, y: usize| u8::try_from((x * 37 + y * 91) % 256).expect("a byte");
        let picture = read(&grey_png(13, 11, wanted)).expect("it is read");
        assert_eq!((picture.width, picture.height()), (13, 11));
        let all: Vec<u8> = (0..11).flat_map(|y| (0..13).map(move |x| wanted(x, y))).collect();
        assert_eq!(picture.luma, all);
    }

    #[test]
    fn every_kind_of_colour_is_light_or_dark() {
        assert_eq!(
            luma(&png(10, 1, [1, 0, 0], &[0, 0b0101_0000, 0b0100_0000]))[..4],
            [0, 255, 0, 255]
        );
        assert_eq!(luma(&png(4, 1, [2, 0, 0], &[0, 0b0001_1011])), [0, 85, 170, 255]);
        assert_eq!(luma(&png(2, 1, [4, 0, 0], &[0, 0x0f])), [0, 255]);
        assert_eq!(luma(&png(1, 1, [16, 0, 0], &[0, 0x80, 0xff])), [0x80]);
        assert_eq!(luma(&png(2, 1, [8, 2, 0], &[0, 255, 255, 255, 255, 0, 0])), [255, 76]);
        // The third colour of the palette is transparent: paper.
        assert_eq!(luma(&png(4, 1, [2, 3, 0], &[0, 0b0001_1000])), [255, 0, 255, 255]);
        assert_eq!(luma(&png(2, 1, [8, 4, 0], &[0, 0, 255, 0, 0])), [0, 255]);
        assert_eq!(luma(&png(1, 1, [8, 6, 0], &[0, 0, 0, 0, 0])), [255]);
    }

    #[test]
    fn interlaced_rows_find_their_places() {
        // 3 × 3: passes of 1, 1, 1, 2 and 3 pixels, in the order of Adam7.
        let rows = [0, 10, 0, 12, 0, 20, 22, 0, 11, 0, 21, 0, 30, 31, 32];
        let (first, fifth) = (rows[1], [rows[5], rows[6]]);
        let file = png(3, 3, [8, 0, 1], &rows);
        assert_eq!(luma(&file), [first, 11, 12, 30, 31, 32, fifth[0], 21, fifth[1]]);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let refused = |file: &[u8]| read(file).err().expect("it is refused").to_string();
        assert_eq!(refused(b"GIF89a"), "this is no PNG picture");
        let good = png(1, 1, [8, 0, 0], &[0, 7]);
        assert!(refused(&good[..good.len() - 1]).contains("ends too early"));
        assert!(refused(&png(1, 2, [8, 0, 0], &[0, 7])).contains("rows are missing"));
        assert!(refused(&png(1, 1, [8, 0, 0], &[0, 7, 7])).contains("its rows"));
        assert!(refused(&png(1, 1, [8, 0, 0], &[9, 7])).contains("filter"));
        assert!(refused(&png(0, 1, [8, 0, 0], &[])).contains("size"));
        assert!(refused(&png(1, 1, [3, 0, 0], &[0, 7])).contains("colours"));
        assert!(refused(&png(1, 1, [8, 3, 0], &[0, 7])).contains("a colour"));
        assert!(refused(&png(1 << 20, 1 << 20, [8, 0, 0], &[])).contains("more than"));
    }
}
