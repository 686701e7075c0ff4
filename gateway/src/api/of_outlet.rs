//! Lists of what outlets have several of: of one outlet, or of all that the key reaches.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::access::Caller;
use crate::http::Problem;
use crate::http::list::{Page, PageQuery};

/// Of which outlet, and which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfOutlet {
    /// Only this outlet's.
    #[param(example = "outlet-gombe")]
    outlet_id: Option<String>,
    /// How many items; 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl OfOutlet {
    /// The page of items that are sorted by outlet and id.
    pub(super) fn page<K, T>(
        self,
        caller: &Caller,
        mut all: Vec<(String, K)>,
        outlet_of: impl Fn(&K) -> &str,
        view: impl Fn(K) -> T,
    ) -> Result<Page<T>, Problem> {
        if let Some(outlet_id) = &self.outlet_id {
            caller.outlet(outlet_id)?;
            all.retain(|(_, item)| outlet_of(item) == outlet_id);
        }
        let query = PageQuery { limit: self.limit, cursor: self.cursor };
        query.page(all, caller.directory_as_of(), view)
    }
}
