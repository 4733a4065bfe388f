//! One socket of a connection, and how bytes go through it.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    control_record::{self, CLOSE_NOTIFY, KEY_UPDATE},
    core::{Failure, Input, Outcome},
    pool::Buffer,
    tls::Tls,
    user_tls::UserTransmit,
};
use crate::{
    limits::{self, RECORD_PAYLOAD_MAX},
    sys::{ktls::Direction, pipe::Pipe, socket},
};

pub struct Leg {
    socket: OwnedFd,
    transport: Transport,
    /// An error that a splice met behind data. The kernel tells it once, and what reads after that
    /// sees a plain end (tcp_splice_read, sock_error).
    failed: Option<Input>,
}

/// Who turns bytes into records.
pub enum Transport {
    /// Nobody: the stream as it is.
    Plain,
    /// The kernel, or this process.
    Tls(Box<Tls>),
}

impl Leg {
    pub fn new(socket: OwnedFd, transport: Transport) -> Self {
        Leg {
            socket,
            transport,
            failed: None,
        }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Bulk goes this way: whether it can go through a pipe, for it needs no treatment in user space.
    /// TLS may move into the kernel for that.
    pub fn splices(&mut self, direction: Direction) -> bool {
        if let Transport::Tls(tls) = &mut self.transport {
            tls.offload(self.socket.as_fd(), direction);
        }
        match self.transport {
            Transport::Plain => true,
            Transport::Tls(_) => self.is_kernel_tls(direction),
        }
    }

    /// Whether the kernel makes the records, or opens them. A spliced read brings one at most, then.
    pub fn is_kernel_tls(&self, direction: Direction) -> bool {
        match &self.transport {
            Transport::Plain => false,
            Transport::Tls(tls) => tls.is_in_kernel(direction),
        }
    }

    /// Whether keys that have moved into the kernel can be changed there.
    pub fn updates_in_kernel(&self) -> bool {
        match &self.transport {
            Transport::Plain => false,
            Transport::Tls(tls) => tls.updates_in_kernel(),
        }
    }

    /// Keeps an error that was met behind data for the read after it.
    pub fn remember(&mut self, stopped: Input) {
        if matches!(stopped, Input::Failed(_) | Input::Violation(_)) {
            self.failed = Some(stopped);
        }
    }

    pub fn failed(&self) -> Option<Input> {
        self.failed
    }

    /// Reads what is there into `buffer`, in the form in which `destination` sends it.
    pub fn read(
        &mut self,
        destination: &mut Leg,
        buffer: &mut Buffer,
        scratch: &mut [u8],
    ) -> Input {
        if let Some(failed) = self.failed {
            return failed;
        }
        let input = match &mut self.transport {
            Transport::Tls(tls) => tls.read(self.socket.as_fd(), copy_part(buffer), scratch),
            Transport::Plain => {
                if let Transport::Tls(tls) = &mut destination.transport
                    && let Some(sealer) = tls.sealer()
                {
                    return read_to_seal(self.socket.as_fd(), sealer, buffer);
                }
                plain_input(socket::receive(self.socket.as_fd(), copy_part(buffer)))
            }
        };
        if let Input::Data { held, .. } = input {
            buffer.start = 0;
            buffer.end = held;
        }
        input
    }

    /// `goes_on`: more follows at once, be it the end, and leaves with it in one segment where nothing
    /// is left half done by that, as a record of kernel TLS would be. The kernel sends what nobody
    /// follows up after 200 ms (MSG_MORE, tcp(7)).
    pub fn write(&mut self, buffer: &mut Buffer, goes_on: bool) -> Outcome {
        let with_next = goes_on && !self.is_kernel_tls(Direction::Transmit);
        let part = buffer
            .bytes
            .get(buffer.start..buffer.end)
            .unwrap_or_default();
        let outcome = output(|| match with_next {
            true => socket::send_with_next(self.socket.as_fd(), part),
            false => socket::send(self.socket.as_fd(), part),
        });
        if let Outcome::Accepted(count) = outcome {
            buffer.start += count;
        }
        outcome
    }

    /// Writes the `filled` bytes of a pipe.
    ///
    /// Kernel TLS hands each record to TCP by itself, which sends it by itself: a segment, a wake-up of
    /// the peer and an acknowledgement for each 16 KiB. So all but the last record say that more follows
    /// and leave together: 3.5 instead of 4.1 instructions a byte (scripts/compare-guest, 6.12). An open
    /// record is never left behind: while one may be, the pipe holds what closes it.
    pub fn write_pipe(&self, pipe: &Pipe, filled: usize) -> Outcome {
        if !self.is_kernel_tls(Direction::Transmit) || filled <= RECORD_PAYLOAD_MAX {
            return output(|| pipe.splice_to(self.socket.as_fd(), filled));
        }
        let last = (filled - 1) % RECORD_PAYLOAD_MAX + 1;
        let before = filled - last;
        match output(|| pipe.splice_to_with_next(self.socket.as_fd(), before)) {
            Outcome::Accepted(count) if count == before => {}
            outcome => return outcome,
        }
        match output(|| pipe.splice_to(self.socket.as_fd(), last)) {
            Outcome::Accepted(count) => Outcome::Accepted(before + count),
            Outcome::Blocked => Outcome::Accepted(before),
            // The kernel tells a reset once: the next write would find a plain end.
            failed => failed,
        }
    }

    /// Ends the stream towards the peer.
    pub fn end_stream(&mut self) -> Outcome {
        match &mut self.transport {
            Transport::Plain => done(socket::shutdown_write(self.socket.as_fd())),
            _ => self.send_control(control_record::ALERT, &CLOSE_NOTIFY),
        }
    }

    pub fn alert(&mut self, description: u8) -> Outcome {
        // A record that did not decrypt left its error on the socket, where the next send would find
        // it.
        let _ = socket::take_error(self.socket.as_fd());
        self.send_control(
            control_record::ALERT,
            &control_record::fatal_alert(description),
        )
    }

    pub fn send_key_update(&mut self) -> Outcome {
        self.send_control(control_record::HANDSHAKE, &KEY_UPDATE)
    }

    /// Uses the next keys.
    pub fn update(&mut self, direction: Direction) -> Outcome {
        match &mut self.transport {
            Transport::Plain => Outcome::Failed(Failure::Unsupported),
            Transport::Tls(tls) => tls.update(self.socket.as_fd(), direction),
        }
    }

    /// Reads and drops. In user space the records are not even opened.
    pub fn discard(&mut self, scratch: &mut [u8]) -> Input {
        match &mut self.transport {
            Transport::Tls(tls) if tls.is_in_kernel(Direction::Receive) => {
                tls.read(self.socket.as_fd(), scratch, &mut [])
            }
            Transport::Plain | Transport::Tls(_) => {
                plain_input(socket::receive(self.socket.as_fd(), scratch))
            }
        }
    }

    fn send_control(&mut self, content_type: u8, payload: &[u8]) -> Outcome {
        match &mut self.transport {
            Transport::Plain => Outcome::Done,
            Transport::Tls(tls) => tls.send_control(self.socket.as_fd(), content_type, payload),
        }
    }
}

/// Turns the result of a write into an outcome.
pub(super) fn output(mut write: impl FnMut() -> io::Result<usize>) -> Outcome {
    loop {
        return match write() {
            Ok(count) => Outcome::Accepted(count),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                io::ErrorKind::WouldBlock => Outcome::Blocked,
                io::ErrorKind::BrokenPipe => Outcome::Failed(Failure::Ended),
                _ => Outcome::Failed(Failure::Lost),
            },
        };
    }
}

/// Turns the result of a read of `length` bytes at most into an input. A short read has emptied the
/// socket: the next byte is a new edge (epoll(7)).
pub(super) fn plain_input_of(result: io::Result<usize>, length: usize) -> Input {
    match result {
        Ok(0) => Input::End,
        Ok(bytes) => Input::Data {
            bytes,
            held: bytes,
            drained: bytes < length,
        },
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Input::Blocked,
            _ => Input::Failed(Failure::Lost),
        },
    }
}

fn plain_input(result: io::Result<usize>) -> Input {
    plain_input_of(result, limits::COPY_BYTES)
}

fn copy_part(buffer: &mut Buffer) -> &mut [u8] {
    buffer
        .bytes
        .get_mut(..limits::COPY_BYTES)
        .unwrap_or_default()
}

/// Reads plain bytes between the gaps that sealing fills, so that nothing is copied.
fn read_to_seal(source: BorrowedFd<'_>, tls: &mut UserTransmit, buffer: &mut Buffer) -> Input {
    let frame = tls.prefix() + RECORD_PAYLOAD_MAX + tls.suffix();
    let prefix = tls.prefix();
    let mut parts: [IoSliceMut<'_>; limits::COPY_BYTES / RECORD_PAYLOAD_MAX] =
        std::array::from_fn(|_| IoSliceMut::new(&mut []));
    for (part, frame) in parts.iter_mut().zip(buffer.bytes.chunks_mut(frame)) {
        let payload = frame
            .get_mut(prefix..prefix + RECORD_PAYLOAD_MAX)
            .unwrap_or_default();
        *part = IoSliceMut::new(payload);
    }
    let input = plain_input(socket::receive_vectored(source, &mut parts));
    let Input::Data { bytes, drained, .. } = input else {
        return input;
    };
    match tls.seal(buffer, bytes) {
        Some(held) => {
            buffer.start = 0;
            buffer.end = held;
            Input::Data {
                bytes,
                held,
                drained,
            }
        }
        None => Input::Failed(Failure::Lost),
    }
}

fn done(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Failed(Failure::Lost),
    }
}
