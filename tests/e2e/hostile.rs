//! Clients that never get through a handshake, or not in one piece.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rustls::NamedGroup;

use crate::harness::{
    Backend, Client, Connector, End, Lockgate, Setup, StreamEnd, data::Dice, machine,
    openssl::s_client, patience, sessions::echo,
};

fn start(configure: impl FnOnce(Setup) -> Setup) -> (Backend<StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let lockgate = configure(Setup::to(&backend.address)).start();
    (backend, lockgate)
}

/// With a small ClientHello.
fn connector() -> Connector {
    Connector::new().group(NamedGroup::X25519)
}

#[track_caller]
fn assert_serves(lockgate: &Lockgate) {
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"still there");
    assert_eq!(client.close().1, End::Clean);
}

/// Reads until lockgate ends the connection.
#[track_caller]
fn wait_cut(mut socket: TcpStream) -> usize {
    socket.set_read_timeout(Some(patience())).unwrap();
    let mut bytes = 0;
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(more) => bytes += more,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("lockgate did not cut it: {error}"),
        }
    }
}

#[test]
fn garbage_is_cut_off_and_counted() {
    let (_backend, lockgate) = start(|setup| setup);
    let mut dice = Dice::new(5);
    let mut garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        vec![0; 1000],
        vec![0xff; 1000],
        // A record that says it is longer than any may be; of no known type; of SSL 2.
        [&[22, 3, 1, 0xff, 0xff][..], &[1; 2000]].concat(),
        [&[99, 3, 1, 0, 5][..], &[1; 5]].concat(),
        [&[0x80, 0x2e, 1, 3, 1][..], &[0; 41]].concat(),
        // An alert and data before anything else; a hello without a body; one of an endless length.
        vec![21, 3, 1, 0, 2, 2, 40],
        vec![23, 3, 3, 0, 1, 0],
        vec![22, 3, 1, 0, 4, 1, 0, 0, 0],
        [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[7; 16_380]].concat(),
    ];
    for _ in 0..30 {
        let mut bytes: Vec<u8> = (0..64).map(|_| dice.below(256) as u8).collect();
        // Half of them look like a handshake record that is complete.
        if dice.below(2) == 0 {
            bytes[..5].copy_from_slice(&[22, 3, 3, 0, 59]);
        }
        garbage.push(bytes);
    }
    for bytes in &garbage {
        let mut socket = TcpStream::connect(lockgate.address).unwrap();
        drop(socket.write_all(bytes));
        // Some of it is only the start of something; the end of the stream settles it.
        drop(socket.shutdown(std::net::Shutdown::Write));
        wait_cut(socket);
    }
    let count = garbage.len() as u64;
    lockgate.wait_for("lockgate_handshake_failures_total", &[], count);
    assert_serves(&lockgate);
    lockgate.finish();
}

#[test]
fn a_client_may_vanish_at_any_byte_of_the_handshake() {
    let (_backend, lockgate) = start(|setup| setup.client_auth("request"));
    let connector = connector().identity(&crate::harness::pki().client);
    let vanish = |mut client: Client, flight: &[u8], at: usize| {
        drop(client.socket.write_all(&flight[..at]));
        if at.is_multiple_of(2) {
            client.reset()
        } else {
            drop(client)
        }
    };
    let hello = connector.open(lockgate.address).unwrap().pending().len();
    for at in (0..hello).step_by(3) {
        let mut client = connector.open(lockgate.address).unwrap();
        let flight = client.pending();
        vanish(client, &flight, at);
    }
    let mut at = 0;
    loop {
        let mut client = connector.open(lockgate.address).unwrap();
        while client.tls.is_handshaking() {
            client.flush().unwrap();
            client.tls.read_tls(&mut client.socket).unwrap();
            client.tls.process_new_packets().unwrap();
        }
        let flight = client.pending();
        if at >= flight.len() {
            break;
        }
        vanish(client, &flight, at);
        at += 11;
    }
    assert_serves(&lockgate);
    lockgate.finish();
}

#[test]
fn a_handshake_that_takes_too_long_is_cut_however_the_client_spends_it() {
    let (_backend, lockgate) = start(|setup| setup.limits("handshake_timeout = \"700ms\""));
    let address = lockgate.address;
    let slow = |pause: Duration| {
        move || {
            let mut client = connector().open(address).unwrap();
            let hello = client.pending();
            let started = Instant::now();
            for byte in &hello[..hello.len() - 1] {
                if client.socket.write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(pause);
                if started.elapsed() > Duration::from_secs(3) {
                    break;
                }
            }
            wait_cut(client.socket);
            started.elapsed()
        }
    };
    let silent = move || {
        let started = Instant::now();
        wait_cut(TcpStream::connect(address).unwrap());
        started.elapsed()
    };
    let after_hello = move || {
        let started = Instant::now();
        let mut client = connector().open(address).unwrap();
        client.flush().unwrap();
        wait_cut(client.socket);
        started.elapsed()
    };
    let clients = [
        thread::spawn(slow(Duration::from_millis(20))),
        thread::spawn(slow(Duration::from_millis(200))),
        thread::spawn(silent),
        thread::spawn(after_hello),
    ];
    for client in clients {
        let took = client.join().unwrap();
        let most = Duration::from_millis(700) + Duration::from_secs(2).mul_f64(machine::scale());
        assert!(
            took >= Duration::from_millis(600) && took < most,
            "{took:?}"
        );
    }
    lockgate.wait_for("lockgate_handshake_failures_total", &["reason=timeout"], 4);
    assert_serves(&lockgate);
    lockgate.finish();
}

#[test]
fn many_unfinished_handshakes_take_little_memory() {
    let (_backend, lockgate) = start(|setup| setup);
    assert_serves(&lockgate);
    let memory = lockgate.memory();
    let clients: Vec<_> = (0..300)
        .map(|_| {
            let mut client = connector().open(lockgate.address).unwrap();
            let hello = client.pending();
            client.socket.write_all(&hello[..hello.len() - 1]).unwrap();
            client
        })
        .collect();
    lockgate.wait_for("lockgate_connections_open", &[], 300);
    assert_serves(&lockgate);
    let grown = lockgate.memory().saturating_sub(memory);
    assert!(
        grown < 300 * (100 << 10),
        "{grown} bytes for 300 unfinished handshakes"
    );
    drop(clients);
    lockgate.finish();
}

#[test]
fn a_long_certificate_chain_is_bounded() {
    let (_backend, lockgate) = start(|setup| setup.client_auth("request"));
    let mut identity = crate::harness::pki().client.clone();
    identity.certificate = identity.certificate.repeat(400);
    let end = connector().identity(&identity).verdict(lockgate.address);
    assert_ne!(end, End::Clean);
    lockgate.wait_for("lockgate_handshake_failures_total", &[], 1);
    assert_serves(&lockgate);
    lockgate.finish();
}

#[test]
fn a_renegotiation_is_not_entered() {
    let (_backend, lockgate) = start(|setup| setup);
    let mut client = s_client(&lockgate, &["-tls1_2", "-legacy_renegotiation"]);
    client.send(b"before\n");
    client.wait_for("before");
    client.send(b"R\n");
    client.wait_for("RENEGOTIATING");
    // OpenSSL gives up when it is refused, whichever way; until it is, it would wait.
    drop(client.finish());
    assert_serves(&lockgate);
    assert_eq!(
        lockgate
            .metrics()
            .of("lockgate_handshakes_total", &["version=1.2"]),
        1
    );
    lockgate.finish();
}
