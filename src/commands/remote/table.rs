//! Rows for people: columns as wide as they must be.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

pub const TITLE: Style = Style::new().bold();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const WARNING: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default();
const PLAIN: Style = Style::new();

pub struct Table {
    /// Which columns end at the right, as numbers do.
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

pub struct Cell {
    text: String,
    style: Style,
}

impl Table {
    /// A title that begins with `>` is that of a column of numbers.
    pub fn new(titles: &[&str]) -> Self {
        let right = titles.iter().map(|title| title.starts_with('>'));
        let cells = titles
            .iter()
            .map(|title| styled(title.trim_start_matches('>'), TITLE));
        Table {
            right: right.collect(),
            rows: vec![cells.collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(Cell::width).max().unwrap_or_default()
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let padding = " ".repeat(width.saturating_sub(cell.width()));
                let Cell { text, style } = cell;
                let gap = if line.is_empty() { "" } else { "  " };
                // Writing to a String does not fail.
                let _ = match right {
                    true => write!(line, "{gap}{padding}{style}{text}{style:#}"),
                    false => write!(line, "{gap}{style}{text}{style:#}{padding}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Cell {
    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        styled(text.as_ref(), PLAIN)
    }
}

/// What a peer has chosen, such as a name, does not move the cursor.
pub fn styled(text: &str, style: Style) -> Cell {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    Cell {
        text: text.chars().map(shown).collect(),
        style,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_escapes() {
        let mut table = Table::new(&["NAME", ">BYTES", "STATE"]);
        table.row(vec!["a".into(), "1".into(), styled("up", GOOD)]);
        table.row(vec![
            "long \x1b[2Jname".into(),
            "1000".into(),
            "down".into(),
        ]);
        let plain = anstream::adapter::strip_str(&table.text()).to_string();
        let expected = "\
NAME           BYTES  STATE
a                  1  up
long ?[2Jname   1000  down
";
        assert_eq!(plain, expected);
        assert!(table.text().contains("\x1b[32mup\x1b[0m"));
    }
}
