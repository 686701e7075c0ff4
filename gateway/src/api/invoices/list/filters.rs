//! What a list is asked for.

use fiscus_ledger::invoice::{InvoiceType, PaymentMethod};
use fiscus_ledger::money::{Amount, parse_fixed};
use fiscus_ledger::record::{Record, RecordKind};
use fiscus_proto::ledger::Consistency;

use super::summary::Document;

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Time,
    TimeDescending,
    Number,
    NumberDescending,
}

impl Sort {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "time" => Some(Self::Time),
            "-time" => Some(Self::TimeDescending),
            "number" => Some(Self::Number),
            "-number" => Some(Self::NumberDescending),
            _ => None,
        }
    }

    pub(super) fn is_descending(self) -> bool {
        matches!(self, Self::TimeDescending | Self::NumberDescending)
    }

    pub(super) fn is_by_number(self) -> bool {
        matches!(self, Self::Number | Self::NumberDescending)
    }
}

/// Which invoices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filters {
    /// All of the caller's when there is none.
    pub(super) outlet_ids: Vec<String>,
    /// Never empty.
    pub(super) kinds: Vec<RecordKind>,
    pub(super) from_ms: u64,
    /// Exclusive; 0 means no end.
    pub(super) until_ms: u64,
    pub(super) terminal_id: Option<String>,
    pub(super) cashier_id: Option<String>,
    pub(super) client_nif: Option<String>,
    pub(super) payment_method: Option<PaymentMethod>,
    pub(super) currency: Option<String>,
    pub(super) min_total: Option<Amount>,
    pub(super) max_total: Option<Amount>,
    pub(super) tax_group: Option<String>,
    pub(super) original: Option<String>,
    pub(super) dgi_status: Option<String>,
}

impl Filters {
    pub(super) fn all() -> Self {
        Self {
            outlet_ids: Vec::new(),
            kinds: every_kind(),
            from_ms: 0,
            until_ms: 0,
            terminal_id: None,
            cashier_id: None,
            client_nif: None,
            payment_method: None,
            currency: None,
            min_total: None,
            max_total: None,
            tax_group: None,
            original: None,
            dgi_status: None,
        }
    }

    /// The names of the kinds, as the cluster is asked for them.
    pub(super) fn kind_names(&self) -> Vec<String> {
        self.kinds.iter().map(|kind| kind.as_str().to_owned()).collect()
    }

    /// Whether records that the cluster finds may still be passed over here.
    pub(super) fn look_inside(&self) -> bool {
        let inside = [
            self.terminal_id.is_some(),
            self.cashier_id.is_some(),
            self.client_nif.is_some(),
            self.payment_method.is_some(),
            self.currency.is_some(),
            self.min_total.is_some(),
            self.max_total.is_some(),
            self.tax_group.is_some(),
            self.original.is_some(),
            self.dgi_status.is_some(),
        ];
        inside.contains(&true)
    }

    /// Whether a record is of the kinds and the time: what a search by number leaves to be looked at.
    pub(super) fn match_record(&self, record: &Record<'_>) -> bool {
        let time = record.timestamp.get();
        let in_time = time >= self.from_ms && (self.until_ms == 0 || time < self.until_ms);
        in_time && self.kinds.contains(&record.kind)
    }

    /// Whether the tax authority has an invoice as far as asked for.
    pub(super) fn match_status(&self, status: &str) -> bool {
        self.dgi_status.as_ref().is_none_or(|wanted| wanted == status)
    }

    /// Whether what an invoice says is asked for.
    pub(super) fn match_document(&self, document: &Document) -> bool {
        let same = |wanted: &Option<String>, given: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == given)
        };
        let total = parse_fixed(&document.totals.total, 2).ok().and_then(Amount::from_wide);
        let total = total.unwrap_or(Amount::ZERO);
        let original = document.original_fiscal_number.as_deref().unwrap_or("");
        same(&self.terminal_id, &document.pos_terminal_id)
            && same(&self.cashier_id, &document.cashier_id)
            && same(&self.client_nif, &document.client.nif)
            && same(&self.currency, &document.totals.currency)
            && same(&self.original, original)
            && self.min_total.is_none_or(|least| total >= least)
            && self.max_total.is_none_or(|most| total <= most)
            && self.payment_method.is_none_or(|method| {
                document.payments.iter().any(|payment| payment.method == method.as_str())
            })
            && self.tax_group.as_ref().is_none_or(|group| {
                document.tax_groups.iter().any(|amounts| amounts.code == *group)
            })
    }
}

/// Online, offline and by a real device.
pub(super) fn kinds_of(invoice_type: InvoiceType) -> [RecordKind; 3] {
    [
        RecordKind::Invoice(invoice_type),
        RecordKind::Offline(invoice_type),
        RecordKind::Def(invoice_type),
    ]
}

pub(super) fn every_kind() -> Vec<RecordKind> {
    InvoiceType::ALL.into_iter().flat_map(kinds_of).collect()
}

/// A list that is asked for.
#[derive(Debug, Clone)]
pub(in crate::api::invoices) struct Asked {
    pub(super) filters: Filters,
    pub(super) sort: Sort,
    pub(super) limit: usize,
    pub(super) cursor: Option<String>,
    pub(super) consistency: Consistency,
    pub(super) proof: bool,
    /// A hash of filters and order: a cursor goes on with the same only.
    pub(super) fingerprint: String,
}
