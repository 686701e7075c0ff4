//! What the directory of a demonstration holds: an organisation with its merchants, outlets, terminals and
//! cashiers, and its owner's key to the API.

use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use fiscus_gateway::access::Role;
use fiscus_gateway::access::keys::{ID_BYTES, KeyText, SECRET_BYTES, new_id, new_secret};
use fiscus_gateway::directory::documents::{
    ApiKey, Cashier, KeySecret, Merchant, Organisation, OutletProfile, Region, TerminalProfile,
    kind,
};
use fiscus_ledger::facts::{Fact, TerminalFact};
use fiscus_proto::client::{Answer, ClusterClient};
use fiscus_proto::command::{self as proto, command};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use super::cluster_files::{Layout, write_secret};
use super::samples::{CASHIER, GROUP, TERMINAL, submit};

/// An outlet, its merchant, and the code in its fiscal numbers.
pub(super) struct SampleOutlet {
    pub(super) id: &'static str,
    pub(super) merchant_nif: &'static str,
    pub(super) code: &'static str,
    name: &'static str,
    address: &'static str,
}

struct SampleMerchant {
    nif: &'static str,
    name: &'static str,
    rccm: &'static str,
    address: &'static str,
}

const ORGANISATION: &str = "org-kivu-retail";
const REGION: &str = "kinshasa";
const MERCHANTS: [SampleMerchant; 2] = [
    SampleMerchant {
        nif: "A1234567B",
        name: "Alimentation Gombe SARL",
        rccm: "CD/KNG/RCCM/21-B-01234",
        address: "12, avenue du Commerce, Gombe, Kinshasa",
    },
    SampleMerchant {
        nif: "B7654321C",
        name: "Pharmacies du Fleuve SA",
        rccm: "CD/KNG/RCCM/19-B-04321",
        address: "48, boulevard du 30 Juin, Gombe, Kinshasa",
    },
];
pub(super) const OUTLETS: [SampleOutlet; 4] = [
    SampleOutlet {
        id: "outlet-gombe",
        merchant_nif: "A1234567B",
        code: "GOMBE",
        name: "Alimentation Gombe, centre-ville",
        address: "12, avenue du Commerce, Gombe",
    },
    SampleOutlet {
        id: "outlet-limete",
        merchant_nif: "A1234567B",
        code: "LIMETE",
        name: "Alimentation Gombe, Limete",
        address: "7e rue, Limete industriel",
    },
    SampleOutlet {
        id: "outlet-matete",
        merchant_nif: "B7654321C",
        code: "MATETE",
        name: "Pharmacie de Matete",
        address: "3, avenue de la Paix, Matete",
    },
    SampleOutlet {
        id: "outlet-ngaliema",
        merchant_nif: "B7654321C",
        code: "NGALIEMA",
        name: "Pharmacie de Ngaliema",
        address: "21, avenue de la Justice, Ngaliema",
    },
];

/// What is registered now.
pub(super) struct Registered {
    pub(super) organisations: usize,
    pub(super) merchants: usize,
    /// The owner's key, as it is sent.
    pub(super) api_key: String,
}

/// Registers everything that is not there yet.
pub(super) async fn fill(client: &ClusterClient, layout: &Layout) -> Result<Registered> {
    let created_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let organisation = Organisation { name: "Kivu Retail".to_owned(), created_ms };
    put_json(client, kind::ORGANISATION, ORGANISATION, &organisation).await?;
    let region = Region {
        organisation: ORGANISATION.to_owned(),
        region_id: REGION.to_owned(),
        name: "Kinshasa".to_owned(),
        created_ms,
    };
    put_json(client, kind::REGION, &format!("{ORGANISATION}/{REGION}"), &region).await?;
    for sample in &MERCHANTS {
        let merchant = Merchant {
            nif: sample.nif.to_owned(),
            organisation: ORGANISATION.to_owned(),
            name: sample.name.to_owned(),
            rccm: sample.rccm.to_owned(),
            address: sample.address.to_owned(),
            created_ms,
        };
        put_json(client, kind::MERCHANT, sample.nif, &merchant).await?;
    }
    for outlet in &OUTLETS {
        register(client, outlet).await?;
        describe(client, outlet, created_ms).await?;
    }
    let api_key = api_key(layout)?;
    let document = owners_key(&api_key, created_ms)?;
    put_json(client, kind::API_KEY, &document.id, &document).await?;
    Ok(Registered { organisations: 1, merchants: MERCHANTS.len(), api_key })
}

async fn register(client: &ClusterClient, outlet: &SampleOutlet) -> Result<()> {
    let fact = proto::OutletFact {
        outlet_id: outlet.id.to_owned(),
        merchant_nif: outlet.merchant_nif.to_owned(),
        prefix: "KIN".to_owned(),
        code: outlet.code.to_owned(),
        group: GROUP,
        status: proto::OutletStatus::Active.into(),
        environment: proto::Environment::Live.into(),
        signing_mode: proto::SigningMode::Cluster.into(),
    };
    let register = proto::RegisterOutlet { fact: Some(fact) };
    match submit(client, 0, command::Command::RegisterOutlet(register)).await? {
        Answer::Recorded(_) => Ok(()),
        Answer::Refused(refusal) if refusal.code == "OUTLET_EXISTS" => Ok(()),
        answer => bail!("the outlet {} was not taken: {answer:?}", outlet.id),
    }
}

/// The outlet's terminal and cashier, and what people want to know of all three.
async fn describe(client: &ClusterClient, outlet: &SampleOutlet, created_ms: u64) -> Result<()> {
    let outlet_id = outlet.id.to_owned();
    let profile = OutletProfile {
        outlet_id: outlet_id.clone(),
        name: outlet.name.to_owned(),
        region: REGION.to_owned(),
        address: outlet.address.to_owned(),
        phone: "+243 81 555 01 23".to_owned(),
        created_ms,
    };
    put_json(client, kind::OUTLET_PROFILE, outlet.id, &profile).await?;
    let terminal = Fact::Terminal(TerminalFact {
        outlet_id: outlet.id.into(),
        terminal_id: TERMINAL.into(),
        blocked: false,
    });
    let id = format!("{outlet_id}/{TERMINAL}");
    put(client, kind::TERMINAL, &id, terminal.encode()).await?;
    let profile = TerminalProfile {
        outlet_id: outlet_id.clone(),
        terminal_id: TERMINAL.to_owned(),
        name: "Caisse 1".to_owned(),
        created_ms,
    };
    put_json(client, kind::TERMINAL_PROFILE, &id, &profile).await?;
    let id = format!("{outlet_id}/{CASHIER}");
    let cashier = Cashier {
        outlet_id,
        cashier_id: CASHIER.to_owned(),
        name: "Béatrice Mukendi".to_owned(),
        active: true,
        created_ms,
    };
    put_json(client, kind::CASHIER, &id, &cashier).await
}

/// The key that the directory remembers, or a new one: kept before it is registered, so that it is never lost.
fn api_key(layout: &Layout) -> Result<String> {
    let path = layout.api_key_path();
    if path.exists() {
        let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
        ensure!(
            mode & 0o077 == 0,
            "{} can be read by others (mode {mode:o}); run `chmod 600` on it",
            path.display()
        );
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        return Ok(text.trim().to_owned());
    }
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    let random = SystemRandom::new();
    ensure!(
        random.fill(&mut id).is_ok() && random.fill(&mut secret).is_ok(),
        "there is no randomness"
    );
    let (text, _) = new_secret(&new_id(&id), &secret);
    write_secret(&path, format!("{text}\n").as_bytes())?;
    Ok(text)
}

/// The document of the owner's key.
fn owners_key(text: &str, created_ms: u64) -> Result<ApiKey> {
    let key = KeyText::parse(text).context("the file api-key holds no key; remove it")?;
    let secret = KeySecret {
        id: "1".to_owned(),
        hash: key.secret_hash().to_hex().to_string(),
        created_ms,
        expires_ms: 0,
        revoked_ms: 0,
    };
    Ok(ApiKey {
        id: key.id.to_owned(),
        name: "demonstration".to_owned(),
        organisation: ORGANISATION.to_owned(),
        role: Role::Owner.as_str().to_owned(),
        scopes: Vec::new(),
        outlets: Vec::new(),
        regions: Vec::new(),
        tier: "enterprise".to_owned(),
        secrets: vec![secret],
        revoked_ms: 0,
        expires_ms: 0,
        created_ms,
    })
}

async fn put_json(
    client: &ClusterClient,
    kind: &str,
    id: &str,
    value: &impl Serialize,
) -> Result<()> {
    put(client, kind, id, serde_json::to_vec(value).context("a document")?).await
}

async fn put(client: &ClusterClient, kind: &str, id: &str, bytes: Vec<u8>) -> Result<()> {
    let put = proto::PutDocument {
        kind: kind.to_owned(),
        id: id.to_owned(),
        expected_version: 0,
        bytes: bytes.into(),
    };
    match submit(client, 0, command::Command::PutDocument(put)).await? {
        Answer::Done => Ok(()),
        // It was there before.
        Answer::Refused(refusal) if refusal.code == "VERSION_CONFLICT" => Ok(()),
        answer => bail!("the {kind} {id} was not taken: {answer:?}"),
    }
}
