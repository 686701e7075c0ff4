//! What must hold after every entry, whatever was asked: read from the stored rows and records, and
//! compared with the model's lists.

use std::collections::BTreeMap;

use fiscus_ledger::hash::{Hash32, ZERO_HASH};
use fiscus_ledger::invoice::{Currency, InvoiceType, PaymentMethod};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::Record;
use fiscus_ledger::reports::Fold;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::outlet::{Outlet, Series};
use fiscus_ledger::state::rows::{OpenShift, SealedInvoice, Submission, Terminal};
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::tally::{GroupSum, Tally};
use fiscus_ledger::tree::{empty_root, leaf_hash, node_hash};

use crate::invoice::Plan;
use crate::model::{Model, Rec, Shop, Use};
use crate::store::Store;
use crate::system::System;

/// The root of RFC 6962 as its text defines it.
pub(crate) fn naive_root(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => empty_root(),
        [leaf] => leaf_hash(leaf),
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
        }
    }
}

/// What the checks remember from entry to entry: each chain as its records make it.
#[derive(Default)]
pub(crate) struct Journals {
    read: usize,
    folds: BTreeMap<String, Fold>,
    /// The entry hash of each record, by chain.
    pub(crate) hashes: BTreeMap<String, Vec<Hash32>>,
    time: u64,
}

impl Journals {
    /// Reads the new records of the store and compares each with the model's.
    pub(crate) fn follow(
        &mut self,
        store: &Store,
        system: &System,
        shops: &[Shop],
        manifests: &[&Manifest],
    ) {
        assert!(store.group.time.get() >= self.time, "the group's time goes back");
        self.time = store.group.time.get();
        assert_eq!(self.time, system.time);
        let chain_id = store.group.chain_id();
        for (leaf, bytes) in &store.records[self.read..] {
            let record = Record::decode(bytes).expect("a record is what its hash says");
            let fold = self.folds.entry(record.outlet_id.to_owned()).or_default();
            fold.add(&record, manifests).expect("a chain folds");
            let hashes = self.hashes.entry(record.outlet_id.to_owned()).or_default();
            assert_eq!(record.prev_hash, hashes.last().copied().unwrap_or(ZERO_HASH));
            hashes.push(record.entry_hash);
            assert_eq!(usize::try_from(record.position).unwrap(), hashes.len(), "positions");
            assert_eq!((record.leaf_index, record.entry_hash), (*leaf, store.leaves[small(*leaf)]));
            let shop = shops.iter().find(|shop| *shop.fact.outlet_id == *record.outlet_id);
            let rec = match shop {
                Some(shop) => &shop.journal[hashes.len() - 1],
                None => {
                    assert_eq!(record.outlet_id, &*chain_id);
                    &system.chain[hashes.len() - 1]
                }
            };
            same_record(&record, rec);
        }
        self.read = store.records.len();
        let written: usize = shops.iter().map(|shop| shop.journal.len()).sum();
        assert_eq!(self.read, written + system.chain.len(), "records");
        self.group(store, system);
    }

    fn group(&self, store: &Store, system: &System) {
        let group = &store.group;
        assert_eq!(small(group.tree.size()), system.leaves);
        assert_eq!(store.leaves.len(), system.leaves);
        assert_eq!(small(group.signed_leaves), system.signed);
        assert!(group.signed_leaves <= group.tree.size(), "signatures run ahead");
        assert_eq!(group.tree.root(), naive_root(&store.leaves));
        let sizes = |cut: &fiscus_ledger::state::group::CheckpointTuple| {
            assert_eq!(cut.root, naive_root(&store.leaves[..small(cut.size)]), "a cut's root");
            (cut.log_index, small(cut.size))
        };
        assert_eq!(group.cuts.iter().map(sizes).collect::<Vec<_>>(), system.cuts);
        assert_eq!(group.decided.as_ref().map(sizes), system.decided);
        assert_eq!(small(group.chain.last_position), system.chain.len());
    }

    /// Compares every outlet with the model and with the fold of its own records.
    pub(crate) fn outlets(&self, store: &Store, model: &Model) {
        assert_eq!(store.row_count(Outlet::TABLE), model.shops.len());
        assert_eq!(store.row_count(Submission::TABLE), model.submissions.len());
        let empty = Fold::default();
        for shop in &model.shops {
            let outlet: Outlet = store.row(&shop.fact.outlet_id).unwrap();
            assert_eq!(outlet.fact, shop.fact);
            assert_eq!((outlet.fact_version, outlet.held), (shop.version, shop.held));
            let fold = self.folds.get(&*shop.fact.outlet_id).unwrap_or(&empty);
            assert_eq!((outlet.chain.last_position, outlet.chain.head), (fold.position, fold.head));
            assert_eq!(outlet.perpetual, fold.perpetual, "perpetual totals");
            assert_eq!(outlet.period.tally, fold.since_z, "totals since the last Z");
            assert_eq!(outlet.period.sealed, fold.sealed_since_z, "numbers since the last Z");
            assert_eq!(small(outlet.last_z), fold.closures.len());
            numbers(&outlet.series, &shop.numbers);
            device_series(&outlet, shop, fold);
            crate::uploads::check(store, shop, &outlet.uploads);
            let sealed: Vec<u64> = outlet
                .period
                .sealed
                .ranges()
                .iter()
                .chain(fold.closures.iter().flat_map(|closure| closure.sealed.ranges()))
                .flat_map(|(first, last)| *first..=*last)
                .collect();
            assert_eq!(sealed.len(), small(outlet.series.sealed), "each number is in one Z");
            self.totals(shop, &outlet, fold);
            credits(store, shop);
        }
        for till in &model.tills {
            let row: Option<Terminal> = store.row(&(till.outlet.clone(), till.id.clone()));
            let open = row.and_then(|row| row.shift);
            let same = |open: &OpenShift| (open.shift_id.clone(), small(open.opened_at));
            assert_eq!(open.as_ref().map(same), till.shift);
            if let Some(open) = open {
                let shop = model.shop(&till.outlet).unwrap();
                let (_, after) = till.shift.as_ref().unwrap();
                let counted = shop.journal[*after..].iter().filter_map(|rec| rec.plan.as_deref());
                tally(&open.tally, counted.filter(|plan| plan.terminal == till.id));
            }
        }
    }

    fn totals(&self, shop: &Shop, outlet: &Outlet, fold: &Fold) {
        let plans = |recs: &[Rec]| -> Vec<Plan> {
            recs.iter().filter_map(|rec| rec.plan.as_deref().cloned()).collect()
        };
        let mut start = 0;
        let closed: Vec<usize> =
            (0..shop.journal.len()).filter(|at| shop.journal[*at].kind == "z_closure").collect();
        assert_eq!(closed.len(), fold.closures.len());
        for (end, closure) in closed.iter().zip(&fold.closures) {
            assert_eq!(small(closure.position), end + 1);
            tally(&closure.tally, plans(&shop.journal[start..*end]).iter());
            start = end + 1;
        }
        tally(&outlet.period.tally, plans(&shop.journal[start..]).iter());
        tally(&outlet.perpetual, plans(&shop.journal).iter());
    }
}

fn small(value: u64) -> usize {
    usize::try_from(value).unwrap()
}

fn same_record(record: &Record<'_>, rec: &Rec) {
    assert_eq!(record.kind.as_str(), rec.kind);
    assert_eq!(record.authority_id, &*rec.authority, "the record's signer");
    assert_eq!((small(record.leaf_index), record.timestamp.get()), (rec.leaf, rec.time));
    assert_eq!(record.fiscal_number, rec.number.as_deref().unwrap_or_default());
    if let Some(plan) = &rec.plan {
        assert_eq!((record.total, record.currency), (&*plan.total_text(), plan.currency));
    }
}

/// Every number is in exactly one of the sets, or sealed.
fn numbers(series: &Series, model: &[Use]) {
    assert_eq!(small(series.last), model.len(), "the last number");
    assert!(series.is_accounted_for());
    let mut sealed = 0;
    for (number, used) in (1..).zip(model) {
        let sets = [
            series.reserved.contains(number),
            series.missing.contains(number),
            series.recovery_gaps.contains(number),
        ];
        let expected = [*used == Use::Reserved, *used == Use::Missing, *used == Use::Gap];
        assert_eq!(sets, expected, "number {number}");
        sealed += u64::from(*used == Use::Sealed);
    }
    assert_eq!(series.sealed, sealed, "sealed numbers");
}

/// Each device's series is as long as what was imported of it, and ends in its last entry.
fn device_series(outlet: &Outlet, shop: &Shop, fold: &Fold) {
    assert_eq!(outlet.device_series.len(), shop.devices.len());
    assert_eq!(fold.devices.len(), shop.devices.len());
    for (device, entries) in &shop.devices {
        let series = &outlet.device_series[device];
        assert_eq!((small(series.last), Some(&series.head)), (entries.len(), entries.last()));
        assert_eq!(fold.devices[&**device], series.last);
        let after = shop.journal.iter().rposition(|rec| rec.kind == "z_closure");
        let prefix = format!("{device}-");
        let mine = |rec: &&Rec| {
            rec.kind.starts_with("def_")
                && rec.number.as_ref().is_some_and(|number| number.starts_with(&prefix))
        };
        let since = shop.journal[after.map_or(0, |at| at + 1)..].iter().filter(mine).count();
        assert_eq!(small(series.last - series.closed), since, "numbers since the last Z");
        let head = outlet.head_entry();
        assert!(head.series().contains(&(device.to_string(), series.last)));
    }
}

fn credits(store: &Store, shop: &Shop) {
    for (rec, plan) in shop.invoices() {
        let number = Id::from(rec.number.as_deref().unwrap());
        let row: SealedInvoice = store.row(&(shop.fact.outlet_id.clone(), number.clone())).unwrap();
        assert_eq!(row.invoice_type, plan.kind);
        if plan.kind.is_credit() {
            continue;
        }
        let mut taken: BTreeMap<usize, (i128, i128)> = BTreeMap::new();
        for (_, note) in
            shop.invoices().filter(|(_, note)| note.original.as_deref() == Some(&number))
        {
            for (group, (base, tax)) in note.groups() {
                let sum = taken.entry(group).or_default();
                *sum = (sum.0 + base, sum.1 + tax);
            }
        }
        for group in &row.groups {
            let sums = taken.remove(&group.code.index()).unwrap_or_default();
            assert_eq!((group.credited_base.wide(), group.credited_tax.wide()), sums, "{number}");
            assert!(group.credited_base <= group.base && group.credited_tax <= group.tax);
            let original = plan.groups()[&group.code.index()];
            assert_eq!((group.base.wide(), group.tax.wide()), original);
        }
        assert!(taken.is_empty(), "a credit of a group that the original has not");
    }
}

/// Compares a tally with the sum over a list of invoices.
fn tally<'p>(tally: &Tally, plans: impl Iterator<Item = &'p Plan>) {
    let mut counts = [0; InvoiceType::ALL.len()];
    let mut groups: BTreeMap<(&str, usize), (i128, i128)> = BTreeMap::new();
    let mut paid: BTreeMap<(&str, usize), i128> = BTreeMap::new();
    for plan in plans {
        let sign = if plan.kind.is_credit() { -1 } else { 1 };
        counts[InvoiceType::ALL.iter().position(|kind| *kind == plan.kind).unwrap()] += 1;
        for (group, (base, tax)) in plan.groups() {
            let sum = groups.entry((plan.currency, group)).or_default();
            *sum = (sum.0 + sign * base, sum.1 + sign * tax);
        }
        for (method, amount) in &plan.payments {
            *paid.entry((plan.currency, *method)).or_default() += sign * amount;
        }
    }
    for (kind, count) in InvoiceType::ALL.iter().zip(counts) {
        assert_eq!(tally.count(*kind), count, "{}", kind.as_str());
    }
    for code in ["CDF", "USD"] {
        let currency = Currency::parse(code).unwrap();
        let sums = tally.currencies().iter().find(|sums| sums.currency == currency);
        for group in 0..14 {
            let (base, tax) = groups.remove(&(code, group)).unwrap_or_default();
            let sum = sums.map_or(GroupSum::default(), |sums| sums.groups[group]);
            assert_eq!((sum.base, sum.tax), (base, tax), "{code} TG{:02}", group + 1);
        }
        for method in 0..PaymentMethod::ALL.len() {
            let sum = sums.map_or(0, |sums| sums.payments[method]);
            assert_eq!(sum, paid.remove(&(code, method)).unwrap_or_default());
        }
    }
    assert!(groups.is_empty() && paid.is_empty());
}
