//! Keys that move into the kernel while a connection is in use, because it has become bulk.

use rustls::crypto::aws_lc_rs::cipher_suite as suites;

use crate::{
    harness::{
        Backend, Connector, End, Lockgate, Setup, StreamEnd, data, machine, pattern, pki,
        records::{ALERT, CLOSE_NOTIFY, DATA, Records},
        sessions::{echo, ordered},
    },
    suites::SUITES,
};

const MOVED: &str = "lockgate_moved_into_kernel_total";
const BY_PATH: &str = "lockgate_connections_by_path_total";
const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

fn setup(address: &str) -> Setup {
    Setup::to(address).runtime("offload = \"bulk\"")
}

/// So many connections moved what they receive, and so many what they send; none where there is no
/// kernel TLS.
#[track_caller]
fn finish(lockgate: Lockgate, connections: u64, up: u64, down: u64) {
    let metrics = lockgate.metrics();
    let moved = ["direction=up", "direction=down"].map(|way| metrics.of(MOVED, &[way]));
    let reason = if machine::expects_kernel() {
        assert_eq!(moved, [up, down], "{}", metrics.show("bytes_total"));
        if machine::isolate() {
            let keys = ["TlsRxSw", "TlsTxSw"].map(|name| lockgate.tls_stat_growth(name));
            assert_eq!(keys, [up, down]);
        }
        "reason=until_bulk"
    } else {
        assert_eq!(moved, [0, 0]);
        "reason=no_kernel_tls"
    };
    assert_eq!(metrics.of(BY_PATH, &["path=user", reason]), connections);
    lockgate.assert_decrypted();
    lockgate.finish_on_any_path();
}

#[test]
fn bulk_of_every_suite_moves_both_ways_and_arrives_whole() {
    const BYTES: u64 = 4 << 20;
    let backend = Backend::tcp(ordered);
    let lockgate = setup(&backend.address)
        .certificates(&[&pki().server, &pki().server_rsa])
        .start();
    for suite in SUITES {
        let mut client = Connector::new().suite(suite).connect(lockgate.address);
        client.write(&BYTES.to_be_bytes());
        assert_eq!(client.exchange(BYTES), (BYTES, End::Clean), "{suite:?}");
        assert_eq!(backend.next(), (BYTES, StreamEnd::Clean), "{suite:?}");
    }
    lockgate.wait_closed("finished", 9);
    if machine::expects_kernel() {
        let metrics = lockgate.metrics();
        let relayed = metrics.of("lockgate_relay_bytes_total", &["path=kernel"]);
        assert!(relayed > 9 * BYTES, "{relayed} bytes in the kernel");
    }
    finish(lockgate, 9, 9, 9);
}

#[test]
fn what_is_small_stays_in_user_space() {
    let backend = Backend::tcp(echo);
    let lockgate = setup(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    for number in 0..200 {
        client.ping(&pattern(number, 1 + 77 * number as usize % 15_000));
    }
    assert_eq!(client.close().1, End::Clean);
    finish(lockgate, 1, 0, 0);
}

#[test]
fn each_way_moves_by_itself() {
    const BYTES: u64 = 4 << 20;
    let backend = Backend::tcp(ordered);
    let lockgate = setup(&backend.address).start();
    for (up, down) in [(0, BYTES), (BYTES, 0), (BYTES, 0)] {
        let mut client = Connector::new().connect(lockgate.address);
        client.write(&down.to_be_bytes());
        assert_eq!(client.exchange(up), (down, End::Clean));
        assert_eq!(backend.next(), (up, StreamEnd::Clean));
    }
    finish(lockgate, 3, 2, 1);
}

const TLS13_SUITES: [rustls::SupportedCipherSuite; 3] = [
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
];

#[test]
fn keys_that_were_updated_move_only_where_they_can_be_updated_again() {
    let backend = Backend::tcp(echo);
    let lockgate = setup(&backend.address).start();
    for suite in TLS13_SUITES {
        let mut client = Connector::new().suite(suite).connect(lockgate.address);
        // In user space keys can be changed under any kernel.
        for _ in 0..3 {
            client.tls.refresh_traffic_keys().unwrap();
            client.ping(b"still small");
        }
        for round in 0..3 {
            client.echo(round, 4 << 20);
            client.tls.refresh_traffic_keys().unwrap();
            client.ping(b"under new keys");
        }
        assert_eq!(client.close().1, End::Clean);
        assert_eq!(backend.next(), StreamEnd::Clean);
    }
    let moved = if machine::can_update_keys() { 3 } else { 0 };
    finish(lockgate, 3, moved, moved);
}

#[test]
fn a_client_that_changes_keys_for_the_first_time_behind_a_move_gets_what_the_kernel_can_do() {
    let backend = Backend::tcp(echo);
    let lockgate = setup(&backend.address).start();
    for suite in TLS13_SUITES {
        let mut client = Connector::new().suite(suite).connect(lockgate.address);
        client.echo(1, 4 << 20);
        client.tls.refresh_traffic_keys().unwrap();
        if !machine::can_update_keys() {
            drop(client.try_write(b"lost"));
            assert_ne!(client.read_all().1, End::Clean);
            assert_eq!(backend.next(), StreamEnd::Reset);
            continue;
        }
        client.echo(2, 4 << 20);
        assert_eq!(client.close().1, End::Clean);
        assert_eq!(backend.next(), StreamEnd::Clean);
    }
    if !machine::can_update_keys() {
        lockgate.wait_closed("key_update_unsupported", 3);
        // The kernel may have met a record of the new key before the connection was closed.
        return lockgate.finish_on_any_path();
    }
    finish(lockgate, 3, 3, 3);
}

/// Records of many lengths that hold `bytes`, and close_notify.
fn flight(client: &mut Records, bytes: &[u8]) -> Vec<u8> {
    let (mut wire, mut rest, mut number) = (Vec::new(), bytes, 0);
    while !rest.is_empty() {
        let length = [16_384, 16_384, 9000, 16_384, 1, 16_383, 300][number % 7].min(rest.len());
        let (part, behind) = rest.split_at(length);
        wire.extend(client.seal(DATA, part));
        (rest, number) = (behind, number + 1);
    }
    wire.extend(client.seal(ALERT, &CLOSE_NOTIFY));
    wire
}

#[test]
fn what_is_received_moves_at_the_end_of_a_record_wherever_segments_end() {
    const BYTES: usize = 3 << 20;
    let backend = Backend::tcp(|mut socket| socket.check(data::UP));
    let lockgate = setup(&backend.address).start();
    let bytes = pattern(data::UP, BYTES);
    // Of segments: the last is a record and a part of one; one ends within a header.
    let lengths = [70_000, 16_406 * 4 + 3, 40_000, 100_001];
    for version in VERSIONS {
        for length in lengths {
            let mut client = Connector::new().version(version).records(lockgate.address);
            for segment in flight(&mut client, &bytes).chunks(length) {
                client.send_raw(segment);
                machine::wait_acknowledged(&client.socket);
            }
            assert_eq!(client.read_all().1, End::Clean);
            assert_eq!(backend.next(), (BYTES as u64, StreamEnd::Clean), "{length}");
        }
    }
    let connections = 2 * lengths.len() as u64;
    finish(lockgate, connections, connections, 0);
}

#[test]
fn a_stream_that_is_cut_while_it_moves_is_not_taken_for_complete() {
    const BYTES: usize = 2 << 20;
    let backend = Backend::tcp(|mut socket| socket.check(data::UP));
    let lockgate = setup(&backend.address).start();
    let bytes = pattern(data::UP, BYTES);
    let cuts: Vec<usize> = (0..24).map(|number| 50_000 + 31_337 * number).collect();
    for &cut in &cuts {
        let mut client = Connector::new().records(lockgate.address);
        let wire = flight(&mut client, &bytes);
        client.send_raw(&wire[..cut]);
        client.fin();
        let (received, end) = backend.next();
        assert_eq!(end, StreamEnd::Reset, "cut at {cut}");
        assert!(received <= cut as u64, "{received} of {cut}");
    }
    lockgate.wait_closed("client_truncated", cuts.len() as u64);
    lockgate.assert_decrypted();
    lockgate.finish_on_any_path();
}

#[test]
fn a_record_that_was_damaged_is_found_while_it_moves() {
    let backend = Backend::tcp(|mut socket| socket.check(data::UP));
    let lockgate = setup(&backend.address).start();
    let bytes = pattern(data::UP, 1 << 20);
    let places: Vec<usize> = (0..16).map(|number| 60_000 + 52_345 * number).collect();
    for &place in &places {
        let mut client = Connector::new().records(lockgate.address);
        let mut wire = flight(&mut client, &bytes);
        wire[place] ^= 1;
        client.send_raw(&wire);
        let (received, end) = backend.next();
        assert_eq!(end, StreamEnd::Reset, "damaged at {place}");
        assert!(received <= place as u64, "{received} of {place}");
    }
    lockgate.finish_on_any_path();
}

#[test]
fn where_bulk_costs_more_in_the_kernel_it_stays_in_user_space() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address)
        .runtime("offload = \"auto\"")
        .start();
    let mut client = Connector::new().connect(lockgate.address);
    client.echo(1, 4 << 20);
    assert_eq!(client.close().1, End::Clean);
    let metrics = lockgate.metrics();
    let moved = metrics.sum(MOVED);
    if !machine::expects_kernel() {
        assert_eq!(metrics.of(BY_PATH, &["reason=no_kernel_tls"]), 1);
        assert_eq!(moved, 0);
    } else if metrics.of(BY_PATH, &["path=user", "reason=kernel_dearer"]) == 1 {
        assert_eq!(moved, 0);
    } else {
        assert_eq!(metrics.of(BY_PATH, &["path=user", "reason=until_bulk"]), 1);
        assert!(moved > 0);
    }
    // User-mode Linux has ciphers in plain C only, and user space has those of the processor.
    if machine::is_guest() {
        assert_eq!(moved, 0);
        let log = lockgate.log();
        assert!(log.contains("bulk costs more in kernel TLS here"), "{log}");
    }
    lockgate.finish_on_any_path();
}
