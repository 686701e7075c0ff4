//! Reads the QR code in a picture. Whatever it reads proves nothing by itself: the signature in the text does.
//!
//! Non-goal: other pictures than PNG; any program that shows one also writes one.

mod png;

use std::panic::{AssertUnwindSafe, catch_unwind};

use rqrr::{BasicImageBuffer, PreparedImage, capstones_from_image};

pub(super) use png::is_png;

/// Corners of codes in a picture; what looks for codes compares each with each other.
const CORNERS_MAX: usize = 32;

/// Why a picture gives no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    /// The file.
    #[error(transparent)]
    Png(#[from] png::PngError),
    /// Nothing that looks like one.
    #[error("there is no QR code in the picture, or none that can be made out")]
    None,
    /// More than one.
    #[error("there are {0} QR codes in the picture; cut out the receipt's")]
    Many(usize),
    /// Far more corners than codes have.
    #[error("the picture looks like {0} corners of QR codes; cut out the receipt's")]
    Crowded(usize),
    /// The decoder met what it was not made for.
    #[error("what is in the picture only looks like a QR code")]
    Strange,
    /// It is damaged beyond its own correction.
    #[error("the QR code in the picture cannot be read: {0}")]
    Damaged(rqrr::DeQRError),
}

/// The text of the one QR code in a picture.
pub(super) fn qr_text(file: &[u8]) -> Result<String, PictureError> {
    let picture = png::read(file)?;
    let (width, height) = (picture.width, picture.height());
    let luma = |x: usize, y: usize| picture.luma[y * width + x];
    // The decoder asserts where geometry makes no sense.
    let decoded = quietly(|| decode(PreparedImage::prepare_from_greyscale(width, height, luma)));
    decoded.unwrap_or(Err(PictureError::Strange))
}

/// What a computation gives; nothing when it panics, which is not shown.
fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ran = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    ran.ok()
}

fn decode(mut prepared: PreparedImage<BasicImageBuffer>) -> Result<String, PictureError> {
    let corners = capstones_from_image(&mut prepared.clone()).len();
    if corners > CORNERS_MAX {
        return Err(PictureError::Crowded(corners));
    }
    let grids = prepared.detect_grids();
    let read: Vec<_> = grids.iter().map(|grid| grid.decode().map(|(_, text)| text)).collect();
    let mut texts: Vec<&String> = read.iter().filter_map(|text| text.as_ref().ok()).collect();
    texts.sort_unstable();
    texts.dedup();
    match (texts.as_slice(), read.len()) {
        ([text], _) => Ok((*text).clone()),
        ([], 0) => Err(PictureError::None),
        // Specks may look like codes; the first says what is wrong.
        ([], _) => match read.into_iter().next() {
            Some(Err(error)) => Err(PictureError::Damaged(error)),
            _ => Err(PictureError::None),
        },
        (several, _) => Err(PictureError::Many(several.len())),
    }
}

#[cfg(test)]
mod tests {
    use fast_qr::{ECL, QRBuilder};

    use super::png::tests::grey_png;
    use super::*;

    /// A sheet with codes side by side, `scale` pixels a module.
    fn sheet(texts: &[&str], scale: usize) -> Vec<u8> {
        let codes: Vec<_> = texts
            .iter()
            .map(|text| QRBuilder::new(*text).ecl(ECL::M).build().expect("a code"))
            .collect();
        let side = codes.iter().map(|code| code.size + 8).max().unwrap_or(20) * scale;
        let width = side * codes.len().max(1);
        let dark = |x: usize, y: usize| {
            let Some(code) = codes.get(x / side) else { return false };
            let place = |at: usize| (at / scale).checked_sub(4).filter(|at| *at < code.size);
            match (place(x % side), place(y)) {
                (Some(x), Some(y)) => code.data[y * code.size + x].value(),
                _ => false,
            }
        };
        grey_png(width, side, |x, y| if dark(x, y) { 10 } else { 240 })
    }

    #[test]
    fn the_one_code_in_a_picture_is_read() {
        let text = "https://verify.example.cd/v?fn=KIN-GOMBE-1&s=abc_DEF-123";
        for scale in [3, 4, 7] {
            assert_eq!(qr_text(&sheet(&[text], scale)).expect("it is read"), text, "{scale}");
        }
        let both = [text, text];
        assert_eq!(qr_text(&sheet(&both, 4)).expect("the same twice is one"), text);
    }

    #[test]
    fn a_picture_without_one_code_says_so() {
        assert!(matches!(qr_text(&sheet(&[], 4)), Err(PictureError::None)));
        let two = ["https://verify.example.cd/v?fn=A", "https://verify.example.cd/v?fn=B"];
        assert!(matches!(qr_text(&sheet(&two, 4)), Err(PictureError::Many(2))));
        assert!(matches!(qr_text(b"no picture"), Err(PictureError::Png(_))));
    }

    #[test]
    fn corners_without_end_are_not_compared() {
        // A corner is a ring of seven modules around a square of three.
        let dark = |x: usize, y: usize| {
            let from = |at: usize| (at / 3 % 9).abs_diff(4);
            matches!(from(x).max(from(y)), 3 | 0 | 1)
        };
        let crowded = grey_png(27 * 12, 27 * 12, |x, y| if dark(x, y) { 10 } else { 240 });
        assert!(matches!(qr_text(&crowded), Err(PictureError::Crowded(_))));
    }

    #[test]
    fn whatever_the_pixels_are_it_ends() {
        let text = "https://verify.example.cd/v?fn=KIN-GOMBE-1";
        let code = QRBuilder::new(text).ecl(ECL::M).build().expect("a code");
        let side = (code.size + 8) * 3;
        for step in 1_usize..60 {
            // Each picture has other blots, of other sizes.
            let blot = |x: usize, y: usize| (x / 7 * step + y / 5 * 31) % 23 < step % 4;
            let dark = |x: usize, y: usize| {
                let place = |at: usize| (at / 3).checked_sub(4).filter(|at| *at < code.size);
                let own = place(x).zip(place(y));
                own.is_some_and(|(x, y)| code.data[y * code.size + x].value()) ^ blot(x, y)
            };
            let picture = grey_png(side, side, |x, y| if dark(x, y) { 10 } else { 240 });
            if let Ok(read) = qr_text(&picture) {
                assert!(!read.is_empty());
            }
        }
    }

    #[test]
    fn a_picture_that_was_changed_gives_the_text_another_one_or_none() {
        let text = "https://verify.example.cd/v?fn=KIN-GOMBE-1";
        let good = sheet(&[text], 3);
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            // Whatever it gives, it neither panics nor runs away.
            drop(qr_text(&bad));
        }
        for length in (0..good.len()).step_by(11) {
            drop(qr_text(&good[..length]));
        }
    }
}
