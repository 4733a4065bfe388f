//! Reading a handshake's records one at a time, so that not one byte behind the client's Finished
//! is taken from the socket: the kernel decrypts from there.

use std::io;

use super::socket::Socket;
use crate::{limits, sys::socket::receive, tls::record_length};

/// Appends the next record to `incoming`. `false`: the client's FIN.
pub async fn read_record(socket: &Socket, incoming: &mut Vec<u8>) -> io::Result<bool> {
    let start = incoming.len();
    if !read_to(socket, incoming, start + limits::RECORD_HEADER).await? {
        return Ok(false);
    }
    let header = incoming.get(start..).unwrap_or_default();
    match record_length(header) {
        Some(length) => read_to(socket, incoming, start + length).await,
        None => Ok(true),
    }
}

/// Reads until `incoming` is `length` bytes long.
async fn read_to(socket: &Socket, incoming: &mut Vec<u8>, length: usize) -> io::Result<bool> {
    let mut filled = incoming.len();
    incoming.resize(length.max(filled), 0);
    while filled < length {
        let part = incoming.get_mut(filled..).unwrap_or_default();
        match socket.read(|fd| receive(fd, part)).await {
            Ok(0) => {
                incoming.truncate(filled);
                return Ok(false);
            }
            Ok(count) => filled += count,
            Err(error) => {
                incoming.truncate(filled);
                return Err(error);
            }
        }
    }
    Ok(true)
}
