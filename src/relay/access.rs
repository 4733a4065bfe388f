//! The log line of a connection, written when it ends.

use super::core::Reason;
use crate::{connection::Info, tls::fingerprint_text};

/// Bytes that went one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    pub bytes: u64,
    /// Of these, without a copy in this program's memory.
    pub spliced: u64,
}

/// A field with nothing to say is left out.
pub fn log(info: &Info, reason: Reason, up: Moved, down: Moved) {
    let session = &info.session;
    let client = session.client.as_ref();
    tracing::info!(
        target: "lockgate::connection",
        id = info.id,
        peer = info.peer.map(tracing::field::display),
        listener = &*info.listener,
        sni = session.sni.as_deref(),
        alpn = session.alpn.as_deref(),
        version = %session.version,
        suite = session.suite,
        group = session.group,
        resumed = session.resumed,
        identity = info.identity(),
        certificate_sha256 = client.map(|client| fingerprint_text(&client.fingerprint_sha256)),
        certificate_serial = client.map(|client| tracing::field::display(&client.serial)),
        backend = &*info.backend,
        server = %info.server,
        path = info.path().name(),
        fallback = info.path().fallback(),
        up = up.bytes,
        up_spliced = up.spliced,
        down = down.bytes,
        down_spliced = down.spliced,
        duration_ms = u64::try_from(info.accepted.elapsed().as_millis()).unwrap_or(u64::MAX),
        reason = reason.name(),
        "connection closed"
    );
}
