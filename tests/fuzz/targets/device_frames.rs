//! However a stream is cut, it holds the same frames; and the parser keeps no more than one of them.
#![no_main]

use std::time::Duration;

use fiscus_device_proxy::protocol::frame::{FRAME_BYTES_MAX, FrameParser, Framed, framed};
use libfuzzer_sys::fuzz_target;

const NOW: Duration = Duration::from_secs(1);

fn frames(parser: &mut FrameParser, bytes: &[u8]) -> Vec<Framed> {
    let mut rest = bytes;
    std::iter::from_fn(|| parser.next(&mut rest, NOW)).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = frames(&mut FrameParser::default(), bytes);
    let mut parser = FrameParser::default();
    let size = usize::from(*cut).max(1);
    let pieces: Vec<Framed> =
        bytes.chunks(size).flat_map(|piece| frames(&mut parser, piece)).collect();
    assert_eq!(whole, pieces);
    assert!(parser.held_bytes() <= 2 * FRAME_BYTES_MAX);
    for frame in whole.into_iter().flatten() {
        let Ok(body) = String::from_utf8(frame.body) else { continue };
        let again = frames(&mut FrameParser::default(), &framed(&body, true));
        assert!(matches!(&again[..], [Ok(frame)] if frame.checked && frame.body == body.as_bytes()));
    }
});
