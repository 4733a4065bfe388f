//! Reading a handshake, and not one byte behind the client's Finished: what follows it is the
//! kernel's to decrypt.
//!
//! A flight is looked at while it stays in the socket (MSG_PEEK), and taken from there once the
//! handshake has shown that it goes on behind it, or where it ends: two calls a flight, however many
//! records it has. What the client sends before the server's first flight cannot contain its Finished,
//! so it is read in one call; and where the records will be opened in user space anyway, so is all.

use std::{io, os::fd::AsFd};

use super::socket::Socket;
use crate::{
    limits::HANDSHAKE_READ_BYTES,
    sys::socket::{drop_received, peek, receive},
};

/// What was read of a handshake and not yet used.
#[derive(Default)]
pub struct Incoming {
    /// For the handshake, which removes from its front what it has used.
    pub bytes: Vec<u8>,
    /// How many bytes of the last read are still in the socket as well.
    peeked: usize,
}

/// How the next bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All that is there.
    Ahead,
    /// No byte that the handshake does not use. Only for TCP.
    Exactly,
}

impl Incoming {
    /// Appends what is there. The handshake goes on behind all that was read before. `false`: the
    /// client's FIN.
    pub async fn read(&mut self, socket: &Socket, reading: Reading) -> io::Result<bool> {
        drop_received(socket.as_fd(), std::mem::take(&mut self.peeked))?;
        let filled = self.bytes.len();
        self.bytes.resize(filled + HANDSHAKE_READ_BYTES, 0);
        let part = self.bytes.get_mut(filled..).unwrap_or_default();
        let read = match reading {
            Reading::Ahead => socket.read(|fd| receive(fd, part)).await,
            Reading::Exactly => socket.read(|fd| peek(fd, part)).await,
        };
        let count = read.as_ref().copied().unwrap_or_default();
        self.bytes.truncate(filled + count);
        if reading == Reading::Exactly {
            self.peeked = count;
        }
        read.map(|count| count > 0)
    }

    /// The handshake is over, and has left in `bytes` what is behind it: takes the rest from the
    /// socket. What was read ahead of it is returned.
    pub fn finish(self, socket: &Socket) -> io::Result<Vec<u8>> {
        let behind = self.bytes.len();
        drop_received(socket.as_fd(), self.peeked.saturating_sub(behind))?;
        // A copy of the right size, mostly of nothing: it may be held for as long as the connection idles.
        let ahead = behind.saturating_sub(self.peeked);
        Ok(self.bytes.get(..ahead).unwrap_or_default().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::handshake::socket::Driver;

    #[test]
    fn what_is_kept_of_a_handshake_takes_no_more_room_than_its_bytes() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let socket = Socket::new(socket.into(), Driver::Ring).unwrap();
        for length in [0, 3] {
            let mut incoming = Incoming::default();
            incoming.bytes.reserve(HANDSHAKE_READ_BYTES);
            incoming.bytes.resize(length, 7);
            let ahead = incoming.finish(&socket).unwrap();
            assert_eq!((ahead.len(), ahead.capacity()), (length, length));
        }
    }
}
