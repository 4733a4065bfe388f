//! Whether splice(2) from kernel TLS loses bytes when a record needs more slots than the pipe has.
//!
//! Kernels before 6.1.189 and 6.12.112, and 6.18 up to 6.18.15 at least, do: what does not fit is
//! counted as read and dropped. 7.2.7 does not. The test looks at bytes, not at versions, as a
//! distribution may have the fix in any of its kernels.
//!
//! Records of several sizes go through a pipe of one slot, which is emptied after every splice;
//! close_notify behind them ends the test, so that it never waits for what was lost.

use std::{io, os::fd::AsFd};

use nix::poll::{PollFd, PollFlags};

use super::{
    deadline::Deadline,
    loopback::{CLOSE_NOTIFY, Pair},
    remedy,
};
use crate::sys::{ktls, narrow_pipe::NarrowPipe, socket};

pub const WARNING: &str = "this kernel loses bytes of kernel TLS when splice(2) runs out of pipe \
     (the self-test saw it); lockgate splices only into empty pipes of at least 16 slots, which \
     keeps its connections whole, but other programs are not safe: update the kernel (fixed in \
     6.1.189 and 6.12.112, and in 7.2.7 at the latest)";

/// One page, more than one, and a full record, which straddles five.
const RECORDS: [usize; 6] = [100, 4096, 16_384, 1, 9000, 16_384];
const RECORD_MAX: usize = 16_384;

/// Uses up the connection from `pair.client` to `pair.server`.
pub fn loses_bytes(pair: &Pair, deadline: Deadline) -> Result<bool, String> {
    let pipe = NarrowPipe::new().map_err(|error| remedy::errno(&error))?;
    let mut sender = Sender::new();
    let mut receiver = Receiver::new();
    loop {
        let sent = unless_blocked(sender.step(pair))?;
        let received = unless_blocked(receiver.step(pair, &pipe))?;
        if receiver.ended {
            return Ok(receiver.bytes != sender.bytes);
        }
        if !sent && !received {
            let writable = match sender.done {
                true => PollFlags::empty(),
                false => PollFlags::POLLOUT,
            };
            let mut sockets = [
                PollFd::new(pair.server.as_fd(), PollFlags::POLLIN),
                PollFd::new(pair.client.as_fd(), writable),
            ];
            deadline
                .wait(&mut sockets)
                .map_err(|error| remedy::errno(&error))?;
        } else if let Err(error) = deadline.remaining() {
            return Err(remedy::errno(&error));
        }
    }
}

/// `Ok(false)`: nothing to do now.
fn unless_blocked(result: io::Result<bool>) -> Result<bool, String> {
    match result {
        Ok(progress) => Ok(progress),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(remedy::errno(&error)),
    }
}

/// Sends all records, then close_notify.
struct Sender {
    /// What is sent, from the first byte on.
    bytes: Vec<u8>,
    sent: usize,
    done: bool,
}

impl Sender {
    fn new() -> Self {
        // A period that no slot and no record has.
        let bytes = (0..=250u8)
            .cycle()
            .take(RECORDS.iter().sum::<usize>())
            .collect();
        Sender {
            bytes,
            sent: 0,
            done: false,
        }
    }

    fn step(&mut self, pair: &Pair) -> io::Result<bool> {
        if self.done {
            return Ok(false);
        }
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        if rest.is_empty() {
            ktls::send(pair.client.as_fd(), ktls::CONTENT_ALERT, &CLOSE_NOTIFY)?;
            self.done = true;
            return Ok(true);
        }
        let record = rest.get(..self.left_of_record()).unwrap_or(rest);
        self.sent += socket::send(pair.client.as_fd(), record)?;
        Ok(true)
    }

    fn left_of_record(&self) -> usize {
        let mut end = 0;
        for length in RECORDS {
            end += length;
            if end > self.sent {
                break;
            }
        }
        end - self.sent
    }
}

struct Receiver {
    bytes: Vec<u8>,
    buffer: Vec<u8>,
    /// close_notify has come.
    ended: bool,
}

impl Receiver {
    fn new() -> Self {
        Receiver {
            bytes: Vec::new(),
            buffer: vec![0; RECORD_MAX],
            ended: false,
        }
    }

    /// One splice, and what it moved out of the pipe again.
    fn step(&mut self, pair: &Pair, pipe: &NarrowPipe) -> io::Result<bool> {
        match pipe.splice_from(pair.server.as_fd(), RECORD_MAX) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            // A record that holds no data waits.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let (_, content_type) = ktls::receive(pair.server.as_fd(), &mut self.buffer)?;
                if content_type != Some(ktls::CONTENT_ALERT) {
                    return Err(error);
                }
                self.ended = true;
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
        let count = pipe.read(&mut self.buffer)?;
        self.bytes
            .extend_from_slice(self.buffer.get(..count).unwrap_or_default());
        Ok(true)
    }
}
