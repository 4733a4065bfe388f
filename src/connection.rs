//! What a connection takes along from plane to plane.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::{config::Server, counter::Counter, tls::SessionInfo};

/// What is known of a connection, for its log line and for whoever looks at the live ones.
#[derive(Debug)]
pub struct Info {
    pub id: u64,
    pub accepted: Instant,
    /// `None`: a unix socket.
    pub peer: Option<SocketAddr>,
    pub listener: Arc<str>,
    pub session: SessionInfo,
    pub backend: Arc<str>,
    pub server: Arc<Server>,
    /// This side's address towards the backend; `None`: a unix socket.
    pub backend_local: Option<SocketAddr>,
    /// How it began; [`Info::path`] says how it goes on.
    pub began: Path,
    pub traffic: Traffic,
}

/// What has flowed so far: written by the connection's thread after each of its turns, read by
/// whoever looks at live connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of the stream, to the backend and to the client.
    pub up: Counter,
    pub down: Counter,
    /// Whether each way is spliced now.
    pub splices_up: AtomicBool,
    pub splices_down: AtomicBool,
    /// Whether each way's records are the kernel's.
    pub kernel_up: AtomicBool,
    pub kernel_down: AtomicBool,
}

impl Traffic {
    /// `path`: who has the keys when the connection begins.
    pub fn begins(path: Path) -> Self {
        let kernel = || AtomicBool::new(path == Path::Kernel);
        Traffic {
            kernel_up: kernel(),
            kernel_down: kernel(),
            ..Traffic::default()
        }
    }
}

impl Info {
    /// Who makes its records: the kernel, as soon as it does so in one direction.
    pub fn path(&self) -> Path {
        let Traffic {
            kernel_up,
            kernel_down,
            ..
        } = &self.traffic;
        match kernel_up.load(Ordering::Relaxed) || kernel_down.load(Ordering::Relaxed) {
            true => Path::Kernel,
            false => self.began,
        }
    }

    /// Who moves the bytes to the backend, and to the client, now.
    pub fn paths(&self) -> [&'static str; 2] {
        let name = |kernel: &AtomicBool, splices: &AtomicBool| {
            let kernel = kernel.load(Ordering::Relaxed);
            match (kernel, splices.load(Ordering::Relaxed)) {
                (true, true) => "kernel_splice",
                (true, false) => "kernel_copy",
                (false, _) => "user",
            }
        };
        let traffic = &self.traffic;
        [
            name(&traffic.kernel_up, &traffic.splices_up),
            name(&traffic.kernel_down, &traffic.splices_down),
        ]
    }

    /// Who the client is, as its certificate says.
    pub fn identity(&self) -> Option<&str> {
        self.session
            .client
            .as_ref()
            .and_then(|client| client.identity.as_deref())
    }
}

/// Who encrypts and decrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Kernel,
    User(Fallback),
}

impl Path {
    pub fn name(self) -> &'static str {
        match self {
            Path::Kernel => "kernel",
            Path::User(_) => "user",
        }
    }

    pub fn fallback(self) -> &'static str {
        match self {
            Path::Kernel => "none",
            Path::User(fallback) => fallback.name(),
        }
    }

    /// A dense number, for counters.
    pub fn index(self) -> usize {
        match self {
            Path::Kernel => 0,
            Path::User(fallback) => 1 + fallback as usize,
        }
    }

    pub const ALL: [Path; 7] = [
        Path::Kernel,
        Path::User(Fallback::Off),
        Path::User(Fallback::NoKernelTls),
        Path::User(Fallback::SuiteUnsupported),
        Path::User(Fallback::UnixSocket),
        Path::User(Fallback::UntilBulk),
        Path::User(Fallback::KernelDearer),
    ];
}

/// Why a connection is not in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The configuration says so.
    Off,
    /// The kernel has no TLS, or its module is not loaded.
    NoKernelTls,
    /// The kernel knows TLS, but not this version and cipher.
    SuiteUnsupported,
    /// Kernel TLS is a part of TCP.
    UnixSocket,
    /// It moves there once it is worth it.
    UntilBulk,
    /// It would never be worth it: user space costs less on this machine.
    KernelDearer,
}

impl Fallback {
    pub fn name(self) -> &'static str {
        match self {
            Fallback::Off => "offload_off",
            Fallback::NoKernelTls => "no_kernel_tls",
            Fallback::SuiteUnsupported => "suite_unsupported",
            Fallback::UnixSocket => "unix_socket",
            Fallback::UntilBulk => "until_bulk",
            Fallback::KernelDearer => "kernel_dearer",
        }
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fallback::Off => "offload = \"off\"",
            Fallback::NoKernelTls => {
                "this kernel has no TLS, or its module is not loaded (modprobe tls)"
            }
            Fallback::SuiteUnsupported => "this kernel does not offload the negotiated suite",
            Fallback::UnixSocket => "kernel TLS needs TCP, and the client came by a unix socket",
            Fallback::UntilBulk => "keys move into the kernel with bulk only",
            Fallback::KernelDearer => "kernel TLS costs more on this machine (lockgate probe)",
        })
    }
}

/// How many connections are open, and how many may be.
#[derive(Debug)]
pub struct Admission {
    open: AtomicUsize,
}

impl Admission {
    pub fn new() -> Arc<Self> {
        Arc::new(Admission {
            open: AtomicUsize::new(0),
        })
    }

    /// A place for one more connection, if fewer than `limit` are open.
    pub fn admit(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let admitted = self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
                (open < limit).then_some(open + 1)
            });
        admitted.is_ok().then(|| Place(Arc::clone(self)))
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

/// The place of one open connection; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<Admission>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}
