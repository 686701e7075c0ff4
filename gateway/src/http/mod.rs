//! The conventions that every answer keeps: request ids, problems, bodies, parameters, lists.

pub mod body;
pub mod context;
pub mod decimal;
pub mod fields;
pub mod idempotency;
pub mod lines;
pub mod list;
pub mod negotiate;
pub mod parameters;
pub mod policy;
pub mod problem;
pub mod problems;
pub mod redact;
pub mod tagged;

pub use body::Body;
pub use context::RequestContext;
pub use decimal::Decimal;
pub use fields::Fields;
pub use idempotency::IdempotencyKey;
pub use parameters::{Parameters, PathOf};
pub use problem::{FieldError, Problem};
pub use problems::Problems;
pub use tagged::{Precondition, Tagged};
