//! Selling with the cluster or alone: what is asked of whom.
//!
//! | call | the cluster answers | it does not |
//! |---|---|---|
//! | PREPARE | it rehearses | the till checks, and the nonce is one of the till |
//! | COMMIT of a nonce of the cluster | it seals | `UNAVAILABLE`; never the till |
//! | COMMIT of a nonce of the till | the till seals | the till seals |
//! | QRY | the cluster, and the till for what it has not delivered | the till |
//! | CFG\|TIME | its key of the tax authority, and its time | the key that was heard last, and the till's time |
//!
//! Half of a command's time is left for the till; once the cluster has been asked in vain it is not asked again before
//! the agent has found it.

use fiscus_ledger::hash::payload_hash;
use fiscus_ledger::time::UnixMs;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, timeout_at};

use super::journal::of_document;
use super::status::compared;
use super::{Port, Until, faults};
use crate::offline::{Begun, Moment, SealedHere, SharedTill, Slipped};
use crate::protocol::answer::ok;
use crate::protocol::nonce::{Prepared, seal_key};
use crate::protocol::{Code, Fault, Reply};

/// Nobody knew, in half of the time: the till is asked.
fn is_away(told: &Result<Reply, Fault>) -> bool {
    match told {
        Ok(Reply::NotNow(fault)) | Err(fault) => fault.code == Code::Unavailable,
        Ok(_) => false,
    }
}

impl Until {
    fn half(self) -> Self {
        Self(Instant::now() + self.left() / 2)
    }
}

impl Port {
    /// What the cluster says, unless it is away.
    async fn asked(
        &self,
        till: &SharedTill,
        asking: impl Future<Output = Result<Reply, Fault>>,
        until: Until,
    ) -> Option<Result<Reply, Fault>> {
        if !till.is_linked().await {
            return None;
        }
        match timeout_at(until.0, asking).await {
            Ok(told) if !is_away(&told) => Some(told),
            _ => {
                till.cut().await;
                None
            }
        }
    }

    pub(super) async fn prepare(&self, prepared: Prepared, until: Until) -> Result<Reply, Fault> {
        let Some(till) = &self.till else { return self.rehearse(&prepared, until).await };
        let key = seal_key(&payload_hash(&prepared.payload));
        if let Some(replayed) = till.with(move |till| till.replayed(&key)).await {
            return Ok(Reply::Refused(replayed));
        }
        let half = until.half();
        if let Some(told) = self.asked(till, self.rehearse(&prepared, half), half).await {
            return told;
        }
        let checked = till.with(move |till| till.check(&prepared, &key, Moment::now())).await;
        checked.map(|()| Reply::FitsAlone)
    }

    pub(super) async fn commit(
        &self,
        prepared: Prepared,
        key: [u8; 16],
        until: Until,
    ) -> Result<Reply, Fault> {
        let Some(till) = &self.till else { return self.seal(&prepared, key, until).await };
        if prepared.alone {
            return seal_alone(till, prepared, key).await;
        }
        let payload = prepared.payload.clone();
        match till.with(move |till| till.begin(&payload, &key)).await? {
            Begun::Submit => {}
            Begun::Sealed(answer) => return Ok(Reply::Sealed(answer)),
            Begun::InLedger(number) => return Ok(Reply::Refused(in_ledger(&number))),
        }
        let told = self.seal(&prepared, key, until).await;
        let surely_not = matches!(&told, Ok(Reply::NotNow(_) | Reply::Refused(_)) | Err(_));
        till.with(move |till| till.landed(&key, surely_not)).await;
        if is_away(&told) || matches!(told, Ok(Reply::InDoubt(_))) {
            till.cut().await;
        }
        told
    }

    pub(super) async fn find(&self, key: [u8; 16], until: Until) -> Result<Reply, Fault> {
        let Some(till) = &self.till else { return self.find_seal(key, until).await };
        match till.with(move |till| till.find(&key)).await? {
            Some(Begun::Sealed(answer)) => return Ok(Reply::Sealed(answer)),
            Some(Begun::InLedger(number)) => return Ok(Reply::Refused(in_ledger(&number))),
            Some(Begun::Submit) | None => {}
        }
        let half = until.half();
        let told = self.asked(till, self.find_seal(key, half), half).await;
        told.unwrap_or_else(|| {
            Err(faults::unavailable(
                "nothing is sealed under this nonce here, and only it knows of elsewhere",
            ))
        })
    }

    pub(super) async fn tell_status(&self, pool: usize, until: Until) -> Result<Reply, Fault> {
        let Some(till) = &self.till else { return self.status(pool, until).await };
        let half = until.half();
        if let Some(told) = self.asked(till, self.status(pool, half), half).await {
            return told;
        }
        let told = till.with(|till| till.status(Moment::now())).await?;
        let answer = ok()
            .text("firmware_version", env!("CARGO_PKG_VERSION"))
            .text("device_id", &self.device_id)
            .count("next_invoice_seq", told.next)
            .count("free_memory_bytes", told.free_bytes)
            .text("last_sync_timestamp", &told.heard.to_string())
            .count("nonce_pool", u64::try_from(pool).unwrap_or(u64::MAX))
            .count("offline_numbers_left", told.left);
        Ok(Reply::Done(answer.finish()))
    }

    pub(super) async fn tell_time(
        &self,
        timestamp: UnixMs,
        signature: &[u8; 64],
        until: Until,
    ) -> Result<Reply, Fault> {
        let Some(till) = &self.till else {
            return self.set_time(timestamp, signature, until).await;
        };
        let half = until.half();
        let asking = self.set_time(timestamp, signature, half);
        if let Some(told) = self.asked(till, asking, half).await {
            return told;
        }
        let known = self.shared.devices.authority_key().or_else(|| till.authority_key());
        let key = known.ok_or_else(|| {
            faults::unavailable("the key of the tax authority was never heard of here")
        })?;
        self.is_signed((timestamp, signature), Some(key))?;
        let now = till.with(|till| till.time(Moment::now())).await?;
        Ok(compared(timestamp, now))
    }

    pub(super) async fn tell_log(&self, sequence: u64, until: Until) -> Result<Reply, Fault> {
        let Some(till) = &self.till else { return self.log(sequence, until).await };
        let slip = till.with(move |till| till.slip(sequence)).await?;
        if let Slipped::Here { delivered: false, .. } = &slip {
            return self.entry_alone(&slip);
        }
        let half = until.half();
        if let Some(told) = self.asked(till, self.log(sequence, half), half).await {
            return told;
        }
        self.entry_alone(&slip)
    }

    /// A log entry of the till's own.
    fn entry_alone(&self, slip: &Slipped) -> Result<Reply, Fault> {
        let sold = match slip {
            Slipped::Here { sold, .. } => sold,
            Slipped::Unused => {
                let detail = "this number was lent to this device, which has not used it";
                return Ok(Reply::Refused(Fault::new(Code::NotFound, detail)));
            }
            Slipped::Elsewhere => {
                return Err(faults::unavailable("this number is not one of this device's own"));
            }
        };
        let entry = sold
            .log_entry(|object, invoice| of_document(object, invoice, &sold.total, &sold.currency));
        let entry = entry.ok_or_else(|| faults::strange("an entry of the spool"))?;
        Ok(Reply::Done(ok().json("log_entry", &entry).finish()))
    }
}

async fn seal_alone(till: &SharedTill, prepared: Prepared, key: [u8; 16]) -> Result<Reply, Fault> {
    let mut blind = [0; 32];
    if SystemRandom::new().fill(&mut blind).is_err() {
        return Err(Fault::new(Code::Unavailable, "this machine has no randomness"));
    }
    let sealed = till.with(move |till| till.seal(&prepared, &key, blind, Moment::now())).await?;
    till.has_changed();
    Ok(match sealed {
        SealedHere::Sealed(answer) => Reply::Sealed(answer),
        SealedHere::InDoubt(detail) => Reply::InDoubt(detail),
    })
}

fn in_ledger(number: &str) -> Fault {
    let detail = format!("this was sealed long ago, as {number}; read it with QRY|LOG");
    Fault::new(Code::ReplayDetected, detail)
}
