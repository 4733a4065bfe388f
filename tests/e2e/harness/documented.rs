//! What the page on observability says, to be compared with what the program does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/observability.md");

/// The rows of the first table below a heading: the cells of each.
#[track_caller]
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let after = PAGE.split(&format!("\n{heading}\n")).nth(1);
    let after = after.unwrap_or_else(|| panic!("no heading {heading:?}"));
    let lines = after.lines().skip_while(|line| !line.starts_with('|'));
    let table = lines.take_while(|line| line.starts_with('|')).skip(2);
    table
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Every `word` in backticks of a cell.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The first column of the first table below a heading.
#[track_caller]
pub fn names(heading: &str) -> BTreeSet<String> {
    rows(heading).iter().flat_map(|row| words(row[0])).collect()
}

/// The names of the first column, each with those of the third.
#[track_caller]
pub fn fields(heading: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = rows(heading);
    let entry = |row: &Vec<&str>| (row[0].trim_matches('`').to_owned(), words(row[2]));
    rows.iter().map(entry).collect()
}

/// The keys of an object; of one within it, each with a dot.
pub fn keys(object: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (key, value) in object.as_object().unwrap() {
        match value {
            Value::Object(inner) => keys.extend(inner.keys().map(|inner| format!("{key}.{inner}"))),
            _ => drop(keys.insert(key.clone())),
        }
    }
    keys
}
