//! A receipt as the rows of a paper roll, whatever prints them.

use crate::render::view::ReceiptView;

/// One row, or what wraps from it.
#[derive(Debug)]
pub(super) enum Row<'v> {
    /// A mark that nobody may miss.
    Banner(&'v str),
    /// Large and in the middle.
    Title(&'v str),
    /// In the middle.
    Center(String),
    /// From the left, emphasised.
    Strong(String),
    /// From the left.
    Text(String),
    /// From the left, a little in.
    Detail(String),
    /// A label at the left, its value at the right.
    Pair(String, String),
    /// The same, emphasised.
    StrongPair(String, String),
    /// A line across.
    Rule,
    /// The QR code.
    Code,
}

/// The whole receipt from top to bottom.
pub(super) fn rows(view: &ReceiptView) -> Vec<Row<'_>> {
    let words = view.words();
    let mut rows = Vec::with_capacity(2 * view.lines.len() + 64);
    rows.extend(view.banners.iter().map(|banner| Row::Banner(banner)));
    push_head(&mut rows, view);
    push_lines(&mut rows, view);
    push_groups(&mut rows, view);
    rows.push(Row::Rule);
    push_pairs(&mut rows, &view.totals);
    let (label, total) = view.grand_total.clone();
    rows.push(Row::StrongPair(label, total));
    rows.push(Row::Rule);
    rows.push(Row::Strong(words.payments.to_owned()));
    if view.payments.is_empty() {
        rows.push(Row::Text(words.no_payments.to_owned()));
    }
    push_pairs(&mut rows, &view.payments);
    if !view.fx.is_empty() {
        rows.push(Row::Rule);
        push_pairs(&mut rows, &view.fx);
    }
    rows.push(Row::Rule);
    rows.push(Row::Strong(words.security.to_owned()));
    push_pairs(&mut rows, &view.security);
    rows.push(Row::Code);
    rows.push(Row::Center(view.verify.clone()));
    rows.extend(view.notes.iter().map(|note| Row::Center(note.clone())));
    rows.extend(view.banners.iter().map(|banner| Row::Banner(banner)));
    rows
}

fn push_pairs(rows: &mut Vec<Row<'_>>, pairs: &[(String, String)]) {
    rows.extend(pairs.iter().map(|(label, value)| Row::Pair(label.clone(), value.clone())));
}

fn push_head<'v>(rows: &mut Vec<Row<'v>>, view: &'v ReceiptView) {
    let words = view.words();
    rows.push(Row::Title(&view.merchant_name));
    let lines = view.merchant.iter();
    rows.extend(lines.map(|(label, value)| Row::Center(format!("{label} {value}"))));
    rows.push(Row::Rule);
    rows.push(Row::Title(words.document));
    rows.push(Row::Center(view.invoice_type.to_owned()));
    rows.push(Row::StrongPair(words.number.to_owned(), view.number.clone()));
    rows.push(Row::Pair(words.date.to_owned(), view.date.clone()));
    if let Some((label, number)) = &view.original {
        rows.push(Row::StrongPair(label.clone(), number.clone()));
    }
    rows.push(Row::Rule);
    push_pairs(rows, &view.outlet);
    rows.push(Row::Rule);
    rows.push(Row::Strong(words.client.to_owned()));
    push_pairs(rows, &view.client);
}

fn push_lines(rows: &mut Vec<Row<'_>>, view: &ReceiptView) {
    let words = view.words();
    rows.push(Row::Rule);
    rows.push(Row::StrongPair(
        format!("{} × {}", words.quantity, words.unit_price),
        format!("{} {}", words.gross, view.currency),
    ));
    for line in &view.lines {
        rows.push(Row::Text(format!("{}. {}", line.index, line.description)));
        rows.extend(line.details.iter().map(|detail| Row::Detail(detail.clone())));
        let left = format!("  {} × {}  {}", line.quantity, line.unit_price, line.group);
        rows.push(Row::Pair(left, line.gross.clone()));
    }
}

fn push_groups(rows: &mut Vec<Row<'_>>, view: &ReceiptView) {
    let words = view.words();
    rows.push(Row::Rule);
    rows.push(Row::StrongPair(words.taxes.to_owned(), view.currency.clone()));
    for group in &view.groups {
        rows.push(Row::Text(format!("{} {} {}", group.code, group.name, group.rate)));
        let sums = [(words.net, &group.net), (words.tax, &group.tax), (words.gross, &group.gross)];
        rows.extend(sums.map(|(label, value)| Row::Pair(format!("  {label}"), value.clone())));
    }
}
