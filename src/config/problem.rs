//! What is wrong with a configuration, in words for the operator: where, what, and the remedy.
//!
//! Values of keys may be secret (inline PEM), so no text here is made from one without need.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a value is, or should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Key path, such as `listener[0].certificates[1].key_file`, or a flag, such as `--listen`.
    pub path: String,
    /// What an operator calls the entry that the path is in, such as `listener "edge"`.
    pub owner: Option<String>,
    /// From 1; `None` for what is not in a file.
    pub line: Option<usize>,
    /// From 1, in characters; known for syntax errors.
    pub column: Option<usize>,
}

/// A reason not to accept a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub message: String,
    /// May be empty where the message says it.
    pub remedy: String,
}

/// Something that an operator would want to know, and may leave as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub place: Place,
    pub message: String,
    pub remedy: String,
}

/// Every problem of one configuration, in the order of the file; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The configuration file, unless the configuration came from flags alone.
    pub file: Option<PathBuf>,
    pub list: Vec<Problem>,
}

impl Place {
    pub fn named(path: impl Into<String>) -> Place {
        Place {
            path: path.into(),
            ..Place::default()
        }
    }

    /// The place of a key of the table that is here.
    pub fn key(&self, key: &str) -> Place {
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            table => format!("{table}.{key}"),
        };
        Place {
            path,
            ..self.clone()
        }
    }

    /// The place of an item of the array that is here.
    pub fn item(&self, index: usize) -> Place {
        Place {
            path: format!("{}[{index}]", self.path),
            ..self.clone()
        }
    }

    /// `lockgate.toml:12: listener[0].backend (listener "edge")`, as editors and terminals know it.
    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&Path>) -> fmt::Result {
        let mut separator = "";
        if let Some(line) = self.line {
            match file {
                Some(file) => write!(f, "{}:{line}", file.display())?,
                None => write!(f, "line {line}")?,
            }
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
            separator = ": ";
        }
        if !self.path.is_empty() {
            write!(f, "{separator}{}", self.path)?;
        }
        match &self.owner {
            Some(owner) => write!(f, " ({owner})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sentence(f, &self.place, &self.message, &self.remedy)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sentence(f, &self.place, &self.message, &self.remedy)
    }
}

/// One paragraph for each problem, for terminals.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.place.write(f, self.file.as_deref())?;
            paragraph(f, "problem", &problem.message)?;
            paragraph(f, "remedy ", &problem.remedy)?;
        }
        Ok(())
    }
}

/// Warnings of one configuration, to be written as [`Problems`] are.
pub struct Warnings<'w> {
    pub file: Option<&'w Path>,
    pub list: &'w [Warning],
}

impl fmt::Display for Warnings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, warning) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            warning.place.write(f, self.file)?;
            paragraph(f, "warning", &warning.message)?;
            paragraph(f, "remedy ", &warning.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One line, for logs.
fn sentence(f: &mut fmt::Formatter<'_>, place: &Place, message: &str, remedy: &str) -> fmt::Result {
    write!(f, "{place}: {}", message.replace('\n', " "))?;
    match remedy {
        "" => Ok(()),
        remedy => write!(f, "; {remedy}"),
    }
}

/// Nothing for an empty text: some messages have their remedy in them.
fn paragraph(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {label}  ")?;
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            write!(f, "\n           ")?;
        }
        f.write_str(line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_file_line_path_and_owner() {
        let place = Place {
            path: "listener[0].backend".into(),
            owner: Some("listener \"edge\"".into()),
            line: Some(12),
            column: None,
        };
        let problems = Problems {
            file: Some("lockgate.toml".into()),
            list: vec![
                Problem {
                    place,
                    message: "no backend is named \"ap\"".into(),
                    remedy: "did you mean \"app\"?".into(),
                },
                Problem {
                    place: Place::named("--listen"),
                    message: "is missing".into(),
                    remedy: "add it".into(),
                },
            ],
        };
        assert_eq!(
            problems.to_string(),
            "lockgate.toml:12: listener[0].backend (listener \"edge\")\n  \
             problem  no backend is named \"ap\"\n  \
             remedy   did you mean \"app\"?\n\
             --listen\n  problem  is missing\n  remedy   add it"
        );
    }
}
