//! Every byte arrives, in order, both ways at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, Check, Client, Connector, End, Lockgate, Setup, StreamEnd, data, machine, pattern,
    sessions::{echo, ordered},
};

type Ordered = Backend<(u64, StreamEnd)>;

/// Sends `up` bytes and takes `down` bytes at the same time, all compared.
#[track_caller]
fn exchange(client: &mut Client, up: u64, down: u64) {
    client.write(&down.to_be_bytes());
    assert_eq!(client.exchange(up), (down, End::Clean));
}

#[track_caller]
fn exchange_and_ask(client: &mut Client, backend: &Ordered, up: u64, down: u64) {
    exchange(client, up, down);
    assert_eq!(
        backend.next(),
        (up, StreamEnd::Clean),
        "what the backend got"
    );
}

#[test]
fn every_size_arrives_whole_in_both_directions() {
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address).start();
    let sizes = [
        0,
        1,
        2,
        100,
        16_383,
        16_384,
        16_385,
        65_536,
        100_001,
        1 << 20,
        (3 << 20) + 7,
    ];
    for size in sizes {
        let mut client = Connector::new().connect(lockgate.address);
        exchange_and_ask(&mut client, &backend, size, size);
    }
    for (up, down) in [(8 << 20, 0), (0, 8 << 20), (1, 4 << 20), (4 << 20, 1)] {
        let mut client = Connector::new().connect(lockgate.address);
        exchange_and_ask(&mut client, &backend, up, down);
    }
    let total = sizes.iter().sum::<u64>() + (12 << 20) + 1;
    let orders = 8 * (sizes.len() as u64 + 4);
    lockgate.wait_closed("finished", sizes.len() as u64 + 4);
    let metrics = lockgate.metrics();
    assert_eq!(
        metrics.of("lockgate_relay_bytes_total", &["direction=up"]),
        total + orders
    );
    assert_eq!(
        metrics.of("lockgate_relay_bytes_total", &["direction=down"]),
        total
    );
    lockgate.finish();
}

#[test]
fn a_quarter_gibibyte_each_way_at_once_costs_lockgate_no_time_of_its_own() {
    const BYTES: u64 = 256 << 20;
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address).start();
    let before = lockgate.user_time();
    let mut client = Connector::new().connect(lockgate.address);
    let began = Instant::now();
    exchange_and_ask(&mut client, &backend, BYTES, BYTES);
    if machine::expects_kernel() {
        let (spent, elapsed) = (lockgate.user_time() - before, began.elapsed());
        // User-mode Linux charges time by ticks that it cannot tell apart; there the count of
        // bytes below has to do.
        assert!(
            machine::is_guest() || spent < elapsed / 20,
            "{spent:?} of {elapsed:?} in user space for 512 MiB"
        );
        for direction in ["direction=up", "direction=down"] {
            let spliced = lockgate
                .metrics()
                .of("lockgate_spliced_bytes_total", &[direction]);
            assert!(
                spliced > BYTES / 10 * 9,
                "{direction}: {spliced} bytes were spliced"
            );
        }
    }
    lockgate.finish();
}

#[test]
fn client_records_of_every_size_arrive() {
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address).start();
    for record in [64, 100, 512, 1400, 4096, 8192, 16_000, 16_384] {
        let mut client = Connector::new().record(record).connect(lockgate.address);
        let up = (record as u64 * 2000).min(4 << 20);
        exchange_and_ask(&mut client, &backend, up, 300_000);
    }
    lockgate.finish();
}

const SLOW: u64 = 12 << 20;

/// Takes the first bytes slowly, so that everything in between fills up.
fn slowly(check: &mut Check, bytes: &[u8]) {
    check.feed(bytes);
    if check.bytes < 1 << 20 {
        thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn assert_little_memory(lockgate: &Lockgate, before: u64) {
    let grown = lockgate.peak_memory().saturating_sub(before);
    assert!(
        grown < 4 << 20,
        "{grown} bytes of memory for one slow connection"
    );
}

#[test]
fn a_slow_backend_holds_the_client_back_and_gets_everything() {
    let backend = Backend::tcp(|mut socket| {
        machine::set_receive_buffer(&socket, 32 << 10);
        let mut check = Check::new(data::UP);
        let end = socket.drain(|bytes| slowly(&mut check, bytes));
        (check.bytes, end)
    });
    let lockgate = Setup::to(&backend.address).start();
    let memory = lockgate.peak_memory();
    let mut client = Connector::new().connect(lockgate.address);
    assert_eq!(client.exchange(SLOW), (0, End::Clean));
    assert_eq!(backend.next(), (SLOW, StreamEnd::Clean));
    assert_little_memory(&lockgate, memory);
    lockgate.finish();
}

#[test]
fn a_slow_client_holds_the_backend_back_and_gets_everything() {
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address).start();
    let memory = lockgate.peak_memory();
    let mut client = Connector::new().open(lockgate.address).unwrap();
    machine::set_receive_buffer(&client.socket, 32 << 10);
    client.handshake().unwrap();
    client.write(&SLOW.to_be_bytes());
    client.close_notify();
    let mut check = Check::new(data::DOWN);
    let end = client.drain(|bytes| slowly(&mut check, bytes));
    assert_eq!((check.bytes, end), (SLOW, End::Clean));
    assert_little_memory(&lockgate, memory);
    lockgate.finish();
}

#[test]
fn many_connections_at_once_do_not_mix() {
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address).start();
    let connections = if machine::is_guest() { 48 } else { 96 };
    let address = lockgate.address;
    let start = std::sync::Arc::new(std::sync::Barrier::new(connections));
    let clients: Vec<_> = (0..connections as u64)
        .map(|number| {
            let start = start.clone();
            thread::spawn(move || {
                let mut client = Connector::new().connect(address);
                start.wait();
                exchange(&mut client, 100_000 + number * 1111, 200_000 - number * 777);
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    for _ in 0..connections {
        assert_eq!(backend.next().1, StreamEnd::Clean);
    }
    lockgate.finish();
}

#[test]
fn small_messages_back_and_forth_arrive_one_by_one() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    for number in 0..500_usize {
        client.ping(&pattern(number as u64, 1 + number * 13 % 700));
    }
    // Large ones in between change how bytes are moved, and back.
    for round in 0..5 {
        client.echo(round, 3 << 20);
        client.ping(b"small again");
    }
    assert_eq!(client.close().1, End::Clean);
    lockgate.finish();
}
