//! The chapters of the description, in the order in which they are shown.

/// A chapter's name and what it is about. One that no operation names is not shown.
pub(super) const TAGS: [(&str, &str); 24] = [
    (
        "invoices",
        "Seal invoices, read them, credit them. A sealed invoice never changes; a correction is a credit note.",
    ),
    ("batches", "Many invoices in one request, each with an answer of its own."),
    (
        "receipts",
        "A sealed invoice as a page, as a PDF, as a thermal printer's bytes, or its QR code alone.",
    ),
    (
        "payments",
        "What payment providers say of an invoice's payment, before or after it was sealed.",
    ),
    ("tax", "The tax groups in force, and what an invoice would come to, without sealing it."),
    ("shifts", "A cashier's time at a terminal, opened and closed."),
    (
        "reports",
        "Z closes the day, X looks at it, A lists every line. Each is signed, as JSON, CSV and PDF.",
    ),
    (
        "audit",
        "Everything that an auditor needs to trust nobody: records with proofs, and who did what.",
    ),
    ("checkpoints", "The signed size and root of each group's log."),
    ("log", "Each group's log as standard clients read it (C2SP tlog-tiles). No key is needed."),
    ("verification", "For whoever holds a receipt: is it genuine? No key is needed."),
    ("organizations", "Tenants of the platform."),
    ("regions", "Parts of an organisation that keys can be limited to."),
    ("merchants", "Legal entities with a tax number."),
    ("outlets", "Places that sell, each with a journal and numbers of its own."),
    ("terminals", "Points of sale of an outlet."),
    (
        "credentials",
        "Numbers lent to terminals that seal while they reach nobody, and the delivery of what they sealed.",
    ),
    ("devices", "Fiscal devices of outlets, for points of sale that speak their protocol."),
    ("cashiers", "People who sell."),
    ("api-keys", "Who may use this API, for what, and for how long."),
    (
        "webhooks",
        "Endpoints of yours that are told what happens, as Standard Webhooks 1.0; docs/WEBHOOKS.md is for receivers.",
    ),
    ("roles", "What keys may do."),
    ("keys", "The public keys that signatures are checked with."),
    ("documentation", "This description."),
];
