//! What it costs a thread to record what it does.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::Criterion;
use lockgate::{
    config::{Log, LogFormat},
    counter::Counter,
    durations::Durations,
    limits, logging,
};

/// Lines that are surely written before the queue is full.
const LINES: u64 = 64;

/// A counter, as each read and write of a relay thread adds to; a duration, as each handshake records
/// one; and the line of a connection, without the writing, which is another thread's.
pub fn recording(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recording");
    let counter = Counter::default();
    group.bench_function("counter", |bencher| {
        bencher.iter(|| black_box(&counter).add(black_box(1)));
    });
    let durations = Durations::default();
    group.bench_function("duration", |bencher| {
        bencher.iter(|| durations.record(black_box(Duration::from_micros(350))));
    });

    let path = std::env::temp_dir().join(format!("lockgate-line-{}", std::process::id()));
    let log = Log {
        level: "info".to_owned(),
        format: LogFormat::Text,
        file: Some(path.clone()),
        lines_per_second: limits::LOG_LINES_PER_SECOND_MAX,
    };
    logging::start(&log).unwrap();
    group.bench_function("line of a connection", |bencher| {
        bencher.iter_custom(|count| {
            let mut took = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let lines = left.min(LINES);
                let began = Instant::now();
                (0..lines).for_each(line);
                took += began.elapsed();
                logging::flush();
                left -= lines;
            }
            took
        });
    });
    group.finish();
    std::fs::remove_file(path).unwrap();
}

/// As many fields of the same kinds as the line has that a relay thread writes.
fn line(id: u64) {
    tracing::info!(
        id,
        peer = "192.0.2.1:50000",
        listener = "edge",
        sni = "www.example.test",
        version = "1.3",
        suite = "TLS13_AES_128_GCM_SHA256",
        group = "X25519",
        resumed = false,
        backend = "app",
        server = "192.0.2.2:8080",
        path = "kernel",
        fallback = "none",
        up = 1234_u64,
        up_spliced = 0_u64,
        down = 123_456_u64,
        down_spliced = 0_u64,
        duration_ms = 1234_u64,
        reason = "finished",
        "connection closed"
    );
}
