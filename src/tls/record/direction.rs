//! What sealing and opening have in common: the key, its nonces and its additional data.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{ContentType, RecordError};
use crate::{
    config::TlsVersion,
    limits::{RECORD_CIPHERTEXT_MAX, RECORD_CIPHERTEXT_MAX_TLS12, RECORD_HEADER},
    tls::keys::{Cipher, RecordKeys},
};

pub const TAG: usize = 16;
const EXPLICIT_NONCE: usize = 8;
const LEGACY_VERSION: [u8; 2] = [3, 3];

pub struct Direction {
    pub key: LessSafeKey,
    iv: Zeroizing<[u8; 12]>,
    pub sequence: u64,
    pub version: TlsVersion,
    cipher: Cipher,
}

impl Direction {
    pub fn new(keys: &RecordKeys) -> Result<Self, RecordError> {
        let algorithm = match keys.cipher() {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, keys.key()).map_err(|_| RecordError::Crypto)?;
        Ok(Direction {
            key: LessSafeKey::new(key),
            iv: Zeroizing::new(*keys.iv()),
            sequence: keys.sequence(),
            version: keys.version(),
            cipher: keys.cipher(),
        })
    }

    /// RFC 5288, section 3; TLS 1.3 and ChaCha20 (RFC 7905) have none on the wire.
    pub fn explicit_nonce(&self) -> usize {
        match (self.version, self.cipher) {
            (TlsVersion::Tls12, Cipher::Aes128Gcm | Cipher::Aes256Gcm) => EXPLICIT_NONCE,
            (TlsVersion::Tls12, Cipher::ChaCha20Poly1305) | (TlsVersion::Tls13, _) => 0,
        }
    }

    pub fn inner_type(&self) -> usize {
        match self.version {
            TlsVersion::Tls12 => 0,
            TlsVersion::Tls13 => 1,
        }
    }

    /// iv XOR sequence (RFC 8446, section 5.3; RFC 7905), and the part of it that TLS 1.2 AES-GCM
    /// sends along. For the latter this is rustls' formula with rustls' sequence going on, so no
    /// nonce of the handshake's records comes again.
    pub fn sealing_nonce(&self) -> Result<(Nonce, [u8; EXPLICIT_NONCE]), RecordError> {
        let mut nonce = *self.iv;
        let mut explicit = [0; EXPLICIT_NONCE];
        let sequence = self.usable_sequence()?.to_be_bytes();
        for ((byte, sent), sequence) in nonce.iter_mut().skip(4).zip(&mut explicit).zip(sequence) {
            *byte ^= sequence;
            *sent = *byte;
        }
        Ok((Nonce::assume_unique_for_key(nonce), explicit))
    }

    /// `explicit` is what the record brought along, or empty.
    pub fn opening_nonce(&self, explicit: &[u8]) -> Result<Nonce, RecordError> {
        if explicit.is_empty() {
            return self.sealing_nonce().map(|(nonce, _)| nonce);
        }
        self.usable_sequence()?;
        let mut nonce = *self.iv;
        for (byte, explicit) in nonce.iter_mut().skip(4).zip(explicit) {
            *byte = *explicit;
        }
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// "Sequence numbers SHOULD NOT wrap": the last one is never used (RFC 8446, section 5.3).
    fn usable_sequence(&self) -> Result<u64, RecordError> {
        match self.sequence {
            u64::MAX => Err(RecordError::SequenceExhausted),
            sequence => Ok(sequence),
        }
    }

    /// RFC 5246, section 6.2.3.3.
    pub fn aad_tls12(&self, content_type: ContentType, payload_len: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        let (sequence, header) = aad.split_at_mut(8);
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        header.copy_from_slice(&header_of(content_type, payload_len));
        aad
    }

    pub fn check_header(
        &self,
        [content_type, major, minor, high, low]: [u8; RECORD_HEADER],
    ) -> Result<(ContentType, usize), RecordError> {
        let content_type =
            ContentType::from_u8(content_type).ok_or(RecordError::UnexpectedMessage)?;
        let length_max = match self.version {
            // Everything looks like application data (RFC 8446, section 5.2); a ChangeCipherSpec
            // is legal only up to the peer's Finished.
            TlsVersion::Tls13 if content_type != ContentType::ApplicationData => {
                return Err(RecordError::UnexpectedMessage);
            }
            TlsVersion::Tls13 => RECORD_CIPHERTEXT_MAX,
            TlsVersion::Tls12 => RECORD_CIPHERTEXT_MAX_TLS12,
        };
        if [major, minor] != LEGACY_VERSION {
            return Err(RecordError::DecodeError);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > length_max {
            return Err(RecordError::RecordOverflow);
        }
        Ok((content_type, length))
    }

    /// Into `output` if all of it fits there, else in place: the type byte of a full TLS 1.3 record
    /// may be one byte too many, and is not worth a larger buffer.
    pub fn decrypt<'a, A: AsRef<[u8]>>(
        &self,
        nonce: Nonce,
        aad: A,
        inner: &'a mut [u8],
        tag: &[u8],
        output: &'a mut [u8],
    ) -> Result<&'a [u8], RecordError> {
        let aad = Aad::from(aad);
        match output.get_mut(..inner.len()) {
            Some(output) => self
                .key
                .open_separate_gather(nonce, aad, inner, tag, output)
                .map(|()| &*output),
            None => self
                .key
                .open_in_place_separate_tag(nonce, aad, tag, inner)
                .map(|plaintext| &*plaintext),
        }
        .map_err(|_| RecordError::BadRecordMac)
    }
}

pub fn header_of(content_type: ContentType, length: usize) -> [u8; RECORD_HEADER] {
    let [major, minor] = LEGACY_VERSION;
    // Bounded by the callers to less than 2^15.
    let [.., high, low] = length.to_be_bytes();
    [content_type.as_u8(), major, minor, high, low]
}
