//! Keys in the form in which the kernel takes them.

use ktls::CryptoInfo;
use ktls_sys::bindings as uapi;

use super::{Cipher, RecordKeys};
use crate::{config::TlsVersion, sys::ktls::Direction};

/// The kernel's structure for `keys` (include/uapi/linux/tls.h).
///
/// For TLS 1.2 with AES-GCM the kernel sends `iv` as the explicit nonce of its first record and
/// counts up from there, while rustls has used `iv` XOR sequence for its Finished. Both start at the
/// same value, so the top bit is flipped for what is transmitted: the two ranges stay apart for 2^63
/// records. The peer reads the explicit nonce from the record (RFC 5288, section 3). TLS 1.3 and
/// ChaCha20-Poly1305 XOR the sequence on both sides and are continued as they are.
pub fn crypto_info(keys: &RecordKeys, direction: Direction) -> CryptoInfo {
    let version = match keys.version() {
        TlsVersion::Tls12 => 0x0303,
        TlsVersion::Tls13 => 0x0304,
    };
    let info = |cipher: u32| uapi::tls_crypto_info {
        version,
        cipher_type: u16::try_from(cipher).unwrap_or_default(),
    };
    let rec_seq = keys.sequence().to_be_bytes();
    let (salt, mut explicit) = split(keys.iv());
    if keys.version() == TlsVersion::Tls12 && direction == Direction::Transmit {
        explicit[0] ^= 0x80;
    }
    match keys.cipher() {
        Cipher::Aes128Gcm => CryptoInfo::AesGcm128(uapi::tls12_crypto_info_aes_gcm_128 {
            info: info(uapi::TLS_CIPHER_AES_GCM_128),
            iv: explicit,
            key: fixed(keys.key()),
            salt,
            rec_seq,
        }),
        Cipher::Aes256Gcm => CryptoInfo::AesGcm256(uapi::tls12_crypto_info_aes_gcm_256 {
            info: info(uapi::TLS_CIPHER_AES_GCM_256),
            iv: explicit,
            key: fixed(keys.key()),
            salt,
            rec_seq,
        }),
        Cipher::ChaCha20Poly1305 => {
            CryptoInfo::Chacha20Poly1305(uapi::tls12_crypto_info_chacha20_poly1305 {
                info: info(uapi::TLS_CIPHER_CHACHA20_POLY1305),
                iv: *keys.iv(),
                key: fixed(keys.key()),
                salt: uapi::__IncompleteArrayField::new(),
                rec_seq,
            })
        }
    }
}

fn split(iv: &[u8; 12]) -> ([u8; 4], [u8; 8]) {
    let mut salt = [0; 4];
    let mut explicit = [0; 8];
    salt.copy_from_slice(&iv[..4]);
    explicit.copy_from_slice(&iv[4..]);
    (salt, explicit)
}

/// `RecordKeys` holds as many bytes as its cipher takes.
fn fixed<const N: usize>(key: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    bytes
}
