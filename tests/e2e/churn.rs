//! Thousands of connections that end in every way there is leave nothing behind.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rustls::NamedGroup;

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, Socket,
    data::Dice,
    pattern,
    sessions::{echo, ordered},
};

const CONNECTIONS: u64 = 2000;
const WAYS: u64 = 12;

/// The client's first byte says what the backend is to do.
fn obey(mut socket: Socket) {
    let mut order = [0; 1];
    if std::io::Read::read_exact(&mut socket, &mut order).is_err() {
        return;
    }
    match order[0] {
        b'e' => drop(echo(socket)),
        b'r' => {
            drop(socket.source(1, 50_000));
            socket.reset();
        }
        b'c' => drop(socket.source(1, 50_000)),
        b'o' => drop(ordered(socket)),
        _ => drop(socket.read_all()),
    }
}

/// One client: how it behaves, and what must hold where that is certain.
fn visit(lockgate: std::net::SocketAddr, way: u64, dice: &mut Dice) {
    let connector = Connector::new().group(NamedGroup::X25519);
    let connector = match dice.below(3) {
        0 => connector.version(&rustls::version::TLS12),
        _ => connector,
    };
    if way == 0 {
        // Gone before, or in the middle of, the handshake.
        let mut client = connector.open(lockgate).unwrap();
        let mut hello = Vec::new();
        client.tls.write_tls(&mut hello).unwrap();
        let part = dice.below(hello.len() as u64) as usize;
        drop(client.socket.write_all(&hello[..part]));
        return if dice.below(2) == 0 {
            client.reset()
        };
    }
    let mut client = connector.connect(lockgate);
    let size = 1 + dice.below(100_000) as usize;
    match way {
        1 => drop(client),
        2 => client.reset(),
        3 => {
            client.write(b"e");
            client.ping(&pattern(1, 1 + size / 4));
            assert_eq!(client.close().1, End::Clean);
        }
        4 => {
            // A half-close, and all of the answer.
            client.write(b"o");
            client.write(&(size as u64).to_be_bytes());
            assert_eq!(client.exchange(size as u64), (size as u64, End::Clean));
        }
        5 => {
            client.write(b"s");
            drop(client.try_write(&pattern(1, size)));
            client.fin();
            assert_ne!(client.read_all().1, End::Clean);
        }
        6 => {
            client.write(b"s");
            drop(client.try_write(&pattern(1, size)));
            client.reset();
        }
        7 => {
            client.write(b"r");
            assert_ne!(client.read_all().1, End::Clean);
        }
        8 => {
            client.write(b"c");
            assert_eq!(client.check(1), (50_000, End::Clean));
            if dice.below(2) == 0 {
                client.close_notify();
            }
        }
        9 => {
            // Leaves in the middle of a large answer.
            client.write(b"o");
            client.write(&(50_u64 << 20).to_be_bytes());
            client.read_exactly(size);
            if dice.below(2) == 0 {
                client.reset()
            } else {
                drop(client)
            }
        }
        10 => {
            client.write(b"s");
            client.close_notify();
        }
        _ => {
            let mut records = connector.records(lockgate);
            let mut record = records.seal(23, &pattern(1, 1000));
            record[500] ^= 1;
            records.send_raw(&record);
            assert_ne!(records.read_all().1, End::Clean);
            drop(client);
        }
    }
}

fn churn(lockgate: &Lockgate, seed: u64, connections: u64) {
    let left = Arc::new(AtomicU64::new(connections));
    let workers: Vec<_> = (0..12)
        .map(|worker| {
            let (address, left) = (lockgate.address, left.clone());
            thread::spawn(move || {
                let mut dice = Dice::new(seed * 1000 + worker);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let way = dice.below(WAYS);
                    visit(address, way, &mut dice);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a client");
    }
}

#[test]
fn two_thousand_connections_of_all_kinds_leave_nothing_behind() {
    let backend = Backend::tcp(obey);
    let lockgate = Setup::to(&backend.address)
        .limits("half_closed_timeout = \"20s\"")
        .start();
    churn(&lockgate, 1, 300);
    lockgate.assert_baseline();
    let memory = lockgate.memory();
    churn(&lockgate, 2, CONNECTIONS - 300);
    lockgate.assert_baseline();
    let grown = lockgate.memory().saturating_sub(memory);
    assert!(
        grown < 24 << 20,
        "{grown} bytes more than after the first 300"
    );
    let metrics = lockgate.metrics();
    let (accepted, failed) = (
        metrics.sum("lockgate_connections_accepted_total"),
        metrics.sum("lockgate_handshake_failures_total"),
    );
    let (closed, refused) = (
        metrics.sum("lockgate_connections_closed_total"),
        metrics.sum("lockgate_connections_refused_total"),
    );
    assert_eq!(
        accepted,
        closed + failed + refused,
        "{}",
        metrics.show("total")
    );
    lockgate.assert_path();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(b"e");
    client.ping(b"and it still serves");
    assert_eq!(client.close().1, End::Clean);
    lockgate.finish_on_any_path();
}
