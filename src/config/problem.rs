//! What is wrong with a configuration, in words for the operator: where, what, and the remedy.
//!
//! Values of keys may be secret (inline PEM), so no text here is made from one without need, and what
//! was pasted in the wrong place is not repeated where it may be a part of a private key.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use crate::limits;

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
            Some(owner) => write!(f, " ({})", without_keys(owner)),
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
    write!(f, "{place}: {}", without_keys(message).replace('\n', " "))?;
    match remedy {
        "" => Ok(()),
        remedy => write!(f, "; {}", without_keys(remedy)),
    }
}

/// Nothing for an empty text: some messages have their remedy in them.
fn paragraph(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {label}  ")?;
    for (index, line) in without_keys(text).lines().enumerate() {
        if index > 0 {
            write!(f, "\n           ")?;
        }
        f.write_str(line)?;
    }
    Ok(())
}

/// `text` without runs of characters that may be a line of PEM: long, in base64 (RFC 4648, section 4),
/// with letters of both cases and digits. Paths and names hardly look like this.
fn without_keys(text: &str) -> Cow<'_, str> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let may_be_key = |run: &[u8]| {
        let has = |kind: fn(&u8) -> bool| run.iter().any(kind);
        run.len() >= limits::QUOTED_BASE64_MAX
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_digit)
    };
    let mut kept = Cow::Borrowed("");
    let mut rest = text;
    while !rest.is_empty() {
        let length = |pick: &dyn Fn(&u8) -> bool| rest.bytes().take_while(pick).count();
        // Base64 is ASCII, so that both ends are those of characters.
        let run = length(&is_base64);
        let end = if run > 0 {
            run
        } else {
            length(&|byte| !is_base64(byte))
        };
        let (part, behind) = rest.split_at(end);
        match may_be_key(part.as_bytes()) {
            true => kept += "[not shown: it may be part of a key]",
            false => kept += part,
        }
        rest = behind;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_line_of_a_key_is_not_repeated_anywhere() {
        let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2";
        let text = format!("listener {line:?} is not a usable name");
        let problem = Problem {
            place: Place {
                owner: Some(text.clone()),
                ..Place::named("listener[0].name")
            },
            message: text.clone(),
            remedy: text.clone(),
        };
        let (file, list) = (None, vec![problem.clone()]);
        for shown in [problem.to_string(), Problems { file, list }.to_string()] {
            assert!(!shown.contains(&line[..12]), "{shown}");
            assert_eq!(shown.matches("not shown").count(), 3, "{shown}");
            assert!(shown.contains("is not a usable name"), "{shown}");
        }
    }

    #[test]
    fn paths_names_and_fingerprints_are_repeated() {
        for text in [
            "",
            "/etc/lockgate/certificates/live/internal/services/example/fullchain.pem",
            "spiffe://example.org/ns/default/sa/a-service-with-a-long-name-of-its-own",
            "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "\u{fc}ber-\u{1f512}: \"127.0.0.1\" has no port",
        ] {
            assert_eq!(without_keys(text), text);
        }
    }

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
