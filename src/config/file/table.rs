//! A table of the document, read key by key; what does not fit is noted, and reading goes on.

use std::cell::RefCell;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Entries, Field, Given, Number, Text, Texts,
    keys::{Keys, ROOT, TABLES},
};
use crate::config::{
    problem::{Place, Problem},
    spelling,
};

/// What all tables of one document share.
pub struct Reader {
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

pub struct Table<'r> {
    reader: &'r Reader,
    place: Place,
    is_there: bool,
    /// By the known key that each is read as.
    entries: Vec<(&'static str, Entry<'r>)>,
}

struct Entry<'r> {
    line: usize,
    value: &'r DeValue<'r>,
}

impl Reader {
    pub fn new(text: &str) -> Reader {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Reader {
            line_starts: newlines.map(|(offset, _)| offset + 1).collect(),
            problems: RefCell::default(),
        }
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) + 1
    }

    fn report(&self, place: Place, message: String, remedy: String) {
        self.problems.borrow_mut().push(Problem {
            place,
            message,
            remedy,
        });
    }
}

impl<'r> Table<'r> {
    pub fn root(reader: &'r Reader, table: &'r DeTable<'r>) -> Table<'r> {
        Table::open(reader, Place::default(), Some(table), &ROOT)
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether the document has this table, be it empty.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The table `key`; an empty one if it is absent or something else.
    pub fn section(&self, key: &'static str, keys: &Keys) -> Table<'r> {
        let table = self.find(key).and_then(|entry| match entry.value {
            DeValue::Table(table) => Some(table),
            other => {
                let first = keys.names.first().copied().unwrap_or_default();
                let remedy = match self.place.path.is_empty() {
                    true => format!("write it as a table: [{key}]"),
                    false => format!("write it as a table: {key} = {{ {first} = ... }}"),
                };
                self.wrong_type(self.key_place(key), other, "a table", remedy);
                None
            }
        });
        Table::open(self.reader, self.key_place(key), table, keys)
    }

    /// The list of tables `key`, each read by `read`.
    pub fn tables<T>(
        &self,
        key: &'static str,
        keys: &Keys,
        read: impl Fn(&Table<'r>) -> T,
    ) -> Entries<T> {
        let place = self.key_place(key);
        let mut entries = Entries {
            place: place.clone(),
            list: Vec::new(),
            refused: false,
        };
        let remedy = match self.place.path.is_empty() {
            true => format!("begin each with [[{key}]], two brackets on each side"),
            false => format!("write a list of tables: {key} = [{{ ... }}]"),
        };
        let Some(entry) = self.find(key) else {
            return entries;
        };
        let DeValue::Array(items) = entry.value else {
            self.wrong_type(place, entry.value, "a list of tables", remedy);
            entries.refused = true;
            return entries;
        };
        for (index, item) in items.iter().enumerate() {
            let mut place = place.item(index);
            place.line = Some(self.reader.line(item.span().start));
            let DeValue::Table(table) = item.get_ref() else {
                self.wrong_type(place, item.get_ref(), "a table", remedy.clone());
                entries.refused = true;
                continue;
            };
            if let Some(DeValue::String(name)) = table.get("name").map(Spanned::get_ref) {
                place.owner = Some(format!("{key} {name:?}"));
            }
            let table = Table::open(self.reader, place, Some(table), keys);
            entries.list.push(read(&table));
        }
        entries
    }

    pub fn text(&self, key: &'static str) -> Text {
        self.field(key, |place, value| self.as_text(place, value))
    }

    /// A list of strings, or a single one.
    pub fn texts(&self, key: &'static str) -> Texts {
        self.field(key, |place, value| match value {
            DeValue::Array(items) => Given::Value(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let mut place = place.item(index);
                        place.line = Some(self.reader.line(item.span().start));
                        Field {
                            given: self.as_text(&place, item.get_ref()),
                            place,
                        }
                    })
                    .collect(),
            ),
            value => match self.as_text(place, value) {
                Given::Value(text) => Given::Value(vec![Field::given(place.clone(), text)]),
                _ => Given::Refused,
            },
        })
    }

    pub fn number(&self, key: &'static str) -> Number {
        self.field(key, |place, value| {
            let DeValue::Integer(integer) = value else {
                let remedy = format!("write a whole number without quotes: {key} = 1000");
                self.wrong_type(place.clone(), value, "a whole number", remedy);
                return Given::Refused;
            };
            match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Given::Value(number),
                Err(_) => {
                    let message = format!("{} is too large a number", integer.as_str());
                    self.reader
                        .report(place.clone(), message, "write a smaller one".to_owned());
                    Given::Refused
                }
            }
        })
    }

    fn open(
        reader: &'r Reader,
        place: Place,
        table: Option<&'r DeTable<'r>>,
        keys: &Keys,
    ) -> Table<'r> {
        let mut entries: Vec<(&'static str, Entry<'r>)> = Vec::new();
        let mut unknown = Vec::new();
        for (key, value) in table.into_iter().flatten() {
            let entry = Entry {
                line: reader.line(key.span().start),
                value: value.get_ref(),
            };
            match keys.names.iter().find(|known| *known == key.get_ref()) {
                Some(known) => entries.push((known, entry)),
                None => unknown.push((key.get_ref().as_ref(), entry)),
            }
        }
        for (key, entry) in unknown {
            let mut place = place.key(&quoted(key));
            place.line = Some(entry.line);
            let meant = spelling::nearest(key, keys.names.iter().copied());
            reader.report(place, "unknown key".to_owned(), remedy(key, meant, keys));
            // Its value is read as what was meant, so that nothing is called missing that is there.
            if let Some(meant) = meant
                && entries.iter().all(|(known, _)| *known != meant)
                && let Some(known) = keys.names.iter().find(|known| **known == meant)
            {
                entries.push((known, entry));
            }
        }
        Table {
            reader,
            place,
            is_there: table.is_some(),
            entries,
        }
    }

    fn find(&self, key: &str) -> Option<&Entry<'r>> {
        let entry = self.entries.iter().find(|(known, _)| *known == key);
        entry.map(|(_, entry)| entry)
    }

    /// The place of a key: its own line, or that of the table it is missing from.
    fn key_place(&self, key: &str) -> Place {
        let mut place = self.place.key(key);
        if let Some(entry) = self.find(key) {
            place.line = Some(entry.line);
        }
        place
    }

    fn field<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Place, &'r DeValue<'r>) -> Given<T>,
    ) -> Field<T> {
        let place = self.key_place(key);
        let given = match self.find(key) {
            Some(entry) => read(&place, entry.value),
            None => Given::Absent,
        };
        Field { place, given }
    }

    fn as_text(&self, place: &Place, value: &DeValue<'_>) -> Given<String> {
        let remedy = match value {
            DeValue::String(text) => return Given::Value(text.as_ref().to_owned()),
            DeValue::Integer(number) if is_duration(&place.path) => {
                format!(
                    "write it with its unit, in quotes: \"{}s\"",
                    number.as_str()
                )
            }
            DeValue::Integer(number) => format!("put it in quotes: \"{}\"", number.as_str()),
            DeValue::Float(number) => format!("put it in quotes: \"{}\"", number.as_str()),
            _ => "write a string, in quotes".to_owned(),
        };
        self.wrong_type(place.clone(), value, "a string", remedy);
        Given::Refused
    }

    fn wrong_type(&self, place: Place, found: &DeValue<'_>, expected: &str, remedy: String) {
        let found = match found.type_str() {
            "integer" => "a number",
            "float" => "a number with a fraction",
            "boolean" => "true or false",
            "datetime" => "a date or time",
            "array" => "a list",
            "table" => "a table",
            _ => "a string",
        };
        self.reader
            .report(place, format!("is {found}, not {expected}"), remedy);
    }
}

fn is_duration(path: &str) -> bool {
    path.ends_with("_timeout") || path.ends_with("lifetime")
}

/// A key as TOML writes it, so that a path with an odd key in it still reads as one.
fn quoted(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !key.is_empty() && key.bytes().all(bare) {
        true => key.to_owned(),
        false => format!("{key:?}"),
    }
}

fn remedy(key: &str, meant: Option<&str>, keys: &Keys) -> String {
    if let Some(meant) = meant {
        return format!("did you mean {meant}?");
    }
    if let Some(table) = TABLES.iter().find(|table| table.names.contains(&key)) {
        return format!("{key} belongs in {}", table.title);
    }
    format!(
        "remove it; {} knows {}",
        keys.title,
        spelling::list(keys.names.iter().copied())
    )
}
