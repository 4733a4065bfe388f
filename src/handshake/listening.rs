//! Sockets that clients come to. Listeners come and go while the threads run.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{snapshot::Endpoint, sys::socket::shutdown_both};

/// A bound socket. Which listener serves it, the snapshot says.
pub struct ListeningSocket {
    /// Never used again in this process.
    pub id: u64,
    pub endpoint: Endpoint,
    pub socket: OwnedFd,
    closed: AtomicBool,
}

/// Those that are accepted from now.
pub type Sockets = Arc<[Arc<ListeningSocket>]>;

impl ListeningSocket {
    pub fn new(id: u64, endpoint: Endpoint, socket: OwnedFd) -> Self {
        ListeningSocket {
            id,
            endpoint,
            socket,
            closed: AtomicBool::new(false),
        }
    }

    /// Nobody is accepted any more; those that wait in the queue are refused by the kernel. Its
    /// connections go on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Wakes every thread that waits for it.
        shutdown_both(self.socket.as_fd());
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
