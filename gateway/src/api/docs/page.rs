//! The frame of a page: a head without anything to load, one style, no scripts.

use crate::render::escape;

/// The style of all pages here.
pub(super) const STYLE: &str = include_str!("style.css");

/// A whole page. `title` is text, `body` is HTML.
#[must_use]
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\n{body}\n</body>\n</html>\n",
        escape(title)
    )
}
