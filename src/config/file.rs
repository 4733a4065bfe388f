//! The configuration file as it was written: every key with its place, nothing checked but types.
//!
//! The file is walked by hand, not deserialized: a deserializer stops at the first problem, and an
//! operator wants all of them. What is wrong here (types, unknown keys) is kept in
//! [`FileConfig::problems`], and [`super::resolve`] goes on with the rest. Flags of the command
//! line make the same [`FileConfig`], with the flags' names as places.

mod syntax;
mod table;

use std::path::{Path, PathBuf};

use super::problem::{Place, Problem, Problems};
use table::{Reader, Table};

/// A configuration before its values are checked.
#[derive(Debug, Default)]
pub struct FileConfig {
    /// `None` when it came from flags alone.
    pub file: Option<PathBuf>,
    /// The folder that relative paths start from.
    pub base: PathBuf,
    /// What is wrong already.
    pub problems: Vec<Problem>,
    pub runtime: RuntimeSection,
    pub limits: LimitsSection,
    pub log: LogSection,
    pub admin: Option<AdminSection>,
    pub listeners: Entries<ListenerSection>,
    pub backends: Entries<BackendSection>,
}

/// One value and where it is, or would be.
#[derive(Clone, Debug, Default)]
pub struct Field<T> {
    pub place: Place,
    pub given: Given<T>,
}

#[derive(Clone, Debug, Default)]
pub enum Given<T> {
    #[default]
    Absent,
    /// It is there and its problem is reported; nothing more is to be said about it.
    Refused,
    Value(T),
}

/// A list of tables, and where the list is; absent and empty come to the same.
#[derive(Debug)]
pub struct Entries<T> {
    pub place: Place,
    pub list: Vec<T>,
    /// It is there and no list of tables, which is reported.
    pub refused: bool,
}

pub type Text = Field<String>;
pub type Number = Field<i64>;
pub type Texts = Field<Vec<Text>>;

#[derive(Debug, Default)]
pub struct RuntimeSection {
    pub offload: Text,
    pub handshake_threads: Number,
    pub relay_threads: Number,
    pub waiter: Text,
}

#[derive(Debug, Default)]
pub struct LimitsSection {
    pub connections: Number,
    pub handshake_timeout: Text,
    pub connect_timeout: Text,
    pub idle_timeout: Text,
    pub half_closed_timeout: Text,
    pub lifetime: Text,
    pub drain_timeout: Text,
    pub records_per_key: Number,
}

#[derive(Debug, Default)]
pub struct LogSection {
    pub level: Text,
    pub format: Text,
}

#[derive(Debug, Default)]
pub struct AdminSection {
    pub listen: Text,
}

#[derive(Debug, Default)]
pub struct ListenerSection {
    pub name: Text,
    pub listen: Texts,
    pub backend: Text,
    pub min_tls: Text,
    pub alpn: Texts,
    pub unknown_sni: Text,
    pub on_truncation: Text,
    pub certificates: Entries<CertificateSection>,
    pub client_auth: ClientAuthSection,
}

#[derive(Debug, Default)]
pub struct CertificateSection {
    pub place: Place,
    pub certificate_file: Text,
    pub certificate: Text,
    pub key_file: Text,
    pub key: Text,
}

#[derive(Debug, Default)]
pub struct ClientAuthSection {
    pub place: Place,
    pub mode: Text,
    pub ca_file: Text,
    pub ca: Text,
    /// It is there and no table, which is reported.
    pub refused: bool,
}

#[derive(Debug, Default)]
pub struct BackendSection {
    pub name: Text,
    pub servers: Texts,
}

/// Reads the text of the configuration file `file`. Only a file that is no TOML is an error; other
/// problems come with the result, for [`super::resolve`] to add to.
pub fn parse(text: &str, file: &Path) -> Result<FileConfig, Problems> {
    let document = syntax::document(text).map_err(|list| Problems {
        file: Some(file.to_owned()),
        list,
    })?;
    let mut reader = Reader::new(text);
    let mut root = reader.root(&document, &ROOT);
    let mut config = FileConfig {
        file: Some(file.to_owned()),
        base: file.parent().unwrap_or(Path::new("")).to_owned(),
        runtime: runtime(&mut reader, root.table("runtime", &RUNTIME)),
        limits: limits(&mut reader, root.table("limits", &LIMITS)),
        log: log(&mut reader, root.table("log", &LOG)),
        admin: None,
        listeners: root.tables(&mut reader, "listener", &LISTENER, listener),
        backends: root.tables(&mut reader, "backend", &BACKEND, backend),
        problems: Vec::new(),
    };
    if root.has("admin") {
        config.admin = Some(admin(&mut reader, root.table("admin", &ADMIN)));
    }
    config.problems = reader.into_problems();
    Ok(config)
}
