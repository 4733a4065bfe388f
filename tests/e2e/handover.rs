//! From the handshake to the relay: what comes right behind Finished belongs to the stream.

use std::io::Write;

use rustls::SupportedProtocolVersion;

use crate::harness::{
    Backend, Client, Connector, End, Setup, StreamEnd, data, pattern, records::read_record,
};

/// Handshakes up to the client's last flight, which stays in the connection's buffer.
fn until_last_flight(client: &mut Client) {
    while client.tls.is_handshaking() {
        client.flush().unwrap();
        let record = read_record(&mut client.socket).expect("handshake");
        let mut rest = &record[..];
        while !rest.is_empty() {
            client.tls.read_tls(&mut rest).unwrap();
            client.tls.process_new_packets().expect("handshake");
        }
    }
}

fn data_close_notify_and_fin_behind_finished(
    version: &'static SupportedProtocolVersion,
    length: usize,
    fin: bool,
) {
    let backend = Backend::tcp(|mut socket| {
        let result = socket.check(data::UP);
        socket.source(data::DOWN, 50_000).unwrap();
        result
    });
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new()
        .version(version)
        .open(lockgate.address)
        .unwrap();
    until_last_flight(&mut client);
    client
        .tls
        .writer()
        .write_all(&pattern(data::UP, length))
        .unwrap();
    client.tls.send_close_notify();
    let flight = client.pending();
    client.socket.write_all(&flight).unwrap();
    if fin {
        client.fin();
    }
    assert_eq!(client.check(data::DOWN), (50_000, End::Clean));
    assert_eq!(backend.next(), (length as u64, StreamEnd::Clean));
    lockgate.finish();
}

#[test]
fn data_close_notify_and_fin_in_the_segment_of_finished_are_not_lost() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for length in [0, 1, 30_000, 60_000] {
            for fin in [false, true] {
                data_close_notify_and_fin_behind_finished(version, length, fin);
            }
        }
    }
}

#[test]
fn a_fin_behind_finished_without_close_notify_is_a_truncation() {
    let backend = Backend::tcp(|mut socket| socket.check(data::UP));
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().open(lockgate.address).unwrap();
    until_last_flight(&mut client);
    client
        .tls
        .writer()
        .write_all(&pattern(data::UP, 30_000))
        .unwrap();
    let flight = client.pending();
    client.socket.write_all(&flight).unwrap();
    client.fin();
    assert_eq!(backend.next(), (30_000, StreamEnd::Reset));
    lockgate.wait_closed("client_truncated", 1);
    lockgate.finish();
}

#[test]
fn a_backend_that_speaks_first_is_heard_at_once() {
    let backend = Backend::tcp(|mut socket| {
        socket.write_all(b"220 welcome\r\n").unwrap();
        socket.read_all()
    });
    let lockgate = Setup::to(&backend.address).start();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut client = Connector::new().version(version).connect(lockgate.address);
        assert_eq!(client.read_exactly(13), b"220 welcome\r\n");
        client.write(b"QUIT");
        assert_eq!(client.close().1, End::Clean);
        assert_eq!(backend.next(), (b"QUIT".to_vec(), StreamEnd::Clean));
    }
    lockgate.finish();
}
