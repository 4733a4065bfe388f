//! Figures of handshakes: how many of which kind, why they failed, how long they took.

use std::collections::BTreeMap;

use super::{Sources, model::Family};
use crate::{
    durations::Recorded,
    handshake::counters::{Effort, Kind},
    tls::SessionError,
};

impl Sources {
    pub(super) fn handshakes(&self) -> [Family; 3] {
        let failures = self.handshake_failures();
        let failed = failures.iter().map(|(_, count)| count).sum();
        [
            Family::counter(
                "lockgate_handshakes_total",
                "Handshakes by result and, of good ones, by what was agreed.",
            )
            .by(
                &[
                    "result",
                    "version",
                    "suite",
                    "group",
                    "resumed",
                    "client_certificate",
                ],
                self.completed()
                    .into_iter()
                    .map(|(kind, count)| (labels(&kind), count))
                    .chain([(FAILED.map(str::to_owned), failed)]),
            ),
            Family::counter(
                "lockgate_handshake_failures_total",
                "Handshakes that failed, by reason.",
            )
            .by(
                &["reason"],
                failures.map(|(reason, count)| ([reason], count)),
            ),
            Family::histogram(
                "lockgate_handshake_duration_seconds",
                "From accept to the end of a good handshake.",
            )
            .by(
                &["kind"],
                Effort::ALL.map(|effort| {
                    let parts = self.handshakes.iter().map(|c| c.durations(effort));
                    ([effort.name()], parts.collect::<Recorded>())
                }),
            ),
        ]
    }

    fn completed(&self) -> BTreeMap<Kind, u64> {
        let mut kinds = BTreeMap::new();
        for counters in &self.handshakes {
            for (kind, count) in counters.completed() {
                *kinds.entry(kind).or_default() += count;
            }
        }
        kinds
    }

    /// By every reason, a timeout included.
    fn handshake_failures(&self) -> [(&'static str, u64); SessionError::REASONS.len() + 1] {
        let timeouts = self.handshake_sum(|counters| counters.timeouts.value());
        let mut failures = [("timeout", timeouts); SessionError::REASONS.len() + 1];
        for (index, (failure, reason)) in failures.iter_mut().zip(SessionError::REASONS).enumerate()
        {
            let count = |counters: &_| count_of(counters, index);
            *failure = (reason, self.handshake_sum(count));
        }
        failures
    }
}

fn count_of(counters: &crate::handshake::HandshakeCounters, index: usize) -> u64 {
    counters
        .failure(index)
        .map_or(0, crate::counter::Counter::value)
}

/// Nothing was agreed.
const FAILED: [&str; 6] = ["failed", "none", "none", "none", "none", "none"];

fn labels(kind: &Kind) -> [String; 6] {
    [
        "ok".to_owned(),
        kind.version.to_string(),
        kind.suite.to_owned(),
        kind.group.to_owned(),
        kind.resumed.to_string(),
        kind.client_certificate.to_string(),
    ]
}
