//! What every output does to text first.

/// Stands for what cannot be shown.
pub(super) const REPLACEMENT: char = '\u{fffd}';

/// The text on one line, without characters that act instead of being seen: controls end as a mark, and
/// so do those that turn the direction of what follows or take no room, with which a name could pose as
/// another.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => REPLACEMENT,
            c if c.is_control() => REPLACEMENT,
            c => c,
        })
        .collect()
}

/// Text as it stands in HTML and SVG, in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Breaks text into lines of at most `width`, between words where it can. There is always one line.
pub(super) fn wrap(text: &str, width: f32, advance: impl Fn(char) -> f32) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0.0);
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length: f32 = word.chars().map(&advance).sum();
        let space = if line.is_empty() { 0.0 } else { advance(' ') };
        if !line.is_empty() && used + space + length > width {
            lines.push(std::mem::take(&mut line));
            used = 0.0;
        }
        if !line.is_empty() {
            line.push(' ');
            used += space;
        }
        for c in word.chars() {
            let step = advance(c);
            // Only a word that is longer than a whole line is broken inside.
            if used + step > width && length > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                used = 0.0;
            }
            line.push(c);
            used += step;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_replaced_and_what_is_seen_stays() {
        assert_eq!(visible("a\tb\nc"), "a b c");
        assert_eq!(visible("\u{1b}@\u{0}\u{7f}\u{9b}"), "\u{fffd}@\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(visible("A\u{202e}BC\u{200b}"), "A\u{fffd}BC\u{fffd}");
        for hidden in ["\u{ad}", "\u{34f}", "\u{115f}", "\u{180e}", "\u{3164}", "\u{e0041}"] {
            assert_eq!(visible(hidden), "\u{fffd}", "{hidden:?}");
        }
        assert_eq!(visible("Élysée 🧾 中"), "Élysée 🧾 中");
    }

    #[test]
    fn lines_are_filled_and_long_words_broken() {
        let wrapped = |text| wrap(text, 5.0, |_| 1.0);
        assert_eq!(wrapped(""), [""]);
        assert_eq!(wrapped("ab cd ef"), ["ab cd", "ef"]);
        assert_eq!(wrapped("a abcdefgh"), ["a", "abcde", "fgh"]);
        assert_eq!(wrapped("abcdefghijk l"), ["abcde", "fghij", "k l"]);
        assert_eq!(wrap("abc", 0.5, |_| 1.0), ["a", "b", "c"]);
    }
}
