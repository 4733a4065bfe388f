use rustls::{
    CipherSuite,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    unbuffered::{ConnectionState, UnbufferedStatus},
};

use super::*;

/// Runs a handshake whose client can be turned into a `KernelConnection`.
fn with_kernel_client(
    suite: CipherSuite,
) -> (
    Established,
    rustls::ExtractedSecrets,
    rustls::kernel::KernelConnection<rustls::client::ClientConnectionData>,
) {
    let pki = Pki::new("ca");
    let config = config_of(&listener(vec![pki.server(&["a.test"]).source()]));
    let client = Client::tls13(&pki).suite(suite).config();
    let name = ServerName::try_from("a.test").unwrap();
    let mut client = UnbufferedClientConnection::new(client, name).unwrap();
    let mut session = Session::new(config).unwrap();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut done = false;
    loop {
        let UnbufferedStatus { discard, state } = client.process_tls_records(&mut to_client);
        let mut idle = false;
        match state.unwrap() {
            ConnectionState::EncodeTlsData(mut data) => {
                let start = to_server.len();
                to_server.resize(start + 8192, 0);
                let written = data.encode(&mut to_server[start..]).unwrap();
                to_server.truncate(start + written);
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::BlockedHandshake => idle = true,
            ConnectionState::WriteTraffic(_) => {
                idle = true;
                if done {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
        to_client.drain(..discard);
        if idle && !done {
            done = session.advance(&mut to_server, &mut to_client).unwrap() == Progress::Done;
        }
    }
    let (secrets, kernel) = client.dangerous_into_kernel_connection().unwrap();
    (
        session.into_established(&mut Vec::new()).unwrap(),
        secrets,
        kernel,
    )
}

fn assert_same(ours: &RecordKeys, theirs: &RecordKeys) {
    assert_eq!(ours.version(), theirs.version());
    assert_eq!(ours.cipher(), theirs.cipher());
    assert_eq!(ours.key(), theirs.key());
    assert_eq!(ours.iv(), theirs.iv());
    assert_eq!(ours.sequence(), theirs.sequence());
}

#[test]
fn key_updates_agree_with_rustls_for_generations_of_all_suites() {
    for suite in [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let (mut server, secrets, mut client) = with_kernel_client(suite);
        let rustls_suite = client.negotiated_cipher_suite();
        let of = |secrets| RecordKeys::from_rustls(rustls_suite, secrets).unwrap();
        assert_same(&server.rx.keys, &of(secrets.tx));
        assert_same(&server.tx.keys, &of(secrets.rx));
        // Those in use, once more.
        for direction in [&server.tx, &server.rx] {
            let mut source = KeySource::place(direction);
            source.fill(direction);
            assert_same(
                &source.current(direction.keys.sequence()).unwrap(),
                &direction.keys,
            );
        }
        for _ in 0..5 {
            let rx = server.rx.next.as_mut().unwrap().update().unwrap();
            assert_same(&rx, &of(client.update_tx_secret().unwrap()));
            let tx = server.tx.next.as_mut().unwrap().update().unwrap();
            assert_same(&tx, &of(client.update_rx_secret().unwrap()));
        }
    }
}

#[test]
fn all_suites_of_tls12_give_their_cipher_and_no_next_secret() {
    let pki = Pki::new("ca");
    let ecdsa = pki.server(&["a.test"]).source();
    let rsa = pki
        .server_with(&["a.test"], &rcgen::PKCS_RSA_SHA256)
        .source();
    for (source, suite, cipher, key_length) in [
        (
            &ecdsa,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            Cipher::Aes128Gcm,
            16,
        ),
        (
            &rsa,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            Cipher::Aes256Gcm,
            32,
        ),
        (
            &rsa,
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            Cipher::ChaCha20Poly1305,
            32,
        ),
    ] {
        let config = config_of(&listener(vec![source.clone()]));
        let mut client = Client::tls12(&pki).suite(suite).connect("a.test");
        let established = handshake(&config, &mut client).unwrap();
        let rustls_suite = client.negotiated_cipher_suite().unwrap();
        let secrets = client.dangerous_extract_secrets().unwrap();
        let of = |secrets| RecordKeys::from_rustls(rustls_suite, secrets).unwrap();
        assert_eq!(established.info.suite, suite.as_str().unwrap());
        assert_eq!(established.info.cipher, cipher);
        assert_eq!(established.tx.keys.key().len(), key_length);
        assert_eq!(established.tx.keys.sequence(), 1, "Finished took one");
        assert!(established.tx.next.is_none() && established.rx.next.is_none());
        assert_same(&established.tx.keys, &of(secrets.rx));
        let mut source = KeySource::place(&established.rx);
        source.fill(&established.rx);
        assert_same(&source.current(1).unwrap(), &established.rx.keys);
        assert!(source.update().is_none());
        assert_eq!(established.rx.keys.key(), of(secrets.tx).key());
    }
}

#[test]
fn nothing_secret_is_printed() {
    let (established, ..) = with_kernel_client(CipherSuite::TLS13_AES_128_GCM_SHA256);
    let text = format!("{:?} {:?}", established.tx, established.tx.next);
    assert_eq!(
        text,
        "DirectionKeys { keys: RecordKeys { version: Tls13, cipher: Aes128Gcm, sequence: 1, .. }, \
         next: Some(TrafficSecret { .. }) } Some(TrafficSecret { .. })"
    );
}
