//! Figures of the configuration in use: which one, since when, and when its certificates expire.

use std::collections::BTreeMap;

use super::{Sources, Text};
use crate::{
    limits,
    status::{Outcome, Scope, unix_seconds},
};

impl Sources {
    pub(super) fn reloads(&self, text: &mut Text) {
        text.family(
            "lockgate_tls_reload_total",
            "counter",
            "Reloads of what listeners, backends and the admin listener need, by result.",
        );
        for scope in Scope::ALL {
            for outcome in Outcome::ALL {
                let labels = [("scope", scope.name()), ("result", outcome.name())];
                let count = self.status.count(scope, outcome);
                text.sample("lockgate_tls_reload_total", &labels, count);
            }
        }
        let state = self.status.state();
        text.family(
            "lockgate_config_generation",
            "gauge",
            "Number of the configuration in use; 1 is that of the start.",
        );
        text.sample("lockgate_config_generation", &[], state.generation);
        text.family(
            "lockgate_config_last_reload_timestamp_seconds",
            "gauge",
            "When the configuration in use was loaded.",
        );
        let loaded = unix_seconds(state.loaded);
        text.sample("lockgate_config_last_reload_timestamp_seconds", &[], loaded);
        text.histogram(
            "lockgate_config_reload_duration_seconds",
            "From the beginning of a reload to its end, good or not.",
            self.status.durations().into_iter(),
        );
    }

    pub(super) fn certificates(&self, text: &mut Text) {
        let snapshot = self.shared.snapshot.load();
        // Of certificates with one name, such as of two kinds of key, the first to expire.
        let mut expiries = BTreeMap::new();
        for listener in snapshot.listeners.values() {
            for certificate in &listener.certificates {
                let name = certificate
                    .common_name
                    .as_ref()
                    .or_else(|| certificate.dns_names.first());
                let name = name.map_or(&*certificate.subject, |name| &**name);
                let expiry = expiries
                    .entry((&*listener.name, name))
                    .or_insert(certificate.not_after);
                *expiry = certificate.not_after.min(*expiry);
            }
        }
        let family = "lockgate_certificate_expiry_timestamp_seconds";
        text.family(
            family,
            "gauge",
            "When a certificate expires; name=\"...\" is the earliest of those not listed.",
        );
        let mut expiries = expiries.into_iter();
        for ((listener, name), expiry) in expiries.by_ref().take(limits::CERTIFICATE_SERIES_MAX) {
            let labels = [("listener", listener), ("name", name)];
            text.line(family, &labels, &expiry.to_string());
        }
        if let Some(expiry) = expiries.map(|(_, expiry)| expiry).min() {
            let labels = [("listener", "..."), ("name", "...")];
            text.line(family, &labels, &expiry.to_string());
        }
    }
}
