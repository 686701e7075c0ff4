//! Which tax group a line may belong to: plain rules over what is said of it, with what each is worth. A suggestion
//! never decides; who sells does.
//!
//! | confidence | when |
//! |---|---|
//! | 1.00 | the law leaves no choice: an export |
//! | 0.95 | it leaves none without a stated reason: an embassy |
//! | 0.90 | a reference of the line and its words, or a reference that only one group has, agree |
//! | 0.60 | words alone point to a group |
//! | 0.30 | nothing but a default |

use std::collections::BTreeMap;

use fiscus_ledger::invoice::{Classification, GroupCode, InvoiceType};

/// What is known of a line.
#[derive(Debug)]
pub(super) struct Line<'l> {
    pub(super) text: &'l str,
    pub(super) classification: Option<Classification>,
    pub(super) invoice_type: Option<InvoiceType>,
    pub(super) references: &'l BTreeMap<String, String>,
}

/// A group that it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) group: &'static str,
    /// Of 100.
    pub(super) confidence: u32,
    pub(super) reason: String,
}

const CERTAIN: u32 = 100;
const UNLESS_STATED: u32 = 95;
const BY_REFERENCE: u32 = 90;
const BY_WORDS: u32 = 60;
const BY_DEFAULT: u32 = 30;

/// References that only one group asks for.
const OF_ONE_GROUP: [(&str, &str); 6] = [
    ("funding_source", "TG05"),
    ("export_certificate", "TG07"),
    ("regime_registration", "TG08"),
    ("mining_license", "TG09"),
    ("telecom_operator", "TG13"),
    ("professional_approval_id", "TG04"),
];
const EXCISE: &str = "excise_certificate";
/// The groups that ask for it.
const EXCISED: [&str; 4] = ["TG10", "TG11", "TG12", "TG14"];

/// Words without accents, in the singular, French and English.
const WORDS: [(&str, &[&str]); 10] = [
    (
        "TG10",
        &[
            "carburant",
            "essence",
            "gasoil",
            "diesel",
            "petrol",
            "petrole",
            "kerosene",
            "fuel",
            "gasoline",
            "jet a1",
        ],
    ),
    ("TG11", &["tabac", "cigarette", "cigare", "tobacco", "cigar"]),
    (
        "TG12",
        &[
            "alcool",
            "biere",
            "vin",
            "whisky",
            "vodka",
            "rhum",
            "gin",
            "liqueur",
            "champagne",
            "spiritueux",
            "alcohol",
            "beer",
            "wine",
            "rum",
            "spirit",
        ],
    ),
    (
        "TG13",
        &[
            "credit telephonique",
            "recharge telephonique",
            "forfait internet",
            "forfait mobile",
            "telecommunication",
            "telephonie",
            "airtime",
            "data bundle",
            "sms",
        ],
    ),
    (
        "TG14",
        &[
            "streaming",
            "cloud",
            "saas",
            "hebergement web",
            "abonnement numerique",
            "logiciel en ligne",
            "web hosting",
            "online subscription",
            "digital service",
            "service numerique",
        ],
    ),
    ("TG09", &["minerai", "cobalt", "coltan", "cassiterite", "cuivre brut", "ore", "mineral"]),
    (
        "TG08",
        &["semence", "engrais", "plant agricole", "seed", "fertilizer", "fertiliser", "seedling"],
    ),
    ("TG06", &["douane", "dedouanement", "droit d entree", "custom", "custom duty", "import duty"]),
    (
        "TG01",
        &[
            "medicament",
            "vaccin",
            "livre scolaire",
            "manuel scolaire",
            "medicine",
            "vaccine",
            "school book",
            "textbook",
        ],
    ),
    (
        "TG03",
        &[
            "service",
            "livraison",
            "transport",
            "reparation",
            "entretien",
            "maintenance",
            "conseil",
            "location",
            "formation",
            "installation",
            "nettoyage",
            "honoraire",
            "main d oeuvre",
            "delivery",
            "repair",
            "consulting",
            "rental",
            "rent",
            "training",
            "cleaning",
            "fee",
            "labour",
            "haircut",
            "coiffure",
            "restauration",
            "hotel",
        ],
    ),
];

/// What a line may be, the likeliest first; never empty.
pub(super) fn suggest(line: &Line<'_>) -> Vec<Guess> {
    let guess = |group, confidence, reason: String| Guess { group, confidence, reason };
    if matches!(line.invoice_type, Some(InvoiceType::Export | InvoiceType::ExportCredit)) {
        let reason = "every line of an export is TG07".to_owned();
        return vec![guess("TG07", CERTAIN, reason)];
    }
    if line.classification == Some(Classification::Embassy) {
        let reason =
            "every line for an embassy is TG01, unless metadata.tax_override_reason says why not";
        return vec![guess("TG01", UNLESS_STATED, reason.to_owned())];
    }
    let mut guesses = Vec::new();
    let told = by_words(line.text);
    let has = |name: &str| line.references.get(name).is_some_and(|text| !text.trim().is_empty());
    for (name, group) in OF_ONE_GROUP {
        if has(name) {
            guesses.push(guess(group, BY_REFERENCE, format!("only {group} asks for {name}")));
        }
    }
    for (group, word) in told {
        if guesses.iter().any(|known| known.group == group) {
            continue;
        }
        let certified = EXCISED.contains(&group) && has(EXCISE);
        let confidence = if certified { BY_REFERENCE } else { BY_WORDS };
        let also = if certified { " and the line carries an excise_certificate" } else { "" };
        guesses.push(guess(group, confidence, format!("the text says {word:?}{also}")));
    }
    guesses.sort_by_key(|guess| std::cmp::Reverse(guess.confidence));
    if guesses.is_empty() {
        let reason = "nothing in the text or the references tells; most goods are TG02".to_owned();
        guesses.push(guess("TG02", BY_DEFAULT, reason));
    }
    guesses
}

/// The groups whose words a text has, each with the first of them, in the order of the table: what is special
/// before what is general.
fn by_words(text: &str) -> Vec<(&'static str, &'static str)> {
    let plain = format!(" {} ", plain_words(text).join(" "));
    let mut found = Vec::new();
    for (group, words) in WORDS {
        if let Some(word) = words.iter().find(|word| plain.contains(&format!(" {word} "))) {
            found.push((group, *word));
        }
    }
    found
}

/// Words in lower case, without accents, in the singular.
fn plain_words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let folded: String = lower.chars().map(fold).collect();
    let words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let singular = |word: &str| match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => word.to_owned(),
    };
    words.map(|word| singular(&word.replace('œ', "oe"))).collect()
}

fn fold(c: char) -> char {
    match c {
        'à' | 'â' | 'ä' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'î' | 'ï' => 'i',
        'ô' | 'ö' => 'o',
        'ù' | 'û' | 'ü' => 'u',
        'ç' => 'c',
        other => other,
    }
}

/// The code of a guess as the ledger knows it.
pub(super) fn code(guess: &Guess) -> GroupCode {
    GroupCode::parse(guess.group).expect("the tables name TG01 to TG14")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str, references: &[&str]) -> (&'static str, u32) {
        let references = references.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        let references = references.collect();
        let line = Line { text, classification: None, invoice_type: None, references: &references };
        let guess = suggest(&line).remove(0);
        assert_eq!(code(&guess).as_str(), guess.group);
        (guess.group, guess.confidence)
    }

    #[test]
    fn words_and_references_point_to_groups() {
        for (text, references, expected) in [
            ("Bières Primus 72 cl", &[][..], ("TG12", 60)),
            ("Bières Primus 72 cl", &["excise_certificate"][..], ("TG12", 90)),
            ("Gasoil, 200 l", &[], ("TG10", 60)),
            ("Cigarettes", &[], ("TG11", 60)),
            ("Livraison à domicile", &[], ("TG03", 60)),
            ("Main-d’œuvre", &[], ("TG03", 60)),
            ("Recharge téléphonique", &["telecom_operator"], ("TG13", 90)),
            ("Farine de maïs", &["funding_source"], ("TG05", 90)),
            ("Riz parfumé", &[], ("TG02", 30)),
            ("Vinaigre", &[], ("TG02", 30)),
        ] {
            assert_eq!(first(text, references), expected, "{text}");
        }
    }

    #[test]
    fn what_the_law_decides_is_certain() {
        let references = BTreeMap::new();
        let line = |classification, invoice_type| Line {
            text: "Bière",
            classification,
            invoice_type,
            references: &references,
        };
        let embassy = suggest(&line(Some(Classification::Embassy), None));
        assert_eq!((embassy[0].group, embassy[0].confidence), ("TG01", 95));
        let export = suggest(&line(None, Some(InvoiceType::Export)));
        assert_eq!((export[0].group, export[0].confidence), ("TG07", 100));
    }
}
