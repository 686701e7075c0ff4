//! What a till does with the cluster: it borrows numbers ahead, delivers what was sealed, and gives back what is left.
//! Decisions only; the agent asks the cluster.

use ed25519_dalek::VerifyingKey;
use fiscus_ledger::credential::Credential;
use fiscus_ledger::state::block::{Block, CloseReason, Slot};

use super::clock::Moment;
use super::disk::Disk;
use super::entry::{Asked, Entry, Facts, Outcome, Sold};
use super::spool::SpoolError;
use super::till::Till;
use crate::protocol::Fault;

/// Of entries that say nothing any more a spool may hold so many bytes before it is written anew.
const WASTE_BYTES: u64 = 8 << 20;
/// A terminal that is lent no numbers is asked for again after this, and twice as much each time, up to a bound: each
/// request writes entries.
const NOT_LENT_PAUSE_MS: u64 = 15_000;
const NOT_LENT_PAUSE_MS_MAX: u64 = 15 * 60_000;
/// On a disk with too little room for it, so long is waited.
const TIDY_PAUSE_MS: u64 = 60_000;
/// While the cluster answers, the ledger's blocks are looked at so often: whoever ends a credential there is to be
/// heard long before the next outage.
const COMPARED_EVERY_MS: u64 = 60_000;

impl<D: Disk> Till<D> {
    /// The public half of the till's key.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The credentials that are sealed under, with the place of the next seal, when they are to be compared with the
    /// ledger's blocks: as soon as the cluster is back, and now and then while it is there.
    pub(crate) fn to_compare(&self, now: Moment) -> Option<Vec<(String, u64)>> {
        let since = self.compared_up_ms.map(|at| now.up_ms.saturating_sub(at));
        if since.is_some_and(|since| since < COMPARED_EVERY_MS) {
            return None;
        }
        let open = self.book.held.iter().filter(|(_, held)| held.left() > 0);
        Some(open.map(|(id, held)| (id.clone(), held.next)).collect())
    }

    /// Compares a credential with the ledger's block. A spool that was copied back from a backup would give numbers out
    /// again; under a block that somebody has closed, everything that is sealed from then on would be refused.
    pub(crate) fn compare(
        &mut self,
        (credential_id, next): (&str, u64),
        block: &Block,
    ) -> Result<(), SpoolError> {
        let known = usize::try_from(next - 1).unwrap_or(usize::MAX);
        if block.slots.iter().skip(known).any(|slot| *slot != Slot::Empty) {
            let detail =
                format!("the ledger has seals of {credential_id} that are not in the spool");
            return self.distrust(&detail);
        }
        if let Some((reason, at)) = &block.closed {
            let device = &self.device_id;
            tracing::warn!(device, credential_id, ?reason, %at, "a credential was ended elsewhere");
            self.closed(credential_id)?;
        }
        Ok(())
    }

    /// Every open credential was compared.
    pub(crate) fn compared(&mut self, now: Moment) {
        self.compared_up_ms = Some(now.up_ms);
    }

    /// Notes what the directory says, when it says something new.
    pub(crate) fn learn(&mut self, facts: Facts) -> Result<(), SpoolError> {
        if self.book.facts.as_ref() == Some(&facts) {
            return Ok(());
        }
        self.append(&Entry::Facts(Box::new(facts)))
    }

    /// The next request for numbers, if there is to be one: it is on the disk when this returns. `random` makes the
    /// credential's id. Terminals that were lent none a moment ago are passed over.
    pub(crate) fn ask(
        &mut self,
        random: [u8; 16],
        group_ms: u64,
        now: Moment,
    ) -> Result<Option<Asked>, SpoolError> {
        if !self.was_active() {
            return Ok(None);
        }
        let paused = |id: &String| self.not_lent.get(id).is_some_and(|(from, _)| now.up_ms < *from);
        let mut terminals = self.settings.terminals.iter().filter(|id| !paused(id));
        let waiting = terminals.clone().find_map(|id| self.book.asked.get(id));
        if let Some(asked) = waiting {
            return Ok(Some(asked.clone()));
        }
        let low_until = group_ms.saturating_add(self.settings.low_ms());
        let needy = terminals.find(|terminal_id| {
            let (left, until) = self.book.lent_to(terminal_id, group_ms);
            left <= self.settings.low_numbers || until <= low_until
        });
        let Some(terminal_id) = needy else { return Ok(None) };
        let asked = Asked {
            credential_id: format!("off-{}", fiscus_ledger::hash::hex(&random)),
            terminal_id: terminal_id.clone(),
            numbers: self.settings.numbers,
            validity_ms: self.settings.validity_ms(),
        };
        self.append(&Entry::Asked(asked.clone()))?;
        Ok(Some(asked))
    }

    /// A terminal was lent none: the next request for it waits.
    pub(crate) fn not_lent(&mut self, terminal_id: &str, now: Moment) {
        let before = self.not_lent.get(terminal_id).map(|(_, pause)| pause.saturating_mul(2));
        let pause = before.unwrap_or(NOT_LENT_PAUSE_MS).min(NOT_LENT_PAUSE_MS_MAX);
        let from = now.up_ms.saturating_add(pause);
        self.not_lent.insert(terminal_id.to_owned(), (from, pause));
    }

    /// Numbers were lent. A credential that is not what was asked for, or that the authority has not signed, is not
    /// taken: says whether it was.
    pub(crate) fn lent(
        &mut self,
        asked: &Asked,
        credential: Credential,
        authority: &VerifyingKey,
    ) -> Result<bool, SpoolError> {
        let terms = credential.terms();
        let facts = self.book.facts.as_ref();
        let fits = terms.id == asked.credential_id
            && terms.terminal_key == self.public_key()
            && facts.is_some_and(|facts| terms.outlet_id == *facts.outlet.outlet_id)
            && credential.verify(authority);
        if fits {
            let terminal_id = asked.terminal_id.clone();
            self.not_lent.remove(&terminal_id);
            self.append(&Entry::Granted { credential: Box::new(credential), terminal_id })?;
        }
        Ok(fits)
    }

    /// The ledger does not lend these numbers, or has closed their block.
    pub(crate) fn closed(&mut self, credential_id: &str) -> Result<(), SpoolError> {
        self.append(&Entry::Closed { credential_id: credential_id.to_owned() })
    }

    /// The oldest seal after `after` that the ledger has not answered to and whose time has passed there.
    pub(crate) fn undelivered(
        &mut self,
        after: Option<u64>,
        group_ms: u64,
    ) -> Result<Option<(u64, Sold)>, Fault> {
        let from = after.map_or(0, |after| after + 1);
        let mut waiting = self.book.unsettled.range(from..).copied();
        let passed =
            |order: &u64| self.book.slips.get(order).is_some_and(|slip| slip.time_ms <= group_ms);
        let Some(order) = waiting.find(passed) else { return Ok(None) };
        self.sold(order).map(|sold| Some((order, sold)))
    }

    /// The ledger has answered to a seal.
    pub(crate) fn settle(
        &mut self,
        sold: &Sold,
        outcome: Outcome,
        settled_ms: u64,
    ) -> Result<(), SpoolError> {
        if let Outcome::Refused { code, detail } = &outcome {
            let (number, device) = (&sold.fiscal_number, &self.device_id);
            tracing::error!(device, number, code, detail, "THE LEDGER REFUSES AN OFFLINE SEAL");
        }
        let (credential_id, place) = (sold.seal.credential_id.to_string(), sold.seal.place);
        // Losing it is no harm: the ledger answers the same again.
        self.write(&Entry::Settled { credential_id, place, settled_ms, outcome })
    }

    /// A credential that is of no use any more and whose seals the ledger has answered to: it is given back. From then on,
    /// and before the ledger hears of it, nothing is sealed under it. Only of one whose every seal is known to be there are
    /// the numbers that have not come returned as unused; of any other they are missing, and somebody has to look for them.
    pub(crate) fn give_back(
        &mut self,
        group_ms: u64,
    ) -> Result<Option<(String, CloseReason)>, SpoolError> {
        let own = self.public_key();
        let low_until = group_ms.saturating_add(self.settings.low_ms());
        let useless = self.book.held.iter().find(|(_, held)| {
            let gone = held.ended || held.left() == 0 || held.terms().not_after_ms < group_ms;
            let dying = held.terms().not_after_ms <= low_until;
            // One that another has taken the place of ends early, so that its numbers do not stay lent for days.
            let replaced = || {
                let mut others = self.book.held.values().filter(|other| {
                    other.terminal_id == held.terminal_id && other.is_open_at(group_ms)
                });
                others.any(|other| other.terms().not_after_ms > low_until)
            };
            !held.closed && held.unsettled == 0 && (gone || dying && replaced())
        });
        let Some((id, held)) = useless else { return Ok(None) };
        let (id, ended) = (id.clone(), held.ended);
        let known = !held.doubtful && held.terms().terminal_key == own;
        let reason = if known { CloseReason::Returned } else { CloseReason::Revoked };
        if !ended {
            self.append(&Entry::Ended { credential_id: id.clone() })?;
        }
        Ok(Some((id, reason)))
    }

    /// Writes the spool anew when much of it is of no use.
    pub(crate) fn tidy(&mut self, now: Moment) -> Result<(), SpoolError> {
        let kept_after_ms = now.wall_ms.saturating_sub(self.settings.kept_ms());
        let spool = &mut self.spool;
        let half_waste = self.tidied.saturating_mul(2).max(WASTE_BYTES);
        // Long before it is as long as it may be, but never for little.
        let early = self.settings.spool_bytes_max / 4 * 3;
        let due = half_waste.min(early).max(self.tidied.saturating_add(WASTE_BYTES));
        if spool.bytes() < due || now.up_ms < self.tidy_from_up_ms {
            return Ok(());
        }
        self.tidy_from_up_ms = now.up_ms.saturating_add(TIDY_PAUSE_MS);
        let entries = self.book.entries(kept_after_ms);
        let mut book = super::book::Book::default();
        let spare = self.settings.free_bytes_min;
        match spool.rewrite(&entries, spare, &mut |place, entry| book.note(place, entry)) {
            // The old file serves; the room that is left is for sales.
            Err(SpoolError::Full) => return Ok(()),
            written => written?,
        }
        self.book = book;
        self.tidied = self.spool.bytes();
        Ok(())
    }
}
