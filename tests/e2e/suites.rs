//! Every suite, version and key exchange, against two implementations.

use rustls::{
    CipherSuite, NamedGroup, SupportedCipherSuite, crypto::aws_lc_rs::cipher_suite as suites,
};

use crate::harness::{
    Backend, Check, Connector, End, Lockgate, Setup, StreamEnd, data, machine,
    openssl::s_client,
    pki,
    sessions::{echo, ordered, ordered_in_a_line},
};

pub const SUITES: [SupportedCipherSuite; 9] = [
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// By what `openssl s_client` calls them.
const OPENSSL_SUITES: [(&str, &str); 9] = [
    ("-tls1_3", "TLS_AES_128_GCM_SHA256"),
    ("-tls1_3", "TLS_AES_256_GCM_SHA384"),
    ("-tls1_3", "TLS_CHACHA20_POLY1305_SHA256"),
    ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("-tls1_2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("-tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("-tls1_2", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("-tls1_2", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("-tls1_2", "ECDHE-RSA-CHACHA20-POLY1305"),
];

/// A kernel that lacks a suite cannot have all of them.
fn with_both_keys(address: &str) -> Setup {
    let setup = Setup::to(address).certificates(&[&pki().server, &pki().server_rsa]);
    match machine::kernel_has_chacha() {
        true => setup,
        false => setup.runtime("offload = \"bulk\""),
    }
}

#[track_caller]
fn finish(lockgate: Lockgate) {
    if !machine::kernel_has_chacha() {
        lockgate.assert_decrypted();
        return lockgate.finish_on_any_path();
    }
    lockgate.finish();
}

#[test]
fn every_suite_of_rustls_carries_data_both_ways() {
    let backend = Backend::tcp(ordered);
    let lockgate = with_both_keys(&backend.address).start();
    for suite in SUITES {
        let mut client = Connector::new().suite(suite).connect(lockgate.address);
        client.write(&1_500_000_u64.to_be_bytes());
        assert_eq!(
            client.exchange(1_500_000),
            (1_500_000, End::Clean),
            "{suite:?}"
        );
        assert_eq!(backend.next(), (1_500_000, StreamEnd::Clean), "{suite:?}");
    }
    let metrics = lockgate.metrics();
    assert_eq!(metrics.of("lockgate_handshakes_total", &["version=1.3"]), 3);
    assert_eq!(metrics.of("lockgate_handshakes_total", &["version=1.2"]), 6);
    finish(lockgate);
}

#[test]
fn every_suite_of_openssl_carries_data() {
    let backend = Backend::tcp(ordered_in_a_line);
    let lockgate = with_both_keys(&backend.address).start();
    for (version, suite) in OPENSSL_SUITES {
        let option = if version == "-tls1_3" {
            "-ciphersuites"
        } else {
            "-cipher"
        };
        let mut client = s_client(&lockgate, &[version, option, suite, "-quiet"]);
        client.send(b"700000\n");
        let finished = client.finish().success();
        let mut check = Check::new(data::DOWN);
        check.feed(&finished.stdout);
        assert_eq!(check.bytes, 700_000, "{suite}");
        assert_eq!(backend.next(), StreamEnd::Clean, "{suite}");
    }
    finish(lockgate);
}

#[test]
fn every_group_is_negotiated() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let groups = [
        NamedGroup::X25519MLKEM768,
        NamedGroup::X25519,
        NamedGroup::secp256r1,
        NamedGroup::secp384r1,
    ];
    for group in groups {
        let mut client = Connector::new().group(group).connect(lockgate.address);
        let negotiated = client.tls.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(negotiated, group);
        client.ping(b"over this group");
        assert_eq!(client.close().1, End::Clean);
    }
    lockgate.finish();
}

#[test]
fn the_default_client_gets_a_post_quantum_group_and_tls_1_3() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    let mut client = Connector::new().connect(lockgate.address);
    client.ping(b"hello");
    let group = client.tls.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    let suite = client.tls.negotiated_cipher_suite().unwrap().suite();
    assert!(matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256 | CipherSuite::TLS13_AES_256_GCM_SHA384
    ));
    client.close();
    lockgate.finish();
}

#[test]
fn a_hello_retry_request_is_followed_by_a_good_handshake() {
    let backend = Backend::tcp(ordered_in_a_line);
    let lockgate = Setup::to(&backend.address).start();
    // The only key share is of a group that lockgate does not have.
    let mut client = s_client(&lockgate, &["-tls1_3", "-groups", "P-521:P-256", "-quiet"]);
    client.send(b"1000\n");
    assert_eq!(client.finish().success().stdout.len(), 1000);
    assert_eq!(backend.next(), StreamEnd::Clean);
    lockgate.finish();
}

#[test]
fn a_client_without_a_common_suite_is_told_so() {
    let backend = Backend::tcp(echo);
    let lockgate = Setup::to(&backend.address).start();
    // The certificate is of an elliptic curve, this suite wants RSA.
    let connector = Connector::new().suite(suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    let end = connector.verdict(lockgate.address);
    assert_eq!(end, End::Alert(rustls::AlertDescription::HandshakeFailure));
    lockgate.wait_for("lockgate_handshake_failures_total", &[], 1);
    lockgate.finish_on_any_path();
}
