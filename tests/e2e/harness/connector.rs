//! What a client is like: versions, suites, names, certificates.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, NamedGroup, RootCertStore, SupportedCipherSuite,
    SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    Client, End,
    client::end_of,
    machine, patience, pki,
    pki::{HOST, Identity},
};

/// Connections made by one share its resumption store.
#[derive(Clone)]
pub struct Connector {
    provider: CryptoProvider,
    version: Option<&'static SupportedProtocolVersion>,
    name: String,
    identity: Option<Identity>,
    config: Option<Arc<ClientConfig>>,
    alpn: Vec<Vec<u8>>,
    record: Option<usize>,
    resume: bool,
}

impl Default for Connector {
    fn default() -> Self {
        Connector {
            provider: aws_lc_rs::default_provider(),
            version: None,
            name: HOST.to_owned(),
            identity: None,
            config: None,
            alpn: Vec::new(),
            record: None,
            resume: false,
        }
    }
}

impl Connector {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// Only this suite, and so its version.
    pub fn suite(mut self, suite: SupportedCipherSuite) -> Self {
        self.provider.cipher_suites = vec![suite];
        self.version(suite.version())
    }

    pub fn group(mut self, group: NamedGroup) -> Self {
        let all = aws_lc_rs::ALL_KX_GROUPS.iter().copied();
        self.provider.kx_groups = all.filter(|kx| kx.name() == group).collect();
        assert_eq!(self.provider.kx_groups.len(), 1, "{group:?}");
        self
    }

    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub fn identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        self
    }

    /// Payload of its records at most.
    pub fn record(mut self, bytes: usize) -> Self {
        self.record = Some(bytes + 5);
        self
    }

    /// Keeps tickets, and resumes from the second connection on.
    pub fn resuming(mut self) -> Self {
        self.resume = true;
        self.config = Some(self.configure());
        self
    }

    fn configure(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pki().ca.as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()));
        let builder = match self.version {
            Some(version) => builder.with_protocol_versions(&[version]),
            None => builder.with_safe_default_protocol_versions(),
        };
        let builder = builder.unwrap().with_root_certificates(roots);
        let mut config = match &self.identity {
            // Nobody checks that they belong together: a test may have stolen the certificate.
            Some(i) => {
                let loader = self.provider.key_provider;
                let key = loader.load_private_key(i.private_key()).unwrap();
                let certified = CertifiedKey::new(i.chain(), key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.clone();
        config.max_fragment_size = self.record;
        config.enable_secret_extraction = true;
        if !self.resume {
            config.resumption = Resumption::disabled();
        }
        Arc::new(config)
    }

    /// A connection whose handshake has not begun.
    pub fn open(&self, address: SocketAddr) -> io::Result<Client> {
        machine::isolate();
        let config = self.config.clone().unwrap_or_else(|| self.configure());
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        let socket = TcpStream::connect_timeout(&address, patience())?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience()))?;
        socket.set_write_timeout(Some(patience()))?;
        Ok(Client {
            tls,
            socket,
            ended: None,
        })
    }

    pub fn try_connect(&self, address: SocketAddr) -> Result<Client, End> {
        let mut client = self.open(address).map_err(|error| end_of(&error))?;
        client.handshake()?;
        Ok(client)
    }

    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> Client {
        self.try_connect(address)
            .unwrap_or_else(|end| panic!("handshake: {end:?}"))
    }

    /// Tries to connect and to read, which is where a server's verdict on a TLS 1.3 client
    /// certificate arrives.
    pub fn verdict(&self, address: SocketAddr) -> End {
        match self.try_connect(address) {
            Ok(mut client) => client.read_all().1,
            Err(end) => end,
        }
    }
}
