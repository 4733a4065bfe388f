//! Everything changes while it runs, under load, with nothing lost; and what cannot is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use rustls::{AlertDescription, HandshakeKind};

use crate::harness::{
    Backend, Connector, End, Load, Setup, command, machine, patience, pki,
    pki::SPIFFE,
    reload::{
        GENERATION, RELOADS, admin, edit, get, is_served, post, reload, rename_over, threads,
    },
    sessions::echo,
    wait_until,
};

#[test]
fn sighup_reloads_and_what_needs_a_restart_is_told() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    lockgate.signal(libc::SIGHUP);
    lockgate.wait_for(GENERATION, &[], 2);
    let offload = format!("offload = {:?}", machine::offload());
    edit(&lockgate, |text| {
        text.replace("handshake_threads = 1", "handshake_threads = 3")
            .replace("relay_threads = 2", "relay_threads = 1")
            .replace(&offload, "offload = \"off\"")
            .replace("[log]", "[log]\nformat = \"json\"")
            .replace("/admin\"", "/other\"")
            .replace("[limits]", "[limits]\nidle_timeout = \"7s\"")
    });
    lockgate.wait_for(GENERATION, &[], 3);
    let answer = reload(&lockgate);
    for fixed in [
        "runtime.handshake_threads stays 1",
        "runtime.relay_threads stays 2",
        &format!("runtime.offload stays {}", machine::offload()),
        "log.format stays text",
        "admin.listen stays unix:",
    ] {
        assert!(
            answer.contains(&format!("not now: {fixed}")),
            "{fixed}: {answer}"
        );
    }
    let (_, config) = get(&lockgate, "/config");
    assert!(
        config.contains("\"idle_timeout_seconds\":7.0") && config.contains("handshake_threads\":1"),
        "{config}"
    );
    assert!(!config.contains("PRIVATE"), "{config}");
    assert!(is_served(lockgate.address, &pki().server));
    lockgate.finish();
}

#[test]
fn listeners_and_backends_come_and_go_with_their_connections_kept() {
    let backend = Backend::tcp(echo);
    let other = Backend::tcp(|mut socket| {
        socket.write_all(b"other").unwrap();
        echo(socket)
    });
    let setup = Setup::to(&backend.address);
    let certificate = setup.certificate(&pki().server);
    let lockgate = setup.start();
    let port = machine::free_port();
    let second: SocketAddr = ([127, 0, 0, 1], port).into();
    let added = format!(
        "\n[[listener]]\nname = \"second\"\nlisten = \"127.0.0.1:{port}\"\nbackend = \"other\"\n\
         certificates = [{certificate}]\n[[backend]]\nname = \"other\"\nservers = {:?}\n",
        other.address
    );
    let load = Load::on(lockgate.address);
    for _ in 0..3 {
        edit(&lockgate, |text| text + &added);
        wait_until("the new listener accepted", || {
            TcpStream::connect(second).is_ok()
        });
        let mut client = Connector::new().connect(second);
        assert_eq!(client.read_exactly(5), b"other");
        client.ping(b"before");

        edit(&lockgate, |text| text.replace(&added, ""));
        wait_until("the removed listener refused", || {
            TcpStream::connect(second).is_err()
        });
        client.ping(b"and after");
        load.goes_on();
        assert_eq!(client.close().1, End::Clean);
    }
    // An address moves to a listener of another name.
    edit(&lockgate, |text| {
        text.replace("name = \"main\"\nlisten", "name = \"renamed\"\nlisten")
    });
    wait_until("the renamed listener served", || {
        get(&lockgate, "/certificates").1.contains("\"renamed\"")
    });
    load.goes_on();
    load.end();
    // An address that is taken: nothing of the configuration is used.
    let generation = lockgate.metrics().sum(GENERATION);
    let taken = added.replace(
        &port.to_string(),
        backend.address.rsplit(':').next().unwrap(),
    );
    edit(&lockgate, |text| text + &taken);
    lockgate.wait_for(RELOADS, &["result=io_error"], 1);
    assert_eq!(lockgate.metrics().sum(GENERATION), generation);
    lockgate.finish();
}

#[test]
fn tickets_outlive_a_reload_unless_it_changes_whom_to_trust() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("required").start();
    let visit = |connector: &Connector| {
        let mut client = connector.connect(lockgate.address);
        client.ping(b"ticket");
        let kind = client.tls.handshake_kind().unwrap();
        assert_eq!(client.close().1, End::Clean);
        kind
    };
    let ca = lockgate.folder().join("client-ca.pem");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let connector = Connector::new()
            .version(version)
            .identity(&pki().client)
            .resuming();
        assert_eq!(visit(&connector), HandshakeKind::Full);
        // Another certificate, for the same suites; the same trust.
        let next = match version.version {
            rustls::ProtocolVersion::TLSv1_2 => &pki().server_ed25519,
            _ => &pki().server,
        };
        rename_over(&lockgate.folder().join("server.key"), &next.key);
        rename_over(&lockgate.folder().join("server.pem"), &next.certificate);
        reload(&lockgate);
        assert_eq!(visit(&connector), HandshakeKind::Resumed, "{version:?}");
        // One more authority.
        let more = format!("{}{}", pki().ca, pki().other_ca);
        rename_over(&ca, &more);
        reload(&lockgate);
        assert_eq!(visit(&connector), HandshakeKind::Full, "{version:?}");
        // Another one: the certificate behind the ticket is none any more.
        rename_over(&ca, &pki().other_ca);
        reload(&lockgate);
        let end = connector.verdict(lockgate.address);
        assert_eq!(end, End::Alert(AlertDescription::UnknownCA), "{version:?}");
        rename_over(&ca, &pki().ca);
        reload(&lockgate);
    }
    lockgate.finish_on_any_path();
}

#[test]
fn a_thousand_reloads_under_load_lose_nothing_and_leave_nothing() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("request").start();
    let load = Load::on(lockgate.address);
    let identities = [&pki().server, &pki().server_ed25519];
    // A guest is several times slower, and shows as much with fewer.
    let rounds = (1000.0 / machine::scale()) as usize;
    // Each one is read by the time that it is answered.
    let rotate = |rounds: std::ops::Range<usize>| {
        for round in rounds {
            let identity = identities[round % 2];
            rename_over(&lockgate.folder().join("server.key"), &identity.key);
            rename_over(&lockgate.folder().join("server.pem"), &identity.certificate);
            let answer = post(&lockgate, "/reload");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    };
    rotate(0..100);
    let (tasks, memory) = (threads(&lockgate), lockgate.memory());
    rotate(100..rounds);
    load.goes_on();
    load.end();
    // The kernel's workers for io_uring are threads too, and end when they have idled for a while.
    wait_until("there are no more threads than before", || {
        threads(&lockgate) <= tasks
    });
    let grown = lockgate.memory().saturating_sub(memory);
    assert!(grown < 2 << 20, "{grown} bytes more than after 100 reloads");
    let metrics = lockgate.metrics();
    assert_eq!(metrics.sum("lockgate_handshake_failures_total"), 0);
    let good = metrics.of(RELOADS, &["scope=listener", "result=ok"]);
    assert!(good >= rounds as u64, "{good}");
    lockgate.finish();
}

#[test]
fn client_policy_limits_and_log_level_change_live() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address);
    let ca = setup.folder.write("client-ca.pem", &pki().ca);
    let lockgate = setup.start();
    let mut stays = Connector::new().connect(lockgate.address);
    stays.ping(b"under the first policy");

    let policy = format!("client_auth = {{ mode = \"required\", ca_file = {ca:?} }}\n");
    edit(&lockgate, |text| {
        text.replace("[[backend]]", &format!("{policy}\n[[backend]]"))
    });
    lockgate.wait_for(GENERATION, &[], 2);
    let end = Connector::new().verdict(lockgate.address);
    assert_eq!(end, End::Alert(AlertDescription::CertificateRequired));
    let mut known = Connector::new()
        .identity(&pki().client)
        .connect(lockgate.address);
    known.ping(b"under the second");
    stays.ping(b"still under the first");

    let timed_out = |count| {
        let mut silent = TcpStream::connect(lockgate.address).unwrap();
        silent.set_read_timeout(Some(patience())).unwrap();
        drop(silent.read_to_end(&mut Vec::new()));
        let failures = "lockgate_handshake_failures_total";
        lockgate.wait_for(failures, &["reason=timeout"], count);
    };
    let said = || lockgate.log().contains("not complete within 100ms");
    edit(&lockgate, |text| {
        text.replace("[limits]", "[limits]\nhandshake_timeout = \"100ms\"")
            .replace("[log]", "[log]\nlevel = \"error\"")
    });
    lockgate.wait_for(GENERATION, &[], 3);
    timed_out(1);
    assert!(!said(), "{}", lockgate.log());
    edit(&lockgate, |text| text.replace("\"error\"", "\"info\""));
    lockgate.wait_for(GENERATION, &[], 4);
    timed_out(2);
    wait_until("it was said at the new level", said);
    stays.ping(b"as before");
    known.ping(b"as before");
    assert_eq!(stays.close().1, End::Clean);
    assert_eq!(known.close().1, End::Clean);
    lockgate.finish_on_any_path();
}

#[test]
fn live_connections_are_listed_and_one_is_closed_by_its_number() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("request").start();
    let mut named = Connector::new()
        .identity(&pki().client)
        .connect(lockgate.address);
    let mut other = Connector::new().connect(lockgate.address);
    named.ping(b"one");
    other.ping(b"two");
    let list = |arguments: &[&str]| {
        let admin = admin(&lockgate);
        let words = [&["connections", "--admin", &admin], arguments].concat();
        command::lockgate(&words).success().text()
    };
    assert!(list(&[]).contains("2 of 2"), "{}", list(&[]));
    let one = list(&["--identity", SPIFFE]);
    assert!(one.contains("1 of 1") && one.contains(SPIFFE), "{one}");
    let row = one.lines().nth(1).unwrap();
    let id = row.split_whitespace().next().unwrap();
    assert_eq!(list(&["--end", id]), format!("ending {id}\n"));
    lockgate.wait_closed("closed", 1);
    drop(named.read_all());
    other.ping(b"still here");
    assert_eq!(other.close().1, End::Clean);

    let status = command::lockgate(&["status", "--admin", &admin(&lockgate)]);
    let status = status.success().text();
    assert!(status.contains("state        serving"), "{status}");
    lockgate.assert_baseline();
}

#[test]
fn drain_by_command_ends_it_with_its_last_connection() {
    let backend = Backend::tcp(echo);
    let mut lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"here");
    let admin = admin(&lockgate);
    command::lockgate(&["drain", "--admin", &admin]).success();
    wait_until("nobody was accepted", || {
        TcpStream::connect(lockgate.address).is_err()
    });
    let status = command::lockgate(&["status", "--admin", &admin]).failure();
    assert!(status.all().contains("draining"), "{}", status.all());
    client.ping(b"still here");
    assert_eq!(client.close().1, End::Clean);
    assert_eq!(lockgate.wait_end().code(), Some(0));
}
