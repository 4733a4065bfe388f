//! Keys of one direction of a connection: what the kernel or [`super::record`] needs.
//!
//! Keys are zeroized when dropped, never printed and never cloned. Counting records and deciding
//! when to update is the relay's job, not this module's.

use std::fmt;

use aws_lc_rs::hkdf;
use rustls::{CipherSuite, ConnectionTrafficSecrets, SupportedCipherSuite};
use zeroize::Zeroizing;

use crate::config::TlsVersion;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// Keys of one direction at one moment.
pub struct RecordKeys {
    version: TlsVersion,
    cipher: Cipher,
    key: Zeroizing<[u8; 32]>,
    iv: Zeroizing<[u8; 12]>,
    sequence: u64,
}

/// Application traffic secret of one direction of a TLS 1.3 connection (RFC 8446, section 7.2).
///
/// Kept from the handshake on, because rustls gives it out only through a `KernelConnection`, which
/// holds the peer's certificates as well.
pub struct TrafficSecret {
    cipher: Cipher,
    secret: Zeroizing<[u8; 48]>,
}

/// Where a connection that goes on takes keys of one direction from: those in use once more, when they
/// move into the kernel, and the next ones.
pub enum KeySource {
    /// TLS 1.3: of the generation in use.
    Secret(TrafficSecret),
    /// TLS 1.2, whose keys are for good.
    Keys(RecordKeys),
}

/// Keys of one direction, and where the next ones come from.
#[derive(Debug)]
pub struct DirectionKeys {
    pub keys: RecordKeys,
    /// `None` for TLS 1.2, which has no KeyUpdate.
    pub next: Option<Box<TrafficSecret>>,
}

/// Why keys could not be taken over; all of these are defects of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// rustls agreed on a suite that is not in [`super::server`]'s list.
    UnsupportedSuite,
    /// A secret or key of a length that its suite does not have.
    Length,
    /// The HKDF refused.
    Derivation,
}

impl RecordKeys {
    /// Takes over what `dangerous_into_kernel_connection` gave for one direction.
    ///
    /// For TLS 1.2 with AES-GCM the iv is salt (4 bytes) and explicit nonce (8), and rustls has sent
    /// its records with `explicit XOR sequence`. Whoever sends with these keys must not produce any
    /// of those nonces again: [`super::record`] goes on with the same formula, and the kernel, which
    /// counts up from the explicit nonce instead, must be given one with its top bit flipped.
    pub fn from_rustls(
        suite: SupportedCipherSuite,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, KeyError> {
        // The suite, not the variant, says which cipher it is: rustls has returned TLS 1.2
        // AES-256-GCM as `Aes128Gcm` with a key of 32 bytes.
        let (key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => return Err(KeyError::UnsupportedSuite),
        };
        let version = match suite {
            SupportedCipherSuite::Tls12(_) => TlsVersion::Tls12,
            SupportedCipherSuite::Tls13(_) => TlsVersion::Tls13,
        };
        let cipher = Cipher::of_suite(suite.suite()).ok_or(KeyError::UnsupportedSuite)?;
        let mut keys = RecordKeys::zeroed(version, cipher);
        copy_exactly(keys.key_mut(), key.as_ref())?;
        copy_exactly(keys.iv.as_mut(), iv.as_ref())?;
        Ok(keys.at_sequence(sequence))
    }

    pub fn version(&self) -> TlsVersion {
        self.version
    }

    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// 16 or 32 bytes.
    pub fn key(&self) -> &[u8] {
        let (key, _) = self.key.split_at(self.cipher.key_length());
        key
    }

    pub fn iv(&self) -> &[u8; 12] {
        &self.iv
    }

    /// Sequence number of the next record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub fn at_sequence(mut self, sequence: u64) -> Self {
        self.sequence = sequence;
        self
    }

    fn copy_from(&mut self, other: &Self) {
        self.version = other.version;
        self.cipher = other.cipher;
        self.key.copy_from_slice(other.key.as_slice());
        self.iv.copy_from_slice(other.iv.as_slice());
        self.sequence = other.sequence;
    }

    fn zeroed(version: TlsVersion, cipher: Cipher) -> Self {
        RecordKeys {
            version,
            cipher,
            key: Zeroizing::new([0; 32]),
            iv: Zeroizing::new([0; 12]),
            sequence: 0,
        }
    }

    fn key_mut(&mut self) -> &mut [u8] {
        let (key, _) = self.key.split_at_mut(self.cipher.key_length());
        key
    }
}

impl TrafficSecret {
    /// `secret` is the current generation: the one that the keys in use came from.
    pub fn new(cipher: Cipher, secret: &[u8]) -> Result<Self, KeyError> {
        let mut this = TrafficSecret {
            cipher,
            secret: Zeroizing::new([0; 48]),
        };
        copy_exactly(this.secret_mut(), secret)?;
        Ok(this)
    }

    /// Moves on to the next generation and returns its keys, at sequence 0 (RFC 8446, section 7.2).
    pub fn update(&mut self) -> Result<RecordKeys, KeyError> {
        let mut next = Zeroizing::new([0_u8; 48]);
        let (out, _) = next.split_at_mut(self.cipher.secret_length());
        expand_label(&self.prk(), "traffic upd", out)?;
        // Copied, not moved: a move would leave the bytes of `next` behind.
        self.secret.copy_from_slice(next.as_slice());
        self.keys()
    }

    /// "key" and "iv" of the current generation (RFC 8446, section 7.3).
    fn keys(&self) -> Result<RecordKeys, KeyError> {
        let prk = self.prk();
        let mut keys = RecordKeys::zeroed(TlsVersion::Tls13, self.cipher);
        expand_label(&prk, "key", keys.key_mut())?;
        expand_label(&prk, "iv", keys.iv.as_mut())?;
        Ok(keys)
    }

    fn prk(&self) -> hkdf::Prk {
        let (secret, _) = self.secret.split_at(self.cipher.secret_length());
        hkdf::Prk::new_less_safe(self.cipher.hkdf(), secret)
    }

    fn secret_mut(&mut self) -> &mut [u8] {
        let (secret, _) = self.secret.split_at_mut(self.cipher.secret_length());
        secret
    }
}

impl KeySource {
    /// An empty place for the source of `keys`, to be filled by [`KeySource::fill`] once it lies where it
    /// is to stay: a move of a secret leaves its bytes behind.
    pub fn place(keys: &DirectionKeys) -> Self {
        let cipher = keys.keys.cipher;
        match keys.next {
            Some(_) => KeySource::Secret(TrafficSecret {
                cipher,
                secret: Zeroizing::new([0; 48]),
            }),
            None => KeySource::Keys(RecordKeys::zeroed(keys.keys.version, cipher)),
        }
    }

    pub fn fill(&mut self, from: &DirectionKeys) {
        match (self, &from.next) {
            (KeySource::Secret(secret), Some(next)) => {
                secret.cipher = next.cipher;
                secret.secret.copy_from_slice(next.secret.as_slice());
            }
            (KeySource::Keys(keys), _) => keys.copy_from(&from.keys),
            (KeySource::Secret(_), None) => {}
        }
    }

    /// The keys in use, for the record after `sequence` others.
    pub fn current(&self, sequence: u64) -> Result<RecordKeys, KeyError> {
        let mut keys = match self {
            KeySource::Secret(secret) => secret.keys()?,
            KeySource::Keys(from) => {
                let mut keys = RecordKeys::zeroed(from.version, from.cipher);
                keys.copy_from(from);
                keys
            }
        };
        keys.sequence = sequence;
        Ok(keys)
    }

    /// Moves on to the next generation. `None`: TLS 1.2 has none.
    pub fn update(&mut self) -> Option<Result<RecordKeys, KeyError>> {
        match self {
            KeySource::Secret(secret) => Some(secret.update()),
            KeySource::Keys(_) => None,
        }
    }
}

impl Cipher {
    /// AEADs that both kernel TLS and our record layer can do.
    fn of_suite(suite: CipherSuite) -> Option<Cipher> {
        match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(Cipher::Aes128Gcm),
            CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(Cipher::Aes256Gcm),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
                Some(Cipher::ChaCha20Poly1305)
            }
            _ => None,
        }
    }

    fn key_length(self) -> usize {
        match self {
            Cipher::Aes128Gcm => 16,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32,
        }
    }

    /// Output of the hash that TLS 1.3 pairs with the cipher (RFC 8446, appendix B.4).
    fn secret_length(self) -> usize {
        match self {
            Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => 32,
            Cipher::Aes256Gcm => 48,
        }
    }

    fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Cipher::Aes128Gcm | Cipher::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
            Cipher::Aes256Gcm => hkdf::HKDF_SHA384,
        }
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
fn expand_label(prk: &hkdf::Prk, label: &str, out: &mut [u8]) -> Result<(), KeyError> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }

    const PREFIX: &str = "tls13 ";
    let length = u16::try_from(out.len()).map_err(|_| KeyError::Derivation)?;
    let label_length =
        u8::try_from(PREFIX.len() + label.len()).map_err(|_| KeyError::Derivation)?;
    let info: [&[u8]; 5] = [
        &length.to_be_bytes(),
        &[label_length],
        PREFIX.as_bytes(),
        label.as_bytes(),
        &[0],
    ];
    prk.expand(&info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| KeyError::Derivation)
}

fn copy_exactly(to: &mut [u8], from: &[u8]) -> Result<(), KeyError> {
    if to.len() != from.len() {
        return Err(KeyError::Length);
    }
    to.copy_from_slice(from);
    Ok(())
}

impl fmt::Debug for RecordKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordKeys")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TrafficSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficSecret").finish_non_exhaustive()
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cipher::Aes128Gcm => "AES-128-GCM",
            Cipher::Aes256Gcm => "AES-256-GCM",
            Cipher::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        })
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::UnsupportedSuite => {
                "the handshake agreed on a cipher suite that has no record layer here; \
                 this is a defect of lockgate, please report it"
            }
            KeyError::Length => {
                "a traffic secret does not have its suite's length; \
                 this is a defect of lockgate, please report it"
            }
            KeyError::Derivation => "the cryptographic library refused to derive traffic keys",
        })
    }
}

impl std::error::Error for KeyError {}
