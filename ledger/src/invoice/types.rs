//! The words of an invoice.

use std::borrow::Cow;

use crate::money::{Amount, FxRate, Quantity, Rate};

/// Sorted pairs of texts: metadata, or the references of a line.
pub type Texts<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $word_doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $word_doc])+ $variant,)+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant,)+];

            /// The canonical word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads the canonical word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// What an invoice is.
    InvoiceType {
        /// A sale.
        Sale = "sale",
        /// Money taken before the sale.
        Advance = "advance",
        /// Takes back a sale or an advance, whole or in part.
        CreditNote = "credit_note",
        /// A sale abroad.
        Export = "export",
        /// Takes back an export.
        ExportCredit = "export_credit",
    }
}

impl InvoiceType {
    /// Whether it subtracts.
    #[must_use]
    pub fn is_credit(self) -> bool {
        matches!(self, Self::CreditNote | Self::ExportCredit)
    }
}

words! {
    /// What a client is to the tax law.
    Classification {
        /// A person.
        Individual = "individual",
        /// A company.
        Company = "company",
        /// A person who trades.
        CommercialIndividual = "commercial_individual",
        /// A liberal profession.
        Professional = "professional",
        /// An embassy or an international organisation.
        Embassy = "embassy",
    }
}

impl Classification {
    /// Reads the canonical word, or its spelling in capitals (`CommercialIndividual`).
    #[must_use]
    pub fn parse_lenient(word: &str) -> Option<Self> {
        Self::parse(word).or(match word {
            "Individual" => Some(Self::Individual),
            "Company" => Some(Self::Company),
            "CommercialIndividual" => Some(Self::CommercialIndividual),
            "Professional" => Some(Self::Professional),
            "Embassy" => Some(Self::Embassy),
            _ => None,
        })
    }

    /// Whether the client must be named by its tax number.
    #[must_use]
    pub fn needs_nif(self) -> bool {
        matches!(self, Self::Company | Self::CommercialIndividual)
    }
}

words! {
    /// How money changes hands.
    PaymentMethod {
        /// Notes and coins.
        Cash = "cash",
        /// A mobile wallet.
        MobileMoney = "mobile_money",
        /// A bank card.
        Card = "card",
        /// A bank transfer.
        BankTransfer = "bank_transfer",
        /// Later.
        Credit = "credit",
        /// A voucher.
        Voucher = "voucher",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// Who runs a mobile wallet.
    Provider {
        /// M-Pesa.
        Mpesa = "mpesa",
        /// Airtel Money.
        AirtelMoney = "airtel_money",
        /// Orange Money.
        OrangeMoney = "orange_money",
        /// MTN Mobile Money.
        MtnMomo = "mtn_momo",
    }
}

words! {
    /// Whether unit prices include tax.
    PriceMode {
        /// They do not: the default, which canonical bytes leave out.
        Exclusive = "exclusive",
        /// They do.
        Inclusive = "inclusive",
    }
}

/// A currency's three letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The Congolese franc.
    pub const CDF: Self = Self(*b"CDF");

    /// Reads three capital letters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 3] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters))
    }

    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("parse lets only capital letters in")
    }
}

/// A tax group: TG01 to TG14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupCode(u8);

impl GroupCode {
    /// How many there are.
    pub const COUNT: usize = 14;
    /// Exempt.
    pub const EXEMPT: Self = Self(0);
    /// Export.
    pub const EXPORT: Self = Self(6);

    const NAMES: [&'static str; Self::COUNT] = [
        "TG01", "TG02", "TG03", "TG04", "TG05", "TG06", "TG07", "TG08", "TG09", "TG10", "TG11",
        "TG12", "TG13", "TG14",
    ];

    /// All groups, TG01 first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..14).map(Self)
    }

    /// Reads `TG01` to `TG14`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|name| *name == text)?;
        Self::from_index(index)
    }

    /// The group at an index: 0 is TG01.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|_| index < Self::COUNT).map(Self)
    }

    /// Its index: TG01 is 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// `TG01` to `TG14`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// Whom the invoice is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client<'a> {
    /// The name; may be empty.
    pub name: Cow<'a, str>,
    /// The tax number; may be empty for persons.
    pub nif: Cow<'a, str>,
    /// The class.
    pub classification: Classification,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// The article's code; may be empty.
    pub code: Cow<'a, str>,
    /// What it is.
    pub description: Cow<'a, str>,
    /// How much.
    pub quantity: Quantity,
    /// The price of one.
    pub unit_price: Amount,
    /// What is taken off the line; zero means no discount.
    pub discount: Amount,
    /// The tax group.
    pub tax_group: GroupCode,
    /// The unit; may be empty.
    pub taxable_unit: Cow<'a, str>,
    /// Certificates and approvals, sorted by key.
    pub references: Texts<'a>,
    /// The taxable base, computed.
    pub base: Amount,
    /// The tax, computed.
    pub tax: Amount,
}

/// One tax group of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupTotal {
    /// The group.
    pub code: GroupCode,
    /// Its rate.
    pub rate: Rate,
    /// The sum of its lines' bases.
    pub base: Amount,
    /// The sum of its lines' taxes.
    pub tax: Amount,
}

/// The totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// The sum of the bases.
    pub subtotal: Amount,
    /// The sum of the taxes.
    pub total_vat: Amount,
    /// Both.
    pub total: Amount,
    /// The currency.
    pub currency: Currency,
    /// What rounding line by line makes more than rounding group by group; may be negative.
    pub rounding_adjustment: Amount,
}

/// One payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment<'a> {
    /// How.
    pub method: PaymentMethod,
    /// How much.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// The instrument's reference; may be empty.
    pub instrument_id: Cow<'a, str>,
    /// Who runs the wallet.
    pub provider: Option<Provider>,
}

/// The exchange into the reporting currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fx {
    /// Units of the reporting currency for one.
    pub rate: FxRate,
    /// The reporting currency.
    pub reporting_currency: Currency,
    /// The invoice's tax in it.
    pub tax: Amount,
}
