//! The language of what is printed.

use axum::http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::negotiate::language;
use crate::render::Language;

/// The language, as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tongue {
    /// French.
    Fr,
    /// English.
    En,
}

impl Tongue {
    /// What was asked for, or what the client would rather read, or French.
    pub(super) fn choose(asked: Option<Self>, headers: &HeaderMap) -> Language {
        match asked {
            Some(Self::Fr) => Language::French,
            Some(Self::En) => Language::English,
            None => language(headers, &[("fr", Language::French), ("en", Language::English)]),
        }
    }
}
