//! How many connections the limits on open files allow.

use nix::sys::resource::{Resource, getrlimit};

use super::files::Files;
use crate::limits;

/// Listeners, rings, timers, the log, and what libraries open.
const RESERVED: u64 = 128;
const PER_CONNECTION: u64 = 2;
const PER_PIPE: u64 = 2;

#[derive(Debug)]
pub struct Descriptors {
    pub soft: u64,
    /// What `lockgate run` raises the soft limit to.
    pub hard: u64,
    /// What root may raise the hard limit to (fs.nr_open).
    pub ceiling: Option<u64>,
    /// Clients that may wait to be accepted (net.core.somaxconn).
    pub listen_queue: Option<u64>,
}

impl Descriptors {
    pub(super) fn probe(files: &Files) -> Self {
        // It fails only for a resource that does not exist.
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
        Descriptors {
            soft,
            hard,
            ceiling: files.number("proc/sys/fs/nr_open"),
            listen_queue: files.number("proc/sys/net/core/somaxconn"),
        }
    }

    /// Connections that fit at least: two sockets each, and the pipes of all relay threads, which
    /// get no more than a quarter, because bytes can be copied instead.
    pub fn connections(&self) -> u64 {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pipes = (threads * limits::PIPES_PER_THREAD) as u64 * PER_PIPE;
        let usable = self.hard.saturating_sub(RESERVED);
        (usable - pipes.min(usable / 4)) / PER_CONNECTION
    }

    /// Whether the default of `limits.connections` fits. `lockgate run` compares what is configured.
    pub fn warning(&self) -> Option<String> {
        let connections = self.connections();
        (connections < limits::CONNECTIONS as u64).then(|| {
            format!(
                "{} open files are allowed, which is enough for {connections} connections, and the \
                 default of limits.connections is {}: raise LimitNOFILE (systemd) or ulimit -Hn, \
                 or set a lower limits.connections",
                self.hard,
                limits::CONNECTIONS
            )
        })
    }
}
