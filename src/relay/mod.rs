//! The relay plane: threads that own connections from the end of the handshake to the close.
//!
//! ```text
//!   handshake plane ── Handoff ──> inbox ──> thread ──> waiter (io_uring | epoll)
//!                                              │ readiness
//!                                              v
//!                       core (decides) <──> connection (performs) ──> leg: plain, or tls: kernel, user
//!                                              │                      pool: buffers, pipes
//! ```
//!
//! [`core`] decides and does no I/O; `connection` performs what it decides on two `leg`s.

mod access;
mod connection;
mod control_record;
pub mod core;
pub mod cost;
pub mod counters;
mod leg;
mod pool;
mod thread;
mod timers;
mod tls;
mod user_tls;
mod wait;

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use crate::{
    connection::{Info, Place},
    limits,
    sys::eventfd::EventFd,
};
pub use counters::RelayCounters;
pub use tls::{ClientTls, InitialPath, Moves, install};

/// Sends a fatal alert over a connection that is not handed over, if there is room for it.
pub fn send_alert(socket: BorrowedFd<'_>, tls: Box<ClientTls>, description: u8) {
    // Nobody waits for the result: the connection is closed next.
    if let Ok(mut tls) = tls.into_tls() {
        let alert = control_record::fatal_alert(description);
        let _ = tls.send_control(socket, control_record::ALERT, &alert);
    }
}

/// A connection whose handshake is done and whose backend is connected.
pub struct Handoff {
    pub client: OwnedFd,
    pub client_tls: Box<ClientTls>,
    /// It holds bytes of the client that no readiness will announce.
    pub client_waits: bool,
    pub backend: OwnedFd,
    /// Records that were sent to the client under its present key.
    pub client_records: u64,
    pub settings: core::Settings,
    pub info: Info,
    pub place: Place,
}

/// What a relay thread is told.
pub enum Message {
    Adopt(Box<Handoff>),
    /// End one connection in an orderly way, if it is still there.
    End(u64, core::Reason),
    /// End every connection in an orderly way.
    EndAll(core::Reason),
    /// Close every connection at once.
    AbandonAll(core::Reason),
    /// Return once no connection is left.
    Stop,
}

/// A relay thread, as others see it.
pub struct RelayThread {
    inbox: Arc<Inbox>,
    pub counters: Arc<RelayCounters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl RelayThread {
    /// Starts a thread. `ring`: whether io_uring may be tried.
    pub fn start(index: usize, ring: bool) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::new()?);
        let counters = Arc::new(RelayCounters::default());
        let thread = thread::start(index, ring, Arc::clone(&inbox), Arc::clone(&counters))?;
        Ok(RelayThread {
            inbox,
            counters,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub fn send(&self, message: Message) {
        self.inbox.push(message);
        self.wake();
    }

    /// Gives it a connection. `true`: it has not been woken for it; call [`RelayThread::wake`] when
    /// those that are under way have had their turn.
    ///
    /// Where both planes share a CPU, a wake-up for each connection takes the CPU from a handshake
    /// thread in the middle of its work, twice for nothing: one for those that come together costs a
    /// resumed handshake 0.83x (TLS 1.2) and 0.89x (TLS 1.3) of the CPU time (16 at once, seven rounds
    /// in turn).
    #[must_use]
    pub fn adopt(&self, handoff: Handoff) -> bool {
        self.inbox.load.fetch_add(1, Ordering::Relaxed);
        let waiting = self.inbox.push(Message::Adopt(Box::new(handoff)));
        if waiting.is_multiple_of(limits::HAND_OVERS_PER_WAKE) {
            self.wake();
        }
        waiting == 1
    }

    pub fn wake(&self) {
        self.inbox.wake.wake();
    }

    /// Connections that it was given and that are not over.
    pub fn load(&self) -> usize {
        self.inbox.load.load(Ordering::Relaxed)
    }

    /// Whether the connection of this number is one of its own.
    pub fn has(&self, id: u64) -> bool {
        lock(&self.inbox.live).contains_key(&id)
    }

    /// What is known of its connections now: at most `count` of those with a number above `id`,
    /// by number. In pieces, because the thread waits for who looks.
    pub fn live_after(&self, id: u64, count: usize) -> Vec<Arc<Info>> {
        let live = lock(&self.inbox.live);
        let above = live.range((Bound::Excluded(id), Bound::Unbounded));
        above
            .take(count)
            .map(|(_, info)| Arc::clone(info))
            .collect()
    }

    /// Waits for the thread to return, after [`Message::Stop`].
    pub fn join(&self) {
        if let Some(thread) = lock(&self.thread).take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Messages to a relay thread. Bounded by the bound on connections.
struct Inbox {
    messages: Mutex<Vec<Message>>,
    wake: EventFd,
    load: AtomicUsize,
    live: Mutex<BTreeMap<u64, Arc<Info>>>,
}

impl Inbox {
    fn new() -> io::Result<Self> {
        Ok(Inbox {
            messages: Mutex::new(Vec::new()),
            wake: EventFd::new()?,
            load: AtomicUsize::new(0),
            live: Mutex::new(BTreeMap::new()),
        })
    }

    /// How many wait now.
    fn push(&self, message: Message) -> usize {
        let mut messages = lock(&self.messages);
        messages.push(message);
        messages.len()
    }

    fn take(&self) -> Vec<Message> {
        self.wake.clear();
        std::mem::take(&mut *lock(&self.messages))
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn adopted(&self, info: &Arc<Info>) {
        lock(&self.live).insert(info.id, Arc::clone(info));
    }

    fn over(&self, info: &Info) {
        lock(&self.live).remove(&info.id);
        self.refused();
    }

    /// One that was never there.
    fn refused(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that panicked leaves data that is whole: each guard covers one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
