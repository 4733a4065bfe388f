//! What the planes go by at one moment. Immutable: a change is a new snapshot, swapped in whole.

use std::{collections::HashMap, sync::Arc};

use crate::{
    backend::Backend,
    config::{Address, Config, OnTruncation},
    tls::{AdminTls, CertificateInfo, CertifiedChain},
};

pub struct Snapshot {
    pub config: Config,
    /// By name.
    pub listeners: HashMap<Arc<str>, Arc<Listener>>,
    endpoints: HashMap<Endpoint, Arc<Listener>>,
    /// `None`: the admin server speaks without TLS.
    pub admin: Option<AdminTls>,
}

/// One listener of the configuration, ready to serve.
pub struct Listener {
    pub name: Arc<str>,
    pub tls: Arc<rustls::ServerConfig>,
    /// In the order of the configuration.
    pub certificates: Arc<[Arc<CertifiedChain>]>,
    /// CAs whose client certificates are accepted.
    pub authorities: Vec<Arc<CertificateInfo>>,
    /// Equal as long as the same client certificates are accepted.
    pub trust: [u8; 32],
    /// Clients are asked for certificates.
    pub asks_certificate: bool,
    pub backend: Arc<Backend>,
    pub on_truncation: OnTruncation,
}

/// An address of the configuration, by which a bound socket is found again in the next one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: Address,
    /// Port 0 is another port each time that it is written: the listener, and which of its
    /// addresses.
    any_port: Option<(Arc<str>, usize)>,
}

impl Snapshot {
    pub fn new(
        config: Config,
        listeners: HashMap<Arc<str>, Arc<Listener>>,
        admin: Option<AdminTls>,
    ) -> Self {
        let endpoints = endpoints(&config)
            .filter_map(|(endpoint, name)| Some((endpoint, Arc::clone(listeners.get(name)?))))
            .collect();
        Snapshot {
            config,
            listeners,
            endpoints,
            admin,
        }
    }

    /// Who serves those that come there.
    pub fn listener_at(&self, endpoint: &Endpoint) -> Option<&Arc<Listener>> {
        self.endpoints.get(endpoint)
    }
}

impl Endpoint {
    pub fn is_tcp(&self) -> bool {
        matches!(self.address, Address::Tcp(_))
    }
}

/// Every address of a configuration, with the name of its listener.
pub fn endpoints(config: &Config) -> impl Iterator<Item = (Endpoint, &str)> {
    config.listeners.iter().flat_map(|listener| {
        let addresses = listener.listen.iter().enumerate();
        addresses.map(|(index, address)| {
            let any_port = matches!(address, Address::Tcp(address) if address.port() == 0);
            let endpoint = Endpoint {
                address: address.clone(),
                any_port: any_port.then(|| (listener.name.as_str().into(), index)),
            };
            (endpoint, listener.name.as_str())
        })
    })
}
