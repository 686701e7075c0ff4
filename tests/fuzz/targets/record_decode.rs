//! Stored bytes of every kind: what decodes encodes to the same bytes.
#![no_main]

use fiscus_ledger::codec::{Reader, Writer};
use fiscus_ledger::credential::Credential;
use fiscus_ledger::facts::{Fact, FactKind};
use fiscus_ledger::heads::{HeadEntry, HeadsProof};
use fiscus_ledger::record::Record;
use fiscus_ledger::state::block::Block;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::rows::{Device, Payment, SealedInvoice, Submission, Terminal};
use fiscus_ledger::state::table::Row;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 14 {
        0 => record(bytes),
        1 => row::<Outlet>(bytes),
        2 => row::<Submission>(bytes),
        3 => row::<SealedInvoice>(bytes),
        4 => row::<Terminal>(bytes),
        5 => row::<Payment>(bytes),
        6 => row::<Device>(bytes),
        7 => row::<Block>(bytes),
        8 => fact(FactKind::Outlet, bytes),
        9 => fact(FactKind::Terminal, bytes),
        10 => fact(FactKind::Device, bytes),
        11 => credential(bytes),
        12 => head_entry(bytes),
        _ => heads_proof(bytes),
    }
});

fn record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let mut out = Writer::new();
        record.encode(&mut out);
        assert_eq!(out.as_bytes(), bytes);
    }
}

fn row<V: Row>(bytes: &[u8]) {
    if let Ok(row) = V::from_stored(bytes) {
        assert_eq!(row.stored_row(), bytes);
    }
}

fn fact(kind: FactKind, bytes: &[u8]) {
    if let Ok(fact) = Fact::decode(kind, bytes) {
        assert_eq!(fact.encode(), bytes);
    }
}

fn credential(bytes: &[u8]) {
    if let Ok(credential) = Credential::from_bytes(bytes) {
        assert_eq!(credential.to_bytes(), bytes);
    }
}

fn head_entry(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    if let Ok(entry) = HeadEntry::decode(&mut reader)
        && reader.is_empty()
    {
        let mut out = Writer::new();
        entry.encode(&mut out);
        assert_eq!(out.as_bytes(), bytes);
    }
}

fn heads_proof(bytes: &[u8]) {
    if let Ok(proof) = HeadsProof::decode(bytes) {
        assert_eq!(proof.encode(), bytes);
    }
}
