//! What is sold where: an invoice of the wanted size for each outlet, and which outlet is next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use fiscus_ledger::hash::hex;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use serde_json::{Value, json};

use super::outlets::{BenchOutlet, Roster};

const SAMPLE: &str = include_str!("../../../docs/samples/sale.json");
/// Stands in the first line's description, so that an invoice can be made like no other.
const MARK: &str = "00000000000000000000000000000000";
/// Without tax, payments add up whatever the number of lines.
const EXEMPT: &str = "TG01";
const UNIT_PRICE: u64 = 1_000;

/// The invoice of one outlet.
#[derive(Debug)]
pub(super) struct Sheet {
    /// As a point of sale sends it.
    pub(super) text: Bytes,
    /// Its canonical form,
    pub(super) canonical: Bytes,
    /// and its fingerprint.
    pub(super) fingerprint: Bytes,
}

impl Sheet {
    /// The canonical form of an invoice that nobody else has: a device seals no equal one again.
    pub(super) fn marked(&self, key: &[u8; 16]) -> Result<String> {
        let text = std::str::from_utf8(&self.canonical)?;
        Ok(text.replacen(MARK, &hex(key), 1))
    }
}

/// The outlets, their invoices, and how often each sells.
#[derive(Debug)]
pub(super) struct Workload {
    roster: Roster,
    sheets: Vec<Sheet>,
    /// The share of everything that the outlets up to each one sell.
    shares: Vec<f64>,
    seed: u64,
    /// Tells the keys of this run from those of others.
    run: u64,
    /// Clients that there have been: each has keys of its own.
    clients: AtomicU64,
}

impl Workload {
    pub(super) fn new(roster: Roster, bytes: u32, skew: f64, seed: u64) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let at = UnixMs::new(u64::try_from(now.as_millis())?);
        let lines = lines_for(&roster, bytes, at)?;
        let sheets: Result<Vec<_>> =
            roster.outlets().iter().map(|outlet| sheet(outlet, lines, at)).collect();
        let weights: Vec<f64> =
            (0..roster.len()).map(|rank| ((rank + 1) as f64).powf(-skew)).collect();
        let whole: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let shares = weights.iter().map(|weight| {
            sum += weight / whole;
            sum
        });
        let shares = shares.collect();
        Ok(Self {
            roster,
            sheets: sheets?,
            shares,
            seed,
            run: u64::try_from(now.as_nanos())?,
            clients: AtomicU64::new(0),
        })
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(super) fn sheet(&self, outlet: usize) -> &Sheet {
        &self.sheets[outlet]
    }

    /// The size of an invoice in its canonical form.
    pub(super) fn invoice_bytes(&self) -> usize {
        self.sheets[0].canonical.len()
    }

    pub(super) fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// The choices of one client.
    pub(super) fn chooser(&self, client: u64) -> Chooser<'_> {
        let state = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ client.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Chooser { workload: self, state, client, sales: 0 }
    }
}

/// A sale that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sale {
    pub(super) outlet: usize,
    /// Unique among everything that was ever sold here.
    pub(super) key: [u8; 16],
}

/// Chooses a client's sales.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    workload: &'a Workload,
    state: u64,
    client: u64,
    sales: u64,
}

impl Chooser<'_> {
    pub(super) fn next(&mut self) -> Sale {
        let draw = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        let shares = &self.workload.shares;
        let outlet = shares.partition_point(|share| *share <= draw).min(shares.len() - 1);
        self.sales += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.workload.run.to_be_bytes());
        // 24 bits of clients, 40 of their sales.
        key[8..].copy_from_slice(&((self.client << 40) | self.sales).to_be_bytes());
        Sale { outlet, key }
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// How many lines make an invoice about so long.
fn lines_for(roster: &Roster, bytes: u32, at: UnixMs) -> Result<u64> {
    let outlet = roster.outlets().first().context("there is an outlet")?;
    let (one, two) = (sheet(outlet, 1, at)?.canonical.len(), sheet(outlet, 2, at)?.canonical.len());
    let more = (bytes as usize).saturating_sub(one);
    let line = two - one;
    Ok(1 + u64::try_from((more + line / 2) / line)?)
}

fn sheet(outlet: &BenchOutlet, lines: u64, at: UnixMs) -> Result<Sheet> {
    let mut sale: Value = serde_json::from_str(SAMPLE)?;
    sale["merchant_nif"] = json!(outlet.merchant_nif);
    sale["outlet_id"] = json!(outlet.id);
    sale["timestamp"] = json!(at.to_string());
    let line = |number| {
        json!({ "code": format!("ART-{number:04}"), "description": "Article", "quantity": 1,
            "unit_price": UNIT_PRICE, "tax_group": EXEMPT })
    };
    sale["items"] = (0..lines).map(line).collect();
    sale["items"][0]["description"] = json!(MARK);
    sale["payments"] = json!([{ "method": "cash", "amount": (lines * UNIT_PRICE).to_string() }]);
    let text = sale.to_string();
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), at)
        .map_err(|problem| anyhow!("the invoice of {}: {problem}", outlet.id))?;
    Ok(Sheet {
        text: Bytes::copy_from_slice(text.as_bytes()),
        canonical: parsed.invoice.canonical_bytes().to_vec().into(),
        fingerprint: parsed.fingerprint.to_vec().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(outlets: u32, skew: f64) -> Workload {
        Workload::new(Roster::of_groups(outlets, "A1234567B", &[1]), 1_024, skew, 7).unwrap()
    }

    #[test]
    fn an_invoice_is_about_as_long_as_wanted() {
        for wanted in [700, 1_024, 8_192, 65_536] {
            let roster = Roster::of_groups(1, "A1234567B", &[1]);
            let bytes = Workload::new(roster, wanted, 0.0, 7).unwrap().invoice_bytes();
            assert!(bytes.abs_diff(wanted as usize) <= 150, "{bytes} for {wanted}");
        }
    }

    #[test]
    fn no_two_sales_have_one_key() {
        let workload = workload(10, 0.0);
        let mut keys = std::collections::BTreeSet::new();
        for client in 0..50 {
            let mut chooser = workload.chooser(client);
            keys.extend((0..100).map(|_| chooser.next().key));
        }
        assert_eq!(keys.len(), 5_000);
    }

    #[test]
    fn skew_makes_the_first_outlets_busy_and_none_makes_all_alike() {
        let counts = |skew| {
            let workload = workload(10, skew);
            let mut chooser = workload.chooser(1);
            let mut counts = [0_u32; 10];
            for _ in 0..20_000 {
                counts[chooser.next().outlet] += 1;
            }
            counts
        };
        let even = counts(0.0);
        assert!(even.iter().all(|count| (1_800..2_200).contains(count)), "{even:?}");
        let skewed = counts(1.0);
        // 1 / (1 + 1/2 + … + 1/10) = 34 %, and a tenth of it.
        assert!((6_500..7_200).contains(&skewed[0]), "{skewed:?}");
        assert!((550..850).contains(&skewed[9]), "{skewed:?}");
    }
}
