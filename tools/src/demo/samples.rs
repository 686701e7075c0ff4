//! What a demonstration cluster is filled with: what the registry holds, and a few invoices of each kind. Every step can be repeated: it is made once, under the same keys.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use fiscus_ledger::facts::Environment;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::invoice::parse_lenient;
use fiscus_ledger::keys::{AuthorityKey, KeySet, KeyStatus};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::qr::{QrFields, QrPayload};
use fiscus_ledger::record::Record;
use fiscus_ledger::seal::AuthCode;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::{Answer, ClusterClient, SubmitError};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::{Consistency, JournalRecord};

use super::cluster_files::{Layout, VERIFY_HOST, write};
use super::registry::{self, OUTLETS, SampleOutlet};
use crate::admin::cluster::Cluster;

pub(super) const GROUP: u64 = 1;
pub(super) const TERMINAL: &str = "till-1";
pub(super) const CASHIER: &str = "cashier-7";
const WAIT: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

const INVOICES: [(&str, &str); 6] = [
    ("sale", include_str!("../../../docs/samples/sale.json")),
    ("inclusive", include_str!("../../../docs/samples/inclusive.json")),
    ("usd", include_str!("../../../docs/samples/usd.json")),
    ("export", include_str!("../../../docs/samples/export.json")),
    ("embassy", include_str!("../../../docs/samples/embassy.json")),
    ("credit-note", include_str!("../../../docs/samples/credit_note.json")),
];

/// What there is now.
pub(super) struct Sold {
    pub(super) organisations: usize,
    pub(super) merchants: usize,
    pub(super) outlets: usize,
    pub(super) invoices: usize,
    /// The first receipt,
    pub(super) receipt: PathBuf,
    /// its number,
    pub(super) number: String,
    /// and its code.
    pub(super) auth_code: AuthCode,
    /// The owner's key to the API.
    pub(super) api_key: String,
}

/// Fills the cluster, and writes the receipts and the published keys.
pub(super) async fn fill(cluster: &Cluster, layout: &Layout) -> Result<Sold> {
    let client = cluster.client().await?;
    let registered = registry::fill(&client, layout).await?;
    let receipts = layout.dir().join("receipts");
    std::fs::create_dir_all(&receipts).with_context(|| receipts.display().to_string())?;
    let mut first = None;
    let mut invoices = 0;
    for outlet in &OUTLETS {
        for (name, text) in INVOICES {
            let record = seal(&client, outlet, name, text).await?;
            let (number, auth_code, url) = receipt(&record)?;
            let path = receipts.join(format!("{number}.txt"));
            write(&path, &format!("{url}\n"))?;
            first.get_or_insert((path, number, auth_code));
            invoices += 1;
        }
    }
    write(&layout.dir().join("fiscal-keys.json"), &published_keys(&client).await?)?;
    write(&layout.sale_path(), INVOICES[0].1)?;
    let (receipt, number, auth_code) = first.context("there are invoices")?;
    Ok(Sold {
        organisations: registered.organisations,
        merchants: registered.merchants,
        outlets: OUTLETS.len(),
        invoices,
        receipt,
        number,
        auth_code,
        api_key: registered.api_key,
    })
}

/// Sends a command until it has a clear answer.
pub(super) async fn submit(
    client: &ClusterClient,
    group: u64,
    kind: command::Command,
) -> Result<Answer> {
    let command = Command { command: Some(kind) };
    loop {
        match client.submit(group, command.clone(), WAIT).await {
            Ok(answer) => return Ok(answer),
            // Everything that is sent here may be sent again.
            Err(SubmitError::Unknown { .. } | SubmitError::Busy { .. }) => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Seals a sample for an outlet. An outlet that was registered just now takes a moment to be known to
/// its group, and so does the manifest.
async fn seal(
    client: &ClusterClient,
    outlet: &SampleOutlet,
    name: &str,
    sample: &str,
) -> Result<JournalRecord> {
    let text = sample
        .replace("outlet-gombe", outlet.id)
        .replace("KIN-GOMBE", &format!("KIN-{}", outlet.code))
        .replace("A1234567B", outlet.merchant_nif);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now = UnixMs::new(u64::try_from(now)?);
    let parsed = parse_lenient(text.as_bytes(), &Manifest::builtin(), now)
        .map_err(|problem| anyhow::anyhow!("the sample {name}: {problem}"))?;
    let key = blake3::hash(format!("demo/{}/{name}", outlet.id).as_bytes());
    let seal = proto::Seal {
        submitted: Some(proto::Submitted {
            outlet_id: outlet.id.to_owned(),
            key: key.as_bytes()[..16].to_vec().into(),
            fingerprint: parsed.fingerprint.to_vec().into(),
        }),
        terminal_id: TERMINAL.to_owned(),
        device_id: None,
        payload: parsed.invoice.canonical_bytes().to_vec().into(),
    };
    let until = tokio::time::Instant::now() + WAIT;
    loop {
        match submit(client, GROUP, command::Command::Seal(seal.clone())).await? {
            Answer::Recorded(record) | Answer::AlreadyRecorded(record) => return Ok(record),
            Answer::Refused(refusal)
                if ["OUTLET_UNKNOWN", "NO_MANIFEST"].contains(&refusal.code.as_str()) =>
            {
                ensure!(
                    tokio::time::Instant::now() < until,
                    "{}: {}",
                    refusal.code,
                    refusal.detail
                );
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            answer => bail!("the sample {name} of {} was not sealed: {answer:?}", outlet.id),
        }
    }
}

/// A receipt's number, its code, and the text of its QR code.
fn receipt(sealed: &JournalRecord) -> Result<(String, AuthCode, String)> {
    let record = Record::decode(&sealed.record).context("the sealed record")?;
    let signature: [u8; 64] =
        (&*sealed.signature).try_into().context("a signature has 64 bytes")?;
    let auth_code = AuthCode::of_signature(&signature);
    let payload = QrPayload::new(QrFields::of_online_seal(VERIFY_HOST, &record, signature))?;
    Ok((record.fiscal_number.to_owned(), auth_code, payload.to_url()))
}

/// The authorities of the data group, as they are published.
async fn published_keys(client: &ClusterClient) -> Result<String> {
    let group = client.read_group(GROUP, Consistency::Linearizable, WAIT).await?;
    let keys = group.authorities.iter().filter(|known| known.status != "prepared").map(|known| {
        let public_key = Hash32::try_from(&*known.public_key).context("a key has 32 bytes")?;
        let retired = known.status == "retired";
        Ok(AuthorityKey {
            id: known.id.clone(),
            public_key: ed25519_dalek::VerifyingKey::from_bytes(&public_key)
                .context("the authority's key")?,
            valid_from: UnixMs::new(known.valid_from_ms.unwrap_or(0)),
            valid_until: known.valid_until_ms.map(UnixMs::new),
            status: if retired { KeyStatus::Retired } else { KeyStatus::Active },
            environment: match known.environment() {
                proto::Environment::Sandbox => Environment::Sandbox,
                _ => Environment::Live,
            },
        })
    });
    Ok(KeySet::new(keys.collect::<Result<Vec<_>>>()?)?.to_json())
}
