//! Records in user space: the same job as kernel TLS, for connections that cannot move into it.
//!
//! ```text
//! TLS 1.3                [header 5][payload][type 1][tag 16]
//! TLS 1.2 AES-GCM        [header 5][explicit nonce 8][payload][tag 16]
//! TLS 1.2 ChaCha20       [header 5][payload][tag 16]
//! ```
//!
//! A [`Sealer`] or [`Opener`] holds one key and no buffer. It does not interpret alerts or handshake
//! messages, does not count them, and never changes keys by itself: for a KeyUpdate its owner makes
//! a new one. After any error but [`RecordError::NoRoom`] the connection cannot go on.

mod direction;
mod open;
mod seal;

use std::fmt;

pub use open::{Opened, Opener};
pub use seal::Sealer;

/// What a record carries after the handshake. ChangeCipherSpec is not among them: it is never
/// legal there (RFC 8446, section 5; RFC 5246 without renegotiation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ContentType {
    Alert = 21,
    Handshake = 22,
    ApplicationData = 23,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Nothing has been consumed; the same call may be made again with `needed` bytes of room.
    NoRoom {
        needed: usize,
    },
    BadRecordMac,
    RecordOverflow,
    DecodeError,
    UnexpectedMessage,
    SequenceExhausted,
    PayloadTooLong,
    Crypto,
}

impl ContentType {
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            21 => Some(ContentType::Alert),
            22 => Some(ContentType::Handshake),
            23 => Some(ContentType::ApplicationData),
            _ => None,
        }
    }
}

impl RecordError {
    /// The alert that tells the peer (RFC 8446, section 6.2).
    pub fn alert(&self) -> u8 {
        match self {
            RecordError::UnexpectedMessage => 10,
            RecordError::BadRecordMac => 20,
            RecordError::RecordOverflow => 22,
            RecordError::DecodeError => 50,
            RecordError::NoRoom { .. }
            | RecordError::SequenceExhausted
            | RecordError::PayloadTooLong
            | RecordError::Crypto => 80,
        }
    }

    /// For metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            RecordError::UnexpectedMessage => "unexpected_message",
            RecordError::BadRecordMac => "bad_record",
            RecordError::RecordOverflow => "record_overflow",
            RecordError::DecodeError => "decode_error",
            RecordError::SequenceExhausted => "sequence_exhausted",
            RecordError::NoRoom { .. } | RecordError::PayloadTooLong | RecordError::Crypto => {
                "internal"
            }
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::NoRoom { needed } => {
                write!(f, "no room for a record: {needed} bytes are needed")
            }
            RecordError::BadRecordMac => f.write_str(
                "a record of the peer did not decrypt: it was damaged or forged on the way",
            ),
            RecordError::RecordOverflow => {
                f.write_str("the peer sent a record longer than TLS allows")
            }
            RecordError::DecodeError => f.write_str("the peer sent bytes that are not a record"),
            RecordError::UnexpectedMessage => {
                f.write_str("the peer sent a kind of record that TLS does not allow here")
            }
            RecordError::SequenceExhausted => f.write_str(
                "all sequence numbers of a key are used: lower records_per_key in [limits]",
            ),
            RecordError::PayloadTooLong => f.write_str("a payload is longer than one record"),
            RecordError::Crypto => f.write_str("the cryptographic library refused to work"),
        }
    }
}

impl std::error::Error for RecordError {}
