//! A receipt on sheets of A4.

use crate::render::Paper;
use crate::render::pdf::{Cell, Column, Face, Ink, Sheet, mm};
use crate::render::qr::Symbol;
use crate::render::view::ReceiptView;

/// The widest code, and the widest module on a sheet.
const CODE_SIDE_MAX: f32 = mm(60.0);
const MODULE_MAX: f32 = mm(0.5);
/// More payments than this take the whole width, so that they can go on on the next page.
const PAYMENTS_BESIDE_MAX: usize = 10;
const GAP: f32 = 24.0;

pub(super) fn pdf(view: &ReceiptView) -> Vec<u8> {
    let words = view.words();
    let running = format!("{} · {} {}", view.merchant_name, words.number, view.number);
    let mut sheet = Sheet::new(&view.banners, &running);
    head(&mut sheet, view);
    sheet.side_by_side([(words.outlet, &view.outlet), (words.client, &view.client)]);
    lines(&mut sheet, view);
    groups(&mut sheet, view);
    sums(&mut sheet, view);
    let style = (Face::Regular, 7.5, Ink::Gray);
    sheet.paragraph((0.0, Sheet::width()), style, &view.notes.join(" · "));
    security(&mut sheet, view);
    let title = format!("{} {}", view.invoice_type, view.number);
    let mut foot = format!("{} {}", words.fiscal_number, view.number);
    for banner in &view.banners {
        foot.push_str(" · ");
        foot.push_str(banner);
    }
    sheet.finish(&title, &foot, view.language)
}

/// The merchant at the left, the document at the right.
fn head(sheet: &mut Sheet, view: &ReceiptView) {
    let words = view.words();
    let (top, page) = (sheet.y(), sheet.page());
    let mut right = vec![
        (Face::Bold, 13.0, Ink::Black, words.document.to_owned()),
        (Face::Regular, 10.0, Ink::Black, view.invoice_type.to_owned()),
        (Face::Bold, 10.0, Ink::Black, format!("{} {}", words.number, view.number)),
        (Face::Regular, 8.5, Ink::Gray, format!("{} {}", words.date, view.date)),
    ];
    if let Some((label, number)) = &view.original {
        right.push((Face::Bold, 8.5, Ink::Black, format!("{label} {number}")));
    }
    let column = Sheet::width() * 0.48;
    let mut y = top;
    for (face, size, ink, text) in right {
        let size = size * (column / face.width(&text, size)).min(1.0);
        let (document, margin) = sheet.document();
        document.text_right((margin + Sheet::width(), y + size), (face, size, ink), &text);
        y += size * 1.4;
    }
    let left = (0.0, Sheet::width() - column - GAP);
    sheet.paragraph(left, (Face::Bold, 14.0, Ink::Black), &view.merchant_name);
    sheet.skip(2.0);
    sheet.pairs(left, &view.merchant);
    if sheet.page() == page {
        sheet.set_y(sheet.y().max(y));
    }
    sheet.skip(2.0);
}

fn left(heading: &str, share: f32) -> Column {
    Column { heading: heading.to_owned(), share, right: false }
}

fn right(heading: &str, share: f32) -> Column {
    Column { heading: heading.to_owned(), share, right: true }
}

fn lines(sheet: &mut Sheet, view: &ReceiptView) {
    let words = view.words();
    let columns = [
        right(words.number, 24.0),
        left(words.description, 150.0),
        left(words.group, 38.0),
        right(words.quantity, 58.0),
        right(words.unit_price, 60.0),
        right(words.net, 62.0),
        right(words.tax, 54.0),
        right(words.gross, 64.0),
    ];
    let rows: Vec<Vec<Cell>> = view
        .lines
        .iter()
        .map(|line| {
            let details = line.details.clone();
            vec![
                (&line.index).into(),
                Cell { details, ..Cell::from(&line.description) },
                line.group.into(),
                (&line.quantity).into(),
                (&line.unit_price).into(),
                (&line.net).into(),
                (&line.tax).into(),
                (&line.gross).into(),
            ]
        })
        .collect();
    sheet.section(&format!("{} ({})", words.lines, view.currency));
    sheet.table(&columns, &rows);
}

fn groups(sheet: &mut Sheet, view: &ReceiptView) {
    let words = view.words();
    let columns = [
        left(words.group, 38.0),
        left(words.group_name, 208.0),
        right(words.rate, 44.0),
        right(words.net, 76.0),
        right(words.tax, 68.0),
        right(words.gross, 76.0),
    ];
    let rows: Vec<Vec<Cell>> = view
        .groups
        .iter()
        .map(|group| {
            let figures = [&group.rate, &group.net, &group.tax, &group.gross];
            let start = [Cell::from(group.code), Cell::from(&group.name)];
            start.into_iter().chain(figures.map(Cell::from)).collect()
        })
        .collect();
    sheet.section(&format!("{} ({})", words.taxes, view.currency));
    sheet.table(&columns, &rows);
}

/// Payments and the exchange at the left, totals at the right.
fn sums(sheet: &mut Sheet, view: &ReceiptView) {
    let words = view.words();
    let half = (Sheet::width() - GAP) / 2.0;
    let beside = view.payments.len() <= PAYMENTS_BESIDE_MAX;
    let figures = (Face::Regular, 8.5);
    if !beside {
        sheet.section(words.payments);
        sheet.sums((0.0, Sheet::width()), figures, &view.payments);
    }
    // The tallest column: ten payments whose references take two lines each, and the exchange.
    sheet.need(if view.payments.len() > 3 { 320.0 } else { 130.0 });
    sheet.skip(8.0);
    let top = sheet.y();
    sheet.sums((half + GAP, half), figures, &view.totals);
    sheet.skip(3.0);
    let y = sheet.y();
    let (document, margin) = sheet.document();
    document.rule((margin + half + GAP, y), half, 1.0, Ink::Black);
    sheet.skip(3.0);
    let total = std::slice::from_ref(&view.grand_total);
    sheet.sums((half + GAP, half), (Face::Bold, 12.0), total);
    let end = sheet.y();
    sheet.set_y(top);
    let heading = (Face::Bold, 8.5, Ink::Gray);
    if beside {
        sheet.paragraph((0.0, half), heading, &words.payments.to_uppercase());
        if view.payments.is_empty() {
            sheet.paragraph((0.0, half), (Face::Regular, 8.5, Ink::Black), words.no_payments);
        }
        sheet.sums((0.0, half), figures, &view.payments);
        sheet.skip(4.0);
    }
    if !view.fx.is_empty() {
        sheet.paragraph((0.0, half), heading, &words.fx.to_uppercase());
        sheet.sums((0.0, half), figures, &view.fx);
    }
    sheet.set_y(sheet.y().max(end) + 6.0);
}

/// The code at the left, the other elements beside it, in one box on one page.
fn security(sheet: &mut Sheet, view: &ReceiptView) {
    let words = view.words();
    let symbol = Symbol::new(&view.payload, Paper::A4);
    let modules = u16::try_from(symbol.side()).map_or(f32::from(u16::MAX), f32::from);
    let side = (modules * MODULE_MAX).min(CODE_SIDE_MAX);
    let height = side.max(132.0) + 8.0;
    sheet.need(height + 12.0);
    sheet.skip(6.0);
    let top = sheet.y();
    let (document, margin) = sheet.document();
    document.frame((margin, top), (Sheet::width(), height), (0.8, Ink::Gray));
    document.code((margin + 4.0, top + (height - side) / 2.0), side, &symbol);
    let column = (side + 14.0, Sheet::width() - side - 26.0);
    sheet.skip(8.0);
    sheet.paragraph(column, (Face::Bold, 8.5, Ink::Gray), &words.security.to_uppercase());
    sheet.skip(3.0);
    for (label, value) in &view.security {
        sheet.paragraph(column, (Face::Regular, 7.0, Ink::Gray), label);
        let size = if value.chars().count() > 60 { 7.5 } else { 9.5 };
        sheet.paragraph(column, (Face::Bold, size, Ink::Black), value);
    }
    sheet.skip(3.0);
    sheet.paragraph(column, (Face::Regular, 7.5, Ink::Gray), &view.verify);
    sheet.set_y((top + height).max(sheet.y()));
}
