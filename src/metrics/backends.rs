//! Figures of backends and their servers, as the configuration in use has them.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Sources,
    model::{Family, Value},
};
use crate::{backend::Backend, durations::Recorded, limits};

/// Of one server, or of several that have no series of their own.
#[derive(Clone, Copy, Default)]
struct Figures {
    connects: u64,
    failures: u64,
    down: u64,
}

impl Sources {
    pub(super) fn backends(&self) -> [Family; 4] {
        let snapshot = self.shared.snapshot.load();
        let listeners = snapshot.listeners.values();
        let backends: BTreeMap<&str, &Arc<Backend>> = listeners
            .map(|listener| (&*listener.backend.name, &listener.backend))
            .collect();
        let servers = servers(&backends);
        let by = |value: fn(&Figures) -> Value| {
            let samples = servers.iter();
            samples.map(move |(labels, figures)| (labels.clone(), value(figures)))
        };
        [
            Family::gauge(
                "lockgate_backend_up",
                "Whether the last attempt to connect to a server succeeded; 1 before the first.",
            )
            .by(&["backend", "server"], by(|f| (f.down == 0).into())),
            Family::counter(
                "lockgate_backend_connects_total",
                "Connections made to a server.",
            )
            .by(&["backend", "server"], by(|f| f.connects.into())),
            Family::counter(
                "lockgate_backend_connect_failures_total",
                "Attempts to connect to a server that failed.",
            )
            .by(&["backend", "server"], by(|f| f.failures.into())),
            Family::histogram(
                "lockgate_backend_connect_duration_seconds",
                "From the end of a handshake to a connected server, failed attempts included.",
            )
            .by(&["backend"], durations(&backends)),
        ]
    }
}

/// By backend and server. Above [`limits::SERVER_SERIES_MAX`] the others are one, named "...".
fn servers(backends: &BTreeMap<&str, &Arc<Backend>>) -> BTreeMap<[String; 2], Figures> {
    let mut servers: BTreeMap<[String; 2], Figures> = BTreeMap::new();
    for (name, backend) in backends {
        for target in backend.targets() {
            let mut labels = [(*name).to_owned(), target.address.to_string()];
            if servers.len() >= limits::SERVER_SERIES_MAX && !servers.contains_key(&labels) {
                labels = [(); 2].map(|()| "...".to_owned());
            }
            let figures = servers.entry(labels).or_default();
            figures.connects += target.connects();
            figures.failures += target.failures();
            figures.down += u64::from(!target.is_up());
        }
    }
    servers
}

/// By backend. Above [`limits::BACKEND_HISTOGRAMS_MAX`] the others are one, named "...".
fn durations(backends: &BTreeMap<&str, &Arc<Backend>>) -> BTreeMap<[String; 1], Recorded> {
    let mut durations: BTreeMap<[String; 1], Recorded> = BTreeMap::new();
    for (index, (name, backend)) in backends.iter().enumerate() {
        let name = match index < limits::BACKEND_HISTOGRAMS_MAX {
            true => *name,
            false => "...",
        };
        let all = durations.entry([name.to_owned()]).or_default();
        all.add(&backend.durations.recorded());
    }
    durations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Address, Server};

    fn backend(name: &str, network: u8, servers: u16) -> Arc<Backend> {
        let servers = (1..=servers)
            .map(|port| Server::Address(Address::Tcp(([10, 0, 0, network], port).into())));
        let config = config::Backend {
            name: name.into(),
            servers: servers.collect(),
        };
        Arc::new(Backend::resolve(&config, None).unwrap())
    }

    #[test]
    fn servers_above_the_bound_are_one_series() {
        let (a, b) = (backend("a", 1, 600), backend("b", 2, 600));
        for target in a.targets().iter().chain(b.targets()) {
            target.connected();
        }
        b.targets()[599].failed();
        let servers = servers(&BTreeMap::from([("a", &a), ("b", &b)]));
        assert_eq!(servers.len(), limits::SERVER_SERIES_MAX + 1);
        let connects: u64 = servers.values().map(|figures| figures.connects).sum();
        assert_eq!(connects, 1200);
        let rest = servers[&["...".to_owned(), "...".to_owned()]];
        assert_eq!((rest.connects, rest.failures, rest.down), (200, 1, 1));
    }

    #[test]
    fn backends_above_the_bound_share_a_histogram() {
        let names: Vec<String> = (0..150).map(|number| format!("{number:03}")).collect();
        let backends: Vec<Arc<Backend>> = names.iter().map(|name| backend(name, 1, 1)).collect();
        for backend in &backends {
            backend
                .durations
                .record(std::time::Duration::from_millis(1));
        }
        let by_name = names.iter().map(String::as_str).zip(&backends).collect();
        let durations = durations(&by_name);
        assert_eq!(durations.len(), limits::BACKEND_HISTOGRAMS_MAX + 1);
        assert_eq!(durations[&["...".to_owned()]].count(), 50);
    }
}
