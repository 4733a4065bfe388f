use rcgen::{
    ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, date_time_ymd,
};

use super::*;

fn inline(text: impl Into<String>) -> Pem {
    Pem::Inline(text.into())
}

fn problem(certificate: impl Into<String>, key: impl Into<String>) -> String {
    let source = CertificateSource {
        certificate: inline(certificate),
        key: inline(key),
    };
    match load(&source, Validity::Enforce) {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn all_kinds_of_keys_load_and_are_described() {
    let pki = Pki::new("ca");
    for (algorithm, kind) in [
        (&PKCS_ECDSA_P256_SHA256, "ECDSA P-256"),
        (&PKCS_ECDSA_P384_SHA384, "ECDSA P-384"),
        (&PKCS_ED25519, "Ed25519"),
        (&PKCS_RSA_SHA256, "RSA 2048"),
    ] {
        let mut params = params(&["A.test", "*.b.test", "10.0.0.1"]);
        params.distinguished_name.push(DnType::CommonName, "web");
        let leaf = pki.sign(params, algorithm);
        let chain = load(&leaf.source(), Validity::Enforce).unwrap();
        assert_eq!(chain.warnings, Vec::<String>::new());
        let info = chain.info;
        assert_eq!(&*info.key_kind, kind);
        assert!(info.subject.contains("CN=web"), "{}", info.subject);
        assert!(info.issuer.contains("CN=ca"), "{}", info.issuer);
        assert_eq!(info.dns_names, ["a.test".into(), "*.b.test".into()].into());
        assert_eq!(
            &*info.ips,
            ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]
        );
        assert!(!info.is_ca);
        assert_eq!(iso8601(info.not_before), "1975-01-01T00:00:00Z");
    }
}

#[test]
fn what_is_wrong_with_pem_is_said_with_its_remedy() {
    let pki = Pki::new("ca");
    let leaf = pki.server(&["a.test"]);
    let (certificate, key) = (leaf.certificate.pem(), leaf.key.serialize_pem());
    let other = pki.server(&["a.test"]);

    let text = problem(key.clone(), certificate.clone());
    assert!(
        text.starts_with("<inline>: holds a private key but no certificate"),
        "{text}"
    );
    let text = problem(certificate.clone(), certificate.clone());
    assert!(
        text.contains("holds a certificate but no private key"),
        "{text}"
    );
    let text = problem("", key.clone());
    assert!(text.contains("holds no PEM certificate"), "{text}");
    let text = problem(certificate.clone(), "nothing");
    assert!(text.contains("holds no PEM private key"), "{text}");
    let text = problem(certificate.clone(), other.key.serialize_pem());
    assert!(
        text.contains("does not belong to the certificate"),
        "{text}"
    );
    let text = problem(
        format!("{}{certificate}", other.certificate.pem()),
        key.clone(),
    );
    assert!(
        text.contains("belongs to certificate 2, not to the first"),
        "{text}"
    );
    let text = problem(&certificate[..certificate.len() - 30], key.clone());
    assert!(
        text.contains("damaged PEM: a section has no END line"),
        "{text}"
    );
    let text = problem(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        key.clone(),
    );
    assert!(
        text.contains("certificate 1 is not an X.509 certificate"),
        "{text}"
    );
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n\
         AAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        let text = problem(certificate.clone(), encrypted);
        assert!(text.contains("the private key is encrypted"), "{text}");
    }
    let text = problem(
        certificate.clone(),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    assert!(text.contains("the private key cannot be used"), "{text}");
    let secret = "c2VjcmV0c2VjcmV0!";
    let text = problem(
        certificate,
        format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
    );
    assert!(
        text.contains("not base64") && !text.contains("c2Vj"),
        "{text}"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let source = |path: &str| CertificateSource {
        certificate: Pem::file(path),
        key: Pem::file(path),
    };
    for path in ["/nonexistent/tls.crt", "/tmp"] {
        let Err(error) = load(&source(path), Validity::Enforce) else {
            panic!("loaded {path}");
        };
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{path}: cannot be read:")),
            "{text}"
        );
    }
}

#[test]
fn a_certificate_and_its_key_may_share_a_file() {
    let leaf = Pki::new("ca").server(&["a.test"]);
    let both = format!("{}{}", leaf.key.serialize_pem(), leaf.certificate.pem());
    let path = std::env::temp_dir().join(format!("lockgate-tls-{}.pem", std::process::id()));
    std::fs::write(&path, both).unwrap();
    let source = CertificateSource {
        certificate: Pem::file(&path),
        key: Pem::file(&path),
    };
    let loaded = load(&source, Validity::Enforce);
    std::fs::remove_file(&path).unwrap();
    assert!(loaded.is_ok());
}

#[test]
fn certificates_outside_their_time_are_errors_or_warnings_as_asked() {
    let pki = Pki::new("ca");
    let expired = {
        let mut params = params(&["a.test"]);
        params.not_after = date_time_ymd(2020, 1, 1);
        pki.sign(params, &PKCS_ECDSA_P256_SHA256).source()
    };
    let future = {
        let mut params = params(&["a.test"]);
        params.not_before = date_time_ymd(2190, 1, 1);
        pki.sign(params, &PKCS_ECDSA_P256_SHA256).source()
    };
    for (source, text) in [
        (&expired, "expired on 2020-01-01T00:00:00Z; renew it"),
        (&future, "valid only from 2190-01-01T00:00:00Z"),
    ] {
        let Err(error) = load(source, Validity::Enforce) else {
            panic!("loaded");
        };
        assert!(error.to_string().contains(text), "{error}");
        let chain = load(source, Validity::Warn).unwrap();
        assert!(chain.warnings[0].contains(text), "{:?}", chain.warnings);
    }
}

#[test]
fn what_clients_may_stumble_over_is_a_warning() {
    let pki = Pki::new("ca");
    let mut identified = params(&["a.test"]);
    identified.use_authority_key_identifier_extension = true;
    let leaf = pki.sign(identified, &PKCS_ECDSA_P256_SHA256);
    let warnings = |issuer: &Pki| {
        let source = CertificateSource {
            certificate: inline(format!("{}{}", leaf.certificate.pem(), issuer.issuer.pem())),
            key: inline(leaf.key.serialize_pem()),
        };
        load(&source, Validity::Enforce).unwrap().warnings
    };
    assert_eq!(warnings(&pki), Vec::<String>::new());
    for stranger in [Pki::new("other"), Pki::new("ca")] {
        let warnings = warnings(&stranger);
        assert!(warnings[0].contains("certificate 2 (CN="), "{warnings:?}");
        assert!(
            warnings[0].contains("did not issue the one before it"),
            "{warnings:?}"
        );
    }
    let nameless = pki.sign(CertificateParams::default(), &PKCS_ECDSA_P256_SHA256);
    let warnings = load(&nameless.source(), Validity::Enforce)
        .unwrap()
        .warnings;
    assert!(warnings[0].contains("no subjectAltName"), "{warnings:?}");
    let mut for_clients = params(&["a.test"]);
    for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let for_clients = pki.sign(for_clients, &PKCS_ECDSA_P256_SHA256);
    let warnings = load(&for_clients.source(), Validity::Enforce)
        .unwrap()
        .warnings;
    assert!(warnings[0].contains("lacks serverAuth"), "{warnings:?}");
}

/// The certificate that a client of `name` is given.
fn given(listener: &Listener, client: &Client<'_>, name: &'static str) -> Result<Vec<u8>, Failed> {
    let mut connection = client.connect(name);
    handshake(&config_of(listener), &mut connection)?;
    Ok(connection.peer_certificates().unwrap()[0].to_vec())
}

#[test]
fn exact_names_win_over_wildcards_and_these_over_the_default() {
    let pki = Pki::new("ca");
    let default = pki.server(&["default.test", "deep.sub.test", "other.test", "sub.test"]);
    let wildcard = pki.server(&["*.sub.test"]);
    let exact = pki.server(&["EXACT.sub.test"]);
    let listener = listener(vec![default.source(), wildcard.source(), exact.source()]);
    let client = Client::tls13(&pki);
    for (name, expected) in [
        ("exact.sub.test", &exact),
        ("any.sub.test", &wildcard),
        ("sub.test", &default),
        ("other.test", &default),
    ] {
        let got = given(&listener, &client, name).unwrap();
        assert_eq!(got, expected.certificate.der().to_vec(), "{name}");
    }
    // One label only: this client gets the default, and does not like it.
    let failed = given(&listener, &client, "a.b.sub.test").unwrap_err();
    assert_eq!(failed.server.reason(), "peer_alert");
}

#[test]
fn a_common_name_counts_only_without_alternative_names() {
    let pki = Pki::new("ca");
    let named = |common_name: &str, names: &[&str]| {
        let mut params = params(names);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        pki.sign(params, &PKCS_ECDSA_P256_SHA256)
    };
    let mut listener = listener(vec![
        named("first.test", &["san.test"]).source(),
        named("Old.test", &[]).source(),
    ]);
    listener.unknown_sni = UnknownSni::Reject;
    let client = Client::tls13(&pki);
    let reason =
        |name| given(&listener, &client, name).map_err(|failed| failed.server.reason().to_owned());
    assert!(reason("san.test").is_ok());
    assert_eq!(reason("first.test").unwrap_err(), "unknown_sni");
    // Chosen by its common name; modern clients refuse it all the same.
    assert_eq!(reason("old.test").unwrap_err(), "peer_alert");
}

#[test]
fn the_key_follows_what_the_client_can_check() {
    let pki = Pki::new("ca");
    let rsa = pki.server_with(&["a.test"], &PKCS_RSA_SHA256);
    let ed25519 = pki.server_with(&["a.test"], &PKCS_ED25519);
    let ecdsa = pki.server_with(&["a.test"], &PKCS_ECDSA_P256_SHA256);
    let der = |leaf: &Leaf| leaf.certificate.der().to_vec();
    let listener_of =
        |leaves: &[&Leaf]| listener(leaves.iter().map(|leaf| leaf.source()).collect());
    let any = Client::tls13(&pki);
    let only_rsa = Client::tls12(&pki).suite(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);

    let all = listener_of(&[&rsa, &ed25519, &ecdsa]);
    assert_eq!(given(&all, &any, "a.test").unwrap(), der(&ecdsa));
    assert_eq!(given(&all, &only_rsa, "a.test").unwrap(), der(&rsa));
    let two = listener_of(&[&rsa, &ed25519]);
    assert_eq!(given(&two, &any, "a.test").unwrap(), der(&ed25519));

    // The default has its siblings too, for a client without a name.
    let config = config_of(&all);
    let mut nameless = only_rsa.connect("127.0.0.1");
    let failed = handshake(&config, &mut nameless).unwrap_err();
    assert_eq!(
        failed.server.reason(),
        "peer_alert",
        "it is not for 127.0.0.1"
    );
    // And failing these, whatever fits.
    let other = pki.server_with(&["b.test"], &PKCS_RSA_SHA256);
    let mixed = listener_of(&[&ecdsa, &other]);
    let failed = given(&mixed, &only_rsa, "c.test").unwrap_err();
    assert_eq!(failed.server.reason(), "peer_alert", "it is not for c.test");
}

#[test]
fn ten_thousand_certificates_are_found_by_name() {
    let pki = Pki::new("ca");
    let leaf = pki.server(&["seed.test"]);
    let chain = load(&leaf.source(), Validity::Enforce).unwrap();
    let chains = (0..10_000)
        .map(|number| {
            let mut chain = chain.clone();
            chain.info.dns_names = [format!("n{number}.test").into()].into();
            Arc::new(chain)
        })
        .collect();
    let store = CertificateStore::new(chains, UnknownSni::Reject).unwrap();
    assert_eq!(
        format!("{store:?}"),
        "CertificateStore { exact: 10000, wildcard: 0, .. }"
    );
}

#[test]
fn all_problems_of_a_listener_come_at_once_with_their_keys() {
    let pki = Pki::new("ca");
    let good = pki.server(&["a.test"]).source();
    let bad_key = CertificateSource {
        key: Pem::file("/nonexistent/tls.key"),
        ..good.clone()
    };
    let bad_certificate = CertificateSource {
        certificate: inline("nothing"),
        ..good.clone()
    };
    let mut listener = listener(vec![good.clone(), bad_key, bad_certificate]);
    listener.client_auth = ClientAuth::Required {
        ca: Pem::file("/nonexistent/ca.pem"),
    };
    let Err(errors) = listener_tls(&listener, &TicketKeys::new(), Validity::Enforce) else {
        panic!("accepted");
    };
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "certificates[1].key_file",
            "certificates[2].certificate",
            "client_auth.ca_file"
        ]
    );

    listener.certificates = [good.clone(), pki.server(&["a.test"]).source()].into();
    listener.client_auth = ClientAuth::Required { ca: inline("") };
    let Err(errors) = listener_tls(&listener, &TicketKeys::new(), Validity::Enforce) else {
        panic!("accepted");
    };
    assert!(
        errors[0]
            .to_string()
            .starts_with("client_auth.ca: <inline>: holds no PEM certificate")
    );

    listener.client_auth = ClientAuth::Required {
        ca: inline(pki.server(&["a.test"]).certificate.pem()),
    };
    let tls = listener_tls(&listener, &TicketKeys::new(), Validity::Enforce)
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(tls.certificates.len(), 2);
    assert_eq!(tls.warnings.len(), 2, "{:?}", tls.warnings);
    assert!(tls.warnings[0].contains("is not a CA certificate"));
    assert!(tls.warnings[1].starts_with("certificates[1]: never used for a.test"));
}
