//! What the fuzz targets share: the manifest in force, sequences of commands made from bytes, and an auditor's policy.

pub mod auditor;
pub mod sequence;

use std::sync::OnceLock;

use fiscus_ledger::manifest::Manifest;

/// Noon of 21 November 2026, UTC.
pub const NOON_MS: u64 = 1_795_262_400_000;

/// The first manifest, parsed once.
pub fn manifest() -> &'static Manifest {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    MANIFEST.get_or_init(Manifest::builtin)
}
