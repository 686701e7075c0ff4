//! A batch: one request for many, let in as one, paid for item by item.

use tokio::sync::OwnedSemaphorePermit;

use super::caller::Caller;
use super::outlet::Outlet;
use super::places::Place;
use super::rates::Counted;
use crate::http::Problem;

/// A batch's place, until it is dropped.
#[derive(Debug)]
pub struct BatchPlace {
    _of_organisation: Place,
    _of_gateway: OwnedSemaphorePermit,
}

impl Caller {
    /// A place for a batch; none when this gateway serves as many as it may, in all or of this organisation.
    #[must_use]
    pub fn batch_place(&self) -> Option<BatchPlace> {
        let (_of_organisation, _of_gateway) = self.app().admit_batch(self.organisation())?;
        Some(BatchPlace { _of_organisation, _of_gateway })
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
