//! Keeps a till in touch with the cluster: looks whether it is there, borrows numbers ahead, delivers, gives back.
//!
//! A round does one thing after the other and may end anywhere: the next one finds on the disk what is left to do, and
//! the ledger answers a repetition as it did before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use fiscus_ledger::credential::Credential;
use fiscus_ledger::facts::{OutletStatus, SigningMode};
use fiscus_ledger::hash::{Tagged, from_hex};
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::state::block::{Block, CloseReason, Slot};
use fiscus_ledger::state::table::Row;
use fiscus_proto::client::{Answer, SubmitError};
use fiscus_proto::command::{self as proto, Command, command};
use fiscus_proto::ledger::{Consistency, ReadBlockRequest};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::authority::AuthorityKey;
use super::clock::Moment;
use super::disk::{Disk, RealDisk};
use super::entry::{Asked, Facts, MANIFESTS_MAX, Outcome, Sold};
use super::key_file::{self, KeyFileError};
use super::settings::OfflineSection;
use super::spool::{SPOOL, SpoolError};
use super::status::Standing;
use super::till::Till;
use crate::port::Port;
use crate::protocol::Fault;

/// Between two looks at a cluster that answers, and at one that does not.
const LOOK_LINKED: Duration = Duration::from_secs(5);
const LOOK_AWAY: Duration = Duration::from_millis(500);
/// Each question has so long.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// Seals that are delivered in a round, so that the cluster's time is heard between.
const DELIVERED_MAX: usize = 500;
/// Refusals that another time, or another record, may lift.
const LATER: [&str; 6] = [
    "ORIGINAL_NOT_FOUND",
    "NO_AUTHORITY",
    "NO_MANIFEST",
    "OFFLINE_WAITING_FULL",
    "OUTLET_UNKNOWN",
    "CURRENCY_LIMIT",
];

/// Why a device cannot remember.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The directory.
    #[error("{dir} cannot be used: {source}")]
    Dir {
        /// Which.
        dir: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Why a round ended before its end.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("the cluster does not answer: {0}")]
    Away(String),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the spool cannot be read: {0}")]
    Read(String),
    #[error("numbers are not lent to {terminal_id}: {why}")]
    NotLent { terminal_id: String, why: String },
    #[error("this machine has no randomness")]
    Randomness,
}

/// A till that hosts and an agent share. Whoever does something with it waits for the disk, on a thread for that.
#[derive(Debug, Clone)]
pub(crate) struct SharedTill {
    till: Arc<Mutex<Till<RealDisk>>>,
    /// Something was sealed, or the cluster has gone.
    changed: Arc<Notify>,
    authority: Arc<AuthorityKey>,
}

impl SharedTill {
    /// Opens a device's till.
    pub(crate) fn open(
        device_id: &str,
        verify_host: &str,
        settings: &OfflineSection,
    ) -> Result<Self, OfflineError> {
        let passphrase = key_file::passphrase(&settings.passphrase_file)?;
        let dir = settings.dir.clone();
        let unusable = |source| OfflineError::Dir { dir: dir.clone(), source };
        let mut disk = RealDisk::open(dir.clone()).map_err(unusable)?;
        let [had_key, had_spool] = ["key", SPOOL].map(|name| disk.has(name));
        let was_taken = had_key.map_err(unusable)? && !had_spool.map_err(unusable)?;
        let key = key_file::open_or_make(&dir, &passphrase)?;
        let authority = Arc::new(AuthorityKey::open(dir));
        let names = (device_id, verify_host);
        let mut till = Till::open(disk, names, settings.clone(), key, Moment::now())?;
        if was_taken {
            till.distrust("the spool was not there, and the key was")?;
        }
        Ok(Self { till: Arc::new(Mutex::new(till)), changed: Arc::default(), authority })
    }

    /// Does something with the till.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Till<RealDisk>) -> T + Send + 'static,
    ) -> T {
        let till = Arc::clone(&self.till);
        let ran = tokio::task::spawn_blocking(move || {
            run(&mut till.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match ran.await {
            Ok(told) => told,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // A blocking task that has begun is never cancelled; this one ends with the runtime.
            Err(_) => std::future::pending().await,
        }
    }

    /// The cluster was asked in vain: it is looked for, and not asked until it is found.
    pub(crate) async fn cut(&self) {
        self.with(|till| till.link(false)).await;
        self.changed.notify_one();
    }

    /// Whether the cluster is asked first.
    pub(crate) async fn is_linked(&self) -> bool {
        self.with(|till| till.is_linked()).await
    }

    /// Whether the device was active when its directory was heard last.
    pub(crate) async fn was_active(&self) -> bool {
        self.with(|till| till.was_active()).await
    }

    /// The tax authority's key, as it was heard last.
    pub(crate) fn authority_key(&self) -> Option<VerifyingKey> {
        self.authority.get()
    }

    /// Something is to be delivered.
    pub(crate) fn has_changed(&self) {
        self.changed.notify_one();
    }

    /// How the device stands.
    pub(crate) async fn standing(&self) -> Standing {
        self.with(|till| till.standing(Moment::now())).await
    }
}

/// The agent of one device.
#[derive(Debug)]
pub(crate) struct Agent {
    port: Arc<Port>,
    till: SharedTill,
    random: SystemRandom,
}

impl Agent {
    pub(crate) fn new(port: Arc<Port>, till: SharedTill) -> Self {
        Self { port, till, random: SystemRandom::new() }
    }

    /// The outlet, which a round has learnt before anything else.
    fn outlet_id(&self) -> String {
        self.port.known_outlet().map(|outlet| outlet.outlet_id.to_string()).unwrap_or_default()
    }

    fn group(&self) -> u64 {
        self.port.known_outlet().map(|outlet| outlet.group).unwrap_or_default()
    }

    /// Runs for as long as it is polled.
    pub(crate) async fn run(self) {
        let mut said = String::new();
        loop {
            let wait = match self.round().await {
                Ok(()) => {
                    said.clear();
                    LOOK_LINKED
                }
                Err(error) => {
                    let away = matches!(error, RoundError::Away(_));
                    let text = error.to_string();
                    if said != text {
                        tracing::warn!(
                            device = self.port.device_id(),
                            error = text,
                            "sealing alone"
                        );
                        said = text;
                    }
                    if away { LOOK_AWAY } else { LOOK_LINKED }
                }
            };
            // Either way it is time for another look.
            let _ = timeout(wait, self.till.changed.notified()).await;
        }
    }

    async fn round(&self) -> Result<(), RoundError> {
        let group_ms = match self.look().await {
            Ok(group_ms) => group_ms,
            Err(error) => {
                self.till.with(|till| till.link(false)).await;
                return Err(error);
            }
        };
        self.compare().await?;
        self.deliver(group_ms).await?;
        while let Some((id, reason)) = self.till.with(move |till| till.give_back(group_ms)).await? {
            self.close(id, reason).await?;
        }
        let borrowed = self.borrow(group_ms).await;
        self.till.with(|till| till.tidy(Moment::now())).await?;
        borrowed
    }

    /// Looks whether the cluster answers; its time.
    async fn look(&self) -> Result<u64, RoundError> {
        let away = |fault: Fault| RoundError::Away(fault.detail);
        let until = Instant::now() + ANSWER_WAIT;
        let known = self.port.outlet_by(until).await.map_err(away)?;
        let (outlet, time) = self.port.counters_by(&known, until).await.map_err(away)?;
        let cluster = &self.port.shared().cluster;
        let group = cluster.read_group(known.group, Consistency::Local, ANSWER_WAIT).await;
        let group = group.map_err(|error| RoundError::Away(error.to_string()))?;
        let mut manifests: Vec<Manifest> =
            group.manifests.iter().filter_map(|json| Manifest::parse(json).ok()).collect();
        manifests.sort_by_key(Manifest::effective_from);
        // Those that are in force and those to come are the last ones.
        manifests.drain(..manifests.len().saturating_sub(MANIFESTS_MAX));
        let fact = outlet.fact.clone();
        let active = self.port.is_active()
            && !outlet.held
            && fact.status == OutletStatus::Active
            && fact.signing_mode == SigningMode::Cluster;
        let facts = Facts { outlet: fact, active, manifests };
        let authority = self.port.shared().devices.authority_key();
        let kept = Arc::clone(&self.till.authority);
        let told = self.till.with(move |till| {
            authority.into_iter().for_each(|key| kept.hear(key));
            till.hear(time.get(), Moment::now())?;
            till.learn(facts)?;
            till.link(true);
            Ok::<(), SpoolError>(())
        });
        told.await?;
        Ok(time.get())
    }

    /// Compares the spool, when that is due, with what the ledger has of its credentials.
    async fn compare(&self) -> Result<(), RoundError> {
        let due = self.till.with(|till| till.to_compare(Moment::now())).await;
        let Some(places) = due else { return Ok(()) };
        for (credential_id, next) in places {
            let Some((block, _)) = self.block(&credential_id).await? else { continue };
            let compared = self.till.with(move |till| till.compare((&credential_id, next), &block));
            compared.await?;
        }
        self.till.with(|till| till.compared(Moment::now())).await;
        Ok(())
    }

    /// What was lent under a credential, and the signed credential.
    async fn block(
        &self,
        credential_id: &str,
    ) -> Result<Option<(Block, Option<Credential>)>, RoundError> {
        let request = ReadBlockRequest {
            group: self.group(),
            outlet_id: self.outlet_id(),
            credential_id: credential_id.to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        let read = self.port.shared().cluster.read_block(request, ANSWER_WAIT).await;
        let read = read.map_err(|error| RoundError::Away(error.to_string()))?;
        let credential = read.credential.and_then(|bytes| Credential::from_bytes(&bytes).ok());
        Ok(Block::from_stored(&read.row).ok().map(|block| (block, credential)))
    }

    /// Delivers what was sealed, in its order.
    async fn deliver(&self, group_ms: u64) -> Result<(), RoundError> {
        let mut after = None;
        for _ in 0..DELIVERED_MAX {
            let next = self.till.with(move |till| till.undelivered(after, group_ms)).await;
            let Some((order, sold)) = next.map_err(|fault| RoundError::Read(fault.detail))? else {
                return Ok(());
            };
            match self.deliver_one(&sold).await? {
                Some(outcome) => {
                    self.till
                        .with(move |till| till.settle(&sold, outcome, Moment::now().wall_ms))
                        .await?;
                }
                None => after = Some(order),
            }
        }
        // There is more: at once.
        self.till.changed.notify_one();
        Ok(())
    }

    /// What the ledger makes of a seal; nothing when that is not known yet.
    async fn deliver_one(&self, sold: &Sold) -> Result<Option<Outcome>, RoundError> {
        let seal = &sold.seal;
        let command = proto::ReconcileOffline {
            outlet_id: self.outlet_id(),
            seal: Some(proto::OfflineSeal {
                credential_id: seal.credential_id.to_string(),
                place: seal.place,
                timestamp_ms: seal.timestamp.get(),
                blind: seal.blind.to_vec().into(),
                prev_hash: seal.prev_hash.to_vec().into(),
                signature: seal.signature.to_vec().into(),
                invoice: seal.invoice.clone().into(),
            }),
        };
        match self.submit(command::Command::ReconcileOffline(command)).await? {
            Answer::Recorded(record) | Answer::AlreadyRecorded(record) => {
                let record = fiscus_ledger::record::Record::decode(&record.record);
                let position = record.map_or(0, |record| record.position);
                Ok(Some(Outcome::Appended { position }))
            }
            Answer::Refused(refusal) if LATER.contains(&&*refusal.code) => {
                let (device, number) = (self.port.device_id(), &sold.fiscal_number);
                tracing::warn!(device, number, code = refusal.code, "an offline seal waits");
                Ok(None)
            }
            Answer::Refused(refusal) => {
                Ok(Some(Outcome::Refused { code: refusal.code, detail: refusal.detail }))
            }
            Answer::Waiting | Answer::Done | Answer::Unchanged => Ok(None),
        }
    }

    async fn close(&self, credential_id: String, reason: CloseReason) -> Result<(), RoundError> {
        let reason = match reason {
            CloseReason::Returned => proto::CloseReason::Returned,
            _ => proto::CloseReason::Revoked,
        };
        let close = proto::CloseBlock {
            outlet_id: self.outlet_id(),
            credential_id: credential_id.clone(),
            reason: reason.into(),
        };
        match self.submit(command::Command::CloseBlock(close)).await? {
            // A repetition is refused: it was closed before.
            Answer::Recorded(_) | Answer::AlreadyRecorded(_) => {}
            Answer::Refused(refusal)
                if ["BLOCK_CLOSED", "CREDENTIAL_UNKNOWN"].contains(&&*refusal.code) => {}
            other => {
                return Err(RoundError::Away(format!(
                    "a block stays open: it was answered with {other}"
                )));
            }
        }
        Ok(self.till.with(move |till| till.closed(&credential_id)).await?)
    }

    /// Borrows numbers, for each terminal that needs any. One that is lent none keeps the others from nothing.
    async fn borrow(&self, group_ms: u64) -> Result<(), RoundError> {
        let mut borrowed = Ok(());
        loop {
            let mut random = [0; 16];
            self.random.fill(&mut random).map_err(|_| RoundError::Randomness)?;
            let next = self.till.with(move |till| till.ask(random, group_ms, Moment::now())).await;
            let Some(asked) = next? else { return borrowed };
            let terminal_id = asked.terminal_id.clone();
            match self.borrow_one(asked).await {
                Err(error @ RoundError::NotLent { .. }) => {
                    self.till.with(move |till| till.not_lent(&terminal_id, Moment::now())).await;
                    borrowed = Err(error);
                }
                other => other?,
            }
        }
    }

    async fn borrow_one(&self, asked: Asked) -> Result<(), RoundError> {
        let not_lent =
            |why: String| RoundError::NotLent { terminal_id: asked.terminal_id.clone(), why };
        let terminal_key = self.till.with(|till| till.public_key()).await;
        let fingerprint = Tagged::new("fiscus/proxy-grant/v1")
            .str(&asked.credential_id)
            .str(&asked.terminal_id)
            .u64(asked.numbers)
            .u64(asked.validity_ms)
            .finish();
        let key = asked.credential_id.strip_prefix("off-").and_then(from_hex::<16>);
        let key =
            key.ok_or_else(|| not_lent("its credential's id is not one of this program".into()))?;
        let grant = proto::GrantBlock {
            submitted: Some(proto::Submitted {
                outlet_id: self.outlet_id(),
                key: key.to_vec().into(),
                fingerprint: fingerprint.to_vec().into(),
            }),
            credential_id: asked.credential_id.clone(),
            terminal_id: asked.terminal_id.clone(),
            terminal_key: terminal_key.to_vec().into(),
            numbers: asked.numbers,
            validity_ms: asked.validity_ms,
        };
        match self.submit(command::Command::GrantBlock(grant)).await? {
            Answer::Recorded(_) | Answer::AlreadyRecorded(_) => {}
            Answer::Refused(refusal) => {
                let id = asked.credential_id.clone();
                self.till.with(move |till| till.closed(&id)).await?;
                return Err(not_lent(format!("{}: {}", refusal.code, refusal.detail)));
            }
            other => return Err(not_lent(format!("a grant was answered with {other}"))),
        }
        let Some((credential, authority)) = self.credential(&asked).await? else {
            let id = asked.credential_id.clone();
            self.till.with(move |till| till.closed(&id)).await?;
            return Err(not_lent("the block is closed, or was sealed under before".to_owned()));
        };
        let (id, terminal_id) = (asked.credential_id.clone(), asked.terminal_id.clone());
        let taken = self.till.with(move |till| till.lent(&asked, credential, &authority)).await?;
        if taken {
            tracing::info!(device = self.port.device_id(), terminal_id, "numbers were lent");
            return Ok(());
        }
        // Asked for again, it would be the same one: it may have been lent to the key that this box had before.
        self.close(id, CloseReason::Revoked).await?;
        let why = "the credential is not what was asked for, or is not signed by its authority";
        Err(RoundError::NotLent { terminal_id, why: why.to_owned() })
    }

    /// The signed credential of a fresh block, and the key that must have signed it; nothing when it is not fresh.
    async fn credential(
        &self,
        asked: &Asked,
    ) -> Result<Option<(Credential, VerifyingKey)>, RoundError> {
        let not_lent = |why: &str| RoundError::NotLent {
            terminal_id: asked.terminal_id.clone(),
            why: why.to_owned(),
        };
        let lent = self.block(&asked.credential_id).await?;
        let (block, credential) = lent.ok_or_else(|| not_lent("the block is not there"))?;
        if block.closed.is_some() || block.slots.iter().any(|slot| *slot != Slot::Empty) {
            return Ok(None);
        }
        let credential = credential.ok_or_else(|| not_lent("no node signs its credential"))?;
        let cluster = &self.port.shared().cluster;
        let known = cluster.read_group(self.group(), Consistency::Linearizable, ANSWER_WAIT).await;
        let known = known.map_err(|error| RoundError::Away(error.to_string()))?.authorities;
        let signer = known.iter().find(|known| known.id == credential.terms().authority_id);
        let key = signer.and_then(|known| (&*known.public_key).try_into().ok());
        let key = key.and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
        let key = key.ok_or_else(|| not_lent("its authority is not known"))?;
        Ok(Some((credential, key)))
    }

    /// Submits a command that may be repeated; what has no answer is asked again in the next round.
    async fn submit(&self, command: command::Command) -> Result<Answer, RoundError> {
        let group = self.group();
        let command = Command { command: Some(command) };
        let submitted = self.port.shared().cluster.submit(group, command, ANSWER_WAIT).await;
        submitted.map_err(|error: SubmitError| RoundError::Away(error.to_string()))
    }
}
