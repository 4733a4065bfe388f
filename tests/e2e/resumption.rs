//! Resumed sessions: they exist, keep the identity, and open no other listener's door.

use rustls::{AlertDescription, HandshakeKind};

use crate::harness::{
    Backend, Connector, End, Folder, Lockgate, Setup, StreamEnd, field, machine,
    openssl::s_client,
    pki,
    pki::SPIFFE,
    sessions::{echo, ordered_in_a_line},
};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// How the handshake went, and the log line.
#[track_caller]
fn visit(connector: &Connector, lockgate: &Lockgate) -> (HandshakeKind, String) {
    let mut client = connector.connect(lockgate.address);
    client.ping(b"again");
    let kind = client.tls.handshake_kind().unwrap();
    let peer = client.local();
    assert_eq!(client.close().1, End::Clean);
    (kind, lockgate.closed_line(peer))
}

#[test]
fn a_resumed_session_keeps_the_identity() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth("required").start();
    for version in VERSIONS {
        let connector = Connector::new()
            .version(version)
            .identity(&pki().client)
            .resuming();
        let (kind, line) = visit(&connector, &lockgate);
        assert_eq!(kind, HandshakeKind::Full);
        assert_eq!(field(&line, "resumed").as_deref(), Some("false"), "{line}");
        for _ in 0..3 {
            let (kind, line) = visit(&connector, &lockgate);
            assert_eq!(kind, HandshakeKind::Resumed, "{version:?}");
            assert_eq!(field(&line, "resumed").as_deref(), Some("true"), "{line}");
            assert_eq!(field(&line, "identity").as_deref(), Some(SPIFFE), "{line}");
        }
    }
    let name = "lockgate_handshakes_total";
    assert_eq!(lockgate.metrics().of(name, &["resumed=true"]), 6);
    lockgate.finish();
}

#[test]
fn openssl_resumes_in_both_versions() {
    let backend = Backend::tcp(ordered_in_a_line);
    let lockgate = Setup::to(&backend.address).start();
    let folder = Folder::new();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = folder.join(version).display().to_string();
        for (option, expected) in [
            ("-sess_out", "New, TLSv1"),
            ("-sess_in", "Reused, TLSv1"),
            ("-sess_in", "Reused"),
        ] {
            let mut client = s_client(&lockgate, &[version, "-ign_eof", option, &session]);
            client.send(b"10\n");
            let output = client.finish().all();
            assert!(output.contains(expected), "{version} {option}:\n{output}");
            assert_eq!(backend.next(), StreamEnd::Clean);
        }
    }
    lockgate.finish();
}

/// A second listener, with client authentication by another authority.
fn with_second_listener(setup: Setup, mode: &str, ca: &str) -> (Lockgate, std::net::SocketAddr) {
    let port = machine::free_port();
    let ca = setup.folder.write("second-ca.pem", ca);
    let certificate = setup.certificate(&pki().server);
    let lockgate = setup
        .extra(&format!(
            "[[listener]]\nname = \"second\"\nlisten = \"127.0.0.1:{port}\"\nbackend = \"main\"\n\
             certificates = [{certificate}]\nclient_auth = {{ mode = {mode:?}, ca_file = {ca:?} }}"
        ))
        .start();
    (lockgate, ([127, 0, 0, 1], port).into())
}

#[test]
fn a_ticket_of_one_listener_opens_no_other() {
    let backend = Backend::tcp(echo);
    let (lockgate, second) =
        with_second_listener(Setup::to(&backend.address), "required", &pki().ca);
    for version in VERSIONS {
        // Without a certificate: the ticket alone must not do.
        let connector = Connector::new().version(version).resuming();
        assert_eq!(visit(&connector, &lockgate).0, HandshakeKind::Full);
        assert_eq!(visit(&connector, &lockgate).0, HandshakeKind::Resumed);
        let end = connector.verdict(second);
        assert_eq!(
            end,
            End::Alert(AlertDescription::CertificateRequired),
            "{version:?}"
        );
        // With one: a full handshake.
        let connector = Connector::new()
            .version(version)
            .identity(&pki().client)
            .resuming();
        visit(&connector, &lockgate);
        let mut client = connector.connect(second);
        client.ping(b"full");
        assert_eq!(
            client.tls.handshake_kind(),
            Some(HandshakeKind::Full),
            "{version:?}"
        );
        client.close();
    }
    lockgate.finish_on_any_path();
}

#[test]
fn a_ticket_for_one_authority_does_not_pass_where_another_is_trusted() {
    let backend = Backend::tcp(echo);
    let setup = Setup::to(&backend.address).client_auth("required");
    let (lockgate, second) = with_second_listener(setup, "required", &pki().other_ca);
    for version in VERSIONS {
        let connector = Connector::new()
            .version(version)
            .identity(&pki().client)
            .resuming();
        visit(&connector, &lockgate);
        assert_eq!(visit(&connector, &lockgate).0, HandshakeKind::Resumed);
        let end = connector.verdict(second);
        assert_eq!(end, End::Alert(AlertDescription::UnknownCA), "{version:?}");
    }
    lockgate.finish_on_any_path();
}
