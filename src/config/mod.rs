//! The configuration that the program runs on.
//!
//! `file` mirrors the TOML document, `resolve` turns it into [`Config`] and reports every problem at
//! once, each with its key path and a remedy. A [`Config`] cannot be invalid in itself; files it
//! names are read by whoever needs them ([`crate::tls`]). This module knows no sockets.

pub mod file;
pub mod folder;
pub mod host;
pub mod problem;
pub mod resolve;
pub mod spelling;
pub mod value;

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::limits;
pub use file::FileConfig;
pub use host::Host;
pub use problem::{Place, Problem, Problems, Warning};
pub use resolve::resolve;

/// The configuration in the file `path`, or all that is wrong with it.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), Problems> {
    resolve(read(path)?, &Host::current())
}

/// The file `path` before its values are checked, for flags to override.
pub fn read(path: &Path) -> Result<FileConfig, Problems> {
    let unreadable = |message: String, remedy: &str| Problems {
        file: Some(path.to_owned()),
        list: vec![Problem {
            place: Place::named(path.display().to_string()),
            message,
            remedy: remedy.to_owned(),
        }],
    };
    let (bytes, mode) = read_bounded(path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "let the user that runs lockgate read it",
            _ => "name an existing file with --config",
        };
        unreadable(format!("cannot be read: {error}"), remedy)
    })?;
    if bytes.len() as u64 > limits::CONFIG_FILE_BYTES_MAX {
        let most = limits::CONFIG_FILE_BYTES_MAX;
        return Err(unreadable(
            format!("is longer than {most} bytes"),
            "name a configuration file; certificates belong in files of their own",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        unreadable(
            format!("is not UTF-8 text: see the byte at offset {offset}"),
            "save it as UTF-8",
        )
    })?;
    let mut file = file::parse(&text, path)?;
    file.readable_by_others = mode & 0o004 != 0;
    Ok(file)
}

/// At most one byte more than allowed, which tells that there is more; and the file's mode.
fn read_bounded(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(limits::CONFIG_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok((bytes, mode))
}

/// Everything an operator can set, checked and with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub runtime: Runtime,
    pub limits: Limits,
    pub log: Log,
    /// `None`: audit events are not written.
    pub audit: Option<Audit>,
    pub admin: Option<Admin>,
    /// `None`: figures are not exported.
    pub telemetry: Option<Telemetry>,
    /// At least one; names are unique.
    pub listeners: Vec<Listener>,
    /// Every `Listener::backend` names one of these; names are unique.
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    pub offload: Offload,
    /// At least 1.
    pub handshake_threads: usize,
    /// At least 1.
    pub relay_threads: usize,
    /// What waits for readiness.
    pub waiter: Waiter,
}

/// Whether connections move into kernel TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Bulk does, where the kernel and the suite can and it costs less than in user space.
    Auto,
    /// Bulk does, whatever it costs here: for network cards that encrypt, which no measurement over
    /// loopback sees.
    Bulk,
    /// Every connection does, from its first byte on. Refuse to start, or to serve that connection, where it is not possible.
    Required,
    /// Always user space.
    Off,
}

impl Offload {
    pub const ALL: [Offload; 4] = [
        Offload::Auto,
        Offload::Bulk,
        Offload::Required,
        Offload::Off,
    ];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Offload::Auto => "auto",
            Offload::Bulk => "bulk",
            Offload::Required => "required",
            Offload::Off => "off",
        }
    }
}

/// `auto` takes io_uring where the kernel grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    Auto,
    Epoll,
}

/// `[limits]`: bounds and deadlines. Defaults are in [`crate::limits`].
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections open at once, handshakes included.
    pub connections: usize,
    /// From accept to the end of the handshake, whatever the client does meanwhile.
    pub handshake_timeout: Duration,
    /// For one attempt to reach one server of a backend.
    pub connect_timeout: Duration,
    /// Without a byte in either direction.
    pub idle_timeout: Duration,
    /// Without a byte, once one of the two directions has ended.
    pub half_closed_timeout: Duration,
    /// From accept; `None`: no bound.
    pub lifetime: Option<Duration>,
    /// From SIGTERM to the end of the last connection.
    pub drain_timeout: Duration,
    /// Records sent under one key before lockgate updates it (TLS 1.3) or closes.
    pub records_per_key: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// An `EnvFilter` directive, such as `info`.
    pub level: String,
    pub format: LogFormat,
    /// `None`: standard error.
    pub file: Option<PathBuf>,
    /// At least 1.
    pub lines_per_second: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where audit events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    Stdout,
    File(PathBuf),
}

/// Where the program can be looked at, and told what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub listen: Address,
    /// Holds the bearer token of changing requests by TCP; without it there are none.
    pub token_file: Option<PathBuf>,
    /// TLS over TCP. Always there where other machines reach the address.
    pub tls: Option<CertificateSource>,
}

/// Which collector figures are sent to, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Where OTLP over HTTP is received: with scheme `http`, a host and a path.
    pub otlp_endpoint: hyper::Uri,
    pub interval: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    /// At least one.
    pub listen: Vec<Address>,
    /// A name in `Config::backends`.
    pub backend: String,
    pub min_tls: TlsVersion,
    /// Most preferred first; empty: ALPN is not negotiated.
    pub alpn: Vec<String>,
    pub unknown_sni: UnknownSni,
    /// At least one; the first is the default. Shared, as there may be ten thousand.
    pub certificates: Arc<[CertificateSource]>,
    /// How many of them are named one by one; the others are those of `certificates_dir`.
    pub certificates_named: usize,
    pub certificates_dir: Option<PathBuf>,
    pub client_auth: ClientAuth,
    pub on_truncation: OnTruncation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// What a client gets that names a host no certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSni {
    /// The first certificate.
    Default,
    /// The alert unrecognized_name (RFC 6066, section 3).
    Reject,
}

/// What a backend sees when a client's bytes end without close_notify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTruncation {
    /// A reset: never mistaken for a complete stream.
    Reset,
    /// A clean end, for fleets of clients that never send close_notify.
    Close,
}

/// A certificate chain, leaf first, with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateSource {
    pub certificate: Pem,
    pub key: Pem,
}

/// PEM text, by path or inline. Debug never prints inline text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Pem {
    /// Shared: of ten thousand, those who follow them do not have copies.
    File(Arc<Path>),
    Inline(String),
}

impl Pem {
    pub fn file(path: impl AsRef<Path>) -> Self {
        Pem::File(path.as_ref().into())
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "File({})", path.display()),
            Pem::Inline(_) => f.write_str("Inline(..)"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    /// A certificate is asked for, and verified when presented.
    Request {
        ca: Pem,
    },
    Required {
        ca: Pem,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub name: String,
    /// At least one; used in turn.
    pub servers: Vec<Server>,
}

/// Where a server of a backend is; names are resolved when the configuration is put into use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    Address(Address),
    Name { host: String, port: u16 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Address(address) => address.fmt(f),
            Server::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        })
    }
}
