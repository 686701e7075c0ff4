//! Sales one after the other, many at once, and looks.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::{PATIENCE, Shop};
use crate::sales::seal;

const BATCH: u64 = 30;

pub(super) async fn sell(shop: Shop, at: u64) -> Result<()> {
    let (till, mut dice) = (shop.till(at), shop.dice(&format!("till {at}")));
    let every = match shop.rate {
        0 => Duration::ZERO,
        rate => Duration::from_nanos(1_000_000_000 * shop.tills / rate),
    };
    let mut due = Instant::now() + every.mul_f64(at as f64 / shop.tills as f64);
    let mut sold = 0;
    while !shop.floor.stopped() {
        sleep_until(due).await;
        // A till that was kept waiting does not hurry afterwards.
        due = (due + every).max(Instant::now());
        let outlet = shop.roster.choose(&mut dice).to_owned();
        let key = format!("sale {at}/{sold}");
        till.submit(&seal(&outlet, &key, &key, None)?, PATIENCE).await?;
        sold += 1;
    }
    Ok(())
}

/// Many at once, in one outlet or in several.
pub(super) async fn batches(shop: Shop) -> Result<()> {
    let mut dice = shop.dice("batches");
    let tills: Vec<_> = (0..BATCH).map(|at| shop.till(at)).collect();
    let mut batch = 0_u64;
    while !shop.floor.stopped() {
        let one = dice.chance(50).then(|| shop.roster.choose(&mut dice).to_owned());
        let mut sales = Vec::new();
        for at in 0..BATCH {
            let outlet = one.clone().unwrap_or_else(|| shop.roster.choose(&mut dice).to_owned());
            let key = format!("batch {batch}/{at}");
            sales.push(seal(&outlet, &key, &key, None)?);
        }
        let all = tills.iter().zip(&sales).map(|(till, sale)| till.submit(sale, PATIENCE));
        try_join_all(all).await?;
        batch += 1;
        sleep(Duration::from_millis(dice.between(100, 500))).await;
    }
    Ok(())
}

pub(super) async fn look(shop: Shop, at: u64) -> Result<()> {
    let (till, mut dice) = (shop.till(at), shop.dice(&format!("look {at}")));
    while !shop.floor.stopped() {
        let outlet = shop.roster.choose(&mut dice).to_owned();
        till.look(&outlet).await?;
        sleep(Duration::from_millis(dice.between(5, 40))).await;
    }
    Ok(())
}
