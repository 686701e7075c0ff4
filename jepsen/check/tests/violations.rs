//! Every check has been seen to find what it is for, and to be silent on what is sound.
// long file: one table of histories, each with what is wrong with it

use std::io::Cursor;

use fiscus_check::line::{
    Checkpoint, Digest, End, FORMAT, Fault, Leaf, Line, Numbered, Op, Outcome, Record, Run, Source,
    State, Sums, Totals,
};
use fiscus_check::{Finding, History, Kind, check, edn, exit_code};
use sha2::{Digest as _, Sha256};

const OUTLET: &str = "outlet-gombe";
const SERIES: &str = "KIN-GOMBE";
const WALL_MS: u64 = 1_800_000_000_000;

fn digest(text: &str) -> Digest {
    Digest(Sha256::digest(text).into())
}

/// A history that is being put together: everything follows from what is done one after the other.
struct World {
    lines: Vec<Line<'static>>,
    leaves: Vec<Digest>,
    head: Digest,
    position: u64,
    last: u64,
    clock: u64,
    sums: Sums<'static>,
    since: Sums<'static>,
}

impl World {
    fn new() -> Self {
        let run = Run { format: FORMAT, name: "test".into(), wall_ms: WALL_MS, clock_error_ms: 5 };
        Self {
            lines: vec![Line::Run(run)],
            leaves: Vec::new(),
            head: Digest::default(),
            position: 0,
            last: 0,
            clock: 1_000_000_000,
            sums: Sums::default(),
            since: Sums::default(),
        }
    }

    fn op(&mut self, f: &'static str, key: Option<&str>) -> Op<'static> {
        let start = self.clock;
        self.clock += 10_000_000;
        Op {
            end: Some(start + 9_000_000),
            key: key.map(|key| key.to_owned().into()),
            outcome: Outcome::Ok,
            ..Op::begun(1, f, 1, OUTLET, start)
        }
    }

    fn record(&mut self, kind: &'static str, op: Option<&Op<'static>>) -> Record<'static> {
        self.position += 1;
        let entry = digest(&format!("entry {}", self.position));
        let record = Record {
            group: 1,
            leaf: self.leaves.len() as u64,
            outlet: OUTLET.into(),
            position: self.position,
            kind: kind.into(),
            time_ms: WALL_MS + self.clock / 1_000_000 - 5,
            prev: self.head,
            entry,
            bytes: digest(&format!("bytes {}", self.position)),
            f: op.map(|op| op.f.clone()),
            key: op.and_then(|op| op.key.clone()),
            payload: op.and_then(|op| op.payload),
            numbered: None,
            lent: None,
            missing: Vec::new(),
            skipped: Vec::new(),
            closes: None,
        };
        self.leaves.push(entry);
        self.head = entry;
        record
    }

    fn count(&mut self, total: i64) {
        for sums in [&mut self.sums, &mut self.since] {
            sums.invoices += 1;
            *sums.amounts.entry("CDF".into()).or_default() += i128::from(total);
        }
    }

    /// A sale, or a credit note of a number.
    fn seal(&mut self, key: &str, total: i64, credits: Option<u64>) {
        let mut op = self.op("seal", Some(key));
        op.payload = Some(digest(&format!("payload of {key}")));
        let mut record =
            self.record(if credits.is_some() { "credit_note" } else { "sale" }, Some(&op));
        self.last += 1;
        (op.number, op.position) = (Some(self.last), Some(self.position));
        (op.series, op.bytes) = (Some(SERIES.into()), Some(record.bytes));
        record.numbered = Some(numbered(self.last, Source::Online, total, credits));
        self.count(total);
        self.lines.push(Line::Op(op));
        self.lines.push(Line::Record(record));
    }

    fn read(&mut self) {
        let mut op = self.op("read", None);
        (op.number, op.position) = (Some(self.last), Some(self.position));
        self.lines.push(Line::Op(op));
    }

    /// Lends three numbers; one is sealed offline, one is missing in the end.
    fn lend(&mut self) {
        let mut op = self.op("borrow", Some("loan"));
        let mut record = self.record("block_grant", Some(&op));
        (op.position, op.bytes) = (Some(self.position), Some(record.bytes));
        let first = self.last + 1;
        record.lent = Some((first, first + 2));
        self.last += 3;
        self.lines.push(Line::Op(op));
        self.lines.push(Line::Record(record));
        let mut offline = self.record("offline_sale", None);
        offline.numbered = Some(numbered(first + 1, Source::Offline, 300, None));
        self.count(300);
        self.lines.push(Line::Record(offline));
        let mut closed = self.record("numbers_missing", None);
        closed.missing = vec![(first, first)];
        self.lines.push(Line::Record(closed));
    }

    fn close_day(&mut self) {
        let mut op = self.op("close_day", Some("day"));
        let mut record = self.record("z_closure", Some(&op));
        (op.position, op.bytes) = (Some(self.position), Some(record.bytes));
        record.closes = Some(std::mem::take(&mut self.since));
        self.lines.push(Line::Op(op));
        self.lines.push(Line::Record(record));
    }

    fn checkpoint(&mut self) {
        let root = root(&self.leaves);
        let size = self.leaves.len() as u64;
        let checkpoint = Checkpoint { group: 1, size, root, source: "n1".into() };
        self.lines.push(Line::Checkpoint(checkpoint));
    }

    fn finish(mut self) -> Vec<Line<'static>> {
        let heads = digest("heads");
        let leaf = self.leaves.len() as u64;
        self.lines.push(Line::Leaf(Leaf { group: 1, leaf, data: heads }));
        self.leaves.push(heads);
        self.checkpoint();
        let totals = Totals {
            group: 1,
            outlet: OUTLET.into(),
            position: self.position,
            last: self.last,
            perpetual: self.sums.clone(),
        };
        self.lines.push(Line::Totals(totals));
        for node in [1, 2] {
            let name = format!("n{node}");
            let hash = digest("state");
            self.lines.push(Line::State(State { group: 1, node: name.into(), index: 9, hash }));
            let leaves = self.leaves.len() as u64;
            self.lines.push(Line::End(End { group: 1, node, leaves, applied: 12 }));
        }
        self.lines
    }
}

fn numbered(number: u64, source: Source, total: i64, credits: Option<u64>) -> Numbered<'static> {
    let (series, currency) = (SERIES.into(), "CDF".into());
    Numbered { series, number, source, currency, total, credits }
}

/// The definition of RFC 6962.
fn root(leaves: &[Digest]) -> Digest {
    let hash = |prefix: u8, parts: &[&[u8]]| {
        let mut hasher = Sha256::new_with_prefix([prefix]);
        parts.iter().for_each(|part| hasher.update(part));
        Digest(hasher.finalize().into())
    };
    match leaves {
        [one] => hash(0, &[&one.0]),
        many => {
            let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
            hash(1, &[&root(left).0, &root(right).0])
        }
    }
}

/// Everything that a sound history may have.
fn sound() -> Vec<Line<'static>> {
    let mut world = World::new();
    let mut unanswered = world.op("seal", Some("lost on the way"));
    (unanswered.outcome, unanswered.end) = (Outcome::Unknown, None);
    unanswered.payload = Some(digest("nobody knows"));
    world.lines.push(Line::Op(unanswered));
    world.seal("a", 1_000, None);
    world.checkpoint();
    world.read();
    world.seal("b", 500, None);
    // The same again: the same answer.
    let mut again = op_of(&world.lines, "b").clone();
    (again.start, again.end) = (world.clock, Some(world.clock + 1_000));
    world.lines.push(Line::Op(again.clone()));
    // Another payload under the same key: refused.
    (again.outcome, again.payload) = (Outcome::Fail, Some(digest("other")));
    (again.number, again.position, again.bytes, again.series) = (None, None, None, None);
    world.lines.push(Line::Op(again));
    world.lend();
    world.close_day();
    world.lines.push(Line::Fault(Fault {
        name: "kill".into(),
        target: "n1".into(),
        start: world.clock,
        end: world.clock + 5,
    }));
    world.seal("c", -400, Some(1));
    world.lines.push(Line::Healed { at: world.clock });
    world.seal("d", 700, None);
    world.read();
    world.finish()
}

fn op_of<'l>(lines: &'l [Line<'static>], key: &str) -> &'l Op<'static> {
    let with_key = |line: &'l Line<'static>| match line {
        Line::Op(op) if op.key.as_deref() == Some(key) => Some(op),
        _ => None,
    };
    lines.iter().find_map(with_key).expect("there is such an operation")
}

fn judged(lines: &[Line<'_>]) -> Vec<Finding> {
    check(&History::read(Cursor::new(text(lines))).expect("it can be read"))
}

fn text(lines: &[Line<'_>]) -> String {
    lines.iter().map(|line| serde_json::to_string(line).expect("JSON") + "\n").collect()
}

/// The kinds that are found once every line was changed, or left out.
fn spoilt(mut change: impl FnMut(&mut Line<'static>) -> bool) -> Vec<Kind> {
    let mut lines = sound();
    lines.retain_mut(|line| change(line));
    let mut kinds: Vec<Kind> = judged(&lines).into_iter().map(|finding| finding.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Changes the operations of a key.
fn with_op(key: &'static str, mut change: impl FnMut(&mut Op<'static>)) -> Vec<Kind> {
    spoilt(|line| {
        match line {
            Line::Op(op) if op.key.as_deref() == Some(key) && op.outcome == Outcome::Ok => {
                change(op);
            }
            _ => {}
        }
        true
    })
}

/// Changes the record of a key.
fn with_record(key: &'static str, mut change: impl FnMut(&mut Record<'static>)) -> Vec<Kind> {
    spoilt(|line| {
        match line {
            Line::Record(record) if record.key.as_deref() == Some(key) => change(record),
            _ => {}
        }
        true
    })
}

#[test]
fn what_is_sound_is_found_sound() {
    assert_eq!(judged(&sound()), []);
}

#[test]
fn numbers_that_are_missing_or_given_twice_are_found() {
    let renumbered = |to: u64| {
        spoilt(move |line| {
            match line {
                Line::Record(record) if record.key.as_deref() == Some("b") => {
                    record.numbered.as_mut().unwrap().number = to;
                }
                Line::Op(op) if op.key.as_deref() == Some("b") && op.outcome == Outcome::Ok => {
                    op.number = Some(to);
                }
                _ => {}
            }
            true
        })
    };
    assert!(renumbered(1).contains(&Kind::Numbers));
    assert!(renumbered(3).contains(&Kind::Numbers));
    // A number that was not lent is sealed offline, and one that is back is said to be missing.
    for kind in ["offline_sale", "numbers_missing"] {
        let found = spoilt(|line| {
            match line {
                Line::Record(record) if record.kind == kind => {
                    record.missing.iter_mut().for_each(|range| *range = (4, 4));
                    if let Some(numbered) = &mut record.numbered {
                        numbered.number = 1;
                    }
                }
                _ => {}
            }
            true
        });
        assert_eq!(found, [Kind::Numbers], "{kind}");
    }
    let lent_twice = with_record("loan", |record| record.lent = Some((2, 5)));
    assert_eq!(lent_twice, [Kind::Numbers]);
}

/// A world whose lent number 1 was said to be missing, and is sealed late so many times.
fn delivered_late(times: usize) -> Vec<Line<'static>> {
    let mut world = World::new();
    world.lend();
    for _ in 0..times {
        let mut late = world.record("offline_sale", None);
        late.numbered = Some(numbered(1, Source::Offline, 200, None));
        world.count(200);
        world.lines.push(Line::Record(late));
    }
    world.lines.push(Line::Healed { at: world.clock });
    world.finish()
}

#[test]
fn a_missing_number_may_be_sealed_late_and_only_once() {
    assert_eq!(judged(&delivered_late(0)), []);
    assert_eq!(judged(&delivered_late(1)), []);
    let twice = judged(&delivered_late(2));
    assert_eq!(exit_code(&twice), Kind::Numbers.exit_code(), "{twice:?}");
}

#[test]
fn an_acknowledged_seal_that_is_not_there_is_lost() {
    // The last one of the journal goes, and what counts it, too.
    let found =
        spoilt(|line| !matches!(line, Line::Record(record) if record.key.as_deref() == Some("d")));
    assert!(found.contains(&Kind::Lost), "{found:?}");
    // Somebody is answered for what never came to the journal.
    let mut lines = sound();
    let mut op = op_of(&lines, "a").clone();
    op.key = Some("never".into());
    lines.push(Line::Op(op));
    let found = judged(&lines);
    assert!(found.iter().all(|finding| finding.kind == Kind::Lost), "{found:?}");
    assert_eq!(exit_code(&found), 11);
}

/// A seal that was made offline, told to wait, and then told its place; what is changed of the last two.
fn reconciled(change: impl FnOnce(&mut Op<'static>, &mut Op<'static>)) -> Vec<Finding> {
    let mut world = World::new();
    world.lend();
    let mut waits = world.op("reconcile", Some("cred 1"));
    let mut answered = world.op("reconcile", Some("cred 1"));
    let mut record = world.record("offline_sale", Some(&answered));
    record.numbered = Some(numbered(1, Source::Offline, 200, None));
    world.count(200);
    (answered.number, answered.position) = (Some(1), Some(world.position));
    (answered.series, answered.bytes) = (Some(SERIES.into()), Some(record.bytes));
    change(&mut waits, &mut answered);
    world.lines.extend([Line::Op(waits), Line::Op(answered), Line::Record(record)]);
    world.lines.push(Line::Healed { at: world.clock });
    judged(&world.finish())
}

#[test]
fn an_offline_seal_is_held_to_its_answer_and_not_to_the_word_that_it_waits() {
    assert_eq!(reconciled(|_, _| {}), []);
    let kinds = |found: Vec<Finding>| exit_code(&found);
    // One that waits may never become a record; one that was answered must.
    let waiting = reconciled(|waits, _| waits.key = Some("cred 2".into()));
    assert_eq!(kinds(waiting), 0);
    let lost = reconciled(|waits, answered| {
        *waits = answered.clone();
        waits.key = Some("cred 2".into());
    });
    assert_eq!(kinds(lost), Kind::Lost.exit_code());
    let altered = reconciled(|_, answered| answered.number = Some(2));
    assert_eq!(kinds(altered), Kind::Altered.exit_code());
    // Of a sale, nothing less than its number is an answer.
    let bare = with_op("d", |op| (op.number, op.position, op.bytes) = (None, None, None));
    assert_eq!(bare, [Kind::Altered]);
}

#[test]
fn a_submission_that_became_two_records_is_doubled() {
    let found = with_record("c", |record| record.key = Some("b".into()));
    assert!(found.contains(&Kind::Doubled), "{found:?}");
}

#[test]
fn an_answer_that_differs_is_found() {
    let mut first = true;
    let retry = with_op("b", |op| {
        if !std::mem::take(&mut first) {
            op.bytes = Some(digest("other bytes"));
        }
    });
    assert_eq!(retry, [Kind::Altered]);
    // A later read sees less than this answer: that is found, too.
    assert_eq!(with_op("a", |op| op.number = Some(2)), [Kind::Altered, Kind::Reads]);
    assert_eq!(with_op("a", |op| op.payload = Some(digest("other"))), [Kind::Altered]);
    assert_eq!(with_op("loan", |op| op.position = Some(9)), [Kind::Altered, Kind::Reads]);
}

#[test]
fn numbers_against_the_order_of_time_are_found() {
    // The first one is asked for again and again from long after the second was acknowledged.
    let found = with_op("a", |op| (op.start, op.end) = (1_190_000_000, Some(1_200_000_000)));
    assert!(found.contains(&Kind::Order), "{found:?}");
    // An attempt whose answer never came had begun before: nothing is wrong.
    let mut lines = sound();
    let mut early = op_of(&lines, "a").clone();
    (early.outcome, early.end, early.number, early.position) = (Outcome::Unknown, None, None, None);
    for line in &mut lines {
        match line {
            Line::Op(op) if op.key.as_deref() == Some("a") => {
                (op.start, op.end) = (1_190_000_000, Some(1_200_000_000));
            }
            _ => {}
        }
    }
    lines.push(Line::Op(early));
    assert_eq!(judged(&lines), []);
}

#[test]
fn what_an_attempt_that_surely_failed_has_made_is_out_of_order() {
    let mut lines = sound();
    // It is answered long after the second one was, with the lower number; only a failed attempt had begun before.
    let mut failed = op_of(&lines, "a").clone();
    (failed.outcome, failed.bytes, failed.series) = (Outcome::Fail, None, None);
    (failed.number, failed.position) = (None, None);
    for line in &mut lines {
        match line {
            Line::Op(op) if op.key.as_deref() == Some("a") => {
                (op.start, op.end) = (1_190_000_000, Some(1_200_000_000));
            }
            _ => {}
        }
    }
    lines.push(Line::Op(failed));
    let found = judged(&lines);
    assert!(found.iter().any(|finding| finding.kind == Kind::Order), "{found:?}");
    assert!(found.iter().any(|finding| finding.kind == Kind::Dated), "{found:?}");
}

#[test]
fn a_stale_read_and_a_read_of_the_future_are_found() {
    let reads = |change: fn(&mut Op<'static>)| {
        spoilt(|line| {
            match line {
                Line::Op(op) if op.f == "read" => change(op),
                _ => {}
            }
            true
        })
    };
    assert_eq!(reads(|op| op.position = Some(0)), [Kind::Reads]);
    assert_eq!(reads(|op| op.number = op.number.map(|number| number - 1)), [Kind::Reads]);
    assert_eq!(reads(|op| op.position = Some(8)), [Kind::Reads]);
}

#[test]
fn two_states_of_one_log_are_found() {
    let mut first = true;
    let found = spoilt(|line| {
        match line {
            Line::Checkpoint(checkpoint) if std::mem::take(&mut first) => {
                checkpoint.root = digest("another log");
            }
            _ => {}
        }
        true
    });
    assert_eq!(found, [Kind::Log]);
    let beyond = spoilt(|line| {
        if let Line::Checkpoint(checkpoint) = line {
            checkpoint.size += 100;
        }
        true
    });
    assert_eq!(beyond, [Kind::Log]);
}

#[test]
fn replicas_in_different_states_are_found() {
    let found = spoilt(|line| {
        match line {
            Line::State(state) if state.node == "n2" => state.hash = digest("another state"),
            _ => {}
        }
        true
    });
    assert_eq!(found, [Kind::States]);
}

#[test]
fn totals_that_are_no_sums_and_credits_beyond_the_original_are_found() {
    let found = spoilt(|line| {
        if let Line::Totals(totals) = line {
            totals.perpetual.invoices += 1;
        }
        true
    });
    assert_eq!(found, [Kind::Totals]);
    let closure = with_record("day", |record| {
        let sums = record.closes.as_mut().unwrap();
        *sums.amounts.get_mut("CDF").unwrap() += 1;
    });
    assert_eq!(closure, [Kind::Totals]);
    let credit = with_record("c", |record| record.numbered.as_mut().unwrap().total = -1_001);
    assert_eq!(credit, [Kind::Totals]);
}

#[test]
fn what_has_not_come_together_is_found() {
    let behind = spoilt(|line| {
        match line {
            Line::End(end) if end.node == 2 => end.leaves -= 1,
            _ => {}
        }
        true
    });
    assert_eq!(behind, [Kind::Convergence]);
    let unanswered = with_op("d", |op| {
        op.outcome = Outcome::Unknown;
        (op.number, op.position, op.bytes) = (None, None, None);
    });
    assert_eq!(unanswered, [Kind::Convergence]);
}

#[test]
fn an_unanswered_attempt_is_no_finding_once_a_later_one_is_answered() {
    let with_attempt = |key: bool, later: bool| {
        let mut lines = sound();
        let mut op = op_of(&lines, "d").clone();
        let end = op.end.unwrap();
        (op.outcome, op.end) = (Outcome::Unknown, Some(if later { end + 5 } else { end - 5 }));
        (op.number, op.position, op.bytes, op.series) = (None, None, None, None);
        op.key = op.key.filter(|_| key);
        lines.push(Line::Op(op));
        exit_code(&judged(&lines))
    };
    assert_eq!(with_attempt(true, false), 0);
    assert_eq!(with_attempt(true, true), Kind::Convergence.exit_code());
    assert_eq!(with_attempt(false, false), Kind::Convergence.exit_code());
}

#[test]
fn many_findings_of_one_kind_hide_no_other() {
    let mut lines = sound();
    let mut op = op_of(&lines, "a").clone();
    for at in 0..12_000 {
        op.key = Some(format!("never {at}").into());
        lines.push(Line::Op(op.clone()));
    }
    let lost = judged(&lines);
    assert_eq!(exit_code(&lost), Kind::Lost.exit_code());
    assert_eq!((lost.len(), &*lost[1_000].detail), (1_001, "and 11000 more of this kind"));
    (op.f, op.key, op.outcome) = ("audit".into(), None, Outcome::Fail);
    lines.push(Line::Op(op));
    let both = judged(&lines);
    assert!(both.iter().any(|finding| finding.kind == Kind::Proofs));
    assert_eq!(exit_code(&both), 1);
}

#[test]
fn a_chain_with_a_gap_or_without_links_or_against_time_is_found() {
    assert_eq!(with_record("b", |record| record.prev = digest("other")), [Kind::Chain]);
    assert!(with_record("c", |record| record.position += 1).contains(&Kind::Chain));
    let back = spoilt(|line| {
        match line {
            Line::Record(record) if record.kind == "numbers_missing" => record.time_ms -= 100,
            _ => {}
        }
        true
    });
    assert_eq!(back, [Kind::Chain]);
}

#[test]
fn what_nobody_submitted_and_what_was_refused_is_found() {
    let nobody = spoilt(|line| !matches!(line, Line::Op(op) if op.key.as_deref() == Some("a")));
    assert_eq!(nobody, [Kind::Phantom]);
    let refused = with_op("d", |op| {
        op.outcome = Outcome::Fail;
        (op.number, op.position, op.bytes) = (None, None, None);
    });
    assert_eq!(refused, [Kind::Phantom]);
}

#[test]
fn a_record_dated_outside_of_its_submission_is_found_unless_most_clocks_were_wrong() {
    let late = |line: &mut Line<'static>| {
        match line {
            Line::Record(record) if record.key.as_deref() == Some("d") => record.time_ms += 60_000,
            _ => {}
        }
        true
    };
    assert_eq!(spoilt(late), [Kind::Dated]);
    let mut lines = sound();
    lines.retain_mut(late);
    lines.push(Line::Caveat { majority_of_clocks: true });
    assert_eq!(judged(&lines), []);
}

#[test]
fn a_proof_that_does_not_verify_is_found() {
    let mut lines = sound();
    let mut audit = op_of(&lines, "a").clone();
    (audit.f, audit.key, audit.outcome) = ("audit".into(), None, Outcome::Fail);
    lines.push(Line::Op(audit));
    let found = judged(&lines);
    assert_eq!(exit_code(&found), 23, "{found:?}");
}

#[test]
fn what_is_no_history_is_refused() {
    let run = text(&sound()[..1]);
    for bad in ["", "{}", "{\"op\":{}}", "{\"healed\":{\"at\":1}}", &format!("{run}{run}")] {
        assert!(History::read(Cursor::new(bad)).is_err(), "{bad}");
    }
    let long = format!("{run}{{\"healed\":{{\"at\":1}}}}{}", " ".repeat(2 << 20));
    assert!(History::read(Cursor::new(long)).is_err());
    let backwards = spoilt_text("\"end\":1009000000", "\"end\":1");
    assert!(History::read(Cursor::new(backwards)).is_err());
}

fn spoilt_text(from: &str, to: &str) -> String {
    let whole = text(&sound());
    assert!(whole.contains("\"start\":1010000000"), "{whole}");
    whole.replacen("\"end\":1019000000", "\"end\":1", 1).replacen(from, to, 1)
}

#[test]
fn jepsens_tools_can_read_it() {
    let history = History::read(Cursor::new(text(&sound()))).unwrap();
    let mut out = Vec::new();
    edn::write(&history, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let first = out.lines().next().unwrap();
    assert_eq!(
        first,
        "{:index 0, :type :invoke, :process 1, :f :seal, :value [\"outlet-gombe\" \"lost on the way\"], \
         :time 1000000000}"
    );
    assert!(
        out.contains(":type :ok, :process 1000001, :f :seal, :value [\"outlet-gombe\" \"a\" 1 1]"),
        "the first one's process is busy for ever: {out}"
    );
    assert!(out.contains(":process :nemesis, :f :start-kill, :value \"n1\""), "{out}");
    // Every operation begins, and all but one end.
    let of = |kind: &str| out.lines().filter(|line| line.contains(kind)).count();
    assert_eq!(of(":type :invoke"), history.operations());
    assert_eq!(of(":type :ok") + of(":type :fail"), history.operations() - 1);
}

#[test]
fn an_operation_without_a_name_is_written_with_one() {
    let mut lines = sound();
    let mut op = op_of(&lines, "a").clone();
    (op.f, op.key) = ("".into(), None);
    lines.push(Line::Op(op));
    let history = History::read(Cursor::new(text(&lines))).unwrap();
    let mut out = Vec::new();
    edn::write(&history, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains(":f :unnamed,"));
}

#[test]
fn what_a_history_lacks_is_told() {
    let lacks = |lines: &[Line<'_>]| History::read(Cursor::new(text(lines))).unwrap().lacks().len();
    let without = |line: fn(&Line<'static>) -> bool| {
        let mut lines = sound();
        lines.retain(|it| !line(it));
        lacks(&lines)
    };
    assert_eq!(lacks(&sound()), 0);
    assert_eq!(without(|line| matches!(line, Line::Healed { .. })), 1);
    assert_eq!(without(|line| matches!(line, Line::Op(_))), 1);
    assert_eq!(without(|line| matches!(line, Line::End(_))), 1);
    assert_eq!(lacks(&sound()[..1]), 2);
}

/// The program: exit codes and JSON.
#[test]
fn the_program_says_by_its_exit_code_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let run_with = |lines: &[Line<'_>], more: &[&str]| {
        std::fs::write(&path, text(lines)).unwrap();
        let edn = dir.path().join("history.edn");
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_fiscus-check"));
        program.arg(&path).arg("--json").arg("--edn").arg(&edn).args(more);
        let out = program.output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert!(edn.metadata().unwrap().len() > 100);
        (out.status.code().unwrap(), said)
    };
    let run = |lines: &[Line<'_>]| run_with(lines, &[]);
    let (code, said) = run(&sound());
    assert_eq!((code, &said["whole"]), (0, &true.into()));
    assert_eq!((code, &said["ok"], &said["records"]), (0, &true.into(), &8.into()));
    let mut lines = sound();
    let mut op = op_of(&lines, "a").clone();
    op.key = Some("never".into());
    lines.push(Line::Op(op));
    let (code, said) = run(&lines);
    assert_eq!((code, &said["findings"][0]["kind"]), (11, &"lost".into()));
    // A part of a history proves little: that must be asked for.
    lines.retain(|line| !matches!(line, Line::Healed { .. }));
    let (code, said) = run(&lines);
    assert_eq!((code, &said["whole"]), (11, &false.into()));
    let mut part = sound();
    part.retain(|line| !matches!(line, Line::Healed { .. }));
    let (code, said) = run(&part);
    assert_eq!((code, &said["whole"], &said["ok"]), (2, &false.into(), &false.into()));
    let (code, said) = run_with(&part, &["--partial"]);
    assert_eq!((code, &said["whole"], &said["ok"]), (0, &false.into(), &true.into()));
}
