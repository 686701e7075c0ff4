//! The steps as a picture: what is sealed a second along the bottom, how long it takes up the side.

use super::figures::{Figures, StepFigures};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
/// Each line's quantile and colour; shapes tell them apart, too.
const LINES: [(&str, f64, &str); 3] =
    [("p50", 0.5, "#1b6ca8"), ("p99", 0.99, "#b3541e"), ("p99.9", 0.999, "#7a1fa2")];

/// An SVG document.
pub(super) fn draw(figures: &Figures) -> String {
    let steps = figures.steps();
    let widest = steps.iter().map(StepFigures::rate).fold(1.0, f64::max) * 1.05;
    // Times spread over orders of magnitude: up the side stand their logarithms.
    let times =
        || steps.iter().flat_map(|step| LINES.map(|(_, quantile, _)| step.millis(quantile)));
    let low = times().fold(f64::MAX, f64::min).max(0.01).log10().floor();
    let high = times().fold(0.1, f64::max).log10().ceil().max(low + 1.0);
    let x = |rate: f64| LEFT + rate / widest * (WIDTH - LEFT - RIGHT);
    let y = |millis: f64| {
        let share = (millis.max(0.01).log10() - low) / (high - low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"14\">{title}</text>\n",
        title = figures.title()
    );
    let mut power = low;
    while power <= high {
        let (at, label) = (y(10_f64.powf(power)), 10_f64.powf(power));
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{beside}\" y=\"{text:.1}\" text-anchor=\"end\">{label} ms</text>\n",
            end = WIDTH - RIGHT,
            beside = LEFT - 8.0,
            text = at + 4.0
        ));
        power += 1.0;
    }
    for quarter in 0..=4 {
        let rate = widest * f64::from(quarter) / 4.0;
        svg.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{rate:.0}/s</text>\n",
            x(rate),
            HEIGHT - BOTTOM + 20.0
        ));
    }
    for (row, (name, quantile, colour)) in LINES.into_iter().enumerate() {
        let points: Vec<(f64, f64)> =
            steps.iter().map(|step| (x(step.rate()), y(step.millis(quantile)))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg.push_str(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            path.join(" ")
        ));
        for (step, (x, y)) in steps.iter().zip(&points) {
            svg.push_str(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"><title>{}: {name} \
                 {:.2} ms, {:.0}/s</title></circle>\n",
                step.name(),
                step.millis(quantile),
                step.rate(),
                radius = 3 + row
            ));
        }
        let at = WIDTH - RIGHT - 180.0 + row as f64 * 60.0;
        svg.push_str(&format!(
            "<circle cx=\"{at}\" cy=\"36\" r=\"{radius}\" fill=\"{colour}\"/><text x=\"{text}\" y=\"40\">{name}</text>\n",
            radius = 3 + row,
            text = at + 10.0
        ));
    }
    svg.push_str("</svg>\n");
    svg
}
