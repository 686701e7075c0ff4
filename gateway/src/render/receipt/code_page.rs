//! Code page 858, which nearly every thermal printer has: code page 850 with the euro sign.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The characters of the bytes 128 to 255.
const UPPER: &str = "\
ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈ€ÍÎÏ┘┌█▄¦Ì▀\
ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";

/// Stands for a character that has no likeness.
const UNKNOWN: char = '?';

/// The byte of a character that the page has.
fn byte(c: char) -> Option<u8> {
    match c {
        ' '..='~' => u8::try_from(c).ok(),
        // It hides in some printers and breaks lines in others.
        '\u{ad}' => None,
        _ => UPPER.chars().zip(0x80..=u8::MAX).find(|(known, _)| *known == c).map(|(_, byte)| byte),
    }
}

/// What stands for a character that the page has not.
fn likeness(c: char) -> &'static str {
    match c {
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '‘' | '’' | '‚' | '‛' | '′' | 'ʼ' => "'",
        '“' | '”' | '„' | '‟' | '″' => "\"",
        '‹' => "<",
        '›' => ">",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '\u{ad}' => "-",
        '…' => "...",
        '•' | '‣' | '∙' => "*",
        'œ' => "oe",
        'Œ' => "OE",
        'ŀ' => "l",
        'ł' => "l",
        'Ł' => "L",
        'đ' | 'ɖ' => "d",
        'Đ' => "D",
        'ħ' => "h",
        'Ħ' => "H",
        'ı' => "i",
        'ŋ' => "ng",
        'Ŋ' => "NG",
        'ɛ' => "e",
        'Ɛ' => "E",
        'ɔ' => "o",
        'Ɔ' => "O",
        'ſ' => "s",
        'ẞ' => "SS",
        '™' => "TM",
        '№' => "No",
        '₣' => "F",
        '≤' => "<=",
        '≥' => ">=",
        _ => "",
    }
}

/// The text in characters of the page only, each of which prints in one column. What would read as something else
/// without a part of it (⅓, 10⁵) is a mark as a whole.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_letter = false;
    for c in text.chars() {
        // Without its marks a letter can still be read: ő is printed as o, and ɔ́ as o.
        if is_combining_mark(c) && after_letter {
            continue;
        }
        if c != '\u{a0}' && byte(c).is_some() {
            out.push(c);
        } else if !likeness(c).is_empty() {
            out.push_str(likeness(c));
        } else {
            let plain = c.nfd().next().filter(|first| *first != c);
            match plain {
                Some(plain) if byte(plain).is_some() => out.push(plain),
                Some(plain) if !likeness(plain).is_empty() => out.push_str(likeness(plain)),
                _ => out.push(UNKNOWN),
            }
        }
        after_letter = c.is_alphabetic();
    }
    out
}

/// The bytes of printable text.
pub(super) fn encode(printable: &str, out: &mut Vec<u8>) {
    out.extend(printable.chars().map(|c| byte(c).unwrap_or(b'?')));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_code_page_858() {
        assert_eq!(UPPER.chars().count(), 128);
        for (c, expected) in [
            ('Ç', 0x80),
            ('é', 0x82),
            ('à', 0x85),
            ('ê', 0x88),
            ('É', 0x90),
            ('×', 0x9E),
            ('«', 0xAE),
            ('»', 0xAF),
            ('À', 0xB7),
            ('€', 0xD5),
            ('ß', 0xE1),
            ('Ô', 0xE2),
            ('°', 0xF8),
            ('·', 0xFA),
            ('■', 0xFE),
        ] {
            assert_eq!(byte(c), Some(expected), "{c}");
        }
    }

    #[test]
    fn what_the_page_lacks_is_printed_as_its_likeness_or_a_mark() {
        for (text, expected) in [
            ("Élysée d'œuvre", "Élysée d'oeuvre"),
            ("l’« ours » – 5\u{202f}€…", "l'« ours » - 5 €..."),
            ("Ngɔ́lɔ Ő ș ế ǿ", "Ngolo O s e ø"),
            ("中🧾\u{fffd}", "???"),
            ("⅓ kg, 10⁵, 5㎏, ①", "? kg, 10?, 5?, ?"),
            ("\u{301}1\u{338}", "?1?"),
            ("\u{1b}@\u{0}\n", "?@??"),
            ("soft\u{ad}hyphen", "soft-hyphen"),
        ] {
            assert_eq!(printable(text), expected);
        }
        let mut bytes = Vec::new();
        encode(&printable("Reçu: 12\u{a0}€"), &mut bytes);
        assert_eq!(bytes, b"Re\x87u: 12 \xd5");
    }

    #[test]
    fn no_character_becomes_a_control_byte() {
        // All of the first blocks, and every so many of the rest.
        for c in (0..0x2600).chain((0x2600..=0x10_FFFF).step_by(97)).filter_map(char::from_u32) {
            let mut bytes = Vec::new();
            encode(&printable(&c.to_string()), &mut bytes);
            assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f));
        }
    }
}
