//! What the cluster's refusals and silences are in the protocol's few codes. The ledger's own code goes along
//! as the reason.

use fiscus_proto::client::{ReadError, SubmitError};
use fiscus_proto::command::Refusal;
use fiscus_proto::ledger::Busy;

use crate::protocol::{Code, Fault, Reply};

/// The cluster was not reached, or says no more than that: nothing was done.
pub(super) fn unavailable(detail: &str) -> Fault {
    let detail = format!("the cluster does not answer: {detail}; nothing was done; ask again");
    Fault::new(Code::Unavailable, detail)
}

pub(super) fn of_read(error: &ReadError) -> Fault {
    unavailable(&error.to_string())
}

/// What an answer that no node of this version gives is taken for.
pub(super) fn strange(what: &str) -> Fault {
    unavailable(&format!("{what} is not understood"))
}

pub(super) fn of_refusal(refusal: &Refusal) -> Fault {
    let code = match refusal.code.as_str() {
        "DEVICE_REVOKED" => Code::DeviceRevoked,
        "DEVICE_UNKNOWN"
        | "DEVICE_NOT_ACTIVE"
        | "IDENTITY_MISMATCH"
        | "TERMINAL_BLOCKED"
        | "OUTLET_INACTIVE"
        | "OUTLET_HELD"
        | "SIGNING_MODE_DEF"
        | "ACTIVATION_INVALID"
        | "DEVICE_TRANSITION"
        | "DEVICE_LEAVE_INVALID" => Code::Unauthorized,
        "SERIES_EXHAUSTED" | "CURRENCY_LIMIT" => Code::StorageFull,
        "IDEMPOTENCY_CONFLICT" => Code::ReplayDetected,
        "NO_AUTHORITY" | "NO_MANIFEST" | "OUTLET_UNKNOWN" => Code::Unavailable,
        // Everything else is about what the invoice says.
        _ => Code::SchemaInvalid,
    };
    let detail = match refusal.pointer.as_str() {
        "" => refusal.detail.clone(),
        pointer => format!("{} (at {pointer})", refusal.detail),
    };
    Fault { code, detail, reason: Some(refusal.code.clone()) }
}

pub(super) fn of_busy(code: &str, detail: &str) -> Fault {
    let protocol = match code {
        "DISK_FULL" => Code::StorageFull,
        "QUEUE_FULL" => Code::DeviceBusy,
        _ => Code::Unavailable,
    };
    let detail = format!("{detail}; nothing was done; ask again");
    Fault { code: protocol, detail, reason: Some(code.to_owned()) }
}

pub(super) fn of_busy_node(busy: &Busy) -> Fault {
    of_busy(&busy.code, &busy.detail)
}

/// What a command without an answer is told as.
pub(super) fn of_submit(error: SubmitError) -> Reply {
    match error {
        SubmitError::Unknown { detail } => Reply::InDoubt(detail),
        SubmitError::Unavailable { detail } => Reply::NotNow(unavailable(&detail)),
        SubmitError::Busy { code, detail, .. } => Reply::NotNow(of_busy(&code, &detail)),
        SubmitError::Malformed { detail } => Reply::Refused(Fault::schema(detail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_code() {
        let rows = [
            ("DEVICE_REVOKED", Code::DeviceRevoked),
            ("DEVICE_NOT_ACTIVE", Code::Unauthorized),
            ("IDENTITY_MISMATCH", Code::Unauthorized),
            ("SERIES_EXHAUSTED", Code::StorageFull),
            ("IDEMPOTENCY_CONFLICT", Code::ReplayDetected),
            ("NO_MANIFEST", Code::Unavailable),
            ("CREDIT_EXCEEDS_ORIGINAL", Code::SchemaInvalid),
        ];
        for (reason, code) in rows {
            let refusal = Refusal { code: reason.to_owned(), ..Refusal::default() };
            let fault = of_refusal(&refusal);
            assert_eq!((fault.code, fault.reason.as_deref()), (code, Some(reason)));
        }
    }

    #[test]
    fn what_is_unknown_is_never_a_refusal() {
        let unknown = SubmitError::Unknown { detail: "no answer".to_owned() };
        assert_eq!(of_submit(unknown), Reply::InDoubt("no answer".to_owned()));
        let busy = |code: &str| of_busy(code, "x").code;
        assert_eq!(busy("DISK_FULL"), Code::StorageFull);
        assert_eq!(busy("QUEUE_FULL"), Code::DeviceBusy);
        assert_eq!(busy("CLOCK_UNSYNCED"), Code::Unavailable);
    }
}
