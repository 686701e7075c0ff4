//! Markup that is written here, and text that is not: the one is a constant of this program, the other is always
//! escaped.

use crate::render::{escape, visible};

/// A document that is being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, in an element or in a quoted attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escape(&visible(text)));
        self
    }

    /// Text that somebody else chose; whichever way its letters run, what follows is not turned round.
    pub(super) fn foreign(&mut self, text: &str) -> &mut Self {
        self.raw("<bdi>").text(text).raw("</bdi>")
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let mut html = Html::default();
        html.raw("<p title=\"").text("a\"b'c").raw("\">").foreign("<script>&\u{0}").raw("</p>");
        assert_eq!(
            html.finish(),
            "<p title=\"a&quot;b&#39;c\"><bdi>&lt;script&gt;&amp;\u{fffd}</bdi></p>"
        );
    }

    #[test]
    fn a_name_cannot_pose_as_another() {
        let mut html = Html::default();
        html.foreign("DRAS\u{202e}LRAS\u{202c} A\u{200b}B");
        assert_eq!(html.finish(), "<bdi>DRAS\u{fffd}LRAS\u{fffd} A\u{fffd}B</bdi>");
    }
}
