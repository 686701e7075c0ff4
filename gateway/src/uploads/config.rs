//! What a gateway is told of the tax authority. Every gateway of a cluster is told the same.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::network::Network;
use crate::webhooks::target::Target;

/// Where invoices are uploaded to, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadsSection {
    /// How records name the destination.
    #[serde(default = "name")]
    pub name: String,
    /// The adapter that speaks with it; `http-json` is the only one there is.
    #[serde(default)]
    pub adapter: AdapterKind,
    /// Where batches are posted to.
    pub url: String,
    /// A file with the key that is sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// A certificate that says who sends, in a PEM file; with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// The certificates that vouch for the destination; the system's unless it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Networks beside the public internet that the destination may be in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Network>,
    /// The destination may be plain HTTP: for development.
    #[serde(default)]
    pub plain_http: bool,
    /// It answers within this time.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Invoices of a batch at most.
    #[serde(default = "batch_max")]
    pub batch_max: usize,
    /// Invoices a second at most, of all gateways together.
    #[serde(default = "per_second")]
    pub per_second: u32,
    /// Batches that one gateway has on their way at once.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// So long an outlet's first invoice waits for others, so that a busy outlet has fewer batches.
    #[serde(default = "linger_ms")]
    pub linger_ms: u64,
    /// The first pause after an attempt without an answer; each further one is twice as long.
    #[serde(default = "retry_ms")]
    pub retry_ms: u64,
    /// The longest pause.
    #[serde(default = "retry_max_ms")]
    pub retry_max_ms: u64,
    /// An invoice that the destination could not take so often has failed.
    #[serde(default = "attempts_max")]
    pub attempts_max: u32,
    /// An invoice that is not answered after so long is an alarm.
    #[serde(default = "grace_ms")]
    pub grace_ms: u64,
}

/// How the destination is spoken with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdapterKind {
    /// The contract of docs/UPLOAD.md.
    #[default]
    #[serde(rename = "http-json")]
    HttpJson,
}

fn name() -> String {
    "dgi".to_owned()
}

fn timeout_ms() -> u64 {
    30_000
}

fn batch_max() -> usize {
    100
}

fn per_second() -> u32 {
    200
}

fn in_flight_max() -> usize {
    8
}

fn linger_ms() -> u64 {
    500
}

fn retry_ms() -> u64 {
    1_000
}

fn retry_max_ms() -> u64 {
    300_000
}

fn attempts_max() -> u32 {
    10
}

fn grace_ms() -> u64 {
    24 * 60 * 60 * 1_000
}

impl UploadsSection {
    /// Every default, to this destination.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self {
            name: name(),
            adapter: AdapterKind::HttpJson,
            url,
            key_file: None,
            client_cert: None,
            client_key: None,
            ca_file: None,
            allow: Vec::new(),
            plain_http: false,
            timeout_ms: timeout_ms(),
            batch_max: batch_max(),
            per_second: per_second(),
            in_flight_max: in_flight_max(),
            linger_ms: linger_ms(),
            retry_ms: retry_ms(),
            retry_max_ms: retry_max_ms(),
            attempts_max: attempts_max(),
            grace_ms: grace_ms(),
        }
    }

    pub(crate) fn check(&self, has_webhooks: bool) -> Result<(), ConfigError> {
        let rule = |holds: bool, field: &'static str, rule: &str| {
            if holds { Ok(()) } else { Err(ConfigError::Value { field, rule: rule.to_owned() }) }
        };
        rule(has_webhooks, "uploads", "needs the section webhooks, whose leases it shares")?;
        rule(
            fiscus_ledger::facts::is_identifier(&self.name),
            "uploads.name",
            "must have 1 to 64 printable bytes",
        )?;
        if let Err(error) = Target::parse(&self.url, self.plain_http) {
            return rule(false, "uploads.url", &error.to_string());
        }
        let pair = self.client_cert.is_some() == self.client_key.is_some();
        rule(pair, "uploads.client_cert", "goes with uploads.client_key")?;
        let has_identity = self.key_file.is_some() || self.client_cert.is_some();
        rule(has_identity, "uploads.key_file", "or uploads.client_cert must be there")?;
        rule(
            (1_000..=300_000).contains(&self.timeout_ms),
            "uploads.timeout_ms",
            "must be 1,000 to 300,000",
        )?;
        rule((1..=100).contains(&self.batch_max), "uploads.batch_max", "must be 1 to 100")?;
        rule(
            (1..=100_000).contains(&self.per_second),
            "uploads.per_second",
            "must be 1 to 100,000",
        )?;
        rule((1..=256).contains(&self.in_flight_max), "uploads.in_flight_max", "must be 1 to 256")?;
        rule(self.linger_ms <= 60_000, "uploads.linger_ms", "must be 0 to 60,000")?;
        rule(
            self.retry_ms >= 50
                && self.retry_ms <= self.retry_max_ms
                && self.retry_max_ms <= 86_400_000,
            "uploads.retry_ms",
            "must be at least 50, at most uploads.retry_max_ms, and that a day",
        )?;
        rule(
            (1..=1_000).contains(&self.attempts_max),
            "uploads.attempts_max",
            "must be 1 to 1,000",
        )?;
        rule(
            (1_000..=31_536_000_000).contains(&self.grace_ms),
            "uploads.grace_ms",
            "must be 1,000 to 31,536,000,000",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        let sound = || UploadsSection {
            key_file: Some("key".into()),
            ..UploadsSection::new("https://mcf.example.cd/upload".to_owned())
        };
        assert!(sound().check(true).is_ok());
        assert!(sound().check(false).is_err());
        type Change = fn(&mut UploadsSection);
        let wrong: [Change; 9] = [
            |it| it.url = "http://mcf.example.cd/".to_owned(),
            |it| it.key_file = None,
            |it| it.client_cert = Some("cert".into()),
            |it| it.batch_max = 101,
            |it| it.per_second = 0,
            |it| it.retry_ms = 900_000,
            |it| it.name = String::new(),
            |it| it.grace_ms = 999,
            |it| it.grace_ms = 31_536_000_001,
        ];
        for change in wrong {
            let mut section = sound();
            change(&mut section);
            assert!(section.check(true).is_err(), "{section:?}");
        }
    }
}
