//! Every third-party crate may be used under a licence that we accept.
//!
//! A licence expression is SPDX: `OR` binds weaker than `AND`, `WITH` names an exception, parentheses
//! group, and the old spelling `A/B` means `A OR B`.

use crate::finding::Finding;
use crate::workspace::ThirdParty;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Parentheses nested deeper than this are no licence anybody wrote.
const DEPTH_MAX: usize = 8;

/// Evaluates the licence expression of each package.
pub(crate) fn check(packages: &[ThirdParty]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ThirdParty { name, version, licence } in packages {
        let problem = match licence.as_deref().map(satisfied) {
            Some(Some(true)) => continue,
            Some(Some(false)) => format!("{licence:?} is not satisfied by what we accept"),
            Some(None) => format!("{licence:?} is no SPDX expression"),
            None => "it states no licence".to_owned(),
        };
        let message = format!("replace {name} {version}: {problem}");
        findings.push(Finding::new("Cargo.lock", 0, "licence", message));
    }
    findings
}

/// Whether the allowed licences satisfy an expression; `None` when it is not one.
fn satisfied(expression: &str) -> Option<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = Words { rest: spaced.split_whitespace().collect(), depth: 0 };
    let value = words.any_of()?;
    words.rest.is_empty().then_some(value)
}

struct Words<'a> {
    rest: Vec<&'a str>,
    depth: usize,
}

impl<'a> Words<'a> {
    fn take(&mut self) -> Option<&'a str> {
        (!self.rest.is_empty()).then(|| self.rest.remove(0))
    }

    fn take_if(&mut self, word: &str) -> bool {
        let next = self.rest.first() == Some(&word);
        if next {
            self.rest.remove(0);
        }
        next
    }

    fn any_of(&mut self) -> Option<bool> {
        let mut value = self.all_of()?;
        while self.take_if("OR") {
            value |= self.all_of()?;
        }
        Some(value)
    }

    fn all_of(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.take_if("AND") {
            value &= self.one()?;
        }
        Some(value)
    }

    fn one(&mut self) -> Option<bool> {
        match self.take()? {
            "(" if self.depth < DEPTH_MAX => {
                self.depth += 1;
                let value = self.any_of()?;
                self.depth -= 1;
                self.take_if(")").then_some(value)
            }
            "(" | ")" | "OR" | "AND" | "WITH" => None,
            licence if self.take_if("WITH") => {
                let exception = self.take()?;
                Some(ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()))
            }
            licence => Some(ALLOWED.contains(&licence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_expression_has_one_value() {
        let table = [
            ("MIT", Some(true)),
            ("GPL-3.0-only", Some(false)),
            ("MIT OR GPL-3.0-only", Some(true)),
            ("GPL-3.0-only OR MIT", Some(true)),
            ("MIT AND GPL-3.0-only", Some(false)),
            ("GPL-3.0-only AND MIT OR ISC", Some(true)),
            ("GPL-3.0-only AND (MIT OR ISC)", Some(false)),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true)),
            ("MIT/Apache-2.0", Some(true)),
            ("GPL-2.0-only/LGPL-3.0-only", Some(false)),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", Some(true)),
            ("MIT WITH LLVM-exception", Some(false)),
            ("GPL-2.0-only WITH Classpath-exception-2.0", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT)", None),
            ("MIT Apache-2.0", None),
            ("MIT WITH", None),
            ("((((((((((MIT))))))))))", None),
        ];
        for (expression, expected) in table {
            assert_eq!(satisfied(expression), expected, "{expression}");
        }
    }

    #[test]
    fn a_package_without_an_acceptable_licence_is_found() {
        let package = |licence: Option<&str>| ThirdParty {
            name: "x".to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
        };
        let packages =
            [package(Some("MIT")), package(None), package(Some("SSPL-1.0")), package(Some("("))];
        assert_eq!(check(&packages).len(), 3);
    }
}
