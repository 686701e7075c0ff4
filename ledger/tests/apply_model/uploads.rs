//! What the tax authority answers, made and modelled.

use fiscus_ledger::commands::{GroupCommand, RecordUpload, UploadItem, UploadVerdict};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::state::Id;
use fiscus_ledger::state::upload::{Upload, Uploads};

use crate::answer::{Answer, Step};
use crate::generate::Generator;
use crate::model::{Checked, Model, Shop, refuse};
use crate::store::Store;

/// Everything that was said of a shop's invoices: position and word, in the order in which it was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uploaded {
    through: usize,
    said: Vec<(usize, &'static str)>,
}

impl Uploaded {
    fn last(&self, position: usize) -> Option<&'static str> {
        self.said.iter().rev().find(|(of, _)| *of == position).map(|(_, word)| *word)
    }
}

fn invoices(shop: &Shop) -> Vec<(usize, String)> {
    let numbered = shop.journal.iter().enumerate();
    numbered.filter_map(|(at, rec)| Some((at + 1, rec.number.clone()?))).collect()
}

impl Generator {
    /// Answers for the next invoices, or asks for refused ones again; now and then wrongly.
    pub(crate) fn upload(&mut self, model: &Model) -> Step<GroupCommand> {
        let outlet_id = self.outlet();
        let verdict = *self.random.pick(&UploadVerdict::ALL);
        let empty = (Vec::new(), Uploaded::default());
        let (all, uploads) =
            model.shop(&outlet_id).map_or(empty, |shop| (invoices(shop), shop.uploads.clone()));
        let again = self.random.percent(50);
        let wanted = |position: usize| match (verdict, uploads.last(position)) {
            (UploadVerdict::Again, word) => matches!(word, Some("rejected" | "failed")),
            (_, Some("queued")) => again,
            (_, None) => position > uploads.through,
            _ => false,
        };
        let mut next: Vec<_> = all.iter().filter(|(at, _)| wanted(*at)).cloned().collect();
        next.truncate(self.random.between(1, 4).try_into().unwrap());
        match self.random.below(16) {
            0 => next.reverse(),
            1 if !all.is_empty() => next.push(self.random.pick(&all).clone()),
            2 => next.push((0, "KIN-NONE-9".to_owned())),
            _ => {}
        }
        let refuses = matches!(verdict, UploadVerdict::Rejected | UploadVerdict::Failed);
        let code = if refuses != self.random.percent(2) { "NIF" } else { "" };
        let last = next.iter().map(|(at, _)| *at).max().unwrap_or(0).max(uploads.through);
        // Refused ones may be recorded ahead of those before them.
        let ahead = refuses && self.random.percent(50);
        let mut through = if ahead { uploads.through } else { last };
        let mut after = uploads.through;
        match self.random.below(20) {
            0 => after += 1,
            1 => through += 7,
            2 => through = through.saturating_sub(1),
            _ => {}
        }
        let items = next.into_iter().map(|(_, number)| UploadItem {
            fiscal_number: number.into(),
            code: code.into(),
            reason: if refuses { "no such buyer" } else { "" }.into(),
        });
        Step::plain(GroupCommand::RecordUpload(RecordUpload {
            outlet_id,
            verdict,
            destination: if self.random.percent(2) { "" } else { "dgi" }.into(),
            batch_id: "b1".into(),
            receipt: "".into(),
            after: after.try_into().unwrap(),
            through: through.try_into().unwrap(),
            items: items.collect(),
        }))
    }
}

impl Model {
    pub(crate) fn upload(&mut self, command: &RecordUpload) -> Checked<Answer> {
        use UploadVerdict::{Acknowledged, Again, Failed, Rejected};
        let refuses = matches!(command.verdict, Rejected | Failed);
        let has_codes = command.items.iter().any(|item| !item.code.is_empty());
        if command.destination.is_empty() || command.items.is_empty() || refuses != has_codes {
            return refuse("FIELD_INVALID");
        }
        let at = self.known(&command.outlet_id)?;
        let shop = &self.shops[at];
        if shop.fact.environment != Environment::Live {
            return refuse("UPLOAD_NOT_LIVE");
        }
        let mut positions: Vec<usize> = Vec::new();
        let all = invoices(shop);
        for item in &command.items {
            let found = all.iter().find(|(_, number)| **number == *item.fiscal_number);
            positions.push(found.ok_or(Answer::Refused("INVOICE_UNKNOWN"))?.0);
        }
        if !positions.is_sorted_by(|a, b| a < b) {
            return refuse("UPLOAD_OUT_OF_ORDER");
        }
        let last = |position: &usize| shop.uploads.last(*position);
        let through: usize = command.through.try_into().unwrap();
        if command.verdict == Again {
            if positions.iter().all(|position| last(position) == Some("queued")) {
                return Ok(Answer::Unchanged);
            }
            if !positions.iter().all(|at| matches!(last(at), Some("rejected" | "failed"))) {
                return refuse("UPLOAD_NOT_REFUSED");
            }
        } else {
            let after: usize = command.after.try_into().unwrap();
            let next = |position: &usize| match last(position) {
                None => *position > after,
                word => word == Some("queued"),
            };
            let within = |position: &usize| refuses || *position <= through;
            if after != shop.uploads.through
                || through < after
                || through > shop.journal.len()
                || !positions.iter().all(|position| next(position) && within(position))
            {
                return refuse("UPLOAD_OUT_OF_ORDER");
            }
        }
        let answer = self.write(at, "upload_event", None)?;
        let uploads = &mut self.shops[at].uploads;
        let word = match command.verdict {
            Acknowledged => "acknowledged",
            Rejected => "rejected",
            Failed => "failed",
            Again => "queued",
        };
        uploads.said.extend(positions.into_iter().map(|position| (position, word)));
        if command.verdict != Again {
            uploads.through = through;
        }
        Ok(answer)
    }
}

/// Compares a shop's row and the rows of its refused invoices with what was said.
pub(crate) fn check(store: &Store, shop: &Shop, found: &Uploads) {
    let count = |words: &[&str]| {
        let all = invoices(shop);
        let last = all.iter().filter_map(|(at, _)| shop.uploads.last(*at));
        last.filter(|word| words.contains(word)).count() as u64
    };
    let expected = Uploads {
        through: shop.uploads.through as u64,
        acknowledged: count(&["acknowledged"]),
        refused: count(&["rejected", "failed"]),
        again: count(&["queued"]),
    };
    assert_eq!(*found, expected, "uploads");
    for (position, number) in invoices(shop) {
        let key = (shop.fact.outlet_id.clone(), Id::from(number));
        let row: Option<Upload> = store.row(&key);
        let word = shop.uploads.last(position).filter(|word| *word != "acknowledged");
        assert_eq!(row.as_ref().map(|row| row.state.as_str()), word);
        if let Some(row) = row {
            assert_eq!(row.position, position as u64);
            let refused = shop
                .uploads
                .said
                .iter()
                .filter(|(of, word)| *of == position && ["rejected", "failed"].contains(word));
            assert_eq!(row.refusals as usize, refused.count());
        }
    }
}
