//! A receipt as a web page: readable without styles, printable, and for readers of screens.

use std::fmt::Write as _;

use crate::render::view::{Pair, ReceiptView};
use crate::render::{Paper, escape, qr};

/// The page's only style sheet, for whoever states its hash in a content security policy.
pub const STYLE: &str = "\
:root{color-scheme:light}*{box-sizing:border-box}\
body{margin:0;background:#eef0f2;color:#16191d;font:15px/1.45 system-ui,-apple-system,'Segoe UI',\
'Noto Sans',Roboto,sans-serif}\
main{max-width:56rem;margin:1.5rem auto;padding:2rem 2.25rem;background:#fff;border:1px solid #d5d9de;\
border-radius:6px}\
header{display:flex;flex-wrap:wrap;gap:1rem 2rem;justify-content:space-between}\
h1{font-size:1.15rem;letter-spacing:.06em;margin:0}h2{font-size:.8rem;letter-spacing:.08em;\
text-transform:uppercase;color:#454d57;margin:1.75rem 0 .5rem;padding-bottom:.25rem;\
border-bottom:1px solid #c9ced4}\
.merchant{font-size:1.35rem;font-weight:700;margin:0 0 .25rem}.kind{text-align:right}\
.kind p{margin:.15rem 0}.number{font-weight:700;font-size:1.1rem}\
.banner{margin:0 0 1rem;padding:.5rem 1rem;border:3px solid #a3000f;color:#a3000f;font-weight:800;\
font-size:1.3rem;letter-spacing:.12em;text-align:center}\
.parties{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:0 2.5rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0}\
dt{color:#454d57}dd{margin:0;overflow-wrap:anywhere}\
.scroll{overflow-x:auto}table{width:100%;border-collapse:collapse}\
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}\
th{font-size:.8rem;color:#454d57;text-align:left;border-bottom:2px solid #16191d;padding:.35rem .5rem}\
td{padding:.4rem .5rem;border-bottom:1px solid #e3e6ea;vertical-align:top;overflow-wrap:anywhere}\
thead th:nth-child(2){min-width:10rem}\
th.n,td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
tbody th{border-bottom:1px solid #e3e6ea;color:inherit;font-weight:400;font-size:inherit;\
vertical-align:top;overflow-wrap:anywhere}\
small{display:block;color:#454d57}\
.sums{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:0 2.5rem}\
.sums dl{grid-template-columns:1fr max-content}.sums dd{text-align:right;white-space:nowrap;\
font-variant-numeric:tabular-nums}\
.sums dt{overflow-wrap:anywhere}.grand{font-weight:700;font-size:1.2rem;border-top:2px solid #16191d;\
padding-top:.35rem;margin-top:.35rem}\
.security{display:flex;flex-wrap:wrap;gap:1.5rem;align-items:center;border:1px solid #c9ced4;\
border-radius:6px;padding:1rem}.security figure{margin:0;max-width:100%}.security svg{display:block;\
max-width:100%;height:auto}\
.security dl{grid-template-columns:1fr;gap:0}.security dd{font-weight:600;margin-bottom:.5rem;\
font-variant-numeric:tabular-nums}.security div{flex:1 1 16rem}\
.notes{color:#454d57;font-size:.85rem;margin:1.25rem 0 0}\
@media (max-width:40rem){main{margin:0;padding:1.25rem;border:0}.kind{text-align:left}\
.security figure{margin:0 auto}}\
@media print{body{background:#fff;font-size:12px}main{border:0;margin:0;padding:0;max-width:none}\
.security svg{width:60mm}.security,tr{break-inside:avoid}thead{display:table-header-group}}";

pub(super) fn page(view: &ReceiptView) -> String {
    let words = view.words();
    let mut out = String::with_capacity(48 * 1024);
    let title = escape(&format!("{} {}", view.invoice_type, view.number));
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"robots\" \
         content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        view.language.tag(),
    );
    push_banners(&mut out, view);
    push_header(&mut out, view);
    out.push_str("<div class=\"parties\">\n");
    for (heading, pairs) in [(words.outlet, &view.outlet), (words.client, &view.client)] {
        let _ = writeln!(out, "<section>\n<h2>{}</h2>", escape(heading));
        push_pairs(&mut out, pairs, "");
        out.push_str("</section>\n");
    }
    out.push_str("</div>\n");
    push_lines(&mut out, view);
    push_groups(&mut out, view);
    push_sums(&mut out, view);
    push_security(&mut out, view);
    let _ = writeln!(out, "<p class=\"notes\">{}</p>", escape(&view.notes.join(" · ")));
    push_banners(&mut out, view);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn push_banners(out: &mut String, view: &ReceiptView) {
    for banner in &view.banners {
        let _ = writeln!(out, "<p class=\"banner\" role=\"note\">{}</p>", escape(banner));
    }
}

fn push_header(out: &mut String, view: &ReceiptView) {
    let words = view.words();
    let name = escape(&view.merchant_name);
    let _ = writeln!(out, "<header>\n<div>\n<p class=\"merchant\"><bdi>{name}</bdi></p>");
    push_pairs(out, &view.merchant, "");
    let _ = writeln!(
        out,
        "</div>\n<div class=\"kind\">\n<h1>{}</h1>\n<p>{}</p>\n<p class=\"number\">{} {}</p>\n<p>{} \
         {}</p>",
        escape(words.document),
        escape(view.invoice_type),
        escape(words.number),
        escape(&view.number),
        escape(words.date),
        escape(&view.date),
    );
    if let Some((label, number)) = &view.original {
        let _ = writeln!(out, "<p>{} <strong>{}</strong></p>", escape(label), escape(number));
    }
    out.push_str("</div>\n</header>\n");
}

fn push_pairs(out: &mut String, pairs: &[Pair], class: &str) {
    let _ = write!(out, "<dl{class}>");
    for (label, value) in pairs {
        let (label, value) = (escape(label), escape(value));
        let _ = writeln!(out, "<dt><bdi>{label}</bdi></dt><dd><bdi>{value}</bdi></dd>");
    }
    out.push_str("</dl>\n");
}

/// Opens a table; a heading that starts with `>` is of a column of numbers.
fn push_table_head(out: &mut String, caption: &str, headings: &[&str]) {
    let caption = escape(caption);
    let _ = write!(
        out,
        "<h2>{caption}</h2>\n<div class=\"scroll\" tabindex=\"0\">\n<table>\n<caption>{caption}</caption>\n<thead><tr>"
    );
    for heading in headings {
        match heading.strip_prefix('>') {
            Some(number) => {
                let _ = write!(out, "<th scope=\"col\" class=\"n\">{}</th>", escape(number));
            }
            None => {
                let _ = write!(out, "<th scope=\"col\">{}</th>", escape(heading));
            }
        }
    }
    out.push_str("</tr></thead>\n<tbody>\n");
}

fn push_lines(out: &mut String, view: &ReceiptView) {
    let words = view.words();
    let number = |heading: &str| format!(">{heading}");
    let (index, caption) = (number(words.number), format!("{} ({})", words.lines, view.currency));
    let numbers = [words.quantity, words.unit_price, words.net, words.tax, words.gross].map(number);
    let [quantity, price, net, tax, gross] = &numbers;
    push_table_head(
        out,
        &caption,
        &[&index, words.description, words.group, quantity, price, net, tax, gross],
    );
    for line in &view.lines {
        let _ = write!(
            out,
            "<tr><td class=\"n\">{}</td><th scope=\"row\"><bdi>{}</bdi>",
            line.index,
            escape(&line.description)
        );
        for detail in &line.details {
            let _ = write!(out, "<small><bdi>{}</bdi></small>", escape(detail));
        }
        let _ = write!(out, "</th><td>{}</td>", line.group);
        for cell in [&line.quantity, &line.unit_price, &line.net, &line.tax, &line.gross] {
            let _ = write!(out, "<td class=\"n\">{}</td>", escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn push_groups(out: &mut String, view: &ReceiptView) {
    let words = view.words();
    let caption = format!("{} ({})", words.taxes, view.currency);
    let numbers = [words.rate, words.net, words.tax, words.gross].map(|text| format!(">{text}"));
    let [rate, net, tax, gross] = &numbers;
    push_table_head(out, &caption, &[words.group, words.group_name, rate, net, tax, gross]);
    for group in &view.groups {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            group.code,
            escape(&group.name)
        );
        for cell in [&group.rate, &group.net, &group.tax, &group.gross] {
            let _ = write!(out, "<td class=\"n\">{}</td>", escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn push_sums(out: &mut String, view: &ReceiptView) {
    let words = view.words();
    let _ = writeln!(out, "<div class=\"sums\">\n<section>\n<h2>{}</h2>", escape(words.payments));
    if view.payments.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", escape(words.no_payments));
    } else {
        push_pairs(out, &view.payments, "");
    }
    if !view.fx.is_empty() {
        let _ = writeln!(out, "<h2>{}</h2>", escape(words.fx));
        push_pairs(out, &view.fx, "");
    }
    let _ = writeln!(out, "</section>\n<section>\n<h2>{}</h2>", escape(words.totals));
    push_pairs(out, &view.totals, "");
    push_pairs(out, std::slice::from_ref(&view.grand_total), " class=\"grand\"");
    out.push_str("</section>\n</div>\n");
}

fn push_security(out: &mut String, view: &ReceiptView) {
    let words = view.words();
    let _ = writeln!(
        out,
        "<section>\n<h2>{}</h2>\n<div class=\"security\">\n<figure>{}</figure>\n<div>",
        escape(words.security),
        qr::svg(&view.payload, Paper::A4, words.qr)
    );
    push_pairs(out, &view.security, "");
    let _ = writeln!(out, "<p>{}</p>\n</div>\n</div>\n</section>", escape(&view.verify));
}
