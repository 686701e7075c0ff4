//! A device that says anything, against everything that is asked of one: no line, no time, no waiting.

use std::collections::VecDeque;
use std::time::Duration;

use fiscus_ledger::hash::payload_hash;
use futures_util::FutureExt;

use super::mediator::{Line, Lost, Mediator, Outcome, REMEMBERED};
use crate::protocol::nonce::seal_key;

/// What the device says, one answer after the other, and then nothing.
#[derive(Debug)]
struct Script {
    answers: VecDeque<String>,
    now: Duration,
}

impl Line for Script {
    async fn ask(&mut self, _body: &str, _limit: Duration) -> Result<String, Lost> {
        self.now += Duration::from_millis(300);
        self.answers.pop_front().ok_or_else(|| Lost("nothing more is said".to_owned()))
    }

    async fn reset(&mut self) -> Result<(), Lost> {
        Ok(())
    }

    fn now(&self) -> Duration {
        self.now
    }
}

/// Asks a device that gives these answers for one thing after the other; how many of `asked` were done.
///
/// Whatever it says: what is told as sealed is about the invoice that was asked for, an entry that is told has the
/// number that was asked for, and no more is kept than may be.
pub fn hear(device_id: &str, invoice: &str, asked: &[u8], answers: Vec<String>) -> usize {
    let line = Script { answers: answers.into(), now: Duration::from_secs(1) };
    let mut mediator = Mediator::new(line, device_id);
    let key = seal_key(&payload_hash(invoice.as_bytes()));
    let mut done = 0;
    let mut hearing = async || {
        for what in asked {
            let sequence = u64::from(*what >> 3) + 1;
            let outcome = match what % 8 {
                0 | 1 => mediator.seal(invoice.as_bytes(), key).await,
                2 => mediator.prepare(invoice.as_bytes(), key).await,
                3 => mediator.find(&key).await,
                4 => {
                    if let Ok(Some(entry)) = mediator.read_entry(sequence).await {
                        assert_eq!(entry.sequence, sequence);
                    }
                    continue;
                }
                5 => {
                    if let Ok(status) = mediator.how_are_you().await {
                        assert_eq!(status.device_id, device_id);
                    }
                    continue;
                }
                6 => mediator.tell(&format!("QRY|LOG {sequence}"), Duration::ZERO).await,
                _ => mediator.tell("RPT|X {\"period\":\"day\"}", Duration::ZERO).await,
            };
            if let Outcome::Sealed(entry) = &outcome {
                assert_eq!(entry.key(), key, "of another invoice");
                assert_eq!(payload_hash(invoice.as_bytes()), entry.payload_hash);
                let told = entry.answer(device_id);
                assert!(told.starts_with("{\"status\":\"OK\","), "{told}");
            }
            done += usize::from(matches!(outcome, Outcome::Sealed(_) | Outcome::Told(_)));
            assert!(mediator.remembered() <= REMEMBERED);
        }
    };
    hearing().now_or_never().expect("a script is never waited for");
    done
}
