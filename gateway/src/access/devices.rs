//! Fiscal devices of the outlets that a caller reaches. Their life has commands of its own in the directory; what
//! else is known of a device is a document beside it, written first and with the audit log's line: whoever makes
//! that document owns the id, and whoever repeats a registration that was cut in two makes its other half.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use fiscus_ledger::activation::{RANDOM_BYTES, activation_code, activation_hash};
use fiscus_ledger::facts::{DeviceFact, DeviceState};
use fiscus_ledger::state::outlet::Outlet as Counters;
use fiscus_ledger::time::UnixMs;
use fiscus_proto::client::Answer;
use fiscus_proto::command::{RegisterDevice, ReplaceDevice, RevokeDevice, command};
use fiscus_proto::ledger::Consistency;

use super::caller::Caller;
use super::outlet::Outlet;
use super::registry::{Made, Once, check_room};
use super::scopes::Scope;
use super::tenants::exists;
use crate::directory::Versioned;
use crate::directory::documents::{DeviceHealth, DeviceProfile, kind};
use crate::http::Problem;
use crate::standing::{self, Configured, Standing, by_group};

/// The counters of devices' outlets are waited for so long, all together: a device is told without them rather than late.
const COUNTERS_WAIT: Duration = Duration::from_secs(1);

/// A directory that has not been heard of for so long says nothing of now.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// An outlet has at most so many devices, those that have gone included.
const DEVICES_MAX: usize = 1_000;

/// A device of the caller's.
#[derive(Debug, Clone)]
pub struct Device {
    /// The fiscal part.
    pub fact: Arc<Versioned<DeviceFact>>,
    /// The rest, when there is any.
    pub profile: Option<Arc<Versioned<DeviceProfile>>>,
    /// How it is, when its proxy has told.
    pub health: Option<Arc<Versioned<DeviceHealth>>>,
}

impl Device {
    /// The versions of its two documents.
    #[must_use]
    pub fn version(&self) -> String {
        let profile = self.profile.as_ref().map_or(0, |profile| profile.version);
        format!("{}-{profile}", self.fact.version)
    }
}

fn device_exists() -> Problem {
    exists("DEVICE_EXISTS", "a device with this id is registered")
}

/// The code of a device that a request makes: nobody else can make it, and the same request makes the same, so
/// that one whose answer was lost can be repeated.
fn code_of(device_id: &str, seed: &blake3::Hash, once: &Once) -> String {
    let mut hasher = blake3::Hasher::new_keyed(seed.as_bytes());
    let id = once.made_id(device_id);
    hasher.update(b"fiscus/activation-code/v1").update(id.as_bytes());
    let hash = hasher.finalize();
    let random = hash.as_bytes().first_chunk::<RANDOM_BYTES>().expect("a hash is longer");
    activation_code(device_id, *random)
}

impl Caller {
    /// A device of an outlet of the caller's.
    pub fn device(&self, device_id: &str) -> Result<Device, Problem> {
        let found = self.device_by(device_id);
        let own = |device: &Device| self.reach_outlet(&device.fact.value.outlet_id).is_ok();
        found.filter(own).ok_or_else(|| {
            Problem::not_found("DEVICE_UNKNOWN", format!("there is no device {device_id:?}"))
        })
    }

    fn device_by(&self, device_id: &str) -> Option<Device> {
        let tables = self.app().directory().read();
        let fact = Arc::clone(tables.devices.get(device_id)?);
        let profile = tables.device_profiles.get(device_id).cloned();
        Some(Device { fact, profile, health: tables.device_healths.get(device_id).cloned() })
    }

    /// The devices of the outlets that the caller reaches, by id.
    #[must_use]
    pub fn devices(&self) -> Vec<(String, Device)> {
        let own = self.outlet_ids();
        let tables = self.app().directory().read();
        let reached =
            tables.devices.iter().filter(|(_, fact)| own.contains(&*fact.value.outlet_id));
        let device = |(id, fact): (&String, &Arc<Versioned<DeviceFact>>)| {
            let profile = tables.device_profiles.get(id).cloned();
            let health = tables.device_healths.get(id).cloned();
            (id.clone(), Device { fact: Arc::clone(fact), profile, health })
        };
        reached.map(device).collect()
    }

    /// Up to when what proxies tell is known: until now, as long as the directory is heard of.
    fn heard(&self, now: UnixMs) -> UnixMs {
        let directory = self.app().directory();
        let as_of = UnixMs::new(directory.as_of().time_ms);
        if directory.age() > STALE_AFTER { as_of.min(now) } else { now }
    }

    /// How a device stands, with its outlet's counters where they are known.
    #[must_use]
    pub fn standing(&self, device: &Device, counters: Option<&Counters>) -> Option<Standing> {
        let now = self.now();
        let tables = self.app().directory().read();
        let fact = &device.fact.value;
        let outlet = tables.outlets.get(&*fact.outlet_id);
        let manifest = tables.manifest_at(now);
        let configured = Configured {
            fact,
            outlet: outlet.map(|outlet| &outlet.value),
            counters,
            manifest_version: manifest.as_deref().map(|manifest| manifest.version()),
            now,
            heard: self.heard(now),
        };
        standing::of(&configured, device.health.as_ref().map(|health| &health.value))
    }

    /// The counters of the devices' outlets, by outlet, as any replica has them. What has not come in time is left out.
    pub async fn counters_of(&self, devices: &[Device]) -> BTreeMap<String, Counters> {
        let outlets: BTreeSet<&str> =
            devices.iter().map(|device| &*device.fact.value.outlet_id).collect();
        let outlets = outlets.into_iter().filter_map(|id| self.reach_outlet(id).ok());
        let outlets: Vec<Outlet> = outlets.collect();
        let outlets = outlets.into_iter().map(|outlet| (outlet.entry().fact.value.group, outlet));
        let read = by_group(outlets, COUNTERS_WAIT, |outlet: Outlet| async move {
            let (_, counters) = outlet.counters(Consistency::Local).await.ok()?;
            Some(counters.map(|counters| (outlet.id().to_owned(), counters)))
        });
        read.await.into_iter().collect()
    }

    /// Registers a device of an outlet of the caller's; what was made, and the code that activates it.
    pub async fn make_device(
        &self,
        outlet_id: &str,
        device_id: &str,
        name: &str,
        once: &Once,
    ) -> Result<(Made, String), Problem> {
        self.may(Scope::RegistryWrite)?;
        let outlet = self.outlet(outlet_id)?;
        let made =
            self.own_device_id(outlet.id(), device_id, (name, "device.register"), once).await?;
        let code = code_of(device_id, self.seed(), once);
        let register = RegisterDevice {
            device_id: device_id.to_owned(),
            outlet_id: outlet.id().to_owned(),
            activation_hash: activation_hash(&code).to_vec().into(),
        };
        self.bring(command::Command::RegisterDevice(register), !made.new).await?;
        self.learn(kind::DEVICE, device_id).await?;
        Ok((made, code))
    }

    /// Takes a device out of service and registers its successor; the same as for a new one.
    pub async fn replace_device(
        &self,
        device_id: &str,
        replacement_id: &str,
        name: &str,
        once: &Once,
    ) -> Result<(Made, String), Problem> {
        self.may(Scope::RegistryWrite)?;
        let device = self.device(device_id)?;
        let outlet_id = device.fact.value.outlet_id.to_string();
        let serves =
            matches!(device.fact.value.state, DeviceState::Registered | DeviceState::Active);
        if !serves && self.made_before(once).await?.is_none() {
            let detail = "this device was replaced or revoked already";
            return Err(Problem::new(StatusCode::CONFLICT, "DEVICE_TRANSITION", detail));
        }
        let made =
            self.own_device_id(&outlet_id, replacement_id, (name, "device.replace"), once).await?;
        let code = code_of(replacement_id, self.seed(), once);
        let replace = ReplaceDevice {
            device_id: device_id.to_owned(),
            replacement_id: replacement_id.to_owned(),
            activation_hash: activation_hash(&code).to_vec().into(),
        };
        self.bring(command::Command::ReplaceDevice(replace), !made.new).await?;
        self.learn(kind::DEVICE, device_id).await?;
        self.learn(kind::DEVICE, replacement_id).await?;
        Ok((made, code))
    }

    /// Revokes a device for ever. One that was revoked before stays so.
    pub async fn revoke_device(&self, device_id: &str, once: &Once) -> Result<(), Problem> {
        self.may(Scope::RegistryWrite)?;
        let device = self.device(device_id)?;
        if self.made_before(once).await?.is_some() {
            return self.learn(kind::DEVICE, device_id).await;
        }
        let revoke = RevokeDevice { device_id: device_id.to_owned() };
        let answer = self.submit_to_directory(command::Command::RevokeDevice(revoke)).await?;
        self.learn(kind::DEVICE, device_id).await?;
        match answer {
            Answer::Recorded(_) | Answer::AlreadyRecorded(_) => {}
            Answer::Refused(refusal) => {
                let now = self.device(device_id)?;
                if now.fact.value.state != DeviceState::Revoked {
                    return Err(Problem::of_refusal(&refusal));
                }
            }
            other => {
                return Err(Problem::internal(&format!("a revocation was answered with {other}")));
            }
        }
        let outlet_id = device.fact.value.outlet_id.to_string();
        let change = self.change(self.organisation(), "device.revoke", "device", device_id);
        change.outlet(&outlet_id).once(once).commit().await.map(|_| ())
    }

    /// Writes what else is known of a new device, with who did it: nobody else can register the id through the
    /// API from then on.
    async fn own_device_id(
        &self,
        outlet_id: &str,
        device_id: &str,
        (name, action): (&str, &'static str),
        once: &Once,
    ) -> Result<Made, Problem> {
        if let Some(made) = self.made_before(once).await? {
            self.learn(kind::DEVICE_PROFILE, device_id).await?;
            return Ok(Made::before(made));
        }
        let there = {
            let tables = self.app().directory().read();
            tables.devices.values().filter(|known| *known.value.outlet_id == *outlet_id).count()
        };
        check_room(there, DEVICES_MAX, "devices at the outlet")?;
        if self.document(kind::DEVICE, device_id).await?.is_some() {
            return Err(device_exists());
        }
        let profile = DeviceProfile {
            device_id: device_id.to_owned(),
            outlet_id: outlet_id.to_owned(),
            name: name.to_owned(),
            created_ms: self.now().get(),
        };
        let change = self.change(self.organisation(), action, "device", device_id);
        let change = change.outlet(outlet_id).detail("name", name).put(device_id, 0, &profile);
        change.once(once).make(device_exists).await
    }

    /// Submits what makes a device. A repeated request finds that an earlier copy of it was taken.
    async fn bring(&self, command: command::Command, repeated: bool) -> Result<(), Problem> {
        match self.submit_to_directory(command).await? {
            Answer::Recorded(_) | Answer::AlreadyRecorded(_) => Ok(()),
            Answer::Refused(refusal)
                if repeated
                    && ["DEVICE_EXISTS", "DEVICE_TRANSITION", "ACTIVATION_INVALID"]
                        .contains(&refusal.code.as_str()) =>
            {
                Ok(())
            }
            Answer::Refused(refusal) => Err(Problem::of_refusal(&refusal)),
            other => Err(Problem::internal(&format!("a registration was answered with {other}"))),
        }
    }
}
