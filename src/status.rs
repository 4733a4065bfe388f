//! What became of the changes so far: written by the control plane, read by metrics and admin.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::durations::{Durations, Recorded};

/// One for the life of the process.
pub struct Status {
    counts: [[AtomicU64; Outcome::ALL.len()]; Scope::ALL.len()],
    durations: Durations,
    started: SystemTime,
    exports: [AtomicU64; 2],
    state: Mutex<State>,
}

#[derive(Clone)]
pub struct State {
    /// Of the configuration in use; the one of the start is 1.
    pub generation: u64,
    /// Since when it is in use.
    pub loaded: SystemTime,
    /// The last reload that found something changed, good or not.
    pub last: Option<Attempt>,
}

#[derive(Clone)]
pub struct Attempt {
    pub at: SystemTime,
    pub result: Result<Applied, Rejected>,
}

/// A reload that is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub generation: u64,
    /// What is different now.
    pub changes: Vec<String>,
    /// What was asked for and needs a restart.
    pub not_live: Vec<String>,
    pub warnings: Vec<String>,
}

/// A reload that kept what was in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// At least one, in words for the operator.
    pub problems: Vec<String>,
    /// By whose fault; at least one, never `Ok`.
    pub outcomes: Vec<(Scope, Outcome)>,
}

/// What was to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The configuration, and what listeners need: certificates, CAs, addresses.
    Listener,
    /// Names of servers.
    Upstream,
    /// The certificate of the admin server.
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// Something could not be read, resolved or bound.
    IoError,
    /// It was read, and says the wrong thing.
    ParseError,
}

impl Default for Status {
    fn default() -> Self {
        let now = SystemTime::now();
        Status {
            counts: Default::default(),
            durations: Durations::default(),
            started: now,
            exports: Default::default(),
            state: Mutex::new(State {
                generation: 1,
                loaded: now,
                last: None,
            }),
        }
    }
}

impl Status {
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    pub fn count(&self, scope: Scope, outcome: Outcome) -> u64 {
        self.counts[scope as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// When the program was ready to serve for the first time.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Of reloads, good or not.
    pub fn durations(&self) -> Recorded {
        self.durations.recorded()
    }

    pub fn exported(&self, is_ok: bool) {
        self.exports[usize::from(is_ok)].fetch_add(1, Ordering::Relaxed);
    }

    /// Exports of figures to a collector that were good, or were not.
    pub fn exports(&self, is_ok: bool) -> u64 {
        self.exports[usize::from(is_ok)].load(Ordering::Relaxed)
    }

    /// Puts the next generation into use, and returns its number. Who asks for the state meanwhile
    /// waits, so that nobody sees another generation served than is said.
    pub fn next_generation<E>(&self, swap: impl FnOnce() -> Result<(), E>) -> Result<u64, E> {
        let mut state = lock(&self.state);
        swap()?;
        state.generation += 1;
        state.loaded = SystemTime::now();
        Ok(state.generation)
    }

    /// What became of a change, once it is decided.
    pub fn record(&self, result: &Result<Applied, Rejected>, took: Duration) {
        let ok = [
            (Scope::Listener, Outcome::Ok),
            (Scope::Upstream, Outcome::Ok),
            (Scope::Admin, Outcome::Ok),
        ];
        let outcomes = match result {
            Ok(_) => &ok[..],
            Err(rejected) => &rejected.outcomes,
        };
        for &(scope, outcome) in outcomes {
            self.counts[scope as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
        self.durations.record(took);
        let mut state = lock(&self.state);
        let at = SystemTime::now();
        state.last = Some(Attempt {
            at,
            result: result.clone(),
        });
    }
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Listener, Scope::Upstream, Scope::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Scope::Listener => "listener",
            Scope::Upstream => "upstream",
            Scope::Admin => "admin",
        }
    }
}

impl Outcome {
    pub const ALL: [Outcome; 3] = [Outcome::Ok, Outcome::IoError, Outcome::ParseError];

    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::IoError => "io_error",
            Outcome::ParseError => "parse_error",
        }
    }
}

/// Seconds since 1970.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Whoever panicked left data that is whole: each guard covers one change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
