//! From a configuration to a snapshot: reads the files and resolves the names that it mentions.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    backend::{Backend, UnknownServer},
    config::{ClientAuth, Config},
    snapshot::{Listener, Snapshot},
    tls::{Loaded, TicketKeys, TlsError, Validity, admin_tls, listener_tls_again},
};

/// What keeps a configuration from being used.
#[derive(Debug)]
pub enum BuildError {
    Tls { listener: String, error: TlsError },
    Backend(UnknownServer),
    Admin(TlsError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Tls { listener, error } => write!(f, "listener \"{listener}\": {error}"),
            BuildError::Backend(error) => error.fmt(f),
            BuildError::Admin(error) => write!(f, "admin.tls.{error}"),
        }
    }
}

impl std::error::Error for BuildError {}

impl BuildError {
    /// Something could not be read or resolved, as against one that says the wrong thing.
    pub fn is_unreadable(&self) -> bool {
        match self {
            BuildError::Tls { error, .. } | BuildError::Admin(error) => error.unreadable,
            BuildError::Backend(_) => true,
        }
    }
}

/// All problems at once. The warnings do not keep the snapshot from being used. `validity` says what
/// an expired certificate is: at start a warning, because it must not keep the others from being
/// served. Certificates that are `loaded` are not read again, and servers that the `previous`
/// snapshot has keep their figures. Blocks.
pub fn build_snapshot(
    config: Config,
    tickets: &TicketKeys,
    validity: Validity,
    loaded: &mut Loaded,
    previous: Option<&Snapshot>,
) -> Result<(Snapshot, Vec<String>), Vec<BuildError>> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut backends = HashMap::new();
    for backend in &config.backends {
        let running = previous.and_then(|snapshot| {
            let mut listeners = snapshot.listeners.values();
            listeners.find(|listener| *listener.backend.name == *backend.name)
        });
        match Backend::resolve(backend, running.map(|listener| &*listener.backend)) {
            Ok(resolved) => drop(backends.insert(backend.name.as_str(), Arc::new(resolved))),
            Err(error) => errors.push(BuildError::Backend(error)),
        }
    }
    let mut listeners = HashMap::new();
    for listener in &config.listeners {
        let name: Arc<str> = listener.name.as_str().into();
        match listener_tls_again(listener, tickets, validity, loaded) {
            Ok(tls) => {
                warnings.extend(
                    tls.warnings
                        .iter()
                        .map(|warning| format!("listener \"{name}\": {warning}")),
                );
                if let Some(backend) = backends.get(listener.backend.as_str()) {
                    let listener = Listener {
                        name: Arc::clone(&name),
                        tls: tls.config,
                        certificates: tls.certificates,
                        authorities: tls.authorities,
                        trust: tls.trust,
                        asks_certificate: listener.client_auth != ClientAuth::None,
                        backend: Arc::clone(backend),
                        on_truncation: listener.on_truncation,
                    };
                    listeners.insert(name, Arc::new(listener));
                }
            }
            Err(problems) => errors.extend(problems.into_iter().map(|error| BuildError::Tls {
                listener: listener.name.clone(),
                error,
            })),
        }
    }
    let source = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    let admin = match source.map(|source| admin_tls(source, validity)).transpose() {
        Ok(admin) => admin,
        Err(error) => {
            errors.push(BuildError::Admin(error));
            None
        }
    };
    if let Some(admin) = &admin {
        let texts = admin.warnings.iter();
        warnings.extend(texts.map(|text| format!("admin.tls.{text}")));
    }
    if errors.is_empty() {
        Ok((Snapshot::new(config, listeners, admin), warnings))
    } else {
        Err(errors)
    }
}
