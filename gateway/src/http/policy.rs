//! What a browser may do with a page of ours: show it in its one style, and nothing else.

use axum::http::HeaderValue;
use fiscus_ledger::base64::encode_standard;
use ring::digest::{SHA256, digest};

/// The `Content-Security-Policy` of a page whose only style sheet is this text, within the page.
#[must_use]
pub fn page_policy(style: &str) -> HeaderValue {
    let hash = encode_standard(digest(&SHA256, style.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("a policy is a header's value")
}
