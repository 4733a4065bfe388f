//! Whom a listener takes client certificates from.
//!
//! Chains, times and key usage are verified by rustls' webpki verifier. There are no revocation
//! lists here: keep client certificates short-lived.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    capture,
    certificates::unix_now,
    describe::{CertificateInfo, iso8601},
    pem::{PemError, PemProblem, PemText},
};
use crate::config::{ClientAuth, Pem};

pub(super) struct ClientTrust {
    /// `None`: no certificate is asked for.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Over the mode and the set of CA certificates, whatever their order: tickets made under one
    /// trust are worth nothing under another.
    pub fingerprint: [u8; 32],
    /// The CAs that it trusts.
    pub authorities: Vec<Arc<CertificateInfo>>,
    pub warnings: Vec<String>,
}

#[derive(Debug)]
pub enum ClientAuthError {
    Bundle(PemError),
    /// Counted from 1.
    UnusableCa {
        name: String,
        index: usize,
        reason: String,
    },
    /// rustls refuses the set as a whole.
    Verifier {
        name: String,
        reason: String,
    },
}

impl ClientAuthError {
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, ClientAuthError::Bundle(error)
            if matches!(error.problem, PemProblem::Unreadable(_)))
    }
}

pub(super) fn client_trust(
    client_auth: &ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientTrust, ClientAuthError> {
    let (ca, mode, optional) = match client_auth {
        ClientAuth::None => {
            return Ok(ClientTrust {
                verifier: None,
                fingerprint: fingerprint("none", &[]),
                authorities: Vec::new(),
                warnings: Vec::new(),
            });
        }
        ClientAuth::Request { ca } => (ca, "request", true),
        ClientAuth::Required { ca } => (ca, "required", false),
    };
    let bundle = Bundle::read(ca)?;
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(bundle.roots), Arc::clone(provider));
    let builder = match optional {
        true => builder.allow_unauthenticated(),
        false => builder,
    };
    let inner = builder.build().map_err(|error| ClientAuthError::Verifier {
        name: bundle.name,
        reason: error.to_string(),
    })?;
    Ok(ClientTrust {
        verifier: Some(Arc::new(NotingVerifier { inner })),
        fingerprint: fingerprint(mode, &bundle.fingerprints),
        authorities: bundle.authorities,
        warnings: bundle.warnings,
    })
}

struct Bundle {
    name: String,
    roots: RootCertStore,
    /// Sorted, each once.
    fingerprints: Vec<[u8; 32]>,
    authorities: Vec<Arc<CertificateInfo>>,
    warnings: Vec<String>,
}

impl Bundle {
    fn read(ca: &Pem) -> Result<Self, ClientAuthError> {
        let text = PemText::read(ca).map_err(ClientAuthError::Bundle)?;
        let mut bundle = Bundle {
            name: text.name().to_owned(),
            roots: RootCertStore::empty(),
            fingerprints: Vec::new(),
            authorities: Vec::new(),
            warnings: Vec::new(),
        };
        let certificates = text.certificates().map_err(ClientAuthError::Bundle)?;
        for (index, der) in certificates.into_iter().enumerate() {
            bundle.add(index + 1, der)?;
        }
        bundle.fingerprints.sort_unstable();
        Ok(bundle)
    }

    fn add(&mut self, index: usize, der: CertificateDer<'static>) -> Result<(), ClientAuthError> {
        let unusable = |name: &str, reason: String| ClientAuthError::UnusableCa {
            name: name.to_owned(),
            index,
            reason,
        };
        let info = CertificateInfo::from_der(&der)
            .map_err(|error| unusable(&self.name, error.to_string()))?;
        if self.fingerprints.contains(&info.fingerprint_sha256) {
            return Ok(());
        }
        let name = &self.name;
        if !info.is_ca {
            self.warnings.push(format!(
                "{name}: certificate {index} ({}) is not a CA certificate; no client certificate \
                 will be accepted because of it",
                info.subject
            ));
        }
        // Trust anchors are a name and a key (RFC 5280, section 6.1.1): webpki ignores their time.
        if info.not_after < unix_now() {
            self.warnings.push(format!(
                "{name}: CA certificate {index} ({}) expired on {}; what it issued is still \
                 accepted: remove it if that is not wanted",
                info.subject,
                iso8601(info.not_after)
            ));
        }
        self.fingerprints.push(info.fingerprint_sha256);
        self.authorities.push(Arc::new(info));
        self.roots
            .add(der)
            .map_err(|error| unusable(&self.name, error.to_string()))
    }
}

fn fingerprint(mode: &str, certificates: &[[u8; 32]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(mode.as_bytes());
    for certificate in certificates {
        context.update(certificate);
    }
    let mut fingerprint = [0; 32];
    for (to, from) in fingerprint.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    fingerprint
}

/// Notes when the accepted certificate expires, for [`super::tickets`], and what the refused one
/// says, for whoever asks who was refused.
#[derive(Debug)]
struct NotingVerifier {
    inner: Arc<dyn ClientCertVerifier>,
}

fn note_refused(certificate: &CertificateDer<'_>) {
    // What is no certificate says nothing.
    if let Ok(info) = CertificateInfo::from_der(certificate) {
        capture::note(|notes| notes.refused = Some(Box::new(info)));
    }
}

impl ClientCertVerifier for NotingVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)
            .inspect_err(|_| note_refused(end_entity))?;
        let (_, parsed) = X509Certificate::from_der(end_entity)
            .map_err(|_| Error::InvalidCertificate(rustls::CertificateError::BadEncoding))?;
        let not_after = parsed.validity().not_after.timestamp();
        capture::note(|notes| notes.client_not_after = Some(not_after));
        Ok(verified)
    }

    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, cert, dss)
            .inspect_err(|_| note_refused(cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, cert, dss)
            .inspect_err(|_| note_refused(cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl fmt::Display for ClientAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAuthError::Bundle(error) => write!(f, "{error} (the CA bundle for clients)"),
            ClientAuthError::UnusableCa {
                name,
                index,
                reason,
            } => write!(
                f,
                "{name}: CA certificate {index} cannot be used: {reason}; remove it or replace it"
            ),
            ClientAuthError::Verifier { name, reason } => {
                write!(
                    f,
                    "{name}: no verifier can be made of this CA bundle: {reason}"
                )
            }
        }
    }
}

impl std::error::Error for ClientAuthError {}
