//! Numbers that are lent to a terminal, sealed by it alone, delivered out of order and twice, and given back; some seals
//! come after their block.

use std::time::Duration;

use anyhow::Result;
use fiscus_dice::Dice;
use fiscus_ledger::hash::Hash32;
use tokio::time::sleep;

use super::{PATIENCE, Shop};
use crate::sales::{Submission, Terminal, granted, now_ms};
use crate::till::Told;

/// Of a hundred seals so many are delivered when their numbers are said to be missing already.
const LATE_PER_CENT: u64 = 20;

pub(super) async fn run(shop: Shop, at: u64) -> Result<()> {
    let (till, other) = (shop.till(at), shop.till(at + 1));
    let mut dice = shop.dice(&format!("blocks {at}"));
    let mut block = 0;
    while !shop.floor.stopped() {
        let outlet = shop.roster.choose(&mut dice).to_owned();
        let terminal = Terminal::new(&outlet, &format!("cred-{}-{at}-{block}", shop.seed));
        block += 1;
        let told = till.submit(&terminal.borrow(dice.between(1, 8)), PATIENCE).await?;
        // Another terminal's block may have to come back first.
        if let Told::Recorded(record) = told {
            let mut seals = sealed(&shop, &terminal, &outlet, &record.record, &mut dice)?;
            // Neighbours change places: the ledger waits for what is before.
            if seals.len() > 1 && dice.chance(50) {
                let at = usize::try_from(dice.below(seals.len() as u64 - 1)).unwrap_or(0);
                seals.swap(at, at + 1);
            }
            let (late, soon): (Vec<_>, Vec<_>) =
                seals.into_iter().partition(|_| dice.chance(LATE_PER_CENT));
            for seal in &soon {
                till.submit(seal, PATIENCE).await?;
                if dice.chance(30) {
                    other.submit(seal, PATIENCE).await?;
                }
            }
            till.submit(&terminal.close(), PATIENCE).await?;
            for seal in &late {
                till.submit(seal, PATIENCE).await?;
            }
        }
        sleep(Duration::from_millis(dice.between(50, 400))).await;
    }
    Ok(())
}

/// What the terminal sells with a block, or with a part of it.
fn sealed(
    shop: &Shop,
    terminal: &Terminal,
    outlet: &str,
    grant: &[u8],
    dice: &mut Dice,
) -> Result<Vec<Submission>> {
    let (first, last, head) = granted(grant)?;
    let series = shop.roster.series(outlet);
    let mut head: Hash32 = head;
    let mut seals = Vec::new();
    let at = record_time(grant)?;
    for place in 1..=dice.between(0, last - first + 1) {
        let (seal, entry) = terminal.seal(&series, (first, place), at.max(now_ms()), head)?;
        head = entry;
        seals.push(seal);
    }
    Ok(seals)
}

/// A terminal learns the cluster's time with its numbers.
fn record_time(record: &[u8]) -> Result<u64> {
    Ok(fiscus_ledger::record::Record::decode(record)?.timestamp.get())
}
