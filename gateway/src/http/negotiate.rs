//! What the client would rather have: a form by `Accept`, a language by `Accept-Language`.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use crate::http::problem::Problem;

/// The best of what is offered, by `Accept`; the first one when the client does not say. Each offer is a media
/// type and what it stands for.
pub fn accepted<T: Copy>(headers: &HeaderMap, offers: &[(&str, T)]) -> Result<T, Problem> {
    let asked = weighed(headers, &header::ACCEPT);
    if asked.is_empty() {
        return Ok(offers[0].1);
    }
    let weight = |kind: &str| {
        let (main, _) = kind.split_once('/').unwrap_or((kind, ""));
        let any = format!("{main}/*");
        // The most exact range decides, as in RFC 9110.
        let ranges = [kind, any.as_str(), "*/*"];
        let found = ranges.iter().find_map(|range| asked.iter().find(|(name, _)| name == range));
        found.map_or(0, |(_, weight)| *weight)
    };
    // Of equals the first is the best.
    let best = offers.iter().rev().max_by_key(|(kind, _)| weight(kind));
    best.filter(|(kind, _)| weight(kind) > 0).map(|(_, offer)| *offer).ok_or_else(|| {
        let kinds: Vec<&str> = offers.iter().map(|(kind, _)| *kind).collect();
        let detail = format!("this is there as {}; say so in Accept or format", kinds.join(", "));
        Problem::at(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", "Accept", detail)
    })
}

/// The best of the languages that are offered, by `Accept-Language`; the first one when none fits.
#[must_use]
pub fn language<T: Copy>(headers: &HeaderMap, offers: &[(&str, T)]) -> T {
    let mut asked = weighed(headers, &header::ACCEPT_LANGUAGE);
    asked.retain(|(_, weight)| *weight > 0);
    asked.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_owned();
    let found =
        asked.iter().find_map(|(tag, _)| offers.iter().find(|(name, _)| *name == primary(tag)));
    found.unwrap_or(&offers[0]).1
}

/// Names in lower case with their weights in thousandths, in the order of the headers.
fn weighed(headers: &HeaderMap, name: &HeaderName) -> Vec<(String, u32)> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let parts = values.flat_map(|value| value.split(','));
    let read = parts.filter_map(|part| {
        let mut fields = part.split(';').map(str::trim);
        let name = fields.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
        let weight = fields.find_map(|field| field.strip_prefix("q=").or(field.strip_prefix("Q=")));
        Some((name, weight.map_or(1_000, thousandths)))
    });
    read.collect()
}

/// `0.5` as 500; what is no weight is none.
fn thousandths(text: &str) -> u32 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part = format!("{part:0<3}").parse::<u32>().ok().filter(|_| digits);
    match (whole, part) {
        ("1", Some(0)) => 1_000,
        ("0", Some(part)) => part,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const OFFERS: [(&str, u8); 3] = [("text/html", 1), ("application/pdf", 2), ("image/png", 3)];

    fn asking(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a value"))])
    }

    #[test]
    fn the_heaviest_that_is_offered_is_answered() {
        for (accept, wanted) in [
            ("application/pdf", Some(2)),
            ("*/*", Some(1)),
            ("image/*, text/html;q=0.5", Some(3)),
            ("text/html;q=0.4, application/pdf;q=0.45", Some(2)),
            ("text/html;q=0, */*", Some(2)),
            ("application/json", None),
            ("application/pdf;q=x", None),
        ] {
            let found = accepted(&asking(header::ACCEPT, accept), &OFFERS);
            assert_eq!(found.ok(), wanted, "{accept}");
        }
        assert_eq!(accepted(&HeaderMap::new(), &OFFERS), Ok(1));
    }

    #[test]
    fn the_language_is_the_one_that_is_liked_most() {
        let offers = [("fr", 'f'), ("en", 'e')];
        for (asked, wanted) in [
            ("en-GB,en;q=0.8", 'e'),
            ("de, en;q=0.3", 'e'),
            ("de", 'f'),
            ("en;q=0.2, fr-CD;q=0.9", 'f'),
        ] {
            assert_eq!(
                language(&asking(header::ACCEPT_LANGUAGE, asked), &offers),
                wanted,
                "{asked}"
            );
        }
    }
}
