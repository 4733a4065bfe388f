//! A TLS client that offers one version, and where asked one suite and one group, and checks that
//! it got what it offered.

use std::{fs::File, io::BufReader, net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    Error,
    arguments::{Arguments, Tls},
};

pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// One slot's way to the target: with its own tickets, as one client would have.
#[derive(Clone)]
pub struct Connector {
    target: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    version: ProtocolVersion,
    group: Option<String>,
    resume: bool,
}

/// What a handshake was.
pub struct Agreed {
    pub kind: &'static str,
    pub version: String,
    pub suite: String,
    pub group: String,
}

impl Connector {
    pub fn new(arguments: &Arguments) -> Result<Self, Error> {
        let tls = match arguments.plain {
            true => None,
            false => {
                let name = ServerName::try_from(arguments.name.clone())?;
                Some((TlsConnector::from(Arc::new(config(arguments)?)), name))
            }
        };
        Ok(Connector {
            target: arguments.target,
            tls,
            version: match arguments.tls {
                Tls::V12 => ProtocolVersion::TLSv1_2,
                Tls::V13 => ProtocolVersion::TLSv1_3,
            },
            group: arguments.group.clone(),
            resume: arguments.resume,
        })
    }

    /// The same with a ticket store of its own.
    pub fn for_slot(&self) -> Self {
        let mut this = self.clone();
        if let (Some((connector, _)), true) = (&mut this.tls, self.resume) {
            let mut config = ClientConfig::clone(connector.config());
            // One server, and what two handshakes may bring in tickets.
            config.resumption = Resumption::in_memory_sessions(8);
            *connector = TlsConnector::from(Arc::new(config));
        }
        this
    }

    /// `first`: no ticket can be there yet.
    pub async fn connect(&self, first: bool) -> Result<(Box<dyn Stream>, Option<Agreed>), Error> {
        let socket = TcpStream::connect(self.target).await?;
        socket.set_nodelay(true)?;
        let Some((connector, name)) = &self.tls else {
            return Ok((Box::new(socket), None));
        };
        let stream = connector.connect(name.clone(), socket).await?;
        let agreed = self.agreed(stream.get_ref().1, first)?;
        Ok((Box::new(stream), Some(agreed)))
    }

    fn agreed(&self, connection: &ClientConnection, first: bool) -> Result<Agreed, Error> {
        let kind = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => "resumed",
            Some(HandshakeKind::FullWithHelloRetryRequest) => "full after a retry",
            _ => "full",
        };
        let wanted = if self.resume && !first {
            "resumed"
        } else {
            "full"
        };
        if kind != wanted {
            return Err(format!("the handshake was {kind}, not {wanted}").into());
        }
        let version = connection.protocol_version();
        if version != Some(self.version) {
            return Err(format!("the version is {version:?}, not {:?}", self.version).into());
        }
        let group = connection
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str());
        // Resumption in TLS 1.2 exchanges no keys.
        if let (Some(wanted), Some(group)) = (&self.group, group)
            && wanted != group
        {
            return Err(format!("the group is {group}, not {wanted}").into());
        }
        let suite = connection.negotiated_cipher_suite();
        let text = |name: Option<&str>| name.unwrap_or("none").to_owned();
        Ok(Agreed {
            kind,
            version: text(version.and_then(|version| version.as_str())),
            suite: text(suite.and_then(|suite| suite.suite().as_str())),
            group: text(group),
        })
    }
}

fn config(arguments: &Arguments) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(arguments.ca.as_deref())? {
        roots.add(certificate)?;
    }
    let version = match arguments.tls {
        Tls::V12 => &TLS12,
        Tls::V13 => &TLS13,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider(arguments)?))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots);
    let mut config = match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(
            certificates(Some(cert))?,
            PrivateKeyDer::from_pem_file(key)?,
        )?,
        _ => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The usual provider without what was not asked for.
fn provider(arguments: &Arguments) -> Result<CryptoProvider, Error> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(wanted) = &arguments.suite {
        provider
            .cipher_suites
            .retain(|suite| suite.suite().as_str() == Some(wanted));
        if provider.cipher_suites.is_empty() {
            return Err(format!("--suite {wanted}: not known").into());
        }
    }
    if let Some(wanted) = &arguments.group {
        // Before TLS 1.3, the list is also that of curves a certificate may have (RFC 8422, section
        // 5.1.1), so the usual one stays in it. That the wanted one is agreed on is checked.
        let curve = match arguments.tls {
            Tls::V12 => Some("secp256r1"),
            Tls::V13 => None,
        };
        provider.kx_groups.retain(|group| {
            let name = group.name().as_str();
            name == Some(wanted) || (name.is_some() && name == curve)
        });
        if provider.kx_groups.is_empty() {
            return Err(format!("--group {wanted}: not known").into());
        }
    }
    Ok(provider)
}

fn certificates(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(CertificateDer::pem_reader_iter(BufReader::new(file)).collect::<Result<_, _>>()?)
}
