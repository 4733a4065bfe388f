//! Start, drain and end of the planes.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    config::{Address, Offload, Waiter},
    connection::Admission,
    handshake::{HandshakeThread, ListeningSocket, Shared},
    limits,
    metrics::Sources,
    probe::Kernel,
    relay::{Message, RelayThread, core::Reason},
    snapshot::Snapshot,
    sys::socket::{listen_tcp, listen_unix, local_address},
};

/// The running planes.
pub struct Server {
    shared: Arc<Shared>,
    handshakes: Vec<HandshakeThread>,
    sources: Arc<Sources>,
    /// Every bound address, with the name of its listener.
    bound: Vec<(Arc<str>, Address)>,
    /// Unix sockets that are removed at the end.
    paths: Vec<std::path::PathBuf>,
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
    pub fn start(snapshot: Snapshot, kernel: Kernel) -> Result<Self, StartError> {
        let runtime = snapshot.config.runtime.clone();
        if runtime.offload == Offload::Required
            && let Err(why) = &kernel.tls
        {
            return Err(StartError::OffloadRequired(why.to_string()));
        }
        let ring = runtime.waiter == Waiter::Auto;
        let (sockets, bound, paths) = bind(&snapshot)?;
        let relays = (0..runtime.relay_threads)
            .map(|index| RelayThread::start(index, ring).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()
            .map_err(StartError::Thread)?;
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            kernel,
            admission: Admission::new(),
            relays,
            sockets,
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
        });
        Ok(Server {
            shared,
            handshakes,
            sources,
            bound,
            paths,
        })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    pub fn bound(&self) -> &[(Arc<str>, Address)] {
        &self.bound
    }

    /// Accepts nobody any more.
    pub fn drain(&self) {
        self.shared.drain();
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
    pub fn join(self) {
        for handshake in &self.handshakes {
            handshake.join();
        }
        for relay in &self.shared.relays {
            relay.send(Message::Stop);
        }
        for relay in &self.shared.relays {
            relay.join();
        }
        for path in &self.paths {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}

type Bound = (
    Vec<ListeningSocket>,
    Vec<(Arc<str>, Address)>,
    Vec<std::path::PathBuf>,
);

fn bind(snapshot: &Snapshot) -> Result<Bound, StartError> {
    let (mut sockets, mut bound, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for listener in &snapshot.config.listeners {
        let name: Arc<str> = listener.name.as_str().into();
        for address in &listener.listen {
            let socket = listen(address).map_err(|error| StartError::Listen {
                listener: listener.name.clone(),
                address: address.clone(),
                error,
            })?;
            // Port 0 has become a real one.
            let actual = local_address(socket.as_fd()).map(Address::Tcp);
            bound.push((Arc::clone(&name), actual.unwrap_or_else(|| address.clone())));
            if let Address::Unix(path) = address {
                paths.push(path.clone());
            }
            sockets.push(ListeningSocket {
                listener: Arc::clone(&name),
                socket: Arc::new(socket),
                is_tcp: matches!(address, Address::Tcp(_)),
            });
        }
    }
    Ok((sockets, bound, paths))
}

fn listen(address: &Address) -> io::Result<OwnedFd> {
    match address {
        Address::Tcp(address) => listen_tcp(*address, limits::LISTEN_BACKLOG),
        Address::Unix(path) => listen_unix(path, limits::LISTEN_BACKLOG),
    }
}
