//! The replicated state of a group, as rows with one spelling each, and the part of it that a batch
//! works on.

pub mod block;
pub mod group;
pub mod outlet;
pub mod ranges;
pub mod registry;
pub mod rows;
pub mod table;
pub mod tally;
pub mod upload;
pub mod working;

use std::sync::Arc;

use crate::codec::{DecodeError, Reader};

/// Text that names something. Cheap to copy; ordered by its bytes.
pub type Id = Arc<str>;

pub(crate) fn read_id(from: &mut Reader<'_>, field: &'static str) -> Result<Id, DecodeError> {
    from.str(field).map(Id::from)
}
