//! How one side ends is how the other sees it end: clean, cut or half.

use std::io::Write;

use crate::harness::{
    Backend, Connector, End, Folder, Setup, Socket, StreamEnd, data, machine, pattern,
};

/// Takes everything, then sends so many bytes and ends.
fn answer_after_the_end(mut socket: Socket) -> (u64, StreamEnd) {
    let result = socket.check(data::UP);
    socket.source(data::DOWN, 1 << 20).unwrap();
    result
}

#[test]
fn client_half_close_still_returns_backend_data() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let backend = Backend::tcp(answer_after_the_end);
        let lockgate = Setup::to(&backend.address).start();
        let mut client = Connector::new().version(version).connect(lockgate.address);
        client.write(&pattern(data::UP, 300_000));
        client.close_notify();
        assert_eq!(client.check(data::DOWN), (1 << 20, End::Clean));
        assert_eq!(backend.next(), (300_000, StreamEnd::Clean));
        lockgate.wait_closed("finished", 1);
        lockgate.finish();
    }
}

#[test]
fn client_half_close_is_told_to_a_unix_backend_too() {
    let folder = Folder::new();
    let backend = Backend::unix(&folder.join("backend"), answer_after_the_end);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(&pattern(data::UP, 3_000_000));
    client.close_notify();
    assert_eq!(client.check(data::DOWN), (1 << 20, End::Clean));
    assert_eq!(backend.next(), (3_000_000, StreamEnd::Clean));
    lockgate.finish();
}

#[test]
fn client_fin_behind_close_notify_still_returns_backend_data() {
    let backend = Backend::tcp(answer_after_the_end);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(&pattern(data::UP, 100));
    client.close_notify();
    client.fin();
    assert_eq!(client.check(data::DOWN), (1 << 20, End::Clean));
    assert_eq!(backend.next(), (100, StreamEnd::Clean));
    lockgate.finish();
}

fn end_then_listen(mut socket: Socket) -> (u64, StreamEnd) {
    socket.write_all(b"bye").unwrap();
    socket.shutdown_write();
    socket.check(data::UP)
}

#[test]
fn backend_half_close_is_close_notify_and_client_data_still_arrives() {
    let folder = Folder::new();
    let tcp = Backend::tcp(end_then_listen);
    let unix = Backend::unix(&folder.join("backend"), end_then_listen);
    for backend in [tcp, unix] {
        let lockgate = Setup::to(&backend.address).start();
        let mut client = Connector::new().connect(lockgate.address);
        assert_eq!(client.read_all(), (b"bye".to_vec(), End::Clean));
        client.write(&pattern(data::UP, 2_000_000));
        client.close_notify();
        assert_eq!(backend.next(), (2_000_000, StreamEnd::Clean));
        lockgate.wait_closed("finished", 1);
        lockgate.finish();
    }
}

#[test]
fn truncation_reaches_the_backend_as_a_reset_behind_all_data() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let backend = Backend::tcp(|mut socket| socket.check(data::UP));
        let lockgate = Setup::to(&backend.address).start();
        let mut client = Connector::new().version(version).connect(lockgate.address);
        client.write(&pattern(data::UP, 500_000));
        client.fin();
        assert_eq!(backend.next(), (500_000, StreamEnd::Reset));
        assert_ne!(
            client.read_all().1,
            End::Clean,
            "a cut connection does not end cleanly"
        );
        lockgate.wait_closed("client_truncated", 1);
        assert_eq!(lockgate.metrics().sum("lockgate_truncated_total"), 1);
        lockgate.finish();
    }
}

#[test]
fn truncation_towards_a_unix_backend_loses_nothing_and_is_counted() {
    let folder = Folder::new();
    let backend = Backend::unix(&folder.join("backend"), |mut socket| socket.check(data::UP));
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(&pattern(data::UP, 500_000));
    client.fin();
    // A unix socket has no reset to send: how it ends is not the claim.
    assert_eq!(backend.next().0, 500_000);
    assert_ne!(client.read_all().1, End::Clean);
    lockgate.wait_closed("client_truncated", 1);
    lockgate.finish();
}

#[test]
fn truncation_reaches_a_slow_backend_as_a_reset_behind_all_data() {
    let backend = Backend::tcp(|mut socket| {
        machine::set_receive_buffer(&socket, 8 << 10);
        let mut check = crate::harness::Check::new(data::UP);
        let end = socket.drain(|bytes| {
            check.feed(bytes);
            std::thread::sleep(std::time::Duration::from_millis(1));
        });
        (check.bytes, end)
    });
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(&pattern(data::UP, 1_000_000));
    client.fin();
    assert_eq!(backend.next(), (1_000_000, StreamEnd::Reset));
    lockgate.wait_closed("client_truncated", 1);
    lockgate.finish();
}

#[test]
fn truncation_is_a_clean_end_where_the_listener_says_so() {
    let backend = Backend::tcp(answer_after_the_end);
    let lockgate = Setup::to(&backend.address)
        .listener("on_truncation = \"close\"")
        .start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(&pattern(data::UP, 500_000));
    client.fin();
    assert_eq!(client.check(data::DOWN), (1 << 20, End::Clean));
    assert_eq!(backend.next(), (500_000, StreamEnd::Clean));
    lockgate.wait_for("lockgate_truncated_total", &[], 1);
    lockgate.finish();
}

#[test]
fn backend_reset_is_never_a_clean_end_for_the_client() {
    let backend = Backend::tcp(|mut socket| {
        socket.source(data::DOWN, 300_000).unwrap();
        // A reset drops what was not sent; what lockgate has must arrive.
        machine::wait_acknowledged(&socket);
        socket.reset();
    });
    let lockgate = Setup::to(&backend.address).start();
    for round in 1..=5 {
        let mut client = Connector::new().connect(lockgate.address);
        backend.next();
        let (bytes, end) = client.check(data::DOWN);
        assert_ne!(end, End::Clean);
        assert_eq!(bytes, 300_000, "what was sent before the reset ({end:?})");
        lockgate.wait_closed("backend_reset", round);
    }
    lockgate.finish();
}

#[test]
fn backend_reset_in_the_middle_of_a_stream_is_never_a_clean_end() {
    let backend = Backend::tcp(|mut socket| {
        drop(socket.read_exactly(1000));
        drop(socket.source(data::DOWN, 5_000_000));
        socket.reset();
    });
    let lockgate = Setup::to(&backend.address).start();
    for _ in 0..5 {
        let mut client = Connector::new().connect(lockgate.address);
        client.write(&[0; 1000]);
        let (_, end) = client.check(data::DOWN);
        assert_ne!(end, End::Clean);
    }
    lockgate.wait_closed("backend_reset", 5);
    lockgate.finish();
}

#[test]
fn client_reset_resets_the_backend() {
    let backend = Backend::tcp(|mut socket| {
        socket.write_all(b"ready").unwrap();
        socket.read_all().1
    });
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(b"half a mess");
    client.read_exactly(5);
    client.reset();
    assert_eq!(backend.next(), StreamEnd::Reset);
    lockgate.wait_closed("client_reset", 1);
    lockgate.finish();
}

#[test]
fn client_reset_is_no_clean_end_even_where_truncation_is() {
    let backend = Backend::tcp(|mut socket| socket.check(data::UP).1);
    let lockgate = Setup::to(&backend.address)
        .listener("on_truncation = \"close\"")
        .start();
    for round in 1..=5 {
        let mut client = Connector::new().connect(lockgate.address);
        client.write(&pattern(data::UP, 4 << 20));
        client.reset();
        assert_eq!(backend.next(), StreamEnd::Reset, "round {round}");
    }
    lockgate.wait_closed("client_reset", 5);
    lockgate.assert_path();
    lockgate.finish_on_any_path();
}

#[test]
fn client_reset_stops_a_backend_that_sends() {
    let backend = Backend::tcp(|mut socket| socket.source(data::DOWN, 1 << 40).is_err());
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.read_exactly(100_000);
    client.reset();
    assert!(backend.next(), "the backend could send on");
    lockgate.wait_closed("client_reset", 1);
    lockgate.finish();
}

#[test]
fn a_connection_without_a_byte_ends_on_both_sides() {
    let backend = Backend::tcp(|mut socket| socket.read_all());
    let lockgate = Setup::to(&backend.address).start();
    let client = Connector::new().connect(lockgate.address);
    assert_eq!(client.close(), (Vec::new(), End::Clean));
    assert_eq!(backend.next(), (Vec::new(), StreamEnd::Clean));
    lockgate.finish();
}
