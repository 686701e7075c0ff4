//! The log against the disk that forgets, tears and corrupts.

mod basics;
