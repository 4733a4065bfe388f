//! Where kernel TLS, io_uring or pipes are missing, connections work on, and it is counted.

use rustls::crypto::aws_lc_rs::cipher_suite as suites;

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, StreamEnd, machine,
    sessions::{echo, ordered},
};

const BY_PATH: &str = "lockgate_connections_by_path_total";

#[track_caller]
fn visit(connector: &Connector, lockgate: &Lockgate) {
    let mut client = connector.connect(lockgate.address);
    client.ping(b"hello");
    client.echo(3, 2 << 20);
    assert_eq!(client.close().1, End::Clean);
}

#[test]
fn ordinary_connections_are_where_this_machine_can_have_them() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    visit(&Connector::new(), &lockgate);
    let label = if machine::expects_kernel() {
        "path=kernel"
    } else {
        "path=user"
    };
    assert_eq!(lockgate.metrics().of(BY_PATH, &[label]), 1);
    if machine::expects_kernel() {
        assert!(
            machine::has_kernel_tls(),
            "this kernel has no TLS, but the run expects it"
        );
        assert_eq!(lockgate.metrics().of(BY_PATH, &["reason=none"]), 1);
    } else {
        assert_eq!(
            lockgate
                .metrics()
                .of(BY_PATH, &["path=user", "reason=no_kernel_tls"]),
            1
        );
    }
    let relayed = lockgate
        .metrics()
        .of("lockgate_relay_bytes_total", &[label]);
    assert_eq!(relayed, 2 * ((2 << 20) + 5));
    lockgate.finish();
}

#[test]
fn offload_off_stays_in_user_space_everywhere() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address)
        .runtime("offload = \"off\"")
        .start();
    visit(&Connector::new(), &lockgate);
    let metrics = lockgate.metrics();
    assert_eq!(metrics.of(BY_PATH, &["path=user", "reason=offload_off"]), 1);
    assert_eq!(metrics.sum(BY_PATH), 1);
    assert_eq!(lockgate.tls_stat_growth("TlsTxSw"), 0);
    lockgate.finish_on_any_path();
}

#[test]
fn offload_required_starts_only_where_the_kernel_has_tls() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address).runtime("offload = \"required\"");
    if machine::expects_kernel() {
        let lockgate = setup.start();
        visit(&Connector::new(), &lockgate);
        return lockgate.finish();
    }
    let config = setup
        .folder
        .write("lockgate.toml", setup.toml(machine::free_port()));
    let finished = crate::harness::command::lockgate(&["run", "--config", &config]).failure();
    let said = finished.all().to_lowercase();
    assert!(
        said.contains("kernel") && said.contains("tls"),
        "no clear message: {said}"
    );
}

#[test]
fn a_suite_that_the_kernel_lacks_is_relayed_in_user_space() {
    let backend = Backend::tcp(echo);
    let mut setup = Setup::to(&backend.address);
    if !machine::kernel_has_chacha() {
        setup = setup.runtime("offload = \"bulk\"");
    }
    let lockgate = setup.start();
    for suite in [
        suites::TLS13_CHACHA20_POLY1305_SHA256,
        suites::TLS13_AES_128_GCM_SHA256,
    ] {
        visit(&Connector::new().suite(suite), &lockgate);
    }
    if machine::expects_kernel() && !machine::kernel_has_chacha() {
        let metrics = lockgate.metrics();
        assert_eq!(
            metrics.of(BY_PATH, &["path=user", "reason=suite_unsupported"]),
            1
        );
        assert_eq!(metrics.of(BY_PATH, &["path=user", "reason=until_bulk"]), 1);
        assert_eq!(metrics.sum("lockgate_moved_into_kernel_total"), 2);
        return lockgate.finish_on_any_path();
    }
    lockgate.finish();
}

fn tool(name: &str) -> String {
    format!("{}/tests/tools/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn io_uring_is_used_where_it_is_granted() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let waiter = if machine::waiter().as_deref() == Some("epoll") {
        "epoll"
    } else {
        "io_uring"
    };
    let label = format!("waiter={waiter}");
    let labels = ["plane=relay", &label];
    assert_eq!(
        lockgate.metrics().of("lockgate_waiter_info", &labels),
        1,
        "{}",
        lockgate.log()
    );
    visit(&Connector::new(), &lockgate);
    lockgate.finish();
}

#[test]
fn without_io_uring_everything_works_over_epoll() {
    let backend = Backend::tcp(ordered);
    let launcher = ["/usr/bin/python3", &tool("no_io_uring.py")];
    let lockgate = Setup::to(&backend.address).launcher(&launcher).start();
    for plane in ["plane=relay", "plane=handshake"] {
        let epoll = lockgate
            .metrics()
            .of("lockgate_waiter_info", &[plane, "waiter=epoll"]);
        assert_eq!(epoll, 1, "{plane}: {}", lockgate.log());
    }
    assert!(
        !lockgate
            .descriptors()
            .keys()
            .any(|kind| kind.contains("io_uring"))
    );
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = Connector::new().version(version).connect(lockgate.address);
        client.write(&(5_u64 << 20).to_be_bytes());
        assert_eq!(client.exchange(5 << 20), (5 << 20, End::Clean));
        assert_eq!(backend.next(), (5 << 20, StreamEnd::Clean));
    }
    lockgate.finish();
}

#[test]
fn without_pipes_of_full_size_bytes_are_copied() {
    let backend = Backend::tcp(ordered);
    // As a user whose share of the kernel's pipe buffers is taken, which root's never is.
    let setup = Setup::to(&backend.address);
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(setup.folder.path(), everyone).unwrap();
    let launcher = ["/usr/bin/python3", &tool("few_pipes.py")];
    let lockgate = setup.launcher(&launcher).start();
    for _ in 0..3 {
        let mut client = Connector::new().connect(lockgate.address);
        client.write(&(4_u64 << 20).to_be_bytes());
        assert_eq!(client.exchange(4 << 20), (4 << 20, End::Clean));
        assert_eq!(backend.next(), (4 << 20, StreamEnd::Clean));
    }
    if machine::expects_kernel() {
        let metrics = lockgate.metrics();
        assert!(
            metrics.sum("lockgate_pipe_failures_total") > 0,
            "pipes were not missing"
        );
        assert_eq!(metrics.sum("lockgate_spliced_bytes_total"), 0);
    }
    lockgate.finish();
}

#[test]
fn probe_says_what_the_kernel_can() {
    let finished = crate::harness::command::lockgate(&["probe", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", finished.all()));
    assert!(value.is_object(), "{value}");
    let plain = crate::harness::command::lockgate(&["probe"])
        .all()
        .to_lowercase();
    assert!(plain.contains("tls"), "{plain}");
}
