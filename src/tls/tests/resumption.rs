use std::time::Duration;

use rcgen::{PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::{pki_types::UnixTime, server::ProducesTickets, time_provider::TimeProvider};

use super::*;

struct Setup {
    pki: Pki,
    clients: Pki,
    source: CertificateSource,
    tickets: TicketKeys,
}

impl Setup {
    fn new() -> Self {
        let pki = Pki::new("ca");
        let source = pki.server(&["a.test", "b.test"]).source();
        Setup {
            clients: Pki::new("clients"),
            source,
            tickets: TicketKeys::new(),
            pki,
        }
    }

    fn listener(&self, client_auth: ClientAuth) -> Listener {
        Listener {
            client_auth,
            ..listener(vec![self.source.clone()])
        }
    }

    fn required(&self) -> Listener {
        self.listener(ClientAuth::Required {
            ca: self.clients.pem(),
        })
    }

    fn config(&self, listener: &Listener) -> Arc<ServerConfig> {
        listener_tls(listener, &self.tickets, Validity::Enforce)
            .unwrap_or_else(|errors| panic!("{errors:?}"))
            .config
    }
}

fn info(
    config: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> Result<SessionInfo, Failed> {
    handshake(config, &mut connect(client, name)).map(|established| established.info)
}

#[test]
fn a_returning_client_resumes_and_keeps_its_identity() {
    let setup = Setup::new();
    let leaf = setup.clients.client();
    for client in [Client::tls13(&setup.pki), Client::tls12(&setup.pki)] {
        let client = client.certificate(&leaf).config();
        let config = setup.config(&setup.required());
        let first = info(&config, &client, "a.test").unwrap();
        assert!(!first.resumed);
        for _ in 0..3 {
            let again = info(&config, &client, "a.test").unwrap();
            assert!(again.resumed);
            assert_eq!(again.client, first.client);
            assert_eq!(again.sni, first.sni);
        }
        assert!(
            !info(&config, &client, "b.test").unwrap().resumed,
            "another name"
        );
    }
}

#[test]
fn resumed_connections_still_follow_key_updates() {
    let setup = Setup::new();
    let client = Client::tls13(&setup.pki).config();
    let config = setup.config(&setup.listener(ClientAuth::None));
    info(&config, &client, "a.test").unwrap();
    let mut connection = connect(&client, "a.test");
    let established = handshake(&config, &mut connection).unwrap();
    assert!(established.info.resumed);
    connection.refresh_traffic_keys().unwrap();
    let mut update = written(&mut connection);
    let mut opener = Opener::new(&established.rx.keys).unwrap();
    opener.open(&mut update, &mut [0; 16_384]).unwrap();
    std::io::Write::write_all(&mut connection.writer(), b"x").unwrap();
    let mut opener = Opener::new(&established.rx.next.unwrap().update().unwrap()).unwrap();
    opener
        .open(&mut written(&mut connection), &mut [0; 16_384])
        .unwrap();
}

#[test]
fn tickets_survive_a_rebuild_with_the_same_trust_and_no_other() {
    let setup = Setup::new();
    let leaf = setup.clients.client();
    for client in [Client::tls13(&setup.pki), Client::tls12(&setup.pki)] {
        let client = client.certificate(&leaf).config();
        let old = setup.config(&setup.required());
        let resumed = |listener: &Listener| {
            info(&old, &client, "a.test").unwrap();
            let new = setup.config(listener);
            info(&new, &client, "a.test").map(|info| info.resumed)
        };
        let mut same = setup.required();
        same.alpn = vec!["h2".to_owned()];
        assert!(resumed(&same).unwrap(), "only alpn differs");

        let mut renamed = setup.required();
        renamed.name = "other".to_owned();
        assert!(!resumed(&renamed).unwrap());

        let request = setup.listener(ClientAuth::Request {
            ca: setup.clients.pem(),
        });
        assert!(!resumed(&request).unwrap());

        let more = Pki::new("more");
        let Pem::Inline(both) = setup.clients.pem() else {
            panic!("inline")
        };
        let Pem::Inline(other) = more.pem() else {
            panic!("inline")
        };
        let wider = setup.listener(ClientAuth::Required {
            ca: Pem::Inline(format!("{both}{other}")),
        });
        assert!(!resumed(&wider).unwrap());
        let reordered = setup.listener(ClientAuth::Required {
            ca: Pem::Inline(format!("{other}{both}{other}")),
        });
        let wide = setup.config(&wider);
        info(&wide, &client, "a.test").unwrap();
        let reordered = setup.config(&reordered);
        assert!(info(&reordered, &client, "a.test").unwrap().resumed);

        let distrusted = setup.listener(ClientAuth::Required { ca: more.pem() });
        let failed = resumed(&distrusted).unwrap_err();
        assert_eq!(failed.server.reason(), "client_certificate_untrusted");
    }
}

#[test]
fn keys_of_tickets_go_with_the_last_configuration_that_uses_them() {
    let setup = Setup::new();
    let client = Client::tls13(&setup.pki).config();
    let listener = setup.listener(ClientAuth::None);
    info(&setup.config(&listener), &client, "a.test").unwrap();
    assert!(
        !info(&setup.config(&listener), &client, "a.test")
            .unwrap()
            .resumed
    );
}

/// A clock that went wrong, so that rustls accepts what has expired.
#[derive(Debug)]
struct Past;

impl TimeProvider for Past {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            1_600_000_000,
        )))
    }
}

fn expired_client(setup: &Setup) -> Leaf {
    let mut params = client_params();
    params.not_after = date_time_ymd(2021, 1, 1);
    setup.clients.sign(params, &PKCS_ECDSA_P256_SHA256)
}

#[test]
fn a_ticket_ends_with_the_client_certificate_it_stands_for() {
    let setup = Setup::new();
    let leaf = expired_client(&setup);
    for client in [Client::tls13(&setup.pki), Client::tls12(&setup.pki)] {
        let client = client.certificate(&leaf).config();
        let right = setup.config(&setup.required());
        let mut wrong = ServerConfig::clone(&right);
        wrong.time_provider = Arc::new(Past);
        let wrong = Arc::new(wrong);
        assert!(!info(&wrong, &client, "a.test").unwrap().resumed);
        assert!(
            !info(&wrong, &client, "a.test").unwrap().resumed,
            "verified again"
        );
        let failed = info(&right, &client, "a.test").unwrap_err();
        assert_eq!(failed.server, SessionError::ClientCertificateExpired);
        assert_eq!(alert(&failed.client), Some(45));
    }
}

#[test]
fn a_resumed_client_whose_certificate_expired_is_refused_with_its_alert() {
    let setup = Setup::new();
    let leaf = expired_client(&setup);
    for client in [Client::tls13(&setup.pki), Client::tls12(&setup.pki)] {
        let client = client.certificate(&leaf).config();
        let mut config = ServerConfig::clone(&setup.config(&setup.required()));
        config.time_provider = Arc::new(Past);
        // A ticketer that knows nothing of certificates.
        let ticketer: Arc<dyn ProducesTickets> = aws_lc_rs::Ticketer::new().unwrap();
        config.ticketer = ticketer;
        let config = Arc::new(config);
        info(&config, &client, "a.test").unwrap();
        let failed = info(&config, &client, "a.test").unwrap_err();
        assert_eq!(failed.server, SessionError::ClientCertificateExpired);
        assert_eq!(alert(&failed.client), Some(45));
    }
}

#[test]
fn tickets_are_made_with_another_key_after_a_time_and_taken_for_as_long_again() {
    let seconds = 2;
    let tickets = TicketKeys::rotating_every(seconds);
    let ticketer = tickets.ticketer("edge", [0; 32]).unwrap();
    let turn = || {
        let began = std::time::Instant::now();
        // A whole turn has passed when what was made at its start was made with the key before.
        while began.elapsed() < Duration::from_millis(1000 * u64::from(seconds) + 1001) {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let first = ticketer.encrypt(b"session").unwrap();
    assert_eq!(ticketer.decrypt(&first).unwrap(), b"session");
    turn();
    let second = ticketer.encrypt(b"session").unwrap();
    assert_eq!(
        ticketer.decrypt(&first).unwrap(),
        b"session",
        "the key before"
    );
    turn();
    assert!(ticketer.encrypt(b"session").is_some());
    assert_eq!(ticketer.decrypt(&first), None, "a key that is gone");
    assert_eq!(ticketer.decrypt(&second).unwrap(), b"session");
    // The key's name comes first, and is another one each time.
    assert_ne!(first[..16], second[..16]);
}
