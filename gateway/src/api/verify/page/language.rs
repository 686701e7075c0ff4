//! Which of the two languages somebody reads.

use axum::http::{HeaderMap, header};

use crate::render::Language;

/// The other one.
pub(super) fn other(language: Language) -> Language {
    match language {
        Language::French => Language::English,
        Language::English => Language::French,
    }
}

/// The one that is asked for, else the one that the browser prefers, else French.
pub(super) fn wanted(asked: Option<&str>, headers: &HeaderMap) -> Language {
    if let Some(language) = asked.and_then(Language::parse) {
        return language;
    }
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let ranges = accepted.unwrap_or_default().split(',').filter_map(|range| {
        let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
        let main = tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase();
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        // 1 is 1000 and 0.8 is 800; what is no weight counts least.
        let digits: String = weight.chars().filter(char::is_ascii_digit).take(4).collect();
        let weight = format!("{digits:0<4}").parse::<u16>().unwrap_or(0);
        Language::parse(&main).map(|language| (weight, language))
    });
    // Of two that are liked alike, the first one named.
    let best = ranges.rev().max_by_key(|(weight, _)| *weight);
    best.map_or(Language::French, |(_, language)| language)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_wanted_language_is_found() {
        for (asked, accepted, expected) in [
            (None, "", Language::French),
            (None, "en", Language::English),
            (None, "en-GB,en;q=0.9", Language::English),
            (None, "fr-CD,fr;q=0.9,en;q=0.8", Language::French),
            (None, "en;q=0.8, fr;q=0.9", Language::French),
            (None, "ln, sw;q=0.9, en;q=0.5", Language::English),
            (None, "en,fr", Language::English),
            (None, "de", Language::French),
            (None, "en;q=nonsense", Language::English),
            (Some("en"), "fr", Language::English),
            (Some("fr"), "en", Language::French),
            (Some("xx"), "en", Language::English),
        ] {
            let headers = HeaderMap::from_iter([(
                header::ACCEPT_LANGUAGE,
                HeaderValue::from_str(accepted).unwrap(),
            )]);
            assert_eq!(wanted(asked, &headers), expected, "{asked:?} {accepted}");
        }
    }
}
