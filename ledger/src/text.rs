//! Text as the ledger accepts it: assigned code points only, in Unicode normalisation form C.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::unicode_assigned::ASSIGNED_UNICODE_18;

/// Every code point below this one is assigned and composes with nothing before it: enough for French.
const PLAIN_END: char = '\u{300}';

/// Whether text is so plain that it is assigned and in form C without a look at any table.
fn is_plain(text: &str) -> bool {
    text.is_ascii() || text.chars().all(|c| c < PLAIN_END)
}

/// The first code point that Unicode has not assigned.
#[must_use]
pub fn first_unassigned(text: &str) -> Option<char> {
    if is_plain(text) {
        return None;
    }
    text.chars().find(|c| {
        let code = u32::from(*c);
        let after = ASSIGNED_UNICODE_18.partition_point(|(first, _)| *first <= code);
        after == 0 || ASSIGNED_UNICODE_18[after - 1].1 < code
    })
}

/// Whether text is in form C.
#[must_use]
pub fn is_normalized(text: &str) -> bool {
    is_plain(text) || is_nfc(text)
}

/// The text in form C.
#[must_use]
pub fn normalize(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_normalized(&text) { text } else { Cow::Owned(text.nfc().collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_normaliser_are_of_one_version() {
        assert_eq!(unicode_normalization::UNICODE_VERSION, (18, 0, 0));
        assert!(ASSIGNED_UNICODE_18.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn plain_code_points_are_assigned_and_in_form_c_in_any_order() {
        let plain: Vec<char> = ('\0'..PLAIN_END).collect();
        for c in &plain {
            let code = u32::from(*c);
            assert!(ASSIGNED_UNICODE_18.iter().any(|(a, b)| (*a..=*b).contains(&code)), "{code:x}");
            for before in &plain {
                assert!(is_nfc(&String::from_iter([before, c])), "{before:?} {c:?}");
            }
        }
    }

    #[test]
    fn unassigned_code_points_are_found() {
        for (text, found) in [
            ("plain", None),
            ("Élysée 🧾 \u{E000}", None),
            ("a\u{378}b", Some('\u{378}')),
            ("\u{FFFE}", Some('\u{FFFE}')),
            ("\u{10FFFF}", Some('\u{10FFFF}')),
            ("\u{FDD0}", Some('\u{FDD0}')),
            ("\u{0}\u{7f}\u{85}", None),
        ] {
            assert_eq!(first_unassigned(text), found, "{text:?}");
        }
    }

    #[test]
    fn normalisation_composes_and_leaves_the_rest_alone() {
        assert!(matches!(normalize(Cow::Borrowed("plain")), Cow::Borrowed("plain")));
        assert_eq!(normalize(Cow::Borrowed("e\u{301}")), "é");
        assert!(!is_normalized("e\u{301}") && is_normalized("é"));
    }
}
