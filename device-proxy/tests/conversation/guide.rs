//! The guide for makers of points of sale shows pieces of the transcripts, as they are.

use std::path::Path;

use super::host::transcript;

/// A line of a transcript is shown up to here.
const SHOWN_CHARACTERS: usize = 180;
/// Before a piece stands which transcript it is of, and which title it has there.
const MARK: &str = "<!-- said: ";

/// A piece of a transcript, without its title.
fn piece(name: &str, title: &str) -> String {
    let said = std::fs::read_to_string(transcript(name)).expect(name);
    let head = format!("# {title}\n");
    let (_, rest) = said.split_once(&head).unwrap_or_else(|| panic!("{name} has no {title:?}"));
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let shown = lines.map(|line| match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{} …\n", &line[..end]),
        None => format!("{line}\n"),
    });
    shown.collect()
}

#[test]
fn the_guide_shows_what_was_said() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/DEVICES.md");
    let guide = std::fs::read_to_string(&path).expect("the guide");
    let mut parts = guide.split(MARK);
    let mut fresh = parts.next().unwrap_or_default().to_owned();
    let mut shown = 0;
    for part in parts {
        let (mark, rest) = part.split_once(" -->\n```text\n").expect("a block behind its mark");
        let (name, title) = mark.split_once(", ").expect("a transcript and a title");
        let (_, rest) = rest.split_once("```\n").expect("the block ends");
        fresh += &format!("{MARK}{mark} -->\n```text\n{}```\n{rest}", piece(name, title));
        shown += 1;
    }
    assert!(shown > 5, "{shown} pieces");
    if std::env::var_os("FISCUS_BLESS").is_some() {
        return std::fs::write(&path, &fresh).expect("it is written");
    }
    assert!(
        fresh == guide,
        "docs/DEVICES.md shows what is not said any more; FISCUS_BLESS=1 writes it anew"
    );
}
