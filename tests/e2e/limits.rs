//! Bounds in number and time, and the end of the program.

use std::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc::channel},
    time::{Duration, Instant},
};

use nix::sys::socket::Backlog;

use crate::harness::{
    Backend, Client, Connector, End, Lockgate, Setup, StreamEnd, data, holds_within, machine,
    patience, sessions::echo, wait_until,
};

fn start(configure: impl FnOnce(Setup) -> Setup) -> (Backend<StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let lockgate = configure(Setup::to(&backend.address)).start();
    (backend, lockgate)
}

#[track_caller]
fn client(lockgate: &Lockgate) -> Client {
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"hello");
    client
}

/// As long as a deadline may be overrun on a busy machine.
fn slack() -> Duration {
    Duration::from_secs(3).mul_f64(machine::scale())
}

#[test]
fn a_client_beyond_the_limit_waits_for_its_turn_and_is_counted() {
    let (_backend, lockgate) = start(|setup| setup.limits("connections = 4"));
    let clients: Vec<_> = (0..4).map(|_| client(&lockgate)).collect();
    let address = lockgate.address;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Connector::new().connect(address);
                client.ping(b"my turn");
                client.close().1
            })
        })
        .collect();
    lockgate.wait_for("lockgate_accept_pauses_total", &["resource=connections"], 1);
    assert_eq!(lockgate.metrics().sum("lockgate_connections_open"), 4);
    assert_eq!(lockgate.metrics().sum("lockgate_handshakes_total"), 4);
    assert!(!waiting.iter().any(std::thread::JoinHandle::is_finished));
    for client in clients {
        assert_eq!(client.close().1, End::Clean);
    }
    for waiting in waiting {
        assert_eq!(waiting.join().unwrap(), End::Clean);
    }
    lockgate.finish();
}

#[test]
fn a_client_that_leaves_while_it_waits_takes_no_place() {
    let (_backend, lockgate) = start(|setup| setup.limits("connections = 1"));
    let first = client(&lockgate);
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let waiting = Connector::new().open(lockgate.address).unwrap();
            if number % 2 == 0 {
                waiting.reset()
            } else {
                drop(waiting)
            }
        })
        .collect();
    drop(waiting);
    assert_eq!(first.close().1, End::Clean);
    client(&lockgate).close();
    lockgate.finish();
}

#[test]
fn a_server_that_refuses_is_passed_over() {
    let backend = Backend::tcp(echo);
    let nobody = format!("127.0.0.1:{}", machine::free_port());
    let lockgate = Setup::to("").servers(&[&nobody, &backend.address]).start();
    for _ in 0..6 {
        client(&lockgate).close();
    }
    lockgate.wait_for("lockgate_backend_connect_failures_total", &[], 1);
    lockgate.finish();
}

#[test]
fn a_server_that_does_not_answer_is_passed_over_in_time() {
    let backend = Backend::tcp(echo);
    // Its queue is full: the kernel leaves further clients without an answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&silent, Backlog::new(0).unwrap()).unwrap();
    let address = silent.local_addr().unwrap();
    let queued: Vec<_> = std::iter::from_fn(|| {
        TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()
    })
    .take(10)
    .collect();
    assert!(queued.len() < 10, "the queue does not fill up");
    let lockgate = Setup::to("")
        .servers(&[&address.to_string(), &backend.address])
        .limits("connect_timeout = \"300ms\"")
        .start();
    for _ in 0..4 {
        let started = Instant::now();
        client(&lockgate).close();
        assert!(started.elapsed() < Duration::from_millis(600) + slack());
    }
    lockgate.finish();
}

#[test]
fn a_client_whose_backend_is_gone_gets_no_clean_end() {
    machine::isolate();
    let nobody = format!("127.0.0.1:{}", machine::free_port());
    let lockgate = Setup::to(&nobody).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let end = Connector::new().version(version).verdict(lockgate.address);
        assert_ne!(end, End::Clean);
    }
    lockgate.wait_for(
        "lockgate_connections_refused_total",
        &["reason=backend_unavailable"],
        2,
    );
    lockgate.finish_on_any_path();
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let (backend, lockgate) = start(|setup| setup.limits("idle_timeout = \"1s\""));
    let mut busy = client(&lockgate);
    let mut idle = client(&lockgate);
    let started = Instant::now();
    let waiting = std::thread::spawn(move || idle.read_all());
    while started.elapsed() < Duration::from_secs(3) {
        busy.ping(b"not idle");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(waiting.join().unwrap(), (Vec::new(), End::Clean));
    lockgate.wait_closed("idle", 1);
    assert_eq!(backend.next(), StreamEnd::Clean);
    busy.ping(b"still there");
    assert_eq!(busy.close().1, End::Clean);
    lockgate.finish();
}

#[test]
fn a_half_closed_connection_has_a_timeout_of_its_own() {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let backend = Backend::tcp(move |mut socket| {
        let end = socket.read_all().1;
        // It never answers, nor ends.
        let _ = released.lock().unwrap().recv();
        end
    });
    let lockgate = Setup::to(&backend.address)
        .limits("half_closed_timeout = \"500ms\"")
        .start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(b"that is all");
    client.close_notify();
    let started = Instant::now();
    client.read_all();
    assert!(started.elapsed() < Duration::from_millis(500) + slack());
    lockgate.wait_closed("half_closed_idle", 1);
    drop(release);
    lockgate.finish();
}

#[test]
fn a_lifetime_ends_even_a_busy_connection() {
    let (backend, lockgate) = start(|setup| setup.limits("lifetime = \"1s\""));
    let started = Instant::now();
    let mut client = client(&lockgate);
    let end = loop {
        if let Err(end) = client.try_write(b"busy") {
            break end;
        }
        let mut buffer = [0; 100];
        if let Err(end) = client.read(&mut buffer) {
            break end;
        }
        assert!(
            started.elapsed() < Duration::from_secs(1) + slack(),
            "it lives on"
        );
    };
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(end, End::Clean);
    lockgate.wait_closed("lifetime", 1);
    assert_eq!(backend.next(), StreamEnd::Reset);
    lockgate.finish();
}

#[test]
fn running_out_of_descriptors_slows_accepting_and_passes() {
    let (_backend, lockgate) =
        start(|setup| setup.launcher(&["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]));
    let address = lockgate.address;
    let attempts: Vec<_> = (0..60)
        .map(|_| {
            std::thread::spawn(move || {
                // Whoever is not served now is served once others are gone, or told so.
                let mut client = Connector::new().try_connect(address).ok()?;
                client.try_write(b"hello").ok()?;
                let mut buffer = [0; 5];
                client.read(&mut buffer).ok()?;
                std::thread::sleep(Duration::from_millis(200));
                Some(client.close().1 == End::Clean)
            })
        })
        .collect();
    let results: Vec<_> = attempts
        .into_iter()
        .map(|attempt| attempt.join().unwrap())
        .collect();
    assert!(
        !results.contains(&Some(false)),
        "a served connection did not end cleanly"
    );
    assert!(results.contains(&Some(true)), "nobody was served");
    wait_until("it serves everybody again", || {
        Connector::new()
            .try_connect(address)
            .is_ok_and(|mut client| {
                client.try_write(b"x").is_ok() && client.close() == (b"x".to_vec(), End::Clean)
            })
    });
    lockgate.finish();
}

#[test]
fn sigterm_lets_connections_finish_and_takes_no_new_ones() {
    let (_backend, mut lockgate) = start(|setup| setup);
    let mut open = client(&lockgate);
    lockgate.signal(libc::SIGTERM);
    wait_until("new connections were refused", || {
        TcpStream::connect(lockgate.address).is_err()
    });
    open.ping(b"still served");
    open.echo(data::UP, 5 << 20);
    assert!(!lockgate.is_over());
    assert_eq!(open.close().1, End::Clean);
    assert_eq!(lockgate.wait_end().code(), Some(0));
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let (backend, mut lockgate) = start(|setup| setup);
    let mut open = client(&lockgate);
    lockgate.signal(libc::SIGTERM);
    wait_until("new connections were refused", || {
        TcpStream::connect(lockgate.address).is_err()
    });
    open.ping(b"still served");
    let started = Instant::now();
    lockgate.signal(libc::SIGTERM);
    open.read_all();
    assert_eq!(lockgate.wait_end().code(), Some(0));
    assert!(started.elapsed() < slack(), "{:?}", started.elapsed());
    assert_eq!(backend.next(), StreamEnd::Reset);
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let (backend, mut lockgate) = start(|setup| setup.limits("drain_timeout = \"1s\""));
    let mut open = client(&lockgate);
    let started = Instant::now();
    lockgate.signal(libc::SIGTERM);
    assert_eq!(open.read_all(), (Vec::new(), End::Clean));
    assert_eq!(lockgate.wait_end().code(), Some(0));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(1) + slack());
    assert_eq!(backend.next(), StreamEnd::Reset);
}

#[test]
fn sigterm_without_connections_ends_at_once() {
    let (_backend, mut lockgate) = start(|setup| setup);
    let started = Instant::now();
    lockgate.signal(libc::SIGTERM);
    assert!(holds_within(patience(), || lockgate.is_over()));
    assert_eq!(lockgate.wait_end().code(), Some(0));
    assert!(started.elapsed() < slack(), "{:?}", started.elapsed());
}
