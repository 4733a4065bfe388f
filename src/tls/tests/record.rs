use std::io::{Read, Write};

use rustls::CipherSuite;

use super::*;

const SUITES: [CipherSuite; 6] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

fn established(suite: CipherSuite) -> (Established, ClientConnection) {
    let pki = Pki::new("ca");
    let config = config_of(&listener(vec![pki.server(&["a.test"]).source()]));
    let client = match suite.as_str().unwrap().starts_with("TLS13") {
        true => Client::tls13(&pki),
        false => Client::tls12(&pki),
    };
    let mut client = client.suite(suite).connect("a.test");
    let established = handshake(&config, &mut client).unwrap();
    (established, client)
}

/// Keys for both ends of one direction, out of thin air.
pub fn keys(cipher: Cipher, version: TlsVersion, sequence: u64) -> RecordKeys {
    let suite = match (version, cipher) {
        (TlsVersion::Tls13, Cipher::Aes128Gcm) => SUITES[0],
        (TlsVersion::Tls13, Cipher::Aes256Gcm) => SUITES[1],
        (TlsVersion::Tls13, Cipher::ChaCha20Poly1305) => SUITES[2],
        (TlsVersion::Tls12, Cipher::Aes128Gcm) => SUITES[3],
        (TlsVersion::Tls12, Cipher::Aes256Gcm) => SUITES[4],
        (TlsVersion::Tls12, Cipher::ChaCha20Poly1305) => SUITES[5],
    };
    let suite = aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .find(|other| other.suite() == suite)
        .unwrap();
    let length = if cipher == Cipher::Aes128Gcm { 16 } else { 32 };
    // rustls makes keys of 32 bytes only, so a shorter one comes from a traffic secret.
    if length == 16 || version == TlsVersion::Tls13 {
        let secret = vec![7; if cipher == Cipher::Aes256Gcm { 48 } else { 32 }];
        let tls13 = TrafficSecret::new(cipher, &secret)
            .unwrap()
            .update()
            .unwrap();
        if version == TlsVersion::Tls13 {
            return tls13.at_sequence(sequence);
        }
    }
    let secrets = rustls::ConnectionTrafficSecrets::Aes256Gcm {
        key: [7; 32].into(),
        iv: rustls::crypto::cipher::Iv::new([9; 12]),
    };
    RecordKeys::from_rustls(*suite, (sequence, secrets)).unwrap()
}

pub const CASES: [(Cipher, TlsVersion); 5] = [
    (Cipher::Aes128Gcm, TlsVersion::Tls13),
    (Cipher::Aes256Gcm, TlsVersion::Tls13),
    (Cipher::ChaCha20Poly1305, TlsVersion::Tls13),
    (Cipher::Aes256Gcm, TlsVersion::Tls12),
    (Cipher::ChaCha20Poly1305, TlsVersion::Tls12),
];

pub fn pair(cipher: Cipher, version: TlsVersion) -> (Sealer, Opener) {
    (
        Sealer::new(&keys(cipher, version, 0)).unwrap(),
        Opener::new(&keys(cipher, version, 0)).unwrap(),
    )
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from((at * 7 + length) % 251).unwrap())
        .collect()
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..40)
        .chain((40..16_384).step_by(997))
        .chain(16_370..=16_384)
}

#[test]
fn a_rustls_client_reads_what_is_sealed_after_a_real_handshake() {
    for suite in SUITES {
        let (established, mut client) = established(suite);
        let mut sealer = Sealer::new(&established.tx.keys).unwrap();
        for length in lengths() {
            let payload = pattern(length);
            let mut frame = vec![0; sealer.prefix() + length + sealer.suffix() + 3];
            frame[sealer.prefix()..][..length].copy_from_slice(&payload);
            let record = sealer
                .seal_in_place(ContentType::ApplicationData, &mut frame, length)
                .unwrap();
            assert_eq!(record, frame.len() - 3);
            if length == 0 {
                // rustls takes some empty records, and gives nothing for them.
                deliver(&mut client, &frame[..record]).unwrap();
                continue;
            }
            deliver(&mut client, &frame[..record]).unwrap();
            let mut got = vec![0; length];
            client.reader().read_exact(&mut got).unwrap();
            assert!(got == payload, "{suite:?} {length}");
        }
        let mut close = Vec::new();
        sealer
            .seal(ContentType::Alert, &[1, 0], &mut close)
            .unwrap();
        deliver(&mut client, &close).unwrap();
        assert_eq!(client.reader().read(&mut [0; 1]).unwrap(), 0, "a clean end");
    }
}

#[test]
fn what_a_rustls_client_sends_is_opened_after_a_real_handshake() {
    for suite in SUITES {
        let (established, mut client) = established(suite);
        let mut opener = Opener::new(&established.rx.keys).unwrap();
        let mut output = vec![0; 16_384];
        for length in lengths().filter(|length| *length > 0) {
            let payload = pattern(length);
            client.writer().write_all(&payload).unwrap();
            let mut record = written(&mut client);
            let whole = record.len();
            for cut in [0, 4, 5, whole - 1] {
                let needed = if cut < 5 { 5 } else { whole };
                assert_eq!(
                    opener.open(&mut record[..cut], &mut output).unwrap(),
                    Opened::Partial { needed }
                );
            }
            record.push(0x17);
            assert_eq!(
                opener.open(&mut record, &mut output).unwrap(),
                Opened::Record {
                    content_type: ContentType::ApplicationData,
                    plaintext_len: length,
                    consumed: whole,
                }
            );
            assert!(output[..length] == payload, "{suite:?} {length}");
        }
        client.send_close_notify();
        let mut record = written(&mut client);
        let opened = opener.open(&mut record, &mut output).unwrap();
        assert!(matches!(
            opened,
            Opened::Record {
                content_type: ContentType::Alert,
                plaintext_len: 2,
                ..
            }
        ));
        assert_eq!(output[..2], [1, 0]);
    }
}

#[test]
fn a_key_update_of_a_rustls_client_is_followed() {
    let (established, mut client) = established(SUITES[0]);
    let mut opener = Opener::new(&established.rx.keys).unwrap();
    let mut sealer = Sealer::new(&established.tx.keys).unwrap();
    let mut output = vec![0; 16_384];
    client.refresh_traffic_keys().unwrap();
    client.writer().write_all(b"after").unwrap();
    let mut input = written(&mut client);
    let Opened::Record {
        content_type,
        plaintext_len,
        consumed,
    } = opener.open(&mut input, &mut output).unwrap()
    else {
        panic!("partial");
    };
    assert_eq!(content_type, ContentType::Handshake);
    assert_eq!(output[..plaintext_len], [24, 0, 0, 1, 1]);

    opener = Opener::new(&established.rx.next.unwrap().update().unwrap()).unwrap();
    opener.open(&mut input[consumed..], &mut output).unwrap();
    assert_eq!(&output[..5], b"after");

    let mut out = Vec::new();
    sealer
        .seal(ContentType::Handshake, &[24, 0, 0, 1, 0], &mut out)
        .unwrap();
    sealer = Sealer::new(&established.tx.next.unwrap().update().unwrap()).unwrap();
    sealer
        .seal(ContentType::ApplicationData, b"reply", &mut out)
        .unwrap();
    deliver(&mut client, &out).unwrap();
    let mut got = [0; 5];
    client.reader().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"reply");
}

#[test]
fn explicit_nonces_of_tls12_go_on_where_rustls_stopped() {
    let (established, _) = established(SUITES[3]);
    let iv = *established.tx.keys.iv();
    let mut sealer = Sealer::new(&established.tx.keys).unwrap();
    for sequence in 1..300_u64 {
        let mut record = Vec::new();
        sealer
            .seal(ContentType::ApplicationData, b"x", &mut record)
            .unwrap();
        let explicit = u64::from_be_bytes(iv[4..].try_into().unwrap());
        // Finished had sequence 0, so explicit XOR 0.
        assert_eq!(record[5..13], (explicit ^ sequence).to_be_bytes());
    }
}

#[test]
fn padding_of_the_peer_is_stripped_with_and_without_room_for_all_of_it() {
    let plaintext = pattern(100);
    for padding in [0, 1, 1000, 16_284] {
        // A payload that ends in a type byte and zeros is what padding looks like.
        let keys = || keys(Cipher::Aes128Gcm, TlsVersion::Tls13, 0);
        let mut inner = plaintext.clone();
        inner.push(ContentType::Handshake.as_u8());
        inner.resize(plaintext.len() + 1 + padding, 0);
        let mut record = seal_inner(keys(), &inner);
        let length = record.len();
        for room in [inner.len() - 1, 16_384, 20_000] {
            let mut opener = Opener::new(&keys()).unwrap();
            let mut output = vec![0; room];
            let opened = opener.open(&mut record.clone(), &mut output).unwrap();
            assert_eq!(
                opened,
                Opened::Record {
                    content_type: ContentType::Handshake,
                    plaintext_len: plaintext.len(),
                    consumed: length,
                }
            );
            assert_eq!(output[..100], plaintext);
        }
        let mut output = vec![0; inner.len() - 2];
        let needed = inner.len() - 1;
        let mut opener = Opener::new(&keys()).unwrap();
        let error = opener.open(&mut record, &mut output).unwrap_err();
        assert_eq!(error, RecordError::NoRoom { needed });
        output.push(0);
        opener.open(&mut record, &mut output).unwrap();
    }
}

/// A TLS 1.3 record around any TLSInnerPlaintext.
pub fn seal_inner(keys: RecordKeys, inner: &[u8]) -> Vec<u8> {
    use ::aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, keys.key()).unwrap());
    let [high, low] = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
    let header = [23, 3, 3, high, low];
    let mut body = inner.to_vec();
    let nonce = Nonce::assume_unique_for_key(*keys.iv());
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body)
        .unwrap();
    [&header[..], &body].concat()
}

#[test]
fn a_sealer_and_an_opener_are_small() {
    assert!(size_of::<Sealer>() <= 64, "{}", size_of::<Sealer>());
    assert!(size_of::<Opener>() <= 64, "{}", size_of::<Opener>());
}
