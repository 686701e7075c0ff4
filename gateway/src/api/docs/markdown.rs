//! The little of Markdown that our pages use, as HTML: headings, paragraphs, lists, tables, code, bold, links.
//!
//! Non-goals: everything else of Markdown. Raw HTML is shown, never passed through.

use std::fmt::Write as _;

use crate::render::escape;

/// A document as HTML; headings begin at `h{level}`, links to `CODE.md` lead to the page of the code.
#[must_use]
pub(super) fn html(markdown: &str, level: usize) -> String {
    let mut out = String::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        if text.starts_with("```") {
            let code: Vec<&str> =
                lines.by_ref().take_while(|line| !line.trim().starts_with("```")).collect();
            put(
                &mut out,
                &format!("<pre tabindex=\"0\"><code>{}</code></pre>\n", escape(&code.join("\n"))),
            );
        } else if let Some((marks, heading)) = heading(text) {
            let level = (marks + level - 1).min(6);
            put(&mut out, &format!("<h{level}>{}</h{level}>\n", inline(heading)));
        } else {
            let mut block = vec![text];
            while let Some(next) = lines.next_if(|next| !next.trim().is_empty()) {
                block.push(next.trim());
            }
            put(&mut out, &paragraph(&block));
        }
    }
    out
}

fn put(out: &mut String, text: &str) {
    out.push_str(text);
}

fn heading(text: &str) -> Option<(usize, &str)> {
    let rest = text.trim_start_matches('#');
    let marks = text.len() - rest.len();
    (marks > 0 && rest.starts_with(' ')).then(|| (marks, rest.trim()))
}

/// Lines without an empty one between them.
fn paragraph(block: &[&str]) -> String {
    if block.iter().all(|line| line.starts_with('|')) {
        return table(block);
    }
    if block[0].starts_with("- ") {
        let mut items: Vec<String> = Vec::new();
        for line in block {
            match (line.strip_prefix("- "), items.last_mut()) {
                (Some(item), _) => items.push(item.to_owned()),
                (None, Some(last)) => *last = format!("{last} {line}"),
                (None, None) => {}
            }
        }
        let items: String =
            items.iter().fold(String::new(), |out, item| out + "<li>" + &inline(item) + "</li>");
        return format!("<ul>{items}</ul>\n");
    }
    format!("<p>{}</p>\n", inline(&block.join(" ")))
}

fn table(rows: &[&str]) -> String {
    let cells = |row: &str| -> Vec<String> {
        row.trim_matches('|').split('|').map(|cell| inline(cell.trim())).collect()
    };
    let is_rule = |row: &str| row.bytes().all(|byte| b"|-: ".contains(&byte));
    let mut out = String::from("<div class=\"scroll\" tabindex=\"0\"><table>");
    for (at, row) in rows.iter().filter(|row| !is_rule(row)).enumerate() {
        let (open, close) =
            if at == 0 { ("<th scope=\"col\">", "</th>") } else { ("<td>", "</td>") };
        let cells = cells(row).iter().fold(String::new(), |out, cell| out + open + cell + close);
        write!(out, "<tr>{cells}</tr>").expect("text takes text");
    }
    out.push_str("</table></div>\n");
    out
}

/// Code, bold and links within a line.
#[must_use]
pub(super) fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        out.push_str(&escape(&rest[..at]));
        rest = &rest[at..];
        let (html, length) = code(rest)
            .or_else(|| bold(rest))
            .or_else(|| link(rest))
            .unwrap_or_else(|| (escape(&rest[..1]), 1));
        out.push_str(&html);
        rest = &rest[length..];
    }
    out.push_str(&escape(rest));
    out
}

fn code(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix('`')?;
    let end = inner.find('`')?;
    Some((format!("<code>{}</code>", escape(&inner[..end])), end + 2))
}

fn bold(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix("**")?;
    let end = inner.find("**")?;
    Some((format!("<strong>{}</strong>", inline(&inner[..end])), end + 4))
}

fn link(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix('[')?;
    let middle = inner.find("](")?;
    let end = middle + inner[middle..].find(')')?;
    let (label, target) = (&inner[..middle], &inner[middle + 2..end]);
    // Pages of codes lie side by side here as there; what lies elsewhere in the repository is not served.
    let place = match target.strip_suffix(".md") {
        Some(code) if !code.contains('/') => Some(format!("/docs/errors/{code}")),
        _ if target.starts_with("https://") || target.starts_with(['/', '#']) => {
            Some(target.to_owned())
        }
        _ => None,
    };
    let label = inline(label);
    let html = match place {
        Some(place) => format!("<a href=\"{}\">{label}</a>", escape(&place)),
        None => label,
    };
    Some((html, end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_becomes_its_element() {
        let page = "# CODE\n\nOne `a<b` and **two**,\nthree.\n\n- x\n- y\n  z\n\n| a | b |\n|---|---|\n| [C](C.md) | `d` |\n\n```sh\nls <x>\n```\n";
        let html = html(page, 1);
        for part in [
            "<h1>CODE</h1>",
            "<p>One <code>a&lt;b</code> and <strong>two</strong>, three.</p>",
            "<ul><li>x</li><li>y z</li></ul>",
            "<tr><th scope=\"col\">a</th><th scope=\"col\">b</th></tr>",
            "<td><a href=\"/docs/errors/C\">C</a></td><td><code>d</code></td>",
            "<code>ls &lt;x&gt;</code>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn nothing_passes_as_markup() {
        assert_eq!(inline("<script> [x](javascript:y) *"), "&lt;script&gt; x *");
        assert_eq!(inline("[x](../OPERATIONS.md)"), "x");
    }
}
