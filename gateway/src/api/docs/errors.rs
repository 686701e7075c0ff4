//! The pages of the error codes, as they are in `docs/errors`.

use super::markdown;
use super::page::page;

/// Name and text of each page, sorted by name; `README` is the index.
static PAGES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));
const INDEX: &str = "README";

/// The page of a code; none for a code that does not exist.
#[must_use]
pub(super) fn code_page(code: &str) -> Option<String> {
    let text = text(code).filter(|_| code != INDEX)?;
    Some(framed(code, text))
}

/// All codes with their meaning.
#[must_use]
pub(super) fn index() -> String {
    framed("Error codes", text(INDEX).unwrap_or_default())
}

fn text(name: &str) -> Option<&'static str> {
    let at = PAGES.binary_search_by_key(&name, |(name, _)| name).ok()?;
    Some(PAGES[at].1)
}

fn framed(title: &str, text: &str) -> String {
    let body = format!(
        "<nav aria-label=\"Documentation\"><p><a href=\"/docs\">API reference</a> · \
         <a href=\"/docs/errors\">Error codes</a></p></nav>\n<main id=\"main\">{}</main>",
        markdown::html(text, 1)
    );
    page(title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_its_page_and_an_unknown_one_none() {
        let page = code_page("TOTALS_MISMATCH").expect("a page");
        assert!(page.contains("<h1>TOTALS_MISMATCH</h1>"));
        assert!(index().contains("href=\"/docs/errors/TOTALS_MISMATCH\""));
        for unknown in ["", "README", "NOSUCHCODE", "../README"] {
            assert_eq!(code_page(unknown), None, "{unknown}");
        }
    }
}
