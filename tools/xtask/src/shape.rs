//! How long functions and files may be before they must say why.

use crate::finding::Finding;
use crate::source::{Comment, Source};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 700;
/// How far from the top the reason of a long file may stand.
const FILE_REASON_WITHIN: usize = 40;

const FUNCTION_MARK: &str = "long: ";
const FILE_MARK: &str = "long file: ";

/// Checks one file; only what people write as programs has a shape.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    if path.ends_with(".rs") {
        let source = Source::new(text);
        let mut findings = check_functions(path, text, &source);
        findings.extend(check_file(path, text, &source.comments));
        findings
    } else if path.ends_with(".py") || path.ends_with(".sh") {
        let hashed = |(index, line): (usize, &str)| {
            let text = line.trim_start();
            text.starts_with('#').then(|| Comment { line: index + 1, text: text.to_owned() })
        };
        let comments: Vec<Comment> = text.lines().enumerate().filter_map(hashed).collect();
        check_file(path, text, &comments).into_iter().collect()
    } else {
        Vec::new()
    }
}

fn check_functions(path: &str, text: &str, source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    let mut used = Vec::new();
    for function in source.functions() {
        let length = function.last - function.first + 1;
        if length <= FUNCTION_LINES_MAX {
            continue;
        }
        // The reason stands among the comments and attributes that touch the function from above.
        let mut above = function.first - 1;
        while above > 0 && is_preamble(lines[above - 1]) {
            above -= 1;
        }
        let block = above + 1..function.first;
        match marked(&source.comments, FUNCTION_MARK).find(|line| block.contains(line)) {
            Some(line) => used.push(line),
            None => {
                let message = format!(
                    "{} has {length} lines: split it, or say `// {FUNCTION_MARK}reason` above it",
                    function.name
                );
                findings.push(Finding::new(path, function.first, "long-function", message));
            }
        }
    }
    for line in marked(&source.comments, FUNCTION_MARK).filter(|line| !used.contains(line)) {
        let message = "the function below is not long: remove the reason";
        findings.push(Finding::new(path, line, "long-function", message));
    }
    findings
}

fn is_preamble(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("//") || line.starts_with("#[") || line.ends_with(")]")
}

fn check_file(path: &str, text: &str, comments: &[Comment]) -> Option<Finding> {
    let length = text.lines().count();
    let reason = marked(comments, FILE_MARK).find(|line| *line <= FILE_REASON_WITHIN);
    match (length > FILE_LINES_MAX, reason) {
        (true, None) => {
            let message = format!(
                "{length} lines: look for the two things it does, or say `{FILE_MARK}reason` near the top"
            );
            Some(Finding::new(path, 0, "long-file", message))
        }
        (false, Some(line)) => {
            let message = "the file is not long: remove the reason";
            Some(Finding::new(path, line, "long-file", message))
        }
        _ => None,
    }
}

/// The lines whose comment is `mark` and at least one word of reason.
fn marked<'a>(comments: &'a [Comment], mark: &'a str) -> impl Iterator<Item = usize> + 'a {
    comments.iter().filter_map(move |comment| {
        let said = comment.text.trim_start_matches(['/', '!', '#']).trim_start();
        let reason = said.strip_prefix(mark)?;
        (!reason.trim().is_empty()).then_some(comment.line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function whose first to last line are `lines` lines.
    fn function(lines: usize) -> String {
        format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2))
    }

    fn found(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(path, text).into_iter().map(|f| (f.line, f.rule)).collect()
    }

    #[test]
    fn long_functions_say_why() {
        let long = function(71);
        let table = [
            (function(70), vec![]),
            (long.clone(), vec![(1, "long-function")]),
            (format!("// long: one table\n{long}"), vec![]),
            (format!("// long: one table\n/// Docs.\n#[must_use]\n{long}"), vec![]),
            (format!("// long: \n{long}"), vec![(2, "long-function")]),
            (
                format!("// long: one table\n\n{long}"),
                vec![(3, "long-function"), (1, "long-function")],
            ),
            (format!("// long: no longer\n{}", function(70)), vec![(1, "long-function")]),
            (format!("mod tests {{\n{long}}}\n"), vec![(2, "long-function")]),
        ];
        for (text, expected) in table {
            assert_eq!(found("a.rs", &text), expected, "{text}");
        }
    }

    #[test]
    fn long_files_say_why() {
        let long = "x();\n".repeat(700);
        let table = [
            ("a.rs", long.clone(), vec![]),
            ("a.rs", format!("{long}x();\n"), vec![(0, "long-file")]),
            ("a.py", format!("{long}x()\n"), vec![(0, "long-file")]),
            ("a.rs", format!("//! Docs.\n// long file: a table\n{long}"), vec![]),
            ("a.sh", format!("# long file: a table\n{long}"), vec![]),
            ("a.rs", format!("{long}// long file: a table\n"), vec![(0, "long-file")]),
            ("a.rs", "// long file: a table\n".to_owned(), vec![(1, "long-file")]),
            ("a.json", format!("{long}{long}"), vec![]),
        ];
        for (path, text, expected) in table {
            assert_eq!(found(path, &text), expected, "{path}");
        }
    }
}
