//! Whatever the tax authority answers, either it is believed for every invoice of the batch or not at all.
#![no_main]

use std::sync::LazyLock;

use fiscus_gateway::uploads::contract::{Batch, Item, batch_id, item_id, read_answer};
use libfuzzer_sys::fuzz_target;

static BATCH: LazyLock<Batch> = LazyLock::new(|| {
    let invoices: Vec<Item> = (1..4_u8)
        .map(|number| Item {
            id: item_id(&[number; 32]),
            fiscal_number: format!("K-G-{number}"),
            position: number.into(),
            kind: "sale".to_owned(),
            timestamp: String::new(),
            record_hash: format!("{number:02x}"),
            fiscal_authority_id: String::new(),
            signature: String::new(),
            invoice: "{}".to_owned(),
        })
        .collect();
    Batch {
        batch_id: batch_id(&invoices),
        outlet_id: "o".to_owned(),
        merchant_nif: "n".to_owned(),
        invoices,
    }
});

fuzz_target!(|data: &[u8]| {
    if let Ok(answered) = read_answer(&BATCH, data) {
        assert_eq!(answered.said.len(), BATCH.invoices.len());
        assert!(answered.receipt.len() <= 64);
    }
});
