//! A CA, a listener and clients for it, all P-256.

use std::sync::Arc;

use lockgate::{
    config::{CertificateSource, ClientAuth, Listener, OnTruncation, Pem, TlsVersion, UnknownSni},
    tls::{TicketKeys, Validity, listener_tls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};

pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    key: KeyPair,
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Pki {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            key: KeyPair::generate().unwrap(),
        }
    }

    /// A certificate for `name`; all of them have one key.
    pub fn certificate(&self, name: &str) -> CertificateSource {
        CertificateSource {
            certificate: Pem::Inline(self.sign(name).pem()),
            key: Pem::Inline(self.key.serialize_pem()),
        }
    }

    pub fn server(&self, mutual: bool) -> Arc<ServerConfig> {
        let client_auth = match mutual {
            true => ClientAuth::Required {
                ca: Pem::Inline(self.issuer.pem()),
            },
            false => ClientAuth::None,
        };
        let listener = Listener {
            name: "edge".to_owned(),
            listen: Vec::new(),
            backend: "app".to_owned(),
            min_tls: TlsVersion::Tls12,
            alpn: Vec::new(),
            unknown_sni: UnknownSni::Default,
            certificates: [self.certificate("localhost")].into(),
            certificates_named: 1,
            certificates_dir: None,
            client_auth,
            on_truncation: OnTruncation::Reset,
        };
        let tls = listener_tls(&listener, &TicketKeys::new(), Validity::Enforce);
        tls.unwrap().config
    }

    /// A client that offers one group.
    pub fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        group: &str,
        mutual: bool,
    ) -> Arc<ClientConfig> {
        let mut provider: CryptoProvider = aws_lc_rs::default_provider();
        provider
            .kx_groups
            .retain(|other| other.name().as_str() == Some(group));
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match mutual {
            true => {
                let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
                let chain = vec![self.sign("client").der().clone()];
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from(key))
                    .unwrap()
            }
            false => builder.with_no_client_auth(),
        })
    }

    fn sign(&self, name: &str) -> rcgen::Certificate {
        CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&self.key, &self.issuer)
            .unwrap()
    }
}

pub fn connect(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

pub fn written(client: &mut ClientConnection, out: &mut Vec<u8>) {
    while client.wants_write() {
        client.write_tls(out).unwrap();
    }
}
