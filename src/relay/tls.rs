//! The TLS of a client leg. Each direction is in the kernel or in user space by itself, and moves into
//! the kernel when it is worth it.
//!
//! Bulk is what it is worth it for: installing keys costs as much as some 10 KiB of encryption, and a
//! small record costs more in the kernel than here. So a direction begins in user space, unless told
//! otherwise, and moves when the relay would splice: what is sent, once nothing is held back; what is
//! received, at the end of a record, behind which nothing may have been read.

use std::{io, os::fd::BorrowedFd};

use super::{
    control_record,
    core::{Failure, Input, Outcome},
    leg::output,
    user_tls::{Records, UserReceive, UserTransmit},
};
use crate::{
    config::TlsVersion,
    sys::ktls::{self, Direction},
    tls::{DirectionKeys, KeySource, RecordError, RecordKeys, kernel::crypto_info},
};

pub struct Tls {
    version: TlsVersion,
    receive: Half<UserReceive>,
    transmit: Half<UserTransmit>,
    moves: Moves,
    /// The kernel may hold the rest of a record, the others of which were read: then what is behind it was
    /// announced already.
    rest: bool,
}

/// What may move into the kernel, and what the kernel can do then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    pub transmit: bool,
    pub receive: bool,
    /// It decrypts TLS 1.3 straight into the reader's buffer.
    pub no_padding: bool,
    /// It takes new keys after a KeyUpdate.
    pub updates: bool,
    /// A record that ended a read has an event of its own.
    pub announces: bool,
}

/// One direction.
struct Half<R> {
    /// Who makes its records, or opens them; `None`: the kernel.
    user: Option<Box<R>>,
    /// `None`: nobody needs them, for the kernel has the keys of TLS 1.2, which are for good.
    source: Option<KeySource>,
    moving: Moving,
}

/// Whether a direction is on its way into the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moving {
    /// It is there, or stays where it is.
    No,
    WithBulk,
    /// Bulk came. It moves as soon as no record is under way.
    Due,
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
    pub moves: Moves,
}

/// Who has the keys when the relay begins.
pub enum InitialPath {
    /// The kernel has those of both directions.
    Kernel,
    User {
        /// Ciphertext that was read already.
        unopened: Vec<u8>,
    },
}

impl ClientTls {
    /// An error is a defect of ours.
    pub fn into_tls(self: Box<Self>) -> Result<Box<Tls>, RecordError> {
        let mut this = self;
        let (transmit, receive) = (&this.transmit, &this.receive);
        let mut tls = Box::new(Tls {
            version: transmit.keys.version(),
            receive: Half::place(receive),
            transmit: Half::place(transmit),
            moves: this.moves,
            rest: false,
        });
        tls.receive.fill(receive);
        tls.transmit.fill(transmit);
        match &mut this.path {
            InitialPath::Kernel => {
                tls.receive.leave_to_kernel();
                tls.transmit.leave_to_kernel();
            }
            InitialPath::User { unopened } => {
                let unopened = std::mem::take(unopened);
                let user = UserReceive::new(&receive.keys, unopened)?;
                tls.receive.begin(user, this.moves.receive);
                let user = UserTransmit::new(&transmit.keys)?;
                tls.transmit.begin(user, this.moves.transmit);
            }
        }
        Ok(tls)
    }
}

impl<R: Records> Half<R> {
    fn place(keys: &DirectionKeys) -> Self {
        Half {
            user: None,
            source: Some(KeySource::place(keys)),
            moving: Moving::No,
        }
    }

    fn fill(&mut self, keys: &DirectionKeys) {
        if let Some(source) = &mut self.source {
            source.fill(keys);
        }
    }

    fn begin(&mut self, user: R, moves: bool) {
        self.user = Some(Box::new(user));
        if moves {
            self.moving = Moving::WithBulk;
        }
    }

    /// Moves if it is time for that. Where the kernel refuses, it stays for good.
    fn move_if_due(&mut self, socket: BorrowedFd<'_>, moves: Moves) {
        let (Moving::Due, Some(user), Some(source)) = (self.moving, &self.user, &self.source)
        else {
            return;
        };
        if !user.is_between_records() {
            return;
        }
        self.moving = Moving::No;
        let keys = source.current(user.sequence());
        if keys.is_ok_and(|keys| attach_and_install(socket, &keys, R::DIRECTION, moves)) {
            self.leave_to_kernel();
        }
    }

    fn leave_to_kernel(&mut self) {
        self.user = None;
        if let Some(KeySource::Keys(_)) = self.source {
            self.source = None;
        }
    }

    /// Uses the next keys. A peer that changes keys may do so again, so it does not move into a kernel
    /// that cannot.
    fn update(&mut self, socket: BorrowedFd<'_>, moves: Moves) -> Outcome {
        if !moves.updates {
            self.moving = Moving::No;
        }
        let Some(Some(Ok(keys))) = self.source.as_mut().map(KeySource::update) else {
            return Outcome::Failed(Failure::Unsupported);
        };
        let in_use = match &mut self.user {
            Some(user) => user.update(&keys),
            None => ktls::install(socket, R::DIRECTION, crypto_info(&keys, R::DIRECTION)).is_ok(),
        };
        match in_use {
            true => Outcome::Done,
            false => Outcome::Failed(Failure::Unsupported),
        }
    }
}

impl Tls {
    pub fn is_in_kernel(&self, direction: Direction) -> bool {
        match direction {
            Direction::Transmit => self.transmit.user.is_none(),
            Direction::Receive => self.receive.user.is_none(),
        }
    }

    /// Whether keys that have moved into the kernel can be changed there.
    pub fn updates_in_kernel(&self) -> bool {
        self.moves.updates
    }

    /// For plain bytes on their way to this leg: who seals them.
    pub fn sealer(&mut self) -> Option<&mut UserTransmit> {
        self.transmit.user.as_deref_mut()
    }

    /// Bulk goes this way: moves the direction into the kernel, if it may. What is sent moves at once,
    /// for the caller holds nothing that is sealed and not sent; what is received, with one of the next
    /// reads.
    pub fn offload(&mut self, socket: BorrowedFd<'_>, direction: Direction) {
        let moving = match direction {
            Direction::Transmit => &mut self.transmit.moving,
            Direction::Receive => &mut self.receive.moving,
        };
        if *moving == Moving::WithBulk {
            *moving = Moving::Due;
        }
        match direction {
            Direction::Transmit => self.transmit.move_if_due(socket, self.moves),
            Direction::Receive => {
                // What follows is a splice, which takes what the pipe has room for.
                self.rest = true;
                self.receive.move_if_due(socket, self.moves);
            }
        }
    }

    /// Reads what is there into `out`.
    pub fn read(&mut self, socket: BorrowedFd<'_>, out: &mut [u8], scratch: &mut [u8]) -> Input {
        self.receive.move_if_due(socket, self.moves);
        let ends_with_record = self.receive.moving == Moving::Due;
        match &mut self.receive.user {
            Some(user) => user.read(self.version, socket, out, scratch, ends_with_record),
            None => self.read_kernel(socket, out),
        }
    }

    /// A read ends before a record of another type. That became the next one within this very read, and
    /// the kernel announced it then: so a read that leaves room has left nothing that no event follows.
    /// Not where it began with the rest of a record: then the next one was announced before.
    fn read_kernel(&mut self, socket: BorrowedFd<'_>, out: &mut [u8]) -> Input {
        let room = out.len();
        let mut input = kernel_input(socket, self.version, out);
        if let Input::Data { bytes, drained, .. } = &mut input {
            let full = *bytes == room;
            *drained = self.moves.announces && !self.rest && !full;
            self.rest = full;
        }
        input
    }

    pub fn send_control(
        &mut self,
        socket: BorrowedFd<'_>,
        content_type: u8,
        payload: &[u8],
    ) -> Outcome {
        match &mut self.transmit.user {
            Some(user) => user.send_control(socket, content_type, payload),
            None => match output(|| ktls::send(socket, content_type, payload)) {
                Outcome::Accepted(_) => Outcome::Done,
                outcome => outcome,
            },
        }
    }

    pub fn update(&mut self, socket: BorrowedFd<'_>, direction: Direction) -> Outcome {
        match direction {
            Direction::Transmit => self.transmit.update(socket, self.moves),
            Direction::Receive => self.receive.update(socket, self.moves),
        }
    }
}

/// Whether the kernel took the keys of an ordinary TCP connection. It goes on as before otherwise: one
/// that the peer has ended takes none (ENOTCONN).
fn attach_and_install(
    socket: BorrowedFd<'_>,
    keys: &RecordKeys,
    direction: Direction,
    moves: Moves,
) -> bool {
    let attached = match ktls::attach(socket) {
        Ok(()) => true,
        // For the other direction.
        Err(error) => error.raw_os_error() == Some(libc::EEXIST),
    };
    attached && install(socket, keys, direction, moves.no_padding).is_ok()
}

/// Gives the kernel the first keys of a direction of a socket that can take them.
pub fn install(
    socket: BorrowedFd<'_>,
    keys: &RecordKeys,
    direction: Direction,
    no_padding: bool,
) -> io::Result<()> {
    ktls::install(socket, direction, crypto_info(keys, direction))?;
    if direction == Direction::Receive && keys.version() == TlsVersion::Tls13 && no_padding {
        // Without it the kernel copies what it has decrypted, which is all.
        let _ = ktls::expect_no_padding(socket);
    }
    Ok(())
}

const ALERT_BAD_RECORD_MAC: u8 = 20;
const ALERT_RECORD_OVERFLOW: u8 = 22;
const ALERT_DECODE_ERROR: u8 = 50;

fn kernel_input(source: BorrowedFd<'_>, version: TlsVersion, out: &mut [u8]) -> Input {
    match ktls::receive(source, out) {
        Ok((0, None)) => Input::End,
        Ok((0, Some(ktls::CONTENT_DATA))) => Input::Empty,
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
pub fn splice_stopped(error: &io::Error) -> Input {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Input::Blocked,
        Some(libc::EBADMSG) => Input::Violation(ALERT_BAD_RECORD_MAC),
        Some(libc::EMSGSIZE) => Input::Violation(ALERT_RECORD_OVERFLOW),
        // EINVAL: a control record, or a bad header, which a read tells apart. The others pass.
        Some(libc::EINVAL | libc::EINTR | libc::ENOMEM | libc::EKEYEXPIRED) => Input::Unspliceable,
        _ => Input::Failed(Failure::Lost),
    }
}
