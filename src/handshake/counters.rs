//! What one handshake thread counts. Only that thread writes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use crate::{
    config::TlsVersion,
    connection::Path,
    counter::Counter,
    durations::{Durations, Recorded},
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
    /// Connections that were accepted and not served, by [`Refusal`].
    refusals: [Counter; Refusal::ALL.len()],
    /// By [`Path::ALL`].
    paths: [Counter; Path::ALL.len()],
    /// A handful of kinds, and looked up once a handshake.
    completed: Mutex<BTreeMap<Kind, u64>>,
    /// From accept to the end of the handshake, by [`Effort`].
    durations: [Durations; Effort::ALL.len()],
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

/// What a handshake takes: where its duration is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Signed by us.
    Full,
    /// Full, and the client has signed as well: its certificate was verified.
    Mutual,
    /// Nobody has signed.
    Resumed,
}

impl Effort {
    pub const ALL: [Effort; 3] = [Effort::Full, Effort::Mutual, Effort::Resumed];

    pub fn name(self) -> &'static str {
        match self {
            Effort::Full => "full",
            Effort::Mutual => "mutual",
            Effort::Resumed => "resumed",
        }
    }

    fn of(session: &SessionInfo) -> Self {
        match (session.resumed, &session.client) {
            (true, _) => Effort::Resumed,
            (false, Some(_)) => Effort::Mutual,
            (false, None) => Effort::Full,
        }
    }
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

/// Why a client that was accepted is not served, unless its handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No server of the backend could be reached.
    BackendUnavailable,
    /// `offload = "required"`, and this connection cannot be in the kernel.
    OffloadRequired,
    /// One direction's keys were taken by the kernel and the other's were not.
    HalfInstalled,
    /// Its listener is no more.
    ListenerRemoved,
    Draining,
    /// Its socket could not be used.
    Socket,
}

impl Refusal {
    pub const ALL: [Refusal; 6] = [
        Refusal::BackendUnavailable,
        Refusal::OffloadRequired,
        Refusal::HalfInstalled,
        Refusal::ListenerRemoved,
        Refusal::Draining,
        Refusal::Socket,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Refusal::BackendUnavailable => "backend_unavailable",
            Refusal::OffloadRequired => "offload_required",
            Refusal::HalfInstalled => "half_installed",
            Refusal::ListenerRemoved => "listener_removed",
            Refusal::Draining => "draining",
            Refusal::Socket => "socket_error",
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
        self.durations[Effort::of(session) as usize].record(duration);
    }

    pub fn completed(&self) -> BTreeMap<Kind, u64> {
        lock(&self.completed).clone()
    }

    /// From accept to the end of the handshake.
    pub fn durations(&self, effort: Effort) -> Recorded {
        self.durations[effort as usize].recorded()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
