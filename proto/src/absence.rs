//! How a node says that a group does not live on it, which says nothing about the other nodes.

use tonic::Status;
use tonic::metadata::MetadataValue;

const MARK: &str = "fiscus-not-here";

/// The group is not on this node: it never was, it has left, or it is closed here.
#[must_use]
pub fn not_here(group: u64) -> Status {
    let mut status = Status::unavailable(format!("group {group} does not live on this node"));
    status.metadata_mut().insert(MARK, MetadataValue::from_static("1"));
    status
}

/// Whether a node has said so.
#[must_use]
pub fn is_not_here(status: &Status) -> bool {
    status.metadata().contains_key(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_so_is_absence() {
        assert!(is_not_here(&not_here(7)));
        assert!(!is_not_here(&Status::unavailable("group 7 does not live on this node")));
    }
}
