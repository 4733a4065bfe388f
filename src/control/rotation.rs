//! Certificates and CA bundles that a reload has exchanged, for the audit trail.

use super::changes::others;
use crate::{
    audit::{Audit, Certificate, Event},
    config::{ClientAuth, Listener, Pem},
    snapshot::Snapshot,
};

/// What listeners that stay serve or trust now and did not before.
pub fn record(audit: &Audit, old: &Snapshot, new: &Snapshot) {
    if !audit.is_on() {
        return;
    }
    for listener in &new.config.listeners {
        let name = listener.name.as_str();
        let (Some(before), Some(now)) = (old.listeners.get(name), new.listeners.get(name)) else {
            continue;
        };
        for chain in others(&before.certificates, &now.certificates) {
            audit.record(&Event::CertificateRotated {
                listener: name,
                certificate: Certificate::of(&chain.info),
            });
        }
        if before.trust != now.trust {
            let (mode, ca) = trust(listener);
            let trust = [&before.trust, &now.trust];
            audit.record(&Event::bundle_rotated(name, mode, ca, trust));
        }
    }
}

/// The mode, and where the CAs are.
fn trust(listener: &Listener) -> (&'static str, Option<String>) {
    let (mode, ca) = match &listener.client_auth {
        ClientAuth::None => return ("none", None),
        ClientAuth::Request { ca } => ("request", ca),
        ClientAuth::Required { ca } => ("required", ca),
    };
    let place = match ca {
        Pem::File(path) => path.display().to_string(),
        Pem::Inline(_) => "inline".to_owned(),
    };
    (mode, Some(place))
}
