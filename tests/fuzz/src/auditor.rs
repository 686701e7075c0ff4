//! A policy under which the kept samples of what an auditor checks are genuine.

use std::sync::OnceLock;

use fiscus_verify::Policy;

const POLICY: &str = include_str!("../corpus/verify_policy/genuine.toml");

/// The policy, parsed once.
pub fn policy() -> &'static Policy {
    static PARSED: OnceLock<Policy> = OnceLock::new();
    PARSED.get_or_init(|| {
        let none = |name: &str| unreachable!("the policy names the file {name}");
        Policy::parse(POLICY, none).expect("the policy is right")
    })
}
