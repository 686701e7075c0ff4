//! The reader of policies takes anything; a digest that is added to what it accepts is the right one.
#![no_main]

use fiscus_verify::{Policy, PolicyError};
use libfuzzer_sys::fuzz_target;

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, |name| Err(PolicyError::Form(format!("there is no file {name}"))))
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(policy) = parse(text) else { return };
    if text.ends_with('\n') && !text.contains("# digest ") {
        let sealed = parse(&format!("{text}{}\n", policy.digest_line()));
        assert_eq!(sealed.expect("the digest is right").digest_line(), policy.digest_line());
    }
});
