//! What must not pass: every changed byte of small samples, thousands of changed places of larger ones, and what
//! somebody with a reason would do to a receipt, an export, a range, a log or a policy. Each attack is refused for
//! its own reason; what was not touched passes.

#[path = "../support/forge.rs"]
mod forge;
#[path = "../support/random.rs"]
mod random;

mod devices;
mod exports;
mod leaves;
mod logs;
mod mutation;
mod policies;
mod ranges;
mod receipts;

use std::io::Cursor;

use fiscus_verify::{
    ExportOptions, ExportSummary, Failure, Kind, Policy, VerifyError, verify_export,
};

/// A policy that names no other file.
fn policy(text: &str) -> Policy {
    Policy::parse(text, |name| panic!("the policy names the file {name}"))
        .expect("the policy is right")
}

fn found(error: VerifyError) -> Failure {
    match error {
        VerifyError::Found(failure) => failure,
        VerifyError::Read(error) => panic!("memory cannot be read: {error}"),
    }
}

fn export(text: &[u8], policy: &Policy) -> Result<ExportSummary, Failure> {
    let options = ExportOptions { threads: 2 };
    verify_export(Cursor::new(text), policy, options, |_| {}).map_err(found)
}

/// The kind for which something is refused.
fn refused<T: std::fmt::Debug>(checked: Result<T, Failure>) -> Kind {
    match checked {
        Ok(passed) => panic!("it passed: {passed:?}"),
        Err(failure) => {
            assert!(!failure.place.is_empty() && !failure.detail.is_empty(), "{failure:?}");
            failure.kind
        }
    }
}

#[test]
fn every_kind_has_an_exit_code_of_its_own() {
    let mut codes: Vec<u8> = Kind::ALL.iter().map(|kind| kind.exit_code()).collect();
    codes.dedup();
    assert_eq!(codes, [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    let mut words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Kind::ALL.len());
}
