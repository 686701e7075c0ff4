//! Reads of one consistent moment of a replica.

use fiscus_ledger::heads::HeadEntry;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::registry::Document;
use fiscus_ledger::state::rows::{SealedInvoice, Submission, SubmissionKey};
use fiscus_ledger::state::table::Row;
use fiscus_proto::stored;
use prost::Message;
use std::sync::Arc;

use crate::index::{Index, Row as Pair, View};
use crate::store::harm::Harm;
use crate::store::journal::LeafEntry;
use crate::store::replica::{APPLIED_KEY, Replica, StoreError, position_key, to_log_id};
use crate::store::series::SeriesError;
use crate::store::state::OpenState;
use crate::store::versions::AtHand;

/// No outlet has a longer id, whatever somebody asks for.
const OUTLET_ID_BYTES_MAX: usize = 255;

/// The moment that an answer is as of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// The group.
    pub group: u64,
    /// The last applied entry.
    pub applied: u64,
    /// The group time.
    pub time_ms: u64,
    /// Leaves of the tree.
    pub leaves: u64,
    /// Leaves whose signature is in the log.
    pub signatures: u64,
}

/// A record with its leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its leaf.
    pub leaf: u64,
    /// The stored form.
    pub record: Vec<u8>,
    /// Its signature, when the log has it.
    pub signature: Option<[u8; 64]>,
}

/// One moment of a replica. Later entries do not change what it reads; keep it short.
#[derive(Debug)]
pub struct Reading {
    view: Box<dyn View>,
    open: Arc<OpenState>,
    cluster: String,
    as_of: AsOf,
    harm: Arc<Harm>,
    heads: Arc<AtHand>,
}

impl Replica {
    /// Reads what is applied now. A replica that is out of service may be wrong and is not read.
    pub fn read(&self) -> Result<Reading, StoreError> {
        self.check_in_service()?;
        self.inspect()
    }

    /// Reads what is there, right or wrong: for a scrub, never for an answer.
    pub fn inspect(&self) -> Result<Reading, StoreError> {
        let begun = self.begin_reading();
        begun.inspect_err(|error| self.harm.note(error))
    }

    fn begin_reading(&self) -> Result<Reading, StoreError> {
        let open = self.open_state();
        let view = open.index.view()?;
        let applied = match view.get(&APPLIED_KEY)? {
            None => stored::AppliedState::default(),
            Some(row) => stored::AppliedState::decode(&*row)
                .map_err(|error| self.unreadable("applied row", &error.to_string()))?,
        };
        let as_of = AsOf {
            group: self.group(),
            applied: applied.applied.map_or(0, |id| to_log_id(id).index),
            time_ms: applied.time_ms,
            leaves: applied.leaves,
            signatures: applied.signatures,
        };
        let cluster = self.options.cluster.clone();
        let (harm, heads) = (self.harm.clone(), self.heads.clone());
        Ok(Reading { view, open, cluster, as_of, harm, heads })
    }

    pub(crate) fn unreadable(&self, what: &'static str, detail: &str) -> StoreError {
        let (group, dir) = (self.group(), self.dir.clone());
        StoreError::Row { group, what, dir, detail: detail.to_owned() }
    }
}

impl Reading {
    pub(crate) fn open_state(&self) -> &OpenState {
        &self.open
    }

    pub(crate) fn view(&self) -> &dyn View {
        &*self.view
    }

    pub(crate) fn at_hand(&self) -> &AtHand {
        &self.heads
    }

    pub(crate) fn note_harm(&self, error: &StoreError) {
        self.harm.note(error);
    }

    /// The moment.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// Damage is counted wherever it is met.
    pub(crate) fn noting<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        read.inspect_err(|error| self.harm.note(error))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.noting(self.view.get(key).map_err(StoreError::from))
    }

    pub(crate) fn range(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.noting(self.view.range(from, to, limit).map_err(StoreError::from))
    }

    /// What the group holds beside its rows; without the heads tree, which takes all outlets to build.
    pub fn group(&self) -> Result<Group, StoreError> {
        match self.get(&Group::stored_key())? {
            None => Ok(Group::new(&self.cluster, self.as_of.group)),
            Some(row) => Group::from_stored(&row, std::iter::empty::<(Id, HeadEntry)>())
                .map_err(|error| self.unreadable("group row", &error.to_string())),
        }
    }

    pub(crate) fn unreadable(&self, what: &'static str, detail: &str) -> StoreError {
        let (group, dir) = (self.as_of.group, self.open.dir.clone());
        let error = StoreError::Row { group, what, dir, detail: detail.to_owned() };
        self.harm.note(&error);
        error
    }

    /// A row of the fiscal core.
    pub fn row<R: Row>(&self, key: &R::Key) -> Result<Option<R>, StoreError> {
        let Some(row) = self.get(&R::stored_key(key))? else { return Ok(None) };
        let row = R::from_stored(&row);
        row.map(Some).map_err(|error| self.unreadable(R::NAME, &error.to_string()))
    }

    /// An outlet.
    pub fn outlet(&self, outlet_id: &str) -> Result<Option<Outlet>, StoreError> {
        self.row::<Outlet>(&Id::from(outlet_id))
    }

    /// An outlet's stored row.
    pub fn outlet_row(&self, outlet_id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(&Outlet::stored_key(&Id::from(outlet_id)))
    }

    /// All outlets after `after`, at most `limit`, in the order of their stored keys.
    pub fn outlets(&self, after: Option<&str>, limit: usize) -> Result<Vec<Outlet>, StoreError> {
        let from = match after {
            None => vec![Outlet::TABLE],
            Some(id) => {
                let mut key = Outlet::stored_key(&Id::from(id));
                key.push(0);
                key
            }
        };
        let rows = self.range(&from, Some(&[Outlet::TABLE + 1]), limit)?;
        let outlets = rows.iter().map(|(_, row)| {
            Outlet::from_stored(row)
                .map_err(|error| self.unreadable(Outlet::NAME, &error.to_string()))
        });
        outlets.collect()
    }

    /// The stored row of an invoice.
    pub fn invoice_row(
        &self,
        outlet_id: &str,
        fiscal_number: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(&SealedInvoice::stored_key(&(Id::from(outlet_id), Id::from(fiscal_number))))
    }

    /// Where a submission went.
    pub fn submission(&self, key: &SubmissionKey) -> Result<Option<Submission>, StoreError> {
        self.row::<Submission>(key)
    }

    /// The position of a fiscal number.
    pub fn position_of_number(
        &self,
        outlet_id: &str,
        fiscal_number: &str,
    ) -> Result<Option<u64>, StoreError> {
        let key = (Id::from(outlet_id), Id::from(fiscal_number));
        Ok(self.row::<SealedInvoice>(&key)?.map(|invoice| invoice.position))
    }

    /// The leaf of a position.
    pub fn leaf_of_position(
        &self,
        outlet_id: &str,
        position: u64,
    ) -> Result<Option<u64>, StoreError> {
        if outlet_id.len() > OUTLET_ID_BYTES_MAX {
            return Ok(None);
        }
        let Some(row) = self.get(&position_key(outlet_id, position))? else {
            return Ok(None);
        };
        self.leaf_in(&row).map(Some)
    }

    /// The leaf that a row leads to.
    pub(crate) fn leaf_in(&self, row: &[u8]) -> Result<u64, StoreError> {
        let leaf = row.try_into().map(u64::from_le_bytes);
        leaf.map_err(|_| self.unreadable("position row", "it is not 8 bytes long"))
    }

    /// The leaves of positions `from..=to`, at most `limit`, in order.
    pub fn leaves_of_positions(
        &self,
        outlet_id: &str,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        if outlet_id.len() > OUTLET_ID_BYTES_MAX {
            return Ok(Vec::new());
        }
        let mut end = position_key(outlet_id, to);
        end.push(0);
        let rows = self.range(&position_key(outlet_id, from), Some(&end), limit)?;
        rows.iter().map(|(_, row)| self.leaf_in(row)).collect()
    }

    /// A record by its leaf; `None` behind the end, and for a leaf that is not a record.
    pub fn record(&self, leaf: u64) -> Result<Option<FoundRecord>, StoreError> {
        if leaf >= self.as_of.leaves {
            return Ok(None);
        }
        self.noting(self.read_record(leaf).map_err(StoreError::from))
    }

    fn read_record(&self, leaf: u64) -> Result<Option<FoundRecord>, SeriesError> {
        let journal = &self.open.journal;
        let Some(record) = journal.record(leaf)? else { return Ok(None) };
        let signature = if leaf < self.as_of.signatures { journal.signature(leaf)? } else { None };
        Ok(Some(FoundRecord { leaf, record, signature }))
    }

    /// A leaf's entry; `None` behind the end.
    pub fn leaf(&self, leaf: u64) -> Result<Option<LeafEntry>, StoreError> {
        if leaf >= self.as_of.leaves {
            return Ok(None);
        }
        self.noting(self.open.journal.leaf(leaf).map_err(StoreError::from))
    }

    /// A directory document.
    pub fn document(&self, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        self.row::<Document>(&(Id::from(kind), Id::from(id)))
    }
}
