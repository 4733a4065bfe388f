//! Which certificate and protocol a client gets for the names it says.

use rustls::AlertDescription;

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, StreamEnd, openssl::s_client, pki, sessions::echo,
};

fn start(configure: impl FnOnce(Setup) -> Setup) -> (Backend<StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let lockgate = configure(Setup::to(&backend.address)).start();
    (backend, lockgate)
}

#[test]
fn an_exact_name_comes_before_a_wildcard() {
    let p = pki();
    let (_backend, lockgate) =
        start(|setup| setup.certificates(&[&p.server, &p.wildcard, &p.exact]));
    for (name, identity) in [
        ("exact.wild.test", &p.exact),
        ("EXACT.wild.test", &p.exact),
        ("other.wild.test", &p.wildcard),
        ("localhost", &p.server),
    ] {
        let client = Connector::new().name(name).connect(lockgate.address);
        let chain = client.tls.peer_certificates().unwrap();
        assert_eq!(
            chain[0],
            identity.chain()[0],
            "{name} got another certificate"
        );
        client.close();
    }
    lockgate.finish();
}

/// The subject that s_client sees.
#[track_caller]
fn subject(lockgate: &Lockgate, arguments: &[&str]) -> String {
    let mut client = s_client(lockgate, arguments);
    client.wait_for("subject=");
    client.wait_for("Verify return code");
    client.send(b"Q\n");
    let output = client.finish().success().all();
    let line = output
        .lines()
        .find(|line| line.starts_with("subject="))
        .unwrap();
    line.rsplit('=').next().unwrap().trim().to_owned()
}

#[test]
fn an_unknown_name_and_no_name_get_the_first_certificate() {
    let p = pki();
    let (_backend, lockgate) = start(|setup| setup.certificates(&[&p.server, &p.exact]));
    for arguments in [
        ["-servername", "unknown.test"],
        ["-noservername", "-tls1_3"],
    ] {
        assert_eq!(subject(&lockgate, &arguments), "server");
    }
    // One label more than the wildcard has.
    assert_eq!(
        subject(&lockgate, &["-servername", "a.b.wild.test"]),
        "server"
    );
    lockgate.finish();
}

#[test]
fn an_unknown_name_is_rejected_where_the_listener_says_so() {
    let (backend, lockgate) = start(|setup| setup.listener("unknown_sni = \"reject\""));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let connector = Connector::new().version(version);
        let end = connector
            .clone()
            .name("unknown.test")
            .verdict(lockgate.address);
        assert_eq!(end, End::Alert(AlertDescription::UnrecognisedName));
        let mut client = connector.connect(lockgate.address);
        client.ping(b"a known one");
        client.close();
    }
    let name = "lockgate_handshake_failures_total";
    lockgate.wait_for(name, &["reason=unknown_sni"], 2);
    drop(backend);
    lockgate.finish();
}

#[test]
fn rsa_and_ecdsa_serve_one_name_to_those_who_can_use_them() {
    let p = pki();
    let (_backend, lockgate) = start(|setup| setup.certificates(&[&p.server, &p.server_rsa]));
    for (signatures, expected) in [
        ("ECDSA+SHA256", "server"),
        ("RSA-PSS+SHA256", "server-rsa"),
        ("RSA-PSS+SHA256:RSA+SHA256", "server-rsa"),
        ("ECDSA+SHA256:RSA-PSS+SHA256", "server"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let got = subject(&lockgate, &[version, "-sigalgs", signatures]);
            assert_eq!(got, expected, "{version} {signatures}");
        }
    }
    lockgate.finish();
}

#[test]
fn an_ed25519_certificate_works() {
    let p = pki();
    let (_backend, lockgate) = start(|setup| setup.certificates(&[&p.server_ed25519]));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = Connector::new().version(version).connect(lockgate.address);
        client.ping(b"signed by Edwards");
        client.close();
    }
    assert_eq!(subject(&lockgate, &["-tls1_3"]), "server-ed25519");
    lockgate.finish();
}

#[test]
fn alpn_takes_the_listeners_preference() {
    let (_backend, lockgate) = start(|setup| setup.listener("alpn = [\"h2\", \"http/1.1\"]"));
    for (offered, expected) in [
        (&["http/1.1", "h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&["spdy/3", "http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut client = Connector::new().alpn(offered).connect(lockgate.address);
        assert_eq!(client.tls.alpn_protocol(), expected, "{offered:?}");
        client.ping(b"spoken");
        client.close();
    }
    lockgate.finish();
}

#[test]
fn alpn_without_overlap_is_refused() {
    let (_backend, lockgate) = start(|setup| setup.listener("alpn = [\"h2\"]"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let connector = Connector::new().version(version).alpn(&["spdy/3"]);
        let end = connector.verdict(lockgate.address);
        assert_eq!(end, End::Alert(AlertDescription::NoApplicationProtocol));
    }
    lockgate.wait_for("lockgate_handshake_failures_total", &[], 2);
    lockgate.finish_on_any_path();
}

#[test]
fn alpn_that_the_listener_does_not_speak_of_is_left_out() {
    let (_backend, lockgate) = start(|setup| setup);
    let mut client = Connector::new().alpn(&["h2"]).connect(lockgate.address);
    assert_eq!(client.tls.alpn_protocol(), None);
    client.ping(b"no protocol");
    client.close();
    lockgate.finish();
}

#[test]
fn min_tls_1_3_refuses_1_2() {
    let (_backend, lockgate) = start(|setup| setup.listener("min_tls = \"1.3\""));
    let end = Connector::new()
        .version(&rustls::version::TLS12)
        .verdict(lockgate.address);
    assert_eq!(end, End::Alert(AlertDescription::ProtocolVersion));
    let mut client = Connector::new()
        .version(&rustls::version::TLS13)
        .connect(lockgate.address);
    client.ping(b"new enough");
    client.close();
    lockgate.wait_for("lockgate_handshake_failures_total", &[], 1);
    lockgate.finish();
}
