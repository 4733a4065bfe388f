//! Certificates that are in use: those that are served, and those of CAs whose clients are accepted.

use serde_json::{Value, json};

use super::source;
use crate::{
    config::{CertificateSource, ClientAuth, Listener, Pem},
    snapshot::Snapshot,
    tls::{CertificateInfo, fingerprint_text, iso8601},
};

/// In the order of the configuration.
pub fn certificates(snapshot: &Snapshot) -> Value {
    let listeners = snapshot.config.listeners.iter();
    let mut all: Vec<Value> = listeners
        .flat_map(|listener| of_listener(snapshot, listener))
        .collect();
    let admin = snapshot.config.admin.as_ref();
    if let (Some(tls), Some(from)) = (&snapshot.admin, admin.and_then(|a| a.tls.as_ref())) {
        all.push(served("admin", None, &tls.certificate, from));
    }
    Value::Array(all)
}

fn of_listener(snapshot: &Snapshot, listener: &Listener) -> Vec<Value> {
    let Some(loaded) = snapshot.listeners.get(listener.name.as_str()) else {
        return Vec::new();
    };
    let name = Some(listener.name.as_str());
    let certificates = loaded.certificates.iter().zip(listener.certificates.iter());
    let mut all: Vec<Value> = certificates
        .map(|(chain, from)| served("listener", name, &chain.info, from))
        .collect();
    if let ClientAuth::Request { ca } | ClientAuth::Required { ca } = &listener.client_auth {
        let authorities = loaded.authorities.iter();
        all.extend(authorities.map(|info| describe("client_ca", name, info, ca, None)));
    }
    all
}

fn served(
    purpose: &str,
    listener: Option<&str>,
    info: &CertificateInfo,
    from: &CertificateSource,
) -> Value {
    describe(purpose, listener, info, &from.certificate, Some(&from.key))
}

fn describe(
    purpose: &str,
    listener: Option<&str>,
    info: &CertificateInfo,
    certificate: &Pem,
    key: Option<&Pem>,
) -> Value {
    json!({
        "purpose": purpose,
        "listener": listener,
        "subject": info.subject,
        "issuer": info.issuer,
        "serial": info.serial,
        "dns_names": info.dns_names,
        "uris": info.uris,
        "ips": info.ips,
        "not_before": iso8601(info.not_before),
        "not_after": iso8601(info.not_after),
        "not_after_seconds": info.not_after,
        "fingerprint_sha256": fingerprint_text(&info.fingerprint_sha256),
        "key_kind": info.key_kind,
        "certificate": source(certificate),
        "key": key.map(source),
    })
}
