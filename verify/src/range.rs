//! That an outlet issued these records between two states of its group's log, no more and no fewer; or that there
//! is no such outlet.
//!
//! ```text
//! start: position p, head h ──► record p+1 ──► … ──► record q      end: position q, head g
//! ```
//!
//! Both heads are under roots that are leaves of one log, so that nobody can show two of them; every record links to
//! the one before it, so the records from h to g are forced.

use std::io::{BufRead, Read as _};
use std::ops::Range;

use crate::bundle::{BUNDLE_BYTES_MAX, Claim, HeadsBundle, OutletBundle};
use crate::export::JournalSummary;
use crate::failure::{Failure, Kind};
use crate::hash::NOTHING;
use crate::heads::{self, Head};
use crate::merkle::check_inclusion;
use crate::note::{self, Checkpoint};
use crate::outlet::Outlet;
use crate::policy::Policy;
use crate::qr::split_number;
use crate::record::Checker;
use crate::stream::VerifyError;

const RECORD_BYTES_MAX: usize = 8 << 20;
const RECORDS_AT_ONCE: usize = 128;

/// What the auditor asked about; the bundle must cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Positions in the journal.
    Positions {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Fiscal numbers of one series.
    Numbers {
        /// What stands before the sequence.
        series: String,
        /// The first sequence.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// Whatever the bundle holds.
    Everything,
}

impl Asked {
    /// Two positions, or two numbers of one series.
    #[must_use]
    pub fn parse(from: &str, to: &str) -> Option<Self> {
        if let Some((from, to)) = from.parse().ok().zip(to.parse().ok()) {
            return (1 <= from && from <= to).then_some(Self::Positions { from, to });
        }
        let ((series, from), (other, to)) = (split_number(from)?, split_number(to)?);
        (series == other && from <= to).then(|| Self::Numbers {
            series: series.to_owned(),
            from,
            to,
        })
    }
}

/// A range, or an absence, that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSummary {
    /// The records of the outlet; none when it does not exist in this group.
    pub journal: Option<JournalSummary>,
    /// The outlet.
    pub outlet: String,
    /// The two leaves between which this is all that the outlet issued; the same twice when it is about absence.
    pub leaves: (u64, u64),
    /// What the proofs lead to.
    pub checkpoint: Checkpoint,
    /// Bytes read.
    pub bytes: u64,
    /// Heads and inclusion proofs followed.
    pub proofs: u64,
}

/// Checks a bundle about an outlet.
pub fn verify_range(
    mut source: impl BufRead,
    outlet: &str,
    asked: &Asked,
    policy: &Policy,
) -> Result<RangeSummary, VerifyError> {
    let mut line = Vec::new();
    read_line(&mut source, &mut line, BUNDLE_BYTES_MAX)?;
    let mut bytes = u64::try_from(line.len()).unwrap_or(0);
    let text = std::str::from_utf8(&line).map_err(|_| format("the first line is not UTF-8"))?;
    let bundle = OutletBundle::parse(text.strip_suffix('\n').unwrap_or(text))?;
    if bundle.outlet != outlet {
        return Err(
            inclusion(format!("it is about {:?}, not about {outlet:?}", bundle.outlet)).into()
        );
    }
    let checkpoint = note::open(&bundle.checkpoint, policy.trusted())?;
    if checkpoint.size != bundle.size
        || checkpoint.origin != format!("{}/g/{}", bundle.cluster, bundle.group)
    {
        return Err(format("it says of its checkpoint what that does not say").into());
    }
    let log = Log { cluster: &bundle.cluster, group: bundle.group, checkpoint: &checkpoint };
    let (start, end, records) = match &bundle.claim {
        Claim::Absence { heads } => {
            return absence(&mut source, &log, heads, outlet, asked, bytes);
        }
        Claim::Range { start, end, records } => (start.as_ref(), end, *records),
    };
    if start.is_some_and(|start| start.leaf_index >= end.leaf_index) {
        return Err(
            Failure::new(Kind::Consistency, "range", "its end is not after its start").into()
        );
    }
    let first = start.map(|start| log.head(start, outlet)).transpose()?.flatten();
    let last = log.head(end, outlet)?;
    let last = last.ok_or_else(|| inclusion("its end proves that the outlet has no record"))?;
    let (position, head) =
        first.as_ref().map_or((0, NOTHING), |head| (head.position, head.chain_head));
    let mut journal = Outlet::after(outlet, position, head, policy.reporting_currency(u64::MAX));
    if let Some(first) = &first {
        journal.numbers_go_on_from(&first.series);
    }
    // Where a record stands in the log is only said: that it stands between the heads follows from the chain.
    let leaves = start.map_or(0, |start| start.leaf_index + 1)..end.leaf_index;
    let checker = Checker::new(policy, &checkpoint, false);
    bytes += read_records(&mut source, &mut journal, records, &leaves, checker)?;
    check_end(&journal, &last)?;
    check_asked(&journal, first.as_ref(), asked)?;
    Ok(RangeSummary {
        journal: Some(JournalSummary::of(&journal)),
        outlet: outlet.to_owned(),
        leaves: (start.map_or(0, |start| start.leaf_index), end.leaf_index),
        checkpoint,
        bytes,
        proofs: if start.is_some() { 4 } else { 2 },
    })
}

fn format(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Format, "bundle", detail)
}

fn inclusion(detail: impl Into<String>) -> Failure {
    Failure::new(Kind::Inclusion, "bundle", detail)
}

/// A line with its end.
fn read_line(
    source: &mut impl BufRead,
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), VerifyError> {
    line.clear();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    source.take(limit + 1).read_until(b'\n', line)?;
    if line.len() > bytes_max {
        return Err(format("a line is longer than any of its kind").into());
    }
    Ok(())
}

/// The log that heads are proved in.
struct Log<'a> {
    cluster: &'a str,
    group: u64,
    checkpoint: &'a Checkpoint,
}

impl Log<'_> {
    fn head(&self, bundle: &HeadsBundle, outlet: &str) -> Result<Option<Head>, Failure> {
        let leaf = heads::leaf(self.cluster, self.group, bundle.leaf_index, &bundle.root);
        let Checkpoint { size, root, .. } = self.checkpoint;
        check_inclusion(&leaf, bundle.leaf_index, *size, &bundle.inclusion, root)?;
        heads::check(&bundle.proof, &bundle.root, outlet)
    }
}

fn absence(
    source: &mut impl BufRead,
    log: &Log<'_>,
    bundle: &HeadsBundle,
    outlet: &str,
    asked: &Asked,
    bytes: u64,
) -> Result<RangeSummary, VerifyError> {
    if !source.fill_buf()?.is_empty() {
        return Err(format("it goes on after its first line").into());
    }
    if *asked != Asked::Everything {
        let detail = "it proves that the outlet has no records at all";
        return Err(Failure::new(Kind::Gap, "bundle", detail).into());
    }
    if log.head(bundle, outlet)?.is_some() {
        return Err(inclusion("it shows the outlet that it says is not there").into());
    }
    Ok(RangeSummary {
        journal: None,
        outlet: outlet.to_owned(),
        leaves: (bundle.leaf_index, bundle.leaf_index),
        checkpoint: log.checkpoint.clone(),
        bytes,
        proofs: 2,
    })
}

fn read_records(
    source: &mut impl BufRead,
    journal: &mut Outlet,
    records: u64,
    leaves: &Range<u64>,
    mut checker: Checker<'_>,
) -> Result<u64, VerifyError> {
    let (mut bytes, mut left) = (0, records);
    while left > 0 {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        while left > 0 && lines.len() < RECORDS_AT_ONCE {
            let mut line = Vec::new();
            read_line(source, &mut line, RECORD_BYTES_MAX)?;
            bytes += u64::try_from(line.len()).unwrap_or(0);
            if line.pop() != Some(b'\n') {
                break;
            }
            lines.push(line);
            left -= 1;
        }
        let read = lines.len();
        for facts in checker.check(lines.iter().map(Vec::as_slice)) {
            let place = format!("after record {}", journal.position);
            let facts = facts.map_err(|failure| failure.within(&place))?;
            let leaf = facts.leaf_index;
            journal.add(facts)?;
            if !leaves.contains(&leaf) {
                let detail = "its leaf is not between those of the two heads";
                return Err(Failure::new(Kind::Inclusion, place, detail).into());
            }
        }
        if read == 0 {
            let detail = format!(
                "{left} of its {records} records are not there, or the last line has no end"
            );
            return Err(Failure::new(Kind::Gap, "bundle", detail).into());
        }
    }
    let mut rest = Vec::new();
    read_line(source, &mut rest, 1)?;
    if rest.is_empty() { Ok(bytes) } else { Err(format("it goes on after its last record").into()) }
}

/// The journal must come to where the end's head is.
fn check_end(journal: &Outlet, end: &Head) -> Result<(), Failure> {
    let wrong = |kind, detail: String| Err(Failure::new(kind, "end of the range", detail));
    if journal.position < end.position {
        let detail = format!(
            "the outlet has records up to {}, the bundle up to {}",
            end.position, journal.position
        );
        return wrong(Kind::Gap, detail);
    }
    if journal.position > end.position {
        let detail = format!(
            "the outlet has records up to {}, the bundle up to {}",
            end.position, journal.position
        );
        return wrong(Kind::Duplicate, detail);
    }
    if journal.head != end.chain_head {
        return wrong(Kind::Chain, "the last record is not the one that the log has".to_owned());
    }
    let own = journal
        .numbers
        .prefix()
        .and_then(|prefix| end.series.iter().find(|(code, _)| code == prefix));
    if let Some((own, last)) = own.zip(journal.numbers.last())
        && own.1 != last
    {
        return wrong(
            Kind::Gap,
            format!("the last number of {} is {}, that of the records {last}", own.0, own.1),
        );
    }
    let listed = |device: &str| end.series.iter().find(|(code, _)| code == device);
    let wrong_device = journal
        .devices
        .lasts()
        .find(|(device, last)| listed(device).is_none_or(|(_, listed)| listed != last));
    if let Some((device, last)) = wrong_device {
        let detail =
            format!("the last number of {device} in the records is {last}, not the proof's");
        return wrong(Kind::Gap, detail);
    }
    if let Some(untouched) = journal.untouched() {
        let stands = |(code, last): &(String, u64)| {
            end.series.iter().any(|(listed, end)| listed == code && end == last)
        };
        if let Some((code, last)) = untouched.iter().find(|one| !stands(one)) {
            let detail = format!("{code} was at {last}, and what the proof has of it is not there");
            return wrong(Kind::Gap, detail);
        }
        let known = |code: &str| {
            journal.numbers.prefix() == Some(code)
                || journal.devices.has(code)
                || untouched.iter().any(|(other, _)| other == code)
        };
        let strange = end.series.iter().find(|(code, last)| *last > 0 && !known(code));
        if let Some((code, _)) = strange {
            return wrong(Kind::Gap, format!("the proof knows {code}, which the records do not"));
        }
    }
    if journal.complete && end.series.len() != journal.devices.count() + 1 {
        return wrong(Kind::Gap, "the proof knows other series than the records".to_owned());
    }
    if journal.complete && journal.all.digest() != end.perpetual {
        return wrong(
            Kind::Totals,
            "the perpetual totals are not those of the invoices".to_owned(),
        );
    }
    Ok(())
}

fn check_asked(journal: &Outlet, start: Option<&Head>, asked: &Asked) -> Result<(), Failure> {
    let short = |detail: String| Err(Failure::new(Kind::Gap, "bundle", detail));
    match asked {
        Asked::Everything => Ok(()),
        Asked::Positions { from, to }
            if journal.first_position <= *from && *to <= journal.position =>
        {
            Ok(())
        }
        Asked::Positions { from, to } => short(format!(
            "it covers positions {} to {}, not {from} to {to}",
            journal.first_position, journal.position
        )),
        Asked::Numbers { series, from, to } => {
            let before = start.and_then(|head| head.series.iter().find(|(code, _)| code == series));
            let before = before.map_or(0, |(_, last)| *last);
            let own = journal.numbers.last().filter(|_| journal.numbers.prefix() == Some(series));
            let last = own.or_else(|| journal.devices.last(series));
            match last {
                Some(last) if before < *from && *to <= last => Ok(()),
                last => short(format!(
                    "it covers numbers {} to {last:?} of {series}, not {from} to {to}",
                    before + 1
                )),
            }
        }
    }
}
