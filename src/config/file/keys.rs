//! The keys that each table of the file may have.

/// The keys of one kind of table.
pub struct Keys {
    /// As it is written in a sentence.
    pub title: &'static str,
    pub names: &'static [&'static str],
}

pub const ROOT: Keys = Keys {
    title: "the top level",
    names: &[
        "runtime",
        "limits",
        "log",
        "audit",
        "admin",
        "telemetry",
        "listener",
        "backend",
    ],
};
pub const RUNTIME: Keys = Keys {
    title: "[runtime]",
    names: &["offload", "handshake_threads", "relay_threads", "waiter"],
};
pub const LIMITS: Keys = Keys {
    title: "[limits]",
    names: &[
        "connections",
        "handshake_timeout",
        "connect_timeout",
        "idle_timeout",
        "half_closed_timeout",
        "lifetime",
        "drain_timeout",
        "records_per_key",
    ],
};
pub const LOG: Keys = Keys {
    title: "[log]",
    names: &["level", "format", "file", "lines_per_second"],
};
pub const AUDIT: Keys = Keys {
    title: "[audit]",
    names: &["file"],
};
pub const ADMIN: Keys = Keys {
    title: "[admin]",
    names: &["listen", "token_file", "access", "tls"],
};
pub const ADMIN_TLS: Keys = Keys {
    title: "admin.tls",
    names: CERTIFICATE.names,
};
pub const TELEMETRY: Keys = Keys {
    title: "[telemetry]",
    names: &["otlp_endpoint", "interval"],
};
pub const LISTENER: Keys = Keys {
    title: "[[listener]]",
    names: &[
        "name",
        "listen",
        "backend",
        "min_tls",
        "alpn",
        "unknown_sni",
        "on_truncation",
        "certificates",
        "certificates_dir",
        "client_auth",
    ],
};
pub const CERTIFICATE: Keys = Keys {
    title: "an item of certificates",
    names: &["certificate_file", "certificate", "key_file", "key"],
};
pub const CLIENT_AUTH: Keys = Keys {
    title: "client_auth",
    names: &["mode", "ca_file", "ca"],
};
pub const BACKEND: Keys = Keys {
    title: "[[backend]]",
    names: &["name", "servers"],
};
/// Where a key may belong that is in the wrong table.
pub const TABLES: [&Keys; 11] = [
    &ROOT,
    &RUNTIME,
    &LIMITS,
    &LOG,
    &AUDIT,
    &ADMIN,
    &TELEMETRY,
    &LISTENER,
    &CERTIFICATE,
    &CLIENT_AUTH,
    &BACKEND,
];
