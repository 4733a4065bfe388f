//! Connecting to a backend.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use super::socket::{Driver, Socket};
use crate::{
    backend::{Backend, Target},
    config::Address,
    sys::socket::{connect_tcp, connect_unix},
};

/// Connects to the first target, in turn, that can be reached. Each attempt has `timeout`.
pub async fn connect(
    backend: &Backend,
    driver: Driver,
    timeout: Duration,
) -> Option<(OwnedFd, Arc<Target>)> {
    for target in backend.in_turn() {
        match attempt(&target.address, driver, timeout).await {
            Ok(fd) => {
                target.connected();
                return Some((fd, Arc::clone(target)));
            }
            // Not the server's fault, and the next one would need a descriptor as well.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                tracing::warn!(backend = %backend.name, "no connection to a server: {error}");
                return None;
            }
            Err(error) => {
                target.failed();
                tracing::warn!(backend = %backend.name, server = %target.address, "connect failed: {error}");
            }
        }
    }
    None
}

async fn attempt(address: &Address, driver: Driver, timeout: Duration) -> io::Result<OwnedFd> {
    let (fd, done) = match address {
        Address::Tcp(address) => connect_tcp(*address)?,
        Address::Unix(path) => (connect_unix(path)?, true),
    };
    if done {
        return Ok(fd);
    }
    let socket = Socket::new(fd, driver)?;
    match tokio::time::timeout(timeout, socket.connected()).await {
        Ok(connected) => connected?,
        Err(_elapsed) => {
            socket.abort();
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    socket
        .into_fd()
        .ok_or_else(|| io::Error::other("the socket is still in use"))
}
