//! Ends right behind the last byte, where implementations lose data.

use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

use crate::harness::{
    Backend, Check, Connector, End, Setup, Socket, StreamEnd, data, machine, pattern,
};

#[test]
fn a_client_that_closes_right_behind_its_last_byte_loses_nothing() {
    let backend = Backend::tcp(|mut socket| {
        socket.write_all(b"!").unwrap();
        socket.check(data::UP)
    });
    let lockgate = Setup::to(&backend.address).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for round in 0..10 {
            let mut client = Connector::new().version(version).connect(lockgate.address);
            // With tickets left unread, the client's own kernel would reset.
            client.read_exactly(1);
            let bytes = 1_000_000 + round * 4321;
            client.write(&pattern(data::UP, bytes));
            client.close_notify();
            drop(client);
            assert_eq!(backend.next(), (bytes as u64, StreamEnd::Clean));
        }
    }
    lockgate.finish();
}

#[test]
fn a_backend_that_closes_right_behind_its_last_byte_loses_nothing() {
    const BYTES: u64 = 3_000_000;
    let backend = Backend::tcp(|mut socket| {
        drop(socket.read_exactly(1));
        socket.source(data::DOWN, BYTES).unwrap();
    });
    let lockgate = Setup::to(&backend.address).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for _ in 0..10 {
            let mut client = Connector::new().version(version).connect(lockgate.address);
            client.write(b"?");
            assert_eq!(client.check(data::DOWN), (BYTES, End::Clean));
            assert_eq!(client.close().1, End::Clean);
        }
    }
    lockgate.finish();
}

/// Reads little by little at first, so that buffers stay full to the end of what is sent.
fn sip(mut read: impl FnMut(&mut [u8]) -> Option<usize>, check: &mut Check) {
    let mut buffer = [0; 5000];
    while let Some(bytes) = read(&mut buffer) {
        check.feed(&buffer[..bytes]);
        if check.bytes < 100_000 {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_slow_client_loses_nothing_when_the_backend_closes_behind_the_last_byte() {
    const BYTES: u64 = 400_000;
    let backend = Backend::tcp(|mut socket| {
        let number = socket.read_exactly(1)[0];
        socket
            .source(data::DOWN, BYTES + 777 * u64::from(number))
            .unwrap();
    });
    let lockgate = Setup::to(&backend.address).start();
    let address = lockgate.address;
    let clients: Vec<_> = (0..32_u8)
        .map(|number| {
            thread::spawn(move || {
                let mut client = Connector::new().open(address).unwrap();
                machine::set_receive_buffer(&client.socket, 4 << 10);
                client.handshake().unwrap();
                client.write(&[number]);
                // Half of them have ended their own side by then.
                if number % 2 == 0 {
                    client.close_notify();
                }
                let (mut check, mut end) = (Check::new(data::DOWN), End::Clean);
                let read = |buffer: &mut [u8]| client.read(buffer).map_err(|e| end = e).ok();
                sip(read, &mut check);
                assert_eq!(
                    (check.bytes, end),
                    (BYTES + 777 * u64::from(number), End::Clean)
                );
                client.close();
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    lockgate.wait_closed("finished", 32);
    lockgate.finish();
}

#[test]
fn a_slow_backend_loses_nothing_when_the_client_closes_behind_the_last_byte() {
    const BYTES: usize = 400_000;
    let session = |mut socket: Socket| {
        machine::set_receive_buffer(&socket, 4 << 10);
        let (mut check, mut end) = (Check::new(data::UP), None);
        let read = |buffer: &mut [u8]| match socket.read(buffer) {
            Ok(0) => None,
            Ok(bytes) => Some(bytes),
            Err(error) => {
                end = Some(error);
                None
            }
        };
        sip(read, &mut check);
        (check.bytes, end.map(|error| error.to_string()))
    };
    let backend = Backend::tcp(session);
    let lockgate = Setup::to(&backend.address).start();
    let address = lockgate.address;
    let clients: Vec<_> = (0..32)
        .map(|number| {
            thread::spawn(move || {
                let mut client = Connector::new().connect(address);
                client.write(&pattern(data::UP, BYTES + number));
                client.close_notify();
                assert_eq!(client.read_all(), (Vec::new(), End::Clean));
            })
        })
        .collect();
    let mut lengths: Vec<_> = (0..clients.len())
        .map(|_| {
            let (bytes, error) = backend.next();
            assert_eq!(error, None, "after {bytes} bytes");
            bytes
        })
        .collect();
    lengths.sort_unstable();
    assert!(
        lengths
            .into_iter()
            .eq((0..32).map(|number| (BYTES + number) as u64))
    );
    for client in clients {
        client.join().unwrap();
    }
    lockgate.finish();
}

#[test]
fn both_sides_closing_at_the_same_time_lose_nothing() {
    const BYTES: u64 = 700_000;
    let backend = Backend::tcp(crate::harness::sessions::exchange(BYTES, BYTES));
    let lockgate = Setup::to(&backend.address).start();
    for _ in 0..20 {
        let mut client = Connector::new().connect(lockgate.address);
        assert_eq!(client.exchange(BYTES), (BYTES, End::Clean));
        assert_eq!(backend.next(), StreamEnd::Clean);
    }
    lockgate.wait_closed("finished", 20);
    lockgate.finish();
}
