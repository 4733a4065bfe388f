//! A TCP connection of the process with itself.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
};

use nix::poll::PollFlags;

use super::deadline::Deadline;
use crate::sys::{ktls, socket};

pub struct Loopback {
    listener: OwnedFd,
    address: SocketAddr,
}

/// Both ends. Closing them leaves nothing in TIME_WAIT.
pub struct Pair {
    pub client: OwnedFd,
    pub server: OwnedFd,
}

impl Loopback {
    pub fn new() -> io::Result<Self> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = socket::listen_tcp(any_port, 8)?;
        let address =
            socket::local_address(listener.as_fd()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Loopback { listener, address })
    }

    pub fn pair(&self, deadline: Deadline) -> io::Result<Pair> {
        let (client, connected) = socket::connect_tcp(self.address)?;
        if !connected {
            // Writable is also what a failed connect is.
            let writable = PollFlags::POLLOUT;
            deadline.wait(&mut [nix::poll::PollFd::new(client.as_fd(), writable)])?;
            socket::take_error(client.as_fd())?;
        }
        let own = socket::local_address(client.as_fd());
        let listener = self.listener.as_fd();
        loop {
            let (server, peer) =
                deadline.until_done(listener, PollFlags::POLLIN, || socket::accept(listener))?;
            // Any local process may connect to this port.
            if peer.is_some() && peer == own {
                socket::reset_on_close(client.as_fd());
                socket::reset_on_close(server.as_fd());
                return Ok(Pair { client, server });
            }
        }
    }
}

/// The body of the alert that ends a stream (RFC 8446, section 6.1).
pub const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// Sends `bytes` from one end to the other and compares.
pub fn pass(from: &OwnedFd, to: &OwnedFd, bytes: &[u8], deadline: Deadline) -> Result<(), String> {
    let text = |error| super::remedy::errno(&error);
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = deadline
            .until_done(from.as_fd(), PollFlags::POLLOUT, || {
                socket::send(from.as_fd(), rest)
            })
            .map_err(text)?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    let mut received = Vec::new();
    let mut buffer = vec![0; bytes.len().max(1)];
    while received.len() < bytes.len() {
        let (count, content_type) = deadline
            .until_done(to.as_fd(), PollFlags::POLLIN, || {
                ktls::receive(to.as_fd(), &mut buffer)
            })
            .map_err(text)?;
        if count == 0 || content_type != Some(ktls::CONTENT_DATA) {
            return Err("the bytes that were sent did not all arrive".to_owned());
        }
        received.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    if received != bytes {
        return Err("other bytes arrived than were sent".to_owned());
    }
    Ok(())
}
