//! A run on one page that needs nothing else.

use std::fmt::Write as _;

use crate::figures::{Distribution, Figures};
use crate::picture::escaped;
use crate::record::Seen;

const SECOND: f64 = 1e9;
/// Findings in words, at most.
const TOLD_MAX: usize = 200;

/// Writes the page.
pub(crate) fn page(figures: &Figures, seen: &Seen, picture: &str) -> String {
    let sound = figures.findings.is_empty();
    let (word, color) = if sound { ("sound", "#226622") } else { ("not sound", "#bb2222") };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\n<style>body{{font:14px \
         sans-serif;margin:2em;max-width:1200px}}table{{border-collapse:collapse;margin:1em 0}}td,th{{border:1px solid \
         #ccc;padding:3px 9px;text-align:right}}td:first-child,th:first-child{{text-align:left}}svg{{width:100%;\
         height:auto}}</style></head><body>\n<h1>{name}</h1>\n<p>The history is <b style=\"color:{color}\">{word}</b>: {} \
         findings.</p>\n",
        figures.findings.len(),
        name = escaped(&figures.name),
    );
    let _ = writeln!(
        page,
        "<table><tr><th>acknowledged</th><td>{}</td></tr><tr><th>a second</th><td>{:.0}</td></tr>\
         <tr><th>unknown</th><td>{}</td></tr><tr><th>refused, or not taken</th><td>{}</td></tr>\
         <tr><th>records in the end</th><td>{}</td></tr><tr><th>changes of the leader</th><td>{}</td></tr>\
         <tr><th>equal after the last fault</th><td>{} ms</td></tr></table>",
        figures.acknowledged,
        figures.per_second(),
        figures.unknown,
        figures.refused,
        figures.records,
        figures.leader_changes,
        figures.converged_ms
    );
    page.push_str(picture);
    page.push_str(
        "<table><tr><th>milliseconds</th><th>count</th><th>least</th><th>median</th><th>90 of 100</th>\
         <th>99 of 100</th><th>most</th></tr>\n",
    );
    for (name, distribution) in [
        ("latency", &figures.latency),
        (
            "fail-over: the leader taken away, until something new is acknowledged",
            &figures.failover,
        ),
        ("partition or pause healed, until the node has everything", &figures.heal),
        ("started again, until it answers", &figures.answers_again),
        ("started again, until it has everything", &figures.caught_up),
    ] {
        row(&mut page, name, distribution);
    }
    page.push_str(
        "</table>\n<table><tr><th>fault</th><th>target</th><th>from</th><th>to</th></tr>\n",
    );
    for span in &seen.spans {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{:.1} s</td><td>{:.1} s</td></tr>",
            span.name,
            escaped(&span.target),
            span.start as f64 / SECOND,
            span.end as f64 / SECOND
        );
    }
    page.push_str("</table>\n");
    let findings = figures.findings.iter().map(|it| format!("{:?}: {}", it.kind, it.detail));
    list(&mut page, "Findings", findings);
    list(&mut page, "Remarks", figures.remarks.iter().cloned());
    page.push_str("</body></html>\n");
    page
}

fn row(page: &mut String, name: &str, of: &Distribution) {
    let _ = write!(page, "<tr><td>{name}</td><td>{}</td>", of.count());
    for per_mille in [0, 500, 900, 990, 1_000] {
        let _ = write!(page, "<td>{}</td>", of.at(per_mille));
    }
    page.push_str("</tr>\n");
}

fn list(page: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let _ = writeln!(page, "<h2>{title}</h2><ul>");
    for item in items.take(TOLD_MAX) {
        let _ = writeln!(page, "<li>{}</li>", escaped(&item));
    }
    page.push_str("</ul>\n");
}
