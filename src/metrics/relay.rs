//! Figures of the relay plane: bytes, and how they went.

use super::{Sources, model::Family};
use crate::relay::{RelayCounters, core::Way};

const WAYS: [(Way, &str); 2] = [(Way::Up, "up"), (Way::Down, "down")];

impl Sources {
    pub(super) fn relay(&self) -> Vec<Family> {
        let sum = |value: fn(&RelayCounters) -> u64| self.relay_sum(value);
        vec![
            Family::counter(
                "lockgate_relay_bytes_total",
                "Bytes of the stream that were relayed; up is from the client to the backend.",
            )
            .by(&["direction", "path"], self.bytes_by_path()),
            Family::counter(
                "lockgate_spliced_bytes_total",
                "Of these, bytes that went through a pipe and never through user memory.",
            )
            .by(
                &["direction"],
                WAYS.map(|(way, name)| ([name], self.relay_sum(|c| c.spliced(way).value()))),
            ),
            Family::counter(
                "lockgate_moved_into_kernel_total",
                "Connections that began in user space and whose keys of one direction moved into the kernel.",
            )
            .by(
                &["direction"],
                WAYS.map(|(way, name)| ([name], self.relay_sum(|c| c.moved(way).value()))),
            ),
            Family::counter(
                "lockgate_key_updates_total",
                "TLS 1.3 KeyUpdates of clients and ours.",
            )
            .by(
                &["direction"],
                [
                    (["received"], sum(|c| c.key_updates_received.value())),
                    (["sent"], sum(|c| c.key_updates_sent.value())),
                ],
            ),
            Family::counter(
                "lockgate_truncated_total",
                "Clients' streams that ended without close_notify.",
            )
            .value(sum(|c| c.truncated.value())),
            Family::gauge("lockgate_pipes_in_use", "Pipes that carry bytes now.")
                .value(sum(|c| c.pipes_in_use.value())),
            Family::gauge(
                "lockgate_pipes_pooled",
                "Empty pipes kept for the next use.",
            )
            .value(sum(|c| c.pipes_pooled.value())),
            Family::counter(
                "lockgate_pipe_failures_total",
                "Pipes of full size that could not be had; the bytes were copied.",
            )
            .value(sum(|c| c.pipe_failures.value())),
            Family::info(
                "lockgate_waiter_info",
                "What waits for readiness, by plane.",
            )
            .by(&["plane", "waiter"], self.waiters()),
        ]
    }

    fn bytes_by_path(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        let paths = [(true, "kernel"), (false, "user")];
        let each = WAYS
            .into_iter()
            .flat_map(move |way| paths.map(|path| (way, path)));
        each.map(|((way, direction), (kernel, path))| {
            let count = self.relay_sum(|counters| counters.bytes(way, kernel).value());
            ([direction, path], count)
        })
    }

    fn waiters(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        let relay = self.shared.relays.first();
        let relay = relay.and_then(|relay| relay.counters.waiter.get());
        let handshake = self.handshakes.first();
        let handshake = handshake.and_then(|counters| counters.waiter.get());
        let planes = [("relay", relay), ("handshake", handshake)];
        planes
            .into_iter()
            .filter_map(|(plane, waiter)| Some(([plane, waiter?], 1)))
    }
}
