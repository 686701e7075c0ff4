//! A batch: one request for many, let in as one, paid for item by item.

use tokio::sync::OwnedSemaphorePermit;

use super::caller::Caller;
use super::outlet::Outlet;
use super::rates::Counted;
use crate::http::Problem;

impl Caller {
    /// A place for a batch; none when this gateway serves as many as it may.
    #[must_use]
    pub fn batch_place(&self) -> Option<OwnedSemaphorePermit> {
        self.app().admit_batch()
    }

    /// Counts items of a batch that was let in. They are never refused; what they are over the tier, the key's next
    /// requests wait for.
    pub fn charge(&self, items: u32) {
        let tier = self.app().rates().tier(&self.key().tier);
        self.app().rates().charge(&Counted::Key(self.key().id.clone()), tier, items);
    }

    /// An outlet of the caller's for an item of a batch, which is counted for the key already.
    pub fn outlet_of_item(&self, outlet_id: &str) -> Result<Outlet, Problem> {
        self.reach_outlet(outlet_id)
    }
}
