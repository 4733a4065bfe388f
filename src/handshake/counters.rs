//! What one handshake thread counts. Only that thread writes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{
    config::TlsVersion,
    connection::Path,
    counter::Counter,
    tls::{SessionError, SessionInfo},
};

#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HandshakeCounters {
    pub accepted: Counter,
    /// Accepting paused, by [`Pause`].
    pauses: [Counter; Pause::ALL.len()],
    /// Handshakes that failed, by [`SessionError::REASONS`].
    failures: [Counter; SessionError::REASONS.len()],
    pub timeouts: Counter,
    /// Handshakes that were completed and then refused, by [`Refusal`].
    refusals: [Counter; Refusal::ALL.len()],
    /// By [`Path::ALL`].
    paths: [Counter; Path::ALL.len()],
    /// A handful of kinds, and looked up once a handshake.
    completed: Mutex<BTreeMap<Kind, u64>>,
    durations: Mutex<Option<Histogram<u64>>>,
    connects: Mutex<Option<Histogram<u64>>>,
    pub waiter: OnceLock<&'static str>,
}

/// What a completed handshake was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub version: TlsVersion,
    pub suite: &'static str,
    pub group: &'static str,
    pub resumed: bool,
    pub client_certificate: bool,
}

/// Why accepting pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    Connections,
    Handshakes,
    Descriptors,
}

impl Pause {
    pub const ALL: [Pause; 3] = [Pause::Connections, Pause::Handshakes, Pause::Descriptors];

    pub fn name(self) -> &'static str {
        match self {
            Pause::Connections => "connections",
            Pause::Handshakes => "handshakes",
            Pause::Descriptors => "descriptors",
        }
    }
}

/// Why a client with a good handshake is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No server of the backend could be reached.
    BackendUnavailable,
    /// `offload = "required"`, and this connection cannot be in the kernel.
    OffloadRequired,
    /// One direction's keys were taken by the kernel and the other's were not.
    HalfInstalled,
}

impl Refusal {
    pub const ALL: [Refusal; 3] = [
        Refusal::BackendUnavailable,
        Refusal::OffloadRequired,
        Refusal::HalfInstalled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Refusal::BackendUnavailable => "backend_unavailable",
            Refusal::OffloadRequired => "offload_required",
            Refusal::HalfInstalled => "half_installed",
        }
    }
}

impl HandshakeCounters {
    pub fn pause(&self, pause: Pause) -> &Counter {
        &self.pauses[pause as usize]
    }

    pub fn failure(&self, index: usize) -> Option<&Counter> {
        self.failures.get(index)
    }

    pub fn refusal(&self, refusal: Refusal) -> &Counter {
        &self.refusals[refusal as usize]
    }

    pub fn path(&self, path: Path) -> &Counter {
        &self.paths[path.index()]
    }

    pub fn complete(&self, session: &SessionInfo, duration: Duration) {
        let kind = Kind {
            version: session.version,
            suite: session.suite,
            group: session.group.unwrap_or("none"),
            resumed: session.resumed,
            client_certificate: session.client.is_some(),
        };
        *lock(&self.completed).entry(kind).or_default() += 1;
        record(&self.durations, duration);
    }

    pub fn connected(&self, duration: Duration) {
        record(&self.connects, duration);
    }

    pub fn completed(&self) -> BTreeMap<Kind, u64> {
        lock(&self.completed).clone()
    }

    /// Microseconds from accept to the end of the handshake; `None` before the first.
    pub fn durations(&self) -> Option<Histogram<u64>> {
        lock(&self.durations).clone()
    }

    /// Microseconds to connect to a server of a backend.
    pub fn connects(&self) -> Option<Histogram<u64>> {
        lock(&self.connects).clone()
    }
}

/// Up to an hour in microseconds, with two significant digits: about 30 KiB.
fn record(histogram: &Mutex<Option<Histogram<u64>>>, duration: Duration) {
    let mut histogram = lock(histogram);
    if histogram.is_none() {
        *histogram = Histogram::new_with_bounds(1, 3_600_000_000, 2).ok();
    }
    if let Some(histogram) = histogram.as_mut() {
        histogram.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
