//! Every figure, as Prometheus text. Names, labels and units are an interface.
//!
//! Each thread counts for itself; this adds up when somebody asks.

mod reloads;

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use hdrhistogram::Histogram;

use crate::{
    connection::Path,
    handshake::{
        HandshakeCounters, Shared,
        counters::{Pause, Refusal},
    },
    relay::{
        RelayCounters,
        core::{Reason, Way},
    },
    status::Status,
    tls::SessionError,
};

/// Where the figures come from.
pub struct Sources {
    pub shared: Arc<Shared>,
    pub handshakes: Vec<Arc<HandshakeCounters>>,
    pub status: Status,
}

/// Upper bounds of the exported histograms, in microseconds.
const BUCKETS: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

impl Sources {
    pub fn render(&self) -> String {
        let mut text = Text::default();
        self.connections(&mut text);
        self.handshakes(&mut text);
        self.relay(&mut text);
        self.backends(&mut text);
        self.reloads(&mut text);
        self.certificates(&mut text);
        self.program(&mut text);
        text.0
    }

    fn connections(&self, text: &mut Text) {
        let open = self.shared.admission.open() as u64;
        text.family(
            "lockgate_connections_open",
            "gauge",
            "Connections open now, handshakes included.",
        );
        text.sample("lockgate_connections_open", &[], open);
        text.family(
            "lockgate_connections_accepted_total",
            "counter",
            "Connections accepted.",
        );
        let accepted = self.handshake_sum(|counters| counters.accepted.value());
        text.sample("lockgate_connections_accepted_total", &[], accepted);
        text.family(
            "lockgate_connections_closed_total",
            "counter",
            "Connections that were relayed and ended, by reason.",
        );
        for reason in Reason::ALL {
            let count = self.relay_sum(|counters| counters.closed(reason).value());
            text.sample(
                "lockgate_connections_closed_total",
                &[("reason", reason.name())],
                count,
            );
        }
        text.family(
            "lockgate_connections_refused_total",
            "counter",
            "Connections that were not served after a good handshake, by reason.",
        );
        for refusal in Refusal::ALL {
            let count = self.handshake_sum(|counters| counters.refusal(refusal).value());
            text.sample(
                "lockgate_connections_refused_total",
                &[("reason", refusal.name())],
                count,
            );
        }
        text.family(
            "lockgate_accept_pauses_total",
            "counter",
            "Times that accepting waited, by what was used up.",
        );
        for pause in Pause::ALL {
            let count = self.handshake_sum(|counters| counters.pause(pause).value());
            text.sample(
                "lockgate_accept_pauses_total",
                &[("resource", pause.name())],
                count,
            );
        }
        text.family(
            "lockgate_connections_by_path_total",
            "counter",
            "Connections by who encrypts, and why it is not the kernel.",
        );
        for path in Path::ALL {
            let count = self.handshake_sum(|counters| counters.path(path).value());
            let labels = [("path", path.name()), ("reason", path.fallback())];
            text.sample("lockgate_connections_by_path_total", &labels, count);
        }
    }

    fn handshakes(&self, text: &mut Text) {
        text.family(
            "lockgate_handshakes_total",
            "counter",
            "Completed handshakes.",
        );
        let mut kinds = BTreeMap::new();
        for counters in &self.handshakes {
            for (kind, count) in counters.completed() {
                *kinds.entry(kind).or_insert(0) += count;
            }
        }
        for (kind, count) in kinds {
            let version = kind.version.to_string();
            let labels = [
                ("version", version.as_str()),
                ("suite", kind.suite),
                ("group", kind.group),
                ("resumed", yes_no(kind.resumed)),
                ("client_certificate", yes_no(kind.client_certificate)),
            ];
            text.sample("lockgate_handshakes_total", &labels, count);
        }
        text.family(
            "lockgate_handshake_failures_total",
            "counter",
            "Handshakes that failed, by reason.",
        );
        for (index, reason) in SessionError::REASONS.iter().enumerate() {
            let count = self.handshake_sum(|counters| {
                counters.failure(index).map_or(0, |counter| counter.value())
            });
            text.sample(
                "lockgate_handshake_failures_total",
                &[("reason", reason)],
                count,
            );
        }
        let timeouts = self.handshake_sum(|counters| counters.timeouts.value());
        text.sample(
            "lockgate_handshake_failures_total",
            &[("reason", "timeout")],
            timeouts,
        );
        text.histogram(
            "lockgate_handshake_duration_seconds",
            "From accept to the end of the handshake.",
            self.handshakes
                .iter()
                .filter_map(|counters| counters.durations()),
        );
        text.histogram(
            "lockgate_backend_connect_duration_seconds",
            "From the end of the handshake to a connected server.",
            self.handshakes
                .iter()
                .filter_map(|counters| counters.connects()),
        );
    }

    fn relay(&self, text: &mut Text) {
        let ways = [(Way::Up, "up"), (Way::Down, "down")];
        text.family(
            "lockgate_relay_bytes_total",
            "counter",
            "Bytes of the stream that were relayed.",
        );
        for (way, direction) in ways {
            for path in [Path::Kernel, Path::ALL[1]] {
                let count = self.relay_sum(|counters| counters.bytes(way, path).value());
                let labels = [("direction", direction), ("path", path.name())];
                text.sample("lockgate_relay_bytes_total", &labels, count);
            }
        }
        text.family(
            "lockgate_spliced_bytes_total",
            "counter",
            "Of these, bytes that went through a pipe and never through user memory.",
        );
        for (way, direction) in ways {
            let count = self.relay_sum(|counters| counters.spliced(way).value());
            text.sample(
                "lockgate_spliced_bytes_total",
                &[("direction", direction)],
                count,
            );
        }
        text.family(
            "lockgate_key_updates_total",
            "counter",
            "TLS 1.3 KeyUpdates of ended connections.",
        );
        let received = self.relay_sum(|counters| counters.key_updates_received.value());
        let sent = self.relay_sum(|counters| counters.key_updates_sent.value());
        text.sample(
            "lockgate_key_updates_total",
            &[("direction", "received")],
            received,
        );
        text.sample("lockgate_key_updates_total", &[("direction", "sent")], sent);
        type Sum = (
            &'static str,
            &'static str,
            &'static str,
            fn(&RelayCounters) -> u64,
        );
        let sums: [Sum; 4] = [
            (
                "lockgate_truncated_total",
                "counter",
                "Clients' streams that ended without close_notify.",
                |c| c.truncated.value(),
            ),
            (
                "lockgate_pipes_in_use",
                "gauge",
                "Pipes that carry bytes now.",
                |c| c.pipes_in_use.value(),
            ),
            (
                "lockgate_pipes_pooled",
                "gauge",
                "Empty pipes kept for the next use.",
                |c| c.pipes_pooled.value(),
            ),
            (
                "lockgate_pipe_failures_total",
                "counter",
                "Pipes of full size that could not be had; the bytes were copied.",
                |c| c.pipe_failures.value(),
            ),
        ];
        for (name, kind, help, value) in sums {
            text.family(name, kind, help);
            text.sample(name, &[], self.relay_sum(value));
        }
    }

    fn backends(&self, text: &mut Text) {
        let snapshot = self.shared.snapshot.load();
        let mut servers = BTreeMap::new();
        for listener in snapshot.listeners.values() {
            for target in listener.backend.targets() {
                let address = target.address.to_string();
                servers.insert(
                    (Arc::clone(&listener.backend.name), address),
                    Arc::clone(target),
                );
            }
        }
        for (name, help, failed) in [
            (
                "lockgate_backend_connects_total",
                "Connections made to a server.",
                false,
            ),
            (
                "lockgate_backend_connect_failures_total",
                "Attempts to connect to a server that failed.",
                true,
            ),
        ] {
            text.family(name, "counter", help);
            for ((backend, server), target) in &servers {
                let count = if failed {
                    target.failures()
                } else {
                    target.connects()
                };
                text.sample(name, &[("backend", backend), ("server", server)], count);
            }
        }
    }

    fn program(&self, text: &mut Text) {
        text.family(
            "lockgate_waiter_info",
            "gauge",
            "What waits for readiness, by plane.",
        );
        let relay = self
            .shared
            .relays
            .first()
            .and_then(|relay| relay.counters.waiter.get());
        let handshake = self
            .handshakes
            .first()
            .and_then(|counters| counters.waiter.get());
        for (plane, waiter) in [("relay", relay), ("handshake", handshake)] {
            if let Some(waiter) = waiter {
                text.sample(
                    "lockgate_waiter_info",
                    &[("plane", plane), ("waiter", waiter)],
                    1,
                );
            }
        }
        text.family("lockgate_build_info", "gauge", "Version of the program.");
        text.sample(
            "lockgate_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1,
        );
    }

    fn handshake_sum(&self, value: impl Fn(&HandshakeCounters) -> u64) -> u64 {
        self.handshakes.iter().map(|counters| value(counters)).sum()
    }

    fn relay_sum(&self, value: impl Fn(&RelayCounters) -> u64) -> u64 {
        self.shared
            .relays
            .iter()
            .map(|relay| value(&relay.counters))
            .sum()
    }

    /// Connections, handshakes and bytes so far, for a line of live figures.
    pub fn totals(&self) -> Totals {
        let bytes = |way| {
            self.relay_sum(|counters| {
                counters.bytes(way, Path::Kernel).value()
                    + counters.bytes(way, Path::ALL[1]).value()
            })
        };
        Totals {
            open: self.shared.admission.open() as u64,
            accepted: self.handshake_sum(|counters| counters.accepted.value()),
            handshakes: self
                .handshakes
                .iter()
                .flat_map(|c| c.completed().into_values())
                .sum(),
            up: bytes(Way::Up),
            down: bytes(Way::Down),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub open: u64,
    pub accepted: u64,
    pub handshakes: u64,
    pub up: u64,
    pub down: u64,
}

fn yes_no(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// The exposition format, version 0.0.4.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.line(name, labels, &value.to_string());
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, parts: impl Iterator<Item = Histogram<u64>>) {
        let mut whole: Option<Histogram<u64>> = None;
        for part in parts {
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => drop(whole.add(&part)),
            }
        }
        self.family(name, "histogram", help);
        let count_below = |bound| {
            whole
                .as_ref()
                .map_or(0, |whole| whole.count_between(0, bound))
        };
        for bound in BUCKETS {
            let seconds = format!("{}", Seconds(bound));
            self.sample(
                &format!("{name}_bucket"),
                &[("le", &seconds)],
                count_below(bound),
            );
        }
        let count = whole.as_ref().map_or(0, Histogram::len);
        self.sample(&format!("{name}_bucket"), &[("le", "+Inf")], count);
        let sum: u64 = whole.as_ref().map_or(0, |whole| {
            whole
                .iter_recorded()
                .map(|v| v.value_iterated_to() * v.count_at_value())
                .sum()
        });
        self.line(&format!("{name}_sum"), &[], &Seconds(sum).to_string());
        self.sample(&format!("{name}_count"), &[], count);
    }
}

/// Microseconds, written as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut text = Text::default();
        text.sample("m", &[("a", "x\"y\\z\n"), ("b", "c")], 7);
        assert_eq!(text.0, "m{a=\"x\\\"y\\\\z\\n\",b=\"c\"} 7\n");
    }

    #[test]
    fn a_histogram_counts_each_value_once_in_cumulative_buckets() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 2).unwrap();
        histogram.record(300).unwrap();
        histogram.record(2_000_000).unwrap();
        let mut text = Text::default();
        text.histogram("h", "help", [histogram].into_iter());
        assert!(
            text.0.contains("h_bucket{le=\"0.00025\"} 0\n"),
            "{}",
            text.0
        );
        assert!(text.0.contains("h_bucket{le=\"0.0005\"} 1\n"), "{}", text.0);
        assert!(text.0.contains("h_bucket{le=\"2.5\"} 2\n"), "{}", text.0);
        assert!(
            text.0.contains("h_bucket{le=\"+Inf\"} 2\nh_sum 2."),
            "{}",
            text.0
        );
        assert!(text.0.ends_with("h_count 2\n"), "{}", text.0);
    }
}
