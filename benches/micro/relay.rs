//! The relay core, the snapshot that a connection looks at, and ways to move bytes between sockets.

use std::{
    hint::black_box,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use criterion::{BenchmarkId, Criterion, Throughput};
use lockgate::{
    limits,
    relay::core::{Action, Input, Outcome, Relay, Settings, Side, Tick},
    sys::{pipe::Pipe, socket},
};

use crate::ring_splice::RingSplice;

/// Loading the snapshot, as each new connection does, alone and beside a swap.
pub fn snapshot(criterion: &mut Criterion) {
    let snapshot = ArcSwap::from_pointee([0_u8; 256]);
    let mut group = criterion.benchmark_group("snapshot");
    group.bench_function("load", |bencher| bencher.iter(|| **snapshot.load()));
    group.bench_function("load_full", |bencher| bencher.iter(|| snapshot.load_full()));
    group.bench_function("store", |bencher| {
        bencher.iter(|| snapshot.store(Arc::new([0_u8; 256])));
    });
}

/// A small request and its answer: two events and what the core makes of them, without I/O.
pub fn core_event(criterion: &mut Criterion) {
    let settings = Settings {
        idle_timeout: Duration::from_secs(3600),
        half_closed_timeout: Duration::from_secs(300),
        lifetime: None,
        truncation_is_clean: false,
        records_per_key: limits::RECORDS_PER_KEY,
        client_updates: true,
    };
    let mut relay = Relay::new(settings, 0, Tick(0));
    criterion.bench_function("relay core, request and answer", |bencher| {
        bencher.iter(|| {
            for side in [Side::Client, Side::Backend] {
                relay.turn(Tick(1));
                relay.ready(side, true, true, false, false);
                relay.ready(side.other(), false, true, false, false);
                while step(&mut relay) {}
            }
            black_box(relay.deadline())
        });
    });
}

/// Performs one action as sockets would that have one small message each.
fn step(relay: &mut Relay) -> bool {
    let action = relay.next();
    let outcome = match action {
        Action::Read(_) | Action::Splice(_) => Outcome::Input(Input::Data {
            bytes: 100,
            held: 100,
            drained: true,
        }),
        Action::Write(_) => Outcome::Accepted(100),
        // An update of keys, when their records are used up.
        Action::SendKeyUpdate(_) | Action::UpdateTransmit(_) => Outcome::Done,
        _ => return false,
    };
    relay.done(action, outcome);
    true
}

/// Plain TCP to plain TCP: only the moving in the middle is timed.
pub fn splice_or_copy(criterion: &mut Criterion) {
    let (mut writer, from) = pair();
    let (to, mut reader) = pair();
    from.set_nonblocking(true).unwrap();
    to.set_nonblocking(true).unwrap();
    let pipe = Pipe::new().unwrap();
    let mut ring = RingSplice::new().unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut group = criterion.benchmark_group("relay between sockets");
    for size in [256, 4 << 10, 16 << 10, 64 << 10] {
        group.throughput(Throughput::Bytes(size as u64));
        let message = vec![b'x'; size];
        let mut back = vec![0; size];
        group.bench_function(BenchmarkId::new("copy", size), |bencher| {
            bencher.iter_custom(|count| {
                timed(count, &mut writer, &message, &mut reader, &mut back, || {
                    let received = socket::receive(from.as_fd(), &mut buffer)?;
                    all(received, |done| {
                        socket::send(to.as_fd(), buffer.get(done..received).unwrap_or_default())
                    })
                })
            });
        });
        group.bench_function(BenchmarkId::new("splice", size), |bencher| {
            bencher.iter_custom(|count| {
                timed(count, &mut writer, &message, &mut reader, &mut back, || {
                    let received = pipe.splice_from(from.as_fd(), 64 << 10)?;
                    all(received, |done| pipe.splice_to(to.as_fd(), received - done))
                })
            });
        });
        group.bench_function(BenchmarkId::new("IORING_OP_SPLICE", size), |bencher| {
            let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
            bencher.iter_custom(|count| {
                timed(count, &mut writer, &message, &mut reader, &mut back, || {
                    let received = ring.splice_in(from, 64 << 10)?;
                    all(received, |done| {
                        ring.splice_out(to, u32::try_from(received - done).unwrap())
                    })
                })
            });
        });
    }
}

/// Calls `send` until `length` bytes are accepted.
fn all(
    length: usize,
    mut send: impl FnMut(usize) -> std::io::Result<usize>,
) -> std::io::Result<usize> {
    let mut done = 0;
    while done < length {
        match send(done) {
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Moves `message` `count` times by `turn`, and times that alone.
fn timed(
    count: u64,
    writer: &mut TcpStream,
    message: &[u8],
    reader: &mut TcpStream,
    back: &mut [u8],
    mut turn: impl FnMut() -> std::io::Result<usize>,
) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        writer.write_all(message).unwrap();
        let start = Instant::now();
        let mut moved = 0;
        while moved < message.len() {
            match turn() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => moved += result.unwrap(),
            }
        }
        spent += start.elapsed();
        reader.read_exact(back).unwrap();
    }
    spent
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}
