//! Reads the QR code in a picture. Whatever it reads proves nothing by itself: the signature in the text does.
//!
//! Non-goal: other pictures than PNG; any program that shows one also writes one.

mod png;

use rqrr::PreparedImage;

pub(super) use png::is_png;

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
    /// It is damaged beyond its own correction.
    #[error("the QR code in the picture cannot be read: {0}")]
    Damaged(rqrr::DeQRError),
}

/// The text of the one QR code in a picture.
pub(super) fn qr_text(file: &[u8]) -> Result<String, PictureError> {
    let picture = png::read(file)?;
    let (width, height) = (picture.width, picture.height());
    let luma = |x: usize, y: usize| picture.luma[y * width + x];
    let mut prepared = PreparedImage::prepare_from_greyscale(width, height, luma);
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
