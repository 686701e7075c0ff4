//! The fiscal REST API.

pub mod render;
