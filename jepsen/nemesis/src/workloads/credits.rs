//! Credit notes that race for one original: no more is credited than was sold.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::{PATIENCE, Shop};
use crate::sales::seal;
use crate::till::{Told, split};

const RACERS: u64 = 3;

pub(super) async fn run(shop: Shop, at: u64) -> Result<()> {
    let tills: Vec<_> = (0..RACERS).map(|racer| shop.till(at + racer)).collect();
    let mut dice = shop.dice(&format!("credits {at}"));
    let mut race = 0_u64;
    while !shop.floor.stopped() {
        let outlet = shop.roster.choose(&mut dice).to_owned();
        let mark = format!("original {at}.{race}");
        let sale = seal(&outlet, &mark, &mark, None)?;
        if let Told::Recorded(record) = tills[0].submit(&sale, PATIENCE).await? {
            let record = fiscus_ledger::record::Record::decode(&record.record)?;
            split(record.fiscal_number)?;
            let mut credits = Vec::new();
            for racer in 0..RACERS {
                let name = format!("{mark}/{racer}");
                credits.push(seal(&outlet, &name, &name, Some(record.fiscal_number))?);
            }
            let all =
                tills.iter().zip(&credits).map(|(till, credit)| till.submit(credit, PATIENCE));
            try_join_all(all).await?;
        }
        race += 1;
        sleep(Duration::from_millis(dice.between(20, 200))).await;
    }
    Ok(())
}
