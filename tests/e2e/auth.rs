//! Client certificates: who gets in, what the others are told, and whose name is logged.

use rustls::AlertDescription;

use crate::harness::{
    Backend, Connector, End, Lockgate, Setup, field,
    openssl::s_client,
    pki,
    pki::{Identity, SPIFFE},
    sessions::echo,
};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

fn start(mode: &str) -> (Backend<crate::harness::StreamEnd>, Lockgate) {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).client_auth(mode).start();
    (backend, lockgate)
}

#[track_caller]
fn log_line_of(connector: &Connector, lockgate: &Lockgate) -> String {
    let mut client = connector.connect(lockgate.address);
    client.ping(b"let me in");
    let peer = client.local();
    assert_eq!(client.close().1, End::Clean);
    lockgate.closed_line(peer)
}

#[track_caller]
fn assert_refused(lockgate: &Lockgate, connector: &Connector, alert: AlertDescription, why: &str) {
    let before = failures(lockgate, why);
    assert_eq!(
        connector.verdict(lockgate.address),
        End::Alert(alert),
        "{why}"
    );
    let name = "lockgate_handshake_failures_total";
    lockgate.wait_for(name, &[&format!("reason={why}")], before + 1);
}

fn failures(lockgate: &Lockgate, why: &str) -> u64 {
    lockgate.metrics().of(
        "lockgate_handshake_failures_total",
        &[&format!("reason={why}")],
    )
}

#[test]
fn a_good_certificate_gets_in_and_its_identity_is_logged() {
    for mode in ["required", "request"] {
        let (_backend, lockgate) = start(mode);
        for version in VERSIONS {
            let connector = Connector::new().version(version).identity(&pki().client);
            let line = log_line_of(&connector, &lockgate);
            assert_eq!(field(&line, "identity").as_deref(), Some(SPIFFE), "{line}");
            let connector = Connector::new()
                .version(version)
                .identity(&pki().client_plain);
            let line = log_line_of(&connector, &lockgate);
            assert!(
                field(&line, "identity").unwrap().contains("client-two"),
                "{line}"
            );
        }
        let name = "lockgate_handshakes_total";
        assert_eq!(lockgate.metrics().of(name, &["client_certificate=true"]), 4);
        lockgate.finish();
    }
}

#[test]
fn a_missing_certificate_is_refused_where_required() {
    let (_backend, lockgate) = start("required");
    for version in VERSIONS {
        let connector = Connector::new().version(version);
        let alert = AlertDescription::CertificateRequired;
        assert_refused(&lockgate, &connector, alert, "client_certificate_missing");
    }
    lockgate.finish_on_any_path();
}

#[test]
fn a_missing_certificate_is_no_obstacle_where_requested() {
    let (_backend, lockgate) = start("request");
    for version in VERSIONS {
        let line = log_line_of(&Connector::new().version(version), &lockgate);
        let identity = field(&line, "identity").unwrap_or_default();
        assert!(!identity.contains("client"), "{line}");
    }
    let name = "lockgate_handshakes_total";
    assert_eq!(
        lockgate.metrics().of(name, &["client_certificate=false"]),
        2
    );
    lockgate.finish();
}

#[test]
fn bad_certificates_are_refused_with_the_alert_that_fits() {
    use AlertDescription::{CertificateExpired, UnknownCA, UnsupportedCertificate};
    let p = pki();
    let bad: [(&Identity, AlertDescription, &str); 3] = [
        (
            &p.client_expired,
            CertificateExpired,
            "client_certificate_expired",
        ),
        (
            &p.client_untrusted,
            UnknownCA,
            "client_certificate_untrusted",
        ),
        (
            &p.client_bad_usage,
            UnsupportedCertificate,
            "client_certificate_bad_usage",
        ),
    ];
    for mode in ["required", "request"] {
        let (backend, lockgate) = start(mode);
        for version in VERSIONS {
            for (identity, alert, why) in bad {
                let connector = Connector::new().version(version).identity(identity);
                assert_refused(&lockgate, &connector, alert, why);
            }
        }
        assert!(
            backend.try_next().is_none(),
            "the backend heard of a refused client"
        );
        lockgate.finish_on_any_path();
    }
}

#[test]
fn openssl_gets_in_with_a_certificate_and_hears_alert_116_without() {
    let (_backend, lockgate) = start("required");
    let (certificate, key) = pki().client.write(lockgate.folder());
    let mut client = s_client(&lockgate, &["-cert", &certificate, "-key", &key]);
    client.send(b"let me in\n");
    client.wait_for("let me in");
    client.send(b"Q\n");
    client.finish();
    let mut client = s_client(&lockgate, &["-tls1_3", "-ign_eof"]);
    client.close_stdin();
    let output = client.finish().all();
    assert!(output.contains("SSL alert number 116"), "{output}");
    lockgate.finish_on_any_path();
}

#[test]
fn a_certificate_is_not_asked_for_where_no_client_authentication_is_configured() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    // Even a bad one does not matter: it is never sent.
    let connector = Connector::new().identity(&pki().client_untrusted);
    let line = log_line_of(&connector, &lockgate);
    assert!(!line.contains("client-untrusted"), "{line}");
    let mut client = s_client(&lockgate, &["-tls1_3"]);
    client.wait_for("No client certificate CA names sent");
    client.send(b"Q\n");
    client.finish();
    lockgate.finish();
}
