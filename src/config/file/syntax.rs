//! TOML itself: what cannot be read, with its position and the line in question.

use toml::{
    Spanned,
    de::{DeTable, Error},
};

use crate::config::problem::{Place, Problem};

/// After this many the rest is mostly a consequence of the first ones.
const PROBLEMS_MAX: usize = 5;
/// A longer line is cut where it is shown.
const SHOWN_CHARACTERS: usize = 120;

pub fn document(text: &str) -> Result<Spanned<DeTable<'_>>, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(document);
    }
    let mut problems: Vec<Problem> = Vec::new();
    for error in &errors {
        let problem = problem(text, error);
        // A second error in the same line comes from the parser's attempt to go on.
        if problems.iter().all(|p| p.place.line != problem.place.line) {
            problems.push(problem);
        }
    }
    problems.truncate(PROBLEMS_MAX);
    Err(problems)
}

fn problem(text: &str, error: &Error) -> Problem {
    let start = error.span().map_or(text.len(), |span| span.start);
    // An error at the very end is one of the last line that says something.
    let before = text.get(..start).unwrap_or(text);
    let before = match start >= text.len() {
        true => before.trim_end_matches(['\n', '\r']),
        false => before,
    };
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let column = before[line_start..].chars().count();
    Problem {
        place: Place {
            line: Some(before.matches('\n').count() + 1),
            column: Some(column + 1),
            ..Place::default()
        },
        message: format!(
            "{}{}",
            error.message().trim_end(),
            shown(text, line, column)
        ),
        remedy: "correct the TOML; the format is described at https://toml.io".to_owned(),
    }
}

/// The line with a caret below the column. A file with a private key in it is not quoted: the line
/// could be a part of the key, and problems go to logs.
fn shown(text: &str, line: &str, column: usize) -> String {
    if text.contains("PRIVATE KEY") || line.chars().count() > SHOWN_CHARACTERS {
        return String::new();
    }
    let line = line.replace(|c: char| c.is_control(), " ");
    format!("\n{line}\n{:column$}^", "")
}
