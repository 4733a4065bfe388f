//! The configuration file as it was written: every key with its place, nothing checked but types.
//!
//! The file is walked by hand, not deserialized: a deserializer stops at the first problem, and an
//! operator wants all of them. What is wrong here (types, unknown keys) is kept in
//! [`FileConfig::problems`], and [`super::resolve`] goes on with the rest. Flags of the command
//! line make the same [`FileConfig`], with the flags' names as places.

mod keys;
mod syntax;
mod table;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::problem::{Place, Problem, Problems};
use keys::{
    ADMIN, ADMIN_TLS, AUDIT, BACKEND, CERTIFICATE, CLIENT_AUTH, LIMITS, LISTENER, LOG, RUNTIME,
    TELEMETRY,
};
use table::{Reader, Table};

/// A configuration before its values are checked.
#[derive(Debug, Default)]
pub struct FileConfig {
    /// `None` when it came from flags alone.
    pub file: Option<PathBuf>,
    /// The folder that relative paths start from.
    pub base: PathBuf,
    /// Every user of the machine can read the file.
    pub readable_by_others: bool,
    /// What is wrong already.
    pub problems: Vec<Problem>,
    pub runtime: RuntimeSection,
    pub limits: LimitsSection,
    pub log: LogSection,
    pub audit: Option<AuditSection>,
    pub admin: Option<AdminSection>,
    pub telemetry: Option<TelemetrySection>,
    pub listeners: Entries<ListenerSection>,
    pub backends: Entries<BackendSection>,
}

/// One value and where it is, or would be.
#[derive(Clone, Default)]
pub struct Field<T> {
    pub place: Place,
    pub given: Given<T>,
}

#[derive(Clone, Default)]
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
    pub file: Text,
    pub lines_per_second: Number,
}

#[derive(Debug, Default)]
pub struct AuditSection {
    pub file: Text,
}

#[derive(Debug, Default)]
pub struct AdminSection {
    pub listen: Text,
    pub token_file: Text,
    pub access: Text,
    pub tls: Option<CertificateSection>,
}

#[derive(Debug, Default)]
pub struct TelemetrySection {
    pub otlp_endpoint: Text,
    pub interval: Text,
}

#[derive(Debug, Default)]
pub struct ListenerSection {
    pub place: Place,
    pub name: Text,
    pub listen: Texts,
    pub backend: Text,
    pub min_tls: Text,
    pub alpn: Texts,
    pub unknown_sni: Text,
    pub on_truncation: Text,
    pub certificates: Entries<CertificateSection>,
    pub certificates_dir: Text,
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
    /// Also when it is empty.
    pub is_there: bool,
    pub mode: Text,
    pub ca_file: Text,
    pub ca: Text,
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
    let reader = Reader::new(text);
    let root = Table::root(&reader, document.get_ref());
    let admin = root.section("admin", &ADMIN);
    let telemetry = root.section("telemetry", &TELEMETRY);
    let audit = root.section("audit", &AUDIT);
    let mut config = FileConfig {
        file: Some(file.to_owned()),
        base: file.parent().unwrap_or(Path::new("")).to_owned(),
        readable_by_others: false,
        runtime: runtime(&root.section("runtime", &RUNTIME)),
        limits: limits(&root.section("limits", &LIMITS)),
        log: log(&root.section("log", &LOG)),
        audit: root.has("audit").then(|| AuditSection {
            file: audit.text("file"),
        }),
        admin: root.has("admin").then(|| AdminSection {
            listen: admin.text("listen"),
            token_file: admin.text("token_file"),
            access: admin.text("access"),
            tls: admin
                .has("tls")
                .then(|| certificate(&admin.section("tls", &ADMIN_TLS))),
        }),
        telemetry: root.has("telemetry").then(|| TelemetrySection {
            otlp_endpoint: telemetry.text("otlp_endpoint"),
            interval: telemetry.text("interval"),
        }),
        listeners: root.tables("listener", &LISTENER, listener),
        backends: root.tables("backend", &BACKEND, backend),
        problems: Vec::new(),
    };
    config.problems = reader.into_problems();
    Ok(config)
}

impl ListenerSection {
    /// The place of `key`, such as `certificates[1].key_file`, for what shows only when files are
    /// read.
    pub fn place_of(&self, key: &str) -> Place {
        let certificate = key
            .strip_prefix("certificates[")
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(index, _)| self.certificates.list.get(index.parse::<usize>().ok()?));
        let line = match certificate {
            Some(section) => section.place.line,
            None if key.starts_with("client_auth") => self.client_auth.mode.place.line,
            None if key.starts_with("certificates_dir") => self.certificates_dir.place.line,
            None => self.place.line,
        };
        Place {
            line,
            ..self.place.key(key)
        }
    }
}

fn runtime(table: &Table<'_>) -> RuntimeSection {
    RuntimeSection {
        offload: table.text("offload"),
        handshake_threads: table.number("handshake_threads"),
        relay_threads: table.number("relay_threads"),
        waiter: table.text("waiter"),
    }
}

fn limits(table: &Table<'_>) -> LimitsSection {
    LimitsSection {
        connections: table.number("connections"),
        handshake_timeout: table.text("handshake_timeout"),
        connect_timeout: table.text("connect_timeout"),
        idle_timeout: table.text("idle_timeout"),
        half_closed_timeout: table.text("half_closed_timeout"),
        lifetime: table.text("lifetime"),
        drain_timeout: table.text("drain_timeout"),
        records_per_key: table.number("records_per_key"),
    }
}

fn log(table: &Table<'_>) -> LogSection {
    LogSection {
        level: table.text("level"),
        format: table.text("format"),
        file: table.text("file"),
        lines_per_second: table.number("lines_per_second"),
    }
}

fn listener(table: &Table<'_>) -> ListenerSection {
    ListenerSection {
        place: table.place().clone(),
        name: table.text("name"),
        listen: table.texts("listen"),
        backend: table.text("backend"),
        min_tls: table.text("min_tls"),
        alpn: table.texts("alpn"),
        unknown_sni: table.text("unknown_sni"),
        on_truncation: table.text("on_truncation"),
        certificates: table.tables("certificates", &CERTIFICATE, certificate),
        certificates_dir: table.text("certificates_dir"),
        client_auth: client_auth(&table.section("client_auth", &CLIENT_AUTH)),
    }
}

fn certificate(table: &Table<'_>) -> CertificateSection {
    CertificateSection {
        place: table.place().clone(),
        certificate_file: table.text("certificate_file"),
        certificate: table.text("certificate"),
        key_file: table.text("key_file"),
        key: table.text("key"),
    }
}

fn client_auth(table: &Table<'_>) -> ClientAuthSection {
    ClientAuthSection {
        is_there: table.is_there(),
        mode: table.text("mode"),
        ca_file: table.text("ca_file"),
        ca: table.text("ca"),
    }
}

fn backend(table: &Table<'_>) -> BackendSection {
    BackendSection {
        name: table.text("name"),
        servers: table.texts("servers"),
    }
}

impl<T> Field<T> {
    pub fn absent(place: Place) -> Field<T> {
        Field {
            place,
            given: Given::Absent,
        }
    }

    pub fn given(place: Place, value: T) -> Field<T> {
        Field {
            place,
            given: Given::Value(value),
        }
    }
}

/// Without the value: it may be a private key.
impl<T> fmt::Debug for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.place)
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Entries<T> {
        Entries {
            place: Place::default(),
            list: Vec::new(),
            refused: false,
        }
    }
}

#[cfg(test)]
mod tests;
