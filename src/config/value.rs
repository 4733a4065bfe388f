//! Values that are written as text: durations, addresses, servers, names.
//!
//! Each function says what is wrong and what would be right, without knowing where the text stood.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Uri;
use tracing_subscriber::EnvFilter;

use super::{Address, Server};
use crate::limits;

/// What is wrong with a text, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub remedy: String,
}

/// `500ms`, `10s`, `5m`, `1h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    let fault = || {
        Fault::new(
            format!("{text:?} is not a duration"),
            "write a whole number with its unit, such as \"500ms\", \"10s\", \"5m\", \"1h\" or \"7d\"",
        )
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(fault()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(fault)
}

/// A duration as an operator would write it.
pub fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ] {
        if milliseconds >= size && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

/// An address to listen on: `127.0.0.1:8443`, `[::]:8443`, `unix:/run/lockgate.sock`. Names are
/// refused: what one resolves to may change, and a listener must not move.
pub fn listen_address(text: &str, base: &Path) -> Result<Address, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path, base).map(Address::Unix);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Tcp(address));
    }
    let remedy = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => format!("for every address of this machine write \"0.0.0.0:{port}\", and \"[::]:{port}\" for IPv6"),
        Err(_) => match text.parse() {
            Ok(address) => format!("add a port, such as \"{}\"", SocketAddr::new(address, 8443)),
            Err(_) => "write an IP address and a port, such as \"0.0.0.0:8443\" or \"[::]:8443\", or \"unix:/path\"".to_owned(),
        },
    };
    Err(Fault::new(
        format!("{text:?} is not an IP address with a port"),
        remedy,
    ))
}

/// Where a server of a backend is: an address, or a name with a port.
pub fn server(text: &str, base: &Path) -> Result<Server, Fault> {
    const EXAMPLES: &str =
        "write \"127.0.0.1:8080\", \"[::1]:8080\", \"app.internal:8080\" or \"unix:/run/app.sock\"";
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path, base).map(|path| Server::Address(Address::Unix(path)));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(Fault::new(
            format!("{text:?} is a URL; a server is a host and a port"),
            format!(
                "leave out {scheme:?} and any path: {:?}",
                rest.trim_end_matches('/')
            ),
        ));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(Fault::new(
                format!("{text:?} has port 0"),
                "write the port that the server listens on",
            )),
            _ => Ok(Server::Address(Address::Tcp(address))),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(Fault::new(format!("{text:?} has no port"), EXAMPLES));
    };
    let port = match port.parse() {
        Ok(0) | Err(_) => {
            return Err(Fault::new(
                format!("{port:?} in {text:?} is not a port from 1 to 65535"),
                EXAMPLES,
            ));
        }
        Ok(port) => port,
    };
    if !is_host_name(host) {
        return Err(Fault::new(
            format!("{host:?} in {text:?} is neither an IP address nor a host name"),
            EXAMPLES,
        ));
    }
    Ok(Server::Name {
        host: host.to_owned(),
        port,
    })
}

/// Where a collector receives OTLP: `http://127.0.0.1:4318/v1/metrics`. Without a path, the one that
/// the protocol names is meant.
pub fn otlp_endpoint(text: &str) -> Result<Uri, Fault> {
    const EXAMPLE: &str = "write such as \"http://127.0.0.1:4318/v1/metrics\"";
    let uri: Uri = text
        .parse()
        .map_err(|error| Fault::new(format!("{text:?} is not a URL: {error}"), EXAMPLE))?;
    if uri.scheme_str() == Some("https") {
        return Err(Fault::new(
            format!("{text:?}: lockgate exports without TLS"),
            "name a collector on this machine or in a trusted network, by \"http://\"; it can export with TLS",
        ));
    }
    let host = uri.authority().map_or("", |authority| authority.as_str());
    if uri.scheme_str() != Some("http") || host.is_empty() {
        return Err(Fault::new(format!("{text:?} is not an http URL"), EXAMPLE));
    }
    if host.contains('@') {
        return Err(Fault::new(
            format!(
                "{:?} has credentials in it, which are not sent",
                uri.host().unwrap_or_default()
            ),
            EXAMPLE,
        ));
    }
    match uri.path() {
        "" | "/" => format!("http://{host}/v1/metrics")
            .parse()
            .map_err(|error| Fault::new(format!("{text:?} is not a URL: {error}"), EXAMPLE)),
        _ => Ok(uri),
    }
}

/// The name of a listener or a backend: it appears in metrics and log lines.
pub fn name(text: &str) -> Result<(), Fault> {
    let good = (1..=limits::NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    match good {
        true => Ok(()),
        false => Err(Fault::new(
            format!("{text:?} is not a usable name"),
            format!(
                "write 1 to {} letters, digits, '-', '_' or '.'",
                limits::NAME_BYTES_MAX
            ),
        )),
    }
}

/// A protocol name of ALPN (RFC 7301, section 3.1): 1 to 255 bytes.
pub fn alpn_protocol(text: &str) -> Result<(), Fault> {
    match text.len() {
        1..=limits::ALPN_PROTOCOL_BYTES_MAX => Ok(()),
        length => Err(Fault::new(
            format!("a protocol name has {length} bytes"),
            format!(
                "write 1 to {} bytes, such as \"h2\" or \"http/1.1\", or leave the item out",
                limits::ALPN_PROTOCOL_BYTES_MAX
            ),
        )),
    }
}

/// Directives of `tracing_subscriber::EnvFilter`: `info`, or `warn,lockgate::relay=debug`.
pub fn log_level(text: &str) -> Result<(), Fault> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let fault = |message: String| {
        let remedy = "write one of off, error, warn, info, debug, trace, or such as \"warn,lockgate::relay=debug\"";
        Fault::new(message, remedy)
    };
    for directive in text.split(',') {
        // A bare word that is no level would be taken for a module, and nothing would be logged.
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(fault(format!("{level:?} is not a level")));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// Letters, digits, hyphens and underscores between dots (RFC 1123, section 2.1; underscores are
/// used by service discovery). What looks like an IPv4 address is none: it was refused as one.
pub fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 253
        && text.split('.').all(label)
        && !text.rsplit('.').next().is_some_and(numeric)
        && text.parse::<Ipv4Addr>().is_err()
}

fn unix_path(path: &str, base: &Path) -> Result<PathBuf, Fault> {
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(Fault::new(
            format!("\"unix:{path}\" names no socket"),
            "write the path of the socket, such as \"unix:/run/lockgate/edge.sock\"",
        ));
    }
    let path = base.join(path);
    // sun_path and its terminating zero (unix(7)).
    let length = path.as_os_str().len();
    if length > limits::UNIX_PATH_BYTES_MAX {
        return Err(Fault::new(
            format!("the socket's path has {length} bytes: {}", path.display()),
            format!(
                "choose a path of at most {} bytes",
                limits::UNIX_PATH_BYTES_MAX
            ),
        ));
    }
    Ok(path)
}

impl Fault {
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

#[cfg(test)]
mod tests;
