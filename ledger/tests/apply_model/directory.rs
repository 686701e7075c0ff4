//! The directory's model and its commands.

use fiscus_ledger::manifest::Manifest;

pub(crate) fn sequence(_seed: u64, _manifests: &[Manifest]) {}
