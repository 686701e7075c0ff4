//! A replica as the tests see it: rows in a map, records and leaves in lists, and restarts from nothing
//! but the rows.

use std::collections::BTreeMap;

use fiscus_ledger::apply::{Effects, Entry, Prepared, apply_entry};
use fiscus_ledger::commands::Command;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::outcome::Outcome;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::{Block, WaitingSeal};
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::registry::{Activation, Document, NumberSpace};
use fiscus_ledger::state::rows::{Device, Payment, SealedInvoice, Submission, Terminal};
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::upload::Upload;
use fiscus_ledger::state::working::{KnownRows, WorkingSet};

pub(crate) const CLUSTER: &str = "model";

/// What a replica keeps on disk, and its group.
pub(crate) struct Store {
    pub(crate) group: Group,
    group_row: Vec<u8>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What a replica that never restarts has decoded already.
    known_rows: KnownRows,
    /// Every leaf of the tree.
    pub(crate) leaves: Vec<Hash32>,
    /// Every record, in commit order, with its leaf.
    pub(crate) records: Vec<(u64, Vec<u8>)>,
}

impl Store {
    pub(crate) fn new(number: u64) -> Self {
        let group = Group::new(CLUSTER, number);
        let group_row = group.stored_row();
        let (rows, known_rows) = (BTreeMap::new(), KnownRows::default());
        Self { group, group_row, rows, known_rows, leaves: Vec::new(), records: Vec::new() }
    }

    /// Applies an entry and persists its effects. No generated entry may stop a replica.
    pub(crate) fn commit<C: Command>(&mut self, entry: &Entry<C>) -> (Vec<Outcome>, Effects) {
        let applied = apply_entry(entry, self.group.clone(), |key| self.rows.get(key).cloned())
            .unwrap_or_else(|error| panic!("a replica must never stop: {error}"));
        let effects = applied.effects;
        assert_eq!(self.apply_with_known_rows(entry), effects, "known rows make a difference");
        assert_eq!(effects.first_leaf, u64::try_from(self.leaves.len()).unwrap());
        for (leaf, entry) in (effects.first_leaf..).zip(&effects.leaves) {
            self.leaves.push(entry.hash);
            if let Some((start, end)) = entry.record {
                self.records.push((leaf, effects.records[start..end].to_vec()));
            }
        }
        for (key, row) in effects.rows.iter() {
            match row {
                Some(row) => self.rows.insert(key.to_vec(), row.to_vec()),
                None => self.rows.remove(key),
            };
        }
        self.group_row.clone_from(&effects.group_row);
        self.group = applied.state.group;
        (applied.outcomes, effects)
    }

    /// What the entry does to a replica that keeps the rows of earlier entries decoded.
    fn apply_with_known_rows<C: Command>(&mut self, entry: &Entry<C>) -> Effects {
        let prepared = Prepared::new(entry, &self.group).expect("it was prepared before");
        let (group, rows) = (self.group.clone(), &self.rows);
        let fetch = |key: &[u8]| rows.get(key).cloned();
        let state = WorkingSet::load_with(group, prepared.reads(), &mut self.known_rows, fetch);
        let applied =
            prepared.apply(state.expect("every row is whole")).expect("it was applied before");
        let _group = applied.state.leave(&mut self.known_rows);
        applied.effects
    }

    /// Forgets everything but what is stored, and reads every row back.
    pub(crate) fn restart(&mut self) {
        let mut heads = Vec::new();
        for (key, row) in &self.rows {
            match key[0] {
                Outlet::TABLE => {
                    let outlet: Outlet = read_back(row);
                    heads.push((outlet.fact.outlet_id.clone(), outlet.head_entry()));
                }
                Submission::TABLE => drop(read_back::<Submission>(row)),
                SealedInvoice::TABLE => drop(read_back::<SealedInvoice>(row)),
                Terminal::TABLE => drop(read_back::<Terminal>(row)),
                Payment::TABLE => drop(read_back::<Payment>(row)),
                Upload::TABLE => drop(read_back::<Upload>(row)),
                Device::TABLE => drop(read_back::<Device>(row)),
                Block::TABLE => drop(read_back::<Block>(row)),
                WaitingSeal::TABLE => drop(read_back::<WaitingSeal>(row)),
                Document::TABLE => drop(read_back::<Document>(row)),
                NumberSpace::TABLE => drop(read_back::<NumberSpace>(row)),
                Activation::TABLE => drop(read_back::<Activation>(row)),
                table => panic!("table {table} is unknown"),
            }
        }
        let before = self.group.state_hash();
        self.group = Group::from_stored(&self.group_row, heads).expect("the group's row is whole");
        assert_eq!(self.group.stored_row(), self.group_row, "a restart changes the group's row");
        assert_eq!(self.group.state_hash(), before, "a restart changes the state's hash");
    }

    pub(crate) fn row<V: Row>(&self, key: &V::Key) -> Option<V> {
        self.rows.get(&V::stored_key(key)).map(|row| read_back(row))
    }

    pub(crate) fn row_count(&self, table: u8) -> usize {
        self.rows.keys().filter(|key| key[0] == table).count()
    }

    /// Marks an outlet as a restore from a backup does.
    pub(crate) fn hold(&mut self, outlet_id: &Id) {
        let mut outlet: Outlet = self.row(outlet_id).expect("only known outlets are held");
        outlet.held = true;
        self.rows.insert(Outlet::stored_key(outlet_id), outlet.stored_row());
        self.known_rows = KnownRows::default();
    }
}

fn read_back<V: Row>(row: &[u8]) -> V {
    let value = V::from_stored(row).unwrap_or_else(|error| panic!("{}: {error}", V::NAME));
    assert_eq!(value.stored_row(), row, "a {} row has two spellings", V::NAME);
    value
}
