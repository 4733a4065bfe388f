//! Records that are made and opened here: the same job as the kernel's, with the same results.

use std::os::fd::BorrowedFd;

use super::{
    control_record,
    core::{Failure, Input, Outcome},
    leg::{output, plain_input_of},
    pool::Buffer,
};
use crate::{
    config::TlsVersion,
    limits::{COPY_BYTES, RECORD_HEADER, RECORD_PAYLOAD_MAX},
    sys::{ktls::Direction, socket},
    tls::{ContentType, Opened, Opener, RecordError, RecordKeys, Sealer, record_length},
};

/// What is sent.
pub struct UserTransmit {
    sealer: Sealer,
    /// A control record of ours that is not wholly sent, and which one it is.
    sending: Vec<u8>,
    sending_which: Option<(u8, u8)>,
}

/// What is received.
pub struct UserReceive {
    opener: Opener,
    /// Ciphertext that was read and not opened: a part of a record, or what is behind a control
    /// record. At most one read's worth.
    unopened: Vec<u8>,
    /// A control record that was opened while data before it was still to be handed on.
    control: Option<Input>,
}

/// What both directions have, so that the kernel can go on where they are.
pub trait Records {
    const DIRECTION: Direction;

    /// Records under the present key.
    fn sequence(&self) -> u64;

    /// Whether all records that have begun are through: sent, or handed on.
    fn is_between_records(&self) -> bool;

    /// Whether `keys` are in use now.
    fn update(&mut self, keys: &RecordKeys) -> bool;
}

impl Records for UserTransmit {
    const DIRECTION: Direction = Direction::Transmit;

    fn sequence(&self) -> u64 {
        self.sealer.sequence()
    }

    /// Of control records; those of data are the caller's.
    fn is_between_records(&self) -> bool {
        self.sending.is_empty()
    }

    fn update(&mut self, keys: &RecordKeys) -> bool {
        Sealer::new(keys).map(|sealer| self.sealer = sealer).is_ok()
    }
}

impl Records for UserReceive {
    const DIRECTION: Direction = Direction::Receive;

    fn sequence(&self) -> u64 {
        self.opener.sequence()
    }

    fn is_between_records(&self) -> bool {
        self.unopened.is_empty() && self.control.is_none()
    }

    fn update(&mut self, keys: &RecordKeys) -> bool {
        Opener::new(keys).map(|opener| self.opener = opener).is_ok()
    }
}

impl UserTransmit {
    pub fn new(keys: &RecordKeys) -> Result<Self, RecordError> {
        Ok(UserTransmit {
            sealer: Sealer::new(keys)?,
            sending: Vec::new(),
            sending_which: None,
        })
    }

    pub fn prefix(&self) -> usize {
        self.sealer.prefix()
    }

    pub fn suffix(&self) -> usize {
        self.sealer.suffix()
    }

    /// Seals `bytes` of payload that were read between the gaps; returns the length on the wire.
    /// `None`: the sequence is used up, which the record limit prevents.
    pub fn seal(&mut self, buffer: &mut Buffer, bytes: usize) -> Option<usize> {
        let frame_length = self.prefix() + RECORD_PAYLOAD_MAX + self.suffix();
        let mut left = bytes;
        let mut wire = 0;
        for frame in buffer.bytes.chunks_mut(frame_length) {
            if left == 0 {
                break;
            }
            let payload = left.min(RECORD_PAYLOAD_MAX);
            wire += self
                .sealer
                .seal_in_place(ContentType::ApplicationData, frame, payload)
                .ok()?;
            left -= payload;
        }
        Some(wire)
    }

    /// Seals and sends one control record. Asked for the same again after `Blocked`, it goes on
    /// where it stopped.
    pub fn send_control(
        &mut self,
        to: BorrowedFd<'_>,
        content_type: u8,
        payload: &[u8],
    ) -> Outcome {
        let which = (content_type, payload.last().copied().unwrap_or_default());
        if self.sending_which != Some(which) {
            let Some(content_type) = ContentType::from_u8(content_type) else {
                return Outcome::Failed(Failure::Unsupported);
            };
            if self
                .sealer
                .seal(content_type, payload, &mut self.sending)
                .is_err()
            {
                return Outcome::Failed(Failure::Lost);
            }
            self.sending_which = Some(which);
        }
        while !self.sending.is_empty() {
            match output(|| socket::send(to, &self.sending)) {
                Outcome::Accepted(count) => drop(self.sending.drain(..count)),
                outcome => return outcome,
            }
        }
        self.sending = Vec::new();
        self.sending_which = None;
        Outcome::Done
    }
}

impl UserReceive {
    pub fn new(keys: &RecordKeys, unopened: Vec<u8>) -> Result<Self, RecordError> {
        Ok(UserReceive {
            opener: Opener::new(keys)?,
            unopened,
            control: None,
        })
    }

    /// Reads ciphertext into `scratch` and opens its records into `out`, up to a record that holds
    /// no data. `ends_with_record`: nothing behind the record that has begun, where the kernel is to go on.
    pub fn read(
        &mut self,
        version: TlsVersion,
        source: BorrowedFd<'_>,
        out: &mut [u8],
        scratch: &mut [u8],
        ends_with_record: bool,
    ) -> Input {
        if let Some(control) = self.control.take() {
            return control;
        }
        let mut filled = self.unopened.len();
        if let Some(front) = scratch.get_mut(..filled) {
            front.copy_from_slice(&self.unopened);
        }
        self.unopened.clear();
        // What was left behind a control record may hold whole records.
        if filled > 0
            && let Some(input) = self.open(version, scratch, filled, out, false)
        {
            return input;
        }
        // A part of a record says nothing of what is behind it, so this goes on until a record is
        // whole or the socket is empty.
        loop {
            let room = room(scratch, filled, ends_with_record);
            let part = scratch.get_mut(filled..filled + room).unwrap_or_default();
            match plain_input_of(socket::receive(source, part), room) {
                Input::Data { bytes, drained, .. } => {
                    filled += bytes;
                    if let Some(input) = self.open(version, scratch, filled, out, drained) {
                        return input;
                    }
                }
                other => return other,
            }
        }
    }

    /// Opens records of `scratch[..filled]`; keeps what is left of it. `None`: not one whole record.
    fn open(
        &mut self,
        version: TlsVersion,
        scratch: &mut [u8],
        filled: usize,
        out: &mut [u8],
        mut drained: bool,
    ) -> Option<Input> {
        let (mut at, mut bytes) = (0, 0);
        let mut first = None;
        while at < filled {
            let input = scratch.get_mut(at..filled).unwrap_or_default();
            let room = out.get_mut(bytes..).unwrap_or_default();
            match self.opener.open(input, room) {
                Ok(Opened::Partial { .. }) => break,
                Err(RecordError::NoRoom { .. }) => {
                    drained = false;
                    break;
                }
                Ok(Opened::Record {
                    content_type,
                    plaintext_len,
                    consumed,
                }) => {
                    at += consumed;
                    if content_type == ContentType::ApplicationData {
                        bytes += plaintext_len;
                        if plaintext_len == 0 {
                            first = Some(Input::Empty);
                            break;
                        }
                    } else {
                        let payload = room.get(..plaintext_len).unwrap_or_default();
                        let meaning =
                            control_record::interpret(version, content_type.as_u8(), payload);
                        first = Some(meaning);
                        break;
                    }
                }
                Err(error) => {
                    // Sticky: what is behind it is never looked at.
                    first = Some(Input::Violation(error.alert()));
                    break;
                }
            }
        }
        self.unopened = scratch.get(at..filled).unwrap_or_default().to_vec();
        match first {
            Some(input) if bytes == 0 => Some(input),
            None if bytes == 0 => None,
            control => {
                let drained = drained && control.is_none();
                self.control = control;
                Some(Input::Data {
                    bytes,
                    held: bytes,
                    drained,
                })
            }
        }
    }
}

/// How much is read behind `scratch[..filled]`, at least one byte: a read of none would look like the
/// end.
fn room(scratch: &[u8], filled: usize, ends_with_record: bool) -> usize {
    let end = match ends_with_record {
        true => record_length(scratch.get(..filled).unwrap_or_default()).unwrap_or(RECORD_HEADER),
        false => COPY_BYTES.min(scratch.len()),
    };
    end.saturating_sub(filled).max(1)
}
