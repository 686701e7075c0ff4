//! The final journal, as lines of the history. Signatures are verified as it comes; what is wrong is a finding, and the
//! rest is written all the same.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use ed25519_dalek::{Signature, VerifyingKey};
use fiscus_check::Kind;
use fiscus_check::line::{Digest, Leaf, Line, Numbered, Record, Source, Sums, Totals};
use fiscus_ledger::hash::{hex, payload_hash};
use fiscus_ledger::record::{Record as Stored, RecordKind};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::rows::Operation;
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::ClusterClient;
use fiscus_proto::ledger::{Consistency, JournalRecord, ListOutletsRequest, ReadTileRequest};
use futures_util::StreamExt;

use crate::cluster::GROUP;
use crate::record::Recorder;
use crate::sales::offline_key;
use crate::till::{digest, split};

const WAIT: Duration = Duration::from_secs(60);
const TILE: u64 = 256;

/// Writes the journal from a leaf on, up to what there is now; where it ends.
pub(crate) async fn write(client: &ClusterClient, recorder: &Recorder, from: u64) -> Result<u64> {
    let state = client.read_group(GROUP, Consistency::Linearizable, WAIT).await?;
    let leaves = state.as_of.context("a group's state says as of when")?.leaves;
    // What a key that is none has signed is found as a signature of nobody.
    let keys: BTreeMap<String, VerifyingKey> = state
        .authorities
        .iter()
        .filter_map(|known| {
            Some((known.id.clone(), VerifyingKey::try_from(&*known.public_key).ok()?))
        })
        .collect();
    let mut feed = pin!(client.feed(GROUP, from));
    let mut next = from;
    while next < leaves {
        let item =
            tokio::time::timeout(WAIT, feed.next()).await.context("the feed stands still")?;
        let item = item.context("the feed ended")??;
        next = item.leaf + 1;
        let line = item.record.as_ref().map(|record| checked_line(record, &keys, recorder));
        match line.flatten() {
            Some(line) => recorder.line(&line)?,
            None => {
                let data = Digest(leaf_data(client, item.leaf).await?);
                recorder.line(&Line::Leaf(Leaf { group: GROUP, leaf: item.leaf, data }))?;
            }
        }
    }
    Ok(next)
}

/// A record as a line, when it can be read.
fn checked_line<'a>(
    record: &'a JournalRecord,
    keys: &BTreeMap<String, VerifyingKey>,
    recorder: &Recorder,
) -> Option<Line<'a>> {
    let leaf = record.leaf;
    let read = Stored::decode(&record.record).map_err(anyhow::Error::from);
    let line = read.and_then(|stored| {
        if let Err(error) = verify(&stored, record, keys) {
            recorder.finding(Kind::Proofs, format!("the signature of leaf {leaf}: {error:#}"));
        }
        line(&stored, record)
    });
    line.map_err(|error| {
        recorder.finding(Kind::Chain, format!("the record of leaf {leaf} is none: {error:#}"));
    })
    .ok()
}

/// An authority of the group has signed the record.
fn verify(
    stored: &Stored<'_>,
    record: &JournalRecord,
    keys: &BTreeMap<String, VerifyingKey>,
) -> Result<()> {
    let key = keys.get(stored.authority_id).context("a record of an unknown authority")?;
    let signature = Signature::from_slice(&record.signature)?;
    Ok(key.verify_strict(&stored.entry_hash, &signature)?)
}

/// The data of a leaf that is no record.
async fn leaf_data(client: &ClusterClient, leaf: u64) -> Result<[u8; 32]> {
    let (index, at) = (leaf / TILE, leaf % TILE);
    let width = u32::try_from(at + 1)?;
    let request = ReadTileRequest { group: GROUP, level: None, index, width };
    let hashes = client.read_tile(request, WAIT).await?.hashes;
    let from = usize::try_from(at * 32)?;
    Ok(<[u8; 32]>::try_from(hashes.get(from..from + 32).context("a tile's last leaf")?)?)
}

/// Writes every outlet's row.
pub(crate) async fn write_totals(client: &ClusterClient, recorder: &Recorder) -> Result<()> {
    let request = ListOutletsRequest {
        group: GROUP,
        after: String::new(),
        consistency: Consistency::Linearizable.into(),
    };
    let mut rows = pin!(client.list_outlets(request, WAIT));
    while let Some(row) = rows.next().await {
        let row = row?;
        let outlet = Outlet::from_stored(&row.row)?;
        let mut perpetual =
            Sums { invoices: outlet.perpetual.invoices(), amounts: BTreeMap::new() };
        for sums in outlet.perpetual.currencies() {
            let total: i128 = sums.groups.iter().map(|group| group.base + group.tax).sum();
            perpetual.amounts.insert(sums.currency.as_str().to_owned().into(), total);
        }
        recorder.line(&Line::Totals(Totals {
            group: GROUP,
            outlet: row.outlet_id.clone().into(),
            position: outlet.chain.last_position,
            last: outlet.series.last,
            perpetual,
        }))?;
    }
    Ok(())
}

/// A record as a line.
fn line<'a>(stored: &Stored<'a>, record: &JournalRecord) -> Result<Line<'a>> {
    ensure!(stored.leaf_index == record.leaf, "it says that it is leaf {}", stored.leaf_index);
    let sealed = matches!(stored.kind, RecordKind::Invoice(_));
    let rare = rare(stored)?;
    let (f, key) = submission(stored)?.unzip();
    Ok(Line::Record(Record {
        group: GROUP,
        leaf: record.leaf,
        outlet: stored.outlet_id.into(),
        position: stored.position,
        kind: stored.kind.as_str().into(),
        time_ms: stored.timestamp.get(),
        prev: Digest(stored.prev_hash),
        entry: Digest(stored.entry_hash),
        bytes: digest(record),
        f: f.map(Into::into),
        key: key.map(Into::into),
        payload: sealed.then(|| Digest(payload_hash(stored.payload))),
        numbered: numbered(stored)?,
        lent: rare.lent,
        missing: rare.missing,
        skipped: rare.skipped,
        closes: rare.closes,
    }))
}

/// What a record was submitted as, and under which key.
fn submission(stored: &Stored<'_>) -> Result<Option<(&'static str, String)>> {
    if let RecordKind::Offline(_) = stored.kind {
        let seal: serde_json::Value = serde_json::from_slice(stored.payload)?;
        let credential = seal["credential_id"].as_str().context("an offline seal's credential")?;
        let place = seal["place"].as_u64().context("an offline seal's place")?;
        return Ok(Some(("reconcile", offline_key(credential, place))));
    }
    let mark = stored.submission.as_ref();
    Ok(mark.map(|mark| (operation(mark.operation), hex(&mark.key))))
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Seal => "seal",
        Operation::OpenShift => "open_shift",
        Operation::CloseShift => "close_shift",
        Operation::CloseDay => "close_day",
        Operation::GrantBlock => "borrow",
        Operation::ImportDeviceSeal => "import",
    }
}

fn numbered(stored: &Stored<'_>) -> Result<Option<Numbered<'static>>> {
    let Some(kind) = stored.kind.invoice_type() else { return Ok(None) };
    let source = match stored.kind {
        RecordKind::Invoice(_) => Source::Online,
        RecordKind::Offline(_) => Source::Offline,
        _ => Source::Device,
    };
    let (series, number) = split(stored.fiscal_number)?;
    let sign = if kind.is_credit() { -1 } else { 1 };
    let credits = match kind.is_credit() {
        true => {
            let invoice = stored.kind.invoice_in(stored.payload).context("an invoice")?;
            let invoice: serde_json::Value = serde_json::from_slice(invoice)?;
            let original = invoice["original_fiscal_number"].as_str().context("an original")?;
            Some(split(original)?.1)
        }
        false => None,
    };
    Ok(Some(Numbered {
        series: series.into(),
        number,
        source,
        currency: stored.currency.to_owned().into(),
        total: i64::try_from(minor(stored.total)?)? * sign,
        credits,
    }))
}

/// What only some kinds of records have.
#[derive(Debug, Default)]
struct Rare {
    lent: Option<(u64, u64)>,
    missing: Vec<(u64, u64)>,
    skipped: Vec<(u64, u64)>,
    closes: Option<Sums<'static>>,
}

fn rare(stored: &Stored<'_>) -> Result<Rare> {
    let mut rare = Rare::default();
    let payload = || -> Result<serde_json::Value> { Ok(serde_json::from_slice(stored.payload)?) };
    match stored.kind {
        RecordKind::BlockGrant => {
            let (first, last, _) = crate::sales::granted_in(stored)?;
            rare.lent = Some((first, last));
        }
        RecordKind::NumbersMissing => rare.missing = ranges(&payload()?["missing"])?,
        RecordKind::RecoveryGap => rare.skipped = ranges(&payload()?["skipped"])?,
        RecordKind::ZClosure => {
            let report = payload()?;
            let invoices = report["invoices"].as_u64().context("a closure's invoices")?;
            let mut amounts = BTreeMap::new();
            for sums in report["currencies"].as_array().context("a closure's currencies")? {
                let named = |name: &str| sums[name].as_str().context("a closure's sums");
                amounts.insert(named("currency")?.to_owned().into(), minor(named("total")?)?);
            }
            rare.closes = Some(Sums { invoices, amounts });
        }
        _ => {}
    }
    Ok(rare)
}

fn ranges(value: &serde_json::Value) -> Result<Vec<(u64, u64)>> {
    let ranges = value.as_array().context("ranges")?.iter();
    let range =
        |range: &serde_json::Value| Some((range.get(0)?.as_u64()?, range.get(1)?.as_u64()?));
    ranges.map(|it| range(it).with_context(|| format!("a range of numbers: {it}"))).collect()
}

/// An amount with two decimals in hundredths.
fn minor(amount: &str) -> Result<i128> {
    let (sign, digits) = match amount.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, amount),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "00"));
    ensure!(part.len() == 2, "{amount} has not two decimals");
    let number = |text: &str| text.parse::<i128>().map_err(|error| anyhow!("{amount}: {error}"));
    Ok(sign * (number(whole)? * 100 + number(part)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_become_hundredths() {
        let all = [("1000.00", 100_000), ("-3.07", -307), ("0.50", 50)];
        for (text, expected) in all {
            assert_eq!(minor(text).unwrap(), expected);
        }
        assert!(minor("1.5").is_err());
    }
}
