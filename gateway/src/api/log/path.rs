//! The paths of tiles: `/log/{group}/tile/{level}/x001/x234/067.p/17`. Each tile has one spelling.

use crate::access::TileAsked;

const WIDTH_MAX: u32 = 256;
const LEVEL_MAX: u32 = 63;

/// The group and the tile that a path names.
pub(super) fn tile_of(path: &str) -> Option<(u64, TileAsked)> {
    let (group, tile) = path.strip_prefix("/log/")?.split_once("/tile/")?;
    let (level, place) = tile.split_once('/')?;
    let level = match level {
        "entries" => None,
        level => Some(u32::try_from(decimal(level)?).ok().filter(|level| *level <= LEVEL_MAX)?),
    };
    let (place, width) = match place.rsplit_once(".p/") {
        None => (place, WIDTH_MAX),
        Some((place, width)) => {
            let width = u32::try_from(decimal(width)?).ok()?;
            (place, Some(width).filter(|width| (1..WIDTH_MAX).contains(width))?)
        }
    };
    Some((decimal(group)?, TileAsked { level, index: index(place)?, width }))
}

/// A number in groups of three digits, all but the last with an `x` before them.
fn index(place: &str) -> Option<u64> {
    let (higher, last) =
        place.rsplit_once('/').map_or(("", place), |(higher, last)| (higher, last));
    let mut index: u64 = 0;
    for part in higher.split('/').filter(|_| !higher.is_empty()) {
        index = index.checked_mul(1_000)?.checked_add(three(part.strip_prefix('x')?)?)?;
    }
    // One that begins with zeros is written shorter.
    let spelled_out = higher.is_empty() || index >= 1 && !higher.starts_with("x000");
    index = index.checked_mul(1_000)?.checked_add(three(last)?)?;
    spelled_out.then_some(index)
}

fn three(digits: &str) -> Option<u64> {
    let plain = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// A number without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_path() {
        let tile = |level, index, width| Some((1, TileAsked { level, index, width }));
        for (path, named) in [
            ("/log/1/tile/0/000", tile(Some(0), 0, 256)),
            ("/log/1/tile/0/067", tile(Some(0), 67, 256)),
            ("/log/1/tile/3/x001/x234/067", tile(Some(3), 1_234_067, 256)),
            ("/log/1/tile/63/x001/000.p/255", tile(Some(63), 1_000, 255)),
            ("/log/1/tile/entries/001.p/1", tile(None, 1, 1)),
            ("/log/1/tile/entries/x001/000", tile(None, 1_000, 256)),
            ("/log/01/tile/0/000", None),
            ("/log/1/tile/00/000", None),
            ("/log/1/tile/64/000", None),
            ("/log/1/tile/-1/000", None),
            ("/log/1/tile/0/0", None),
            ("/log/1/tile/0/0000", None),
            ("/log/1/tile/0/+00", None),
            ("/log/1/tile/0/x000", None),
            ("/log/1/tile/0/x000/000", None),
            ("/log/1/tile/0/x000/x001/000", None),
            ("/log/1/tile/0/001/000", None),
            ("/log/1/tile/0/000.p/0", None),
            ("/log/1/tile/0/000.p/256", None),
            ("/log/1/tile/0/000.p/01", None),
            ("/log/1/tile/0/000.p", None),
            ("/log/1/tile/0/000/", None),
            ("/log/1/tile/x999/x999/x999/x999/x999/x999/x999/999", None),
            ("/log/1/tile/0/x999/x999/x999/x999/x999/x999/x999/999", None),
        ] {
            assert_eq!(tile_of(path), named, "{path}");
        }
    }
}
