//! What is listened on: sockets for the addresses of a snapshot, kept where an address stays.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::StartError;
use crate::{
    config::Address,
    handshake::ListeningSocket,
    limits,
    snapshot::{Snapshot, endpoints},
    sys::socket::{listen_tcp, listen_unix, local_address},
};

/// Sockets for every address of `snapshot`, those of `present` where there is one. With an error,
/// nothing has changed.
pub fn bind(
    snapshot: &Snapshot,
    present: &[Arc<ListeningSocket>],
) -> Result<Vec<Arc<ListeningSocket>>, StartError> {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let (mut sockets, mut new) = (Vec::new(), Vec::new());
    for (endpoint, listener) in endpoints(&snapshot.config) {
        if let Some(kept) = present.iter().find(|socket| socket.endpoint == endpoint) {
            sockets.push(Arc::clone(kept));
            continue;
        }
        match listen(&endpoint.address) {
            Ok(fd) => {
                let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
                let socket = Arc::new(ListeningSocket::new(id, endpoint, fd));
                new.push(Arc::clone(&socket));
                sockets.push(socket);
            }
            Err(error) => {
                new.iter().for_each(|socket| unlink(socket));
                return Err(StartError::Listen {
                    listener: listener.to_owned(),
                    address: endpoint.address,
                    error,
                });
            }
        }
    }
    Ok(sockets)
}

/// Where a socket listens; port 0 has become a real one.
pub fn address(socket: &ListeningSocket) -> Address {
    let actual = local_address(socket.socket.as_fd()).map(Address::Tcp);
    actual.unwrap_or_else(|| socket.endpoint.address.clone())
}

/// Removes a unix socket from its folder.
pub fn unlink(socket: &ListeningSocket) {
    if let Address::Unix(path) = &socket.endpoint.address {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(path);
    }
}

fn listen(address: &Address) -> io::Result<OwnedFd> {
    match address {
        Address::Tcp(address) => listen_tcp(*address, limits::LISTEN_BACKLOG),
        Address::Unix(path) => listen_unix(path, limits::LISTEN_BACKLOG),
    }
}
