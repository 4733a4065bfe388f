//! Figures of what could not be said: lines of the log, audit events.

use super::{Sources, model::Family};
use crate::logging;

impl Sources {
    pub(super) fn log(&self) -> [Family; 2] {
        let left_out = logging::left_out().map(|(cause, lines)| ([cause], lines));
        [
            Family::counter(
                "lockgate_log_lines_left_out_total",
                "Lines of the log that were left out, by cause.",
            )
            .by(&["cause"], left_out),
            Family::counter(
                "lockgate_audit_events_lost_total",
                "Audit events that could not be written.",
            )
            .value(self.shared.audit.lost()),
        ]
    }
}
