//! The key-value index.
