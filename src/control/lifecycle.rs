//! Start, drain and end of the planes.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::sockets;
use crate::{
    audit::Audit,
    config::{Address, Offload, Waiter},
    connection::Admission,
    handshake::{HandshakeThread, Shared},
    limits,
    metrics::Sources,
    probe::Kernel,
    relay::{Message, RelayThread, core::Reason},
    snapshot::Snapshot,
    status::Status,
};

/// The running planes.
pub struct Server {
    shared: Arc<Shared>,
    handshakes: Vec<HandshakeThread>,
    sources: Arc<Sources>,
}

#[derive(Debug)]
pub enum StartError {
    Listen {
        listener: String,
        address: Address,
        error: io::Error,
    },
    OffloadRequired(String),
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen {
                listener,
                address,
                error,
            } => {
                write!(
                    f,
                    "listener \"{listener}\": cannot listen on {address}: {error}"
                )?;
                match error.raw_os_error() {
                    Some(libc::EADDRINUSE) => write!(f, "; another process has it (ss -ltnp)"),
                    Some(libc::EACCES) => write!(
                        f,
                        "; ports below 1024 need CAP_NET_BIND_SERVICE, paths need write permission"
                    ),
                    Some(libc::EADDRNOTAVAIL) => {
                        write!(f, "; this host does not have that address (ip address)")
                    }
                    _ => Ok(()),
                }
            }
            StartError::OffloadRequired(why) => write!(
                f,
                "runtime.offload is \"required\", but kernel TLS is not available: {why}; load the module (modprobe tls), run a kernel that has it, or set offload = \"auto\""
            ),
            StartError::Thread(error) => write!(f, "a thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Server {
    pub fn start(
        snapshot: Snapshot,
        kernel: Kernel,
        audit: Arc<Audit>,
    ) -> Result<Self, StartError> {
        let runtime = snapshot.config.runtime.clone();
        if runtime.offload == Offload::Required
            && let Err(why) = &kernel.tls
        {
            return Err(StartError::OffloadRequired(why.to_string()));
        }
        let ring = runtime.waiter == Waiter::Auto;
        let sockets = sockets::bind(&snapshot, &[])?;
        let relays = (0..runtime.relay_threads)
            .map(|index| RelayThread::start(index, ring).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()
            .map_err(StartError::Thread)?;
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            kernel,
            admission: Admission::new(),
            audit,
            relays,
            sockets: watch::Sender::new(sockets.into()),
            draining: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
        });
        let handshakes = (0..runtime.handshake_threads)
            .map(|index| HandshakeThread::start(index, ring, Arc::clone(&shared)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(StartError::Thread)?;
        let sources = Arc::new(Sources {
            shared: Arc::clone(&shared),
            handshakes: handshakes
                .iter()
                .map(|thread| Arc::clone(&thread.counters))
                .collect(),
            status: Status::default(),
        });
        Ok(Server {
            shared,
            handshakes,
            sources,
        })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    pub fn status(&self) -> &Status {
        &self.sources.status
    }

    /// Every bound address, with the name of its listener. Port 0 has become a real one.
    pub fn bound(&self) -> Vec<(Arc<str>, Address)> {
        let snapshot = self.shared.snapshot.load();
        let sockets = Arc::clone(&self.shared.sockets.borrow());
        let named = sockets.iter().filter_map(|socket| {
            let listener = snapshot.listener_at(&socket.endpoint)?;
            Some((Arc::clone(&listener.name), sockets::address(socket)))
        });
        named.collect()
    }

    /// Puts another snapshot into use in one step, with what it listens on: all of it, or an error
    /// and nothing has changed. Connections go on as they are.
    pub fn apply(&self, snapshot: Snapshot) -> Result<(), StartError> {
        let present = Arc::clone(&self.shared.sockets.borrow());
        let next = sockets::bind(&snapshot, &present)?;
        self.shared.snapshot.store(Arc::new(snapshot));
        let is_kept = |id| next.iter().any(|socket| socket.id == id);
        let removed: Vec<_> = present
            .iter()
            .filter(|socket| !is_kept(socket.id))
            .collect();
        self.shared.sockets.send_replace(next.as_slice().into());
        for socket in removed {
            socket.close();
            sockets::unlink(socket);
        }
        if self.shared.is_draining() {
            // It began meanwhile, and knew only those that were there before.
            next.iter().for_each(|socket| socket.close());
        }
        Ok(())
    }

    /// Accepts nobody any more.
    pub fn drain(&self) {
        let sockets = Arc::clone(&self.shared.sockets.borrow());
        self.shared.drain();
        for socket in sockets.iter() {
            sockets::unlink(socket);
        }
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> u64 {
        let counters = self.sources.handshakes.iter();
        counters.map(|counters| counters.accepted.value()).sum()
    }

    /// Connections that are not over.
    pub fn open(&self) -> usize {
        self.shared.admission.open()
    }

    /// Ends what is open in an orderly way.
    pub fn end_all(&self) {
        for relay in &self.shared.relays {
            relay.send(Message::EndAll(Reason::Drained));
        }
    }

    /// Closes what is open at once.
    pub fn abandon_all(&self) {
        for relay in &self.shared.relays {
            relay.send(Message::AbandonAll(Reason::Drained));
        }
    }

    /// How long connections get to end after [`Server::end_all`].
    pub fn end_timeout() -> Duration {
        limits::ACKNOWLEDGE_TIMEOUT + limits::LINGER_TIMEOUT
    }

    /// Waits for every thread. Call it when nothing is open.
    pub fn join(&self) {
        for handshake in &self.handshakes {
            handshake.join();
        }
        for relay in &self.shared.relays {
            relay.send(Message::Stop);
        }
        for relay in &self.shared.relays {
            relay.join();
        }
    }
}
