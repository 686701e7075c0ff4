//! The fiscal device of a demonstration: registered, activated, and with a sale to try it with.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fiscus_ledger::activation::{RANDOM_BYTES, activation_code, activation_hash};
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, command};
use ring::rand::{SecureRandom, SystemRandom};

use super::cluster_files::{DEVICE, Layout, write};
use super::registry::OUTLETS;
use super::samples::submit;

/// What the device says of its key: in this proxy the cluster is the key.
const PUBLIC_KEY: [u8; 32] = [0; 32];

/// Makes what is not there yet.
pub(super) async fn fill(client: &ClusterClient, layout: &Layout) -> Result<()> {
    register(client).await?;
    if !layout.device_sale_path().exists() {
        write(&layout.device_sale_path(), &sale()?)?;
    }
    Ok(())
}

async fn register(client: &ClusterClient) -> Result<()> {
    let mut random = [0; RANDOM_BYTES];
    ensure!(SystemRandom::new().fill(&mut random).is_ok(), "there is no randomness");
    let hash = activation_hash(&activation_code(DEVICE, random)).to_vec();
    let register = proto::RegisterDevice {
        device_id: DEVICE.to_owned(),
        outlet_id: OUTLETS[0].id.to_owned(),
        activation_hash: hash.clone().into(),
    };
    match submit(client, 0, command::Command::RegisterDevice(register)).await? {
        Answer::Recorded(_) | Answer::AlreadyRecorded(_) => {}
        // It was there before.
        Answer::Refused(refusal) if refusal.code == "DEVICE_EXISTS" => return Ok(()),
        answer => bail!("the device {DEVICE} was not registered: {answer:?}"),
    }
    let activate = proto::ActivateDevice {
        activation_hash: hash.into(),
        public_key: PUBLIC_KEY.to_vec().into(),
    };
    match submit(client, 0, command::Command::ActivateDevice(activate)).await? {
        Answer::Recorded(_) | Answer::AlreadyRecorded(_) => Ok(()),
        answer => bail!("the device {DEVICE} was not activated: {answer:?}"),
    }
}

fn sale() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let sample = include_str!("../../../docs/samples/sale.json");
    let now = UnixMs::new(u64::try_from(now)?);
    let parsed = parse_lenient(sample.as_bytes(), &Manifest::builtin(), now)
        .map_err(|problem| anyhow!("the sample sale: {problem}"))?;
    let bytes = parsed.invoice.canonical_bytes().to_vec();
    String::from_utf8(bytes).context("a canonical invoice is text")
}
