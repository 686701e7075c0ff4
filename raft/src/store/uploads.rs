//! Invoices that the tax authority has refused, by their rows.

use fiscus_ledger::state::Id;
use fiscus_ledger::state::table::Row;
use fiscus_ledger::state::upload::Upload;

use crate::store::read::Reading;
use crate::store::replica::StoreError;

/// An invoice's number and its row.
pub type FoundUpload = (Id, Upload);

impl Reading {
    /// An outlet's refused invoices behind a number, at most `limit`, in the order of their stored keys.
    pub fn uploads(
        &self,
        outlet_id: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<FoundUpload>, StoreError> {
        let outlet = Id::from(outlet_id);
        let mut from = Upload::stored_key(&(outlet.clone(), Id::from(after)));
        // The key ends with the number and its length, so that nothing stands between it and the next one.
        from.push(0);
        // A key begins with the table and the outlet; the number's length and text come after that.
        let begin = Upload::stored_key(&(outlet, Id::from(""))).len() - 4;
        let mut end = from[..begin].to_vec();
        end.extend_from_slice(&[u8::MAX; 5]);
        let rows = self.range(&from, Some(&end), limit)?;
        let found = rows.iter().map(|(key, row)| {
            let number = key.get(begin + 4..).and_then(|text| std::str::from_utf8(text).ok());
            let number = number.ok_or_else(|| self.unreadable("upload key", "it is not text"))?;
            let upload = Upload::from_stored(row)
                .map_err(|error| self.unreadable(Upload::NAME, &error.to_string()))?;
            Ok((Id::from(number), upload))
        });
        found.collect()
    }
}
