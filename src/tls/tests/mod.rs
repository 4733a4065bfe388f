//! Whole handshakes against rustls clients, and what they need: a CA, listeners, a way to pass bytes.

mod certificates;
mod handshake;
mod hostile;
mod keys;
mod loaded;
mod record;
mod record_hostile;
mod resumption;

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, PKCS_ECDSA_P256_SHA256, SanType, SignatureAlgorithm,
};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::{TLS12, TLS13},
};

use super::*;
use crate::config::{
    CertificateSource, ClientAuth, Listener, OnTruncation, Pem, TlsVersion, UnknownSni,
};

/// A CA, and what it signs.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Leaf {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Pki {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Pki {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    pub fn pem(&self) -> Pem {
        Pem::Inline(self.issuer.pem())
    }

    pub fn sign(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Leaf {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Leaf {
            certificate: params.signed_by(&key, &self.issuer).unwrap(),
            key,
        }
    }

    pub fn server(&self, names: &[&str]) -> Leaf {
        self.server_with(names, &PKCS_ECDSA_P256_SHA256)
    }

    pub fn server_with(&self, names: &[&str], algorithm: &'static SignatureAlgorithm) -> Leaf {
        self.sign(params(names), algorithm)
    }

    /// A client with a SPIFFE ID.
    pub fn client(&self) -> Leaf {
        self.sign(client_params(), &PKCS_ECDSA_P256_SHA256)
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }
}

impl Leaf {
    pub fn source(&self) -> CertificateSource {
        CertificateSource {
            certificate: Pem::Inline(self.certificate.pem()),
            key: Pem::Inline(self.key.serialize_pem()),
        }
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }
}

pub fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

pub fn client_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "web");
    params.subject_alt_names = vec![SanType::URI(
        "spiffe://example.org/ns/shop/sa/web".try_into().unwrap(),
    )];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub fn listener(certificates: Vec<CertificateSource>) -> Listener {
    Listener {
        name: "edge".to_owned(),
        listen: Vec::new(),
        backend: "app".to_owned(),
        min_tls: TlsVersion::Tls12,
        alpn: Vec::new(),
        unknown_sni: UnknownSni::Default,
        certificates_named: certificates.len(),
        certificates: certificates.into(),
        certificates_dir: None,
        client_auth: ClientAuth::None,
        on_truncation: OnTruncation::Reset,
    }
}

pub fn config_of(listener: &Listener) -> Arc<ServerConfig> {
    listener_tls(listener, &TicketKeys::new(), Validity::Enforce)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
        .config
}

/// What a test's client differs in.
#[derive(Clone)]
pub struct Client<'a> {
    pub version: &'static SupportedProtocolVersion,
    pub suite: Option<CipherSuite>,
    pub roots: Arc<RootCertStore>,
    pub certificate: Option<&'a Leaf>,
    pub alpn: Vec<Vec<u8>>,
}

impl<'a> Client<'a> {
    pub fn tls13(pki: &Pki) -> Self {
        Client {
            version: &TLS13,
            suite: None,
            roots: pki.roots(),
            certificate: None,
            alpn: Vec::new(),
        }
    }

    pub fn tls12(pki: &Pki) -> Self {
        Client {
            version: &TLS12,
            ..Client::tls13(pki)
        }
    }

    pub fn suite(mut self, suite: CipherSuite) -> Self {
        self.suite = Some(suite);
        self
    }

    pub fn certificate(mut self, leaf: &'a Leaf) -> Self {
        self.certificate = Some(leaf);
        self
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let mut provider: CryptoProvider = aws_lc_rs::default_provider();
        if let Some(suite) = self.suite {
            provider
                .cipher_suites
                .retain(|other| other.suite() == suite);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match self.certificate {
            Some(leaf) => builder
                .with_client_auth_cert(leaf.chain(), leaf.key_der())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.clone();
        config.enable_secret_extraction = true;
        Arc::new(config)
    }

    pub fn connect(&self, name: &'static str) -> ClientConnection {
        connect(&self.config(), name)
    }
}

pub fn connect(config: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from(name).unwrap()).unwrap()
}

pub fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

pub fn deliver(client: &mut ClientConnection, bytes: &[u8]) -> Result<(), rustls::Error> {
    let mut rest = bytes;
    while !rest.is_empty() {
        client.read_tls(&mut rest).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// A handshake that failed, as both sides saw it.
#[derive(Debug)]
pub struct Failed {
    pub server: SessionError,
    pub client: Option<rustls::Error>,
}

pub fn handshake(
    config: &Arc<ServerConfig>,
    client: &mut ClientConnection,
) -> Result<Established, Failed> {
    let mut session = Session::new(Arc::clone(config)).unwrap();
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    let failed = |server, client: &mut ClientConnection, outgoing: &[u8]| Failed {
        server,
        client: deliver(client, outgoing).err(),
    };
    loop {
        incoming.extend(written(client));
        let progress = session.advance(&mut incoming, &mut outgoing);
        match progress {
            Err(error) => return Err(failed(error, client, &outgoing)),
            Ok(progress) => {
                let delivered = deliver(client, &outgoing);
                outgoing.clear();
                match progress {
                    Progress::Done => break,
                    Progress::NeedRecord => {
                        if delivered.is_err() && !client.wants_write() {
                            panic!("the client gave up without a word: {delivered:?}");
                        }
                    }
                }
            }
        }
    }
    assert!(incoming.is_empty(), "{} bytes left over", incoming.len());
    session
        .into_established(&mut outgoing)
        .map_err(|error| failed(error, client, &outgoing))
}

pub fn alert(error: &Option<rustls::Error>) -> Option<u8> {
    match error {
        Some(rustls::Error::AlertReceived(description)) => Some(u8::from(*description)),
        _ => None,
    }
}
