//! The handshake plane: threads that take a connection from accept to the relay plane.
//!
//! ```text
//!   accept ─> admit ─> handshake (rustls, one record at a time) ─> install keys ─> connect ─> Handoff
//! ```
//!
//! Straight-line code, one task a connection, on a tokio-uring runtime or, where io_uring is refused,
//! on tokio's own. Each thread accepts from all listeners: they are shared, not SO_REUSEPORT, so
//! that a thread busy with signatures leaves the queue to the others, and closing one loses nobody.

mod accept;
mod connect;
pub mod counters;
mod install;
mod listening;
mod records;
mod runtime;
mod serve;
mod socket;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    audit::Audit, connection::Admission, probe::Kernel, relay::RelayThread, snapshot::Snapshot,
};
pub use counters::HandshakeCounters;
pub use listening::{ListeningSocket, Sockets};

/// What all handshake threads share.
pub struct Shared {
    pub snapshot: ArcSwap<Snapshot>,
    pub kernel: Kernel,
    pub admission: Arc<Admission>,
    pub audit: Arc<Audit>,
    pub relays: Vec<Arc<RelayThread>>,
    /// Threads begin to accept from what is added; what is taken out is to be closed as well.
    pub sockets: watch::Sender<Sockets>,
    pub draining: AtomicBool,
    pub next_id: AtomicU64,
}

impl Shared {
    /// No connection is accepted any more; those that wait in the queue are refused by the kernel.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for listening in self.sockets.send_replace(Arc::from([])).iter() {
            listening.close();
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// A handshake thread, as others see it.
pub struct HandshakeThread {
    pub counters: Arc<HandshakeCounters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl HandshakeThread {
    /// `ring`: whether io_uring may be tried.
    pub fn start(index: usize, ring: bool, shared: Arc<Shared>) -> io::Result<Self> {
        let counters = Arc::new(HandshakeCounters::default());
        let thread = runtime::start(index, ring, shared, Arc::clone(&counters))?;
        Ok(HandshakeThread {
            counters,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits for its last handshake, after [`Shared::drain`].
    pub fn join(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}
