//! What the client would rather have: a form by `Accept`, a language by `Accept-Language`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::http::problem::Problem;

/// A form in which something is there.
#[derive(Debug, Clone, Copy)]
pub struct Form<T> {
    /// What it stands for.
    pub format: T,
    /// As clients name it, and how a file of it ends.
    pub name: &'static str,
    /// As `Content-Type` has it; what stands before a `;` is what `Accept` names.
    pub kind: &'static str,
}

impl<T: Copy + PartialEq> Form<T> {
    const fn of(format: T, name: &'static str, kind: &'static str) -> Self {
        Self { format, name, kind }
    }

    /// The form that is asked for by its name, or the best one by `Accept`.
    pub fn choose(
        forms: &'static [Self],
        asked: Option<T>,
        headers: &HeaderMap,
    ) -> Result<&'static Self, Problem> {
        let named = asked.and_then(|asked| forms.iter().find(|form| form.format == asked));
        named.map_or_else(|| accepted(headers, forms), Ok)
    }

    /// Says what the answer is, and that it was chosen.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-language"));
    }

    /// Names the file: `how` is `inline` or `attachment`.
    pub fn name_file(&self, headers: &mut HeaderMap, how: &str, stem: &str) {
        let name = HeaderValue::from_str(&format!("{how}; filename=\"{stem}.{}\"", self.name));
        if let Ok(name) = name {
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
    }

    fn media_type(&self) -> &'static str {
        self.kind.split(';').next().unwrap_or(self.kind)
    }
}

/// Forms as a table.
#[must_use]
pub const fn forms<T: Copy + PartialEq, const N: usize>(
    rows: [(T, &'static str, &'static str); N],
) -> [Form<T>; N] {
    let (format, name, kind) = rows[0];
    let mut forms = [Form::of(format, name, kind); N];
    let mut at = 0;
    while at < N {
        let (format, name, kind) = rows[at];
        forms[at] = Form::of(format, name, kind);
        at += 1;
    }
    forms
}

/// The best of what is there, by `Accept`; the first one when the client does not say.
fn accepted<T: Copy + PartialEq>(
    headers: &HeaderMap,
    forms: &'static [Form<T>],
) -> Result<&'static Form<T>, Problem> {
    let asked = weighed(headers, &header::ACCEPT);
    if asked.is_empty() {
        return Ok(&forms[0]);
    }
    let weight = |form: &Form<T>| {
        let kind = form.media_type();
        let (main, _) = kind.split_once('/').unwrap_or((kind, ""));
        let any = format!("{main}/*");
        // The most exact range decides, as in RFC 9110.
        let ranges = [kind, any.as_str(), "*/*"];
        let found = ranges.iter().find_map(|range| asked.iter().find(|(name, _)| name == range));
        found.map_or(0, |(_, weight)| *weight)
    };
    // Of equals the first is the best.
    let best = forms.iter().rev().max_by_key(|form| weight(form));
    best.filter(|form| weight(form) > 0).ok_or_else(|| {
        let kinds: Vec<&str> = forms.iter().map(Form::media_type).collect();
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
    use super::*;

    static FORMS: [Form<u8>; 3] = forms([
        (1, "html", "text/html; charset=utf-8"),
        (2, "pdf", "application/pdf"),
        (3, "png", "image/png"),
    ]);

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
            let asked = asking(header::ACCEPT, accept);
            let found = Form::choose(&FORMS, None, &asked).ok().map(|form| form.format);
            assert_eq!(found, wanted, "{accept}");
            let named = Form::choose(&FORMS, Some(3), &asked).map(|form| form.format);
            assert_eq!(named, Ok(3), "a name counts more than {accept}");
        }
        let first = Form::choose(&FORMS, None, &HeaderMap::new()).expect("the first one");
        let mut told = HeaderMap::new();
        first.tell(&mut told);
        first.name_file(&mut told, "inline", "KIN-1");
        assert_eq!(told[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(told[header::CONTENT_DISPOSITION], "inline; filename=\"KIN-1.html\"");
        first.name_file(&mut HeaderMap::new(), "inline", "a\r\nSet-Cookie: b");
    }

    #[test]
    fn the_language_is_the_one_that_is_liked_most() {
        let offers = [("fr", 'f'), ("en", 'e')];
        for (asked, wanted) in [
            ("en-GB,en;q=0.8", 'e'),
            ("de, en;q=0.3", 'e'),
            ("de", 'f'),
            ("en,fr", 'e'),
            ("en;q=nonsense", 'f'),
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
