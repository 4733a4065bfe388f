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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        CipherSuite, ConnectionTrafficSecrets, SupportedCipherSuite,
        crypto::{aws_lc_rs::ALL_CIPHER_SUITES, cipher::AeadKey},
    };

    use super::*;
    use crate::tls::{
        Progress, Session,
        tests::{Client, Pki, config_of, deliver, listener, written},
    };

    fn suite(name: CipherSuite) -> SupportedCipherSuite {
        *ALL_CIPHER_SUITES
            .iter()
            .find(|suite| suite.suite() == name)
            .unwrap()
    }

    fn secrets(chacha: bool) -> ConnectionTrafficSecrets {
        let key = AeadKey::from(std::array::from_fn::<u8, 32, _>(|i| {
            u8::try_from(i).unwrap()
        }));
        let iv = (std::array::from_fn::<u8, 12, _>(|i| 0x40 + u8::try_from(i).unwrap())).into();
        if chacha {
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }
        } else {
            ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        }
    }

    fn bytes(info: &CryptoInfo) -> Vec<u8> {
        match info {
            CryptoInfo::AesGcm256(i) => [
                &i.info.version.to_be_bytes()[..],
                &i.info.cipher_type.to_be_bytes(),
                &i.iv,
                &i.key,
                &i.salt,
                &i.rec_seq,
            ]
            .concat(),
            CryptoInfo::Chacha20Poly1305(i) => [
                &i.info.version.to_be_bytes()[..],
                &i.info.cipher_type.to_be_bytes(),
                &i.iv,
                &i.key,
                &i.rec_seq,
            ]
            .concat(),
            _ => panic!("another cipher"),
        }
    }

    #[test]
    fn structures_are_those_of_the_ktls_crate_but_for_the_nonce_that_must_differ() {
        for (name, chacha) in [
            (CipherSuite::TLS13_AES_256_GCM_SHA384, false),
            (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, true),
            (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, false),
            (
                CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                true,
            ),
        ] {
            let suite = suite(name);
            let theirs = bytes(&CryptoInfo::from_rustls(suite, (7, secrets(chacha))).unwrap());
            for direction in [Direction::Transmit, Direction::Receive] {
                let keys = RecordKeys::from_rustls(suite, (7, secrets(chacha))).unwrap();
                let mut ours = bytes(&crypto_info(&keys, direction));
                let tls12 = keys.version() == TlsVersion::Tls12;
                if tls12 && !chacha && direction == Direction::Transmit {
                    ours[4] ^= 0x80;
                }
                assert_eq!(ours, theirs, "{name:?} {direction:?}");
            }
        }
    }

    /// The explicit nonce of the record behind the server's ChangeCipherSpec: its Finished.
    fn finished_nonce(flight: &[u8]) -> [u8; 8] {
        let mut rest = flight;
        let mut changed = false;
        while let [content_type, _, _, high, low, body @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if changed {
                return body[..8].try_into().unwrap();
            }
            changed = *content_type == 20;
            rest = &body[length..];
        }
        panic!("no Finished in {} bytes", flight.len());
    }

    #[test]
    fn the_first_nonce_of_the_kernel_is_not_that_of_finished() {
        let pki = Pki::new("nonce");
        let config = config_of(&listener(vec![pki.server(&["localhost"]).source()]));
        for suite in [
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ] {
            let mut client = Client::tls12(&pki).suite(suite).connect("localhost");
            let mut session = Session::new(Arc::clone(&config)).unwrap();
            let (mut incoming, mut flight) = (Vec::new(), Vec::new());
            loop {
                incoming.extend(written(&mut client));
                flight.clear();
                let progress = session.advance(&mut incoming, &mut flight).unwrap();
                deliver(&mut client, &flight).unwrap();
                if progress == Progress::Done {
                    break;
                }
            }
            let finished = finished_nonce(&flight);
            let established = session.into_established(&mut Vec::new()).unwrap();
            let keys = established.tx.keys;
            assert_eq!(
                keys.iv()[4..],
                finished,
                "rustls has used the nonce that it exports"
            );
            let first = match crypto_info(&keys, Direction::Transmit) {
                CryptoInfo::AesGcm128(info) => info.iv,
                CryptoInfo::AesGcm256(info) => info.iv,
                _ => panic!("another cipher"),
            };
            assert_ne!(first, finished, "{suite:?}");
            assert_eq!(
                first[0] ^ 0x80,
                finished[0],
                "the ranges are 2^63 records apart"
            );
        }
    }
}
