//! Randomness from the operating system: the core takes it as an argument.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

/// Bytes that nobody can guess.
pub(crate) fn random_bytes<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let mut source = File::open("/dev/urandom").context("/dev/urandom cannot be opened")?;
    source.read_exact(&mut bytes).context("/dev/urandom cannot be read")?;
    Ok(bytes)
}
