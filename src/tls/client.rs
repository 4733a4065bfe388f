//! TLS of the program's own commands towards a lockgate whose admin server speaks it.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::{pem::PemText, server::provider};
use crate::config::Pem;

/// Trusts what `authorities` signed, and nothing else.
///
/// # Errors
/// Says what is wrong with the PEM, for the operator.
pub fn client_config(authorities: &Pem) -> Result<Arc<ClientConfig>, String> {
    let text = PemText::read(authorities).map_err(|error| error.to_string())?;
    let certificates = text.certificates().map_err(|error| error.to_string())?;
    let refused = |error| format!("{}: {error}", text.name());
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(refused)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let config = builder.map_err(refused)?.with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}
