use aws_lc_rs::aead::Aad;

use super::{
    ContentType, RecordError,
    direction::{Direction, TAG, header_of},
};
use crate::{
    config::TlsVersion,
    limits::{RECORD_HEADER, RECORD_PAYLOAD_MAX},
    tls::keys::RecordKeys,
};

/// Makes the records of one direction, under one key.
pub struct Sealer(Direction);

impl Sealer {
    pub fn new(keys: &RecordKeys) -> Result<Self, RecordError> {
        Direction::new(keys).map(Sealer)
    }

    /// Bytes in front of a payload.
    pub fn prefix(&self) -> usize {
        RECORD_HEADER + self.0.explicit_nonce()
    }

    /// Bytes behind a payload.
    pub fn suffix(&self) -> usize {
        self.0.inner_type() + TAG
    }

    /// Records sealed under this key so far, those of the handshake included.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Makes a record of `frame`, whose payload stands behind [`Sealer::prefix`] free bytes, and
    /// returns its length. `frame` may be longer than the record.
    pub fn seal_in_place(
        &mut self,
        content_type: ContentType,
        frame: &mut [u8],
        payload_len: usize,
    ) -> Result<usize, RecordError> {
        if payload_len > RECORD_PAYLOAD_MAX {
            return Err(RecordError::PayloadTooLong);
        }
        let needed = self.prefix() + payload_len + self.suffix();
        let frame = frame
            .get_mut(..needed)
            .ok_or(RecordError::NoRoom { needed })?;
        let (nonce, explicit) = self.0.sealing_nonce()?;
        let (prefix, rest) = frame.split_at_mut(self.prefix());
        let (inner, tag_room) = rest.split_at_mut(payload_len + self.0.inner_type());
        let (header, explicit_room) = prefix.split_at_mut(RECORD_HEADER);
        let outer_type = match (self.0.version, inner.last_mut()) {
            (TlsVersion::Tls13, Some(last)) => {
                *last = content_type.as_u8();
                ContentType::ApplicationData
            }
            (TlsVersion::Tls13 | TlsVersion::Tls12, _) => content_type,
        };
        explicit_room.copy_from_slice(explicit.get(..explicit_room.len()).unwrap_or_default());
        header.copy_from_slice(&header_of(outer_type, needed - RECORD_HEADER));
        let tag = match self.0.version {
            TlsVersion::Tls13 => {
                let aad = header_of(outer_type, needed - RECORD_HEADER);
                self.0
                    .key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), inner)
            }
            TlsVersion::Tls12 => {
                let aad = self.0.aad_tls12(content_type, payload_len);
                self.0
                    .key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), inner)
            }
        }
        .map_err(|_| RecordError::Crypto)?;
        tag_room.copy_from_slice(tag.as_ref());
        self.0.sequence += 1;
        Ok(needed)
    }

    /// Appends one record to `out`: for alerts and KeyUpdates.
    pub fn seal(
        &mut self,
        content_type: ContentType,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let start = out.len();
        out.reserve_exact(self.prefix() + payload.len() + self.suffix());
        out.resize(start + self.prefix(), 0);
        out.extend_from_slice(payload);
        out.resize(out.len() + self.suffix(), 0);
        let frame = out.get_mut(start..).unwrap_or_default();
        let sealed = self.seal_in_place(content_type, frame, payload.len());
        if sealed.is_err() {
            // The payload must not leave in the clear.
            out.truncate(start);
        }
        sealed.map(|_| ())
    }
}
