//! KeyUpdate: followed where keys can change, a counted close where they cannot.

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, StreamEnd, data, machine,
    openssl::s_client,
    sessions::{echo, ordered},
};

const UPDATES: &str = "lockgate_key_updates_total";

#[test]
fn openssl_updates_its_keys_in_the_middle_of_a_stream() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = s_client(&lockgate, &["-tls1_3"]);
    client.send(b"before any update\n");
    client.wait_for("before any update");
    // `k`: an update; `K`: one that asks for lockgate's too.
    client.send(b"k\n");
    // s_client takes a command only at the start of what it reads.
    client.wait_for_times("KEYUPDATE", 1);
    if !machine::can_update_keys() {
        lockgate.wait_closed("key_update_unsupported", 1);
        assert_eq!(backend.next(), StreamEnd::Reset);
        return finish_where_keys_cannot_change(lockgate);
    }
    client.send(b"after one update\n");
    client.wait_for("after one update");
    for round in 0..5 {
        client.send(b"K\n");
        client.wait_for_times("KEYUPDATE", round + 2);
        client.send(format!("after {round} updates on both sides\n").as_bytes());
        client.wait_for(&format!("after {round} updates on both sides"));
    }
    client.send(b"Q\n");
    client.finish().success();
    lockgate.wait_for(UPDATES, &["direction=received"], 6);
    lockgate.wait_for(UPDATES, &["direction=sent"], 5);
    assert_eq!(backend.next(), StreamEnd::Clean);
    lockgate.finish();
}

/// The kernel may have met a record of the new key before the connection was closed.
#[track_caller]
fn finish_where_keys_cannot_change(lockgate: Lockgate) {
    lockgate.assert_path();
    lockgate.finish_on_any_path();
}

#[test]
fn rustls_updates_keys_between_data_in_both_directions() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"before");
    for round in 0..20 {
        client.tls.refresh_traffic_keys().unwrap();
        if !machine::can_update_keys() {
            drop(client.try_write(b"lost"));
            assert_ne!(client.read_all().1, End::Clean);
            lockgate.wait_closed("key_update_unsupported", 1);
            return finish_where_keys_cannot_change(lockgate);
        }
        // Data right behind it, small and large, with a budget for the next update.
        client.echo(round, 1 + (round % 3) * 700_000);
    }
    assert_eq!(client.close().1, End::Clean);
    lockgate.wait_for(UPDATES, &["direction=received"], 20);
    assert_eq!(backend.next(), StreamEnd::Clean);
    lockgate.finish();
}

#[test]
fn lockgate_updates_its_own_keys_in_time_or_ends_the_connection() {
    const BYTES: u64 = 8 << 20;
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address)
        .limits("records_per_key = 100")
        .start();
    let mut client = Connector::new().connect(lockgate.address);
    client.write(&BYTES.to_be_bytes());
    if !machine::can_update_keys() {
        assert_eq!(client.check(data::DOWN).1, End::Clean);
        lockgate.wait_closed("record_limit", 1);
        assert_eq!(backend.next().1, StreamEnd::Reset);
        return finish_where_keys_cannot_change(lockgate);
    }
    assert_eq!(client.exchange(BYTES), (BYTES, End::Clean));
    assert_eq!(backend.next(), (BYTES, StreamEnd::Clean));
    lockgate.wait_for(UPDATES, &["direction=sent"], BYTES / 16_384 / 100 - 1);
    lockgate.finish();
}

#[test]
fn tls_1_2_ends_at_the_record_limit_because_it_has_no_update() {
    let backend = Backend::tcp(ordered);
    let lockgate = Setup::to(&backend.address)
        .limits("records_per_key = 100")
        .start();
    let connector = Connector::new().version(&rustls::version::TLS12);
    let mut client = connector.connect(lockgate.address);
    client.write(&(64_u64 << 20).to_be_bytes());
    let (bytes, end) = client.check(data::DOWN);
    assert_eq!(end, End::Clean);
    assert!(bytes < 64 << 20, "all of it came under one key");
    lockgate.wait_closed("record_limit", 1);
    assert_eq!(backend.next().1, StreamEnd::Reset);
    lockgate.finish();
}

#[test]
fn a_storm_of_key_updates_is_cut_off() {
    let backend = Backend::tcp(|mut socket| socket.check(data::UP));
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    for _ in 0..2000 {
        client.tls.refresh_traffic_keys().unwrap();
        if client.flush().is_err() {
            break;
        }
    }
    assert_ne!(client.read_all().1, End::Clean);
    let updates = machine::can_update_keys();
    lockgate.wait_closed(
        if updates {
            "key_update_flood"
        } else {
            "key_update_unsupported"
        },
        1,
    );
    assert_eq!(backend.next(), (0, StreamEnd::Reset));
    finish_where_keys_cannot_change(lockgate);
}

#[test]
fn updates_that_data_pays_for_may_go_on_for_ever() {
    if !machine::can_update_keys() {
        // The claim for such kernels is in the tests above; here it must hold that one update ends
        // the connection, so that nobody takes this for a skipped test.
        return openssl_updates_its_keys_in_the_middle_of_a_stream();
    }
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    let rounds = 40;
    for round in 0..rounds {
        client.tls.refresh_traffic_keys().unwrap();
        client.echo(round, 1 << 20);
    }
    assert_eq!(client.close().1, End::Clean);
    lockgate.wait_for(UPDATES, &["direction=received"], rounds);
    lockgate.finish();
}
