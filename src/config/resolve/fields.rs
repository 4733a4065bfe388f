//! What sections are made of: one value each, checked, or its problem reported.

use std::{ops::RangeInclusive, time::Duration};

use super::Resolver;
use crate::{
    config::{
        file::{Field, Given, Number, Text, Texts},
        problem::{Place, Problem, Warning},
        spelling,
        value::{self, Fault},
    },
    limits,
};

impl<'f> Resolver<'f> {
    pub(super) fn report(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem {
            place: place.clone(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn warn(&mut self, place: &Place, message: String, remedy: String) {
        self.warnings.push(Warning {
            place: place.clone(),
            message,
            remedy,
        });
    }

    pub(super) fn fault(&mut self, place: &Place, fault: Fault) {
        self.report(place, fault.message, fault.remedy);
    }

    pub(super) fn checked<T>(&mut self, place: &Place, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.fault(place, fault)).ok()
    }

    pub(super) fn required<'v, T>(&mut self, field: &'v Field<T>, example: &str) -> Option<&'v T> {
        match &field.given {
            Given::Value(value) => return Some(value),
            Given::Absent => {
                let remedy = format!("add it, such as {}", assignment(&field.place, example));
                self.report(&field.place, "is missing", remedy);
            }
            Given::Refused => {}
        }
        None
    }

    pub(super) fn name(&mut self, field: &Text, example: &str) -> Option<String> {
        let text = self.required(field, example)?;
        self.checked(&field.place, value::name(text))?;
        Some(text.clone())
    }

    pub(super) fn choice<T: Copy>(&mut self, field: &Text, choices: &[(&str, T)], default: T) -> T {
        let Given::Value(text) = &field.given else {
            return default;
        };
        match choices.iter().find(|(word, _)| word == text) {
            Some((_, value)) => *value,
            None => {
                let words = choices.iter().map(|(word, _)| *word);
                let remedy = match spelling::nearest(text, words.clone()) {
                    Some(meant) => {
                        format!("did you mean {meant}? It takes {}", spelling::list(words))
                    }
                    None => format!("write one of {}", spelling::list(words)),
                };
                self.report(&field.place, format!("{text:?} is not known here"), remedy);
                default
            }
        }
    }

    pub(super) fn number<T>(&mut self, field: &Number, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<i64> + PartialOrd + Copy + std::fmt::Display,
    {
        let Given::Value(number) = field.given else {
            return default;
        };
        match T::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
        {
            Some(number) => number,
            None => {
                let remedy = format!("write a number from {} to {}", range.start(), range.end());
                self.report(&field.place, format!("{number} is out of range"), remedy);
                default
            }
        }
    }

    pub(super) fn timeout(&mut self, field: &Text, default: Duration) -> Duration {
        self.duration(field, limits::TIMEOUT_MIN..=limits::TIMEOUT_MAX, default)
    }

    pub(super) fn duration(
        &mut self,
        field: &Text,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Given::Value(text) = &field.given else {
            return default;
        };
        let Some(duration) = self.checked(&field.place, value::duration(text)) else {
            return default;
        };
        if !bounds.contains(&duration) {
            let remedy = format!(
                "write a duration from {} to {}",
                value::duration_text(*bounds.start()),
                value::duration_text(*bounds.end())
            );
            self.report(&field.place, format!("{text:?} is out of range"), remedy);
        }
        duration
    }

    /// The items of a list that must not be empty, each with its place.
    pub(super) fn items<T>(
        &mut self,
        field: &Texts,
        most: usize,
        example: &str,
        read: impl Fn(&Self, &str) -> Result<T, Fault>,
    ) -> Option<Vec<(Place, T)>> {
        let items = self.required(field, example)?;
        self.entries(&field.place, items.len(), most, false);
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if let Given::Value(text) = &item.given {
                let value = read(self, text);
                values.extend(
                    self.checked(&item.place, value)
                        .map(|value| (item.place.clone(), value)),
                );
            }
        }
        Some(values)
    }

    pub(super) fn entries(&mut self, place: &Place, count: usize, most: usize, refused: bool) {
        if count > most {
            self.report(
                place,
                format!("has {count} entries"),
                format!("keep at most {most}"),
            );
        } else if count == 0 && !refused {
            self.report(place, "is empty", "add at least one entry");
        }
    }
}

/// `listen = "127.0.0.1:8443"` or `--listen 127.0.0.1:8443`, as the place has it.
pub(super) fn assignment(place: &Place, value: &str) -> String {
    let key = place.path.rsplit('.').next().unwrap_or_default();
    match key.starts_with("--") {
        true => format!("{key} {value}"),
        false => format!("{key} = {value:?}"),
    }
}
