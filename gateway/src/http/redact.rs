//! Keeps keys out of what is logged and answered, also where a client puts one by mistake.

use std::borrow::Cow;

use crate::access::keys::PREFIX;

/// The text without the secrets of keys: of `fsk_id_secret` only `fsk_id_…` is left.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    if !text.contains(PREFIX) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let (before, key) = rest.split_at(at + PREFIX.len());
        out.push_str(before);
        let id = key.bytes().take_while(u8::is_ascii_alphanumeric).count();
        out.push_str(&key[..id]);
        rest = &key[id..];
        if let Some(secret) = rest.strip_prefix('_') {
            let length = secret.bytes().take_while(u8::is_ascii_alphanumeric).count();
            // What was taken out before stays as it is.
            out.push_str(if length == 0 { "_" } else { "_…" });
            rest = &secret[length..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_goes() {
        assert_eq!(redact("GET /api/v1/outlets"), "GET /api/v1/outlets");
        assert_eq!(redact("/x/fsk_ab12_5ec2e7/y fsk_c_d"), "/x/fsk_ab12_…/y fsk_c_…");
        assert_eq!(redact("fsk_"), "fsk_");
        assert_eq!(redact("fsk_a"), "fsk_a");
        assert_eq!(redact("fsk_ab12_…"), "fsk_ab12_…", "once is as good as twice");
        assert_eq!(redact("a fsk_é_b"), "a fsk_é_b");
    }
}
