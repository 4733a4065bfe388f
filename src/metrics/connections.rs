//! Figures of connections: how many, and what became of them.

use super::{Sources, model::Family};
use crate::{
    connection::Path,
    handshake::counters::{Pause, Refusal},
    relay::core::Reason,
};

impl Sources {
    pub(super) fn connections(&self) -> [Family; 7] {
        let snapshot = self.shared.snapshot.load();
        let refused = |refusal| self.handshake_sum(|counters| counters.refusal(refusal).value());
        let paused = |pause| self.handshake_sum(|counters| counters.pause(pause).value());
        let closed = |reason| self.relay_sum(|counters| counters.closed(reason).value());
        let by_path = |path| self.handshake_sum(|counters| counters.path(path).value());
        [
            Family::gauge(
                "lockgate_connections_open",
                "Connections open now, handshakes included.",
            )
            .value(self.shared.admission.open() as u64),
            Family::gauge(
                "lockgate_connections_limit",
                "Connections that may be open at once; whoever comes above it waits.",
            )
            .value(snapshot.config.limits.connections as u64),
            Family::counter(
                "lockgate_connections_accepted_total",
                "Connections accepted.",
            )
            .value(self.handshake_sum(|counters| counters.accepted.value())),
            Family::counter(
                "lockgate_connections_refused_total",
                "Connections that were accepted and not served, by reason; a failed handshake is none.",
            )
            .by(
                &["reason"],
                Refusal::ALL.map(|refusal| ([refusal.name()], refused(refusal))),
            ),
            Family::counter(
                "lockgate_connections_closed_total",
                "Connections that were relayed and ended, by reason.",
            )
            .by(
                &["reason"],
                Reason::ALL.map(|reason| ([reason.name()], closed(reason))),
            ),
            Family::counter(
                "lockgate_connections_by_path_total",
                "Connections by who encrypts when they begin, and why it is not the kernel.",
            )
            .by(
                &["path", "reason"],
                Path::ALL.map(|path| ([path.name(), path.fallback()], by_path(path))),
            ),
            Family::counter(
                "lockgate_accept_pauses_total",
                "Times that accepting waited, by what was used up.",
            )
            .by(
                &["resource"],
                Pause::ALL.map(|pause| ([pause.name()], paused(pause))),
            ),
        ]
    }
}
