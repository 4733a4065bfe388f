use proptest::prelude::*;

use super::{
    record::{CASES, keys, pair, seal_inner},
    *,
};

use RecordError::{BadRecordMac, DecodeError, RecordOverflow, UnexpectedMessage};
use TlsVersion::{Tls12, Tls13};

fn open(record: &[u8], version: TlsVersion) -> Result<Opened, RecordError> {
    let cipher = match version {
        Tls13 => Cipher::Aes128Gcm,
        Tls12 => Cipher::Aes256Gcm,
    };
    let mut opener = Opener::new(&keys(cipher, version, 0)).unwrap();
    opener.open(&mut record.to_vec(), &mut vec![0; 16_384])
}

#[test]
fn inner_plaintexts_that_no_peer_may_send_are_refused() {
    for (inner, error) in [
        (&[0; 40][..], UnexpectedMessage),
        (&[0], UnexpectedMessage),
        // A ChangeCipherSpec, and a type that is none.
        (&[1, 20], UnexpectedMessage),
        (&[1, 99], UnexpectedMessage),
        // Empty alerts and handshake messages.
        (&[21], UnexpectedMessage),
        (&[22, 0, 0], UnexpectedMessage),
        (&[1; 16_386], RecordOverflow),
    ] {
        let record = seal_inner(keys(Cipher::Aes128Gcm, Tls13, 0), inner);
        assert_eq!(open(&record, Tls13), Err(error));
    }
    let empty = seal_inner(keys(Cipher::Aes128Gcm, Tls13, 0), &[23]);
    assert!(open(&empty, Tls13).is_ok(), "data may be empty");
}

#[test]
fn headers_that_no_peer_may_send_are_refused_before_the_record_is_there() {
    for (header, version, error) in [
        ([20, 3, 3, 0, 1], Tls13, UnexpectedMessage),
        ([21, 3, 3, 0, 2], Tls13, UnexpectedMessage),
        ([22, 3, 3, 0, 40], Tls13, UnexpectedMessage),
        ([20, 3, 3, 0, 1], Tls12, UnexpectedMessage),
        ([24, 3, 3, 0, 1], Tls12, UnexpectedMessage),
        ([23, 3, 1, 0, 40], Tls13, DecodeError),
        ([23, 3, 4, 0, 40], Tls12, DecodeError),
        ([23, 3, 3, 0x41, 1], Tls13, RecordOverflow),
        ([23, 3, 3, 0x48, 1], Tls12, RecordOverflow),
    ] {
        assert_eq!(open(&header, version), Err(error), "{header:?}");
    }
    for (length, version) in [(0, Tls13), (16, Tls13), (23, Tls12)] {
        let mut record = vec![23, 3, 3, 0, length];
        record.resize(5 + usize::from(length), 0);
        assert_eq!(open(&record, version), Err(BadRecordMac), "{length}");
    }
}

#[test]
fn errors_of_the_peer_have_the_alerts_of_the_standard() {
    for (error, alert) in [
        (UnexpectedMessage, 10),
        (BadRecordMac, 20),
        (RecordOverflow, 22),
        (DecodeError, 50),
    ] {
        assert_eq!(error.alert(), alert);
    }
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
            let length = u16::try_from(bytes.len() - 5).unwrap();
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
