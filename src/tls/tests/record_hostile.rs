use proptest::prelude::*;

use super::{
    record::{CASES, keys, pair, seal_inner},
    *,
};

#[test]
fn what_no_peer_may_send_has_its_alert() {
    let open = |record: &[u8], version| {
        let mut opener = Opener::new(keys(
            if version == TlsVersion::Tls13 {
                Cipher::Aes128Gcm
            } else {
                Cipher::Aes256Gcm
            },
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
    assert_eq!(
        inner(&[0; 40]),
        Err(RecordError::UnexpectedMessage),
        "only zeros"
    );
    assert_eq!(
        inner(&[0; 1]),
        Err(RecordError::UnexpectedMessage),
        "one zero"
    );
    assert_eq!(
        inner(&[1, 20]),
        Err(RecordError::UnexpectedMessage),
        "ChangeCipherSpec inside"
    );
    assert_eq!(
        inner(&[1, 99]),
        Err(RecordError::UnexpectedMessage),
        "unknown type"
    );
    assert_eq!(
        inner(&[21]),
        Err(RecordError::UnexpectedMessage),
        "empty alert"
    );
    assert_eq!(
        inner(&[22, 0, 0]),
        Err(RecordError::UnexpectedMessage),
        "empty handshake"
    );
    assert!(inner(&[23]).is_ok(), "empty data");
    assert_eq!(inner(&[1; 16_386]), Err(RecordError::RecordOverflow));

    for (header, version, error) in [
        (
            [20, 3, 3, 0, 1],
            TlsVersion::Tls13,
            RecordError::UnexpectedMessage,
        ),
        (
            [21, 3, 3, 0, 2],
            TlsVersion::Tls13,
            RecordError::UnexpectedMessage,
        ),
        (
            [22, 3, 3, 0, 40],
            TlsVersion::Tls13,
            RecordError::UnexpectedMessage,
        ),
        (
            [20, 3, 3, 0, 1],
            TlsVersion::Tls12,
            RecordError::UnexpectedMessage,
        ),
        (
            [24, 3, 3, 0, 1],
            TlsVersion::Tls12,
            RecordError::UnexpectedMessage,
        ),
        (
            [23, 3, 1, 0, 40],
            TlsVersion::Tls13,
            RecordError::DecodeError,
        ),
        (
            [23, 3, 4, 0, 40],
            TlsVersion::Tls12,
            RecordError::DecodeError,
        ),
        (
            [23, 3, 3, 0x41, 1],
            TlsVersion::Tls13,
            RecordError::RecordOverflow,
        ),
        (
            [23, 3, 3, 0x48, 1],
            TlsVersion::Tls12,
            RecordError::RecordOverflow,
        ),
    ] {
        assert_eq!(open(&header, version), Err(error), "{header:?}");
    }
    for (length, version) in [
        (0, TlsVersion::Tls13),
        (16, TlsVersion::Tls13),
        (23, TlsVersion::Tls12),
    ] {
        let mut record = vec![23, 3, 3, 0, length];
        record.resize(5 + usize::from(length), 0);
        assert_eq!(
            open(&record, version),
            Err(RecordError::BadRecordMac),
            "{length}"
        );
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
        sealer
            .seal(ContentType::ApplicationData, b"last", &mut out)
            .unwrap();
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
        assert_eq!(
            opener.open(&mut again, &mut output),
            Err(RecordError::SequenceExhausted)
        );
    }
}

#[test]
fn too_long_payloads_and_too_short_frames_are_refused() {
    let (mut sealer, _) = pair(Cipher::Aes128Gcm, TlsVersion::Tls13);
    let data = ContentType::ApplicationData;
    let mut frame = vec![0; 20_000];
    assert_eq!(
        sealer.seal_in_place(data, &mut frame, 16_385),
        Err(RecordError::PayloadTooLong)
    );
    let needed = 5 + 100 + 17;
    assert_eq!(
        sealer.seal_in_place(data, &mut frame[..needed - 1], 100),
        Err(RecordError::NoRoom { needed })
    );
    assert_eq!(
        sealer.seal_in_place(data, &mut frame[..needed], 100),
        Ok(needed)
    );
    assert_eq!(sealer.sequence(), 1);
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
