//! Publishes a tax manifest with a date to come.

use super::directory_fact::apply_manifest;
use super::{Context, no_authority};
use crate::apply::ApplyError;
use crate::facts::Fact;
use crate::manifest::Manifest;
use crate::outcome::{Outcome, RefusalCode};
use crate::state::registry::Document;
use crate::state::working::Reads;

/// Publishes one manifest. Only the very first may be in force at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishManifest {
    /// The manifest's JSON.
    pub json: String,
}

impl PublishManifest {
    pub(super) fn read(&self, reads: &mut Reads) {
        if let Ok(manifest) = Manifest::parse(&self.json) {
            reads.documents.insert(("manifest".into(), manifest.version().into()));
        }
    }

    pub(super) fn apply(&self, cx: &mut Context<'_>) -> Result<Outcome, ApplyError> {
        let manifest = match Manifest::parse(&self.json) {
            Ok(manifest) => manifest,
            Err(problem) => {
                return Ok(Outcome::refused(RefusalCode::DocumentInvalid, problem.to_string()));
            }
        };
        let key = ("manifest".into(), manifest.version().into());
        let group = &cx.state.group;
        let first = group.manifests.is_empty();
        if cx.state.documents.get(&key)?.is_some()
            || (!first && manifest.effective_from() <= group.time)
        {
            let detail = format!(
                "manifest {} exists, or would take effect in the past; choose a new version and date",
                manifest.version()
            );
            return Ok(Outcome::refused(RefusalCode::ManifestConflict, detail));
        }
        if group.chain_authority().is_none() {
            return Ok(no_authority());
        }
        let bytes = Fact::Manifest(manifest.clone()).encode();
        cx.state.documents.put(key, Document { version: 1, bytes });
        Ok(apply_manifest(cx, manifest))
    }
}
