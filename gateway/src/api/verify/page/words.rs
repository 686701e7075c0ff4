//! Every text of the page, once per language.

use crate::api::verify::answer::{CreditedState, Evidence, LedgerState};
use crate::render::Language;

/// The texts of one language.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) page: &'static str,
    /// The name of the other language, in that language.
    pub(super) other: &'static str,
    pub(super) test: &'static str,
    pub(super) verified: &'static str,
    /// Of a receipt that was scanned,
    pub(super) verified_text: &'static str,
    /// and of one whose number and code were typed.
    pub(super) verified_number: &'static str,
    /// A trial that is genuine as such.
    pub(super) trial: &'static str,
    pub(super) not_found: &'static str,
    pub(super) not_found_number: &'static str,
    pub(super) not_found_qr: &'static str,
    /// When a replica that may not have heard of it was asked.
    pub(super) not_found_yet: &'static str,
    pub(super) tampered: &'static str,
    pub(super) tampered_advice: &'static str,
    pub(super) unreadable: &'static str,
    pub(super) unreadable_text: &'static str,
    pub(super) limited: &'static str,
    pub(super) limited_text: &'static str,
    pub(super) unavailable: &'static str,
    pub(super) unavailable_text: &'static str,
    pub(super) failed: &'static str,
    pub(super) failed_text: &'static str,
    pub(super) no_page: &'static str,
    pub(super) no_page_text: &'static str,
    pub(super) as_of: &'static str,
    pub(super) details: &'static str,
    pub(super) merchant: &'static str,
    pub(super) outlet: &'static str,
    pub(super) kind: &'static str,
    pub(super) date: &'static str,
    pub(super) total: &'static str,
    pub(super) state: &'static str,
    pub(super) upload: &'static str,
    pub(super) upload_queued: &'static str,
    pub(super) upload_none: &'static str,
    pub(super) upload_acknowledged: &'static str,
    pub(super) upload_refused: &'static str,
    pub(super) checked: &'static str,
    pub(super) number: &'static str,
    pub(super) authority: &'static str,
    pub(super) code: &'static str,
    pub(super) time: &'static str,
    pub(super) qr: &'static str,
    pub(super) qr_checked: &'static str,
    pub(super) qr_unchecked: &'static str,
    pub(super) compare: &'static str,
    pub(super) proves: &'static str,
    pub(super) proves_text: &'static str,
    /// Only when the ledger has it.
    pub(super) proves_record: &'static str,
    pub(super) proves_not: &'static str,
    pub(super) proves_not_text: [&'static str; 3],
    pub(super) form: &'static str,
    pub(super) another: &'static str,
    pub(super) form_hint: &'static str,
    pub(super) number_hint: &'static str,
    pub(super) code_hint: &'static str,
    pub(super) both: &'static str,
    pub(super) send: &'static str,
    pub(super) offline: &'static str,
    pub(super) keys: &'static str,
}

pub(super) const FRENCH: Words = Words {
    page: "Vérification d’un reçu fiscal",
    other: "English",
    test: "Ce reçu est un essai : aucune vente n’a eu lieu.",
    verified: "Reçu authentique",
    verified_text: "L’autorité fiscale a scellé ce que dit ce code QR, et rien n’y a été changé. Comparez ce qui suit avec le papier : s’il dit autre chose, il est falsifié.",
    verified_number: "L’autorité fiscale a scellé un reçu avec ce numéro et ce code. Comparez ce qui suit avec le papier : s’il dit autre chose, il est falsifié.",
    trial: "Reçu d’essai, sans valeur",
    not_found: "Reçu introuvable",
    not_found_number: "Aucun reçu connu ne porte ce numéro avec ce code. Vérifiez chaque caractère. Si le papier dit bien cela, il n’est pas authentique.",
    not_found_qr: "Aucune autorité de ce registre n’a scellé ce reçu.",
    not_found_yet: "La partie du registre qui répond ne connaît pas ce reçu. S’il est récent, cela ne dit rien : recommencez dans quelques minutes.",
    tampered: "Reçu falsifié",
    tampered_advice: "Ne l’acceptez pas, et signalez-le à l’administration fiscale.",
    unreadable: "Code illisible",
    unreadable_text: "Ce lien n’est pas celui d’un reçu, ou il a été coupé. Scannez encore une fois tout le code QR, ou saisissez le numéro et le code.",
    limited: "Trop de vérifications",
    limited_text: "Trop de reçus ont été vérifiés depuis cette connexion. Attendez une minute, puis recommencez.",
    unavailable: "Registre inaccessible",
    unavailable_text: "Le registre ne répond pas en ce moment. Cela ne dit rien de ce reçu : recommencez dans quelques instants.",
    failed: "Vérification impossible",
    failed_text: "La vérification n’a pas pu être faite. Cela ne dit rien de ce reçu : recommencez plus tard.",
    no_page: "Page introuvable",
    no_page_text: "Il n’y a rien à cette adresse. Vous pouvez vérifier un reçu ici.",
    as_of: "Le registre ne répond qu’en partie. Voici ce qu’il savait au :",
    details: "Le reçu",
    merchant: "Commerçant",
    outlet: "Point de vente",
    kind: "Nature",
    date: "Date et heure",
    total: "Total TTC",
    state: "Situation",
    upload: "Transmission à la DGI",
    upload_queued: "En attente",
    upload_none: "Aucune",
    upload_acknowledged: "Reçue par la DGI",
    upload_refused: "Refusée par la DGI",
    checked: "Éléments de sécurité",
    number: "Numéro fiscal",
    authority: "Autorité",
    code: "Code d’authentification",
    time: "Horodatage",
    qr: "Code QR",
    qr_checked: "signature contrôlée",
    qr_unchecked: "non contrôlé ici : scannez-le",
    compare: "à comparer avec le papier",
    proves: "Ce que cela prouve",
    proves_text: "Ce numéro, cette date et ce montant ont été scellés par l’autorité indiquée.",
    proves_record: "Le registre connaît ce reçu ; ce qui a été annulé depuis est indiqué.",
    proves_not: "Ce que cela ne prouve pas",
    proves_not_text: [
        "Que le papier est le premier exemplaire : une copie a le même code.",
        "Ce qui a été vendu, à qui, ni que c’est payé ou livré.",
        "Que le papier dit la même chose : comparez le montant et la date.",
    ],
    form: "Vérifier un reçu",
    another: "Vérifier un autre reçu",
    form_hint: "Le plus simple est de scanner le code QR du reçu. Sinon, saisissez ce qui est imprimé à côté.",
    number_hint: "Par exemple KIN-GOMBE-42",
    code_hint: "16 lettres et chiffres, par exemple 7Q4X-1M8K-ZC0D-3J5W",
    both: "Saisissez le numéro et le code.",
    send: "Vérifier",
    offline: "Sans réseau, un reçu se vérifie avec les clés publiques :",
    keys: "clés des autorités",
};

pub(super) const ENGLISH: Words = Words {
    page: "Fiscal receipt verification",
    other: "Français",
    test: "This receipt is a trial: no sale was made.",
    verified: "Genuine receipt",
    verified_text: "The fiscal authority sealed what this QR code says, and nothing in it was changed. Compare what follows with the paper: if that says something else, it is forged.",
    verified_number: "The fiscal authority sealed a receipt with this number and this code. Compare what follows with the paper: if that says something else, it is forged.",
    trial: "Trial receipt, without value",
    not_found: "Receipt not found",
    not_found_number: "No known receipt has this number with this code. Check every character. If that is what the paper says, it is not genuine.",
    not_found_qr: "No authority of this ledger has sealed this receipt.",
    not_found_yet: "The part of the ledger that answers does not know this receipt. If it is recent, that says nothing: try again in a few minutes.",
    tampered: "Tampered receipt",
    tampered_advice: "Do not accept it, and report it to the tax administration.",
    unreadable: "Unreadable code",
    unreadable_text: "This link is not a receipt’s, or it was cut off. Scan the whole QR code again, or type the number and the code.",
    limited: "Too many checks",
    limited_text: "Too many receipts were checked over this connection. Wait a minute, then try again.",
    unavailable: "Ledger not reachable",
    unavailable_text: "The ledger does not answer at the moment. That says nothing about this receipt: try again shortly.",
    failed: "Verification not possible",
    failed_text: "The check could not be made. That says nothing about this receipt: try again later.",
    no_page: "Page not found",
    no_page_text: "There is nothing at this address. You can verify a receipt here.",
    as_of: "The ledger answers in part only. This is what it knew at:",
    details: "The receipt",
    merchant: "Merchant",
    outlet: "Outlet",
    kind: "Type",
    date: "Date and time",
    total: "Total with tax",
    state: "State",
    upload: "Upload to the tax authority",
    upload_queued: "Waiting",
    upload_none: "None",
    upload_acknowledged: "Received by the tax authority",
    upload_refused: "Refused by the tax authority",
    checked: "Security elements",
    number: "Fiscal number",
    authority: "Authority",
    code: "Authentication code",
    time: "Timestamp",
    qr: "QR code",
    qr_checked: "signature checked",
    qr_unchecked: "not checked here: scan it",
    compare: "compare with the paper",
    proves: "What this proves",
    proves_text: "This number, this date and this amount were sealed by the authority named.",
    proves_record: "The ledger knows this receipt; what was taken back since is shown.",
    proves_not: "What this does not prove",
    proves_not_text: [
        "That the paper is the first copy: a copy has the same code.",
        "What was sold, to whom, or that it was paid or delivered.",
        "That the paper says the same: compare the amount and the date.",
    ],
    form: "Verify a receipt",
    another: "Verify another receipt",
    form_hint: "The easiest way is to scan the receipt’s QR code. Otherwise, type what is printed beside it.",
    number_hint: "For example KIN-GOMBE-42",
    code_hint: "16 letters and digits, for example 7Q4X-1M8K-ZC0D-3J5W",
    both: "Type both the number and the code.",
    send: "Verify",
    offline: "Without a network, a receipt is verified with the public keys:",
    keys: "keys of the authorities",
};

impl Words {
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::French => &FRENCH,
            Language::English => &ENGLISH,
        }
    }
}

/// What shows that a receipt was changed.
pub(super) fn evidence(language: Language, evidence: Evidence) -> &'static str {
    let [french, english] = match evidence {
        Evidence::Signature => [
            "Ce que dit ce code QR n’est pas ce qui a été scellé : la signature ne correspond pas.",
            "What this QR code says is not what was sealed: the signature does not match.",
        ],
        Evidence::Authority => [
            "L’autorité indiquée n’est pas celle qui a scellé ce reçu.",
            "The authority named is not the one that sealed this receipt.",
        ],
        Evidence::Credential => [
            "L’autorisation de la caisse ne couvre pas ce reçu.",
            "The terminal’s authorisation does not cover this receipt.",
        ],
        Evidence::Address => [
            "Le code QR mène à une autre adresse que celle de la vérification publique.",
            "The QR code leads to another address than that of the public verification.",
        ],
        Evidence::Record => [
            "Le registre contient un autre reçu sous ce numéro.",
            "The ledger has another receipt under this number.",
        ],
    };
    pick(language, french, english)
}

/// How much of it was taken back.
pub(super) fn credited(language: Language, credited: CreditedState) -> &'static str {
    let [french, english] = match credited {
        CreditedState::None => ["Valable", "Valid"],
        CreditedState::Partly => {
            ["Annulé en partie par un avoir", "Partly taken back by a credit note"]
        }
        CreditedState::Fully => {
            ["Entièrement annulé par un avoir", "Taken back entirely by a credit note"]
        }
    };
    pick(language, french, english)
}

/// What a reader must know of a genuine receipt that the ledger does not have.
pub(super) fn unrecorded(language: Language, state: LedgerState) -> Option<&'static str> {
    let [french, english] = match state {
        LedgerState::Recorded => return None,
        LedgerState::Awaited => [
            "Une caisse a scellé ce reçu hors ligne ; le registre ne l’a pas encore reçu.",
            "A terminal sealed this receipt offline; the ledger has not received it yet.",
        ],
        LedgerState::Lost => [
            "La signature est bonne, mais le registre a perdu ce reçu lors d’une restauration.",
            "The signature is good, but the ledger lost this receipt in a restore.",
        ],
        LedgerState::Unconfirmed => [
            "La signature est bonne ; le registre ne peut pas encore confirmer ce reçu.",
            "The signature is good; the ledger cannot confirm this receipt yet.",
        ],
    };
    Some(pick(language, french, english))
}

fn pick(language: Language, french: &'static str, english: &'static str) -> &'static str {
    match language {
        Language::French => french,
        Language::English => english,
    }
}
