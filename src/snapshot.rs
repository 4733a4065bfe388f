//! What the planes go by at one moment. Immutable: a change is a new snapshot, swapped in whole.

use std::{collections::HashMap, sync::Arc};

use crate::{
    backend::Backend,
    config::{Config, OnTruncation},
    tls::CertificateInfo,
};

pub struct Snapshot {
    pub config: Config,
    /// By name.
    pub listeners: HashMap<Arc<str>, Arc<Listener>>,
}

/// One listener of the configuration, ready to serve.
pub struct Listener {
    pub name: Arc<str>,
    pub tls: Arc<rustls::ServerConfig>,
    pub certificates: Vec<CertificateInfo>,
    pub backend: Arc<Backend>,
    pub on_truncation: OnTruncation,
}
