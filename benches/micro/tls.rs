//! Handshakes, records, and the choice among many certificates.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use lockgate::{
    config::UnknownSni,
    tls::{
        CertificateStore, Cipher, ContentType, Established, Opened, Opener, Progress, Sealer,
        Session, TrafficSecret, Validity, load,
    },
};
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    server::{Acceptor, ResolvesServerCert},
    version::{TLS12, TLS13},
};

use crate::pki::{Pki, connect, written};

/// The server's part of a handshake alone, keys taken over; the client's time is not counted.
pub fn handshakes(criterion: &mut Criterion) {
    let pki = Pki::new();
    let mut group = criterion.benchmark_group("handshake, server alone");
    for (name, version, kx, mutual, resume) in [
        ("full 1.3", &TLS13, "X25519", false, false),
        ("full 1.3 hybrid", &TLS13, "X25519MLKEM768", false, false),
        ("full 1.2", &TLS12, "X25519", false, false),
        ("mutual 1.3", &TLS13, "X25519", true, false),
        ("resumed 1.3", &TLS13, "X25519", false, true),
        ("resumed 1.2", &TLS12, "X25519", false, true),
    ] {
        let server = pki.server(mutual);
        let mut client = ClientConfig::clone(&pki.client(version, kx, mutual));
        client.resumption = match resume {
            true => Resumption::in_memory_sessions(8),
            false => Resumption::disabled(),
        };
        let client = Arc::new(client);
        // The first one brings the ticket.
        handshake(&server, &client);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let mut spent = Duration::ZERO;
                for _ in 0..count {
                    let (established, took) = handshake(&server, &client);
                    assert_eq!(established.info.resumed, resume, "not what was asked for");
                    spent += took;
                }
                spent
            });
        });
    }
}

/// Seal and open, by size of the payload.
pub fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record, AES-128-GCM");
    for size in [64, 1024, 4096, 16384] {
        group.throughput(Throughput::Bytes(size as u64));
        let (mut sealer, _) = both_ends();
        let mut frame = vec![b'x'; sealer.prefix() + size + sealer.suffix()];
        group.bench_function(BenchmarkId::new("seal", size), |bencher| {
            bencher.iter(|| {
                sealer.seal_in_place(ContentType::ApplicationData, black_box(&mut frame), size)
            });
        });
        let mut output = vec![0; size + 1024];
        group.bench_function(BenchmarkId::new("open", size), |bencher| {
            // Both ends of one key. The inputs of a batch are made, and then opened, in order.
            let (mut sealer, mut opener) = both_ends();
            bencher.iter_batched(
                || {
                    let mut record = Vec::new();
                    let payload = vec![b'x'; size];
                    sealer
                        .seal(ContentType::ApplicationData, &payload, &mut record)
                        .unwrap();
                    record
                },
                |mut record| {
                    let opened = opener.open(&mut record, &mut output).unwrap();
                    assert!(matches!(opened, Opened::Record { .. }), "no record");
                    record
                },
                BatchSize::SmallInput,
            );
        });
    }
}

/// What the resolver does with a ClientHello, among 10,000 names.
pub fn certificate_choice(criterion: &mut Criterion) {
    let pki = Pki::new();
    let chains: Vec<_> = (0..10_000)
        .map(|index| {
            let source = pki.certificate(&format!("host-{index}.example.org"));
            Arc::new(load(&source, Validity::Enforce).unwrap())
        })
        .collect();
    let store = CertificateStore::new(chains, UnknownSni::Reject).unwrap();
    let client = pki.client(&TLS13, "X25519", false);
    let mut hello = Vec::new();
    written(&mut connect(&client, "host-7777.example.org"), &mut hello);
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut hello.as_slice()).unwrap();
    let accepted = acceptor.accept().ok().flatten().unwrap();
    criterion.bench_function("certificate choice among 10,000", |bencher| {
        bencher.iter(|| store.resolve(accepted.client_hello()).unwrap());
    });
}

/// A whole handshake, and how long the server's part took.
fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> (Established, Duration) {
    let mut client = connect(client, "localhost");
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    written(&mut client, &mut incoming);
    let start = Instant::now();
    let mut session = Session::new(Arc::clone(server)).unwrap();
    let mut spent = start.elapsed();
    loop {
        let start = Instant::now();
        let progress = session.advance(&mut incoming, &mut outgoing).unwrap();
        spent += start.elapsed();
        let mut rest = outgoing.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
        outgoing.clear();
        if progress == Progress::Done {
            break;
        }
        written(&mut client, &mut incoming);
    }
    let start = Instant::now();
    let established = session.into_established(&mut outgoing).unwrap();
    (established, spent + start.elapsed())
}

/// A sealer and the opener that reads what it makes.
fn both_ends() -> (Sealer, Opener) {
    let keys = || {
        let mut secret = TrafficSecret::new(Cipher::Aes128Gcm, &[7; 32]).unwrap();
        secret.update().unwrap()
    };
    (Sealer::new(&keys()).unwrap(), Opener::new(&keys()).unwrap())
}
