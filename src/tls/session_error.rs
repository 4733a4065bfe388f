//! Why a handshake failed, in a small stable set of reasons, grouped by who is at fault.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    // The client went away, or says that it cannot go on.
    /// End of the stream, or close_notify.
    Closed,
    PeerAlert(AlertDescription),

    // The client does not speak TLS as it should.
    NotTls,
    BadRecord,
    ProtocolError(Box<str>),
    TooManyBytes,

    // Client and listener have nothing in common.
    NoSharedVersion,
    NoSharedSuite,
    NoSharedGroup,
    NoSharedSignature,
    NoSharedAlpn,
    UnknownSni(Option<Box<str>>),

    // The client's certificate.
    ClientCertificateMissing,
    ClientCertificateExpired,
    ClientCertificateNotYetValid,
    ClientCertificateUntrusted,
    ClientCertificateBadUsage,
    ClientCertificateInvalid(Box<str>),

    /// Ours.
    Internal(Box<str>),
}

impl SessionError {
    /// All that [`SessionError::reason`] returns, for counters.
    pub const REASONS: [&'static str; 19] = [
        "closed",
        "peer_alert",
        "not_tls",
        "bad_record",
        "protocol_error",
        "too_many_bytes",
        "no_shared_version",
        "no_shared_suite",
        "no_shared_group",
        "no_shared_signature",
        "no_shared_alpn",
        "unknown_sni",
        "client_certificate_missing",
        "client_certificate_expired",
        "client_certificate_not_yet_valid",
        "client_certificate_untrusted",
        "client_certificate_bad_usage",
        "client_certificate_invalid",
        "internal",
    ];

    /// A metric label.
    pub fn reason(&self) -> &'static str {
        Self::REASONS
            .get(self.index())
            .copied()
            .unwrap_or("internal")
    }

    /// Where [`SessionError::reason`] is in [`SessionError::REASONS`].
    pub fn index(&self) -> usize {
        match self {
            SessionError::Closed => 0,
            SessionError::PeerAlert(_) => 1,
            SessionError::NotTls => 2,
            SessionError::BadRecord => 3,
            SessionError::ProtocolError(_) => 4,
            SessionError::TooManyBytes => 5,
            SessionError::NoSharedVersion => 6,
            SessionError::NoSharedSuite => 7,
            SessionError::NoSharedGroup => 8,
            SessionError::NoSharedSignature => 9,
            SessionError::NoSharedAlpn => 10,
            SessionError::UnknownSni(_) => 11,
            SessionError::ClientCertificateMissing => 12,
            SessionError::ClientCertificateExpired => 13,
            SessionError::ClientCertificateNotYetValid => 14,
            SessionError::ClientCertificateUntrusted => 15,
            SessionError::ClientCertificateBadUsage => 16,
            SessionError::ClientCertificateInvalid(_) => 17,
            SessionError::Internal(_) => 18,
        }
    }

    pub(super) fn internal(error: impl fmt::Display) -> Self {
        SessionError::Internal(error.to_string().into())
    }

    /// The alert for an error that rustls sent none for, or the wrong one; `None`: say nothing.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        match self {
            SessionError::Closed | SessionError::PeerAlert(_) => None,
            SessionError::NotTls | SessionError::TooManyBytes => {
                Some(AlertDescription::DecodeError)
            }
            SessionError::BadRecord => Some(AlertDescription::BadRecordMac),
            SessionError::ProtocolError(_) => Some(AlertDescription::UnexpectedMessage),
            SessionError::NoSharedVersion => Some(AlertDescription::ProtocolVersion),
            SessionError::NoSharedSuite
            | SessionError::NoSharedGroup
            | SessionError::NoSharedSignature => Some(AlertDescription::HandshakeFailure),
            SessionError::NoSharedAlpn => Some(AlertDescription::NoApplicationProtocol),
            SessionError::UnknownSni(_) => Some(AlertDescription::UnrecognisedName),
            SessionError::ClientCertificateMissing => Some(AlertDescription::CertificateRequired),
            SessionError::ClientCertificateExpired | SessionError::ClientCertificateNotYetValid => {
                Some(AlertDescription::CertificateExpired)
            }
            SessionError::ClientCertificateUntrusted => Some(AlertDescription::UnknownCA),
            SessionError::ClientCertificateBadUsage => {
                Some(AlertDescription::UnsupportedCertificate)
            }
            SessionError::ClientCertificateInvalid(_) => Some(AlertDescription::BadCertificate),
            SessionError::Internal(_) => Some(AlertDescription::InternalError),
        }
    }
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        match error {
            Error::AlertReceived(AlertDescription::CloseNotify) => SessionError::Closed,
            Error::AlertReceived(description) => SessionError::PeerAlert(description),
            Error::DecryptError => SessionError::BadRecord,
            Error::NoApplicationProtocol => SessionError::NoSharedAlpn,
            Error::NoCertificatesPresented => SessionError::ClientCertificateMissing,
            Error::InvalidCertificate(error) => of_certificate(error),
            Error::PeerIncompatible(why) => of_incompatible(why),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => SessionError::NotTls,
            Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerSentOversizedRecord
            | Error::InvalidEncryptedClientHello(_)
            | Error::UnsupportedNameType => SessionError::ProtocolError(text(&error)),
            _ => SessionError::Internal(text(&error)),
        }
    }
}

fn of_incompatible(why: PeerIncompatible) -> SessionError {
    match why {
        PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => SessionError::NoSharedVersion,
        PeerIncompatible::NoCipherSuitesInCommon => SessionError::NoSharedSuite,
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::UncompressedEcPointsRequired
        | PeerIncompatible::NoEcPointFormatsInCommon => SessionError::NoSharedGroup,
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => SessionError::NoSharedSignature,
        other => SessionError::ProtocolError(text(&Error::PeerIncompatible(other))),
    }
}

fn of_certificate(error: CertificateError) -> SessionError {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            SessionError::ClientCertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            SessionError::ClientCertificateNotYetValid
        }
        CertificateError::UnknownIssuer => SessionError::ClientCertificateUntrusted,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            SessionError::ClientCertificateBadUsage
        }
        other => SessionError::ClientCertificateInvalid(text(&Error::InvalidCertificate(other))),
    }
}

/// Bounded and printable, whatever of the peer's rustls may have put into it.
fn text(error: &Error) -> Box<str> {
    super::identity::printable(&error.to_string())
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Closed => f.write_str("the client closed before the handshake was done"),
            SessionError::PeerAlert(description) => write!(
                f,
                "the client gave up with the alert {description:?}; it does not accept what this \
                 listener offers, such as its certificate"
            ),
            SessionError::NotTls => {
                f.write_str("the client does not speak TLS; is it using plain HTTP on this port?")
            }
            SessionError::BadRecord => f.write_str(
                "a record of the client did not decrypt: it was damaged or forged on the way",
            ),
            SessionError::ProtocolError(what) => {
                write!(f, "the client broke the TLS protocol: {what}")
            }
            SessionError::TooManyBytes => {
                f.write_str("the client sent more bytes than a handshake may take")
            }
            SessionError::NoSharedVersion => f.write_str(
                "the client offers no TLS version that this listener accepts; update the client, \
                 or lower min_tls",
            ),
            SessionError::NoSharedSuite => f.write_str(
                "the client offers no cipher suite with AES-GCM or ChaCha20-Poly1305 and forward \
                 secrecy that fits the certificate; update the client",
            ),
            SessionError::NoSharedGroup => f.write_str(
                "the client offers none of the groups X25519MLKEM768, X25519, P-256 and P-384; \
                 update the client",
            ),
            SessionError::NoSharedSignature => f.write_str(
                "the client can check signatures of none of the certificates for its name; add a \
                 certificate with another kind of key, such as RSA",
            ),
            SessionError::NoSharedAlpn => f.write_str(
                "the client offers none of the protocols in alpn; add the one it speaks",
            ),
            SessionError::UnknownSni(Some(name)) => write!(
                f,
                "the client asked for {name}, for which there is no certificate; add one, or set \
                 unknown_sni to default"
            ),
            SessionError::UnknownSni(None) => {
                f.write_str("the client asked for a name for which there is no certificate")
            }
            SessionError::ClientCertificateMissing => {
                f.write_str("the client presented no certificate, and this listener requires one")
            }
            SessionError::ClientCertificateExpired => {
                f.write_str("the client's certificate has expired; renew it")
            }
            SessionError::ClientCertificateNotYetValid => {
                f.write_str("the client's certificate is not valid yet; check both clocks")
            }
            SessionError::ClientCertificateUntrusted => f.write_str(
                "the client's certificate was issued by none of the CAs in client_auth; is an \
                 intermediate missing from its chain?",
            ),
            SessionError::ClientCertificateBadUsage => f.write_str(
                "the client's certificate is not for clients; issue it with the extended key usage \
                 clientAuth",
            ),
            SessionError::ClientCertificateInvalid(what) => {
                write!(f, "the client's certificate is not acceptable: {what}")
            }
            SessionError::Internal(what) => write!(f, "the handshake failed on our side: {what}"),
        }
    }
}

impl std::error::Error for SessionError {}
