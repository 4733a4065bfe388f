//! One server handshake, without a socket.
//!
//! ```text
//!             append what was read                    transmit, always
//!   incoming ──────────────────────> advance() ──────────────────────> outgoing
//!                                        │
//!                NeedRecord <────────────┼────────────> Err (an alert may be in outgoing)
//!                                        v
//!                                      Done ──> into_established() ──> keys, and who it is
//! ```
//!
//! What is behind the client's Finished is never touched: it is what `incoming` holds at the end, so
//! that its owner can leave it in the socket for the kernel to decrypt.
//! Application data is not this module's business, and early data is not offered.

use std::sync::Arc;

use rustls::{
    ProtocolVersion, ServerConfig,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus},
};

use super::{
    capture::{self, NoCertificate, Notes},
    describe::CertificateInfo,
    established::Established,
    session_error::SessionError,
};
use crate::limits::{HANDSHAKE_BYTES_MAX, RECORD_CIPHERTEXT_MAX_TLS12, RECORD_HEADER};

pub struct Session {
    connection: UnbufferedServerConnection,
    notes: Option<Box<Notes>>,
    /// How much of `incoming` rustls has seen and not let go of; it ends where a record does.
    seen: usize,
    /// Bytes that rustls has let go of.
    consumed: usize,
    stage: Stage,
}

/// What a client had said by the time that its handshake failed. Nobody vouches for it.
#[derive(Debug, Default)]
pub struct Presented {
    pub server_name: Option<Box<str>>,
    /// The one that was refused.
    pub certificate: Option<Box<CertificateInfo>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Transmit `outgoing`, then append at least the next record to `incoming`.
    NeedRecord,
    /// Transmit `outgoing`, then call [`Session::into_established`].
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been sent, so that an alert would go out in the clear.
    Untouched,
    Talking,
    Done,
    Failed,
}

const ALERT: u8 = 21;
/// A flight with a chain of two ECDSA certificates fits; larger ones cost one reallocation.
const FLIGHT_BYTES: usize = 4096;

impl Session {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, SessionError> {
        Ok(Session {
            connection: UnbufferedServerConnection::new(config)?,
            notes: Some(Box::default()),
            seen: 0,
            consumed: 0,
            stage: Stage::Untouched,
        })
    }

    /// Goes on with what is in `incoming`, which its owner only ever appends to. Consumed bytes are
    /// removed from it; bytes to transmit are appended to `outgoing`, whatever is returned.
    pub fn advance(
        &mut self,
        incoming: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Progress, SessionError> {
        let sent_before = outgoing.len();
        let progress = match self.stage {
            Stage::Done => return Ok(Progress::Done),
            Stage::Failed => Err(SessionError::Internal("used after it failed".into())),
            Stage::Untouched | Stage::Talking => self.advance_records(incoming, outgoing),
        };
        match &progress {
            Ok(Progress::NeedRecord) if outgoing.len() > sent_before => self.stage = Stage::Talking,
            Ok(Progress::NeedRecord) => {}
            Ok(Progress::Done) => self.stage = Stage::Done,
            Err(error) => {
                if self.stage == Stage::Untouched {
                    replace_alert(error, outgoing, sent_before);
                }
                self.stage = Stage::Failed;
            }
        }
        progress
    }

    /// Whether what was encoded last is session tickets alone: in TLS 1.3 the server's Finished left
    /// before the client's came, and nobody waits for tickets.
    pub fn ends_with_tickets(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// What a client that was refused had presented.
    pub fn take_presented(&mut self) -> Presented {
        let notes = self.notes.as_deref_mut();
        notes.map_or_else(Presented::default, |notes| Presented {
            server_name: notes.server_name.take(),
            certificate: notes.refused.take(),
        })
    }

    /// Ends the handshake. Where it returns an error, it may have appended an alert to `outgoing`.
    pub fn into_established(self, outgoing: &mut Vec<u8>) -> Result<Established, SessionError> {
        if self.stage != Stage::Done {
            return Err(SessionError::Internal("the handshake is not done".into()));
        }
        Established::new(self.connection, &self.notes.unwrap_or_default(), outgoing)
    }

    /// Hands rustls one record more at a time, so that it stops at the client's Finished.
    fn advance_records(
        &mut self,
        incoming: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<Progress, SessionError> {
        loop {
            let rest = incoming.get(self.seen..).unwrap_or_default();
            let Some(length) = record_length(rest) else {
                return Ok(Progress::NeedRecord);
            };
            // Until keys change, an alert is two bytes in the clear. rustls passes over close_notify
            // in a handshake of TLS 1.2, and would wait for more.
            if let [ALERT, _, _, 0, 2, _, 0, ..] = rest {
                return Err(SessionError::Closed);
            }
            if rest.len() < length {
                return Ok(Progress::NeedRecord);
            }
            let is_record = is_plausible(rest);
            self.seen += length;
            if self.consumed + self.seen > HANDSHAKE_BYTES_MAX {
                return Err(SessionError::TooManyBytes);
            }
            self.process(incoming, outgoing)?;
            if !is_record {
                // rustls has its own idea of what a header may be; ours is stricter.
                return Err(SessionError::ProtocolError("not a record".into()));
            }
            if !self.connection.is_handshaking() {
                return match self.seen {
                    0 => Ok(Progress::Done),
                    // Part of a message behind Finished, in the same record.
                    _ => Err(SessionError::ProtocolError(
                        "a message follows Finished in its record".into(),
                    )),
                };
            }
        }
    }

    /// Runs rustls until it wants more than the bytes it has seen.
    fn process(
        &mut self,
        incoming: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> Result<(), SessionError> {
        loop {
            let lent = capture::lend(&mut self.notes);
            let seen = incoming.get_mut(..self.seen).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(seen);
            let step = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing).map(|()| true),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It leaves when our caller transmits `outgoing`; nothing depends on when.
                    data.done();
                    Ok(true)
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    Ok(false)
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    Err(SessionError::Closed)
                }
                Ok(_) => Err(SessionError::ProtocolError(
                    "application data within the handshake".into(),
                )),
                Err(error) => Err(SessionError::from(error)),
            };
            drop(lent);
            let discard = discard.min(self.seen);
            incoming.drain(..discard);
            self.seen -= discard;
            self.consumed += discard;
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    let error = self.with_notes(error);
                    self.flush_alert(incoming, outgoing);
                    return Err(error);
                }
            }
        }
    }

    /// rustls queues an alert with most errors.
    fn flush_alert(&mut self, incoming: &mut [u8], outgoing: &mut Vec<u8>) {
        // Only while there is something: rustls would go on reading otherwise.
        while self.connection.wants_write() {
            let seen = incoming.get_mut(..self.seen).unwrap_or_default();
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(seen);
            match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    if encode(data, outgoing).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// What our resolver knows of an error that rustls calls general.
    fn with_notes(&mut self, error: SessionError) -> SessionError {
        let Some(notes) = self.notes.as_deref_mut() else {
            return error;
        };
        match (notes.no_certificate, error) {
            (Some(NoCertificate::UnknownName), SessionError::Internal(_)) => {
                SessionError::UnknownSni(notes.server_name.clone())
            }
            (Some(NoCertificate::NoSignatureScheme), SessionError::Internal(_)) => {
                SessionError::NoSharedSignature
            }
            (_, error) => error,
        }
    }
}

/// Length of the record that begins here, header included; `None` while its header is not there.
/// What is no header of a record counts as all there is, for [`Session::advance`] to refuse before
/// anything more is read.
pub fn record_length(bytes: &[u8]) -> Option<usize> {
    let [.., high, low] = *bytes.first_chunk::<RECORD_HEADER>()?;
    Some(match is_plausible(bytes) {
        true => RECORD_HEADER + usize::from(u16::from_be_bytes([high, low])),
        false => RECORD_HEADER,
    })
}

fn is_plausible(header: &[u8]) -> bool {
    let [20..=23, 3, _, high, low, ..] = *header else {
        return false;
    };
    usize::from(u16::from_be_bytes([high, low])) <= RECORD_CIPHERTEXT_MAX_TLS12
}

fn encode(
    mut data: EncodeTlsData<'_, ServerConnectionData>,
    outgoing: &mut Vec<u8>,
) -> Result<(), SessionError> {
    let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) else {
        return Ok(());
    };
    let start = outgoing.len();
    outgoing.reserve(needed.required_size.max(FLIGHT_BYTES));
    outgoing.resize(start + needed.required_size, 0);
    data.encode(outgoing.get_mut(start..).unwrap_or_default())
        .map(|_| ())
        .map_err(SessionError::internal)
}

/// The alert in the clear that `error` calls for, instead of what rustls made of it.
fn replace_alert(error: &SessionError, outgoing: &mut Vec<u8>, start: usize) {
    let rustls_knows_better = matches!(
        error,
        SessionError::ProtocolError(_) | SessionError::NotTls | SessionError::Internal(_)
    ) && outgoing.len() > start;
    if let (Some(description), false) = (error.alert(), rustls_knows_better) {
        outgoing.truncate(start);
        outgoing.extend_from_slice(&[ALERT, 3, 3, 0, 2, 2, u8::from(description)]);
    }
}
