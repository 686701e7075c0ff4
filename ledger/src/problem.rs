//! What is wrong with a document: a stable code, a JSON pointer to the place, and a sentence.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $class:ident;)+) => {
        /// The stable codes of problems with an invoice.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as clients see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)+ }
            }
        }
    };
}

#[derive(PartialEq, Eq)]
enum Class {
    /// About the document's form: the strict protocol has one code for all of them.
    Form,
    /// About what the invoice says.
    Rule,
}

codes! {
    /// The document is over 1 MiB.
    BodyTooLarge = "BODY_TOO_LARGE", Form;
    /// The document is not UTF-8.
    Utf8Invalid = "UTF8_INVALID", Form;
    /// The document is not JSON, or nests too deeply.
    JsonInvalid = "JSON_INVALID", Form;
    /// An object has a key twice.
    JsonDuplicateKey = "JSON_DUPLICATE_KEY", Form;
    /// A required field is absent.
    FieldMissing = "FIELD_MISSING", Form;
    /// A field that no invoice has.
    FieldUnknown = "FIELD_UNKNOWN", Form;
    /// A field holds what it may not hold.
    FieldInvalid = "FIELD_INVALID", Form;
    /// Text has a code point that Unicode has not assigned.
    TextUnassigned = "TEXT_UNASSIGNED", Form;
    /// A field is longer, larger or more numerous than its limit.
    LimitExceeded = "LIMIT_EXCEEDED", Form;
    /// The document is not in its canonical form, which the strict protocol asks for.
    SchemaInvalid = "SCHEMA_INVALID", Form;
    /// An invoice without lines.
    ItemsEmpty = "ITEMS_EMPTY", Rule;
    /// A computed amount is over the limit.
    AmountOverflow = "AMOUNT_OVERFLOW", Rule;
    /// A company must be named by its tax number.
    ClientNifRequired = "CLIENT_NIF_REQUIRED", Rule;
    /// A credit note must name its original.
    OriginalRequired = "ORIGINAL_REQUIRED", Rule;
    /// Only credit notes name an original.
    OriginalNotAllowed = "ORIGINAL_NOT_ALLOWED", Rule;
    /// A discount is larger than its line.
    DiscountExceedsLine = "DISCOUNT_EXCEEDS_LINE", Rule;
    /// No such tax group.
    TaxGroupUnknown = "TAX_GROUP_UNKNOWN", Rule;
    /// The tax groups given are not what the lines make.
    TaxGroupsMismatch = "TAX_GROUPS_MISMATCH", Rule;
    /// The totals given are not what the lines make.
    TotalsMismatch = "TOTALS_MISMATCH", Rule;
    /// An invoice in another currency needs its exchange rate.
    FxRequired = "FX_REQUIRED", Rule;
    /// An invoice in the reporting currency has no exchange rate.
    FxNotAllowed = "FX_NOT_ALLOWED", Rule;
    /// The exchange figures given are not what the totals make.
    FxMismatch = "FX_MISMATCH", Rule;
    /// Only mobile money has a provider.
    ProviderNotAllowed = "PROVIDER_NOT_ALLOWED", Rule;
    /// The currency is given twice and differs.
    CurrencyConflict = "CURRENCY_CONFLICT", Rule;
    /// The invoice names another manifest than the one in force.
    ManifestStale = "MANIFEST_STALE", Rule;
    /// An embassy is exempt unless a reason says otherwise.
    EmbassyNotExempt = "EMBASSY_NOT_EXEMPT", Rule;
    /// Exempt and taxed lines are not mixed unless a reason says so.
    ExemptMixed = "EXEMPT_MIXED", Rule;
    /// Exports, and only they, are in the export group, with their certificate.
    ExportGroup = "EXPORT_GROUP", Rule;
    /// The client's class may not use the group without its reference.
    GroupNotAllowed = "GROUP_NOT_ALLOWED", Rule;
    /// The group needs a reference that the line does not carry.
    ReferenceMissing = "REFERENCE_MISSING", Rule;
}

/// What the ledger computes where a document says something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The tax groups as canonical JSON.
    pub tax_groups: String,
    /// The totals as canonical JSON.
    pub totals: String,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// The JSON pointer (RFC 6901) of the field that it is about.
    pub pointer: String,
    /// What happened, and what to do.
    pub detail: String,
    /// The right figures, where the document's own are wrong.
    pub expected: Option<Box<Expected>>,
}

impl Problem {
    /// A problem with the value at hand; `at` and `at_index` say where that is.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, pointer: String::new(), detail: detail.into(), expected: None }
    }

    /// Puts the name of the enclosing member before the pointer.
    #[must_use]
    pub fn at(mut self, name: &str) -> Self {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        self.pointer.insert_str(0, &escaped);
        self.pointer.insert(0, '/');
        self
    }

    /// Puts the index in the enclosing array before the pointer.
    #[must_use]
    pub fn at_index(self, index: usize) -> Self {
        self.at(&index.to_string())
    }

    /// The problem as the strict protocol tells it: all of the form are one code.
    #[must_use]
    pub fn strictly(mut self) -> Self {
        if self.code.class() == Class::Form {
            self.code = Code::SchemaInvalid;
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the document" } else { &self.pointer };
        write!(f, "{} at {place}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}
