//! The TLS of a client leg. Each direction is in the kernel or in user space by itself, and moves into
//! the kernel when it is worth it.
//!
//! Bulk is what it is worth it for: installing keys costs as much as some 10 KiB of encryption, and a
//! small record costs more in the kernel than here. So a direction begins in user space, unless told
//! otherwise, and moves when the relay would splice: what is sent, once nothing is held back; what is
//! received, at the end of a record, behind which nothing may have been read.

use std::os::fd::BorrowedFd;

use super::{
    control_record,
    core::{Failure, Input, Outcome},
    leg::output,
    user_tls::{UserReceive, UserTransmit},
};
use crate::{
    config::TlsVersion,
    sys::ktls::{self, Direction},
    tls::{DirectionKeys, KeySource, RecordError, RecordKeys, kernel::crypto_info},
};

pub struct Tls {
    version: TlsVersion,
    /// `None`: the kernel opens records.
    receive: Option<Box<UserReceive>>,
    /// `None`: the kernel makes records.
    transmit: Option<Box<UserTransmit>>,
    receive_source: Option<KeySource>,
    transmit_source: Option<KeySource>,
    moves: Moves,
}

/// What may move into the kernel, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    pub transmit: bool,
    pub receive: bool,
    /// It decrypts TLS 1.3 straight into the reader's buffer.
    pub no_padding: bool,
}

/// What a client's transport is made of. The relay thread makes it: what lives as long as a connection
/// lies close together there, and does not keep pages of the handshake thread, whose memory is for
/// what ends with a handshake. For the same reason secrets lie within it: a small piece of memory that
/// the handshake thread had allocated and this one freed would be given out here again.
///
/// Until then keys are behind a pointer, so that handing them over leaves no copy of them; where they
/// were is wiped when the transport is made.
pub struct ClientTls {
    pub transmit: DirectionKeys,
    pub receive: DirectionKeys,
    pub path: InitialPath,
}

/// Who has the keys when the relay begins.
pub enum InitialPath {
    /// The kernel has those of both directions.
    Kernel,
    User {
        /// Ciphertext that was read already.
        unopened: Vec<u8>,
        moves: Moves,
    },
}

impl ClientTls {
    /// An error is a defect of ours.
    pub fn into_tls(self: Box<Self>) -> Result<Box<Tls>, RecordError> {
        let mut this = self;
        let (transmit, receive) = (&this.transmit, &this.receive);
        let mut tls = Box::new(Tls {
            version: transmit.keys.version(),
            receive: None,
            transmit: None,
            receive_source: Some(KeySource::place(receive)),
            transmit_source: Some(KeySource::place(transmit)),
            moves: Moves::default(),
        });
        for (source, keys) in [
            (&mut tls.receive_source, receive),
            (&mut tls.transmit_source, transmit),
        ] {
            if let Some(source) = source {
                source.fill(keys);
            }
        }
        match &mut this.path {
            InitialPath::Kernel => {
                tls.forget(Direction::Transmit);
                tls.forget(Direction::Receive);
            }
            InitialPath::User { unopened, moves } => {
                let unopened = std::mem::take(unopened);
                tls.moves = *moves;
                tls.transmit = Some(Box::new(UserTransmit::new(&transmit.keys)?));
                tls.receive = Some(Box::new(UserReceive::new(&receive.keys, unopened)?));
            }
        }
        Ok(tls)
    }
}

impl Tls {
    pub fn is_in_kernel(&self, direction: Direction) -> bool {
        match direction {
            Direction::Transmit => self.transmit.is_none(),
            Direction::Receive => self.receive.is_none(),
        }
    }

    /// For plain bytes on their way to this leg: who seals them.
    pub fn sealer(&mut self) -> Option<&mut UserTransmit> {
        self.transmit.as_deref_mut()
    }

    /// Bulk goes this way: moves the direction into the kernel, if it may. What is received goes with
    /// one of the next reads, at the end of a record. Where the kernel refuses, it stays for good.
    pub fn offload(&mut self, socket: BorrowedFd<'_>, direction: Direction) {
        match direction {
            Direction::Transmit if self.moves.transmit => self.move_transmit(socket),
            Direction::Receive if self.moves.receive => {
                if let Some(user) = &mut self.receive {
                    user.ends_with_record = true;
                }
                self.move_receive(socket);
            }
            _ => {}
        }
    }

    /// The caller holds nothing that is sealed and not sent.
    fn move_transmit(&mut self, socket: BorrowedFd<'_>) {
        let (Some(user), Some(source)) = (&self.transmit, &self.transmit_source) else {
            return;
        };
        if user.is_sending() {
            return;
        }
        self.moves.transmit = false;
        let keys = source.current(user.sequence());
        if keys.is_ok_and(|keys| install(socket, &keys, Direction::Transmit)) {
            self.transmit = None;
            self.forget(Direction::Transmit);
        }
    }

    fn move_receive(&mut self, socket: BorrowedFd<'_>) {
        let (Some(user), Some(source)) = (&mut self.receive, &self.receive_source) else {
            return;
        };
        if !user.has_read_whole_records() {
            return;
        }
        self.moves.receive = false;
        user.ends_with_record = false;
        let keys = source.current(user.sequence());
        if keys.is_ok_and(|keys| install(socket, &keys, Direction::Receive)) {
            if self.version == TlsVersion::Tls13 && self.moves.no_padding {
                // Without it the kernel copies what it has decrypted, which is all.
                let _ = ktls::expect_no_padding(socket);
            }
            self.receive = None;
            self.forget(Direction::Receive);
        }
    }

    /// Keys that only the kernel needs from now on: TLS 1.2 changes them never.
    fn forget(&mut self, direction: Direction) {
        let source = match direction {
            Direction::Transmit => &mut self.transmit_source,
            Direction::Receive => &mut self.receive_source,
        };
        if self.version == TlsVersion::Tls12 {
            *source = None;
        }
    }

    /// Reads what is there into `out`.
    pub fn read(&mut self, socket: BorrowedFd<'_>, out: &mut [u8], scratch: &mut [u8]) -> Input {
        if self
            .receive
            .as_ref()
            .is_some_and(|user| user.ends_with_record)
        {
            self.move_receive(socket);
        }
        match &mut self.receive {
            Some(user) => user.read(self.version, socket, out, scratch),
            None => kernel_input(socket, self.version, out),
        }
    }

    pub fn send_control(
        &mut self,
        socket: BorrowedFd<'_>,
        content_type: u8,
        payload: &[u8],
    ) -> Outcome {
        match &mut self.transmit {
            Some(user) => user.send_control(socket, content_type, payload),
            None => match output(|| ktls::send(socket, content_type, payload)) {
                Outcome::Accepted(_) => Outcome::Done,
                outcome => outcome,
            },
        }
    }

    pub fn update_transmit(&mut self, socket: BorrowedFd<'_>) -> Outcome {
        let Some(Some(Ok(keys))) = self.transmit_source.as_mut().map(KeySource::update) else {
            return Outcome::Failed(Failure::Unsupported);
        };
        updated(match &mut self.transmit {
            Some(user) => user.update(&keys),
            None => set(socket, &keys, Direction::Transmit),
        })
    }

    pub fn update_receive(&mut self, socket: BorrowedFd<'_>) -> Outcome {
        let Some(Some(Ok(keys))) = self.receive_source.as_mut().map(KeySource::update) else {
            return Outcome::Failed(Failure::Unsupported);
        };
        updated(match &mut self.receive {
            Some(user) => user.update(&keys),
            None => set(socket, &keys, Direction::Receive),
        })
    }
}

fn updated(in_use: bool) -> Outcome {
    match in_use {
        true => Outcome::Done,
        false => Outcome::Failed(Failure::Unsupported),
    }
}

/// Whether the kernel took the keys of an ordinary TCP connection. It goes on as before otherwise: one
/// that the peer has ended takes none (ENOTCONN).
fn install(socket: BorrowedFd<'_>, keys: &RecordKeys, direction: Direction) -> bool {
    let attached = match ktls::attach(socket) {
        Ok(()) => true,
        // For the other direction.
        Err(error) => error.raw_os_error() == Some(libc::EEXIST),
    };
    attached && set(socket, keys, direction)
}

fn set(socket: BorrowedFd<'_>, keys: &RecordKeys, direction: Direction) -> bool {
    ktls::install(socket, direction, crypto_info(keys, direction)).is_ok()
}

const ALERT_BAD_RECORD_MAC: u8 = 20;
const ALERT_RECORD_OVERFLOW: u8 = 22;
const ALERT_DECODE_ERROR: u8 = 50;

fn kernel_input(source: BorrowedFd<'_>, version: TlsVersion, out: &mut [u8]) -> Input {
    match ktls::receive(source, out) {
        Ok((0, None)) => Input::End,
        Ok((0, Some(ktls::CONTENT_DATA))) => Input::Empty,
        // A short read may have stopped at a control record, which the same edge announced.
        Ok((bytes, None | Some(ktls::CONTENT_DATA))) => Input::Data {
            bytes,
            held: bytes,
            drained: false,
        },
        Ok((bytes, Some(content_type))) => {
            control_record::interpret(version, content_type, out.get(..bytes).unwrap_or_default())
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Input::Blocked,
            Some(libc::EBADMSG) => Input::Violation(ALERT_BAD_RECORD_MAC),
            Some(libc::EMSGSIZE) => Input::Violation(ALERT_RECORD_OVERFLOW),
            Some(libc::EINVAL) => Input::Violation(ALERT_DECODE_ERROR),
            _ => Input::Failed(Failure::Lost),
        },
    }
}

/// Why a splice out of a socket stopped.
pub fn splice_stopped(error: &std::io::Error) -> Input {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Input::Blocked,
        Some(libc::EBADMSG) => Input::Violation(ALERT_BAD_RECORD_MAC),
        Some(libc::EMSGSIZE) => Input::Violation(ALERT_RECORD_OVERFLOW),
        // EINVAL: a control record, or a bad header, which a read tells apart. The others pass.
        Some(libc::EINVAL | libc::EINTR | libc::ENOMEM | libc::EKEYEXPIRED) => Input::Unspliceable,
        _ => Input::Failed(Failure::Lost),
    }
}
