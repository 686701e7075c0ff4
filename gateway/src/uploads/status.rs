//! How far the tax authority has an invoice, in the words that callers see.

use fiscus_ledger::facts::Environment;
use fiscus_proto::ledger::{UploadState, UploadStatus};

/// The words, in the order in which an invoice goes through them.
pub(crate) const STATUSES: [&str; 6] =
    ["none", "queued", "uploading", "acknowledged", "rejected", "failed"];

/// The word for an invoice of a live outlet that was just read, or just sealed; `none` of a sandbox's.
pub(crate) fn dgi_status(environment: Environment, upload: Option<&UploadStatus>) -> &'static str {
    if environment == Environment::Sandbox {
        return "none";
    }
    match upload.map(UploadStatus::state) {
        Some(UploadState::Acknowledged) => "acknowledged",
        Some(UploadState::Rejected) => "rejected",
        Some(UploadState::Failed) => "failed",
        Some(UploadState::Queued | UploadState::Unspecified) | None => "queued",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_has_no_status_and_what_was_just_sealed_is_queued() {
        let status =
            |state: UploadState| UploadStatus { state: state.into(), ..UploadStatus::default() };
        let of = |state| dgi_status(Environment::Live, Some(&status(state)));
        assert_eq!(dgi_status(Environment::Live, None), "queued");
        assert_eq!(of(UploadState::Queued), "queued");
        assert_eq!(of(UploadState::Acknowledged), "acknowledged");
        assert_eq!(of(UploadState::Rejected), "rejected");
        assert_eq!(of(UploadState::Failed), "failed");
        let acknowledged = status(UploadState::Acknowledged);
        assert_eq!(dgi_status(Environment::Sandbox, Some(&acknowledged)), "none");
    }
}
