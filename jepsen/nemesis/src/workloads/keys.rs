//! Keys that are used again: at once, later, and for something else.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{PATIENCE, Shop};
use crate::sales::seal;
use crate::till::Told;

pub(super) async fn run(shop: Shop, at: u64) -> Result<()> {
    // Each has connections of its own.
    let (one, other) = (shop.till(at), shop.till(at + 1));
    let mut dice = shop.dice(&format!("keys {at}"));
    let mut sold = 0;
    while !shop.floor.stopped() {
        match dice.below(4) {
            // The same key at once.
            0 => {
                let outlet = shop.roster.choose(&mut dice).to_owned();
                let key = format!("both {at}/{sold}");
                let sale = seal(&outlet, &key, &key, None)?;
                tokio::try_join!(one.submit(&sale, PATIENCE), other.submit(&sale, PATIENCE))?;
            }
            // The same key at once for two invoices: one of them is sealed.
            1 => {
                let outlet = shop.roster.choose(&mut dice).to_owned();
                let key = format!("either {at}/{sold}");
                let (a, b) = (seal(&outlet, &key, "a", None)?, seal(&outlet, &key, "b", None)?);
                tokio::try_join!(one.submit(&a, PATIENCE), other.submit(&b, PATIENCE))?;
            }
            // An earlier one again, after whatever has happened since.
            2 => {
                if let Some(earlier) = shop.floor.earlier(&mut dice) {
                    let told = one.submit(&earlier, PATIENCE).await?;
                    refused_never(&one, told, &earlier.key)?;
                }
            }
            // Another invoice under an earlier key.
            _ => {
                if let Some(earlier) = shop.floor.earlier(&mut dice).filter(|it| it.f == "seal") {
                    let mark = format!("other {at}/{sold}");
                    let sale = seal(&earlier.outlet, &earlier.key, &mark, None)?;
                    one.submit(&sale, PATIENCE).await?;
                }
            }
        }
        sold += 1;
        sleep(Duration::from_millis(dice.between(5, 60))).await;
    }
    Ok(())
}

/// What was acknowledged once is never refused.
fn refused_never(till: &crate::till::Till, told: Told, key: &str) -> Result<()> {
    let Told::Refused(code) = told else { return Ok(()) };
    let wrong = format!("{key} was acknowledged, and is refused with {code}");
    till.note("audit", till.recorder.now(), Some(wrong))
}
