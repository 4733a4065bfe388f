//! The log line of a connection, written when it ends.

use std::fmt;

use super::core::Reason;
use crate::connection::Info;

pub fn log(info: &Info, reason: Reason, up: u64, down: u64) {
    let session = &info.session;
    tracing::info!(
        target: "lockgate::connection",
        peer = %Text(info.peer),
        listener = %info.listener,
        sni = %Text(session.sni.as_deref()),
        alpn = %Text(session.alpn.as_deref()),
        version = %session.version,
        suite = session.suite,
        group = %Text(session.group),
        resumed = session.resumed,
        identity = %Text(info.identity()),
        backend = %info.backend,
        server = %info.server,
        path = info.path.name(),
        fallback = info.path.fallback(),
        up,
        down,
        duration_ms = u64::try_from(info.accepted.elapsed().as_millis()).unwrap_or(u64::MAX),
        reason = reason.name(),
        "connection closed"
    );
}

/// A dash where there is nothing to say.
struct Text<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}
