//! A ClientHello arrives in pieces, of TCP and of records.

use std::{io::Write, thread, time::Duration};

use rustls::NamedGroup;

use crate::harness::{Backend, Client, Connector, End, Lockgate, Setup, StreamEnd, sessions::echo};

fn start() -> (Backend<StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    (backend, lockgate)
}

/// With a small ClientHello.
fn connector() -> Connector {
    Connector::new().group(NamedGroup::X25519)
}

#[track_caller]
fn complete(mut client: Client, what: usize) {
    client
        .handshake()
        .unwrap_or_else(|end| panic!("cut at {what}: {end:?}"));
    client.ping(b"complete");
    assert_eq!(client.close().1, End::Clean);
}

#[test]
fn a_client_hello_in_two_segments_is_whole_wherever_it_is_cut() {
    let (_backend, lockgate) = start();
    let length = connector().open(lockgate.address).unwrap().pending().len();
    for cut in 1..length {
        let mut client = connector().open(lockgate.address).unwrap();
        let hello = client.pending();
        client.socket.write_all(&hello[..cut]).unwrap();
        // Some of them long enough apart that lockgate has read the first part by itself.
        thread::sleep(Duration::from_millis(if cut % 16 == 0 { 3 } else { 0 }));
        client.socket.write_all(&hello[cut..]).unwrap();
        complete(client, cut);
    }
    lockgate.finish();
}

/// The handshake message of a record, in records of its own.
fn in_records(record: &[u8], parts: &[usize]) -> Vec<u8> {
    let mut message = &record[5..];
    let mut bytes = Vec::new();
    for &part in parts.iter().chain(&[usize::MAX]) {
        let (now, later) = message.split_at(part.min(message.len()));
        if !now.is_empty() {
            bytes.extend_from_slice(&[22, 3, 1]);
            bytes.extend_from_slice(&u16::try_from(now.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(now);
        }
        message = later;
    }
    bytes
}

#[test]
fn a_client_hello_in_two_records_is_whole_wherever_it_is_cut() {
    let (_backend, lockgate) = start();
    let length = connector().open(lockgate.address).unwrap().pending().len() - 5;
    for cut in 1..length {
        let mut client = connector().open(lockgate.address).unwrap();
        let hello = client.pending();
        client
            .socket
            .write_all(&in_records(&hello, &[cut]))
            .unwrap();
        complete(client, cut);
    }
    // And a record for each byte.
    let mut client = connector().open(lockgate.address).unwrap();
    let hello = client.pending();
    client
        .socket
        .write_all(&in_records(&hello, &vec![1; length]))
        .unwrap();
    complete(client, 0);
    lockgate.finish();
}
