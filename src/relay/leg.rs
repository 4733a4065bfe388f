//! One socket of a connection, and how bytes go through it.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    control_record::{self, CLOSE_NOTIFY, KEY_UPDATE},
    core::{Failure, Input, Outcome},
    pool::Buffer,
    user_tls::{UserKeys, UserTls},
};
use crate::{
    config::TlsVersion,
    limits::{self, RECORD_PAYLOAD_MAX},
    sys::{ktls, pipe::Pipe, socket},
    tls::{RecordError, TrafficSecret, kernel::crypto_info},
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
    /// The kernel.
    Kernel(Box<KernelTls>),
    /// This process.
    User(Box<UserTls>),
}

/// What user space keeps of a connection that the kernel encrypts: what its next keys come from.
pub struct KernelTls {
    version: TlsVersion,
    transmit_next: Option<TrafficSecret>,
    receive_next: Option<TrafficSecret>,
}

/// What a [`KernelTls`] is made of.
pub struct KernelKeys {
    pub version: TlsVersion,
    pub transmit_next: Option<Box<TrafficSecret>>,
    pub receive_next: Option<Box<TrafficSecret>>,
}

/// What a client's transport is made of. The relay thread makes it: what lives as long as a connection
/// lies close together there, and does not keep pages of the handshake thread, whose memory is for
/// what ends with a handshake. For the same reason secrets lie within it: a small piece of memory that
/// the handshake thread had allocated and this one freed would be given out here again.
///
/// Until then keys are behind pointers, so that handing them over leaves no copy of them; where they
/// were is wiped when the transport is made.
pub enum ClientTls {
    Kernel(KernelKeys),
    User(Box<UserKeys>),
}

impl ClientTls {
    /// An error is a defect of ours.
    pub fn into_transport(self) -> Result<Transport, RecordError> {
        Ok(match self {
            ClientTls::Kernel(keys) => Transport::Kernel(KernelTls::new(&keys)),
            ClientTls::User(mut keys) => Transport::User(UserTls::new(&mut keys)?),
        })
    }
}

impl KernelTls {
    fn new(keys: &KernelKeys) -> Box<Self> {
        let mut tls = Box::new(KernelTls {
            version: keys.version,
            transmit_next: place(keys.transmit_next.as_deref()),
            receive_next: place(keys.receive_next.as_deref()),
        });
        fill(&mut tls.transmit_next, keys.transmit_next.as_deref());
        fill(&mut tls.receive_next, keys.receive_next.as_deref());
        tls
    }
}

pub(super) fn place(secret: Option<&TrafficSecret>) -> Option<TrafficSecret> {
    secret.map(TrafficSecret::place)
}

pub(super) fn fill(place: &mut Option<TrafficSecret>, secret: Option<&TrafficSecret>) {
    if let (Some(place), Some(secret)) = (place, secret) {
        place.copy_from(secret);
    }
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

    /// Whether bytes can go through a pipe: they need no treatment in user space.
    pub fn can_splice(&self) -> bool {
        !matches!(self.transport, Transport::User(_))
    }

    /// Whether the kernel makes the records. A spliced read brings one at most, then.
    pub fn is_kernel_tls(&self) -> bool {
        matches!(self.transport, Transport::Kernel(_))
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
        let input = match (&mut self.transport, &mut destination.transport) {
            (Transport::Plain, Transport::User(sealed)) => {
                return read_to_seal(self.socket.as_fd(), sealed, buffer);
            }
            (Transport::Plain, _) => {
                plain_input(socket::receive(self.socket.as_fd(), copy_part(buffer)))
            }
            (Transport::Kernel(tls), _) => {
                kernel_input(self.socket.as_fd(), tls.version, copy_part(buffer))
            }
            (Transport::User(tls), _) => tls.read(self.socket.as_fd(), copy_part(buffer), scratch),
        };
        if let Input::Data { held, .. } = input {
            buffer.start = 0;
            buffer.end = held;
        }
        input
    }

    pub fn write(&mut self, buffer: &mut Buffer) -> Outcome {
        let part = buffer
            .bytes
            .get(buffer.start..buffer.end)
            .unwrap_or_default();
        let outcome = output(|| socket::send(self.socket.as_fd(), part));
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
        if !self.is_kernel_tls() || filled <= RECORD_PAYLOAD_MAX {
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
        alert(self.socket.as_fd(), &mut self.transport, description)
    }

    pub fn send_key_update(&mut self) -> Outcome {
        self.send_control(control_record::HANDSHAKE, &KEY_UPDATE)
    }

    pub fn update_transmit(&mut self) -> Outcome {
        match &mut self.transport {
            Transport::Plain => Outcome::Failed(Failure::Unsupported),
            Transport::User(tls) => tls.update_transmit(),
            Transport::Kernel(tls) => install_next(
                self.socket.as_fd(),
                tls.transmit_next.as_mut(),
                ktls::Direction::Transmit,
            ),
        }
    }

    pub fn update_receive(&mut self) -> Outcome {
        match &mut self.transport {
            Transport::Plain => Outcome::Failed(Failure::Unsupported),
            Transport::User(tls) => tls.update_receive(),
            Transport::Kernel(tls) => install_next(
                self.socket.as_fd(),
                tls.receive_next.as_mut(),
                ktls::Direction::Receive,
            ),
        }
    }

    /// Reads and drops. In user space the records are not even decrypted.
    pub fn discard(&mut self, scratch: &mut [u8]) -> Input {
        match &self.transport {
            Transport::Kernel(tls) => kernel_input(self.socket.as_fd(), tls.version, scratch),
            Transport::Plain | Transport::User(_) => {
                plain_input(socket::receive(self.socket.as_fd(), scratch))
            }
        }
    }

    fn send_control(&mut self, content_type: u8, payload: &[u8]) -> Outcome {
        send_control(
            self.socket.as_fd(),
            &mut self.transport,
            content_type,
            payload,
        )
    }
}

pub(super) fn alert(socket: BorrowedFd<'_>, transport: &mut Transport, description: u8) -> Outcome {
    // A record that did not decrypt left its error on the socket, where the next send would find
    // it.
    let _ = socket::take_error(socket);
    let payload = control_record::fatal_alert(description);
    send_control(socket, transport, control_record::ALERT, &payload)
}

fn send_control(
    socket: BorrowedFd<'_>,
    transport: &mut Transport,
    content_type: u8,
    payload: &[u8],
) -> Outcome {
    match transport {
        Transport::Plain => Outcome::Done,
        Transport::User(tls) => tls.send_control(socket, content_type, payload),
        Transport::Kernel(_) => match output(|| ktls::send(socket, content_type, payload)) {
            Outcome::Accepted(_) => Outcome::Done,
            outcome => outcome,
        },
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

/// Why a splice out of a socket stopped.
pub(super) fn splice_stopped(error: &io::Error) -> Input {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Input::Blocked,
        Some(libc::EBADMSG) => Input::Violation(ALERT_BAD_RECORD_MAC),
        Some(libc::EMSGSIZE) => Input::Violation(ALERT_RECORD_OVERFLOW),
        // EINVAL: a control record, or a bad header, which a read tells apart. The others pass.
        Some(libc::EINVAL | libc::EINTR | libc::ENOMEM | libc::EKEYEXPIRED) => Input::Unspliceable,
        _ => Input::Failed(Failure::Lost),
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
fn read_to_seal(source: BorrowedFd<'_>, tls: &mut UserTls, buffer: &mut Buffer) -> Input {
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

const ALERT_BAD_RECORD_MAC: u8 = 20;
const ALERT_RECORD_OVERFLOW: u8 = 22;
const ALERT_DECODE_ERROR: u8 = 50;

fn kernel_input(source: BorrowedFd<'_>, version: TlsVersion, buffer: &mut [u8]) -> Input {
    match ktls::receive(source, buffer) {
        Ok((0, None)) => Input::End,
        Ok((0, Some(ktls::CONTENT_DATA))) => Input::Empty,
        // A short read may have stopped at a control record, which the same edge announced.
        Ok((bytes, None | Some(ktls::CONTENT_DATA))) => Input::Data {
            bytes,
            held: bytes,
            drained: false,
        },
        Ok((bytes, Some(content_type))) => control_record::interpret(
            version,
            content_type,
            buffer.get(..bytes).unwrap_or_default(),
        ),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Input::Blocked,
            Some(libc::EBADMSG) => Input::Violation(ALERT_BAD_RECORD_MAC),
            Some(libc::EMSGSIZE) => Input::Violation(ALERT_RECORD_OVERFLOW),
            Some(libc::EINVAL) => Input::Violation(ALERT_DECODE_ERROR),
            _ => Input::Failed(Failure::Lost),
        },
    }
}

fn install_next(
    socket: BorrowedFd<'_>,
    next: Option<&mut TrafficSecret>,
    direction: ktls::Direction,
) -> Outcome {
    let Some(next) = next else {
        return Outcome::Failed(Failure::Unsupported);
    };
    match next.update() {
        Ok(keys) => match ktls::install(socket, direction, crypto_info(&keys, direction)) {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::Failed(Failure::Unsupported),
        },
        Err(_) => Outcome::Failed(Failure::Unsupported),
    }
}

fn done(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Failed(Failure::Lost),
    }
}
