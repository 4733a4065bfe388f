//! Every figure. Names, labels and units are an interface: docs/observability.md lists them.
//!
//! ```text
//!   counters of each thread ─┐
//!   snapshot, status ────────┼─> collect() ─> families of samples ─> text, json, otlp
//!   /proc ───────────────────┘     (model)
//! ```
//!
//! Each thread counts for itself; this adds up when somebody asks. How many series a family has is
//! bounded by constants and by the configuration, never by what clients do.

mod backends;
mod certificates;
mod configuration;
mod connections;
mod format;
mod handshakes;
mod json;
mod kernel;
mod log;
pub mod model;
mod otlp;
mod process;
mod relay;
mod text;

use std::{sync::Arc, time::Duration};

use crate::{
    handshake::{HandshakeCounters, Shared},
    relay::{RelayCounters, core::Way},
    status::Status,
};
pub use format::Format;
use model::Family;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

/// Upper bounds of the buckets of a histogram.
pub const BUCKETS: [Duration; 15] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];

/// Where the figures come from.
pub struct Sources {
    pub shared: Arc<Shared>,
    pub handshakes: Vec<Arc<HandshakeCounters>>,
    pub status: Status,
}

impl Sources {
    /// All figures as they are now. Reads /proc.
    pub fn collect(&self) -> Vec<Family> {
        let mut families = Vec::new();
        families.extend(self.connections());
        families.extend(self.handshakes());
        families.extend(self.relay());
        families.extend(self.backends());
        families.extend(self.certificates());
        families.extend(self.configuration());
        families.extend(self.log());
        families.extend(kernel::families());
        families.extend(process::families(self.status.started()));
        families
    }

    /// The same as the request of an OTLP export. `resource`: whose figures they are.
    pub fn otlp(&self, resource: &[(&str, &str)]) -> ExportMetricsServiceRequest {
        otlp::request(&self.collect(), resource, self.status.started())
    }

    /// Connections, handshakes and bytes so far, for a line of live figures.
    pub fn totals(&self) -> Totals {
        Totals {
            open: self.shared.admission.open() as u64,
            accepted: self.handshake_sum(|counters| counters.accepted.value()),
            handshakes: self
                .handshakes
                .iter()
                .flat_map(|c| c.completed().into_values())
                .sum(),
            up: self.bytes(Way::Up),
            down: self.bytes(Way::Down),
        }
    }

    fn bytes(&self, way: Way) -> u64 {
        self.relay_sum(|counters| {
            counters.bytes(way, true).value() + counters.bytes(way, false).value()
        })
    }

    fn handshake_sum(&self, value: impl Fn(&HandshakeCounters) -> u64) -> u64 {
        self.handshakes.iter().map(|counters| value(counters)).sum()
    }

    fn relay_sum(&self, value: impl Fn(&RelayCounters) -> u64) -> u64 {
        let relays = self.shared.relays.iter();
        relays.map(|relay| value(&relay.counters)).sum()
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
