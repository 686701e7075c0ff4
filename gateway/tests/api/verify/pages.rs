//! The page behind the QR code.

use super::{page_of, seal, text, world};
use crate::support::World;
use crate::support::http::Answer;

const SIZE_MAX: usize = 12 * 1024;

async fn page(world: &World, path: &str, language: &str) -> Answer {
    let call = world.get(path).header("accept", "text/html,*/*;q=0.8");
    let answer = call.header("accept-language", language).send().await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("content-language"), language);
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    let html = answer.text();
    assert!(html.contains(&format!("<html lang=\"{language}\">")), "{html}");
    assert!(html.len() < SIZE_MAX, "{} bytes", html.len());
    for outside in ["<script", "<img", "<link", "src=", "@import", "url(", " style="] {
        assert!(!html.contains(outside), "{outside}");
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_outcomes_are_shown_in_both_languages() {
    let world = world().await;
    let sealed = seal(&world, "owner", "outlet-gombe", 1_234_567).await;
    let genuine = page_of(text(&sealed, "qr_payload"));
    let changed = genuine.replacen("t=1234567.00", "t=1234567.01", 1);
    let typed = format!("/v?fn=KIN-GOMBE-1&auth_code={}", "0".repeat(16));
    for (path, status, french, english) in [
        (&genuine, 200, "Reçu authentique", "Genuine receipt"),
        (&changed, 200, "Reçu falsifié", "Tampered receipt"),
        (&typed, 200, "Reçu introuvable", "Receipt not found"),
        (&"/v".to_owned(), 200, "Vérifier un reçu", "Verify a receipt"),
        (&"/verify".to_owned(), 200, "Vérifier un reçu", "Verify a receipt"),
        (&"/".to_owned(), 200, "Vérifier un reçu", "Verify a receipt"),
        (&genuine[..genuine.len() - 4].to_owned(), 400, "Code illisible", "Unreadable code"),
        (&"/v?fn=KIN-GOMBE-1".to_owned(), 400, "Saisissez le numéro", "Type both the number"),
        (&"/nowhere".to_owned(), 404, "Page introuvable", "Page not found"),
    ] {
        for (language, words) in [("fr", french), ("en", english)] {
            let answer = page(&world, path, language).await.expect(status);
            assert!(answer.text().contains(words), "{path} {language}: {}", answer.text());
        }
    }
    let french = page(&world, &genuine, "fr").await.text();
    for words in [
        "1\u{a0}234\u{a0}567,00\u{a0}CDF",
        "Alimentation Gombe SARL",
        "Facture de vente",
        "Valable",
    ] {
        assert!(french.contains(words), "{words}: {french}");
    }
    let english = page(&world, &genuine, "en").await.text();
    assert!(english.contains("1,234,567.00\u{a0}CDF"), "{english}");
    for secret in ["Farine", "cashier-7", "till-1"] {
        assert!(!french.contains(secret), "{secret}");
    }
    let asked = page(&world, &format!("{genuine}&lang=en"), "en").await.expect(200);
    assert!(asked.text().contains("Genuine receipt"), "the language is no part of the receipt");

    let number = text(&sealed, "fiscal_number").to_lowercase();
    let code = text(&sealed, "auth_code").to_lowercase().replace('-', "+");
    let typed = page(&world, &format!("/v?fn=+{number}&auth_code={code}&lang=fr"), "fr").await;
    let typed = typed.expect(200).text();
    assert!(typed.contains("Reçu authentique"), "{typed}");
    // Who typed two texts has not shown that the rest of the paper is as it was sealed.
    let unchanged = "rien n’y a été changé";
    assert!(french.contains(unchanged) && !typed.contains(unchanged), "{typed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_says_so_and_nothing_becomes_markup() {
    let world = world().await;
    let trial = seal(&world, "owner", "outlet-essai", 100).await;
    let path = page_of(text(&trial, "qr_payload"));
    for language in ["fr", "en"] {
        let html = page(&world, &path, language).await.expect(200).text();
        assert!(html.contains("TEST / SPÉCIMEN"), "{html}");
        for genuine in ["Reçu authentique", "Genuine receipt", "outcome ok"] {
            assert!(
                !html.contains(genuine),
                "whoever only reads the heading is not misled: {html}"
            );
        }
    }
    for attack in ["%22%3E%3Cscript%3E", "%3Cb%3E", "%27onfocus%3D1"] {
        for path in [
            format!("/v?fn={attack}"),
            format!("/v?fn=A&x={attack}&ts={attack}"),
            format!("/v?{attack}"),
        ] {
            let html = page(&world, &path, "fr").await.text();
            assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
            assert!(!html.contains("'onfocus"), "{html}");
        }
    }
    let program = world.get("/nowhere").send().await.expect(404);
    assert_eq!(program.code(), "ROUTE_UNKNOWN", "programs get a problem");
    for path in ["/api/v1/verify/%FF?auth_code=0", "/docs/errors/%FF"] {
        let refused = world.get(path).send().await.expect(400);
        assert_eq!(refused.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(refused.code(), "PARAMETER_INVALID", "{path}");
    }
}
