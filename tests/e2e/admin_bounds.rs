//! The admin address answers whatever its other clients, and the clients of the listeners, do.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, machine, metrics, sessions::echo, wait_until,
};

/// More than there are places.
const CROWD: usize = 40;

fn open(lockgate: &Lockgate) -> UnixStream {
    let socket = UnixStream::connect(lockgate.folder().join("admin")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket
}

/// It answers, and at once: nobody's timeout had to end before.
#[track_caller]
fn assert_answers(lockgate: &Lockgate) {
    let began = Instant::now();
    for path in ["/health", "/ready", "/metrics", "/config"] {
        assert_eq!(lockgate.ask("GET", path).0, 200, "{path}");
    }
    let limit = Duration::from_secs(3).mul_f64(machine::scale());
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
}

#[test]
fn clients_that_say_nothing_or_little_keep_nobody_out() {
    let lockgate = Setup::to("127.0.0.1:9").start();
    let silent: Vec<_> = (0..CROWD).map(|_| open(&lockgate)).collect();
    assert_answers(&lockgate);
    drop(silent);
    let mut slow: Vec<_> = (0..CROWD).map(|_| open(&lockgate)).collect();
    for piece in ["GET /health HTTP/1.1\r\n", "Host: x\r\n", "X-A: y\r\n"] {
        for socket in &mut slow {
            // The first ones have lost their place.
            drop(socket.write_all(piece.as_bytes()));
        }
        assert_answers(&lockgate);
    }
    // The last one still has its place, and is served once it is done.
    let mut last = slow.pop().unwrap();
    last.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    drop(slow);
    lockgate.finish_on_any_path();
}

#[test]
fn a_request_that_never_ends_is_cut_in_time() {
    let lockgate = Setup::to("127.0.0.1:9").start();
    let mut socket = open(&lockgate);
    socket.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    // An answer that says so, or none.
    drop(socket.read_to_end(&mut answer));
    let took = began.elapsed();
    let expected = Duration::from_secs(4)..Duration::from_secs(10).mul_f64(machine::scale());
    assert!(expected.contains(&took), "{took:?}");
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    lockgate.finish_on_any_path();
}

#[test]
fn heads_and_bodies_of_any_size_are_bounded() {
    let lockgate = Setup::to("127.0.0.1:9").start();
    let memory = lockgate.memory();
    let mut huge = open(&lockgate);
    let mut answer = Vec::new();
    let head = format!(
        "GET /health HTTP/1.1\r\nX-A: {}\r\n\r\n",
        "a".repeat(1 << 20)
    );
    // It need not read all of it.
    drop(huge.write_all(head.as_bytes()));
    drop(huge.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let mut long = open(&lockgate);
    let head = "POST /drain HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n";
    // A change that nobody may make by mistake: the method is wrong, the body endless.
    drop(long.write_all(head.replace("POST", "PATCH").as_bytes()));
    let chunk = vec![b'x'; 1 << 20];
    let sent = (0..64)
        .take_while(|_| long.write_all(&chunk).is_ok())
        .count();
    assert!(sent < 64, "it took {sent} MiB");
    assert_answers(&lockgate);
    let grown = lockgate.memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes more");
    lockgate.finish_on_any_path();
}

#[test]
fn answers_that_nobody_reads_keep_nobody_out() {
    // More than a socket takes without somebody who reads.
    let servers: Vec<String> = (10_000..10_700)
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let backends = |number| format!("[[backend]]\nname = \"b{number}\"\nservers = {servers:?}\n");
    let more: String = (0..25).map(backends).collect();
    let lockgate = Setup::to("127.0.0.1:9").extra(&more).start();
    let size = lockgate.ask("GET", "/config").1.len();
    assert!(size > 300_000, "{size}");
    let memory = lockgate.memory();
    let deaf: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut socket = open(&lockgate);
            let request = b"GET /config HTTP/1.1\r\nHost: x\r\n\r\n";
            socket.write_all(request).unwrap();
            socket
        })
        .collect();
    assert_answers(&lockgate);
    let grown = lockgate.memory().saturating_sub(memory);
    assert!(grown < 64 << 20, "{grown} bytes more");
    drop(deaf);
    lockgate.finish_on_any_path();
}

#[test]
fn it_answers_and_reloads_while_connections_have_used_up_all_descriptors() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address)
        .limits("connections = 1000")
        .limits("handshake_timeout = \"60s\"")
        .launcher(&["sh", "-c", "ulimit -n 128; exec \"$@\"", "sh"])
        .start();
    let connector = Connector::new();
    let served: Vec<_> = (0..20)
        .map(|_| {
            let mut client = connector.connect(lockgate.address);
            client.ping(b"hello");
            client
        })
        .collect();
    let waiting: Vec<_> = (0..150)
        .map(|_| TcpStream::connect(lockgate.address).unwrap())
        .collect();
    lockgate.wait_for("lockgate_accept_pauses_total", &["resource=descriptors"], 1);
    for _ in 0..5 {
        for path in [
            "/health",
            "/ready",
            "/metrics",
            "/certificates",
            "/connections",
        ] {
            let (status, body) = lockgate.ask("GET", path);
            assert_eq!(status, 200, "{path}: {body}");
        }
        let (status, body) = lockgate.ask("POST", "/reload");
        assert_eq!(status, 200, "{body}");
    }
    let servers = lockgate.json("/backends")[0]["servers"].clone();
    assert_eq!(
        (&servers[0]["up"], &servers[0]["failures"]),
        (&true.into(), &0.into())
    );
    // Several at once as well.
    let admin = lockgate.folder().join("admin");
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let admin = admin.clone();
            std::thread::spawn(move || metrics::ask(&admin, "POST", "/reload").unwrap().0)
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.join().unwrap(), 200);
    }
    assert!(
        !lockgate.log().contains("cannot be accepted"),
        "{}",
        lockgate.log()
    );
    for mut client in served {
        client.ping(b"still served");
        assert_eq!(client.close().1, End::Clean);
    }
    drop(waiting);
    wait_until("it serves everybody again", || {
        connector
            .try_connect(lockgate.address)
            .is_ok_and(|mut client| {
                client.try_write(b"x").is_ok() && client.close() == (b"x".to_vec(), End::Clean)
            })
    });
    lockgate.finish();
}
