use proptest::prelude::*;

use super::*;
use crate::limits::HANDSHAKE_BYTES_MAX;

fn setup() -> (Pki, Arc<ServerConfig>) {
    let pki = Pki::new("ca");
    let mut listener = listener(vec![pki.server(&["a.test"]).source()]);
    listener.client_auth = ClientAuth::Request { ca: pki.pem() };
    let config = config_of(&listener);
    (pki, config)
}

/// Feeds `bytes` and checks what must hold whatever they are.
fn feed(session: &mut Session, bytes: &[u8]) -> (Result<Progress, SessionError>, Vec<u8>) {
    let (mut incoming, mut outgoing) = (bytes.to_vec(), Vec::new());
    let progress = session.advance(&mut incoming, &mut outgoing);
    (progress, outgoing)
}

/// Runs a handshake in which every flight of the client goes through `send`.
fn through(
    config: &Arc<ServerConfig>,
    client: &mut ClientConnection,
    mut send: impl FnMut(&mut Session, &mut Vec<u8>, &mut Vec<u8>, &[u8]) -> Progress,
) -> Established {
    let mut session = Session::new(Arc::clone(config)).unwrap();
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    loop {
        let flight = written(client);
        assert!(!flight.is_empty(), "the client waits for us, and we for it");
        let progress = send(&mut session, &mut incoming, &mut outgoing, &flight);
        deliver(client, &outgoing).unwrap();
        outgoing.clear();
        if progress == Progress::Done {
            assert!(incoming.is_empty());
            return session.into_established(&mut outgoing).unwrap();
        }
    }
}

/// Splits the handshake messages of plaintext records into records of at most `size` bytes.
fn in_small_records(flight: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = flight;
    while let Some(length) = record_length(rest) {
        let (record, behind) = rest.split_at(length);
        rest = behind;
        if record[0] != 22 {
            out.extend_from_slice(record);
            continue;
        }
        for piece in record[5..].chunks(size) {
            out.extend_from_slice(&record[..3]);
            out.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
            out.extend_from_slice(piece);
        }
    }
    out
}

#[test]
fn a_flight_cut_at_any_byte_is_put_together_again() {
    let (pki, config) = setup();
    for client in [Client::tls13(&pki), Client::tls12(&pki)] {
        let length = written(&mut client.connect("a.test")).len();
        for cut in 0..=length {
            through(
                &config,
                &mut client.connect("a.test"),
                |session, incoming, outgoing, flight| {
                    let (first, second) = flight.split_at(cut.min(flight.len()));
                    incoming.extend_from_slice(first);
                    let progress = session.advance(incoming, outgoing).unwrap();
                    if progress == Progress::Done {
                        assert!(second.is_empty());
                        return progress;
                    }
                    incoming.extend_from_slice(second);
                    session.advance(incoming, outgoing).unwrap()
                },
            );
        }
    }
}

#[test]
fn a_client_hello_in_records_of_any_size_is_put_together_again() {
    let (pki, config) = setup();
    for client in [Client::tls13(&pki), Client::tls12(&pki)] {
        for size in (1..40).chain((40..1500).step_by(97)) {
            let mut first = true;
            through(
                &config,
                &mut client.connect("a.test"),
                |session, incoming, outgoing, flight| {
                    let bytes = match std::mem::take(&mut first) {
                        true => in_small_records(flight, size),
                        false => flight.to_vec(),
                    };
                    // Record by record, as the handshake plane reads.
                    let mut rest = bytes.as_slice();
                    let mut progress = Progress::NeedRecord;
                    while let Some(length) = record_length(rest) {
                        let (record, behind) = rest.split_at(length);
                        rest = behind;
                        incoming.extend_from_slice(record);
                        progress = session.advance(incoming, outgoing).unwrap();
                    }
                    progress
                },
            );
        }
    }
}

#[test]
fn a_client_hello_split_anywhere_into_two_records_is_put_together_again() {
    let (pki, config) = setup();
    let client = Client::tls12(&pki);
    let length = written(&mut client.connect("a.test")).len() - 5;
    for cut in 1..length {
        let mut first = true;
        through(
            &config,
            &mut client.connect("a.test"),
            |session, incoming, outgoing, flight| {
                if std::mem::take(&mut first) {
                    let (header, body) = flight.split_at(5);
                    for piece in [&body[..cut.min(body.len())], &body[cut.min(body.len())..]] {
                        incoming.extend_from_slice(&header[..3]);
                        incoming
                            .extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
                        incoming.extend_from_slice(piece);
                    }
                } else {
                    incoming.extend_from_slice(flight);
                }
                session.advance(incoming, outgoing).unwrap()
            },
        );
    }
}

#[test]
fn a_close_notify_at_any_point_in_the_clear_is_a_clean_end() {
    let (pki, config) = setup();
    let close = [21, 3, 3, 0, 2, 1, 0];
    for client in [Client::tls13(&pki), Client::tls12(&pki)] {
        let mut session = Session::new(Arc::clone(&config)).unwrap();
        let (progress, outgoing) = feed(&mut session, &close);
        assert_eq!(progress, Err(SessionError::Closed));
        assert!(outgoing.is_empty());

        let mut session = Session::new(Arc::clone(&config)).unwrap();
        let hello = written(&mut client.connect("a.test"));
        let (progress, outgoing) = feed(&mut session, &hello);
        assert_eq!(progress, Ok(Progress::NeedRecord));
        assert!(!outgoing.is_empty());
        let (progress, outgoing) = feed(&mut session, &close);
        assert_eq!(progress, Err(SessionError::Closed));
        assert!(outgoing.is_empty());
        let (progress, _) = feed(&mut session, &[]);
        assert_eq!(
            progress.unwrap_err().reason(),
            "internal",
            "it stays failed"
        );
    }
}

#[test]
fn an_encrypted_alert_instead_of_finished_is_named() {
    let (_, config) = setup();
    // A client that distrusts us says so under the keys of the handshake.
    let mut client = Client::tls13(&Pki::new("other")).connect("a.test");
    let mut session = Session::new(config).unwrap();
    let (progress, flight) = feed(&mut session, &written(&mut client));
    assert_eq!(progress, Ok(Progress::NeedRecord));
    deliver(&mut client, &flight).unwrap_err();
    let (progress, outgoing) = feed(&mut session, &written(&mut client));
    assert_eq!(progress.unwrap_err().reason(), "peer_alert");
    assert!(outgoing.is_empty());
}

#[test]
fn a_fatal_alert_in_the_clear_is_named_and_not_answered() {
    let (_, config) = setup();
    let mut session = Session::new(config).unwrap();
    let (progress, outgoing) = feed(&mut session, &[21, 3, 3, 0, 2, 2, 40]);
    assert_eq!(
        progress,
        Err(SessionError::PeerAlert(
            rustls::AlertDescription::HandshakeFailure
        ))
    );
    assert!(outgoing.is_empty());
}

#[test]
fn what_is_not_tls_is_told_so_at_once() {
    let (_, config) = setup();
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x80\x2e\x01\x00\x02",
        b"PROXY TCP4 1.2.3.4",
        &[0; 5],
        &[0xff; 64],
    ] {
        let mut session = Session::new(Arc::clone(&config)).unwrap();
        let (progress, outgoing) = feed(&mut session, bytes);
        assert_eq!(progress.unwrap_err().reason(), "not_tls", "{bytes:?}");
        assert_eq!(outgoing, [21, 3, 3, 0, 2, 2, 50]);
    }
    for (bytes, reason) in [
        (&[22, 3, 1, 0x48, 1][..], "protocol_error"),
        (&[24, 3, 3, 0, 1], "protocol_error"),
        (&[22, 9, 9, 0, 1], "protocol_error"),
        (&[23, 3, 3, 0, 1, 0], "protocol_error"),
        (&[22, 3, 1, 0, 4, 2, 0, 0, 0], "protocol_error"),
        (&[20, 3, 3, 0, 1, 1], "protocol_error"),
    ] {
        let mut session = Session::new(Arc::clone(&config)).unwrap();
        let (progress, outgoing) = feed(&mut session, bytes);
        assert_eq!(progress.unwrap_err().reason(), reason, "{bytes:?}");
        assert_eq!(outgoing[..6], [21, 3, 3, 0, 2, 2], "{bytes:?}");
        assert_eq!(outgoing.len(), 7);
    }
}

#[test]
fn a_flood_within_the_handshake_ends_at_its_bound() {
    let (pki, config) = setup();
    // A message that is announced with 16 MiB, and one that never ends in small records.
    let announced = [22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    let mut session = Session::new(Arc::clone(&config)).unwrap();
    let (progress, _) = feed(&mut session, &announced);
    assert_eq!(progress.unwrap_err().reason(), "protocol_error");

    let mut hello = written(&mut Client::tls13(&pki).connect("a.test"));
    hello[6..9].copy_from_slice(&[0, 0xff, 0xff]);
    let mut flood = in_small_records(&hello, 1);
    while flood.len() < HANDSHAKE_BYTES_MAX + 10 {
        flood.extend_from_slice(&[22, 3, 1, 0, 1, 0]);
    }
    let mut session = Session::new(Arc::clone(&config)).unwrap();
    let (progress, outgoing) = feed(&mut session, &flood);
    assert_eq!(progress, Err(SessionError::TooManyBytes));
    assert_eq!(outgoing, [21, 3, 3, 0, 2, 2, 50]);

    // Empty records are no way to keep us busy.
    let empty = [22, 3, 1, 0, 0].repeat(100);
    let mut session = Session::new(config).unwrap();
    assert_eq!(
        feed(&mut session, &empty).0.unwrap_err().reason(),
        "protocol_error"
    );
}

#[test]
fn a_session_that_is_not_done_gives_no_keys() {
    let (_, config) = setup();
    let session = Session::new(config).unwrap();
    let error = session.into_established(&mut Vec::new()).err();
    assert_eq!(error.unwrap().reason(), "internal");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_waited_for_or_refused_and_never_panic(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..5),
        typed in any::<bool>(),
    ) {
        let config = shared();
        let mut session = Session::new(config).unwrap();
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        for piece in pieces {
            if typed {
                incoming.extend_from_slice(&[22, 3, 1]);
                incoming.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
            }
            incoming.extend_from_slice(&piece);
            match session.advance(&mut incoming, &mut outgoing) {
                Ok(progress) => prop_assert_eq!(progress, Progress::NeedRecord),
                Err(_) => break,
            }
        }
        prop_assert!(outgoing.is_empty() || outgoing.len() == 7);
    }

    #[test]
    fn a_handshake_with_changed_bytes_ends_well_and_never_panics(
        tls13 in any::<bool>(),
        flight in 0_usize..2,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        chunk in 1_usize..2000,
    ) {
        let (client, config) = shared_client(tls13);
        let mut client = connect(&client, "a.test");
        let mut session = Session::new(config).unwrap();
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        'flights: for number in 0..4 {
            let mut bytes = written(&mut client);
            if number == flight && !bytes.is_empty() {
                for (index, change) in &changes {
                    let at = index.index(bytes.len());
                    bytes[at] ^= change;
                }
            }
            for piece in bytes.chunks(chunk) {
                incoming.extend_from_slice(piece);
                match session.advance(&mut incoming, &mut outgoing) {
                    Ok(Progress::NeedRecord) => {}
                    Ok(Progress::Done) | Err(_) => break 'flights,
                }
            }
            if deliver(&mut client, &outgoing).is_err() {
                break;
            }
            outgoing.clear();
        }
    }
}

fn shared() -> Arc<ServerConfig> {
    shared_client(true).1
}

/// Made once: keys take longer than a handshake.
fn shared_client(tls13: bool) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    use std::sync::OnceLock;
    type Shared = (Arc<ClientConfig>, Arc<ClientConfig>, Arc<ServerConfig>);
    static SHARED: OnceLock<Shared> = OnceLock::new();
    let (new, old, config) = SHARED.get_or_init(|| {
        let (pki, config) = setup();
        let leaf = pki.client();
        (
            Client::tls13(&pki).certificate(&leaf).config(),
            Client::tls12(&pki).certificate(&leaf).config(),
            config,
        )
    });
    let client = if tls13 { new } else { old };
    (Arc::clone(client), Arc::clone(config))
}
