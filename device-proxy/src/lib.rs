//! The fiscal-device protocol, for points of sale that know nothing else.

pub mod protocol;
