use std::io::{Read, Write};

use proptest::prelude::*;
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
fn keys(cipher: Cipher, version: TlsVersion, sequence: u64) -> RecordKeys {
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
        let tls13 = TrafficSecret::new(cipher, &secret).unwrap().update().unwrap();
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

const CASES: [(Cipher, TlsVersion); 5] = [
    (Cipher::Aes128Gcm, TlsVersion::Tls13),
    (Cipher::Aes256Gcm, TlsVersion::Tls13),
    (Cipher::ChaCha20Poly1305, TlsVersion::Tls13),
    (Cipher::Aes256Gcm, TlsVersion::Tls12),
    (Cipher::ChaCha20Poly1305, TlsVersion::Tls12),
];

fn pair(cipher: Cipher, version: TlsVersion) -> (Sealer, Opener) {
    (
        Sealer::new(keys(cipher, version, 0)).unwrap(),
        Opener::new(keys(cipher, version, 0)).unwrap(),
    )
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + length) as u8).collect()
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..40).chain((40..16_384).step_by(997)).chain(16_370..=16_384)
}

#[test]
fn a_rustls_client_reads_what_is_sealed_after_a_real_handshake() {
    for suite in SUITES {
        let (established, mut client) = established(suite);
        let mut sealer = Sealer::new(established.tx.keys).unwrap();
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
        sealer.seal(ContentType::Alert, &[1, 0], &mut close).unwrap();
        deliver(&mut client, &close).unwrap();
        assert_eq!(client.reader().read(&mut [0; 1]).unwrap(), 0, "a clean end");
    }
}

#[test]
fn what_a_rustls_client_sends_is_opened_after_a_real_handshake() {
    for suite in SUITES {
        let (established, mut client) = established(suite);
        let mut opener = Opener::new(established.rx.keys).unwrap();
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
            Opened::Record { content_type: ContentType::Alert, plaintext_len: 2, .. }
        ));
        assert_eq!(output[..2], [1, 0]);
    }
}

#[test]
fn a_key_update_of_a_rustls_client_is_followed() {
    let (established, mut client) = established(SUITES[0]);
    let mut opener = Opener::new(established.rx.keys).unwrap();
    let mut sealer = Sealer::new(established.tx.keys).unwrap();
    let mut output = vec![0; 16_384];
    client.refresh_traffic_keys().unwrap();
    client.writer().write_all(b"after").unwrap();
    let mut input = written(&mut client);
    let Opened::Record { content_type, plaintext_len, consumed } =
        opener.open(&mut input, &mut output).unwrap()
    else {
        panic!("partial");
    };
    assert_eq!(content_type, ContentType::Handshake);
    assert_eq!(output[..plaintext_len], [24, 0, 0, 1, 1]);

    opener = Opener::new(established.rx.next.unwrap().update().unwrap()).unwrap();
    opener.open(&mut input[consumed..], &mut output).unwrap();
    assert_eq!(&output[..5], b"after");

    let mut out = Vec::new();
    sealer.seal(ContentType::Handshake, &[24, 0, 0, 1, 0], &mut out).unwrap();
    sealer = Sealer::new(established.tx.next.unwrap().update().unwrap()).unwrap();
    sealer.seal(ContentType::ApplicationData, b"reply", &mut out).unwrap();
    deliver(&mut client, &out).unwrap();
    let mut got = [0; 5];
    client.reader().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"reply");
}

#[test]
fn explicit_nonces_of_tls12_go_on_where_rustls_stopped() {
    let (established, _) = established(SUITES[3]);
    let iv = *established.tx.keys.iv();
    let mut sealer = Sealer::new(established.tx.keys).unwrap();
    for sequence in 1..300_u64 {
        let mut record = Vec::new();
        sealer.seal(ContentType::ApplicationData, b"x", &mut record).unwrap();
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
            let mut opener = Opener::new(keys()).unwrap();
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
        let mut opener = Opener::new(keys()).unwrap();
        let error = opener.open(&mut record, &mut output).unwrap_err();
        assert_eq!(error, RecordError::NoRoom { needed });
        output.push(0);
        opener.open(&mut record, &mut output).unwrap();
    }
}

/// A TLS 1.3 record around any TLSInnerPlaintext.
fn seal_inner(keys: RecordKeys, inner: &[u8]) -> Vec<u8> {
    use ::aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, keys.key()).unwrap());
    let [high, low] = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
    let header = [23, 3, 3, high, low];
    let mut body = inner.to_vec();
    let nonce = Nonce::assume_unique_for_key(*keys.iv());
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).unwrap();
    [&header[..], &body].concat()
}

#[test]
fn what_no_peer_may_send_has_its_alert() {
    let open = |record: &[u8], version| {
        let mut opener = Opener::new(keys(
            if version == TlsVersion::Tls13 { Cipher::Aes128Gcm } else { Cipher::Aes256Gcm },
            version,
            0,
        ))
        .unwrap();
        opener.open(&mut record.to_vec(), &mut vec![0; 16_384])
    };
    let inner = |inner: &[u8]| {
        let record = seal_inner(keys(Cipher::Aes128Gcm, TlsVersion::Tls13, 0), inner);
        open(&record, TlsVersion::Tls13)
    };
    assert_eq!(inner(&[0; 40]), Err(RecordError::UnexpectedMessage), "only zeros");
    assert_eq!(inner(&[0; 1]), Err(RecordError::UnexpectedMessage), "one zero");
    assert_eq!(inner(&[1, 20]), Err(RecordError::UnexpectedMessage), "ChangeCipherSpec inside");
    assert_eq!(inner(&[1, 99]), Err(RecordError::UnexpectedMessage), "unknown type");
    assert_eq!(inner(&[21]), Err(RecordError::UnexpectedMessage), "empty alert");
    assert_eq!(inner(&[22, 0, 0]), Err(RecordError::UnexpectedMessage), "empty handshake");
    assert!(inner(&[23]).is_ok(), "empty data");
    assert_eq!(inner(&[1; 16_386]), Err(RecordError::RecordOverflow));

    for (header, version, error) in [
        ([20, 3, 3, 0, 1], TlsVersion::Tls13, RecordError::UnexpectedMessage),
        ([21, 3, 3, 0, 2], TlsVersion::Tls13, RecordError::UnexpectedMessage),
        ([22, 3, 3, 0, 40], TlsVersion::Tls13, RecordError::UnexpectedMessage),
        ([20, 3, 3, 0, 1], TlsVersion::Tls12, RecordError::UnexpectedMessage),
        ([24, 3, 3, 0, 1], TlsVersion::Tls12, RecordError::UnexpectedMessage),
        ([23, 3, 1, 0, 40], TlsVersion::Tls13, RecordError::DecodeError),
        ([23, 3, 4, 0, 40], TlsVersion::Tls12, RecordError::DecodeError),
        ([23, 3, 3, 0x41, 1], TlsVersion::Tls13, RecordError::RecordOverflow),
        ([23, 3, 3, 0x48, 1], TlsVersion::Tls12, RecordError::RecordOverflow),
    ] {
        assert_eq!(open(&header, version), Err(error), "{header:?}");
    }
    for (length, version) in [(0, TlsVersion::Tls13), (16, TlsVersion::Tls13), (23, TlsVersion::Tls12)] {
        let mut record = vec![23, 3, 3, 0, length];
        record.resize(5 + usize::from(length), 0);
        assert_eq!(open(&record, version), Err(RecordError::BadRecordMac), "{length}");
    }
    assert_eq!(
        [
            RecordError::UnexpectedMessage.alert(),
            RecordError::BadRecordMac.alert(),
            RecordError::RecordOverflow.alert(),
            RecordError::DecodeError.alert(),
        ],
        [10, 20, 22, 50]
    );
}

#[test]
fn the_last_sequence_number_is_an_error_and_nothing_wraps() {
    for (cipher, version) in CASES {
        let keys = || keys(cipher, version, u64::MAX - 1);
        let (mut sealer, mut opener) = (Sealer::new(keys()).unwrap(), Opener::new(keys()).unwrap());
        let mut out = Vec::new();
        sealer.seal(ContentType::ApplicationData, b"last", &mut out).unwrap();
        let first = out.len();
        for _ in 0..2 {
            assert_eq!(
                sealer.seal(ContentType::ApplicationData, b"more", &mut out),
                Err(RecordError::SequenceExhausted)
            );
        }
        assert_eq!(out.len(), first, "nothing leaves in the clear");
        let mut output = [0; 16_384];
        let mut again = out.clone();
        opener.open(&mut out, &mut output).unwrap();
        assert_eq!(opener.open(&mut again, &mut output), Err(RecordError::SequenceExhausted));
    }
}

#[test]
fn too_long_payloads_and_too_short_frames_are_refused() {
    let (mut sealer, _) = pair(Cipher::Aes128Gcm, TlsVersion::Tls13);
    let data = ContentType::ApplicationData;
    let mut frame = vec![0; 20_000];
    assert_eq!(sealer.seal_in_place(data, &mut frame, 16_385), Err(RecordError::PayloadTooLong));
    let needed = 5 + 100 + 17;
    assert_eq!(
        sealer.seal_in_place(data, &mut frame[..needed - 1], 100),
        Err(RecordError::NoRoom { needed })
    );
    assert_eq!(sealer.seal_in_place(data, &mut frame[..needed], 100), Ok(needed));
    assert_eq!(sealer.sequence(), 1);
}

#[test]
fn a_sealer_and_an_opener_are_small() {
    assert!(size_of::<Sealer>() <= 64, "{}", size_of::<Sealer>());
    assert!(size_of::<Opener>() <= 64, "{}", size_of::<Opener>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_opened_or_refused_and_never_panic(
        case in 0..CASES.len(),
        mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
        header in any::<bool>(),
        room in 0_usize..600,
    ) {
        let (cipher, version) = CASES[case];
        let (_, mut opener) = pair(cipher, version);
        if header && bytes.len() >= 5 {
            let length = (bytes.len() - 5) as u16;
            bytes[..3].copy_from_slice(&[23, 3, 3]);
            bytes[3..5].copy_from_slice(&length.to_be_bytes());
        }
        let opened = opener.open(&mut bytes, &mut vec![0; room]);
        let forged = matches!(opened, Ok(Opened::Record { .. }));
        prop_assert!(!forged);
    }

    #[test]
    fn one_changed_bit_is_noticed(
        case in 0..CASES.len(),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        bit in any::<prop::sample::Index>(),
    ) {
        let (cipher, version) = CASES[case];
        let (mut sealer, mut opener) = pair(cipher, version);
        let mut record = Vec::new();
        sealer.seal(ContentType::ApplicationData, &payload, &mut record).unwrap();
        let bit = bit.index(record.len() * 8);
        record[bit / 8] ^= 1 << (bit % 8);
        let opened = opener.open(&mut record, &mut vec![0; 16_384]);
        let forged = matches!(opened, Ok(Opened::Record { .. }));
        prop_assert!(!forged);
    }

    #[test]
    fn what_is_sealed_is_opened_in_order(
        case in 0..CASES.len(),
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 1..6),
    ) {
        let (cipher, version) = CASES[case];
        let (mut sealer, mut opener) = pair(cipher, version);
        let mut stream = Vec::new();
        for payload in &payloads {
            sealer.seal(ContentType::ApplicationData, payload, &mut stream).unwrap();
        }
        let mut output = vec![0; 16_384];
        for payload in &payloads {
            let Ok(Opened::Record { plaintext_len, consumed, .. }) = opener.open(&mut stream, &mut output)
            else {
                panic!("not a record");
            };
            prop_assert_eq!(&output[..plaintext_len], payload.as_slice());
            stream.drain(..consumed);
        }
        prop_assert!(stream.is_empty());
        prop_assert_eq!(sealer.sequence(), opener.sequence());
    }
}
