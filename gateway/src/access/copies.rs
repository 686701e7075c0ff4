//! How often a receipt was given out. Two original receipts of one sale must not exist, whichever gateways are
//! asked: the count is compared and set in the directory, and each copy is a line of the log of actions.

use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::outlet::Outlet;
use super::reports::crowded;
use super::ring::ATTEMPTS_MAX;
use crate::directory::Stored;
use crate::directory::documents::kind;
use crate::http::Problem;

/// The last copy of a receipt. Its version is how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReceiptCopy {
    /// The outlet.
    pub outlet_id: String,
    /// When it was given out, by the gateway's clock.
    pub time_ms: u64,
}

impl Stored for ReceiptCopy {
    const KIND: &'static str = kind::RECEIPT_COPY;
}

impl Caller {
    /// Counts a copy that is about to be given out, in a form such as `pdf`. How many there were before.
    pub async fn count_copy(
        &self,
        outlet: &Outlet,
        fiscal_number: &str,
        form: &str,
    ) -> Result<u64, Problem> {
        for _ in 0..ATTEMPTS_MAX {
            let known = self.document(kind::RECEIPT_COPY, fiscal_number).await?;
            let before = known.map_or(0, |document| document.version);
            let action = if before == 0 { "receipt.original" } else { "receipt.duplicate" };
            let copy = ReceiptCopy { outlet_id: outlet.id().to_owned(), time_ms: self.now().get() };
            let change = self
                .change(self.organisation(), action, "invoice", fiscal_number)
                .outlet(outlet.id())
                .detail("form", form)
                .detail("copy", &before.to_string())
                .put(fiscal_number, before, &copy);
            match change.commit().await {
                Ok(_) => return Ok(before),
                Err(problem) if problem.code == "VERSION_CONFLICT" => {}
                Err(problem) => return Err(problem),
            }
        }
        Err(crowded())
    }
}
