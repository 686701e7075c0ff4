//! The timeline of a run (SVG): operations a second, latency, who leads, and what went wrong when.

use std::fmt::Write as _;

use fiscus_check::line::Outcome;

use crate::record::{Point, Seen, Span};

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;
const LEFT: f64 = 90.0;
const WIDE: f64 = 1_080.0;
const HIGH: f64 = 130.0;
/// Of the row of leaders, and of each row of faults.
const ROW: f64 = 18.0;
const GAP: f64 = 34.0;
/// Columns of the picture at most; each is a span of time.
const COLUMNS_MAX: u64 = 540;
const LEADERS: [&str; 6] = ["#3366aa", "#cc7722", "#448844", "#885599", "#aa3344", "#557788"];
/// Latencies are drawn on a scale of powers of ten of milliseconds, up to the fourth.
const DECADES: f64 = 4.5;

/// One column of the curves.
#[derive(Debug, Clone, Default)]
struct Column {
    acknowledged: u64,
    unknown: u64,
    latencies: Vec<u64>,
}

/// What is drawn, and where.
struct Picture {
    began: u64,
    ended: u64,
    svg: String,
}

/// Draws a run.
pub(crate) fn draw(name: &str, load: (u64, u64), seen: &Seen) -> String {
    let last = seen.spans.iter().map(|span| span.end).max().unwrap_or(0);
    let mut picture = Picture { began: load.0, ended: load.1.max(last), svg: String::new() };
    let columns = picture.columns(&seen.points);
    let lanes = lanes(&seen.spans);
    let faults_at = 2.0 * (HIGH + GAP) + ROW + 2.0 * GAP;
    let high = faults_at + ROW * lanes.len() as f64 + 50.0;
    let whole = LEFT + WIDE + 20.0;
    picture.put(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {high}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<title>{}</title>\n<rect width=\"{whole}\" height=\"{high}\" fill=\"#fff\"/>\n",
        escaped(name)
    ));
    picture.bands(&lanes, faults_at + ROW * lanes.len() as f64);
    picture.rates(&columns, GAP);
    picture.latencies(&columns, HIGH + 2.0 * GAP);
    picture.leaders(&seen.leaders, 2.0 * HIGH + 3.0 * GAP);
    picture.faults(&lanes, faults_at);
    picture.axis(high - 24.0);
    picture.put("</svg>\n");
    picture.svg
}

/// Faults in rows in which none overlaps another.
fn lanes(spans: &[Span]) -> Vec<Vec<&Span>> {
    let mut sorted: Vec<&Span> = spans.iter().collect();
    sorted.sort_by_key(|span| span.start);
    let mut lanes: Vec<Vec<&Span>> = Vec::new();
    for span in sorted {
        let free = |lane: &&mut Vec<&Span>| lane.last().is_none_or(|last| last.end < span.start);
        match lanes.iter_mut().find(free) {
            Some(lane) => lane.push(span),
            None => lanes.push(vec![span]),
        }
    }
    lanes
}

impl Picture {
    fn put(&mut self, text: &str) {
        self.svg.push_str(text);
    }

    fn x(&self, at: u64) -> f64 {
        let at = at.clamp(self.began, self.ended) - self.began;
        LEFT + WIDE * at as f64 / (self.ended - self.began).max(1) as f64
    }

    /// Nanoseconds of a column: a half of a second, or more in a long run.
    fn step(&self) -> u64 {
        ((self.ended - self.began) / COLUMNS_MAX).max(SECOND / 2)
    }

    fn columns(&self, points: &[Point]) -> Vec<Column> {
        let step = self.step();
        let count = (self.ended - self.began) / step + 1;
        let mut columns = vec![Column::default(); usize::try_from(count).unwrap_or(0)];
        for point in points.iter().filter(|point| point.writes && point.end >= self.began) {
            let at = usize::try_from((point.end - self.began) / step).unwrap_or(usize::MAX);
            let Some(column) = columns.get_mut(at) else { continue };
            match point.outcome {
                Outcome::Ok => {
                    column.acknowledged += 1;
                    column.latencies.push((point.end - point.start) / MILLI);
                }
                Outcome::Unknown => column.unknown += 1,
                Outcome::Fail => {}
            }
        }
        columns.iter_mut().for_each(|column| column.latencies.sort_unstable());
        columns
    }

    fn label(&mut self, y: f64, text: &str) {
        let _ = writeln!(self.svg, "<text x=\"4\" y=\"{y:.0}\" fill=\"#333\">{text}</text>");
    }

    /// A curve over all columns; `value` is between 0 and 1.
    fn curve(&mut self, top: f64, color: &str, values: &[Option<f64>]) {
        let step = self.step();
        let mut path = String::new();
        let mut pen = 'M';
        for (at, value) in (0_u64..).zip(values) {
            let Some(value) = value else {
                pen = 'M';
                continue;
            };
            let (x, y) = (
                self.x(self.began + at * step + step / 2),
                top + HIGH * (1.0 - value.clamp(0.0, 1.0)),
            );
            let _ = write!(path, "{pen}{x:.1} {y:.1}");
            pen = 'L';
        }
        let _ = writeln!(
            self.svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.3\"/>"
        );
    }

    fn frame(&mut self, top: f64) {
        let _ = writeln!(
            self.svg,
            "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{WIDE}\" height=\"{HIGH}\" fill=\"none\" stroke=\"#bbb\"/>"
        );
    }

    fn rates(&mut self, columns: &[Column], top: f64) {
        let per_second = SECOND as f64 / self.step() as f64;
        let most =
            columns.iter().map(|column| column.acknowledged).max().unwrap_or(0).max(1) as f64;
        self.frame(top);
        self.label(top + 10.0, &format!("{:.0}", most * per_second));
        self.label(top + HIGH / 2.0, "ops a second");
        self.label(top + HIGH, "0");
        let share = |count: u64| Some(count as f64 / most);
        let acknowledged: Vec<_> =
            columns.iter().map(|column| share(column.acknowledged)).collect();
        self.curve(top, "#226622", &acknowledged);
        let unknown: Vec<_> = columns
            .iter()
            .map(|column| share(column.unknown).filter(|_| column.unknown > 0))
            .collect();
        self.curve(top, "#bb2222", &unknown);
        for (at, column) in (0_u64..).zip(columns).filter(|(_, column)| column.unknown > 0) {
            let x = self.x(self.began + at * self.step());
            let y = top + HIGH * (1.0 - (column.unknown as f64 / most).min(1.0));
            let _ = writeln!(
                self.svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"#bb2222\"/>"
            );
        }
    }

    fn latencies(&mut self, columns: &[Column], top: f64) {
        self.frame(top);
        self.label(top + HIGH / 2.0, "latency");
        for decade in 0..=4_u32 {
            let y = top + HIGH * (1.0 - f64::from(decade) / DECADES);
            let _ = writeln!(
                self.svg,
                "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#777\">{} ms</text>",
                LEFT + WIDE,
                LEFT - 4.0,
                y + 3.0,
                10_u64.pow(decade)
            );
        }
        for (per_mille, color) in [(500, "#3366aa"), (990, "#cc7722"), (1_000, "#aaaaaa")] {
            let share = |column: &Column| {
                let last = column.latencies.len().checked_sub(1)?;
                let at = last * per_mille / 1_000;
                let millis = column.latencies.get(at).copied()?;
                Some((millis.max(1) as f64).log10() / DECADES)
            };
            let values: Vec<_> = columns.iter().map(share).collect();
            self.curve(top, color, &values);
        }
    }

    fn leaders(&mut self, leaders: &[(u64, u64)], top: f64) {
        self.label(top + 13.0, "leader");
        let ends = leaders.iter().skip(1).map(|(at, _)| *at).chain([self.ended]);
        for ((at, id), end) in leaders.iter().zip(ends) {
            let (from, to) = (self.x(*at), self.x(end));
            let color = LEADERS[usize::try_from(*id).unwrap_or(0) % LEADERS.len()];
            let _ = writeln!(
                self.svg,
                "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{ROW}\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\" fill=\"#fff\">n{id}</text>",
                (to - from).max(1.0),
                from + 2.0,
                top + 13.0
            );
        }
    }

    /// Faults as bands behind everything.
    fn bands(&mut self, lanes: &[Vec<&Span>], bottom: f64) {
        for span in lanes.iter().flatten() {
            let (from, to) = (self.x(span.start), self.x(span.end));
            let _ = writeln!(
                self.svg,
                "<rect x=\"{from:.1}\" y=\"{GAP}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{}\" opacity=\"0.10\"/>",
                (to - from).max(1.0),
                bottom - GAP,
                color_of(span.name)
            );
        }
    }

    fn faults(&mut self, lanes: &[Vec<&Span>], top: f64) {
        self.label(top + 13.0, "faults");
        for (at, lane) in lanes.iter().enumerate() {
            let y = top + ROW * at as f64;
            for span in lane {
                let (from, to) = (self.x(span.start), self.x(span.end));
                let wide = (to - from).max(2.0);
                // A name that has no room is in the title alone.
                let shown = if wide > 40.0 { span.name } else { "" };
                let _ = writeln!(
                    self.svg,
                    "<g><title>{}: {}</title><rect x=\"{from:.1}\" y=\"{y:.0}\" width=\"{wide:.1}\" height=\"{:.0}\" \
                     fill=\"{}\" opacity=\"0.75\"/><text x=\"{:.1}\" y=\"{:.0}\" fill=\"#fff\">{shown}</text></g>",
                    span.name,
                    escaped(&span.target),
                    ROW - 2.0,
                    color_of(span.name),
                    from + 2.0,
                    y + 12.0
                );
            }
        }
    }

    fn axis(&mut self, y: f64) {
        let seconds = (self.ended - self.began) / SECOND;
        let step = (seconds / 12).max(1);
        for second in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
            let x = self.x(self.began + second * SECOND);
            let _ = writeln!(
                self.svg,
                "<text x=\"{x:.1}\" y=\"{y:.0}\" text-anchor=\"middle\" fill=\"#333\">{second} s</text>"
            );
        }
        let _ = writeln!(
            self.svg,
            "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#333\">green: acknowledged; red: unknown; blue, orange, grey: median, \
             99 of 100, longest</text>",
            y + 16.0
        );
    }
}

fn color_of(name: &str) -> &'static str {
    match name {
        "partition" | "one-way" | "loss" => "#885599",
        "clock" | "clocks" => "#557788",
        "full" | "corrupt" => "#996633",
        "members" | "transfer" | "snapshot" | "rolling" | "upgrade" => "#448844",
        _ => "#bb3333",
    }
}

/// Text as XML and HTML have it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_in_the_picture() {
        let point = |at: u64, outcome| Point {
            start: at * SECOND,
            end: at * SECOND + 20 * MILLI,
            outcome,
            writes: true,
            sealed: true,
        };
        let span = |name, start: u64, end: u64| Span {
            name,
            target: "n1 <all>".to_owned(),
            start: start * SECOND,
            end: end * SECOND,
            hit: start * SECOND,
            leader: true,
            undone: false,
        };
        let seen = Seen {
            points: vec![
                point(1, Outcome::Ok),
                point(2, Outcome::Unknown),
                point(3, Outcome::Fail),
            ],
            spans: vec![span("kill", 1, 4), span("loss", 2, 3), span("kill", 5, 6)],
            leaders: vec![(0, 1), (2 * SECOND, 3)],
            ..Seen::default()
        };
        assert_eq!(lanes(&seen.spans).len(), 2, "what overlaps has rows of its own");
        let svg = draw("a & b", (0, 8 * SECOND), &seen);
        for part in ["a &amp; b", "n1 &lt;all&gt;", ">n3<", ">kill<", "#bb2222", "8 s"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
