//! Reads the QR code in a picture. Whatever it reads proves nothing by itself: the signature in the text does.
//!
//! Non-goal: other pictures than PNG; any program that shows one also writes one.

mod png;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rqrr::PreparedImage;

pub(super) use png::is_png;

/// Places that may be corners of codes; the decoder compares each with each other. A photograph of a shelf has some hundred.
const CORNERS_MAX: usize = 1_000;
/// Three corners, and so on: a picture that was made to keep the decoder busy is given up.
const DECODING_MAX: Duration = Duration::from_secs(20);
/// How the decoder names a dark pixel.
const DARK: u8 = 1;
/// Pixels that one corner may shift sideways from row to row.
const SHIFT_MAX: usize = 3;

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
    /// Far more corners than codes have, or what takes without end.
    #[error("there is too much in the picture that looks like a QR code; cut out the receipt's")]
    Crowded,
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
    let (send, decoded) = mpsc::sync_channel(1);
    // A thread that goes on ends with the program.
    let decoding = move || {
        let luma = |x: usize, y: usize| picture.luma[y * width + x];
        let read = quietly(|| decode((width, height), luma));
        // Nobody waits for what comes too late.
        let _ = send.send(read.unwrap_or(Err(PictureError::Strange)));
    };
    drop(thread::spawn(decoding));
    decoded.recv_timeout(DECODING_MAX).unwrap_or(Err(PictureError::Crowded))
}

/// What a computation gives; nothing when it panics, as the decoder does where geometry makes no sense. It is not shown.
fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ran = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    ran.ok()
}

/// Places where a row goes through what may be a corner, those of neighbouring rows taken together.
fn corners((width, height): (usize, usize), is_dark: impl Fn(usize, usize) -> bool) -> usize {
    let (mut count, mut above) = (0, Vec::new());
    for y in 0..height {
        let mut here = Vec::new();
        let (mut runs, mut run, mut dark) = ([0_usize; 5], 0_usize, false);
        for x in 0..=width {
            let now = x < width && is_dark(x, y);
            if now == dark {
                run += 1;
                continue;
            }
            runs.rotate_left(1);
            (runs[4], run, dark) = (run, 1, now);
            if !dark && is_corner(&runs) {
                here.push(x - runs[4] - runs[3] - runs[2] / 2);
            }
        }
        let new = |at: &&usize| !above.iter().any(|other| at.abs_diff(*other) <= SHIFT_MAX);
        count += here.iter().filter(new).count();
        above = here;
    }
    count
}

/// Dark, light, dark, light, dark, the middle three times as long as each other one, roughly.
fn is_corner(runs: &[usize; 5]) -> bool {
    let average = (runs[0] + runs[1] + runs[3] + runs[4]) / 4;
    let error = average * 3 / 4;
    average > 0
        && runs
            .iter()
            .zip([1, 1, 3, 1, 1])
            .all(|(run, times)| (times * average - error..=times * average + error).contains(run))
}

fn decode(
    (width, height): (usize, usize),
    luma: impl Fn(usize, usize) -> u8,
) -> Result<String, PictureError> {
    let mut prepared = PreparedImage::prepare_from_greyscale(width, height, luma);
    let is_dark = |x: usize, y: usize| u8::from(prepared.get_pixel_at(x, y)) == DARK;
    if corners((width, height), is_dark) > CORNERS_MAX {
        return Err(PictureError::Crowded);
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
        let crowded = grey_png(27 * 40, 27 * 40, |x, y| if dark(x, y) { 10 } else { 240 });
        assert!(matches!(qr_text(&crowded), Err(PictureError::Crowded)));
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
