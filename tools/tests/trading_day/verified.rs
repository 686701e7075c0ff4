//! The auditor's checks, which share no code with the core, on what the core makes of a day.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use fiscus_ledger::reports::AuditChunk;
use fiscus_verify::{
    ExportOptions, ExportSummary, Kind, Policy, VerifyError, verify_export, verify_receipt,
};

use crate::OUTLET;
use crate::day::{Day, play};

const CHUNK_RECORDS: usize = 7;

/// The export of one chain, as a gateway would write it.
fn export(day: &Day, chain: &str) -> Result<String> {
    let (note, size) = &day.checkpoint;
    let records = day.group.records()?;
    let own: Vec<_> = records.iter().filter(|(record, _)| record.outlet_id == chain).collect();
    let chunks = own.len().div_ceil(CHUNK_RECORDS);
    let mut lines = String::new();
    for (index, records) in own.chunks(CHUNK_RECORDS).enumerate() {
        let mut chunk = AuditChunk::new(u64::try_from(index)?);
        for (record, signature) in records {
            chunk.push(record, signature, &day.group.prove(*size, record.leaf_index)?)?;
        }
        lines += &chunk.finish((index + 1 == chunks).then_some(note));
        lines.push('\n');
    }
    Ok(lines)
}

fn policy(day: &Day) -> Result<Policy> {
    let (id, key, from) = day.authority()?;
    let raw = fiscus_ledger::base64::encode_standard(key.verifying_key().as_bytes());
    let text = format!(
        "fiscus_policy = 1\nlogs = [\"{}\"]\n[[authorities]]\nfiscal_authority_id = \"{id}\"\n\
         public_key = \"{raw}\"\nvalid_from = \"{from}\"\n",
        day.log_key
    );
    Ok(Policy::parse(&text, |_| unreachable!("it names no file"))?)
}

fn check(text: &str, policy: &Policy) -> Result<ExportSummary, VerifyError> {
    verify_export(Cursor::new(text), policy, ExportOptions { threads: 2 }, |_| {})
}

#[test]
fn the_auditor_accepts_the_day() -> Result<()> {
    let day = play()?;
    let policy = policy(&day)?;
    let passed = check(&export(&day, OUTLET)?, &policy)?.journal;
    ensure!(passed.from_the_start && passed.unchecked_credits == 0, "{passed:?}");
    // Six sales and two offline; the third lent number was never used.
    ensure!(
        (passed.invoices, passed.closures, passed.last_number) == (8, 1, Some(9)),
        "{passed:?}"
    );
    ensure!((passed.open.len(), &passed.missing[..]) == (0, &[(9, 9)][..]), "{passed:?}");
    check(&export(&day, "@group/1")?, &policy)?;
    for receipt in &day.receipts {
        let genuine = verify_receipt(&receipt.url, None, &policy)?;
        ensure!(genuine.fiscal_number == receipt.number && genuine.total == receipt.total);
    }
    Ok(())
}

/// What one line of the journal becomes when each of these is done to it.
#[test]
fn the_auditor_refuses_what_was_changed_in_the_day() -> Result<()> {
    let day = play()?;
    let policy = policy(&day)?;
    let text = export(&day, OUTLET)?;
    for (from, to) in [
        ("\\\"z_number\\\":1", "\\\"z_number\\\":2"),
        ("\\\"reason\\\":\\\"returned\\\"", "\\\"reason\\\":\\\"revoked\\\""),
        ("\\\"missing\\\":[[9,9]]", "\\\"missing\\\":[[8,9]]"),
        ("\\\"place\\\":2", "\\\"place\\\":3"),
        ("\\\"shift_id\\\"", "\\\"shift_ip\\\""),
    ] {
        ensure!(text.contains(from), "{from}");
        match check(&text.replace(from, to), &policy) {
            Err(VerifyError::Found(failure)) => {
                ensure!(failure.kind == Kind::Chain, "{from}: {failure}");
            }
            other => anyhow::bail!("{from} became {to}: {other:?}"),
        }
    }
    let note = text.rfind("\"checkpoint\":").context("the last chunk has a checkpoint")?;
    let (records, _) = text.split_at(note);
    ensure!(check(records, &policy).is_err(), "an export without its end");
    Ok(())
}
