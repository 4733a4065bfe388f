//! Figures of the configuration in use: which one, since when, and what became of reloads.

use super::{Sources, model::Family};
use crate::status::{Outcome, Scope, unix_seconds};

impl Sources {
    pub(super) fn configuration(&self) -> [Family; 7] {
        let state = self.status.state();
        let counts = Scope::ALL.into_iter().flat_map(|scope| {
            Outcome::ALL.map(|outcome| {
                let labels = [scope.name(), outcome.name()];
                (labels, self.status.count(scope, outcome))
            })
        });
        [
            Family::counter(
                "lockgate_tls_reload_total",
                "Reloads of what listeners, backends and the admin listener need, by result.",
            )
            .by(&["scope", "result"], counts),
            Family::gauge(
                "lockgate_config_generation",
                "Number of the configuration in use; 1 is that of the start.",
            )
            .value(state.generation),
            Family::gauge(
                "lockgate_config_last_reload_timestamp_seconds",
                "When the configuration in use was loaded.",
            )
            .value(unix_seconds(state.loaded)),
            Family::gauge(
                "lockgate_config_last_reload_successful",
                "Whether the last reload was good; 0: an older configuration is in use.",
            )
            .value(state.last.is_none_or(|last| last.result.is_ok())),
            Family::histogram(
                "lockgate_config_reload_duration_seconds",
                "From the beginning of a reload to its end, good or not.",
            )
            .value(self.status.durations()),
            Family::counter(
                "lockgate_telemetry_exports_total",
                "Exports of the figures to the collector of telemetry, by result.",
            )
            .by(
                &["result"],
                [
                    (["ok"], self.status.exports(true)),
                    (["failed"], self.status.exports(false)),
                ],
            ),
            Family::info("lockgate_build_info", "The program.").by(
                &["version", "arch", "profile"],
                [(
                    [env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, PROFILE],
                    1,
                )],
            ),
        ]
    }
}

const PROFILE: &str = match cfg!(debug_assertions) {
    true => "debug",
    false => "release",
};
