//! Records as no library sends them, after a proper handshake.

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, StreamEnd, data, field, machine, pattern,
    records::{ALERT, CLOSE_NOTIFY, DATA, HANDSHAKE, Records},
    sessions::echo,
};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// A warning (RFC 8446, section 6.1).
const USER_CANCELED: [u8; 2] = [1, 90];

/// A backend that checks what it gets against the pattern.
pub fn checking() -> Backend<(u64, StreamEnd)> {
    Backend::tcp(|mut socket| socket.check(data::UP))
}

fn records(lockgate: &Lockgate) -> Records {
    Connector::new().records(lockgate.address)
}

#[test]
fn records_of_every_length_are_relayed() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let mut lengths: Vec<usize> = (0..=64).chain(240..=260).collect();
    lengths.extend([511, 1000, 1399, 4095, 4096, 4097, 8191, 8192, 8193, 12_288]);
    lengths.extend(16_370..=16_384);
    let total = lengths.iter().sum();
    for version in VERSIONS {
        let mut client = Connector::new().version(version).records(lockgate.address);
        let bytes = pattern(7, total);
        let mut rest = &bytes[..];
        // A few at a time, so that buffers hold them all.
        for group in lengths.chunks(8) {
            let mut segment = Vec::new();
            let mut awaited = 0;
            for &length in group {
                segment.extend(client.seal(DATA, &rest[awaited..awaited + length]));
                awaited += length;
            }
            client.send_raw(&segment);
            let mut back = Vec::new();
            while back.len() < awaited {
                match client.next() {
                    Ok((DATA, payload)) => back.extend(payload),
                    Ok((HANDSHAKE, _)) => {}
                    other => panic!("{other:?} instead of data"),
                }
            }
            assert!(back == rest[..awaited], "echo of {group:?}");
            rest = &rest[awaited..];
        }
        client.send(ALERT, &CLOSE_NOTIFY);
        assert_eq!(client.read_all(), (Vec::new(), End::Clean));
        assert_eq!(backend.next(), StreamEnd::Clean);
    }
    lockgate.finish();
}

#[test]
fn padding_is_taken_off() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    let mut client = records(&lockgate);
    let bytes = pattern(data::UP, 200 * 64);
    let mut flight = Vec::new();
    for (number, part) in bytes.chunks(64).enumerate() {
        let padding = [0, 1, 15, 255, 4000, 16_384 - 64][number % 6];
        flight.extend(client.seal_padded(DATA, part, padding));
    }
    flight.extend(client.seal_padded(ALERT, &CLOSE_NOTIFY, 100));
    // At once, so that one read brings records with and without padding.
    client.send_raw(&flight);
    assert_eq!(client.read_all().1, End::Clean);
    assert_eq!(backend.next(), (200 * 64, StreamEnd::Clean));
    if machine::is_guest() && machine::expects_kernel() {
        let twice = lockgate.tls_stat_growth("TlsDecryptRetry");
        assert_eq!(twice > 0, machine::decrypts_in_place(), "{twice}");
    }
    lockgate.finish();
}

/// Sends some data, then what `spoil` says, and sees the connection end for one of `reasons`, with
/// the data delivered and the backend reset.
#[track_caller]
pub fn assert_cut(reasons: &[&str], spoil: impl Fn(&mut Records)) {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    let mut client = records(&lockgate);
    for part in pattern(data::UP, 20_000).chunks(10_000) {
        client.send(DATA, part);
    }
    spoil(&mut client);
    let (_, end) = client.read_all();
    assert_ne!(end, End::Clean, "{reasons:?}");
    let peer = client.socket.local_addr().unwrap();
    drop(client);
    let line = lockgate.closed_line(peer);
    let reason = field(&line, "reason").unwrap();
    assert!(
        reasons.contains(&reason.as_str()),
        "{reason} instead of {reasons:?}"
    );
    lockgate.wait_closed(&reason, 1);
    assert_eq!(backend.next(), (20_000, StreamEnd::Reset), "{reason}");
    lockgate.assert_path();
    lockgate.finish_on_any_path();
}

#[test]
fn a_record_that_does_not_decrypt_ends_the_connection() {
    assert_cut(&["bad_record"], |client| {
        let mut record = client.seal(DATA, &[1; 100]);
        record[50] ^= 1;
        client.send_raw(&record);
    });
}

#[test]
fn a_record_with_too_much_inside_ends_the_connection() {
    assert_cut(&["bad_record"], |client| {
        client.send(DATA, &[1; 16_384 + 1])
    });
}

#[test]
fn a_record_longer_than_any_may_be_ends_the_connection() {
    assert_cut(&["bad_record"], |client| {
        let mut record = vec![DATA, 3, 3, 0xff, 0xff];
        record.resize(5 + 0xffff, 0);
        client.send_raw(&record);
    });
}

#[test]
fn garbage_instead_of_a_record_ends_the_connection() {
    // Kernel TLS does not say whether it was the type or the rest that is wrong.
    let reasons = ["bad_record", "unexpected_message"];
    assert_cut(&reasons, |client| {
        client.send_raw(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
    });
}

#[test]
fn a_handshake_message_after_the_handshake_ends_the_connection() {
    // A ClientHello, as for a renegotiation; a NewSessionTicket, which only servers send.
    for message in [&[1, 0, 0, 2, 3, 3][..], &[4, 0, 0, 2, 0, 0]] {
        assert_cut(&["unexpected_message"], |client| {
            client.send(HANDSHAKE, message)
        });
    }
}

#[test]
fn a_record_of_an_unknown_type_ends_the_connection() {
    assert_cut(&["unexpected_message"], |client| client.send(99, b"?"));
}

#[test]
fn a_key_update_that_asks_for_neither_yes_nor_no_ends_the_connection() {
    let reasons = ["bad_record", "unexpected_message"];
    assert_cut(&reasons, |client| client.send(HANDSHAKE, &[24, 0, 0, 1, 7]));
}

#[test]
fn a_fatal_alert_of_the_client_resets_the_backend() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    for version in VERSIONS {
        let mut client = Connector::new().version(version).records(lockgate.address);
        client.send(DATA, &pattern(data::UP, 5000));
        client.send(ALERT, &[2, 80]);
        assert_eq!(backend.next(), (5000, StreamEnd::Reset));
    }
    lockgate.wait_closed("client_alert", 2);
    lockgate.finish();
}

#[test]
fn user_canceled_is_a_warning_and_close_notify_the_end() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    let mut client = records(&lockgate);
    client.send(DATA, &pattern(data::UP, 5000));
    client.send(ALERT, &USER_CANCELED);
    client.send(ALERT, &CLOSE_NOTIFY);
    assert_eq!(client.read_all().1, End::Clean);
    assert_eq!(backend.next(), (5000, StreamEnd::Clean));
    lockgate.finish();
}

#[test]
fn a_flood_of_warnings_is_cut_off() {
    assert_cut(&["record_flood"], |client| {
        for _ in 0..100 {
            client.send(ALERT, &USER_CANCELED);
        }
    });
}

#[test]
fn half_a_record_then_a_fin_is_a_truncation_behind_the_data() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    for keep in [1, 4, 5, 6, 500, 1000] {
        let mut client = records(&lockgate);
        client.send(DATA, &pattern(data::UP, 3000));
        let record = client.seal(DATA, &[9; 1000]);
        client.send_raw(&record[..keep]);
        // Silence is no reason to end.
        lockgate.wait_for("lockgate_connections_open", &[], 1);
        client.fin();
        assert_eq!(
            backend.next(),
            (3000, StreamEnd::Reset),
            "{keep} bytes of a record"
        );
    }
    lockgate.wait_closed("client_truncated", 6);
    lockgate.finish();
}

#[test]
fn data_behind_close_notify_is_not_part_of_the_stream() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    let mut client = records(&lockgate);
    let mut segment = client.seal(DATA, &pattern(data::UP, 3000));
    segment.extend(client.seal(ALERT, &CLOSE_NOTIFY));
    segment.extend(client.seal(DATA, &[0; 3000]));
    client.send_raw(&segment);
    assert_eq!(backend.next(), (3000, StreamEnd::Clean));
    client.read_all();
    lockgate.assert_path();
    lockgate.finish_on_any_path();
}

#[test]
fn what_is_behind_data_is_read_although_nothing_arrives_after_it() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    for version in VERSIONS {
        for bytes in [1, 100, 16_384, 65_535, 65_536, 65_537, 80_000, 230_000] {
            let mut client = Connector::new().version(version).records(lockgate.address);
            let stream = pattern(data::UP, 2 * bytes);
            // Close behind data: no record after it brings another event.
            let mut flight = Vec::new();
            for (half, behind) in stream.chunks(bytes).zip([USER_CANCELED, CLOSE_NOTIFY]) {
                // Of a length that reads do not end with.
                for part in half.chunks(16_000) {
                    flight.extend(client.seal(DATA, part));
                }
                flight.extend(client.seal(ALERT, &behind));
            }
            client.send_raw(&flight);
            let all = u64::try_from(stream.len()).unwrap();
            assert_eq!(backend.next(), (all, StreamEnd::Clean), "{bytes}");
            assert_eq!(client.read_all().1, End::Clean);
        }
    }
    lockgate.finish();
}

#[test]
fn a_record_that_arrives_byte_by_byte_is_whole() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    let mut client = records(&lockgate);
    let mut record = client.seal(DATA, &pattern(data::UP, 300));
    record.extend(client.seal(ALERT, &CLOSE_NOTIFY));
    for byte in record {
        client.send_raw(&[byte]);
        std::thread::yield_now();
    }
    assert_eq!(backend.next(), (300, StreamEnd::Clean));
    assert_eq!(client.read_all().1, End::Clean);
    lockgate.finish();
}
