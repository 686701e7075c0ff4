//! A history as Jepsen's tools read it: a map a line with `:index :type :process :f :value :time`, in the order of time.
//!
//! A process whose operation has an unknown outcome, or no end, never acts again in Jepsen's histories: what its client
//! does afterwards is written as that of another process.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::history::{History, Operation};
use crate::line::Outcome;

/// Far above the number of clients.
const NEXT_LIFE: u64 = 1_000_000;

enum What<'h> {
    Invoke(&'h Operation),
    Complete(&'h Operation),
    Fault(usize, bool),
}

/// Writes a history.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let mut events: Vec<(u64, u8, What<'_>)> = Vec::with_capacity(history.ops.len() * 2);
    for op in &history.ops {
        events.push((op.start, 1, What::Invoke(op)));
        if let Some(end) = op.end {
            events.push((end, u8::from(end == op.start) * 2, What::Complete(op)));
        }
    }
    for (at, fault) in history.faults.iter().enumerate() {
        events.push((fault.start, 3, What::Fault(at, true)));
        events.push((fault.end, 3, What::Fault(at, false)));
    }
    // At one moment what ends comes before what begins, as it did for a process that does one after the other.
    events.sort_by_key(|(at, rank, _)| (*at, *rank));
    let mut lives: HashMap<u64, u64> = HashMap::new();
    for (index, (time, _, what)) in events.iter().enumerate() {
        match what {
            What::Invoke(op) => {
                line(history, out, (index, *time), "invoke", process(&lives, op), op)?;
                if op.end.is_none() {
                    *lives.entry(op.process).or_default() += 1;
                }
            }
            What::Complete(op) => {
                let kind = match op.outcome {
                    Outcome::Ok => "ok",
                    Outcome::Fail => "fail",
                    Outcome::Unknown => "info",
                };
                line(history, out, (index, *time), kind, process(&lives, op), op)?;
                if op.outcome == Outcome::Unknown {
                    *lives.entry(op.process).or_default() += 1;
                }
            }
            What::Fault(at, begins) => {
                let fault = &history.faults[*at];
                let begins = if *begins { "start" } else { "stop" };
                writeln!(
                    out,
                    "{{:index {index}, :type :info, :process :nemesis, :f :{begins}-{}, :value {}, :time {time}}}",
                    keyword(&fault.name),
                    quoted(&fault.target)
                )?;
            }
        }
    }
    Ok(())
}

fn process(lives: &HashMap<u64, u64>, op: &Operation) -> u64 {
    let lives = lives.get(&op.process).copied().unwrap_or(0);
    op.process.saturating_add(NEXT_LIFE.saturating_mul(lives))
}

fn line(
    history: &History,
    out: &mut impl Write,
    (index, time): (usize, u64),
    kind: &str,
    process: u64,
    op: &Operation,
) -> io::Result<()> {
    let f = keyword(history.text(op.f));
    let outlet = quoted(history.text(op.outlet.1));
    let key = op.key.map_or("nil".to_owned(), |key| quoted(history.text(key)));
    let shown = |number: Option<u64>| number.map_or("nil".to_owned(), |number| number.to_string());
    // What was answered is not known when it is asked.
    let answer = match kind {
        "invoke" => String::new(),
        _ => format!(" {} {}", shown(op.position), shown(op.number)),
    };
    write!(
        out,
        "{{:index {index}, :type :{kind}, :process {process}, :f :{f}, :value [{outlet} {key}{answer}], :time {time}"
    )?;
    if kind != "invoke"
        && let Some(error) = op.error
    {
        write!(out, ", :error {}", quoted(history.text(error)))?;
    }
    writeln!(out, "}}")
}

/// A name as a keyword may be written, which is never empty.
fn keyword(name: &str) -> String {
    if name.is_empty() {
        return "unnamed".to_owned();
    }
    let plain = |char: char| if char.is_ascii_alphanumeric() { char } else { '-' };
    name.chars().map(plain).collect()
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            char if char.is_control() => quoted.push(' '),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
