use rcgen::{ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::AlertDescription;

use super::*;

fn server(pki: &Pki) -> Listener {
    listener(vec![pki.server(&["a.test"]).source()])
}

#[test]
fn both_versions_establish_and_say_what_was_agreed() {
    let pki = Pki::new("ca");
    let mut listener = server(&pki);
    listener.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    let config = config_of(&listener);
    for (client, version, suite) in [
        (
            Client::tls13(&pki),
            TlsVersion::Tls13,
            "TLS13_AES_256_GCM_SHA384",
        ),
        (
            Client::tls12(&pki),
            TlsVersion::Tls12,
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
    ] {
        let client = Client {
            alpn: vec![b"http/1.1".to_vec(), b"h2".to_vec()],
            ..client
        };
        let info = handshake(&config, &mut client.connect("a.test"))
            .unwrap()
            .info;
        assert_eq!(info.version, version);
        assert_eq!(info.suite, suite);
        assert_eq!(info.cipher, Cipher::Aes256Gcm);
        assert_eq!(info.sni.as_deref(), Some("a.test"));
        assert_eq!(info.alpn.as_deref(), Some("h2"), "our order decides");
        assert!(!info.resumed);
        assert!(info.client.is_none());
        let group = match version {
            TlsVersion::Tls13 => "X25519MLKEM768",
            TlsVersion::Tls12 => "X25519",
        };
        assert_eq!(info.group, Some(group));
    }
}

#[test]
fn a_client_certificate_names_the_client() {
    let pki = Pki::new("ca");
    let clients = Pki::new("clients");
    let mut listener = server(&pki);
    listener.client_auth = ClientAuth::Required { ca: clients.pem() };
    let config = config_of(&listener);
    let leaf = clients.client();
    for client in [Client::tls13(&pki), Client::tls12(&pki)] {
        let client = client.certificate(&leaf);
        let established = handshake(&config, &mut client.connect("a.test")).unwrap();
        let who = established.info.client.unwrap();
        assert_eq!(
            who.identity.as_deref(),
            Some("spiffe://example.org/ns/shop/sa/web")
        );
        assert_eq!(&*who.subject, "CN=web");
        let info = CertificateInfo::from_der(leaf.certificate.der()).unwrap();
        assert_eq!(who.fingerprint_sha256, info.fingerprint_sha256);
        assert_eq!(who.serial.to_string(), *info.serial);
        assert_eq!(who.not_after, info.not_after);
    }
}

#[test]
fn identities_are_taken_in_their_order_and_never_repaired() {
    let pki = Pki::new("ca");
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let identity = |common_name: &str, names: Vec<SanType>| {
        let mut params = client_params();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let leaf = pki.sign(params, &PKCS_ECDSA_P256_SHA256);
        ClientCertificate::from_der(leaf.certificate.der())
            .unwrap()
            .identity
            .map(String::from)
    };
    let all = vec![dns("a.test"), uri("https://x.test"), uri("spiffe://td/a")];
    assert_eq!(identity("cn", all).as_deref(), Some("spiffe://td/a"));
    let dns_only = vec![uri("https://x.test"), dns("a.test"), dns("b.test")];
    assert_eq!(identity("cn", dns_only).as_deref(), Some("a.test"));
    assert_eq!(identity("cn", vec![]).as_deref(), Some("cn"));
    let sly = vec![uri("spiffe://td/a?x"), dns("a.test\nlevel=error")];
    assert_eq!(identity("cn", sly).as_deref(), Some("cn"));
    assert_eq!(identity("cn\nlevel=error", vec![]), None);
    assert_eq!(identity("cn\u{202e}", vec![]), None);
    assert_eq!(identity("Spiffe://td/admin", vec![]), None);
}

#[test]
fn refused_client_certificates_have_their_reason_and_alert() {
    let pki = Pki::new("ca");
    let clients = Pki::new("clients");
    let stranger = Pki::new("strangers").client();
    let expired = {
        let mut params = client_params();
        params.not_after = date_time_ymd(2020, 1, 1);
        clients.sign(params, &PKCS_ECDSA_P256_SHA256)
    };
    let future = {
        let mut params = client_params();
        params.not_before = date_time_ymd(2190, 1, 1);
        params.not_after = date_time_ymd(2191, 1, 1);
        clients.sign(params, &PKCS_ECDSA_P256_SHA256)
    };
    let for_servers = {
        let mut params = client_params();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        clients.sign(params, &PKCS_ECDSA_P256_SHA256)
    };
    let mut listener = server(&pki);
    for (leaf, reason, expected) in [
        // rustls sends certificate_required under TLS 1.2 as well, which has no such alert.
        (None, "client_certificate_missing", 116),
        (Some(&stranger), "client_certificate_untrusted", 48),
        (Some(&expired), "client_certificate_expired", 45),
        (Some(&future), "client_certificate_not_yet_valid", 45),
        (Some(&for_servers), "client_certificate_bad_usage", 43),
    ] {
        for client in [Client::tls13(&pki), Client::tls12(&pki)] {
            let client = match leaf {
                Some(leaf) => client.certificate(leaf),
                None => client,
            };
            listener.client_auth = ClientAuth::Required { ca: clients.pem() };
            let failed = refused(&listener, &client);
            assert_eq!(failed.server.reason(), reason);
            assert_eq!(alert(&failed.client), Some(expected), "{reason}");
            // What is presented is verified even where nothing need be.
            listener.client_auth = ClientAuth::Request { ca: clients.pem() };
            match leaf {
                Some(_) => assert_eq!(refused(&listener, &client).server.reason(), reason),
                None => {
                    let config = config_of(&listener);
                    handshake(&config, &mut client.connect("a.test")).unwrap();
                }
            }
        }
    }
}

fn refused(listener: &Listener, client: &Client<'_>) -> Failed {
    handshake(&config_of(listener), &mut client.connect("a.test")).unwrap_err()
}

#[test]
fn nothing_in_common_has_its_reason_and_alert() {
    let pki = Pki::new("ca");

    let mut tls13_only = server(&pki);
    tls13_only.min_tls = TlsVersion::Tls13;
    let failed = refused(&tls13_only, &Client::tls12(&pki));
    assert_eq!(failed.server, SessionError::NoSharedVersion);
    assert_eq!(alert(&failed.client), Some(70));

    let mut h2 = server(&pki);
    h2.alpn = vec!["h2".to_owned()];
    let client = Client {
        alpn: vec![b"http/1.1".to_vec()],
        ..Client::tls13(&pki)
    };
    let failed = refused(&h2, &client);
    assert_eq!(failed.server, SessionError::NoSharedAlpn);
    assert_eq!(alert(&failed.client), Some(120));

    let mut strict = server(&pki);
    strict.unknown_sni = UnknownSni::Reject;
    for client in [Client::tls13(&pki), Client::tls12(&pki)] {
        let failed = handshake(&config_of(&strict), &mut client.connect("b.test")).unwrap_err();
        assert_eq!(
            failed.server,
            SessionError::UnknownSni(Some("b.test".into()))
        );
        assert_eq!(
            failed.client,
            Some(rustls::Error::AlertReceived(
                AlertDescription::UnrecognisedName
            ))
        );
    }
    // Without a name there is nothing to reject.
    let mut by_address = Client::tls13(&pki).connect("127.0.0.1");
    let failed = handshake(&config_of(&strict), &mut by_address).unwrap_err();
    assert_eq!(
        failed.server.reason(),
        "peer_alert",
        "it is not for 127.0.0.1"
    );

    let rsa = pki.server_with(&["a.test"], &rcgen::PKCS_RSA_SHA256);
    let only_ecdsa =
        Client::tls12(&pki).suite(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let failed = refused(&listener(vec![rsa.source()]), &only_ecdsa);
    assert_eq!(failed.server, SessionError::NoSharedSignature);
    assert_eq!(alert(&failed.client), Some(40));
}

#[test]
fn a_client_that_distrusts_us_is_a_peer_alert() {
    let pki = Pki::new("ca");
    let other = Pki::new("other");
    for client in [Client::tls13(&other), Client::tls12(&other)] {
        let failed = refused(&server(&pki), &client);
        assert_eq!(
            failed.server,
            SessionError::PeerAlert(AlertDescription::UnknownCA)
        );
        assert_eq!(failed.client, None, "an alert is not answered");
    }
}

#[test]
fn data_behind_finished_is_left_alone() {
    use std::io::Write;
    let pki = Pki::new("ca");
    let config = config_of(&server(&pki));
    for client in [Client::tls13(&pki), Client::tls12(&pki)] {
        let mut client = client.connect("a.test");
        let mut session = Session::new(Arc::clone(&config)).unwrap();
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        client.writer().write_all(b"early bird").unwrap();
        loop {
            incoming.extend(written(&mut client));
            let progress = session.advance(&mut incoming, &mut outgoing).unwrap();
            deliver(&mut client, &outgoing).unwrap();
            outgoing.clear();
            if progress == Progress::Done {
                break;
            }
        }
        incoming.extend(written(&mut client));
        let established = session.into_established(&mut outgoing).unwrap();
        let mut opener = Opener::new(&established.rx.keys).unwrap();
        let mut output = vec![0; 16_384];
        let opened = opener.open(&mut incoming, &mut output).unwrap();
        assert!(matches!(
            opened,
            Opened::Record {
                plaintext_len: 10,
                ..
            }
        ));
        assert_eq!(&output[..10], b"early bird");
    }
}

#[test]
fn reasons_are_a_small_stable_set() {
    let text = Box::<str>::from("x");
    let all = [
        SessionError::Closed,
        SessionError::PeerAlert(AlertDescription::UnknownCA),
        SessionError::NotTls,
        SessionError::BadRecord,
        SessionError::ProtocolError(text.clone()),
        SessionError::TooManyBytes,
        SessionError::NoSharedVersion,
        SessionError::NoSharedSuite,
        SessionError::NoSharedGroup,
        SessionError::NoSharedSignature,
        SessionError::NoSharedAlpn,
        SessionError::UnknownSni(None),
        SessionError::ClientCertificateMissing,
        SessionError::ClientCertificateExpired,
        SessionError::ClientCertificateNotYetValid,
        SessionError::ClientCertificateUntrusted,
        SessionError::ClientCertificateBadUsage,
        SessionError::ClientCertificateInvalid(text.clone()),
        SessionError::Internal(text),
    ];
    assert_eq!(all.len(), SessionError::REASONS.len());
    for (index, error) in all.iter().enumerate() {
        assert_eq!(error.index(), index);
        assert_eq!(error.reason(), SessionError::REASONS[index]);
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(all[5].reason(), "too_many_bytes");
    assert_eq!(all[11].reason(), "unknown_sni");
    assert_eq!(all[17].reason(), "client_certificate_invalid");
}
