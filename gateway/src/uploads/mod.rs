//! Uploads to the tax authority.

pub(crate) mod status;
