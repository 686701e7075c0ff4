//! An example of each event's data, and of each of its forms where it has several.

use serde_json::{Value, json};

use super::{EventType, with};

pub(super) fn of(event: EventType) -> Vec<Value> {
    let record = |own: Value| with(record(), own);
    let notice = |own: Value| with(notice(), own);
    match event {
        EventType::EndpointTest => {
            vec![json!({"endpoint_id": "5b2c7f0a91d34e6688aa1020", "sequence": null})]
        }
        EventType::EndpointDisabled => vec![json!({
            "endpoint_id": "5b2c7f0a91d34e6688aa1020", "url": "https://erp.example.cd:443",
            "reason": "failing", "sequence": 7,
        })],
        EventType::InvoiceSealed => {
            let sale = record(invoice());
            let credit =
                json!({"original_fiscal_number": "KIN-GOMBE-41", "device_id": "def-gombe-1"});
            vec![sale.clone(), with(sale, with(credit, json!({"sequence": null})))]
        }
        EventType::InvoiceSyncSuccess | EventType::InvoiceSyncFailed => synced(event, record),
        EventType::InvoiceSyncOverdue => {
            vec![notice(json!({"since": "2026-11-27T09:58:12.481Z"}))]
        }
        EventType::ReportGenerated => reports(),
        EventType::PaymentConfirmed | EventType::PaymentFailed => {
            let status = if event == EventType::PaymentConfirmed { "confirmed" } else { "failed" };
            let paid = record(json!({
                "provider": "mpesa", "reference": "MP-7781", "status": status, "amount": "1160.00",
                "currency": "CDF", "fiscal_number": "KIN-GOMBE-42", "record_kind": "payment_event",
            }));
            vec![paid.clone(), with(paid, json!({"fiscal_number": null, "sequence": null}))]
        }
        EventType::ShiftClosed => vec![record(json!({
            "shift_id": "shift-9", "pos_terminal_id": "till-1", "opened_by": "cashier-7",
            "closed_by": "cashier-7", "opened_at": "2026-11-28T07:00:00.000Z", "invoices": 42, "digest": "5d41…",
            "record_kind": "shift_close",
        }))],
        EventType::DeviceActivated | EventType::DeviceRevoked => {
            let state = if event == EventType::DeviceActivated { "active" } else { "revoked" };
            let device = record(json!({
                "device_id": "def-gombe-1", "state": state, "replaced_by": null, "version": 2,
                "record_kind": "device_event",
            }));
            let replaced =
                json!({"state": "replaced", "replaced_by": "def-gombe-2", "sequence": null});
            vec![device.clone(), if state == "active" { device } else { with(device, replaced) }]
        }
        EventType::DeviceUnhealthy => vec![notice(json!({
            "device_id": "def-gombe-1", "state": "away", "last_seen": "2026-11-28T10:15:30.123Z",
            "since": "2026-11-28T10:16:00.000Z",
            "problems": [{
                "code": "DEVICE_AWAY",
                "detail": "its proxy runs, and the device does not answer it: look at cable and power",
            }],
        }))],
        EventType::OutletOfflineAlert => vec![notice(json!({
            "since": "2026-11-28T10:16:00.000Z",
            "devices": [{"device_id": "def-gombe-1", "last_seen": "2026-11-28T10:13:00.123Z"}],
        }))],
        EventType::BlockMissingNumbers => vec![record(json!({
            "credential_id": "cred-7f2c", "series": "KIN-GOMBE", "missing": [[17, 18]],
            "record_kind": "numbers_missing",
        }))],
        EventType::IntegrityAlert => integrity(),
    }
}

/// What the tax authority has answered; its receipt may be missing.
fn synced(event: EventType, record: impl Fn(Value) -> Value) -> Vec<Value> {
    let (state, invoice) = match event {
        EventType::InvoiceSyncSuccess => {
            ("acknowledged", json!({"fiscal_number": "KIN-GOMBE-42", "position": 57}))
        }
        _ => (
            "rejected",
            json!({
                "fiscal_number": "KIN-GOMBE-42", "position": 57, "code": "NIF_UNKNOWN",
                "reason": "the buyer is not registered",
            }),
        ),
    };
    let answer = record(json!({
        "state": state, "destination": "dgi", "batch_id": "bat_1f0c…", "receipt": "MCF-7781", "count": 1,
        "invoices": [invoice], "record_kind": "upload_event",
    }));
    vec![answer.clone(), with(answer, json!({"receipt": null, "sequence": null}))]
}

/// Numbers that were skipped, which a record says; an incident of a node, which none does.
fn integrity() -> Vec<Value> {
    let skipped = with(
        record(),
        json!({
            "alert": "numbers_skipped", "last_known": 40, "last_issued": 42, "skipped": [[41, 42]],
            "record_kind": "recovery_gap",
        }),
    );
    let incident = json!({
        "alert": "replica_damaged", "node": 2, "incident": 7, "at": "2026-11-28T10:15:30.123Z", "findings": 1,
        "repaired": 1, "is_open": false, "last_known": null, "last_issued": null, "skipped": null,
        "outlet_id": null, "branch": null, "region": null, "environment": null, "tree_index": null,
        "position": null, "record_kind": null, "fiscal_authority_id": null, "record_hash": null,
        "previous_hash": null, "sequence": null,
    });
    vec![skipped.clone(), with(skipped, incident)]
}

/// What is told of every record.
fn record() -> Value {
    json!({
        "outlet_id": "outlet-gombe", "branch": "KIN-GOMBE", "region": "kinshasa", "environment": "live",
        "group": 1, "tree_index": 4711, "position": 99, "record_kind": "sale",
        "fiscal_authority_id": "demo.29d1c0ffee15900d", "record_hash": "3b8f…", "previous_hash": "77c0…",
        "sequence": 1287,
    })
}

/// What is told of everything else that is about an outlet.
fn notice() -> Value {
    json!({
        "outlet_id": "outlet-gombe", "branch": "KIN-GOMBE", "region": "kinshasa", "environment": "live",
        "sequence": 1288,
    })
}

fn invoice() -> Value {
    json!({
        "fiscal_number": "KIN-GOMBE-42", "invoice_type": "sale", "pos_terminal_id": "till-1",
        "cashier_id": "cashier-7", "device_id": null, "original_fiscal_number": null,
        "tax_groups": [{
            "code": "TG02", "name": "Standard VAT, goods", "rate": "0.1600", "base_amount": "1000.00",
            "tax_amount": "160.00",
        }],
        "totals": {
            "subtotal": "1000.00", "total_vat": "160.00", "total": "1160.00", "currency": "CDF",
            "rounding_adjustment": "0.00",
        },
        "tax_manifest_version": "2026-02-01", "auth_code": "7Q4X-1M8K-ZC0D-3J5W", "signature": "9f1c…",
    })
}

/// A Z, which is a record; an X and an A, which are none.
fn reports() -> Vec<Value> {
    let z = json!({
        "report": "z", "report_id": "z-b3V0bGV0LWdvbWJl-99", "z_number": 12,
        "generated_at": "2026-11-28T20:00:00.000Z", "operator": "cashier-7", "empty": false, "invoices": 42,
        "digest": "5d41…", "scope": null, "pos_terminal_id": null, "from_position": null,
        "to_position": null, "record_kind": "z_closure",
    });
    let z = with(record(), z);
    let x = json!({
        "report": "x", "report_id": "x-b3V0bGV0LWdvbWJl-7", "z_number": null, "empty": null, "invoices": null,
        "operator": "Caisse", "scope": "terminal", "pos_terminal_id": "till-1", "tree_index": null,
        "position": null, "record_kind": null, "record_hash": null, "previous_hash": null, "sequence": null,
    });
    let x = with(z.clone(), x);
    let a = json!({
        "report": "a", "report_id": "a-b3V0bGV0LWdvbWJl-8", "digest": null, "scope": null, "pos_terminal_id": null,
        "fiscal_authority_id": null, "from_position": 1, "to_position": 98,
    });
    let a = with(x.clone(), a);
    vec![z, x, a]
}
