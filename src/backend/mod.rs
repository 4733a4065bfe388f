//! Backends: which server gets the next connection, and connecting to it.
//!
//! Servers are used in turn. One that cannot be reached is passed over for this connection: nothing
//! has been sent yet, so the next one may be asked.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::{
    config::{self, Address, Server},
    durations::Durations,
};

#[derive(Debug)]
pub struct Backend {
    pub name: Arc<str>,
    targets: Vec<Arc<Target>>,
    turn: AtomicUsize,
    /// From the end of a handshake to a connected server.
    pub durations: Arc<Durations>,
}

/// One address of one server.
#[derive(Debug)]
pub struct Target {
    pub server: Arc<Server>,
    pub address: Address,
    connects: AtomicU64,
    failures: AtomicU64,
    /// The last attempt to connect failed.
    failing: AtomicBool,
}

impl Target {
    pub fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
    }

    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether the last attempt to connect succeeded; true before the first.
    pub fn is_up(&self) -> bool {
        !self.failing.load(Ordering::Relaxed)
    }
}

impl Backend {
    /// Resolves the names of `backend`; every address of a name becomes a target. It keeps the
    /// figures of `previous`, and so do the targets that were there already. Blocks.
    pub fn resolve(
        backend: &config::Backend,
        previous: Option<&Backend>,
    ) -> Result<Self, UnknownServer> {
        let kept = |server: &Server, address: &Address| {
            let mut targets = previous?.targets.iter();
            targets.find(|target| *target.server == *server && target.address == *address)
        };
        let mut targets = Vec::new();
        for server in &backend.servers {
            let unknown = |error| UnknownServer {
                backend: backend.name.clone(),
                server: server.clone(),
                error,
            };
            let server = Arc::new(server.clone());
            let addresses = addresses(&server).map_err(unknown)?;
            targets.extend(addresses.into_iter().map(|address| {
                if let Some(target) = kept(&server, &address) {
                    return Arc::clone(target);
                }
                Arc::new(Target {
                    server: Arc::clone(&server),
                    address,
                    connects: AtomicU64::new(0),
                    failures: AtomicU64::new(0),
                    failing: AtomicBool::new(false),
                })
            }));
        }
        Ok(Backend {
            name: backend.name.as_str().into(),
            targets,
            turn: AtomicUsize::new(0),
            durations: previous.map_or_else(Arc::default, |backend| Arc::clone(&backend.durations)),
        })
    }

    /// All targets, beginning with the one whose turn it is.
    pub fn in_turn(&self) -> impl Iterator<Item = &Arc<Target>> {
        let count = self.targets.len().max(1);
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        self.targets
            .iter()
            .cycle()
            .skip(first)
            .take(self.targets.len())
    }

    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }
}

fn addresses(server: &Server) -> io::Result<Vec<Address>> {
    match server {
        Server::Address(address) => Ok(vec![address.clone()]),
        Server::Name { host, port } => {
            let found: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs()?.collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
            }
            Ok(found.into_iter().map(Address::Tcp).collect())
        }
    }
}

/// A server's name that did not resolve.
#[derive(Debug)]
pub struct UnknownServer {
    backend: String,
    server: Server,
    error: io::Error,
}

impl fmt::Display for UnknownServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "backend \"{}\": the address of {} is not known: {}; check the name and the resolver, or use an IP address",
            self.backend, self.server, self.error
        )
    }
}

impl std::error::Error for UnknownServer {}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(servers: &[&str]) -> Backend {
        let servers = servers
            .iter()
            .map(|text| Server::Address(Address::Tcp(text.parse().unwrap())))
            .collect();
        let backend = config::Backend {
            name: "app".into(),
            servers,
        };
        Backend::resolve(&backend, None).unwrap()
    }

    #[test]
    fn servers_are_used_in_turn_and_each_connection_may_try_all() {
        let backend = backend(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
        let ports = |backend: &Backend| -> Vec<u16> {
            backend
                .in_turn()
                .map(|target| match target.address {
                    Address::Tcp(address) => address.port(),
                    Address::Unix(_) => 0,
                })
                .collect()
        };
        assert_eq!(ports(&backend), [1, 2, 3]);
        assert_eq!(ports(&backend), [2, 3, 1]);
        assert_eq!(ports(&backend), [3, 1, 2]);
        assert_eq!(ports(&backend), [1, 2, 3]);
    }

    #[test]
    fn a_name_without_an_address_is_reported_with_its_backend() {
        let server = Server::Name {
            host: "nowhere.invalid".into(),
            port: 1,
        };
        let backend = config::Backend {
            name: "app".into(),
            servers: vec![server],
        };
        let error = Backend::resolve(&backend, None).unwrap_err().to_string();
        assert!(
            error.contains("\"app\"") && error.contains("nowhere.invalid:1"),
            "{error}"
        );
    }
}
