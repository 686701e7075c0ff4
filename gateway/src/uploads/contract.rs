//! What is said to the tax authority's control module and how its answer is read: docs/UPLOAD.md is the contract.
//!
//! An answer is believed only as a whole. One that names an invoice that was not sent, the same one twice, another
//! hash, or leaves one out, tells nothing: what became of the batch is unknown, and it is sent again.

use std::collections::BTreeMap;

use fiscus_ledger::commands::UPLOAD_REASON_BYTES_MAX;
use fiscus_ledger::facts::is_identifier;
use serde::{Deserialize, Serialize};

/// Bytes of an answer at most.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// One invoice on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The same for the same invoice for ever.
    pub id: String,
    /// Its number.
    pub fiscal_number: String,
    /// Its place in the outlet's journal.
    pub position: u64,
    /// The kind of its record.
    pub kind: String,
    /// When it was sealed.
    pub timestamp: String,
    /// What was signed, in hexadecimal.
    pub record_hash: String,
    /// Who signed.
    pub fiscal_authority_id: String,
    /// The signature, in hexadecimal.
    pub signature: String,
    /// The canonical invoice, as text.
    pub invoice: String,
}

/// Invoices of one outlet in the order of its journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// The same for the same invoices.
    pub batch_id: String,
    /// The outlet.
    pub outlet_id: String,
    /// Its merchant's tax number.
    pub merchant_nif: String,
    /// The invoices.
    pub invoices: Vec<Item>,
}

/// What the tax authority says of one invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It has it.
    Acknowledged,
    /// It will not take it.
    Rejected {
        /// Its code.
        code: String,
        /// Its sentence.
        reason: String,
    },
    /// It does not have it, and will take it later.
    Later {
        /// Its code.
        code: String,
        /// Its sentence.
        reason: String,
    },
}

/// An answer for all invoices of a batch, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The tax authority's own reference; empty when it gave none.
    pub receipt: String,
    /// What it says.
    pub said: Vec<Said>,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON, or not of this form.
    #[error("the answer cannot be read: {0}")]
    Form(String),
    /// For something else.
    #[error("the answer is for batch {0:?}")]
    Batch(String),
    /// An invoice that was not sent.
    #[error("the answer names invoice {0:?}, which was not sent")]
    Extra(String),
    /// Twice.
    #[error("the answer names invoice {0} twice")]
    Twice(String),
    /// Another hash.
    #[error("the answer has another hash for invoice {0}")]
    Hash(String),
    /// Left out.
    #[error("the answer says nothing of invoice {0}")]
    Missing(String),
}

#[derive(Deserialize)]
struct RawAnswer {
    batch_id: String,
    #[serde(default)]
    receipt: String,
    results: Vec<RawResult>,
}

#[derive(Deserialize)]
struct RawResult {
    id: String,
    record_hash: String,
    status: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    reason: String,
}

/// The id of an invoice: of what was signed, so that a restored journal cannot name two invoices alike.
#[must_use]
pub fn item_id(entry_hash: &[u8; 32]) -> String {
    format!("inv_{}", fiscus_ledger::hash::hex(&entry_hash[..16]))
}

/// The id of a batch: of its invoices' ids.
#[must_use]
pub fn batch_id(items: &[Item]) -> String {
    let mut hash = blake3::Hasher::new();
    items.iter().for_each(|item| {
        hash.update(item.id.as_bytes()).update(b"\n");
    });
    format!("bat_{}", fiscus_ledger::hash::hex(&hash.finalize().as_bytes()[..16]))
}

/// Reads an answer to a batch.
pub fn read_answer(batch: &Batch, body: &[u8]) -> Result<Answered, AnswerError> {
    let raw: RawAnswer =
        serde_json::from_slice(body).map_err(|error| AnswerError::Form(error.to_string()))?;
    if raw.batch_id != batch.batch_id {
        return Err(AnswerError::Batch(raw.batch_id.chars().take(64).collect()));
    }
    if !raw.receipt.is_empty() && !is_identifier(&raw.receipt) {
        return Err(AnswerError::Form("receipt must have 1 to 64 printable bytes".to_owned()));
    }
    let mut by_id: BTreeMap<&str, RawResult> = BTreeMap::new();
    for result in raw.results {
        let Some(item) = batch.invoices.iter().find(|item| item.id == result.id) else {
            return Err(AnswerError::Extra(result.id.chars().take(64).collect()));
        };
        if item.record_hash != result.record_hash {
            return Err(AnswerError::Hash(item.fiscal_number.clone()));
        }
        if by_id.insert(&item.id, result).is_some() {
            return Err(AnswerError::Twice(item.fiscal_number.clone()));
        }
    }
    let said = batch.invoices.iter().map(|item| {
        let result = by_id.remove(&*item.id);
        said(result.ok_or_else(|| AnswerError::Missing(item.fiscal_number.clone()))?)
    });
    let said = said.collect::<Result<_, _>>()?;
    Ok(Answered { receipt: raw.receipt, said })
}

fn said(result: RawResult) -> Result<Said, AnswerError> {
    let code = result.code;
    let coded = || {
        is_identifier(&code)
            .then(|| (code.clone(), text(&result.reason)))
            .ok_or_else(|| AnswerError::Form("code must have 1 to 64 printable bytes".to_owned()))
    };
    match &*result.status {
        "acknowledged" | "duplicate" => Ok(Said::Acknowledged),
        "rejected" => coded().map(|(code, reason)| Said::Rejected { code, reason }),
        "retry" => coded().map(|(code, reason)| Said::Later { code, reason }),
        other => Err(AnswerError::Form(format!(
            "{:?} is no status",
            other.chars().take(32).collect::<String>()
        ))),
    }
}

/// A sentence as the ledger takes it: in one line, and not too long.
fn text(reason: &str) -> String {
    let mut text = String::new();
    for character in reason.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if text.len() + character.len_utf8() > UPLOAD_REASON_BYTES_MAX {
            break;
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn batch() -> Batch {
        let item = |number: u8| Item {
            id: item_id(&[number; 32]),
            fiscal_number: format!("KIN-GOMBE-{number}"),
            position: u64::from(number),
            kind: "sale".to_owned(),
            timestamp: String::new(),
            record_hash: fiscus_ledger::hash::hex(&[number; 32]),
            fiscal_authority_id: "demo.1".to_owned(),
            signature: String::new(),
            invoice: "{}".to_owned(),
        };
        let invoices = vec![item(1), item(2)];
        Batch {
            batch_id: batch_id(&invoices),
            outlet_id: "outlet-gombe".to_owned(),
            merchant_nif: "A1".to_owned(),
            invoices,
        }
    }

    fn answer(change: impl FnOnce(&mut Value)) -> Result<Answered, AnswerError> {
        let batch = batch();
        let result = |item: &Item| json!({"id": item.id, "record_hash": item.record_hash, "status": "acknowledged"});
        let results: Vec<Value> = batch.invoices.iter().map(result).collect();
        let mut value = json!({"batch_id": batch.batch_id, "receipt": "R-1", "results": results});
        change(&mut value);
        read_answer(&batch, value.to_string().as_bytes())
    }

    #[test]
    fn an_answer_is_read_in_the_order_of_the_batch() {
        let read = answer(|value| {
            let results = value["results"].as_array_mut().expect("a list");
            results.reverse();
            results[0]["status"] = json!("rejected");
            results[0]["code"] = json!("NIF_UNKNOWN");
            results[0]["reason"] = json!(format!("no\nsuch {}", "é".repeat(200)));
        });
        let read = read.expect("it is believed");
        let Said::Rejected { code, reason } = &read.said[1] else { panic!("{read:?}") };
        assert_eq!((&read.said[0], code.as_str()), (&Said::Acknowledged, "NIF_UNKNOWN"));
        assert!(reason.starts_with("no such é") && reason.len() <= UPLOAD_REASON_BYTES_MAX);
    }

    #[test]
    fn an_answer_that_is_wrong_in_any_part_tells_nothing() {
        let number = |number: u8| format!("KIN-GOMBE-{number}");
        type Change = fn(&mut Value);
        let cases: [(Change, AnswerError); 5] = [
            (|v| v["batch_id"] = json!("bat_x"), AnswerError::Batch("bat_x".to_owned())),
            (|v| v["results"][1]["id"] = json!("inv_x"), AnswerError::Extra("inv_x".to_owned())),
            (|v| v["results"][1] = v["results"][0].clone(), AnswerError::Twice(number(1))),
            (|v| v["results"][0]["record_hash"] = json!("00"), AnswerError::Hash(number(1))),
            (|v| drop(v["results"].as_array_mut().map(Vec::pop)), AnswerError::Missing(number(2))),
        ];
        for (change, error) in cases {
            assert_eq!(answer(change), Err(error));
        }
        for change in [
            (|v| v["results"][0]["status"] = json!("maybe")) as Change,
            |v| v["results"][0]["status"] = json!("rejected"),
            |v| v["receipt"] = json!("a\nb"),
            |v| drop(v.as_object_mut().map(|v| v.remove("results"))),
        ] {
            assert!(matches!(answer(change), Err(AnswerError::Form(_))));
        }
    }
}
