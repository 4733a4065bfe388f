//! What is left of a handshake: keys, and what was agreed with whom.
//!
//! The connection of rustls ends here. All that is kept of it is small enough for a connection that
//! idles for days.

use rustls::{Error, HandshakeKind, NamedGroup, server::UnbufferedServerConnection};

use super::{
    capture::{Notes, Secret},
    certificates::unix_now,
    identity::{ClientCertificate, printable},
    keys::{Cipher, DirectionKeys, RecordKeys, TrafficSecret},
    record::{ContentType, Sealer},
    session_error::SessionError,
};
use crate::config::TlsVersion;

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Established {
    pub tx: DirectionKeys,
    pub rx: DirectionKeys,
    pub info: SessionInfo,
}

/// What was agreed, and with whom.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub version: TlsVersion,
    /// The name in IANA's registry.
    pub suite: &'static str,
    pub cipher: Cipher,
    /// `None` where a TLS 1.2 session was resumed.
    pub group: Option<&'static str>,
    pub sni: Option<Box<str>>,
    pub alpn: Option<Box<str>>,
    pub resumed: bool,
    pub client: Option<ClientCertificate>,
}

impl Established {
    /// From a connection whose handshake is done and whose flights have all been encoded.
    pub(super) fn new(
        connection: UnbufferedServerConnection,
        notes: &Notes,
        outgoing: &mut Vec<u8>,
    ) -> Result<Self, SessionError> {
        let suite = connection
            .negotiated_cipher_suite()
            .ok_or_else(|| SessionError::from(Error::HandshakeNotComplete))?;
        let group = connection.negotiated_key_exchange_group();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let alpn = connection.alpn_protocol().map(|protocol| {
            let text = String::from_utf8_lossy(protocol);
            printable(&text)
        });
        let client = connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| ClientCertificate::from_der(leaf))
            .transpose()
            .map_err(|error| SessionError::ClientCertificateInvalid(error.to_string().into()))?;

        let (secrets, _) = connection.dangerous_into_kernel_connection()?;
        let tx = RecordKeys::from_rustls(suite, secrets.tx).map_err(SessionError::internal)?;
        let rx = RecordKeys::from_rustls(suite, secrets.rx).map_err(SessionError::internal)?;
        // A ticket does not outlive the certificate (`super::tickets`), but may be used in its last
        // moment, and rustls does not verify again.
        if resumed
            && client
                .as_ref()
                .is_some_and(|client| client.not_after < unix_now())
        {
            return Err(refuse(SessionError::ClientCertificateExpired, tx, outgoing));
        }
        Ok(Established {
            info: SessionInfo {
                version: tx.version(),
                suite: suite.suite().as_str().unwrap_or("unknown"),
                cipher: tx.cipher(),
                group: group.map(|group| group_name(group.name())),
                sni: notes.server_name.clone(),
                alpn,
                resumed,
                client,
            },
            tx: direction(tx, notes.server_secret.as_ref())?,
            rx: direction(rx, notes.client_secret.as_ref())?,
        })
    }
}

/// An alert under the keys of an established connection.
fn refuse(error: SessionError, tx: RecordKeys, outgoing: &mut Vec<u8>) -> SessionError {
    if let Some(description) = error.alert() {
        let sealed = Sealer::new(&tx).and_then(|mut sealer| {
            sealer.seal(ContentType::Alert, &[2, u8::from(description)], outgoing)
        });
        if let Err(failed) = sealed {
            return SessionError::internal(failed);
        }
    }
    error
}

fn direction(keys: RecordKeys, secret: Option<&Secret>) -> Result<DirectionKeys, SessionError> {
    let next = match (keys.version(), secret) {
        (TlsVersion::Tls12, _) => None,
        (TlsVersion::Tls13, Some(secret)) => {
            let secret = TrafficSecret::new(keys.cipher(), secret.as_bytes())
                .map_err(SessionError::internal)?;
            Some(Box::new(secret))
        }
        (TlsVersion::Tls13, None) => {
            return Err(SessionError::Internal(
                "rustls did not log a traffic secret".into(),
            ));
        }
    };
    Ok(DirectionKeys { keys, next })
}

fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        _ => "other",
    }
}
