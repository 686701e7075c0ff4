//! What a key may do.

use std::fmt;

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $each:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $each])+ $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in documents and answers.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads the word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// One thing that a key may do.
    Scope {
        /// Seal invoices.
        InvoicesSeal = "invoices:seal",
        /// Read invoices and receipts.
        InvoicesRead = "invoices:read",
        /// Void and refund.
        InvoicesCredit = "invoices:credit",
        /// State payments.
        PaymentsWrite = "payments:write",
        /// Open and close shifts.
        ShiftsWrite = "shifts:write",
        /// Make X and A reports and read all reports.
        ReportsRead = "reports:read",
        /// Close the day with a Z.
        ReportsClose = "reports:close",
        /// Exports, proofs, and who did what.
        AuditRead = "audit:read",
        /// Read merchants, outlets, terminals and cashiers.
        RegistryRead = "registry:read",
        /// Change them.
        RegistryWrite = "registry:write",
        /// Read and change API keys.
        KeysWrite = "keys:write",
        /// Read and change webhook endpoints.
        WebhooksWrite = "webhooks:write",
        /// Make and change organisations: the platform's operator only.
        Platform = "platform",
    }
}

words! {
    /// Who uses a key.
    Role {
        /// Seals, and sees the invoices of its outlets.
        Cashier = "cashier",
        /// And credits, shifts and reports.
        Supervisor = "supervisor",
        /// And the outlet's registry and keys.
        Manager = "manager",
        /// Everything of the organisation.
        Owner = "owner",
        /// Reads everything, changes nothing.
        Auditor = "auditor",
        /// Exactly its scopes.
        Integrator = "integrator",
        /// The operator of the platform.
        Platform = "platform",
    }
}

impl Role {
    /// The most that a key of this role may do; its own scopes can only make that less.
    #[must_use]
    pub fn scopes(self) -> &'static [Scope] {
        use Scope as S;
        match self {
            Self::Cashier => &[S::InvoicesSeal, S::InvoicesRead, S::PaymentsWrite, S::RegistryRead],
            Self::Supervisor => &[
                S::InvoicesSeal,
                S::InvoicesRead,
                S::InvoicesCredit,
                S::PaymentsWrite,
                S::ShiftsWrite,
                S::ReportsRead,
                S::ReportsClose,
                S::RegistryRead,
            ],
            Self::Manager | Self::Owner | Self::Integrator => &[
                S::InvoicesSeal,
                S::InvoicesRead,
                S::InvoicesCredit,
                S::PaymentsWrite,
                S::ShiftsWrite,
                S::ReportsRead,
                S::ReportsClose,
                S::AuditRead,
                S::RegistryRead,
                S::RegistryWrite,
                S::KeysWrite,
                S::WebhooksWrite,
            ],
            Self::Auditor => &[S::InvoicesRead, S::ReportsRead, S::AuditRead, S::RegistryRead],
            Self::Platform => {
                &[S::Platform, S::RegistryRead, S::RegistryWrite, S::KeysWrite, S::AuditRead]
            }
        }
    }
}
