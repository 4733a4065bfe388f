use super::{
    ContentType, RecordError,
    direction::{Direction, TAG},
};
use crate::{
    config::TlsVersion,
    limits::{RECORD_HEADER, RECORD_PAYLOAD_MAX},
    tls::keys::RecordKeys,
};

/// Opens the records of one direction, under one key.
pub struct Opener(Direction);

/// What [`Opener::open`] found at the front of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not a whole record yet; it has `needed` bytes, or its header, if that is not there, has.
    Partial { needed: usize },
    Record {
        content_type: ContentType,
        plaintext_len: usize,
        consumed: usize,
    },
}

impl Opener {
    pub fn new(keys: &RecordKeys) -> Result<Self, RecordError> {
        Direction::new(keys).map(Opener)
    }

    /// Sequence number of the next record.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Opens the record at the front of `input` into the front of `output`, for which 16,384 bytes
    /// are always enough. What was its ciphertext in `input` is scrap afterwards.
    pub fn open(&mut self, input: &mut [u8], output: &mut [u8]) -> Result<Opened, RecordError> {
        let Some((&mut header, body)) = input.split_first_chunk_mut::<RECORD_HEADER>() else {
            return Ok(Opened::Partial {
                needed: RECORD_HEADER,
            });
        };
        let (outer_type, length) = self.0.check_header(header)?;
        let needed = RECORD_HEADER + length;
        let Some(body) = body.get_mut(..length) else {
            return Ok(Opened::Partial { needed });
        };
        let (content_type, plaintext_len) = self.open_body(outer_type, header, body, output)?;
        self.0.sequence += 1;
        Ok(Opened::Record {
            content_type,
            plaintext_len,
            consumed: needed,
        })
    }

    fn open_body(
        &self,
        outer_type: ContentType,
        header: [u8; RECORD_HEADER],
        body: &mut [u8],
        output: &mut [u8],
    ) -> Result<(ContentType, usize), RecordError> {
        let (explicit, sealed) = body
            .split_at_mut_checked(self.0.explicit_nonce())
            .ok_or(RecordError::BadRecordMac)?;
        let (inner, tag) = sealed
            .split_last_chunk_mut::<TAG>()
            .ok_or(RecordError::BadRecordMac)?;
        // TLSInnerPlaintext with its type byte "MUST NOT exceed 2^14 + 1" (RFC 8446, section 5.4),
        // padding included, so this can be told before decrypting.
        let payload_max = inner
            .len()
            .checked_sub(self.0.inner_type())
            .ok_or(RecordError::BadRecordMac)?;
        if payload_max > RECORD_PAYLOAD_MAX {
            return Err(RecordError::RecordOverflow);
        }
        if output.len() < payload_max {
            return Err(RecordError::NoRoom {
                needed: payload_max,
            });
        }
        let nonce = self.0.opening_nonce(explicit)?;
        match self.0.version {
            TlsVersion::Tls12 => {
                let aad = self.0.aad_tls12(outer_type, payload_max);
                let plaintext = self.0.decrypt(nonce, aad, inner, tag, output)?;
                let plaintext_len = plaintext.len();
                refuse_empty_control(outer_type, plaintext_len)
            }
            TlsVersion::Tls13 => {
                let plaintext = self.0.decrypt(nonce, header, inner, tag, output)?;
                let (content_type, plaintext_len) = strip_padding(plaintext)?;
                // Where the type byte found no room in `output`, `inner` was opened in place.
                if output.len() == payload_max
                    && let (Some(from), Some(to)) =
                        (inner.get(..plaintext_len), output.get_mut(..plaintext_len))
                {
                    to.copy_from_slice(from);
                }
                refuse_empty_control(content_type, plaintext_len)
            }
        }
    }
}

/// RFC 8446, section 5.4: the last byte that is not zero is the type; without one, the record ends
/// the connection with unexpected_message.
fn strip_padding(plaintext: &[u8]) -> Result<(ContentType, usize), RecordError> {
    plaintext
        .iter()
        .rposition(|byte| *byte != 0)
        .and_then(|at| Some((ContentType::from_u8(*plaintext.get(at)?)?, at)))
        .ok_or(RecordError::UnexpectedMessage)
}

/// Only application data may be empty (RFC 8446, section 5.1; RFC 5246, section 6.2.1).
fn refuse_empty_control(
    content_type: ContentType,
    plaintext_len: usize,
) -> Result<(ContentType, usize), RecordError> {
    match content_type {
        ContentType::Alert | ContentType::Handshake if plaintext_len == 0 => {
            Err(RecordError::UnexpectedMessage)
        }
        ContentType::Alert | ContentType::Handshake | ContentType::ApplicationData => {
            Ok((content_type, plaintext_len))
        }
    }
}
