//! What is recorded, field by field. Names and fields are an interface; the page of documentation
//! lists them, and a test compares it with real events.

use std::{fmt::Display, net::SocketAddr};

use serde::Serialize;

use crate::{
    limits,
    tls::{
        CertificateInfo, ClientCertificate, Presented, SessionInfo, fingerprint_text, hex, iso8601,
    },
};

/// Every field is always there; `null` where there is nothing to say.
#[derive(Serialize)]
#[serde(tag = "event")]
pub enum Event<'a> {
    /// A client's certificate was accepted, and the handshake is done.
    #[serde(rename = "MTLS_HANDSHAKE_OK")]
    HandshakeOk {
        listener: &'a str,
        peer: Option<SocketAddr>,
        sni: Option<&'a str>,
        version: String,
        suite: &'a str,
        resumed: bool,
        identity: Option<&'a str>,
        certificate: Accepted<'a>,
    },
    /// A handshake failed at a listener that asks for certificates.
    #[serde(rename = "MTLS_HANDSHAKE_FAILED")]
    HandshakeFailed {
        listener: &'a str,
        peer: Option<SocketAddr>,
        sni: Option<&'a str>,
        reason: &'a str,
        detail: String,
        certificate: Option<Certificate<'a>>,
    },
    /// A listener trusts other clients than before.
    #[serde(rename = "MTLS_BUNDLE_ROTATED")]
    BundleRotated {
        listener: &'a str,
        client_auth: &'a str,
        ca: Option<String>,
        trust_sha256: String,
        previous_trust_sha256: String,
    },
    /// A listener serves a certificate that it did not serve before.
    #[serde(rename = "CERTIFICATE_ROTATED")]
    CertificateRotated {
        listener: &'a str,
        certificate: Certificate<'a>,
    },
    #[serde(rename = "CONFIG_RELOADED")]
    ConfigReloaded {
        trigger: &'a str,
        generation: u64,
        changes: &'a [String],
        not_live: &'a [String],
        warnings: &'a [String],
    },
    /// What was in use stays in use.
    #[serde(rename = "CONFIG_REJECTED")]
    ConfigRejected {
        trigger: &'a str,
        generation: u64,
        problems: &'a [String],
    },
    /// Events that should be before this one could not be written.
    #[serde(rename = "AUDIT_EVENTS_LOST")]
    EventsLost { lost: u64 },
}

/// What is kept of a certificate that was accepted.
#[derive(Serialize)]
pub struct Accepted<'a> {
    subject: &'a str,
    serial: String,
    not_after: String,
    sha256: String,
}

/// A certificate; what one says that was refused, nobody vouches for.
#[derive(Serialize)]
pub struct Certificate<'a> {
    subject: &'a str,
    issuer: &'a str,
    serial: &'a str,
    not_before: String,
    not_after: String,
    sha256: String,
    /// The first [`limits::AUDIT_NAMES_MAX`] names, URIs before DNS names.
    names: Vec<&'a str>,
}

impl<'a> Event<'a> {
    /// `None`: there is no client certificate, so it is not mutual.
    pub fn handshake_ok(
        listener: &'a str,
        peer: Option<SocketAddr>,
        session: &'a SessionInfo,
    ) -> Option<Self> {
        let client = session.client.as_ref()?;
        Some(Event::HandshakeOk {
            listener,
            peer,
            sni: session.sni.as_deref(),
            version: session.version.to_string(),
            suite: session.suite,
            resumed: session.resumed,
            identity: client.identity.as_deref(),
            certificate: Accepted::of(client),
        })
    }

    pub fn handshake_failed(
        listener: &'a str,
        peer: Option<SocketAddr>,
        reason: &'a str,
        detail: &dyn Display,
        presented: &'a Presented,
    ) -> Self {
        Event::HandshakeFailed {
            listener,
            peer,
            sni: presented.server_name.as_deref(),
            reason,
            detail: detail.to_string(),
            certificate: presented.certificate.as_deref().map(Certificate::of),
        }
    }

    pub fn bundle_rotated(
        listener: &'a str,
        client_auth: &'a str,
        ca: Option<String>,
        trust: [&[u8; 32]; 2],
    ) -> Self {
        let [previous, now] = trust;
        Event::BundleRotated {
            listener,
            client_auth,
            ca,
            trust_sha256: hex(now),
            previous_trust_sha256: hex(previous),
        }
    }
}

impl<'a> Accepted<'a> {
    fn of(client: &'a ClientCertificate) -> Self {
        Accepted {
            subject: &client.subject,
            serial: client.serial.to_string(),
            not_after: iso8601(client.not_after),
            sha256: fingerprint_text(&client.fingerprint_sha256),
        }
    }
}

impl<'a> Certificate<'a> {
    pub fn of(info: &'a CertificateInfo) -> Self {
        let names = info.uris.iter().chain(&info.dns_names);
        Certificate {
            subject: &info.subject,
            issuer: &info.issuer,
            serial: &info.serial,
            not_before: iso8601(info.not_before),
            not_after: iso8601(info.not_after),
            sha256: fingerprint_text(&info.fingerprint_sha256),
            names: names
                .take(limits::AUDIT_NAMES_MAX)
                .map(|name| &**name)
                .collect(),
        }
    }
}
