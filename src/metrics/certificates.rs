//! When certificates expire: those that are served, and the CAs that clients are judged by.

use std::collections::BTreeMap;

use super::{Sources, model::Family};
use crate::{limits, tls::CertificateInfo};

/// The admin server among listeners; none of them can have such a name.
const ADMIN: &str = "(admin)";

impl Sources {
    pub(super) fn certificates(&self) -> [Family; 2] {
        let snapshot = self.shared.snapshot.load();
        let listeners = || snapshot.listeners.values();
        let served = listeners().flat_map(|listener| {
            let chains = listener.certificates.iter();
            chains.map(|chain| (&*listener.name, &chain.info))
        });
        let authorities = listeners().flat_map(|listener| {
            let authorities = listener.authorities.iter();
            authorities.map(|authority| (&*listener.name, &**authority))
        });
        let admin = snapshot.admin.as_ref();
        let admin = admin.map(|admin| (ADMIN, &*admin.certificate));
        [
            Family::gauge(
                "lockgate_certificate_expiry_timestamp_seconds",
                "When a certificate expires; name=\"...\" is the earliest of those not listed.",
            )
            .by(
                &["listener", "name"],
                expiries(served.chain(admin)),
            ),
            Family::gauge(
                "lockgate_ca_expiry_timestamp_seconds",
                "When a CA of client_auth expires; name=\"...\" is the earliest of those not listed.",
            )
            .by(&["listener", "name"], expiries(authorities)),
        ]
    }
}

/// Of certificates with one name, such as of two kinds of key, the first to expire. Of those above
/// [`limits::CERTIFICATE_SERIES_MAX`], the first as well.
fn expiries<'a>(
    certificates: impl Iterator<Item = (&'a str, &'a CertificateInfo)>,
) -> Vec<([&'a str; 2], f64)> {
    let mut expiries = BTreeMap::new();
    for (listener, certificate) in certificates {
        let expiry = expiries
            .entry([listener, name(certificate)])
            .or_insert(certificate.not_after);
        *expiry = certificate.not_after.min(*expiry);
    }
    let mut rest = expiries.into_iter();
    let mut listed: Vec<_> = rest.by_ref().take(limits::CERTIFICATE_SERIES_MAX).collect();
    let earliest = rest.map(|(_, expiry)| expiry).min();
    listed.extend(earliest.map(|expiry| (["...", "..."], expiry)));
    #[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
    let seconds = |expiry: i64| expiry as f64;
    let listed = listed.into_iter();
    listed
        .map(|(labels, expiry)| (labels, seconds(expiry)))
        .collect()
}

fn name(certificate: &CertificateInfo) -> &str {
    let common_name = certificate.common_name.as_ref();
    let name = common_name.or_else(|| certificate.dns_names.first());
    name.unwrap_or(&certificate.subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str, not_after: i64) -> CertificateInfo {
        CertificateInfo {
            subject: format!("CN={name}").into(),
            issuer: "CN=ca".into(),
            common_name: Some(name.into()),
            dns_names: Box::default(),
            uris: Box::default(),
            ips: Box::default(),
            serial: "01".into(),
            not_before: 0,
            not_after,
            fingerprint_sha256: [0; 32],
            key_kind: "Ed25519".into(),
            is_ca: false,
        }
    }

    #[test]
    fn the_first_of_one_name_and_the_first_of_the_rest_are_told() {
        let twice = [certificate("a", 20), certificate("a", 10)];
        let found = expiries(twice.iter().map(|certificate| ("main", certificate)));
        assert_eq!(found, [(["main", "a"], 10.0)]);

        let many: Vec<_> = (0..limits::CERTIFICATE_SERIES_MAX + 5)
            .zip((0..=9999).rev())
            .map(|(number, not_after)| certificate(&format!("{number:05}"), not_after))
            .collect();
        let found = expiries(many.iter().map(|certificate| ("main", certificate)));
        assert_eq!(found.len(), limits::CERTIFICATE_SERIES_MAX + 1);
        let earliest = many.last().unwrap().not_after as f64;
        assert_eq!(found.last(), Some(&(["...", "..."], earliest)));
    }
}
